/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terms and units as bytes, read. Nothing is believed: lengths against what is left, text against
 * UTF-8, nesting against a limit, numbers against their normal form. Allocates on p's heap, whose
 * collector is inhibited, so terms may be kept in C locals.
 */
#include "data/data.h"
#include "gc/heap.h"
#include "interp/code.h"
#include "interp/stored.h"
#include "native.h"
#include "number/number.h"
#include "term/utf8.h"
#include "vm_state.h"

enum {
    DECODE_DEPTH_MAX = 1000
};

struct source {
    struct process *p;
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static size_t left(const struct source *s)
{
    return (size_t)(s->end - s->at);
}

static uint8_t get_byte(struct source *s)
{
    if (s->at == s->end) {
        s->bad = true;
        return 0;
    }
    return *s->at++;
}

static uint64_t get_varint(struct source *s)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = get_byte(s);

        v |= (uint64_t)(b & 0x7F) << shift;
        if ((b & 0x80) == 0) {
            return v;
        }
    }
    s->bad = true;
    return 0;
}

/* A count of items that take at least `each` bytes. */
static size_t get_count(struct source *s, size_t each)
{
    uint64_t n = get_varint(s);

    if (n > left(s) / each) {
        s->bad = true;
        return 0;
    }
    return (size_t)n;
}

static void get_bytes(struct source *s, void *to, size_t n)
{
    if (n > left(s)) {
        s->bad = true;
        __builtin_memset(to, 0, n);
        return;
    }
    if (n != 0) {
        __builtin_memcpy(to, s->at, n);
        s->at += n;
    }
}

static const char *get_text(struct source *s, size_t *size)
{
    size_t n = get_count(s, 1);
    const char *text = (const char *)s->at;

    s->at += n;
    *size = n;
    return text;
}

static term_t fail(struct source *s)
{
    s->bad = true;
    return TERM_NIL;
}

static term_t built(struct source *s, term_t t)
{
    return t == TERM_ERROR || t == 0 ? fail(s) : t;
}

static term_t get_name(struct source *s, bool keyword)
{
    struct vm *vm = process_vm(s->p);
    size_t n;
    const char *text = get_text(s, &n);

    if (s->bad || n == 0 || !utf8_is_valid(text, n)) {
        return fail(s);
    }
    return built(s, keyword ? realm_keyword(vm, text, n) : realm_symbol(vm, text, n));
}

static term_t decode(struct source *s, unsigned depth);

/* n terms in a list, in order. */
static term_t decode_list(struct source *s, size_t n, unsigned depth)
{
    term_t first = TERM_EMPTY;
    term_t *last = &first;

    for (size_t i = 0; i < n && !s->bad; i++) {
        term_t t = decode(s, depth);

        if (s->bad || !heap_reserve(s->p, PAIR_WORDS)) {
            return fail(s);
        }
        term_t pair = heap_pair(s->p, t, TERM_EMPTY);

        *last = pair; /* under construction: nothing collects before it is whole */
        last = &term_ptr(pair)[1];
    }
    return first;
}

static term_t decode_tuple(struct source *s, size_t n, unsigned depth)
{
    term_t *e;

    if (s->bad || !heap_reserve(s->p, TUPLE_WORDS(n))) {
        return fail(s);
    }
    term_t t = heap_tuple(s->p, n, &e);

    for (size_t i = 0; i < n; i++) {
        e[i] = TERM_NIL;
    }
    for (size_t i = 0; i < n && !s->bad; i++) {
        e[i] = decode(s, depth);
    }
    return t;
}

static term_t decode_collection(struct source *s, enum stored_tag tag, size_t n, unsigned depth)
{
    struct vm *vm = process_vm(s->p);
    term_t c = tag == STORED_VECTOR ? vector_empty(vm)
               : tag == STORED_MAP  ? map_empty(vm)
                                    : set_empty(vm);

    for (size_t i = 0; i < n && !s->bad; i++) {
        term_t k = decode(s, depth);
        term_t v = tag == STORED_MAP ? decode(s, depth) : TERM_NIL;

        c = s->bad                 ? TERM_NIL
            : tag == STORED_VECTOR ? built(s, vector_append(s->p, &c, &k))
            : tag == STORED_MAP    ? built(s, map_put(s->p, &c, &k, &v))
                                   : built(s, set_add(s->p, &c, &k));
    }
    return c;
}

static term_t decode_bignum(struct source *s)
{
    bool negative = get_byte(s) != 0;
    size_t n = get_count(s, sizeof(uint64_t));
    struct vm *vm = process_vm(s->p);

    if (s->bad || n == 0) {
        return fail(s);
    }
    uint64_t *limbs = vm_alloc(vm, n * sizeof(*limbs));

    if (limbs == NULL) {
        return fail(s);
    }
    get_bytes(s, limbs, n * sizeof(*limbs));
    term_t t = integer_from_limbs(s->p, negative, limbs, n);

    vm_free(vm, limbs, n * sizeof(*limbs));
    return built(s, t);
}

