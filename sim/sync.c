/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads, locks, time and chance as the library calls them. Mutexes and condition variables live
 * in the bytes of the caller's pthread_mutex_t and pthread_cond_t: zero is an unlocked mutex.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>

#include "fault.h"
#include "wrap.h"

#define SPURIOUS_ONE_IN 128u /* condition variables may wake without cause, and here they do */
#define SKEW_MS_DEFAULT 500u
#define JUMP_S_DEFAULT  3600u
#define STARVATION_MS   50u

struct mutex {
    uint32_t owner; /* a task, 0: free */
    uint32_t waiters;
};

struct cond {
    uint32_t waiters;
    uint32_t clock; /* clockid_t */
};

_Static_assert(sizeof(struct mutex) <= sizeof(pthread_mutex_t), "lives in its bytes");
_Static_assert(sizeof(struct cond) <= sizeof(pthread_cond_t), "lives in its bytes");

static struct mutex *mutex_of(pthread_mutex_t *m)
{
    return (struct mutex *)(void *)m;
}

static struct cond *cond_of(pthread_cond_t *c)
{
    return (struct cond *)(void *)c;
}

/* ---- Locks ---- */

WRAP(int, pthread_mutex_init)(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    (void)attr;
    memset(m, 0, sizeof(*m));
    return 0;
}

WRAP(int, pthread_mutex_destroy)(pthread_mutex_t *m)
{
    if (sim_is_active()) {
        sim_check(mutex_of(m)->owner == 0, "a mutex is destroyed while locked");
        sim_check(mutex_of(m)->waiters == 0, "a mutex is destroyed while waited for");
    }
    return 0;
}

static void lock(struct mutex *m)
{
    sim_check(m->owner != sim_task_id(), "a task locks a mutex that it holds");
    while (m->owner != 0) {
        m->waiters++;
        (void)sim_block(m, SIM_FOREVER);
        m->waiters--;
    }
    m->owner = sim_task_id();
}

static void unlock(struct mutex *m)
{
    sim_check(m->owner == sim_task_id(), "a mutex is unlocked by who does not hold it");
    m->owner = 0;
    if (m->waiters > 0) {
        sim_wake_all(m); /* the seed decides who is first */
    }
}

static void starve(void)
{
    uint64_t ms = 0;

    if (sim_fault_has(FAULT_CPU_STARVATION) &&
        sim_fault_draw(OP_monitor_step, SIM_KIND(CPU_STARVATION), &ms) != SIM_FAULT_NONE) {
        sim_sleep((ms == 0 ? STARVATION_MS : ms) * SIM_NS_PER_MS);
    }
}

WRAP(int, pthread_mutex_lock)(pthread_mutex_t *m)
{
    if (sim_is_active()) {
        sim_step();
        starve();
        lock(mutex_of(m));
    }
    return 0;
}

WRAP(int, pthread_mutex_trylock)(pthread_mutex_t *m)
{
    sim_step();
    if (mutex_of(m)->owner != 0) {
        return EBUSY;
    }
    mutex_of(m)->owner = sim_task_id();
    return 0;
}

WRAP(int, pthread_mutex_unlock)(pthread_mutex_t *m)
{
    if (sim_is_active()) {
        unlock(mutex_of(m));
        sim_step();
    }
    return 0;
}

WRAP(int, pthread_cond_init)(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    clockid_t clock = CLOCK_REALTIME;

    memset(c, 0, sizeof(*c));
    if (attr != NULL) {
        (void)pthread_condattr_getclock(attr, &clock);
    }
    cond_of(c)->clock = (uint32_t)clock;
    return 0;
}

WRAP(int, pthread_cond_destroy)(pthread_cond_t *c)
{
    if (sim_is_active()) {
        sim_check(cond_of(c)->waiters == 0, "a condition variable is destroyed while waited for");
    }
    return 0;
}

/* False after the deadline. */
static bool cond_wait(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
    bool is_woken = true;
    bool is_spurious = sim_random_below(sim_system_random(), SPURIOUS_ONE_IN) == 0;

    /* Atomically: nobody runs between the unlock and the wait. */
    sim_check(m->owner == sim_task_id(), "a task waits without holding the mutex");
    unlock(m);
    c->waiters++;
    if (is_spurious) {
        sim_step();
    } else {
        is_woken = sim_block(c, deadline_ns);
    }
    c->waiters--;
    lock(m);
    return is_woken;
}

WRAP(int, pthread_cond_wait)(pthread_cond_t *c, pthread_mutex_t *m)
{
    (void)cond_wait(cond_of(c), mutex_of(m), SIM_FOREVER);
    return 0;
}

WRAP(int, pthread_cond_timedwait)

(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    int64_t at_ns = (int64_t)until->tv_sec * (int64_t)SIM_NS_PER_SEC + until->tv_nsec;

    if (cond_of(c)->clock == CLOCK_REALTIME) {
        at_ns -= sim_wall_ns() - (int64_t)sim_now_ns();
    }
    if (at_ns <= (int64_t)sim_now_ns()) {
        unlock(mutex_of(m));
        sim_step();
        lock(mutex_of(m));
        return ETIMEDOUT;
    }
    return cond_wait(cond_of(c), mutex_of(m), (uint64_t)at_ns) ? 0 : ETIMEDOUT;
}

