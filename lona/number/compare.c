/* SPDX-License-Identifier: Apache-2.0 */
/* Order and equality of numbers: exact whatever their kinds, floats by their exact values. */
#include "number/number_state.h"

static int sign_of(int c)
{
    return (c > 0) - (c < 0);
}

/* A limb vector with its memory, for exact comparison. */
struct product {
    mp_limb_t *d;
    mp_size_t n;
    mp_size_t room;
};

static struct product multiply(const mp_limb_t *a, mp_size_t an, const mp_limb_t *b, mp_size_t bn,
                               unsigned long shift)
{
    mp_size_t low = (mp_size_t)(shift / 64);
    struct product r = { NULL, 0, an + bn + low + 1 };

    r.d = scratch_get(r.room);
    mpn_zero(r.d, r.room);
    if (an == 0 || bn == 0) {
        return r;
    }
    if (an >= bn) {
        (void)mpn_mul(r.d + low, a, an, b, bn);
    } else {
        (void)mpn_mul(r.d + low, b, bn, a, an);
    }
    if (shift % 64 != 0) {
        r.d[an + bn + low] = mpn_lshift(r.d + low, r.d + low, an + bn, (unsigned)(shift % 64));
    }
    r.n = r.room;
    while (r.n > 0 && r.d[r.n - 1] == 0) {
        r.n--;
    }
    return r;
}

static int compare_products(struct product a, struct product b)
{
    int c = a.n != b.n ? (a.n < b.n ? -1 : 1) : a.n == 0 ? 0 : sign_of(mpn_cmp(a.d, b.d, a.n));

    scratch_put(a.d, a.room);
    scratch_put(b.d, b.room);
    return c;
}

/* an/ad * 2^ea against bn/bd * 2^eb, all magnitudes, signs the same. */
static int compare_fractions(const struct magnitude *an, const struct magnitude *ad, int ea,
                             const struct magnitude *bn, const struct magnitude *bd, int eb)
{
    int low = min_of(ea, eb);

    return compare_products(multiply(an->d, an->n, bd->d, bd->n, (unsigned long)(ea - low)),
                            multiply(bn->d, bn->n, ad->d, ad->n, (unsigned long)(eb - low)));
}

struct fraction {
    struct magnitude num;
    struct magnitude den;
    int exponent;
};

static void fraction_of(struct fraction *f, term_t t)
{
    f->exponent = 0;
    magnitude_of(&f->den, term_small(1));
    if (kind_of(t) >= F64) {
        bool negative;
        int e;

        f->num.word = number_double_parts(number_to_double(t), &negative, &e);
        f->num.d = &f->num.word;
        f->num.n = f->num.word != 0;
        f->num.negative = negative;
        f->exponent = e;
        return;
    }
    magnitude_of(&f->num, ratio_numerator(t));
    magnitude_of(&f->den, ratio_denominator(t));
}

static int fraction_sign(const struct fraction *f)
{
    return f->num.n == 0 ? 0 : f->num.negative ? -1 : 1;
}

static enum number_order compare_exact(term_t a, term_t b)
{
    struct fraction x;
    struct fraction y;

    fraction_of(&x, a);
    fraction_of(&y, b);
    int sx = fraction_sign(&x);
    int sy = fraction_sign(&y);

    if (sx != sy || sx == 0) {
        return (enum number_order)sign_of(sx - sy);
    }
    int c = compare_fractions(&x.num, &x.den, x.exponent, &y.num, &y.den, y.exponent);

    return (enum number_order)(sx < 0 ? -c : c);
}

enum number_order number_compare(term_t a, term_t b)
{
    if (term_is_small(a) && term_is_small(b)) {
        int64_t x = (int64_t)a;
        int64_t y = (int64_t)b;

        return (enum number_order)((x > y) - (x < y));
    }
    enum kind ka = kind_of(a);
    enum kind kb = kind_of(b);

    if (ka == NOT_NUMBER || kb == NOT_NUMBER) {
        return NUMBER_TYPE_ERROR;
    }
    if (ka >= F64 || kb >= F64) {
        double x = ka >= F64 ? number_to_double(a) : 0.0;
        double y = kb >= F64 ? number_to_double(b) : 0.0;

        if (x != x || y != y) {
            return NUMBER_UNORDERED;
        }
        if (ka >= F64 && kb >= F64) {
            return (enum number_order)((x > y) - (x < y));
        }
        if (x - x != 0.0) { /* infinite */
            return x > 0 ? NUMBER_GREATER : NUMBER_LESS;
        }
        if (y - y != 0.0) {
            return y > 0 ? NUMBER_LESS : NUMBER_GREATER;
        }
        return compare_exact(a, b);
    }
    if (ka == RATIO || kb == RATIO) {
        return compare_exact(a, b);
    }
    return (enum number_order)int_compare(a, b);
}

bool number_equal(term_t a, term_t b)
{
    bool fa = kind_of(a) >= F64;
    bool fb = kind_of(b) >= F64;

    return fa == fb && number_compare(a, b) == NUMBER_EQUAL;
}