static term_t decode_word(struct source *s, enum object_tag tag, uint64_t arity)
{
    uint64_t v;

    get_bytes(s, &v, sizeof(v));
    if (s->bad || !heap_reserve(s->p, 2)) {
        return fail(s);
    }
    if (tag == TAG_FIXINT) {
        return arity > FIX_I64 ? fail(s) : heap_fixint(s->p, (enum fixint_kind)arity, v);
    }
    return heap_word_box(s->p, tag, 0, tag == TAG_F32 ? (uint32_t)v : v);
}

/* Parts of a ratio are never of fixed width. */
static bool is_plain_integer(term_t t)
{
    return term_is_small(t) || term_has_tag(t, TAG_BIGNUM);
}

static term_t decode_ratio(struct source *s, unsigned depth)
{
    term_t num = decode(s, depth);
    term_t den = decode(s, depth);

    if (s->bad || !is_plain_integer(num) || !is_plain_integer(den) || den == term_small(0)) {
        return fail(s);
    }
    return built(s, ratio_make(s->p, &num, &den));
}

static term_t decode_noted(struct source *s, unsigned depth)
{
    term_t symbol = decode(s, depth);
    term_t meta = decode(s, depth);

    if (s->bad || !term_is_symbol_word(symbol) || !term_is_map(meta) || !heap_reserve(s->p, 3)) {
        return fail(s);
    }
    term_t *o = heap_take(s->p, 3);

    o[0] = header_make(TAG_NOTED, 0);
    o[1] = symbol;
    o[2] = meta;
    return term_from_box(o);
}

static term_t decode_meta(struct source *s, unsigned depth)
{
    term_t meta = decode(s, depth);
    term_t t = s->bad ? TERM_NIL : decode(s, depth);

    if (s->bad || !term_is_map(meta) ||
        (!term_is_tuple(t) && !term_is_vector(t) && !term_is_map(t) && !term_is_set(t) &&
         !term_is_string(t))) {
        return fail(s);
    }
    size_t words = header_body_words(box_header(t));

    if (!heap_reserve(s->p, words + 1)) {
        return fail(s);
    }
    term_t *o = heap_take(s->p, words + 1);

    __builtin_memcpy(o, term_ptr(t), words * sizeof(*o));
    o[0] |= HEADER_META;
    o[words] = meta;
    return term_from_box(o);
}

static term_t decode_var(struct source *s)
{
    struct vm *vm = process_vm(s->p);
    term_t ns = get_name(s, false);
    term_t name = s->bad ? TERM_NIL : get_name(s, false);
    struct ns *n = s->bad ? NULL : realm_create_ns(vm, ns);
    struct var *v = n == NULL ? NULL : ns_intern(vm, n, name);

    return v == NULL ? fail(s) : var_term(v);
}

static term_t decode_native(struct source *s)
{
    size_t ns_size;
    size_t name_size;
    const char *ns = get_text(s, &ns_size);
    const char *name = get_text(s, &name_size);

    for (uint32_t id = 0; !s->bad && id < native_count(); id++) {
        const struct native *n = native_by_id(id);

        if (__builtin_strlen(n->ns) == ns_size && __builtin_strlen(n->name) == name_size &&
            __builtin_memcmp(n->ns, ns, ns_size) == 0 &&
            __builtin_memcmp(n->name, name, name_size) == 0) {
            return term_native(id);
        }
    }
    return fail(s);
}

static term_t decode_text(struct source *s, bool binary)
{
    size_t n;
    const char *text = get_text(s, &n);

    if (s->bad || (!binary && !utf8_is_valid(text, n))) {
        return fail(s);
    }
    return built(s, binary ? heap_binary(s->p, text, n) : heap_string(s->p, text, n));
}

static term_t decode_special(struct source *s)
{
    term_t t = get_byte(s);

    return t == TERM_NIL || t == TERM_TRUE || t == TERM_FALSE || t == TERM_EMPTY ||
                   t == TERM_UNBOUND
               ? t
               : fail(s);
}

static term_t decode_char(struct source *s)
{
    uint64_t c = get_varint(s);

    return c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? fail(s) : term_char((uint32_t)c);
}

static term_t decode_small(struct source *s)
{
    uint64_t v = get_varint(s);

    return built(s, integer_from_i64(s->p, (int64_t)(v >> 1 ^ (0 - (v & 1)))));
}

