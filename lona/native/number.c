/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: arithmetic, comparison, logic (6.2). */
#include "number/number.h"

#include "data/data.h"
#include "native.h"

typedef term_t (*operation)(struct process *p, term_t *a, term_t *b);

/* args[0] collects the result, so that it stays rooted. */
static term_t fold(struct process *p, term_t *args, unsigned argc, operation op)
{
    for (unsigned i = 1; i < argc; i++) {
        term_t r = op(p, &args[0], &args[i]);

        if (r == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[0] = r;
    }
    return args[0];
}

static term_t single(struct process *p, term_t *args, const char *fn)
{
    return term_is_number(args[0]) ? args[0] : raise_type(p, fn, 0, KW(number), args[0]);
}

static term_t add(struct process *p, term_t *args, unsigned argc)
{
    return argc == 0   ? term_small(0)
           : argc == 1 ? single(p, args, "+")
                       : fold(p, args, argc, number_add);
}

static term_t multiply(struct process *p, term_t *args, unsigned argc)
{
    return argc == 0   ? term_small(1)
           : argc == 1 ? single(p, args, "*")
                       : fold(p, args, argc, number_mul);
}

static term_t subtract(struct process *p, term_t *args, unsigned argc)
{
    term_t zero = term_small(0);

    return argc == 1 ? number_sub(p, &zero, &args[0]) : fold(p, args, argc, number_sub);
}

static term_t divide(struct process *p, term_t *args, unsigned argc)
{
    term_t one = term_small(1);

    return argc == 1 ? number_div(p, &one, &args[0]) : fold(p, args, argc, number_div);
}

static term_t quot(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return number_quot(p, &args[0], &args[1]);
}

static term_t rem(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return number_rem(p, &args[0], &args[1]);
}

static term_t mod(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return number_mod(p, &args[0], &args[1]);
}

static term_t compare_all(struct process *p, const term_t *args, unsigned argc, const char *fn,
                          unsigned accepted)
{
    bool holds = true;

    if (argc == 1 && !term_is_number(args[0])) {
        return raise_type(p, fn, 0, KW(number), args[0]);
    }
    for (unsigned i = 1; i < argc; i++) {
        enum number_order o = number_compare(args[i - 1], args[i]);

        if (o == NUMBER_TYPE_ERROR) {
            unsigned at = term_is_number(args[i - 1]) ? i : i - 1;

            return raise_type(p, fn, at, KW(number), args[at]);
        }
        holds &= (accepted >> ((int)o + 1) & 1) != 0;
    }
    return term_bool(holds);
}

/* bit 0: less, bit 1: equal, bit 2: greater; unordered is none of them */
static term_t less(struct process *p, term_t *args, unsigned argc)
{
    return compare_all(p, args, argc, "<", 1);
}

static term_t less_equal(struct process *p, term_t *args, unsigned argc)
{
    return compare_all(p, args, argc, "<=", 3);
}

static term_t greater(struct process *p, term_t *args, unsigned argc)
{
    return compare_all(p, args, argc, ">", 4);
}

static term_t greater_equal(struct process *p, term_t *args, unsigned argc)
{
    return compare_all(p, args, argc, ">=", 6);
}

static bool all_equal(struct process *p, const term_t *args, unsigned argc)
{
    for (unsigned i = 1; i < argc; i++) {
        if (!term_equal(p, args[i - 1], args[i])) {
            return false;
        }
    }
    return true;
}

static term_t equal(struct process *p, term_t *args, unsigned argc)
{
    return term_bool(all_equal(p, args, argc));
}

static term_t not_equal(struct process *p, term_t *args, unsigned argc)
{
    return term_bool(!all_equal(p, args, argc));
}

static term_t identical(struct process *p, term_t *args, unsigned argc)
{
    (void)p;
    (void)argc;
    return term_bool(args[0] == args[1]);
}

static term_t not_true(struct process *p, term_t *args, unsigned argc)
{
    (void)p;
    (void)argc;
    return term_bool(!term_is_truthy(args[0]));
}

static term_t compare(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    int c = term_compare(process_vm(p), args[0], args[1]);

    return c == -2 ? raise_type(p, "compare", 1, term_type_keyword(args[0]), args[1])
                   : term_small(c);
}

static term_t ratio_part(struct process *p, term_t t, unsigned part, const char *fn)
{
    if (term_has_tag(t, TAG_RATIO)) {
        return term_ptr(t)[part];
    }
    if (!term_is_integer(t)) {
        return raise_type(p, fn, 0, KW(ratio), t);
    }
    return part == 1 ? t : term_small(1);
}

static term_t numerator(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return ratio_part(p, args[0], 1, "numerator");
}

static term_t denominator(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return ratio_part(p, args[0], 2, "denominator");
}

static term_t to_float(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_number(args[0])) {
        return raise_type(p, "float", 0, KW(number), args[0]);
    }
    return heap_reserve(p, FLOAT_WORDS) ? heap_float(p, number_to_double(args[0])) : TERM_ERROR;
}

