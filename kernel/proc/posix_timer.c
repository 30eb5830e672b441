// SPDX-License-Identifier: Apache-2.0
/*
 * POSIX timers. Each has its signal's queue entry from the start, so that expiry never needs
 * memory; while that entry is pending, further expiries only count as overrun. All fields are
 * guarded by the process' signal_lock; expiry runs in the timer interrupt and takes it.
 */
#include <proc/posix_timer.h>

#include <core/string.h>
#include <mm/slab.h>
#include <proc/proc_internal.h>
#include <proc/signal_internal.h>
#include <sched/task.h>
#include <syscall/clock.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define TIMERS_MAX    256
#define TIMER_ABSTIME 1
#define OVERRUN_MAX   INT32_MAX

#define SIGEV_SIGNAL    0
#define SIGEV_NONE      1
#define SIGEV_THREAD    2
#define SIGEV_THREAD_ID 4

struct posix_timer {
    struct timer timer;
    struct signal_entry entry;
    struct process *process;
    struct task *target; /* counted; NULL: the process */
    int signo;           /* 0: SIGEV_NONE */
    bool is_realtime;    /* clock that absolute times count on */
    int id;
    uint64_t value;
    uint64_t interval_ns;
    uint64_t deadline_ns; /* monotonic; 0: off */
    uint64_t overrun;     /* since the pending signal was queued */
    uint64_t last_overrun;
};

struct posix_timers {
    struct posix_timer *slots[TIMERS_MAX];
};

static struct slab_cache timer_cache = SLAB_CACHE("posix_timer", struct posix_timer);

/* --- expiry, in the timer interrupt
 * ---------------------------------------------------------------- */

static void queue_signal_locked(struct posix_timer *t)
{
    struct process *p = t->process;
    struct signal_queue *q = t->target ? &t->target->pending : &p->pending;
    struct task *taker = t->target;
    struct task *other;

    if (list_is_linked(&t->entry.link)) {
        t->overrun++;
        return;
    }
    if (p->is_exiting || (taker && taker->is_exiting)) {
        return;
    }
    if ((p->actions->ignored & signal_bit(t->signo)) ||
        (!(p->actions->caught & signal_bit(t->signo)) &&
         (SIGNALS_IGNORED & signal_bit(t->signo)))) {
        return;
    }
    t->overrun = 0;
    list_push_back(&q->entries, &t->entry.link);
    q->set |= signal_bit(t->signo);
    if (!taker) {
        list_for_each_entry(other, &p->threads, thread_link) {
            if (!other->is_exiting && (!(other->signal_mask & signal_bit(t->signo)) ||
                                       (other->wait_mask & signal_bit(t->signo)))) {
                taker = other;
                break;
            }
        }
    }
    if (!wait_queue_is_empty(&p->signal_wait)) {
        wake_all(&p->signal_wait, 0);
    }
    if (taker) {
        signal_wake_task(taker, false);
    }
}

static void timer_expired(struct timer *timer)
{
    struct posix_timer *t = container_of(timer, struct posix_timer, timer);
    uint64_t flags = spin_lock_irqsave(&t->process->signal_lock);
    uint64_t now = clock_monotonic_ns();

    if (t->deadline_ns && t->deadline_ns <= now) {
        if (t->interval_ns) {
            uint64_t missed = (now - t->deadline_ns) / t->interval_ns;

            t->overrun += list_is_linked(&t->entry.link) ? missed : 0;
            t->deadline_ns += (missed + 1) * t->interval_ns;
            timer_start(&t->timer, t->deadline_ns);
        } else {
            t->deadline_ns = 0;
        }
        if (t->signo) {
            queue_signal_locked(t);
        }
    }
    spin_unlock_irqrestore(&t->process->signal_lock, flags);
}

void posix_timer_taken(struct posix_timer *t, struct siginfo *info)
{
    t->last_overrun = min_of(t->overrun, (uint64_t)OVERRUN_MAX);
    t->overrun = 0;
    info->overrun = (int32_t)t->last_overrun;
}

/* --- life
 * -------------------------------------------------------------------------------------------- */

/* t is in no table any more. */
static void destroy(struct posix_timer *t)
{
    struct process *p = t->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct signal_queue *q = t->target ? &t->target->pending : &p->pending;

    t->deadline_ns = 0;
    t->interval_ns = 0;
    if (list_is_linked(&t->entry.link)) {
        const struct signal_entry *e;
        bool has_other = false;

        list_remove(&t->entry.link);
        list_for_each_entry(e, &q->entries, link) {
            has_other = has_other || e->info.signo == t->signo;
        }
        if (!has_other) {
            q->set &= ~signal_bit(t->signo);
        }
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    (void)timer_cancel(&t->timer);
    if (t->target) {
        task_put(t->target);
    }
    slab_free(&timer_cache, t);
}

void posix_timers_destroy(struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct posix_timers *table = p->timers;

    p->timers = NULL;
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (!table) {
        return;
    }
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (table->slots[i]) {
            destroy(table->slots[i]);
        }
    }
    kfree(table);
}