static term_t decode(struct source *s, unsigned depth)
{
    if (s->bad || ++depth > DECODE_DEPTH_MAX) {
        return fail(s);
    }
    enum stored_tag tag = (enum stored_tag)get_byte(s);

    switch (tag) {
    case STORED_SPECIAL:
        return decode_special(s);
    case STORED_SMALL:
        return decode_small(s);
    case STORED_SYMBOL:
        return get_name(s, false);
    case STORED_KEYWORD:
        return get_name(s, true);
    case STORED_CHAR:
        return decode_char(s);
    case STORED_NATIVE:
        return decode_native(s);
    case STORED_LIST:
        return decode_list(s, get_count(s, 1), depth);
    case STORED_TUPLE:
        return decode_tuple(s, get_count(s, 1), depth);
    case STORED_VECTOR:
    case STORED_SET:
        return decode_collection(s, tag, get_count(s, 1), depth);
    case STORED_MAP:
        return decode_collection(s, tag, get_count(s, 2), depth);
    case STORED_STRING:
        return decode_text(s, false);
    case STORED_BINARY:
        return decode_text(s, true);
    case STORED_BIGNUM:
        return decode_bignum(s);
    case STORED_FLOAT:
        return decode_word(s, TAG_FLOAT, 0);
    case STORED_F32:
        return decode_word(s, TAG_F32, 0);
    case STORED_FIXINT:
        return decode_word(s, TAG_FIXINT, get_byte(s));
    case STORED_RATIO:
        return decode_ratio(s, depth);
    case STORED_NOTED:
        return decode_noted(s, depth);
    case STORED_VAR:
        return decode_var(s);
    case STORED_NAMESPACE: {
        term_t name = get_name(s, false);
        const struct ns *ns = s->bad ? NULL : realm_create_ns(process_vm(s->p), name);

        return ns == NULL ? fail(s) : ns_term(ns);
    }
    case STORED_META:
        return decode_meta(s, depth);
    case STORED_PADDR:
        return decode_word(s, TAG_PADDR, 0);
    case STORED_VADDR:
        return decode_word(s, TAG_VADDR, 0);
    }
    return fail(s);
}

term_t term_decode(struct process *p, const uint8_t *data, size_t size, size_t *offset)
{
    struct source s = { p, data + *offset, data + size, false };

    assert(p->gc_inhibit > 0);
    term_t t = decode(&s, 0);

    if (s.bad) {
        return raise(p, KW(bad_code), 1, KW(offset), term_small((int64_t)*offset));
    }
    *offset = (size_t)(s.at - data);
    return t;
}

/* ---- units ---- */

/* An array of `size`-byte items as a block of vm memory, whose capacity is its count. */
static void *get_array(struct source *s, size_t size, uint32_t *count)
{
    size_t n = get_count(s, size);

    *count = 0;
    if (s->bad || n == 0 || n > UINT32_MAX) {
        return NULL;
    }
    void *p = vm_alloc(process_vm(s->p), n * size);

    if (p == NULL) {
        s->bad = true;
        return NULL;
    }
    get_bytes(s, p, n * size);
    *count = (uint32_t)n;
    return p;
}

static void decode_function(struct source *s, struct code_unit *u)
{
    uint32_t index = code_unit_function(u);

    if (u->out_of_memory) {
        s->bad = true;
        return;
    }
    struct code_function *f = &u->functions[index];

    f->name = decode(s, 0);
    uint64_t params = get_varint(s);

    f->variadic = get_byte(s) != 0;
    uint64_t slots = get_varint(s);

    if (params > UINT16_MAX || slots > UINT16_MAX) {
        s->bad = true;
        return;
    }
    f->params = (uint16_t)params;
    f->frame_slots = (uint16_t)slots;
    f->words = get_array(s, sizeof(*f->words), &f->word_count);
    f->word_capacity = f->word_count;
    f->guards = get_array(s, sizeof(*f->guards), &f->guard_count);
    f->guard_capacity = f->guard_count;
    f->lines = get_array(s, sizeof(*f->lines), &f->line_count);
    f->line_capacity = f->line_count;
}

static void decode_unit(struct source *s, struct code_unit *u)
{
    u->file = decode(s, 0);
    size_t constants = get_count(s, 1);

    for (size_t i = 0; i < constants && !s->bad; i++) {
        term_t t = decode(s, 0);

        if (u->constant_count == u->constant_capacity) {
            uint32_t capacity = max_of(u->constant_capacity * 2, 16u);
            term_t *more = vm_alloc(u->vm, capacity * sizeof(*more));

            if (more == NULL) {
                s->bad = true;
                return;
            }
            if (u->constant_count != 0) {
                __builtin_memcpy(more, u->constants, u->constant_count * sizeof(*more));
            }
            vm_free(u->vm, u->constants, u->constant_capacity * sizeof(*more));
            u->constants = more;
            u->constant_capacity = capacity;
        }
        u->constants[u->constant_count++] = t; /* indexes are in the code: no merging */
    }
    size_t functions = get_count(s, 1);

    for (size_t i = 0; i < functions && !s->bad; i++) {
        decode_function(s, u);
    }
}

bool code_decode(struct process *p, const uint8_t *data, size_t size, size_t *offset,
                 struct code_unit *u)
{
    struct stored_head head;
    struct source s = { p, data + *offset, data + size, false };

    assert(p->gc_inhibit > 0 && *offset <= size);
    get_bytes(&s, &head, sizeof(head));
    if (s.bad || head.magic != CODE_MAGIC || head.version != CODE_VERSION || head.size > left(&s) ||
        stored_checksum(s.at, head.size) != head.checksum) {
        (void)raise(p, KW(bad_code), 1, KW(offset), term_small((int64_t)*offset));
        return false;
    }
    s.end = s.at + head.size;
    decode_unit(&s, u);
    if (s.bad || s.at != s.end) {
        (void)raise(p, KW(bad_code), 1, KW(offset), term_small((int64_t)*offset));
        return false;
    }
    *offset = (size_t)(s.at - data);
    return true;
}
