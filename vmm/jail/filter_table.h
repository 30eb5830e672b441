/* SPDX-License-Identifier: Apache-2.0 */
/* A row of the table of allowed system calls. */
#pragma once

#include <base/compiler.h>

#include "drupe/jail.h"

/* Beside the kinds of thread: a vCPU thread of a process whose disks are not on io_uring. */
#define FILTER_SYNC_DISKS (1u << DRUPE_JAIL_THREADS)
#define FILTER_OWN_PATHS  (1u << (DRUPE_JAIL_THREADS + 1))

struct filter_rule {
    int number;
    const char *call;
    unsigned threads; /* bit 1 << enum drupe_jail_thread */
    unsigned arg;     /* 0 to 5 */
    unsigned error;   /* 0: allow; otherwise the call fails with it */
    uint32_t mask;    /* 0: any arguments */
    uint32_t value;   /* (low half of args[arg] & mask) == value */
    const char *check;
    const char *reason;
};

extern const struct filter_rule filter_rules[];
extern const size_t filter_rule_count;
