/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the compiler calls for patterns that no instruction knows: sets, pids, bytes, bits; and for
 * #bytes and #bits that aren't literal. A match native returns a tuple of the parts, or TERM_HOLE
 * for "does not fit".
 *
 * A layout is a tuple of segments [size unit flags]: size is an integer, [:value k] for the value
 * of segment k of the same match, or [:arg k] for an argument; it counts units of so many bits.
 */
#include "data/data.h"
#include "native.h"
#include "number/number.h"
#include "vm_state.h"

enum {
    BITS_LITTLE = 1, /* in step with compiler/pattern.c */
    BITS_SIGNED = 2,
    BITS_BINARY = 4,
    BITS_INTEGER_MAX = BIGNUM_LIMBS_MAX, /* bits of one integer field */
};

/* ---- sets and pids ---- */

static bool has_literals(struct process *p, term_t set, term_t literals)
{
    for (size_t i = 0; i < tuple_count(literals); i++) {
        if (set_get(p, set, tuple_get(literals, i)) == TERM_HOLE) {
            return false;
        }
    }
    return true;
}

static bool tuple_has(struct process *p, term_t tuple, term_t t)
{
    for (size_t i = 0; i < tuple_count(tuple); i++) {
        if (term_equal(p, tuple_get(tuple, i), t)) {
            return true;
        }
    }
    return false;
}

/* (match-set* value literals others): a tuple of the elements that are no literal. */
static term_t match_set(struct process *p, term_t *args, unsigned argc)
{
    uint64_t others;
    struct map_cursor c;
    term_t *e;
    size_t n = 0;

    (void)argc;
    if (!term_is_tuple(args[1]) || !arg_size(args[2], UINT16_MAX, &others)) {
        return raise_badarg(p, "match-set*", args, argc);
    }
    if (!term_is_set(args[0]) || set_count(args[0]) != tuple_count(args[1]) + others ||
        !has_literals(p, args[0], args[1])) {
        return TERM_HOLE;
    }
    if (!heap_reserve(p, TUPLE_WORDS(others))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, others, &e);

    for (map_first(&c, args[0]); !c.done; map_next(&c)) {
        if (n < others && !tuple_has(p, args[1], c.key)) {
            e[n++] = c.key;
        }
    }
    while (n < others) {
        e[n++] = TERM_NIL; /* two literals were equal: cannot fit */
        t = TERM_HOLE;
    }
    return t;
}

/* (match-pid* value): [realm local]. There is one realm, number 0. */
static term_t match_pid(struct process *p, term_t *args, unsigned argc)
{
    term_t *e;

    (void)argc;
    if (!term_has_tag(args[0], TAG_PID)) {
        return TERM_HOLE;
    }
    if (!heap_reserve(p, TUPLE_WORDS(2))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, 2, &e);

    e[0] = term_small(0);
    e[1] = term_small((int64_t)pid_index(args[0]));
    return t;
}

/* ---- bytes ---- */

/* (match-bytes* value count rest?): count integers, then the rest if asked for. */
static term_t match_bytes(struct process *p, term_t *args, unsigned argc)
{
    uint64_t count;
    bool wants_rest = args[2] == TERM_TRUE;
    term_t *e;

    if (!arg_size(args[1], UINT16_MAX, &count)) {
        return raise_badarg(p, "match-bytes*", args, argc);
    }
    if (!term_is_binary(args[0])) {
        return TERM_HOLE;
    }
    size_t size = binary_view(args[0]).size;

    if (wants_rest ? size < count : size != count) {
        return TERM_HOLE;
    }
    term_t rest = TERM_NIL;
    struct root r;

    root_push(p, &r, &rest);
    if (wants_rest) {
        rest = heap_binary_slice(p, &args[0], (size_t)count, size - (size_t)count);
    }
    bool ok = rest != TERM_ERROR && heap_reserve(p, TUPLE_WORDS(count + wants_rest));

    root_pop(p, &r);
    if (!ok) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, count + wants_rest, &e);
    const uint8_t *data = binary_view(args[0]).data;

    for (size_t i = 0; i < count; i++) {
        e[i] = term_small(data[i]);
    }
    if (wants_rest) {
        e[count] = rest;
    }
    return t;
}

/* (make-bytes* rest byte ...): rest is a binary or nil. */
static term_t make_bytes(struct process *p, term_t *args, unsigned argc)
{
    size_t n = argc - 1;
    uint8_t *to;
    uint64_t byte;

    if (args[0] != TERM_NIL && !term_is_binary(args[0])) {
        return raise_type(p, "#bytes", 0, KW(binary), args[0]);
    }
    for (size_t i = 0; i < n; i++) {
        if (!arg_size(args[1 + i], 255, &byte)) {
            return raise_badarg(p, "#bytes", args, argc);
        }
    }
    size_t more = args[0] == TERM_NIL ? 0 : binary_view(args[0]).size;
    term_t t = heap_binary_new(p, n + more, &to);

    if (t == TERM_ERROR) {
        return TERM_ERROR;
    }
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)small_value(args[1 + i]);
    }
    if (more != 0) {
        __builtin_memcpy(to + n, binary_view(args[0]).data, more);
    }
    return t;
}

