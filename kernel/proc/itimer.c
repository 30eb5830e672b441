// SPDX-License-Identifier: Apache-2.0
/*
 * Interval timers of a process. ITIMER_REAL is a timer of its own. ITIMER_VIRTUAL and ITIMER_PROF
 * would need a look at CPU time at each tick, and there is none: refused with EINVAL when set,
 * reported as off.
 */
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>

#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define ITIMER_REAL 0
#define ITIMER_PROF 2

#define USEC_PER_SEC 1000000

struct user_itimerval {
    struct {
        int64_t sec;
        int64_t usec;
    } interval, value;
};

void itimer_real_expired(struct timer *timer)
{
    struct process *p = container_of(timer, struct process, real_timer);
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    uint64_t now = clock_monotonic_ns();

    if (p->real_deadline_ns && p->real_deadline_ns <= now) {
        if (p->real_interval_ns) {
            uint64_t missed = (now - p->real_deadline_ns) / p->real_interval_ns;

            p->real_deadline_ns += (missed + 1) * p->real_interval_ns;
            timer_start(&p->real_timer, p->real_deadline_ns);
        } else {
            p->real_deadline_ns = 0;
        }
        /* A standard signal from the kernel: pends at least once. */
        (void)signal_send_locked(p, NULL, SIGALRM, NULL);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

/* What was left, and the interval, before. value 0: off. */
static void set_real(uint64_t value, uint64_t interval, uint64_t *left, uint64_t *old_interval)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    uint64_t now = clock_monotonic_ns();

    *left = 0;
    if (p->real_deadline_ns) {
        *left = p->real_deadline_ns > now ? p->real_deadline_ns - now : 1000;
    }
    *old_interval = p->real_interval_ns;
    p->real_interval_ns = interval;
    if (value) {
        p->real_deadline_ns = deadline_after(value);
        timer_start(&p->real_timer, p->real_deadline_ns);
    } else {
        p->real_deadline_ns = 0; /* a timer that fires yet finds this */
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}

static struct user_itimerval to_itimerval(uint64_t value, uint64_t interval)
{
    return (struct user_itimerval){
        .interval = { (int64_t)(interval / NSEC_PER_SEC),
                      (int64_t)(interval % NSEC_PER_SEC / 1000) },
        .value = { (int64_t)(value / NSEC_PER_SEC), (int64_t)(value % NSEC_PER_SEC / 1000) },
    };
}

static bool to_ns(int64_t sec, int64_t usec, uint64_t *ns)
{
    if (sec < 0 || usec < 0 || usec >= USEC_PER_SEC) {
        return false;
    }
    if (!checked_mul((uint64_t)sec, NSEC_PER_SEC, ns) ||
        !checked_add(*ns, (uint64_t)usec * 1000, ns)) {
        *ns = TIME_FOREVER;
    }
    return true;
}

long sys_setitimer(int which, void __user *new_value, void __user *old_value)
{
    struct user_itimerval it = { 0 };
    uint64_t value;
    uint64_t interval;

    if (which < ITIMER_REAL || which > ITIMER_PROF) {
        return -EINVAL;
    }
    if (new_value && copy_from_user(&it, new_value, sizeof(it)) < 0) {
        return -EFAULT;
    }
    if (!to_ns(it.value.sec, it.value.usec, &value) ||
        !to_ns(it.interval.sec, it.interval.usec, &interval)) {
        return -EINVAL;
    }
    if (which == ITIMER_REAL) {
        set_real(value, interval, &value, &interval);
        it = to_itimerval(value, interval);
    } else if (value) {
        return -EINVAL;
    } else {
        it = (struct user_itimerval){ 0 };
    }
    return old_value ? copy_to_user(old_value, &it, sizeof(it)) : 0;
}

long sys_getitimer(int which, void __user *to)
{
    struct process *p = current->process;
    struct user_itimerval it = { 0 };

    if (which < ITIMER_REAL || which > ITIMER_PROF) {
        return -EINVAL;
    }
    if (which == ITIMER_REAL) {
        uint64_t flags = spin_lock_irqsave(&p->signal_lock);
        uint64_t now = clock_monotonic_ns();
        uint64_t left = 0;

        if (p->real_deadline_ns) {
            left = p->real_deadline_ns > now ? p->real_deadline_ns - now : 1000;
        }
        it = to_itimerval(left, p->real_interval_ns);
        spin_unlock_irqrestore(&p->signal_lock, flags);
    }
    return copy_to_user(to, &it, sizeof(it));
}

/* Seconds left of the alarm before, rounded to the nearest, at least 1 if there was one. */
long sys_alarm(unsigned seconds)
{
    uint64_t left;
    uint64_t interval;

    set_real(seconds * NSEC_PER_SEC, 0, &left, &interval);
    return left ? (long)max_of((left + NSEC_PER_SEC / 2) / NSEC_PER_SEC, UINT64_C(1)) : 0;
}
