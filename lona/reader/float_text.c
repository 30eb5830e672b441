/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floats to text and back, on big integers of GMP's mpn level in fixed arrays.
 *
 * To text: the free-format algorithm of Steele, White and Dybvig. The value is r/s; the half
 * distances to its neighbours are plus/s and minus/s; digits come until what is left lies within
 * them. The result is the shortest text that reads back, and of those the closest.
 *
 * From text: value = digits * 10^exponent as a quotient of big integers, shifted so that it has
 * exactly the bits of the significand, then rounded half to even with the remainder. Digits beyond
 * DIGITS_MAX can't decide more than "above": they become one sticky digit.
 */
#include "reader/float_text.h"

#include <gmp.h>

enum {
    LIMBS = 96,       /* 6,144 bits: 10^(DIGITS_MAX + 350) and a shift */
    DIGITS_MAX = 800, /* the longest exact half-way point of a double has 767 */
    EXPONENT_MAX = 100000,
};

struct format {
    int bits;         /* of the significand, hidden one included */
    int exponent_min; /* of the lowest bit of a subnormal */
    int exponent_max; /* of the lowest bit of the largest value */
};

static const struct format f64_format = { 53, -1074, 971 };
static const struct format f32_format = { 24, -149, 104 };

/* A natural number; limb[n - 1] != 0 unless n == 0. */
struct natural {
    mp_size_t n;
    mp_limb_t limb[LIMBS];
};

static void natural_set(struct natural *a, uint64_t v)
{
    a->limb[0] = v;
    a->n = v != 0;
}

static void natural_trim(struct natural *a)
{
    while (a->n > 0 && a->limb[a->n - 1] == 0) {
        a->n--;
    }
}

static void natural_mul(struct natural *a, mp_limb_t by)
{
    if (a->n == 0) {
        return;
    }
    mp_limb_t carry = mpn_mul_1(a->limb, a->limb, a->n, by);

    if (carry != 0) {
        assert(a->n < LIMBS);
        a->limb[a->n++] = carry;
    }
}

static void natural_mul_pow10(struct natural *a, unsigned k)
{
    for (; k >= 19; k -= 19) {
        natural_mul(a, UINT64_C(10000000000000000000));
    }
    mp_limb_t last = 1;

    while (k-- > 0) {
        last *= 10;
    }
    natural_mul(a, last);
}

static void natural_shift(struct natural *a, unsigned bits)
{
    unsigned limbs = bits / 64;

    if (a->n == 0 || bits == 0) {
        return;
    }
    assert(a->n + (mp_size_t)limbs < LIMBS);
    if (limbs != 0) {
        mpn_copyd(a->limb + limbs, a->limb, a->n);
        mpn_zero(a->limb, limbs);
        a->n += (mp_size_t)limbs;
    }
    if (bits % 64 != 0) {
        mp_limb_t carry = mpn_lshift(a->limb, a->limb, a->n, bits % 64);

        if (carry != 0) {
            a->limb[a->n++] = carry;
        }
    }
}

static int natural_compare(const struct natural *a, const struct natural *b)
{
    if (a->n != b->n) {
        return a->n < b->n ? -1 : 1;
    }
    return a->n == 0 ? 0 : mpn_cmp(a->limb, b->limb, a->n);
}

static void natural_sub(struct natural *a, const struct natural *b)
{
    if (b->n != 0) {
        (void)mpn_sub(a->limb, a->limb, a->n, b->limb, b->n);
        natural_trim(a);
    }
}

static void natural_add(struct natural *sum, const struct natural *a, const struct natural *b)
{
    const struct natural *longer = a->n >= b->n ? a : b;
    const struct natural *other = longer == a ? b : a;

    sum->n = longer->n;
    if (other->n == 0) {
        __builtin_memcpy(sum->limb, longer->limb, (size_t)longer->n * sizeof(mp_limb_t));
        return;
    }
    mp_limb_t carry = mpn_add(sum->limb, longer->limb, longer->n, other->limb, other->n);

    if (carry != 0) {
        assert(sum->n < LIMBS);
        sum->limb[sum->n++] = carry;
    }
}

