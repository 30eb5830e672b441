// SPDX-License-Identifier: Apache-2.0
/* Reading and setting clocks, and sleeping on them. */
#include <syscall/clock.h>

#include <proc/proc_internal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define CAP_SYS_TIME     25u
#define TIMER_ABSTIME    1
#define USEC_PER_SEC     1000000
#define CPU_CLOCK_TYPE   3 /* low bits of a negative clock: 0 prof, 1 virt, 2 sched */
#define CPU_CLOCK_THREAD 4

bool clock_is_realtime(int clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

bool clock_is_waitable(int clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_TAI; /* no alarm clocks: as a Linux without a clock device that wakes */
}

bool clock_is_cpu_time(int clock)
{
    return clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID || clock < 0;
}

uint64_t clock_deadline(bool is_realtime, bool is_absolute, uint64_t ns)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t base = is_realtime ? clock_realtime_ns() : now;
    uint64_t ahead = ns;
    uint64_t deadline;

    if (is_absolute) {
        ahead = ns > base ? ns - base : 0;
    }
    deadline = checked_add(now, ahead, &deadline) ? deadline : TIME_FOREVER;
    return max_of(deadline, UINT64_C(1));
}

/* --- CPU clocks
 * ------------------------------------------------------------------------------------- */

static uint64_t process_cpu_ns(struct process *p)
{
    struct rusage_sum sum;

    rusage_of_process(p, &sum);
    return sum.user_ns + sum.system_ns;
}

/* A clock that names a process or thread: ~id << 3 | type. */
static int named_cpu_clock(int clock, uint64_t *ns)
{
    pid_t id = (pid_t)(~(uint32_t)clock >> 3);
    struct process *p;
    struct task *t;
    int err = 0;

    if ((clock & CPU_CLOCK_TYPE) == CPU_CLOCK_TYPE) {
        return -EINVAL;
    }
    if (clock & CPU_CLOCK_THREAD) {
        t = id ? task_find(id) : task_get(current);
        if (!t) {
            return -EINVAL;
        }
        if (t->process == current->process) {
            *ns = sched_run_ns(t);
        } else {
            err = -EINVAL;
        }
        task_put(t);
        return err;
    }
    p = id ? process_find(id) : process_get(current->process);
    if (!p) {
        return -EINVAL;
    }
    *ns = process_cpu_ns(p);
    process_put(p);
    return 0;
}

static int read_clock(int clock, uint64_t *ns)
{
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        *ns = clock_realtime_ns();
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        *ns = clock_monotonic_ns();
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ns = process_cpu_ns(current->process);
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = sched_run_ns(current);
        return 0;
    default:
        return clock < 0 ? named_cpu_clock(clock, ns) : -EINVAL;
    }
}

/* --- reading and setting
 * ------------------------------------------------------------------------------ */

long sys_clock_gettime(int clock, void __user *to)
{
    uint64_t ns;
    int err = read_clock(clock, &ns);

    return err < 0 ? err : time_to_user(to, ns);
}

long sys_clock_getres(int clock, void __user *to)
{
    uint64_t ns;
    int err = read_clock(clock, &ns);

    return err < 0 || !to ? err : time_to_user(to, 1);
}

static int set_realtime(uint64_t ns)
{
    if (!cred_is_capable(current->cred, CAP_SYS_TIME)) {
        return -EPERM;
    }
    clock_set_realtime(ns);
    return 0;
}

long sys_clock_settime(int clock, void __user *from)
{
    uint64_t ns;
    int err;

    if (clock != CLOCK_REALTIME) {
        return -EINVAL;
    }
    err = time_from_user(&ns, from);
    return err < 0 ? err : set_realtime(ns);
}

struct user_timeval {
    int64_t sec;
    int64_t usec;
};

long sys_gettimeofday(void __user *to, void __user *zone)
{
    static const int32_t utc[2] = { 0, 0 };

    if (to) {
        uint64_t ns = clock_realtime_ns();
        struct user_timeval tv = { (int64_t)(ns / NSEC_PER_SEC),
                                   (int64_t)(ns % NSEC_PER_SEC / 1000) };

        if (copy_to_user(to, &tv, sizeof(tv)) < 0) {
            return -EFAULT;
        }
    }
    return zone ? copy_to_user(zone, utc, sizeof(utc)) : 0;
}

long sys_settimeofday(void __user *from, void __user *zone)
{
    struct user_timeval tv;

    (void)zone; /* the kernel's clock is UTC whatever is said here */
    if (!from) {
        return cred_is_capable(current->cred, CAP_SYS_TIME) ? 0 : -EPERM;
    }
    if (copy_from_user(&tv, from, sizeof(tv)) < 0) {
        return -EFAULT;
    }
    if (tv.sec < 0 || tv.usec < 0 || tv.usec >= USEC_PER_SEC ||
        (uint64_t)tv.sec > UINT64_MAX / NSEC_PER_SEC - 1) {
        return -EINVAL;
    }
    return set_realtime((uint64_t)tv.sec * NSEC_PER_SEC + (uint64_t)tv.usec * 1000);
}

long sys_time(void __user *to)
{
    uint64_t now = clock_realtime_ns() / NSEC_PER_SEC;

    if (to && put_user64(now, to) < 0) {
        return -EFAULT;
    }
    return (long)now;
}

/* --- sleeping
 * -------------------------------------------------------------------------------------------- */

static long nap(uint64_t deadline, void __user *left_to, struct restart_block *r);

static long nap_again(struct restart_block *r)
{
    return nap(r->deadline_ns, (void __user *)r->arg[0], r);
}

/* A relative sleep: interrupted, the rest is told and the block can go on to the same deadline. */
static long nap(uint64_t deadline, void __user *left_to, struct restart_block *r)
{
    int err = sleep_until(deadline, WAIT_INTERRUPTIBLE);

    if (err != -ERESTARTSYS) {
        return err;
    }
    if (left_to) {
        uint64_t now = clock_monotonic_ns();

        if (time_to_user(left_to, deadline > now ? deadline - now : 0) < 0) {
            return -EFAULT;
        }
    }
    r->again = nap_again;
    r->deadline_ns = deadline;
    r->arg[0] = (uint64_t)left_to;
    return -ERESTART_RESTARTBLOCK;
}

long sys_nanosleep(void __user *request, void __user *left_to)
{
    uint64_t deadline;
    int err = deadline_from_user(&deadline, request);

    return err < 0 ? err : nap(deadline, left_to, &current->restart);
}

long sys_clock_nanosleep(int clock, int how, void __user *request, void __user *left_to)
{
    bool is_absolute = (how & TIMER_ABSTIME) != 0;
    uint64_t ns;
    uint64_t deadline;
    int err;

    if (clock == CLOCK_THREAD_CPUTIME_ID) {
        return -EINVAL;
    }
    if (!clock_is_waitable(clock)) {
        return clock_is_cpu_time(clock) ? -EOPNOTSUPP : -EINVAL;
    }
    if (how & ~TIMER_ABSTIME) {
        return -EINVAL;
    }
    err = time_from_user(&ns, request);
    if (err < 0) {
        return err;
    }
    deadline = clock_deadline(clock_is_realtime(clock), is_absolute, ns);
    if (is_absolute) {
        err = sleep_until(deadline, WAIT_INTERRUPTIBLE);
        return err == -ERESTARTSYS ? -ERESTARTNOHAND : err;
    }
    return nap(deadline, left_to, &current->restart);
}
