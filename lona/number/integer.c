/* SPDX-License-Identifier: Apache-2.0 */
/* Integers of any size on GMP's mpn functions; limbs live in the process heap. */
#include "number/integer.h"

#include "bounds.h"
#include "gc/heap.h"
#include "native.h"

bool term_is_plain_integer(term_t t)
{
    return term_is_small(t) || term_has_tag(t, TAG_BIGNUM);
}

bool term_is_integer(term_t t)
{
    return term_is_plain_integer(t) || term_has_tag(t, TAG_FIXINT);
}

static void magnitude_of_i64(struct magnitude *m, int64_t v)
{
    m->negative = v < 0;
    m->word = v < 0 ? -(uint64_t)v : (uint64_t)v;
    m->d = &m->word;
    m->n = m->word != 0;
}

void magnitude_of(struct magnitude *m, term_t t)
{
    if (term_is_small(t)) {
        magnitude_of_i64(m, small_value(t));
        return;
    }
    const term_t *o = term_ptr(t);

    if (header_tag(o[0]) == TAG_FIXINT) {
        if (fixint_kind_of(t) >= FIX_I8) {
            magnitude_of_i64(m, (int64_t)o[1]);
            return;
        }
        m->negative = false;
        m->word = o[1];
        m->d = &m->word;
        m->n = m->word != 0;
        return;
    }
    m->negative = o[1] != 0;
    m->d = (const mp_limb_t *)(o + 2);
    m->n = (mp_size_t)header_count(o[0]);
}

mp_limb_t *limbs_reserve(struct process *p, mp_size_t n)
{
    if (n > BIGNUM_LIMBS_MAX) {
        (void)raise_oom(p);
        return NULL;
    }
    if (!heap_reserve(p, 2 + (size_t)n)) {
        return NULL;
    }
    return (mp_limb_t *)(p->htop + 2);
}

term_t limbs_finish(struct process *p, mp_size_t n, bool negative)
{
    const mp_limb_t *d = (const mp_limb_t *)(p->htop + 2);

    while (n > 0 && d[n - 1] == 0) {
        n--;
    }
    if (n == 0) {
        return term_small(0);
    }
    if (n == 1 && d[0] <= (uint64_t)SMALL_MAX + negative) {
        return term_small(negative ? -(int64_t)d[0] : (int64_t)d[0]);
    }
    term_t *o = heap_take(p, 2 + (size_t)n);

    o[0] = header_make(TAG_BIGNUM, (uint64_t)n);
    o[1] = negative;
    return term_from_box(o);
}

term_t integer_from_limbs(struct process *p, bool negative, const uint64_t *limbs, size_t n)
{
    mp_limb_t *d = n > BIGNUM_LIMBS_MAX ? limbs_reserve(p, BIGNUM_LIMBS_MAX + 1)
                                        : limbs_reserve(p, (mp_size_t)n);

    if (d == NULL) {
        return TERM_ERROR;
    }
    for (size_t i = 0; i < n; i++) {
        d[i] = limbs[i];
    }
    return limbs_finish(p, (mp_size_t)n, negative);
}

term_t integer_from_i64(struct process *p, int64_t v)
{
    uint64_t m = v < 0 ? -(uint64_t)v : (uint64_t)v;

    return small_fits(v) ? term_small(v) : integer_from_limbs(p, v < 0, &m, 1);
}

term_t integer_from_u64(struct process *p, uint64_t v)
{
    return v <= (uint64_t)SMALL_MAX ? term_small((int64_t)v) : integer_from_limbs(p, false, &v, 1);
}