static int natural_bits(const struct natural *a)
{
    return a->n == 0 ? 0 : (int)(a->n * 64) - __builtin_clzll(a->limb[a->n - 1]);
}

/* ---- to text ---- */

struct decimal {
    char digits[24];
    int count;
    int point; /* the value is 0.digits * 10^point */
};

struct shortest {
    struct natural r, s, plus, minus, sum;
    bool even;
};

/* Is r + plus beyond s (or at it, when the significand is even)? */
static bool reaches(struct shortest *d)
{
    natural_add(&d->sum, &d->r, &d->plus);
    int c = natural_compare(&d->sum, &d->s);

    return d->even ? c >= 0 : c > 0;
}

static void set_up(struct shortest *d, uint64_t significand, int exponent, bool lower_gap_half)
{
    natural_set(&d->r, significand);
    natural_set(&d->s, 1);
    natural_set(&d->plus, 1);
    natural_set(&d->minus, 1);
    d->even = significand % 2 == 0;
    unsigned extra = lower_gap_half ? 2 : 1;

    if (exponent >= 0) {
        natural_shift(&d->r, (unsigned)exponent + extra);
        natural_shift(&d->s, extra);
        natural_shift(&d->plus, (unsigned)exponent + extra - 1);
        natural_shift(&d->minus, (unsigned)exponent);
    } else {
        natural_shift(&d->r, extra);
        natural_shift(&d->s, (unsigned)-exponent + extra);
        natural_shift(&d->plus, extra - 1);
    }
}

static int digit_at(struct shortest *d)
{
    int digit = 0;

    natural_mul(&d->r, 10);
    natural_mul(&d->plus, 10);
    natural_mul(&d->minus, 10);
    while (natural_compare(&d->r, &d->s) >= 0) {
        natural_sub(&d->r, &d->s);
        digit++;
    }
    return digit;
}

static void shortest_digits(struct shortest *d, struct decimal *out)
{
    out->count = 0;
    for (;;) {
        int digit = digit_at(d);
        int c = natural_compare(&d->r, &d->minus);
        bool low = d->even ? c <= 0 : c < 0;
        bool high = reaches(d);

        if (!low && !high) {
            out->digits[out->count++] = (char)('0' + digit);
            continue;
        }
        if (high && low) {
            natural_shift(&d->r, 1);
            high = natural_compare(&d->r, &d->s) >= 0;
        }
        out->digits[out->count++] = (char)('0' + digit + (high ? 1 : 0));
        return;
    }
}

/* significand * 2^exponent, not zero. */
static void to_decimal(uint64_t significand, int exponent, bool lower_gap_half, struct decimal *out)
{
    struct shortest d;
    /* floor(log10(2^e)) is floor(e * 0.30103): never above the truth, at most one below. */
    int log2 = 63 - __builtin_clzll(significand) + exponent;
    int k = (int)((int64_t)log2 * 30103 / 100000) - (log2 < 0);

    set_up(&d, significand, exponent, lower_gap_half);
    if (k >= 0) {
        natural_mul_pow10(&d.s, (unsigned)k);
    } else {
        natural_mul_pow10(&d.r, (unsigned)-k);
        natural_mul_pow10(&d.plus, (unsigned)-k);
        natural_mul_pow10(&d.minus, (unsigned)-k);
    }
    while (reaches(&d)) {
        natural_mul(&d.s, 10);
        k++;
    }
    out->point = k;
    shortest_digits(&d, out);
}

static size_t put_text(char *to, const char *text, size_t n)
{
    __builtin_memcpy(to, text, n);
    return n;
}

static size_t put_zeros(char *to, int n)
{
    for (int i = 0; i < n; i++) {
        to[i] = '0';
    }
    return n > 0 ? (size_t)n : 0;
}