/* ---- bits ---- */

struct field {
    uint64_t size; /* in bits */
    int64_t flags;
};

static bool segment_is_sound(term_t s)
{
    return term_is_tuple(s) && tuple_count(s) == 3 && term_is_small(tuple_get(s, 1)) &&
           term_is_small(tuple_get(s, 2)) && small_value(tuple_get(s, 1)) >= 1 &&
           small_value(tuple_get(s, 1)) <= 8;
}

/* Field i; values and arguments are what [:value k] and [:arg k] mean. False: it has no such size.
 */
static bool field_at(term_t layout, size_t i, const term_t *values, const term_t *args,
                     size_t arg_count, struct field *out)
{
    term_t s = tuple_get(layout, i);

    if (!segment_is_sound(s)) {
        return false;
    }
    term_t size = tuple_get(s, 0);
    uint64_t n;

    if (term_is_tuple(size) && tuple_count(size) == 2 && term_is_small(tuple_get(size, 1))) {
        uint64_t k = (uint64_t)small_value(tuple_get(size, 1));
        bool is_value = tuple_get(size, 0) == KW(value);

        if (k >= (is_value ? i : arg_count)) {
            return false;
        }
        size = is_value ? values[k] : args[k];
    }
    int64_t v;

    if (!term_is_integer(size) || !integer_to_i64(size, &v) || v < 0 || v > UINT32_MAX) {
        return false;
    }
    n = (uint64_t)v;
    *out =
        (struct field){ n * (uint64_t)small_value(tuple_get(s, 1)), small_value(tuple_get(s, 2)) };
    return true;
}

static unsigned bit_get(const uint8_t *data, uint64_t at)
{
    return data[at / 8] >> (7 - at % 8) & 1;
}

/* n <= 64 bits, most significant first. */
static uint64_t bits_get(const uint8_t *data, uint64_t at, unsigned n)
{
    uint64_t v = 0;

    while (n > 0) {
        if (at % 8 == 0 && n >= 8) {
            v = v << 8 | data[at / 8];
            at += 8;
            n -= 8;
        } else {
            v = v << 1 | bit_get(data, at);
            at++;
            n--;
        }
    }
    return v;
}

/* A field of more than 64 bits: into limbs, low first, through a copy in VM memory. */
static term_t get_wide(struct process *p, const uint8_t *data, uint64_t at, const struct field *f)
{
    struct vm *vm = process_vm(p);
    size_t n = (size_t)(f->size + 63) / 64;
    uint64_t *limbs = vm_alloc(vm, (n + 1) * sizeof(*limbs));
    bool negative = false;

    if (limbs == NULL) {
        return raise_oom(p);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t left = f->size - i * 64;
        unsigned take = left < 64 ? (unsigned)left : 64;

        if ((f->flags & BITS_LITTLE) != 0) {
            uint64_t w = bits_get(data, at + i * 64, take);
            unsigned bytes = take / 8;

            limbs[i] = __builtin_bswap64(w) >> (64 - 8 * bytes);
        } else {
            limbs[i] = bits_get(data, at + left - take, take);
        }
    }
    if ((f->flags & BITS_SIGNED) != 0 && (limbs[n - 1] >> (f->size - 1) % 64 & 1) != 0) {
        unsigned top = (unsigned)(f->size % 64);
        uint64_t carry = 1;

        negative = true;
        limbs[n - 1] |= top == 0 ? 0 : ~(uint64_t)0 << top;
        for (size_t i = 0; i < n; i++) {
            limbs[i] = ~limbs[i] + carry;
            carry = carry != 0 && limbs[i] == 0;
        }
    }
    term_t t = integer_from_limbs(p, negative, limbs, n);

    vm_free(vm, limbs, (n + 1) * sizeof(*limbs));
    return t;
}

static term_t get_integer(struct process *p, const uint8_t *data, uint64_t at,
                          const struct field *f)
{
    if (f->size == 0) {
        return term_small(0);
    }
    if (f->size > 64) {
        return get_wide(p, data, at, f);
    }
    unsigned n = (unsigned)f->size;
    uint64_t v = bits_get(data, at, n);

    if ((f->flags & BITS_LITTLE) != 0) {
        v = __builtin_bswap64(v) >> (64 - n);
    }
    if ((f->flags & BITS_SIGNED) != 0) {
        return integer_from_i64(p, (int64_t)(v << (64 - n)) >> (64 - n));
    }
    return integer_from_u64(p, v);
}

