/* SPDX-License-Identifier: Apache-2.0 */
#include "../scenario.h"

extern const struct scenario scenarios_lifecycle[];
extern const struct scenario scenarios_exec[];
extern const struct scenario scenarios_snapshot[];
extern const struct scenario scenarios_store[];
extern const struct scenario scenarios_pool[];
extern const struct scenario scenarios_api[];
extern const struct scenario scenarios_api_faults[];
extern const struct scenario scenarios_vsock[];
extern const struct scenario scenarios_owners[];
extern const struct scenario scenarios_files[];
extern const struct scenario scenarios_store_mixed[];
extern const struct scenario scenarios_snapshot_diff[];

const struct scenario *const scenario_suites[] = {
    scenarios_lifecycle,
    scenarios_exec,
    scenarios_snapshot,
    scenarios_store,
    scenarios_pool,
    scenarios_api,
    scenarios_api_faults,
    scenarios_vsock,
    scenarios_owners,
    scenarios_snapshot_diff,
    scenarios_store_mixed,
    scenarios_files,
    NULL,
};
