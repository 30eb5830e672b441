/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coroutines. Coroutine 0 is the program's own thread. Exactly one runs; the others
 * are ready, or sleep until a wake-up or a time. Whoever gives up its turn picks the next itself.
 */
#include "platform/sim/sim.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <base/assert.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    FIBERS_MAX = 72,
    STACK_BYTES = 1 << 20,
    LOOK_NS = 5000, /* how far a look at the clock moves it */
};

struct fiber {
    ucontext_t context; /* where it begins */
    void *place[5];     /* where it went on waiting */
    struct sim *sim;
    void (*fn)(void *);
    void *arg;
    uint8_t *stack;
    const void *bounds; /* of the stack, for the sanitizer */
    size_t bounds_size;
    void *fake_stack;
    struct platform_wake *asleep; /* NULL: ready */
    uint64_t until_ns;
    bool started;
    bool done;
};

struct sim {
    struct platform platform;
    struct sim_options options;
    uint64_t random;
    uint64_t now_ns;
    uint64_t switches;
    uint64_t commits;
    bool commits_fail;
    unsigned count;
    unsigned current;
    struct fiber fibers[FIBERS_MAX];
};

static uint64_t next_random(struct sim *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random >> 11;
}

/* ---- turns ---- */

static bool can_run(const struct sim *s, const struct fiber *f)
{
    if (f->done) {
        return false;
    }
    return f->asleep == NULL || f->until_ns <= s->now_ns ||
           atomic_load_explicit(&f->asleep->state, memory_order_relaxed) != 0;
}

static void enter_stack(struct fiber *f, const void **bounds, size_t *size)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(f->fake_stack, bounds, size);
#else
    (void)f;
    *bounds = NULL;
    *size = 0;
#endif
}

/* The compiler's own jumps: swapcontext() makes a system call for the signal mask, and the
 * sanitizer clears the whole stack at each. */
_Noreturn static __attribute__((noinline)) void go_to(struct fiber *to)
{
    if (!to->started) {
        to->started = true;
        (void)setcontext(&to->context);
        abort();
    }
    __builtin_longjmp(to->place, 1);
}

static __attribute__((noinline)) void switch_to(struct sim *s, unsigned index)
{
    struct fiber *from = &s->fibers[s->current];
    struct fiber *to = &s->fibers[index];

    if (from == to) {
        return;
    }
    s->current = index;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(from->done ? NULL : &from->fake_stack, to->bounds,
                                   to->bounds_size);
#endif
    if (__builtin_setjmp(from->place) == 0) {
        go_to(to);
    }
    const void *bounds;
    size_t size;

    enter_stack(from, &bounds, &size);
}

/* Someone who can run: the n-th of them, or the caller's number if nobody can. */
static unsigned pick(struct sim *s)
{
    unsigned able = 0;

    for (unsigned i = 0; i < s->count; i++) {
        able += can_run(s, &s->fibers[i]);
    }
    if (able == 0) {
        return s->count;
    }
    uint64_t n = next_random(s) % able;

    for (unsigned i = 0;; i++) {
        if (can_run(s, &s->fibers[i]) && n-- == 0) {
            return i;
        }
    }
}

/* The caller can't go on: let time pass until someone can. */
static void give_up_turn(struct sim *s)
{
    unsigned next = pick(s);

    while (next == s->count) {
        uint64_t earliest = PLATFORM_FOREVER;

        for (unsigned i = 0; i < s->count; i++) {
            if (!s->fibers[i].done && s->fibers[i].until_ns < earliest) {
                earliest = s->fibers[i].until_ns;
            }
        }
        if (earliest == PLATFORM_FOREVER) {
            s->options.stuck();
            abort();
        }
        s->now_ns = earliest;
        next = pick(s);
    }
    switch_to(s, next);
}

static void sim_step(void *self)
{
    struct sim *s = self;

    if (s->options.switch_one_in == 0 || next_random(s) % s->options.switch_one_in != 0 ||
        (s->options.switches_max != 0 && s->switches >= s->options.switches_max)) {
        return;
    }
    s->switches++;
    switch_to(s, pick(s));
}

static void sim_yield(void *self)
{
    struct sim *s = self;
    unsigned before = s->current;

    /* Who spins on a lock must not win every draw. */
    for (unsigned tries = 0; tries < 4 && s->current == before; tries++) {
        unsigned next = pick(s);

        if (next != before) {
            switch_to(s, next);
            return;
        }
    }
}

/* ---- threads ---- */

static void fiber_main(unsigned low, unsigned high)
{
    // NOLINTNEXTLINE(performance-no-int-to-ptr): makecontext passes ints only
    struct fiber *f = (struct fiber *)((uintptr_t)high << 32 | low);
    struct sim *s = f->sim;
    const void *bounds;
    size_t size;

    enter_stack(f, &bounds, &size);
    if (s->fibers[0].bounds == NULL) { /* the first one comes from the program's own stack */
        s->fibers[0].bounds = bounds;
        s->fibers[0].bounds_size = size;
    }
    f->fn(f->arg);
    f->done = true;
    give_up_turn(s);
    abort();
}

