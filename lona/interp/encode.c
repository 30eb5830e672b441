/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terms and units as bytes, written. Integers are LEB128 varints; a term is a tag byte and its
 * payload. No sharing is kept: constants are small, and a graph that would explode is refused by
 * size.
 */
#include "gc/heap.h"
#include "data/data.h"
#include "interp/code.h"
#include "interp/stored.h"
#include "native.h"
#include "number/number.h"
#include "vm_state.h"

enum {
    ENCODE_DEPTH_MAX = 1000
};

void byte_sink_init(struct byte_sink *s, struct vm *vm)
{
    *s = (struct byte_sink){ .vm = vm };
}

void byte_sink_deinit(struct byte_sink *s)
{
    vm_free(s->vm, s->data, s->capacity);
    *s = (struct byte_sink){ .vm = s->vm };
}

void byte_sink_put(struct byte_sink *s, const void *p, size_t n)
{
    if (s->failed || n == 0) {
        return;
    }
    if (n > s->capacity - s->size) {
        size_t capacity = max_of(s->capacity * 2, s->size + n + 256);
        uint8_t *data = n > STORED_SIZE_MAX - s->size ? NULL : vm_alloc(s->vm, capacity);

        if (data == NULL) {
            s->failed = true;
            return;
        }
        if (s->size != 0) {
            __builtin_memcpy(data, s->data, s->size);
        }
        vm_free(s->vm, s->data, s->capacity);
        s->data = data;
        s->capacity = capacity;
    }
    __builtin_memcpy(s->data + s->size, p, n);
    s->size += n;
}

static void put_byte(struct byte_sink *s, uint8_t b)
{
    byte_sink_put(s, &b, 1);
}

static void put_varint(struct byte_sink *s, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) {
        put_byte(s, (uint8_t)(v | 0x80));
    }
    put_byte(s, (uint8_t)v);
}

static void put_text(struct byte_sink *s, const char *text, size_t n)
{
    put_varint(s, n);
    byte_sink_put(s, text, n);
}

static void put_name(struct byte_sink *s, term_t name)
{
    const struct name *n = realm_name(s->vm, name);

    put_text(s, n->text, n->size);
}

static void encode(struct byte_sink *s, term_t t, unsigned depth);

static void encode_sequence(struct byte_sink *s, enum stored_tag tag, term_t t, unsigned depth)
{
    bool vectors = tag == STORED_VECTOR;
    size_t n = vectors ? vector_count(t) : tuple_count(t);

    put_byte(s, (uint8_t)tag);
    put_varint(s, n);
    for (size_t i = 0; i < n; i++) {
        encode(s, vectors ? vector_get(t, i) : tuple_get(t, i), depth);
    }
}

static void encode_map(struct byte_sink *s, term_t t, unsigned depth)
{
    bool sets = term_is_set(t);
    struct map_cursor c;

    put_byte(s, sets ? STORED_SET : STORED_MAP);
    put_varint(s, sets ? set_count(t) : map_count(t));
    for (map_first(&c, t); !c.done; map_next(&c)) {
        encode(s, c.key, depth);
        if (!sets) {
            encode(s, c.value, depth);
        }
    }
}

static void encode_list(struct byte_sink *s, term_t t, unsigned depth)
{
    int64_t n = list_length(t);

    if (n < 0) {
        s->failed = true;
        return;
    }
    put_byte(s, STORED_LIST);
    put_varint(s, (uint64_t)n);
    for (; term_is_list(t) && !s->failed; t = pair_rest(t)) {
        encode(s, pair_head(t), depth);
    }
}

static void encode_bignum(struct byte_sink *s, term_t t)
{
    const term_t *o = term_ptr(t);
    uint64_t n = header_count(o[0]);

    put_byte(s, STORED_BIGNUM);
    put_byte(s, o[1] != 0);
    put_varint(s, n);
    byte_sink_put(s, o + 2, n * sizeof(*o));
}

