/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: physical and virtual addresses as values of their own (6.5). */
#include <base/checked.h>

#include "gc/heap.h"
#include "native.h"
#include "number/number.h"

static term_t address(struct process *p, enum object_tag tag, uint64_t v)
{
    return heap_reserve(p, 2) ? heap_word_box(p, tag, 0, v) : TERM_ERROR;
}

static term_t kind_name(enum object_tag tag)
{
    return tag == TAG_PADDR ? KW(paddr) : KW(vaddr);
}

static uint64_t value_of(term_t t)
{
    return term_ptr(t)[1];
}

static term_t wrap(struct process *p, const term_t *args, enum object_tag tag, const char *fn)
{
    uint64_t v;

    if (!term_is_integer(args[0])) {
        return raise_type(p, fn, 0, KW(u64), args[0]);
    }
    return integer_to_u64(args[0], &v) ? address(p, tag, v) : raise_badarg(p, fn, args, 1);
}

static term_t unwrap(struct process *p, const term_t *args, enum object_tag tag, const char *fn)
{
    if (!term_has_tag(args[0], tag)) {
        return raise_type(p, fn, 0, kind_name(tag), args[0]);
    }
    return heap_reserve(p, 2) ? heap_fixint(p, FIX_U64, value_of(args[0])) : TERM_ERROR;
}

static term_t plus(struct process *p, const term_t *args, enum object_tag tag, const char *fn)
{
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0 ? !term_has_tag(args[0], tag) : !term_is_integer(args[1])) {
            return raise_type(p, fn, i, i == 0 ? kind_name(tag) : KW(u64), args[i]);
        }
    }
    return address(p, tag, value_of(args[0]) + integer_low_u64(args[1]));
}

static term_t minus(struct process *p, const term_t *args, enum object_tag tag, const char *fn)
{
    if (!term_has_tag(args[0], tag)) {
        return raise_type(p, fn, 0, kind_name(tag), args[0]);
    }
    if (term_has_tag(args[1], tag)) {
        return heap_reserve(p, 2) ? heap_fixint(p, FIX_U64, value_of(args[0]) - value_of(args[1]))
                                  : TERM_ERROR;
    }
    return term_is_integer(args[1]) ? address(p, tag, value_of(args[0]) - integer_low_u64(args[1]))
                                    : raise_type(p, fn, 1, kind_name(tag), args[1]);
}

static term_t relation(struct process *p, const term_t *args, enum object_tag tag, bool less,
                       const char *fn)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!term_has_tag(args[i], tag)) {
            return raise_type(p, fn, i, kind_name(tag), args[i]);
        }
    }
    return term_bool(less ? value_of(args[0]) < value_of(args[1])
                          : value_of(args[0]) == value_of(args[1]));
}

enum alignment {
    ALIGN_UP,
    ALIGN_DOWN,
    IS_ALIGNED
};

static term_t alignment(struct process *p, const term_t *args, enum object_tag tag,
                        enum alignment how, const char *fn)
{
    uint64_t n;

    if (!term_has_tag(args[0], tag)) {
        return raise_type(p, fn, 0, kind_name(tag), args[0]);
    }
    if (!term_is_integer(args[1])) {
        return raise_type(p, fn, 1, KW(u64), args[1]);
    }
    uint64_t v = value_of(args[0]);

    if (!integer_to_u64(args[1], &n) || !is_power_of_two(n) ||
        (how == ALIGN_UP && v > UINT64_MAX - (n - 1))) {
        return raise_badarg(p, fn, args, 2);
    }
    if (how == IS_ALIGNED) {
        return term_bool((v & (n - 1)) == 0);
    }
    return address(p, tag, (how == ALIGN_UP ? v + (n - 1) : v) & ~(n - 1));
}

#define NATIVE(name, call)                                                                         \
    static term_t name(struct process *p, term_t *args, unsigned argc)                             \
    {                                                                                              \
        (void)argc;                                                                                \
        return call;                                                                               \
    }
#define KIND(k, tag)                                                                               \
    NATIVE(k##_wrap, wrap(p, args, tag, #k))                                                       \
    NATIVE(k##_unwrap, unwrap(p, args, tag, #k "->u64"))                                           \
    NATIVE(k##_plus, plus(p, args, tag, #k "+"))                                                   \
    NATIVE(k##_minus, minus(p, args, tag, #k "-"))                                                 \
    NATIVE(k##_equal, relation(p, args, tag, false, #k "="))                                       \
    NATIVE(k##_less, relation(p, args, tag, true, #k "<"))                                         \
    NATIVE(k##_align, alignment(p, args, tag, ALIGN_UP, #k "-align"))                              \
    NATIVE(k##_align_down, alignment(p, args, tag, ALIGN_DOWN, #k "-align-down"))                  \
    NATIVE(k##_aligned, alignment(p, args, tag, IS_ALIGNED, #k "-aligned?"))

KIND(paddr, TAG_PADDR)
KIND(vaddr, TAG_VADDR)

#define PURE (NATIVE_PURE | NATIVE_ALLOCATES)
#define ROW(text, fn, n, args, what)                                                               \
    {                                                                                              \
        "lona.core", text, fn, n, n, PURE, 1, args, what                                           \
    }
#define ROWS(k)                                                                                    \
    ROW(#k, k##_wrap, 1, "(u)", "The address u."),                                                 \
        ROW(#k "->u64", k##_unwrap, 1, "(a)", "The address as a u64."),                            \
        ROW(#k "+", k##_plus, 2, "(a n)", "n bytes further."),                                     \
        ROW(#k "-", k##_minus, 2, "(a b)", "Bytes between, or the address n bytes before."),       \
        ROW(#k "=", k##_equal, 2, "(a b)", "The same address?"),                                   \
        ROW(#k "<", k##_less, 2, "(a b)", "Is a below b?"),                                        \
        ROW(#k "-align", k##_align, 2, "(a n)", "Rounded up to a multiple of n."),                 \
        ROW(#k "-align-down", k##_align_down, 2, "(a n)", "Rounded down to a multiple of n."),     \
        ROW(#k "-aligned?", k##_aligned, 2, "(a n)", "Is it a multiple of n?")

static const struct native rows[] = { ROWS(paddr), ROWS(vaddr) };

const struct native_table native_address = { rows, array_size(rows) };
