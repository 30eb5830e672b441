/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic across the kinds of number: section 5.5. */
#include "number/number_state.h"

#include "gc/heap.h"
#include "native.h"
#include "number/integer.h"

bool term_is_number(term_t t)
{
    return kind_of(t) != NOT_NUMBER;
}

/* ---- fixed width ---- */

enum fixint_kind fixint_kind_of(term_t t)
{
    return (enum fixint_kind)(header_count(box_header(t)) & 7);
}

uint64_t fixint_payload(term_t t)
{
    return term_ptr(t)[1];
}

static uint64_t fix_wrap(enum fixint_kind kind, uint64_t v)
{
    switch (kind) {
    case FIX_U8:
        return (uint8_t)v;
    case FIX_U16:
        return (uint16_t)v;
    case FIX_U32:
        return (uint32_t)v;
    case FIX_I8:
        return (uint64_t)(int8_t)v;
    case FIX_I16:
        return (uint64_t)(int16_t)v;
    case FIX_I32:
        return (uint64_t)(int32_t)v;
    default:
        return v;
    }
}

term_t heap_fixint(struct process *p, enum fixint_kind kind, uint64_t payload)
{
    return heap_word_box(p, TAG_FIXINT, kind, fix_wrap(kind, payload));
}

/* ---- floats ---- */

static double power_of_two(int e) /* -1022 <= e <= 1023 */
{
    uint64_t bits = (uint64_t)(e + 1023) << 52;
    double d;

    __builtin_memcpy(&d, &bits, sizeof(d));
    return d;
}

/* m * 2^e, where a sticky bit says that something non-zero was cut off below m. Rounds once to
 * nearest even. */
static double round_to_double(uint64_t m, bool sticky, long e)
{
    if (m == 0) {
        return 0.0;
    }
    int lead = __builtin_clzll(m);

    m <<= lead;
    e -= lead;
    /* Value m * 2^e with bit 63 set: exponent of the leading bit is e + 63. */
    long top = e + 63;
    int keep = 53;

    if (top > 1023) {
        return __builtin_inf();
    }
    if (top < -1022) {
        keep = (int)(53 - (-1022 - top) < 0 ? 0 : 53 - (-1022 - top));
    }
    int drop = 64 - keep; /* 11..64 */
    uint64_t kept = drop >= 64 ? 0 : m >> drop;
    uint64_t rest = drop >= 64 ? m : m << (64 - drop);
    uint64_t half = (uint64_t)1 << 63;

    if (drop >= 64) { /* below half of the smallest, or between half and one */
        bool up = top == -1075 && (m > half || sticky);

        kept = up;
        return (double)kept * power_of_two(-1022) * power_of_two(-52);
    }
    if (rest > half || (rest == half && (sticky || (kept & 1) != 0))) {
        kept++;
    }
    /* kept * 2^(e + drop) is exact: at most 53 bits (or a power of two), exponent in range or
     * infinite. */
    long x = e + drop;

    if (x >= -1022 && x <= 971) {
        return (double)kept * power_of_two((int)x);
    }
    if (x > 971) {
        return __builtin_inf();
    }
    return (double)kept * power_of_two(-1022) * power_of_two((int)(x + 1022));
}

static double magnitude_to_double(const mp_limb_t *d, mp_size_t n, bool sticky, long e)
{
    while (n > 0 && d[n - 1] == 0) {
        n--;
    }
    if (n == 0) {
        return 0.0;
    }
    uint64_t top = d[n - 1];
    int lead = __builtin_clzll(top);

    if (n > 1 && lead > 0) {
        top = top << lead | d[n - 2] >> (64 - lead);
        sticky |= (d[n - 2] << lead) != 0;
    } else if (n > 1) {
        sticky |= d[n - 2] != 0;
    } else {
        top <<= lead;
    }
    for (mp_size_t i = 0; i + 2 < n; i++) {
        sticky |= d[i] != 0;
    }
    return round_to_double(top, sticky, e + (long)(n - 1) * 64 - lead);
}

