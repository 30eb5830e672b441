/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seccomp filters, compiled at start from the table: that takes about a microsecond, a tenth of
 * what the kernel needs to take one in.
 */
#pragma once

#include <linux/filter.h>

#include <base/compiler.h>

#include "drupe/jail.h"

#define FILTER_SIZE_MAX 512u

/* Who a list is for, beyond the kind of thread. */
struct filter_variant {
    bool on_trap;
    bool has_sync_disks;
    bool has_paths; /* no empty root around it: the loop may connect to the host's Unix sockets */
};

/*
 * Compile the list of one kind of thread. `on_trap`: forbidden calls raise SIGSYS in the thread
 * (and exit_group is allowed to its handler) instead of killing the process. Returns the number of
 * instructions, at most FILTER_SIZE_MAX.
 */
size_t filter_compile(enum drupe_jail_thread kind, const struct filter_variant *variant,
                      struct sock_filter out[FILTER_SIZE_MAX]) MUST_CHECK;

/* What every thread of this process gets from now on; set once when the jail is entered. */
void filter_mode_set(enum drupe_jail_filter mode);
/* True once this process is in a jail with filters. */
bool filter_is_on(void);

/*
 * This process has disks that vCPU threads read and write themselves, as the host has no io_uring
 * for it: the filters of vCPU threads that are installed from now on allow that. Before they start.
 */
void filter_allow_sync_disks(void);

/* drupe_jail_confine() as 0 or -errno. */
int filter_install(enum drupe_jail_thread kind) MUST_CHECK;

/* "openat", or "?" for a number without a name. */
const char *filter_call_name(int number);
