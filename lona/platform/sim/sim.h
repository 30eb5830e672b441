/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A platform for tests: all threads of a VM as coroutines on one, and a seed that decides who goes
 * on. Wherever the VM asks its platform for something, and at each sched_point() of a test build,
 * another thread may get its turn; so a run is repeated by its seed. Time is a counter that moves
 * with each look at it and jumps when everyone sleeps. Memory, files and console are POSIX's.
 *
 * One simulation at a time in one program thread, which creates, uses and destroys the VM.
 */
#pragma once

#include "platform/platform.h"

struct sim_options {
    uint64_t seed;
    unsigned switch_one_in; /* turns change at one of so many points; 0: only when they must */
    uint64_t switches_max;  /* after so many only when they must; 0: no limit */
    unsigned
        lose_wake_one_in; /* a fault, for tests of tests: drop one wake-up of so many; 0: none */
    uint64_t commit_fail_from; /* a fault: from this commit on there is no memory; 0: never */
    uint64_t time_max_ns;      /* the clock begins at a second; 0: no limit */
    /* Everyone sleeps for ever, or the time is over: a wake-up was lost. Does not return. */
    void (*stuck)(void);
};

struct sim;

/* NULL without memory. */
struct sim *sim_create(const struct sim_options *options) MUST_CHECK;
/* For vm_options; valid until sim_destroy(). */
const struct platform *sim_platform(struct sim *s);
/* Turns that have changed so far though they need not have. */
uint64_t sim_switches(const struct sim *s);
/* The fault begins now, or ends. */
void sim_fail_commits(struct sim *s, bool on);
/* After vm_destroy(). */
void sim_destroy(struct sim *s);
