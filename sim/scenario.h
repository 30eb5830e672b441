/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue of section 10: one row, one scenario. */
#pragma once

#include "check.h"

struct scenario {
    const char *suite;
    const char *name;
    uint64_t seed; /* the catalogue's; 0: the run's ("env") */
    void (*run)(void);
    bool is_heavy; /* a stress test: not with every seed of a long run */
};

/* Each suite is a table that ends with a zero entry. */
extern const struct scenario *const scenario_suites[];
