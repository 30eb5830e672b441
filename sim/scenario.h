/* SPDX-License-Identifier: Apache-2.0 */
/* The catalogue of section 10: one row, one scenario. */
#pragma once

#include "check.h"

/* With how many seeds of a long run: what takes long runs with fewer. One seed alone runs all. */
enum scenario_share {
    EACH = 1,
    SOME = 5,
    FEW = 40,
};

struct scenario {
    const char *suite;
    const char *name;
    uint64_t seed; /* the catalogue's; 0: the run's ("env") */
    void (*run)(void);
    enum scenario_share share;
};

/* Each suite is a table that ends with a zero entry. */
extern const struct scenario *const scenario_suites[];