static term_t truncate_to_integer(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_has_tag(args[0], TAG_RATIO)) {
        term_t one = term_small(1);

        return number_quot(p, &args[0], &one);
    }
    if (term_is_integer(args[0])) {
        return args[0];
    }
    if (!term_is_number(args[0])) {
        return raise_type(p, "integer", 0, KW(number), args[0]);
    }
    double d = number_to_double(args[0]);

    return d - d != 0.0 ? raise_badarg(p, "integer", args, 1) : integer_from_double(p, d);
}

static term_t square_root(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_number(args[0])) {
        return raise_type(p, "sqrt", 0, KW(number), args[0]);
    }
    return heap_reserve(p, FLOAT_WORDS) ? heap_float(p, __builtin_sqrt(number_to_double(args[0])))
                                        : TERM_ERROR;
}

#define PURE (NATIVE_PURE | NATIVE_ALLOCATES)
#define ANY  NATIVE_VARIADIC

static const struct native rows[] = {
    { "lona.core", "+", add, 0, ANY, PURE, 1, "(n…)", "Sum; 0 for none." },
    { "lona.core", "-", subtract, 1, ANY, PURE, 1, "(n)\n(n m…)", "Negation or difference." },
    { "lona.core", "*", multiply, 0, ANY, PURE, 1, "(n…)", "Product; 1 for none." },
    { "lona.core", "/", divide, 1, ANY, PURE, 1, "(n)\n(n m…)", "Reciprocal or exact quotient." },
    { "lona.core", "quot", quot, 2, 2, PURE, 1, "(a b)", "Quotient, truncated toward zero." },
    { "lona.core", "rem", rem, 2, 2, PURE, 1, "(a b)", "Remainder with the sign of a." },
    { "lona.core", "mod", mod, 2, 2, PURE, 1, "(a b)", "Modulus with the sign of b." },
    { "lona.core", "<", less, 1, ANY, NATIVE_PURE, 1, "(n…)",
      "Is each number less than the next?" },
    { "lona.core", "<=", less_equal, 1, ANY, NATIVE_PURE, 1, "(n…)",
      "Is none greater than the next?" },
    { "lona.core", ">", greater, 1, ANY, NATIVE_PURE, 1, "(n…)",
      "Is each number greater than the next?" },
    { "lona.core", ">=", greater_equal, 1, ANY, NATIVE_PURE, 1, "(n…)",
      "Is none less than the next?" },
    { "lona.core", "=", equal, 1, ANY, NATIVE_PURE, 1, "(x y…)", "Are all equal?" },
    { "lona.core", "not=", not_equal, 1, ANY, NATIVE_PURE, 1, "(x y…)", "Is any different?" },
    { "lona.core", "identical?", identical, 2, 2, NATIVE_PURE, 1, "(a b)", "Same word?" },
    { "lona.core", "not", not_true, 1, 1, NATIVE_PURE, 1, "(x)", "True for nil and false." },
    { "lona.core", "compare", compare, 2, 2, NATIVE_PURE, 2, "(a b)",
      "-1, 0 or 1 in the library's order." },
    { "lona.core", "numerator", numerator, 1, 1, NATIVE_PURE, 1, "(r)", "Numerator." },
    { "lona.core", "denominator", denominator, 1, 1, NATIVE_PURE, 1, "(r)",
      "Denominator; 1 for an integer." },
    { "lona.core", "float", to_float, 1, 1, PURE, 1, "(n)", "Nearest f64." },
    { "lona.core", "integer", truncate_to_integer, 1, 1, PURE, 2, "(n)", "Integer part." },
    { "lona.core", "sqrt", square_root, 1, 1, PURE, 1, "(n)", "Square root as f64." },
};

const struct native_table native_number = { rows, array_size(rows) };