bool integer_to_i64(term_t t, int64_t *out)
{
    struct magnitude m;

    if (term_is_small(t)) {
        *out = small_value(t);
        return true;
    }
    magnitude_of(&m, t);
    if (m.n > 1 || (m.n == 1 && m.d[0] > (uint64_t)INT64_MAX + m.negative)) {
        return false;
    }
    uint64_t v = m.n == 0 ? 0 : m.d[0];

    *out = m.negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool integer_to_u64(term_t t, uint64_t *out)
{
    struct magnitude m;

    magnitude_of(&m, t);
    if (m.n > 1 || (m.negative && m.n != 0)) {
        return false;
    }
    *out = m.n == 0 ? 0 : m.d[0];
    return true;
}

uint64_t integer_low_u64(term_t t)
{
    struct magnitude m;

    magnitude_of(&m, t);
    uint64_t v = m.n == 0 ? 0 : m.d[0];

    return m.negative ? 0 - v : v;
}

int int_sign(term_t t)
{
    struct magnitude m;

    magnitude_of(&m, t);
    return m.n == 0 ? 0 : m.negative ? -1 : 1;
}

static int compare_magnitudes(const struct magnitude *a, const struct magnitude *b)
{
    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }
    return a->n == 0 ? 0 : mpn_cmp(a->d, b->d, a->n);
}

int int_compare(term_t a, term_t b)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, a);
    magnitude_of(&y, b);
    bool xn = x.negative && x.n != 0;
    bool yn = y.negative && y.n != 0;

    if (xn != yn) {
        return xn ? -1 : 1;
    }
    int c = compare_magnitudes(&x, &y);

    c = (c > 0) - (c < 0);
    return xn ? -c : c;
}

/* |x| >= |y| */
static term_t add_ordered(struct process *p, mp_limb_t *d, const struct magnitude *x,
                          const struct magnitude *y)
{
    if (y->n == 0) {
        mpn_copyi(d, x->d, x->n);
        return limbs_finish(p, x->n, x->negative);
    }
    if (x->negative == y->negative) {
        d[x->n] = mpn_add(d, x->d, x->n, y->d, y->n);
        return limbs_finish(p, x->n + 1, x->negative);
    }
    (void)mpn_sub(d, x->d, x->n, y->d, y->n);
    return limbs_finish(p, x->n, x->negative);
}

term_t int_add(struct process *p, term_t *a, term_t *b, bool subtract)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    mp_size_t n = max_of(x.n, y.n) + 1;
    mp_limb_t *d = limbs_reserve(p, n);

    if (d == NULL) {
        return TERM_ERROR;
    }
    process_charge(p, (size_t)n / 16);
    magnitude_of(&x, *a); /* again: they may have moved */
    magnitude_of(&y, *b);
    y.negative ^= subtract;
    if (compare_magnitudes(&x, &y) < 0) {
        return add_ordered(p, d, &y, &x);
    }
    return add_ordered(p, d, &x, &y);
}

term_t int_mul(struct process *p, term_t *a, term_t *b)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    if (x.n == 0 || y.n == 0) {
        return term_small(0);
    }
    mp_limb_t *d = limbs_reserve(p, x.n + y.n);

    if (d == NULL) {
        return TERM_ERROR;
    }
    process_charge(p, ((size_t)x.n / 4 + 1) * ((size_t)y.n / 4 + 1) / 16);
    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    if (x.n >= y.n) {
        (void)mpn_mul(d, x.d, x.n, y.d, y.n);
    } else {
        (void)mpn_mul(d, y.d, y.n, x.d, x.n);
    }
    return limbs_finish(p, x.n + y.n, x.negative != y.negative);
}

/* |a| >= |b| > 0, both bignum-sized or not. Quotient or remainder, truncating. */
static term_t divide_big(struct process *p, term_t *a, term_t *b, bool want_quotient)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    mp_size_t qn = x.n - y.n + 1;
    mp_size_t rn = y.n;

    if (limbs_reserve(p, qn + rn) == NULL) {
        return TERM_ERROR;
    }
    process_charge(p, ((size_t)qn / 4 + 1) * ((size_t)rn / 4 + 1) / 16);
    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    mp_limb_t *first = (mp_limb_t *)(p->htop + 2);
    mp_limb_t *q = want_quotient ? first : first + rn;
    mp_limb_t *r = want_quotient ? first + qn : first;

    mpn_tdiv_qr(q, r, 0, x.d, x.n, y.d, y.n);
    return want_quotient ? limbs_finish(p, qn, x.negative != y.negative)
                         : limbs_finish(p, rn, x.negative);
}