static size_t format_plain(const struct decimal *d, char *buf)
{
    size_t n = 0;

    if (d->point <= 0) {
        n += put_text(buf, "0.", 2);
        n += put_zeros(buf + n, -d->point);
        return n + put_text(buf + n, d->digits, (size_t)d->count);
    }
    int whole = d->count < d->point ? d->count : d->point;

    n += put_text(buf, d->digits, (size_t)whole);
    n += put_zeros(buf + n, d->point - whole);
    buf[n++] = '.';
    if (whole == d->count) {
        buf[n++] = '0';
        return n;
    }
    return n + put_text(buf + n, d->digits + whole, (size_t)(d->count - whole));
}

static size_t format_exponent(const struct decimal *d, char *buf)
{
    size_t n = 0;
    int e = d->point - 1;
    char text[8];
    size_t at = sizeof(text);

    buf[n++] = d->digits[0];
    buf[n++] = '.';
    if (d->count == 1) {
        buf[n++] = '0';
    }
    n += put_text(buf + n, d->digits + 1, (size_t)d->count - 1);
    buf[n++] = 'e';
    if (e < 0) {
        buf[n++] = '-';
        e = -e;
    }
    do {
        text[--at] = (char)('0' + e % 10);
        e /= 10;
    } while (e != 0);
    return n + put_text(buf + n, text + at, sizeof(text) - at);
}

/* fraction and raw exponent as IEEE stores them. */
static size_t float_text(const struct format *f, bool negative, uint64_t fraction, int raw,
                         char *buf)
{
    uint64_t hidden = (uint64_t)1 << (f->bits - 1);
    size_t n = 0;

    if (raw == f->exponent_max - f->exponent_min + 2) {
        const char *text = fraction != 0 ? "##NaN" : negative ? "##-Inf" : "##Inf";

        return put_text(buf, text, __builtin_strlen(text));
    }
    if (negative) {
        buf[n++] = '-';
    }
    if (fraction == 0 && raw == 0) {
        return n + put_text(buf + n, "0.0", 3);
    }
    struct decimal d;

    if (raw == 0) {
        to_decimal(fraction, f->exponent_min, false, &d);
    } else {
        to_decimal(fraction | hidden, f->exponent_min + raw - 1, fraction == 0 && raw > 1, &d);
    }
    return n + (d.point > -7 && d.point <= 21 ? format_plain(&d, buf + n)
                                              : format_exponent(&d, buf + n));
}

size_t double_to_text(double d, char *buf)
{
    uint64_t w;

    __builtin_memcpy(&w, &d, sizeof(w));
    return float_text(&f64_format, w >> 63 != 0, w & (((uint64_t)1 << 52) - 1),
                      (int)(w >> 52 & 0x7FF), buf);
}

size_t f32_to_text(float f, char *buf)
{
    uint32_t w;

    __builtin_memcpy(&w, &f, sizeof(w));
    return float_text(&f32_format, w >> 31 != 0, w & 0x7FFFFF, (int)(w >> 23 & 0xFF), buf);
}

/* ---- from text ---- */

struct digits {
    struct natural value;
    int64_t exponent;
    unsigned count; /* significant ones taken */
    bool sticky;    /* others than zero were left out */
};

static void take_digit(struct digits *d, unsigned digit, bool fraction)
{
    if (d->count == 0 && digit == 0) {
        d->exponent -= fraction;
        return;
    }
    if (d->count == DIGITS_MAX) {
        d->sticky |= digit != 0;
        d->exponent += !fraction;
        return;
    }
    natural_mul(&d->value, 10);
    if (digit != 0) {
        struct natural one;

        natural_set(&one, digit);
        natural_add(&d->value, &d->value, &one);
    }
    d->count++;
    d->exponent -= fraction;
}

