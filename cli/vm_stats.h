/* SPDX-License-Identifier: Apache-2.0 */
/* A running machine's figures, asked of its monitor: GET /drupe/stats. */
#pragma once

#include <stdint.h>

#include "vm_dir.h"

struct vm_stats {
    char state[16]; /* "RUNNING", "PAUSED", ... */
    uint64_t uptime_ns;
    uint64_t start_ns;
    uint64_t memory_resident; /* bytes */
    uint64_t vcpu_time_ns;    /* over all vCPUs */
    uint64_t exits;           /* over all reasons */
};

/* 0 or -errno. */
int vm_stats_get(const struct vm_record *r, struct vm_stats *out) MUST_CHECK;