static int sim_thread_start(void *self, unsigned index, void (*fn)(void *), void *arg,
                            uintptr_t *out)
{
    struct sim *s = self;
    struct fiber *f = &s->fibers[s->count];
    uint8_t *stack = s->count == FIBERS_MAX ? NULL : malloc(STACK_BYTES);

    (void)index;
    if (stack == NULL || getcontext(&f->context) != 0) {
        free(stack);
        return PLATFORM_ENOMEM;
    }
    *f = (struct fiber){ .context = f->context,
                         .sim = s,
                         .fn = fn,
                         .arg = arg,
                         .stack = stack,
                         .bounds = stack,
                         .bounds_size = STACK_BYTES };
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, (void (*)(void))(void *)fiber_main, 2, (unsigned)(uintptr_t)f,
                (unsigned)((uintptr_t)f >> 32));
    *out = s->count;
    s->count++;
    sim_step(s);
    return PLATFORM_OK;
}

static void sim_thread_join(void *self, uintptr_t thread)
{
    struct sim *s = self;

    while (!s->fibers[thread].done) {
        sim_yield(s);
    }
}

static void sim_wake_wait(void *self, struct platform_wake *w, uint64_t until_ns)
{
    struct sim *s = self;
    struct fiber *f = &s->fibers[s->current];

    sim_step(s);
    while (atomic_exchange_explicit(&w->state, 0, memory_order_acquire) == 0 &&
           until_ns > s->now_ns) {
        f->asleep = w;
        f->until_ns = until_ns;
        give_up_turn(s);
        f->asleep = NULL;
    }
}

static void sim_wake_signal(void *self, struct platform_wake *w)
{
    struct sim *s = self;

    sim_step(s);
    if (s->options.lose_wake_one_in == 0 || next_random(s) % s->options.lose_wake_one_in != 0) {
        atomic_store_explicit(&w->state, 1, memory_order_release);
    }
    sim_step(s);
}

/* ---- the rest ---- */

static uint64_t sim_mono_ns(void *self)
{
    struct sim *s = self;

    s->now_ns += LOOK_NS;
    if (s->options.time_max_ns != 0 && s->now_ns > s->options.time_max_ns) {
        s->options.stuck();
        abort();
    }
    sim_step(s);
    return s->now_ns;
}

static int64_t sim_wall_ns(void *self)
{
    return (int64_t)sim_mono_ns(self);
}

static int sim_commit(void *self, void *addr, size_t size)
{
    struct sim *s = self;
    const struct platform *posix = platform_posix();

    s->commits++;
    if (s->commits_fail ||
        (s->options.commit_fail_from != 0 && s->commits >= s->options.commit_fail_from)) {
        return PLATFORM_ENOMEM;
    }
    return posix->commit(posix->self, addr, size);
}

static unsigned sim_cpu_count(void *self)
{
    (void)self;
    return 2;
}

static int sim_entropy(void *self, void *p, size_t n)
{
    struct sim *s = self;
    uint8_t *to = p;

    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)next_random(s);
    }
    return PLATFORM_OK;
}

struct sim *sim_create(const struct sim_options *options)
{
    struct sim *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->options = *options;
    s->random = (options->seed + 1) * 0x9E3779B97F4A7C15u | 1;
    s->now_ns = 1000000000;
    s->count = 1;
    s->fibers[0].sim = s;
    s->fibers[0].started = true;
    s->fibers[0].until_ns = PLATFORM_FOREVER;
    s->platform = *platform_posix();
    s->platform.self = s; /* POSIX's functions don't look at it */
    s->platform.commit = sim_commit;
    s->platform.mono_ns = sim_mono_ns;
    s->platform.wall_ns = sim_wall_ns;
    s->platform.cpu_count = sim_cpu_count;
    s->platform.thread_start = sim_thread_start;
    s->platform.thread_join = sim_thread_join;
    s->platform.yield_cpu = sim_yield;
    s->platform.wake_wait = sim_wake_wait;
    s->platform.wake_signal = sim_wake_signal;
    s->platform.entropy = sim_entropy;
    s->platform.step = sim_step;
    return s;
}

const struct platform *sim_platform(struct sim *s)
{
    return &s->platform;
}

uint64_t sim_switches(const struct sim *s)
{
    return s->switches;
}

void sim_fail_commits(struct sim *s, bool on)
{
    s->commits_fail = on;
}

void sim_destroy(struct sim *s)
{
    for (unsigned i = 1; i < s->count; i++) {
        assert(s->fibers[i].done);
        free(s->fibers[i].stack);
    }
    free(s);
}