static term_t get_binary(struct process *p, term_t *binary, uint64_t at, const struct field *f)
{
    size_t n = (size_t)(f->size / 8);
    uint8_t *to;

    if (at % 8 == 0) {
        return heap_binary_slice(p, binary, (size_t)(at / 8), n);
    }
    term_t t = heap_binary_new(p, n, &to);

    for (size_t i = 0; t != TERM_ERROR && i < n; i++) {
        to[i] = (uint8_t)bits_get(binary_view(*binary).data, at + 8 * i, 8);
    }
    return t;
}

/* One field of binary *binary at bit *at; TERM_HOLE when it does not fit. */
static term_t get_field(struct process *p, term_t *binary, uint64_t *at, const struct field *f)
{
    uint64_t total = (uint64_t)binary_view(*binary).size * 8;
    term_t t;

    if (f->size > total - *at || ((f->flags & BITS_BINARY) != 0 && f->size % 8 != 0) ||
        ((f->flags & (BITS_LITTLE | BITS_BINARY)) == BITS_LITTLE && f->size % 8 != 0)) {
        return TERM_HOLE;
    }
    if ((f->flags & BITS_BINARY) != 0) {
        t = get_binary(p, binary, *at, f);
    } else {
        t = f->size > BITS_INTEGER_MAX ? TERM_HOLE
                                       : get_integer(p, binary_view(*binary).data, *at, f);
    }
    *at += f->size;
    return t;
}

static term_t match_fields(struct process *p, term_t *args, unsigned argc, term_t *values)
{
    term_t layout = args[1];
    size_t n = tuple_count(layout);
    bool wants_rest = args[2] == TERM_TRUE;
    uint64_t at = 0;
    struct field f;
    term_t *e;

    for (size_t i = 0; i < n; i++) {
        if (!field_at(layout, i, values, args + 3, argc - 3, &f)) {
            return TERM_HOLE;
        }
        values[i] = get_field(p, &args[0], &at, &f);
        if (values[i] == TERM_HOLE || values[i] == TERM_ERROR) {
            return values[i];
        }
    }
    uint64_t total = (uint64_t)binary_view(args[0]).size * 8;

    if (wants_rest ? at % 8 != 0 : at != total) {
        return TERM_HOLE;
    }
    if (wants_rest) {
        values[n] = heap_binary_slice(p, &args[0], (size_t)(at / 8), (size_t)((total - at) / 8));
        if (values[n] == TERM_ERROR) {
            return TERM_ERROR;
        }
    }
    if (!heap_reserve(p, TUPLE_WORDS(n + wants_rest))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, n + wants_rest, &e);

    for (size_t i = 0; i < n + wants_rest; i++) {
        e[i] = values[i];
    }
    return t;
}

/* (match-bits* value layout rest? arg ...): the fields, then the rest if asked for. */
static term_t match_bits(struct process *p, term_t *args, unsigned argc)
{
    struct vm *vm = process_vm(p);

    if (!term_is_tuple(args[1])) {
        return raise_type(p, "match-bits*", 1, KW(tuple), args[1]);
    }
    if (!term_is_binary(args[0])) {
        return TERM_HOLE;
    }
    size_t bytes = (tuple_count(args[1]) + 1) * sizeof(term_t);
    term_t *values = vm_alloc(vm, bytes);

    if (values == NULL) {
        return raise_oom(p);
    }
    /* Few fields, small ones: nothing moves while they lie in C. */
    heap_inhibit_gc(p);
    term_t t = match_fields(p, args, argc, values);

    heap_permit_gc(p);
    vm_free(vm, values, bytes);
    return t;
}

/* ---- building bits ---- */

struct bit_writer {
    uint8_t *data; /* zeroed */
    uint64_t at;
};

static void bits_put(struct bit_writer *w, uint64_t v, unsigned n)
{
    while (n > 0) {
        if (w->at % 8 == 0 && n >= 8) {
            w->data[w->at / 8] = (uint8_t)(v >> (n - 8));
            w->at += 8;
            n -= 8;
        } else {
            n--;
            w->data[w->at / 8] |= (uint8_t)((v >> n & 1) << (7 - w->at % 8));
            w->at++;
        }
    }
}