WRAP(int, pthread_cond_signal)(pthread_cond_t *c)
{
    if (cond_of(c)->waiters > 0) {
        sim_wake_one(c);
    }
    return 0;
}

WRAP(int, pthread_cond_broadcast)(pthread_cond_t *c)
{
    if (cond_of(c)->waiters > 0) {
        sim_wake_all(c);
    }
    return 0;
}

/* ---- Threads ---- */

WRAP(int, pthread_create)

(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    (void)attr;
    sim_step();
    if (sim_fault_draw(OP_memory, SIM_KIND(OUT_OF_MEMORY), NULL) != SIM_FAULT_NONE) {
        return EAGAIN;
    }
    *out = sim_task_create("thread", run, arg);
    sim_step();
    return 0;
}

WRAP(int, pthread_join)(pthread_t thread, void **result)
{
    sim_step();
    return sim_task_join((unsigned)thread, result) ? 0 : ESRCH;
}

WRAP(int, pthread_detach)(pthread_t thread)
{
    sim_task_detach((unsigned)thread);
    return 0;
}

WRAP(pthread_t, pthread_self)(void)
{
    return sim_task_id();
}

WRAP(int, pthread_setname_np)(pthread_t thread, const char *name)
{
    sim_task_rename((unsigned)thread, name);
    return 0;
}

WRAP(int, pthread_kill)(pthread_t thread, int signo)
{
    (void)thread;
    (void)signo;
    sim_step();
    return 0;
}

WRAP(int, pthread_sigmask)(int how, const sigset_t *set, sigset_t *before)
{
    (void)how;
    (void)set;
    if (before != NULL) {
        (void)sigemptyset(before);
    }
    return 0;
}

/* ---- Time ---- */

static void put_time(struct timespec *out, int64_t ns)
{
    out->tv_sec = (time_t)(ns / (int64_t)SIM_NS_PER_SEC);
    out->tv_nsec = (long)(ns % (int64_t)SIM_NS_PER_SEC);
}

/* The wall clock may be wrong and may jump; the monotonic one may not. */
static int64_t read_wall(void)
{
    uint64_t param = 0;
    int64_t skew_ns = 0;

    switch (sim_fault_draw(OP_clock, SIM_KIND(CLOCK_SKEW) | SIM_KIND(CLOCK_JUMP), &param)) {
    case FAULT_CLOCK_JUMP: {
        uint32_t s = param == 0 ? JUMP_S_DEFAULT : (uint32_t)param;

        sim_clock_jump(((int64_t)sim_random_below(sim_system_random(), 2 * s) - (int64_t)s) *
                       (int64_t)SIM_NS_PER_SEC);
        break;
    }
    case FAULT_CLOCK_SKEW: {
        uint32_t ms = param == 0 ? SKEW_MS_DEFAULT : (uint32_t)param;

        skew_ns = ((int64_t)sim_random_below(sim_system_random(), 2 * ms) - (int64_t)ms) *
                  (int64_t)SIM_NS_PER_MS;
        break;
    }
    default: /* none other was asked for */
        break;
    }
    return sim_wall_ns() + skew_ns;
}

int __real_clock_gettime(clockid_t clock, struct timespec *out);

WRAP(int, clock_gettime)(clockid_t clock, struct timespec *out)
{
    if (!sim_is_active()) {
        return __real_clock_gettime(clock, out);
    }
    bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;

    put_time(out, is_wall ? read_wall() : (int64_t)sim_now_ns());
    return 0;
}

WRAP(time_t, time)(time_t *out)
{
    time_t now = (time_t)(read_wall() / (int64_t)SIM_NS_PER_SEC);

    if (out != NULL) {
        *out = now;
    }
    return now;
}

WRAP(int, clock_nanosleep)

(clockid_t clock, int flags, const struct timespec *t, struct timespec *left)
{
    uint64_t ns = (uint64_t)t->tv_sec * SIM_NS_PER_SEC + (uint64_t)t->tv_nsec;
    uint64_t now_ns = clock == CLOCK_REALTIME ? (uint64_t)sim_wall_ns() : sim_now_ns();

    (void)left;
    if ((flags & TIMER_ABSTIME) != 0) {
        ns = ns > now_ns ? ns - now_ns : 0;
    }
    sim_sleep(ns);
    return 0;
}

WRAP(int, nanosleep)(const struct timespec *t, struct timespec *left)
{
    return WRAPPED(clock_nanosleep)(CLOCK_MONOTONIC, 0, t, left);
}

WRAP(int, usleep)(useconds_t us)
{
    sim_sleep((uint64_t)us * 1000);
    return 0;
}

/* ---- Chance, and who one is ---- */

ssize_t __real_getrandom(void *out, size_t size, unsigned flags);

WRAP(ssize_t, getrandom)(void *out, size_t size, unsigned flags)
{
    if (!sim_is_active()) {
        return __real_getrandom(out, size, flags);
    }
    sim_random_fill(sim_system_random(), out, size);
    return (ssize_t)size;
}

WRAP(pid_t, getpid)(void)
{
    return sim_is_active() ? (pid_t)(1000 + sim_proc_current()) : 1;
}