/* The first timer makes the table. */
static int ensure_table(struct process *p)
{
    struct posix_timers *table;
    uint64_t flags;

    if (p->timers) {
        return 0;
    }
    table = kmalloc(sizeof(*table), GFP_ZERO);
    if (!table) {
        return -ENOMEM;
    }
    flags = spin_lock_irqsave(&p->signal_lock);
    if (!p->timers) {
        p->timers = table;
        table = NULL;
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    kfree(table);
    return 0;
}

static struct posix_timer *find_locked(struct process *p, int id)
{
    return p->timers && id >= 0 && id < TIMERS_MAX ? p->timers->slots[id] : NULL;
}

struct user_sigevent { /* the ABI's struct sigevent, 64 bytes */
    uint64_t value;
    int32_t signo;
    int32_t notify;
    int32_t tid;
    int32_t pad[11];
};

static_assert(sizeof(struct user_sigevent) == 64, "struct sigevent is ABI");

/* Check what is asked for, and hold the target. */
static int set_event(struct posix_timer *t, const struct user_sigevent *e)
{
    t->value = e->value;
    if (e->notify == SIGEV_NONE) {
        return 0;
    }
    if ((e->notify & ~SIGEV_THREAD_ID) != SIGEV_SIGNAL || e->signo < 1 || e->signo > SIGNAL_MAX) {
        return -EINVAL; /* SIGEV_THREAD is the C library's own */
    }
    t->signo = e->signo;
    if (e->notify & SIGEV_THREAD_ID) {
        t->target = task_find(e->tid);
        if (!t->target || t->target->process != t->process) {
            return -EINVAL;
        }
    }
    return 0;
}

static void fill_entry(struct posix_timer *t)
{
    t->entry.timer = t;
    t->entry.owner = t->process;
    t->entry.info = (struct siginfo){ .signo = t->signo, .code = SI_TIMER };
    t->entry.info.timer_id = t->id;
    t->entry.info.timer_value = t->value;
    list_init(&t->entry.link);
}

static int install(struct process *p, struct posix_timer *t)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    int id = 0;

    while (id < TIMERS_MAX && p->timers->slots[id]) {
        id++;
    }
    if (id < TIMERS_MAX) {
        t->id = id;
        t->entry.info.timer_id = id;
        p->timers->slots[id] = t;
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return id < TIMERS_MAX ? 0 : -EAGAIN;
}

long sys_timer_create(int clock, void __user *event, void __user *id)
{
    struct process *p = current->process;
    struct user_sigevent e = { .signo = SIGALRM, .notify = SIGEV_SIGNAL };
    struct posix_timer *t;
    int err;

    if (!clock_is_waitable(clock)) {
        return clock_is_cpu_time(clock) ? -EOPNOTSUPP : -EINVAL;
    }
    if (event && copy_from_user(&e, event, sizeof(e)) < 0) {
        return -EFAULT;
    }
    if (ensure_table(p) < 0) {
        return -ENOMEM;
    }
    t = slab_alloc(&timer_cache, GFP_ZERO);
    if (!t) {
        return -EAGAIN;
    }
    t->process = p;
    t->is_realtime = clock_is_realtime(clock);
    timer_init(&t->timer, timer_expired);
    list_init(&t->entry.link);
    err = set_event(t, &e);
    fill_entry(t);
    if (err == 0) {
        err = install(p, t);
    }
    if (err < 0) {
        destroy(t);
        return err;
    }
    if (!event) {
        t->entry.info.timer_value = (uint64_t)t->id;
    }
    return put_user32((uint32_t)t->id, id);
}

struct user_itimerspec {
    struct user_timespec interval;
    struct user_timespec value;
};

static void read_locked(const struct posix_timer *t, struct user_itimerspec *out)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t left = 0;

    if (t->deadline_ns) {
        left = t->deadline_ns > now ? t->deadline_ns - now : 1;
    }
    out->interval = timespec_of(t->interval_ns);
    out->value = timespec_of(left);
}

long sys_timer_gettime(int id, void __user *to)
{
    struct process *p = current->process;
    struct user_itimerspec spec;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct posix_timer *t = find_locked(p, id);

    if (t) {
        read_locked(t, &spec);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return t ? copy_to_user(to, &spec, sizeof(spec)) : -EINVAL;
}

long sys_timer_settime(int id, int how, void __user *new_spec, void __user *old_spec)
{
    struct process *p = current->process;
    struct user_itimerspec old;
    struct posix_timer *t;
    uint64_t value = 0;
    uint64_t interval = 0;
    uint64_t flags;
    int err;

    if (how & ~TIMER_ABSTIME) {
        return -EINVAL;
    }
    err = time_from_user(&interval, new_spec);
    if (err == 0) {
        err = time_from_user(&value,
                             (char __user *)new_spec + offsetof(struct user_itimerspec, value));
    }
    if (err < 0) {
        return err;
    }
    flags = spin_lock_irqsave(&p->signal_lock);
    t = find_locked(p, id);
    if (!t) {
        spin_unlock_irqrestore(&p->signal_lock, flags);
        return -EINVAL;
    }
    read_locked(t, &old);
    t->interval_ns = interval;
    if (value == 0) {
        t->deadline_ns = 0; /* a timer that fires yet finds this */
    } else {
        t->deadline_ns = clock_deadline(t->is_realtime, (how & TIMER_ABSTIME) != 0, value);
        timer_start(&t->timer, t->deadline_ns);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    return old_spec ? copy_to_user(old_spec, &old, sizeof(old)) : 0;
}

long sys_timer_getoverrun(int id)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    const struct posix_timer *t = find_locked(p, id);
    long overrun = t ? (long)t->last_overrun : -EINVAL;

    spin_unlock_irqrestore(&p->signal_lock, flags);
    return overrun;
}

long sys_timer_delete(int id)
{
    struct process *p = current->process;
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct posix_timer *t = find_locked(p, id);

    if (t) {
        p->timers->slots[id] = NULL;
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
    if (!t) {
        return -EINVAL;
    }
    destroy(t);
    return 0;
}