term_t int_divide(struct process *p, term_t *a, term_t *b, enum division what)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    assert(y.n != 0);
    bool signs_differ = x.negative != y.negative;
    term_t r;

    if (compare_magnitudes(&x, &y) < 0) {
        r = what == DIVIDE_QUOT ? term_small(0) : *a;
    } else {
        r = divide_big(p, a, b, what == DIVIDE_QUOT);
    }
    if (what != DIVIDE_MOD || r == TERM_ERROR || r == term_small(0) || !signs_differ) {
        return r;
    }
    struct root root;

    root_push(p, &root, &r);
    term_t sum = int_add(p, &r, b, false);

    root_pop(p, &root);
    return sum;
}

term_t int_gcd(struct process *p, term_t *a, term_t *b)
{
    term_t x = *a;
    term_t y = *b;
    struct root rx;
    struct root ry;

    root_push(p, &rx, &x);
    root_push(p, &ry, &y);
    while (y != term_small(0) && y != TERM_ERROR) {
        term_t r = int_divide(p, &x, &y, DIVIDE_REM);

        x = y;
        y = r;
    }
    term_t result = y == TERM_ERROR ? TERM_ERROR : x;

    if (result != TERM_ERROR && int_sign(x) < 0) {
        term_t zero = term_small(0);

        result = int_add(p, &zero, &x, true);
    }
    root_pop(p, &ry);
    root_pop(p, &rx);
    return result;
}

mp_limb_t *scratch_get(mp_size_t n)
{
    void *(*alloc)(size_t);

    mp_get_memory_functions(&alloc, NULL, NULL);
    return alloc((size_t)n * sizeof(mp_limb_t));
}

void scratch_put(mp_limb_t *d, mp_size_t n)
{
    void (*release)(void *, size_t);

    mp_get_memory_functions(NULL, NULL, &release);
    release(d, (size_t)n * sizeof(mp_limb_t));
}

/* ---- text ---- */

term_t integer_from_digits(struct process *p, const char *digits, size_t n, unsigned radix,
                           bool negative)
{
    if (n > (size_t)BIGNUM_LIMBS_MAX * 8) {
        return raise_oom(p);
    }
    mp_size_t limbs = (mp_size_t)(n * 6 / 64 + 2); /* 6 bits hold a digit of any radix */
    mp_limb_t *d = limbs_reserve(p, limbs);
    unsigned char small[256];
    unsigned char *values =
        n <= sizeof(small) ? small : (unsigned char *)scratch_get((mp_size_t)(n / 8 + 1));
    size_t at = 0;

    if (d != NULL) {
        for (; at < n && digits[at] == '0'; at++) {
        }
        size_t count = n - at;

        for (size_t i = 0; i < count; i++) {
            char c = digits[at + i];

            values[i] = (unsigned char)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
            assert(values[i] < radix);
        }
        process_charge(p, n / 16);
        limbs = count == 0 ? 0 : mpn_set_str(d, values, count, (int)radix);
    }
    if (values != small) {
        scratch_put((mp_limb_t *)(void *)values, (mp_size_t)(n / 8 + 1));
    }
    return d == NULL ? TERM_ERROR : limbs_finish(p, limbs, negative);
}

size_t integer_text_max(term_t t, unsigned radix)
{
    struct magnitude m;

    magnitude_of(&m, t);
    return m.n == 0 ? 2 : mpn_sizeinbase(m.d, m.n, (int)radix) + 2;
}

