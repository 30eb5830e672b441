// SPDX-License-Identifier: Apache-2.0
#include <syscall/time_user.h>

#include <sched/timer.h>
#include <syscall/uaccess.h>

int time_from_user(uint64_t *ns, const void __user *timespec)
{
    struct user_timespec ts;

    if (copy_from_user(&ts, timespec, sizeof(ts)) < 0) {
        return -EFAULT;
    }
    if (ts.sec < 0 || ts.nsec < 0 || ts.nsec >= (int64_t)NSEC_PER_SEC) {
        return -EINVAL;
    }
    if (!checked_mul((uint64_t)ts.sec, NSEC_PER_SEC, ns) ||
        !checked_add(*ns, (uint64_t)ts.nsec, ns)) {
        *ns = TIME_FOREVER;
    }
    return 0;
}

uint64_t deadline_after(uint64_t ns)
{
    uint64_t deadline;

    return checked_add(clock_monotonic_ns(), ns, &deadline) ? deadline : TIME_FOREVER;
}

int deadline_from_user(uint64_t *deadline, const void __user *timespec)
{
    uint64_t ns;
    int err = time_from_user(&ns, timespec);

    if (err == 0) {
        *deadline = deadline_after(ns);
    }
    return err;
}

struct user_timespec timespec_of(uint64_t ns)
{
    return (struct user_timespec){ (int64_t)(ns / NSEC_PER_SEC), (int64_t)(ns % NSEC_PER_SEC) };
}

int time_to_user(void __user *timespec, uint64_t ns)
{
    struct user_timespec ts = timespec_of(ns);

    return copy_to_user(timespec, &ts, sizeof(ts));
}