static void encode_boxed(struct byte_sink *s, term_t t, unsigned depth)
{
    const term_t *o = term_ptr(t);
    enum object_tag tag = header_tag(o[0]);

    switch (tag) {
    case TAG_TUPLE:
        encode_sequence(s, STORED_TUPLE, t, depth);
        return;
    case TAG_VECTOR:
        encode_sequence(s, STORED_VECTOR, t, depth);
        return;
    case TAG_MAP:
    case TAG_SET:
        encode_map(s, t, depth);
        return;
    case TAG_STRING:
        put_byte(s, STORED_STRING);
        put_text(s, string_data(t), string_bytes(t));
        return;
    case TAG_BINARY:
    case TAG_PROCBIN:
    case TAG_SUBBIN: {
        struct bytes_view v = binary_view(t);

        put_byte(s, STORED_BINARY);
        put_text(s, (const char *)v.data, v.size);
        return;
    }
    case TAG_BIGNUM:
        encode_bignum(s, t);
        return;
    case TAG_FLOAT:
    case TAG_F32:
    case TAG_PADDR:
    case TAG_VADDR:
        put_byte(s, tag == TAG_FLOAT   ? STORED_FLOAT
                    : tag == TAG_F32   ? STORED_F32
                    : tag == TAG_PADDR ? STORED_PADDR
                                       : STORED_VADDR);
        byte_sink_put(s, o + 1, sizeof(*o));
        return;
    case TAG_FIXINT:
        put_byte(s, STORED_FIXINT);
        put_byte(s, (uint8_t)fixint_kind_of(t));
        byte_sink_put(s, o + 1, sizeof(*o));
        return;
    case TAG_RATIO:
        put_byte(s, STORED_RATIO);
        encode(s, o[1], depth);
        encode(s, o[2], depth);
        return;
    case TAG_NOTED:
        put_byte(s, STORED_NOTED);
        encode(s, o[1], depth);
        encode(s, o[2], depth);
        return;
    case TAG_VAR:
        put_byte(s, STORED_VAR);
        put_name(s, ns_name(term_ns(term_var(t)->ns)));
        put_name(s, term_var(t)->name);
        return;
    case TAG_NAMESPACE:
        put_byte(s, STORED_NAMESPACE);
        put_name(s, ns_name(term_ns(t)));
        return;
    default:
        s->failed = true;
        return;
    }
}

static void encode_immediate(struct byte_sink *s, term_t t)
{
    if (term_is_small(t)) {
        int64_t v = small_value(t);

        put_byte(s, STORED_SMALL);
        put_varint(s, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
    } else if (term_is_symbol_word(t) || term_is_keyword(t)) {
        put_byte(s, term_is_keyword(t) ? STORED_KEYWORD : STORED_SYMBOL);
        put_name(s, t);
    } else if (term_is_char(t)) {
        put_byte(s, STORED_CHAR);
        put_varint(s, char_value(t));
    } else if (term_is_native(t)) {
        const struct native *n = native_by_id(native_id(t));

        put_byte(s, STORED_NATIVE);
        put_text(s, n->ns, __builtin_strlen(n->ns));
        put_text(s, n->name, __builtin_strlen(n->name));
    } else if (t == TERM_NIL || t == TERM_TRUE || t == TERM_FALSE || t == TERM_EMPTY ||
               t == TERM_UNBOUND) {
        put_byte(s, STORED_SPECIAL);
        put_byte(s, (uint8_t)t);
    } else {
        s->failed = true;
    }
}

static void encode(struct byte_sink *s, term_t t, unsigned depth)
{
    if (s->failed || depth >= ENCODE_DEPTH_MAX) {
        s->failed = true;
        return;
    }
    term_t meta = term_is_boxed(t) && !term_has_tag(t, TAG_NOTED) && !term_has_tag(t, TAG_VAR) &&
                          !term_has_tag(t, TAG_NAMESPACE)
                      ? term_meta(t)
                      : TERM_NIL;

    if (meta != TERM_NIL) {
        put_byte(s, STORED_META);
        encode(s, meta, depth + 1);
    }
    if (term_is_list(t)) {
        encode_list(s, t, depth + 1);
    } else if (term_is_boxed(t)) {
        encode_boxed(s, t, depth + 1);
    } else {
        encode_immediate(s, t);
    }
}

bool term_encode(struct byte_sink *s, struct vm *vm, term_t t)
{
    s->vm = vm;
    encode(s, t, 0);
    return !s->failed;
}

static void encode_function(struct byte_sink *s, const struct code_function *f)
{
    encode(s, f->name, 0);
    put_varint(s, f->params);
    put_byte(s, f->variadic);
    put_varint(s, f->frame_slots);
    put_varint(s, f->word_count);
    byte_sink_put(s, f->words, f->word_count * sizeof(*f->words));
    put_varint(s, f->guard_count);
    byte_sink_put(s, f->guards, f->guard_count * sizeof(*f->guards));
    put_varint(s, f->line_count);
    byte_sink_put(s, f->lines, f->line_count * sizeof(*f->lines));
}

void code_encode(struct byte_sink *s, const struct code_unit *u)
{
    struct stored_head head = { .magic = CODE_MAGIC, .version = CODE_VERSION };
    size_t start = s->size;

    s->failed |= u->out_of_memory;
    byte_sink_put(s, &head, sizeof(head));
    encode(s, u->file, 0);
    put_varint(s, u->constant_count);
    for (uint32_t i = 0; i < u->constant_count; i++) {
        encode(s, u->constants[i], 0);
    }
    put_varint(s, u->function_count);
    for (uint32_t i = 0; i < u->function_count; i++) {
        encode_function(s, &u->functions[i]);
    }
    if (s->failed) {
        return;
    }
    head.size = (uint32_t)(s->size - start - sizeof(head));
    head.checksum = stored_checksum(s->data + start + sizeof(head), head.size);
    __builtin_memcpy(s->data + start, &head, sizeof(head));
}