/* Bits [k * 64, k * 64 + 64) of an integer in two's complement. */
static uint64_t integer_word(term_t t, size_t k)
{
    if (!term_has_tag(t, TAG_BIGNUM)) {
        uint64_t low = integer_low_u64(t);

        if (k == 0) {
            return low;
        }
        return term_has_tag(t, TAG_FIXINT) && fixint_kind_of(t) < FIX_I8
                   ? 0
                   : (uint64_t)((int64_t)low >> 63);
    }
    const uint64_t *limbs = term_ptr(t) + 2;
    size_t n = (size_t)header_count(box_header(t));

    if (term_ptr(t)[1] == 0) {
        return k < n ? limbs[k] : 0;
    }
    bool lower_zero = true;

    for (size_t i = 0; i < k && i < n; i++) {
        lower_zero &= limbs[i] == 0;
    }
    return ~(k < n ? limbs[k] : 0) + (lower_zero ? 1 : 0);
}

static void put_integer(struct bit_writer *w, term_t t, const struct field *f)
{
    if ((f->flags & BITS_LITTLE) != 0) {
        for (uint64_t i = 0; i < f->size; i += 8) {
            bits_put(w, integer_word(t, (size_t)(i / 64)) >> i % 64 & 0xFF, 8);
        }
        return;
    }
    for (uint64_t left = f->size; left > 0;) {
        unsigned take = left % 64 != 0 ? (unsigned)(left % 64) : 64;
        uint64_t v = integer_word(t, (size_t)((left - 1) / 64));

        bits_put(w, take == 64 ? v : v & (((uint64_t)1 << take) - 1), take);
        left -= take;
    }
}

static bool check_value(term_t t, const struct field *f)
{
    if ((f->flags & BITS_BINARY) != 0) {
        if (!term_is_binary(t)) {
            return false;
        }
        uint64_t have = (uint64_t)binary_view(t).size * 8;
        return f->size <= have && f->size % 8 == 0;
    }
    return term_is_integer(t) && ((f->flags & BITS_LITTLE) == 0 || f->size % 8 == 0) &&
           f->size <= BITS_INTEGER_MAX;
}

/* (make-bits* layout rest arg ... value ...) */
static term_t make_bits(struct process *p, term_t *args, unsigned argc)
{
    size_t n = term_is_tuple(args[0]) ? tuple_count(args[0]) : SIZE_MAX;
    uint64_t total = 0;
    uint8_t *to;
    struct field f;

    if (n > argc - 2 || (args[1] != TERM_NIL && !term_is_binary(args[1]))) {
        return raise_badarg(p, "#bits", args, argc);
    }
    size_t arg_count = argc - 2 - n;
    const term_t *values = args + 2 + arg_count;

    for (size_t i = 0; i < n; i++) {
        if (!field_at(args[0], i, values, args + 2, arg_count, &f) || !check_value(values[i], &f)) {
            return raise_badarg(p, "#bits", args, argc);
        }
        total += f.size;
    }
    size_t rest = args[1] == TERM_NIL ? 0 : binary_view(args[1]).size;

    if (total % 8 != 0) {
        return raise_badarg(p, "#bits", args, argc);
    }
    term_t t = heap_binary_new(p, (size_t)(total / 8) + rest, &to);

    if (t == TERM_ERROR) {
        return TERM_ERROR;
    }
    struct bit_writer w = { to, 0 };

    __builtin_memset(to, 0, (size_t)(total / 8));
    for (size_t i = 0; i < n; i++) {
        if (!field_at(args[0], i, values, args + 2, arg_count, &f)) {
            return raise_badarg(p, "#bits", args, argc);
        }
        if ((f.flags & BITS_BINARY) == 0) {
            put_integer(&w, values[i], &f);
            continue;
        }
        for (uint64_t k = 0; k < f.size / 8; k++) {
            bits_put(&w, binary_view(values[i]).data[k], 8);
        }
    }
    if (rest != 0) {
        __builtin_memcpy(to + total / 8, binary_view(args[1]).data, rest);
    }
    return t;
}

#define INNER (NATIVE_PURE | NATIVE_ALLOCATES | NATIVE_INTERNAL)

static const struct native rows[] = {
    { "lona.core", "match-set*", match_set, 3, 3, INNER, 3, "(value literals count)",
      "What a set pattern calls." },
    { "lona.core", "match-pid*", match_pid, 1, 1, INNER, 2, "(value)",
      "What a pid pattern calls." },
    { "lona.core", "match-bytes*", match_bytes, 3, 3, INNER, 3, "(value count rest?)",
      "What a #bytes pattern calls." },
    { "lona.core", "match-bits*", match_bits, 3, NATIVE_VARIADIC, INNER, 5,
      "(value layout rest? & sizes)", "What a #bits pattern calls." },
    { "lona.core", "make-bytes*", make_bytes, 1, NATIVE_VARIADIC, INNER, 3, "(rest & bytes)",
      "What #bytes with expressions calls." },
    { "lona.core", "make-bits*", make_bits, 2, NATIVE_VARIADIC, INNER, 5, "(layout rest & values)",
      "What #bits calls as an expression." },
};

const struct native_table native_match = { rows, array_size(rows) };