static double ratio_to_double(term_t t)
{
    struct magnitude a;
    struct magnitude b;

    magnitude_of(&a, term_ptr(t)[1]);
    magnitude_of(&b, term_ptr(t)[2]);
    /* Shift the numerator so that the quotient has at least two limbs. */
    mp_size_t shift = b.n + 2 > a.n ? b.n + 2 - a.n : 0;
    mp_size_t n = a.n + shift;
    mp_size_t total = n + (n - b.n + 1) + b.n;
    mp_limb_t *s = scratch_get(total);
    mp_limb_t *q = s + n;
    mp_limb_t *r = q + (n - b.n + 1);

    mpn_zero(s, shift);
    mpn_copyi(s + shift, a.d, a.n);
    mpn_tdiv_qr(q, r, 0, s, n, b.d, b.n);
    double d = magnitude_to_double(q, n - b.n + 1, !mpn_zero_p(r, b.n), -64 * (long)shift);

    scratch_put(s, total);
    return a.negative ? -d : d;
}

double number_to_double(term_t t)
{
    struct magnitude m;
    float f;

    switch (kind_of(t)) {
    case F64:
        return float_value(t);
    case F32:
        __builtin_memcpy(&f, term_ptr(t) + 1, sizeof(f));
        return (double)f;
    case RATIO:
        return ratio_to_double(t);
    case INTEGER:
    case FIXED:
        if (term_is_small(t)) {
            return (double)small_value(t);
        }
        magnitude_of(&m, t);
        return m.negative ? -magnitude_to_double(m.d, m.n, false, 0)
                          : magnitude_to_double(m.d, m.n, false, 0);
    default:
        unreachable("not a number");
    }
}

uint64_t number_double_parts(double d, bool *negative, int *exponent)
{
    uint64_t bits;

    __builtin_memcpy(&bits, &d, sizeof(bits));
    *negative = bits >> 63 != 0;
    int e = (int)(bits >> 52 & 0x7FF);
    uint64_t m = bits & (((uint64_t)1 << 52) - 1);

    if (e == 0) {
        *exponent = -1074;
        return m;
    }
    *exponent = e - 1075;
    return m | (uint64_t)1 << 52;
}

term_t integer_from_double(struct process *p, double d)
{
    bool negative;
    int e;
    uint64_t m = number_double_parts(d, &negative, &e);

    if (e <= 0) {
        m = e <= -64 ? 0 : m >> -e;
        return integer_from_limbs(p, negative, &m, 1);
    }
    uint64_t limbs[18] = { 0 };
    unsigned at = (unsigned)e / 64;
    unsigned bits = (unsigned)e % 64;

    limbs[at] = m << bits;
    limbs[at + 1] = bits == 0 ? 0 : m >> (64 - bits);
    return integer_from_limbs(p, negative, limbs, at + 2);
}

/* Result of a float operation: f32 if no f64 took part. */
static term_t make_float(struct process *p, double d, bool single)
{
    if (!heap_reserve(p, FLOAT_WORDS)) {
        return TERM_ERROR;
    }
    if (!single) {
        return heap_float(p, d);
    }
    float f = (float)d;
    uint32_t bits;

    __builtin_memcpy(&bits, &f, sizeof(bits));
    return heap_word_box(p, TAG_F32, 0, bits);
}

static double truncate(double d)
{
    bool negative;
    int e;

    (void)number_double_parts(d, &negative, &e);
    if (e >= 0 || d != d) {
        return d;
    }
    return (double)(int64_t)d;
}

static double remainder_of(double a, double b)
{
    if (a != a || b != b || b == 0.0 || a - a != 0.0) {
        return __builtin_nan("");
    }
    if (b - b != 0.0) {
        return a;
    }
    return __builtin_fmod(a, b);
}

/* ---- ratios ---- */

/* Fixed-width values take part in exact arithmetic as plain ones. */
static term_t plain(struct process *p, term_t t)
{
    if (kind_of(t) != FIXED) {
        return t;
    }
    return fixint_kind_of(t) >= FIX_I8 ? integer_from_i64(p, (int64_t)fixint_payload(t))
                                       : integer_from_u64(p, fixint_payload(t));
}