static void parse(const char *text, size_t n, struct digits *d)
{
    bool fraction = false;
    size_t i = 0;

    natural_set(&d->value, 0);
    d->exponent = 0;
    d->count = 0;
    d->sticky = false;
    for (; i < n && (text[i] | 0x20) != 'e'; i++) {
        if (text[i] == '.') {
            fraction = true;
        } else {
            take_digit(d, (unsigned)(text[i] - '0'), fraction);
        }
    }
    if (d->sticky) {
        struct natural one;

        natural_set(&one, 1);
        natural_mul(&d->value, 10);
        natural_add(&d->value, &d->value, &one);
        d->exponent--;
        d->count++;
    }
    if (i == n) {
        return;
    }
    bool negative = text[++i] == '-';
    int64_t e = 0;

    i += text[i] == '-' || text[i] == '+';
    for (; i < n; i++) {
        e = e > (int64_t)1 << 40 ? e : e * 10 + (text[i] - '0');
    }
    d->exponent += negative ? -e : e;
}

/* num / den * 2^-shift to `bits` bits: the quotient q and whether something is left. */
static uint64_t divide(struct natural *num, const struct natural *den, bool *rest)
{
    mp_limb_t q[LIMBS + 1];
    mp_limb_t left[LIMBS];

    if (num->n < den->n) {
        *rest = num->n != 0;
        return 0;
    }
    mpn_tdiv_qr(q, left, 0, num->limb, num->n, den->limb, den->n);
    *rest = false;
    for (mp_size_t i = 0; i < den->n; i++) {
        *rest |= left[i] != 0;
    }
    return q[0];
}

static double compose(const struct format *f, uint64_t q, int exponent)
{
    if (q >> f->bits != 0) {
        q >>= 1;
        exponent++;
    }
    if (exponent > f->exponent_max) {
        return __builtin_inf();
    }
    /* q < 2^53 and the exponent is in range: both steps are exact, also for subnormals. */
    uint64_t hidden = UINT64_C(1) << 52;
    uint64_t w;
    double d;

    if (q == 0) {
        return 0.0;
    }
    while ((q & hidden) == 0 && exponent > f64_format.exponent_min) {
        q <<= 1;
        exponent--;
    }
    w = (q & hidden) == 0 ? q : (q & (hidden - 1)) | (uint64_t)(exponent + 1075) << 52;
    __builtin_memcpy(&d, &w, sizeof(d));
    return d;
}

double decimal_to_float(const char *text, size_t n, bool is_double)
{
    const struct format *f = is_double ? &f64_format : &f32_format;
    struct digits d;
    struct natural den;

    parse(text, n, &d);
    if (d.value.n == 0 || d.exponent + d.count < -400) {
        return 0.0;
    }
    if (d.exponent + d.count > 400) {
        return __builtin_inf();
    }
    natural_set(&den, 1);
    if (d.exponent >= 0) {
        natural_mul_pow10(&d.value, (unsigned)d.exponent);
    } else {
        natural_mul_pow10(&den, (unsigned)-d.exponent);
    }
    /* The exponent of the lowest bit that is kept; one more bit is taken to round with. */
    int exponent = natural_bits(&d.value) - natural_bits(&den) - f->bits;

    exponent = exponent < f->exponent_min ? f->exponent_min : exponent;
    if (exponent - 1 >= 0) {
        natural_shift(&den, (unsigned)(exponent - 1));
    } else {
        natural_shift(&d.value, (unsigned)(1 - exponent));
    }
    bool rest;
    uint64_t q = divide(&d.value, &den, &rest);

    /* The quotient may have a bit more than wanted: drop it into the rest. */
    if (q >> (f->bits + 1) != 0) {
        rest |= (q & 1) != 0;
        q >>= 1;
        exponent++;
    }
    bool half = (q & 1) != 0;

    q >>= 1;
    q += half && (rest || (q & 1) != 0);
    return compose(f, q, exponent);
}

double double_from_text(const char *text, size_t n)
{
    bool negative = n > 0 && text[0] == '-';
    double d = decimal_to_float(text + negative, n - negative, true);

    return negative ? -d : d;
}
