/* SPDX-License-Identifier: Apache-2.0 */
/* Times as programs give and get them. Seconds beyond what nanoseconds can count saturate. */
#pragma once

#include <core/types.h>

struct user_timespec { /* the ABI's struct timespec */
    int64_t sec;
    int64_t nsec;
};

/* 0 with ns; -EFAULT; -EINVAL: negative, or nanoseconds out of range. */
int time_from_user(uint64_t *ns, const void __user *timespec) MUST_CHECK;
/* The same as a deadline on the monotonic clock, from now. */
int deadline_from_user(uint64_t *deadline, const void __user *timespec) MUST_CHECK;
int time_to_user(void __user *timespec, uint64_t ns) MUST_CHECK;
/* now + ns on the monotonic clock without wrapping; TIME_FOREVER stays. */
uint64_t deadline_after(uint64_t ns);
struct user_timespec timespec_of(uint64_t ns);
