/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to text and back, against known texts and against the C library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <test.h>

#include "reader/float_text.h"

static const struct {
    double value;
    const char *text;
} known[] = {
    { 0.0, "0.0" },
    { -0.0, "-0.0" },
    { 1.0, "1.0" },
    { 0.1, "0.1" },
    { 1e-7, "0.0000001" },
    { 9.9e-8, "9.9e-8" },
    { 1e20, "100000000000000000000.0" },
    { 1e21, "1.0e21" },
    { 123456.789, "123456.789" },
    { 5e-324, "5.0e-324" },
    { 2.2250738585072014e-308, "2.2250738585072014e-308" },
    { 1.7976931348623157e308, "1.7976931348623157e308" },
    { 9007199254740993.0, "9007199254740992.0" },
    { 5.684341886080802e-14, "5.684341886080802e-14" },
};

static void test_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        char text[40];
        size_t n = double_to_text(known[i].value, text);

        text[n] = '\0';
        assert_string_equal(text, known[i].text);
        double back = double_from_text(text, n);

        assert_memory_equal(&back, &known[i].value, sizeof(back));
    }
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Any bits: the text reads back, here and in the C library, and no shorter one would. */
static void test_random_doubles(void **state)
{
    uint64_t seed = 88172645463325252;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_random(&seed);
        double d;
        char text[40];
        char shorter[40];

        memcpy(&d, &bits, sizeof(d));
        if (__builtin_isnan(d) || __builtin_isinf(d)) {
            continue;
        }
        size_t n = double_to_text(d, text);

        text[n] = '\0';
        assert_true(double_from_text(text, n) == d);
        assert_true(strtod(text, NULL) == d);
        int digits = 0;

        for (size_t k = 0; text[k] != '\0' && text[k] != 'e'; k++) {
            digits += text[k] >= '0' && text[k] <= '9';
        }
        if (digits > 2 && strchr(text, 'e') != NULL) {
            (void)snprintf(shorter, sizeof(shorter), "%.*e", digits - 2, d);
            assert_true(strtod(shorter, NULL) != d);
        }
    }
}

/* Decimal texts of any length agree with the C library, half-way cases included. */
static void test_from_text(void **state)
{
    static const char *const texts[] = {
        "9007199254740993",
        "9007199254740993.00000000000000000000000000000000000000000000000000000000001",
        "2.4703282292062327208e-324",
        "2.4703282292062328e-324",
        "1.7976931348623158079372897140530341507993413271003782693617377898044496829276475e308",
        "4.9406564584124654e-324",
        "0.000000000000000000000000000000000000000000000000000000000000000000000000000001e70",
        "100000000000000000000000000000000000000000000000000000000000e-59",
        "2.2250738585072011e-308",
        "1e-400",
        "0e999999999999999999",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        assert_true(double_from_text(texts[i], strlen(texts[i])) == strtod(texts[i], NULL));
    }
    uint64_t seed = 42;

    for (int i = 0; i < 20000; i++) {
        char text[64];
        int n =
            snprintf(text, sizeof(text), "%llu.%llue%d",
                     (unsigned long long)(next_random(&seed) >> (next_random(&seed) % 64)),
                     (unsigned long long)next_random(&seed), (int)(next_random(&seed) % 700) - 380);

        assert_true(double_from_text(text, (size_t)n) == strtod(text, NULL));
    }
}

static void test_f32(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint32_t bits = (uint32_t)next_random(&seed);
        float f;
        char text[40];

        memcpy(&f, &bits, sizeof(f));
        if (__builtin_isnan(f) || __builtin_isinf(f)) {
            continue;
        }
        size_t n = f32_to_text(f, text);
        bool negative = text[0] == '-';

        text[n] = '\0';
        assert_true(strtof(text, NULL) == f);
        double back = decimal_to_float(text + negative, n - negative, false);

        assert_true((float)(negative ? -back : back) == f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_random_doubles),
        cmocka_unit_test(test_from_text),
        cmocka_unit_test(test_f32),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
