/* SPDX-License-Identifier: Apache-2.0 */
#include "../scenario.h"

extern const struct scenario scenarios_lifecycle[];
extern const struct scenario scenarios_exec[];
extern const struct scenario scenarios_snapshot[];
extern const struct scenario scenarios_store[];
extern const struct scenario scenarios_pool[];

const struct scenario *const scenario_suites[] = {
    scenarios_lifecycle, scenarios_exec, scenarios_snapshot, scenarios_store, scenarios_pool, NULL,
};
