/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_stats.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "api_client.h"

#define STATS_TIMEOUT_MS 1000

int vm_stats_get(const struct vm_record *r, struct vm_stats *out)
{
    struct api_request request = { .method = "GET",
                                   .path = "/drupe/stats",
                                   .timeout_ms = STATS_TIMEOUT_MS };
    struct api_answer answer = { 0 };
    const char *state = NULL;
    json_int_t uptime = 0;
    json_int_t start = 0;
    json_int_t resident = 0;
    json_int_t time = 0;
    json_int_t exits = 0;
    json_t *all = NULL;
    int err = api_call(r, &request, &answer);

    if (err == 0) {
        all = json_loadb(answer.body.data ? answer.body.data : "", answer.body.size,
                         JSON_REJECT_DUPLICATES, NULL);
        err = answer.status == 200 && all &&
                      json_unpack(all, "{s:s, s:I, s:I, s:I, s:I, s:I}", "state", &state,
                                  "uptime_ns", &uptime, "start_ns", &start, "memory_resident",
                                  &resident, "vcpu_time_ns", &time, "exits_total", &exits) == 0
                  ? 0
                  : -EPROTO;
    }
    if (err == 0) {
        (void)snprintf(out->state, sizeof(out->state), "%s", state);
        out->uptime_ns = (uint64_t)uptime;
        out->start_ns = (uint64_t)start;
        out->memory_resident = (uint64_t)resident;
        out->vcpu_time_ns = (uint64_t)time;
        out->exits = (uint64_t)exits;
    }
    json_decref(all);
    buffer_free(&answer.body);
    return err;
}