term_t ratio_make(struct process *p, term_t *num, term_t *den)
{
    if (int_sign(*den) == 0) {
        return raise(p, KW(division_by_zero), 0);
    }
    term_t slots[3] = { TERM_NIL, TERM_NIL, TERM_NIL };
    struct root roots[3];

    for (int i = 0; i < 3; i++) {
        root_push(p, &roots[i], &slots[i]);
    }
    slots[2] = int_gcd(p, num, den);
    if (slots[2] != TERM_ERROR) {
        if (int_sign(*den) < 0) { /* the denominator is positive */
            term_t zero = term_small(0);

            slots[2] = int_add(p, &zero, &slots[2], true);
        }
        slots[0] = slots[2] == TERM_ERROR ? TERM_ERROR : int_divide(p, num, &slots[2], DIVIDE_QUOT);
        slots[1] = slots[0] == TERM_ERROR ? TERM_ERROR : int_divide(p, den, &slots[2], DIVIDE_QUOT);
    }
    term_t result = TERM_ERROR;

    if (slots[2] != TERM_ERROR && slots[0] != TERM_ERROR && slots[1] != TERM_ERROR) {
        if (slots[1] == term_small(1)) {
            result = slots[0];
        } else if (heap_reserve(p, 3)) {
            term_t *o = heap_take(p, 3);

            o[0] = header_make(TAG_RATIO, 0);
            o[1] = slots[0];
            o[2] = slots[1];
            result = term_from_box(o);
        }
    }
    for (int i = 2; i >= 0; i--) {
        slots[i] = slots[i] == TERM_ERROR ? TERM_NIL : slots[i];
        root_pop(p, &roots[i]);
    }
    return result;
}

enum operation {
    ADD,
    SUB,
    MUL,
    DIV
};

/* a op b on exact operands, at least one of them a ratio, or a division. */
static term_t ratio_operation(struct process *p, enum operation op, term_t *a, term_t *b)
{
    enum {
        AN,
        AD,
        BN,
        BD,
        X,
        Y,
        N
    };

    term_t s[N] = {
        plain(p, ratio_numerator(*a)), ratio_denominator(*a), TERM_NIL, TERM_NIL, TERM_NIL, TERM_NIL
    };
    struct root roots[N];

    for (int i = 0; i < N; i++) {
        root_push(p, &roots[i], &s[i]);
    }
    s[BN] = plain(p, ratio_numerator(*b));
    s[BD] = ratio_denominator(*b);
    if (op == MUL) {
        s[X] = int_mul(p, &s[AN], &s[BN]);
        s[Y] = s[X] == TERM_ERROR ? TERM_ERROR : int_mul(p, &s[AD], &s[BD]);
    } else if (op == DIV) {
        s[X] = int_mul(p, &s[AN], &s[BD]);
        s[Y] = s[X] == TERM_ERROR ? TERM_ERROR : int_mul(p, &s[AD], &s[BN]);
    } else {
        s[X] = int_mul(p, &s[AN], &s[BD]);
        s[Y] = s[X] == TERM_ERROR ? TERM_ERROR : int_mul(p, &s[BN], &s[AD]);
        s[X] = s[Y] == TERM_ERROR ? TERM_ERROR : int_add(p, &s[X], &s[Y], op == SUB);
        s[Y] = s[X] == TERM_ERROR ? TERM_ERROR : int_mul(p, &s[AD], &s[BD]);
    }
    term_t result =
        s[X] == TERM_ERROR || s[Y] == TERM_ERROR ? TERM_ERROR : ratio_make(p, &s[X], &s[Y]);

    for (int i = N - 1; i >= 0; i--) {
        root_pop(p, &roots[i]);
    }
    return result;
}

/* ---- the four operations ---- */

static const char *const operation_names[] = { "+", "-", "*", "/" };