size_t integer_to_text(term_t t, unsigned radix, char *out, size_t n)
{
    struct magnitude m;

    magnitude_of(&m, t);
    if (m.n == 0) {
        assert(n >= 1);
        out[0] = '0';
        return 1;
    }
    assert(n >= integer_text_max(t, radix));
    /* mpn_get_str() clobbers its operand and wants one limb more. */
    mp_limb_t small[8];
    mp_limb_t *copy = m.n < 8 ? small : scratch_get(m.n + 1);

    mpn_copyi(copy, m.d, m.n);
    size_t at = 0;

    if (m.negative) {
        out[at++] = '-';
    }
    size_t digits = mpn_get_str((unsigned char *)out + at, (int)radix, copy, m.n);
    size_t skip = 0;

    while (skip + 1 < digits && out[at + skip] == 0) {
        skip++;
    }
    for (size_t i = 0; i < digits - skip; i++) {
        out[at + i] = "0123456789abcdefghijklmnopqrstuvwxyz"[(unsigned char)out[at + skip + i]];
    }
    if (copy != small) {
        scratch_put(copy, m.n + 1);
    }
    return at + digits - skip;
}

/* ---- bits ---- */

term_t integer_shift(struct process *p, term_t *a, int64_t k)
{
    struct magnitude m;

    magnitude_of(&m, *a);
    if (m.n == 0 || k == 0) {
        return *a;
    }
    uint64_t count = k < 0 ? -(uint64_t)k : (uint64_t)k;
    mp_size_t words = (mp_size_t)(count / 64);
    unsigned bits = (unsigned)(count % 64);

    if (k > 0) {
        mp_limb_t *d = limbs_reserve(p, m.n + words + 1);

        if (d == NULL) {
            return TERM_ERROR;
        }
        magnitude_of(&m, *a);
        if (words > 0) {
            mpn_zero(d, words);
        }
        d[words + m.n] = 0;
        if (bits != 0) {
            d[words + m.n] = mpn_lshift(d + words, m.d, m.n, bits);
        } else {
            mpn_copyi(d + words, m.d, m.n);
        }
        return limbs_finish(p, m.n + words + 1, m.negative);
    }
    if (words >= m.n) {
        return term_small(m.negative ? -1 : 0);
    }
    mp_limb_t *d = limbs_reserve(p, m.n - words + 1);

    if (d == NULL) {
        return TERM_ERROR;
    }
    magnitude_of(&m, *a);
    mp_size_t n = m.n - words;
    bool lost = words > 0 && !mpn_zero_p(m.d, words);

    if (bits != 0) {
        lost |= mpn_rshift(d, m.d + words, n, bits) != 0;
    } else {
        mpn_copyi(d, m.d + words, n);
    }
    d[n] = 0;
    if (m.negative && lost) { /* toward minus infinity */
        (void)mpn_add_1(d, d, n + 1, 1);
    }
    return limbs_finish(p, n + 1, m.negative);
}

/* Limb i of the infinite two's complement. */
static mp_limb_t twos_limb(const struct magnitude *m, mp_size_t i, mp_limb_t *carry)
{
    mp_limb_t v = i < m->n ? m->d[i] : 0;

    if (!m->negative) {
        return v;
    }
    mp_limb_t r = ~v + *carry;

    *carry = *carry != 0 && v == 0;
    return r;
}

term_t integer_bit_op(struct process *p, enum bit_op op, term_t *a, term_t *b)
{
    struct magnitude x;
    struct magnitude y;

    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    mp_size_t n = max_of(x.n, y.n) + 1;
    mp_limb_t *d = limbs_reserve(p, n);

    if (d == NULL) {
        return TERM_ERROR;
    }
    magnitude_of(&x, *a);
    magnitude_of(&y, *b);
    mp_limb_t cx = 1;
    mp_limb_t cy = 1;

    for (mp_size_t i = 0; i < n; i++) {
        mp_limb_t u = twos_limb(&x, i, &cx);
        mp_limb_t v = twos_limb(&y, i, &cy);

        d[i] = op == BIT_AND ? (u & v) : op == BIT_OR ? (u | v) : (u ^ v);
    }
    bool negative = (d[n - 1] >> 63) != 0;

    if (negative) {
        mp_limb_t carry = 1;

        for (mp_size_t i = 0; i < n; i++) {
            mp_limb_t v = ~d[i] + carry;

            carry = carry != 0 && d[i] == 0;
            d[i] = v;
        }
    }
    return limbs_finish(p, n, negative);
}
