/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets under a clock of our own. */
#include <test.h>

#include "devices/rate_limiter.h"

#define MS UINT64_C(1000000)

struct step {
    uint64_t at_ms;
    uint64_t bytes;
    bool is_taken;
};

struct scenario {
    const char *name;
    struct drupe_rate_limit limit;
    struct step steps[8]; /* bytes 0 and at 0 behind the first: the end */
};

static const struct scenario scenarios[] = {
    { "no limit", { .ops = { 0, 0, 0 } }, { { 0, UINT64_MAX, true }, { 1, UINT64_MAX, true } } },
    { "size without time is no limit", { .ops = { 1, 0, 0 } }, { { 0, 1, true }, { 1, 1, true } } },
    { "operations",
      { .ops = { 2, 100, 0 } },
      { { 0, 9, true },
        { 0, 9, true },
        { 1, 9, false },
        { 49, 9, false },
        { 50, 9, true },
        { 99, 9, false },
        { 100, 9, true },
        { 101, 9, false } } },
    { "bytes come back evenly, never above the size",
      { .bandwidth = { 1000, 1000, 0 } },
      { { 1, 1000, true },
        { 2, 2, false },
        { 3, 2, true },
        { 5000, 1000, true },
        { 5001, 2, false } } },
    { "the burst is spent first and once",
      { .bandwidth = { 100, 100, 50 } },
      { { 1, 50, true },
        { 1, 100, true },
        { 2, 50, false },
        { 51, 50, true },
        { 500, 100, true },
        { 500, 1, false } } },
    { "larger than the bucket: when full, and then in debt",
      { .bandwidth = { 100, 100, 0 } },
      { { 1, 1, true },
        { 1, 300, false },
        { 2, 300, true },
        { 102, 1, false },
        { 202, 1, false },
        { 203, 1, true } } },
    { "both or none",
      { .bandwidth = { 10, 1000, 0 }, .ops = { 1, 1000, 0 } },
      { { 1, 10, true }, { 500, 6, false }, { 1001, 10, true } } },
    { "extreme figures",
      { .bandwidth = { UINT64_MAX, UINT64_MAX, UINT64_MAX } },
      { { 0, UINT64_MAX, true }, { UINT64_MAX / MS, UINT64_MAX, true } } },
};

static void test_scenarios(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(scenarios); i++) {
        const struct scenario *s = &scenarios[i];
        struct rate_limiter r;

        rate_limiter_init(&r, &s->limit, 0);
        for (size_t k = 0; k < array_size(s->steps) && (k == 0 || s->steps[k].bytes != 0); k++) {
            if (rate_limiter_take(&r, s->steps[k].bytes, s->steps[k].at_ms * MS) !=
                s->steps[k].is_taken) {
                fail_msg("%s: step %zu", s->name, k);
            }
        }
    }
}

/* Asking in every nanosecond loses nothing: the parts of tokens add up. */
static void test_no_loss(void **state)
{
    const struct drupe_rate_limit limit = { .ops = { 3, 1, 0 } };
    struct rate_limiter r;
    unsigned taken = 0;

    (void)state;
    rate_limiter_init(&r, &limit, 0);
    for (uint64_t now = 0; now <= 10 * MS; now += 997) {
        taken += rate_limiter_take(&r, 0, now);
    }
    assert_in_range(taken, 32, 33); /* 3 at once and 30 in 10 ms */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenarios),
        cmocka_unit_test(test_no_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