static term_t fixed_operation(struct process *p, enum operation op, term_t a, term_t b)
{
    enum fixint_kind kind = kind_of(a) == FIXED ? fixint_kind_of(a) : fixint_kind_of(b);

    if (kind_of(a) == FIXED && kind_of(b) == FIXED && fixint_kind_of(a) != fixint_kind_of(b)) {
        return raise_type(p, operation_names[op], 1, KW(integer), b);
    }
    uint64_t x = fix_wrap(kind, integer_low_u64(a));
    uint64_t y = fix_wrap(kind, integer_low_u64(b));
    uint64_t r = 0;

    switch (op) {
    case ADD:
        r = x + y;
        break;
    case SUB:
        r = x - y;
        break;
    case MUL:
        r = x * y;
        break;
    case DIV:
        if (y == 0) {
            return raise(p, KW(division_by_zero), 0);
        }
        if (kind < FIX_I8) {
            r = x / y;
        } else {
            r = (int64_t)y == -1 ? 0 - x : (uint64_t)((int64_t)x / (int64_t)y);
        }
        break;
    }
    return heap_reserve(p, 2) ? heap_fixint(p, kind, r) : TERM_ERROR;
}

static double float_operation(enum operation op, double x, double y)
{
    switch (op) {
    case ADD:
        return x + y;
    case SUB:
        return x - y;
    case MUL:
        return x * y;
    default:
        return x / y;
    }
}

static term_t operation(struct process *p, enum operation op, term_t *a, term_t *b)
{
    enum kind ka = kind_of(*a);
    enum kind kb = kind_of(*b);

    if (ka == NOT_NUMBER || kb == NOT_NUMBER) {
        return raise_type(p, operation_names[op], ka == NOT_NUMBER ? 0 : 1, KW(number),
                          ka == NOT_NUMBER ? *a : *b);
    }
    if (ka >= F64 || kb >= F64) {
        return make_float(p, float_operation(op, number_to_double(*a), number_to_double(*b)),
                          ka != F64 && kb != F64);
    }
    if (ka == RATIO || kb == RATIO) {
        return ratio_operation(p, op, a, b);
    }
    if (ka == FIXED || kb == FIXED) {
        return fixed_operation(p, op, *a, *b);
    }
    switch (op) {
    case ADD:
    case SUB:
        return int_add(p, a, b, op == SUB);
    case MUL:
        return int_mul(p, a, b);
    default:
        return ratio_make(p, a, b);
    }
}

term_t number_add(struct process *p, term_t *a, term_t *b)
{
    int64_t r;

    if (term_is_small(*a) && term_is_small(*b)) {
        r = small_value(*a) + small_value(*b);
        return small_fits(r) ? term_small(r) : integer_from_i64(p, r);
    }
    return operation(p, ADD, a, b);
}

term_t number_sub(struct process *p, term_t *a, term_t *b)
{
    int64_t r;

    if (term_is_small(*a) && term_is_small(*b)) {
        r = small_value(*a) - small_value(*b);
        return small_fits(r) ? term_small(r) : integer_from_i64(p, r);
    }
    return operation(p, SUB, a, b);
}

term_t number_mul(struct process *p, term_t *a, term_t *b)
{
    int64_t r;

    if (term_is_small(*a) && term_is_small(*b) &&
        !__builtin_mul_overflow(small_value(*a), small_value(*b), &r)) {
        return small_fits(r) ? term_small(r) : integer_from_i64(p, r);
    }
    return operation(p, MUL, a, b);
}

term_t number_div(struct process *p, term_t *a, term_t *b)
{
    return operation(p, DIV, a, b);
}

/* ---- quot, rem, mod ---- */

static const char *const division_names[] = { "quot", "rem", "mod" };

static term_t fixed_division(struct process *p, enum division what, term_t a, term_t b)
{
    enum fixint_kind kind = kind_of(a) == FIXED ? fixint_kind_of(a) : fixint_kind_of(b);

    if (kind_of(a) == FIXED && kind_of(b) == FIXED && fixint_kind_of(a) != fixint_kind_of(b)) {
        return raise_type(p, division_names[what], 1, KW(integer), b);
    }
    uint64_t x = fix_wrap(kind, integer_low_u64(a));
    uint64_t y = fix_wrap(kind, integer_low_u64(b));
    uint64_t r;

    if (y == 0) {
        return raise(p, KW(division_by_zero), 0);
    }
    if (kind < FIX_I8) {
        r = what == DIVIDE_QUOT ? x / y : x % y;
    } else if ((int64_t)y == -1) {
        r = what == DIVIDE_QUOT ? 0 - x : 0;
    } else {
        int64_t m = (int64_t)x % (int64_t)y;

        if (what == DIVIDE_MOD && m != 0 && (m < 0) != ((int64_t)y < 0)) {
            m += (int64_t)y;
        }
        r = what == DIVIDE_QUOT ? (uint64_t)((int64_t)x / (int64_t)y) : (uint64_t)m;
    }
    return heap_reserve(p, 2) ? heap_fixint(p, kind, r) : TERM_ERROR;
}

static double float_division(enum division what, double x, double y)
{
    if (what == DIVIDE_QUOT) {
        return truncate(x / y);
    }
    double r = remainder_of(x, y);

    return what == DIVIDE_MOD && r != 0.0 && (r < 0.0) != (y < 0.0) ? r + y : r;
}

/* Through the exact quotient, truncated or floored: a - b * q. */
static term_t ratio_division(struct process *p, enum division what, term_t *a, term_t *b)
{
    term_t q = number_div(p, a, b);

    if (q == TERM_ERROR) {
        return TERM_ERROR;
    }
    term_t x = TERM_NIL;
    term_t y = TERM_NIL;
    struct root rq;
    struct root rx;
    struct root ry;

    root_push(p, &rq, &q);
    root_push(p, &rx, &x);
    root_push(p, &ry, &y);
    x = ratio_numerator(q);
    y = ratio_denominator(q);
    term_t result = int_divide(p, &x, &y, DIVIDE_QUOT);

    if (what == DIVIDE_MOD && result != TERM_ERROR && int_sign(x) < 0 && y != term_small(1)) {
        q = term_small(1);
        x = result;
        result = number_sub(p, &x, &q); /* floor */
    }
    if (what != DIVIDE_QUOT && result != TERM_ERROR) {
        x = result;
        q = number_mul(p, b, &x);
        result = q == TERM_ERROR ? TERM_ERROR : number_sub(p, a, &q);
    }
    root_pop(p, &ry);
    root_pop(p, &rx);
    root_pop(p, &rq);
    return result;
}

static term_t division(struct process *p, enum division what, term_t *a, term_t *b)
{
    enum kind ka = kind_of(*a);
    enum kind kb = kind_of(*b);

    if (ka == NOT_NUMBER || kb == NOT_NUMBER) {
        return raise_type(p, division_names[what], ka == NOT_NUMBER ? 0 : 1, KW(number),
                          ka == NOT_NUMBER ? *a : *b);
    }
    if (ka >= F64 || kb >= F64) {
        return make_float(p, float_division(what, number_to_double(*a), number_to_double(*b)),
                          ka != F64 && kb != F64);
    }
    if (ka == RATIO || kb == RATIO) {
        return ratio_division(p, what, a, b);
    }
    if (ka == FIXED || kb == FIXED) {
        return fixed_division(p, what, *a, *b);
    }
    if (int_sign(*b) == 0) {
        return raise(p, KW(division_by_zero), 0);
    }
    return int_divide(p, a, b, what);
}

static bool small_operands(term_t a, term_t b)
{
    return term_is_small(a) && term_is_small(b) && b != term_small(0) && b != term_small(-1);
}

term_t number_quot(struct process *p, term_t *a, term_t *b)
{
    return small_operands(*a, *b) ? term_small(small_value(*a) / small_value(*b))
                                  : division(p, DIVIDE_QUOT, a, b);
}

term_t number_rem(struct process *p, term_t *a, term_t *b)
{
    return small_operands(*a, *b) ? term_small(small_value(*a) % small_value(*b))
                                  : division(p, DIVIDE_REM, a, b);
}

term_t number_mod(struct process *p, term_t *a, term_t *b)
{
    if (!small_operands(*a, *b)) {
        return division(p, DIVIDE_MOD, a, b);
    }
    int64_t y = small_value(*b);
    int64_t m = small_value(*a) % y;

    return term_small(m != 0 && (m < 0) != (y < 0) ? m + y : m);
}
