/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One real thread, many tasks. A task runs until it meets a scheduling point (each wrapped call of
 * the C library is one); there the seed chooses who goes on among those that can. Time stands still
 * while anybody can run and then jumps to the next deadline.
 *
 * Tasks switch by _setjmp/_longjmp, which make no system call; makecontext only builds the first
 * frame of a stack.
 */
#include "world.h"

#include <errno.h>
#include <setjmp.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "internal.h"
#include "real.h"

#define STACK_SIZE   (256u << 10)
#define GUARD_SIZE   4096u
#define CHECKERS_MAX 8u
#define NOT_RUNNABLE UINT32_MAX
#define TRACE_TEXT   400u

enum task_state {
    TASK_FREE,
    TASK_RUNNABLE,
    TASK_BLOCKED,
    TASK_ENDED, /* not yet joined */
};

struct task {
    unsigned id;
    unsigned proc;
    enum task_state state;
    uint32_t runnable_index;
    jmp_buf context;
    void *stack;
    int saved_errno;
    bool has_started;
    bool is_detached;
    bool is_woken; /* why the last block ended */
    const void *object;
    uint64_t deadline_ns;
    void *(*run)(void *);
    void *arg;
    void *result;
    char name[SIM_TASK_NAME_SIZE];
    /* The operation under way (I12). */
    const char *op;
    uint64_t op_deadline_ns;
    uint64_t op_steps;
};

struct sim_proc {
    bool is_used;
    bool is_alive;
    char name[SIM_TASK_NAME_SIZE];
    void (*main)(void *);
    void *arg;
    unsigned main_task;
    unsigned task_count;
    uint64_t kill_at_step; /* of the process's own; 0: never */
    uint64_t steps;
};

struct checker {
    void (*check)(void *);
    void *ctx;
};

static struct {
    bool is_active;
    struct sim_options options;
    struct sim_result *result;
    jmp_buf runner;
    struct task *tasks[SIM_TASKS_MAX];
    unsigned task_count; /* slots ever used in this world */
    unsigned task_ids;   /* given out; never twice */
    struct task *runnable[SIM_TASKS_MAX];
    unsigned runnable_count;
    struct task *current;
    struct sim_proc procs[SIM_PROCS_MAX];
    uint64_t now_ns;
    int64_t wall_offset_ns;
    uint64_t steps;
    struct checker checkers[CHECKERS_MAX];
    unsigned checker_count;
    bool is_checking;
    SHA2_CTX trace;
    struct sim_random schedule;
    struct sim_random scenario;
    struct sim_random system;
    struct sim_random disk;
    struct sim_random net;
} w;

/* Stacks outlive worlds: mapping one costs more than a short scenario. */
static void *spare_stacks[SIM_TASKS_MAX];
static unsigned spare_count;

/* ---- Failure and trace ---- */

bool sim_is_active(void)
{
    return w.is_active && w.current != NULL;
}

uint64_t sim_seed(void)
{
    return w.options.seed;
}

uint32_t sim_disabled_rules(void)
{
    return w.options.disabled_rules;
}

struct sim_result *sim_outcome(void)
{
    return w.result;
}

_Noreturn void sim_fail(const char *format, ...)
{
    va_list args;

    assert(w.is_active);
    if (!w.result->is_failed) {
        int n = snprintf(w.result->text, sizeof(w.result->text),
                         "step %llu, %.6f s, task %s: ", (unsigned long long)w.steps,
                         (double)w.now_ns / 1e9, w.current == NULL ? "-" : w.current->name);

        va_start(args, format);
        (void)vsnprintf(w.result->text + n, sizeof(w.result->text) - (size_t)n, format, args);
        va_end(args);
        w.result->is_failed = true;
    }
    w.current = NULL;
    _longjmp(w.runner, 1);
}

/* Instead of base/hosted's: a broken assertion of the library ends the world with its seed. */
_Noreturn void assert_failed(const char *expression, const char *file, int line)
{
    if (!w.is_active) {
        (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
        abort();
    }
    sim_fail("%s:%d: assertion failed: %s", file, line, expression);
}

void sim_trace(const char *format, ...)
{
    char text[TRACE_TEXT];
    va_list args;
    int n = snprintf(text, sizeof(text), "%llu.%06llu %-10s ",
                     (unsigned long long)(w.now_ns / SIM_NS_PER_SEC),
                     (unsigned long long)(w.now_ns % SIM_NS_PER_SEC / 1000),
                     w.current == NULL ? "-" : w.current->name);

    va_start(args, format);
    (void)vsnprintf(text + n, sizeof(text) - (size_t)n, format, args);
    va_end(args);
    SHA256Update(&w.trace, (const uint8_t *)text, strlen(text) + 1);
    if (w.options.is_traced) {
        (void)puts(text);
    }
}

static void trace_switch(const struct task *to)
{
    uint8_t record[20];

    store_le32(record, to->id);
    store_le64(record + 4, w.now_ns);
    store_le64(record + 12, w.steps);
    SHA256Update(&w.trace, record, sizeof(record));
}

struct sim_random *sim_scenario_random(void)
{
    return &w.scenario;
}

struct sim_random *sim_system_random(void)
{
    return &w.system;
}

struct sim_random *sim_disk_random(void)
{
    return &w.disk;
}

struct sim_random *sim_net_random(void)
{
    return &w.net;
}

/* ---- The clock ---- */

uint64_t sim_now_ns(void)
{
    return w.now_ns;
}

int64_t sim_wall_ns(void)
{
    return SIM_EPOCH_S * (int64_t)SIM_NS_PER_SEC + (int64_t)w.now_ns - (int64_t)SIM_NS_PER_SEC +
           w.wall_offset_ns;
}

void sim_clock_jump(int64_t by_ns)
{
    w.wall_offset_ns += by_ns;
    sim_trace("clock jump %lld", (long long)by_ns);
}

uint64_t sim_steps(void)
{
    return w.steps;
}

/* ---- Who runs ---- */

static void make_runnable(struct task *t, bool is_woken)
{
    assert(t->state == TASK_BLOCKED);
    t->state = TASK_RUNNABLE;
    t->is_woken = is_woken;
    t->object = NULL;
    t->runnable_index = w.runnable_count;
    w.runnable[w.runnable_count++] = t;
}

static void not_runnable(struct task *t)
{
    if (t->runnable_index != NOT_RUNNABLE) {
        struct task *last = w.runnable[--w.runnable_count];

        w.runnable[t->runnable_index] = last;
        last->runnable_index = t->runnable_index;
        t->runnable_index = NOT_RUNNABLE;
    }
}

static void check_ops(void)
{
    for (unsigned i = 0; i < w.task_count; i++) {
        const struct task *t = w.tasks[i];

        if (t->op != NULL && t->state != TASK_FREE && w.now_ns > t->op_deadline_ns) {
            sim_fail("I12: %s of task %s has not ended within its bound", t->op, t->name);
        }
    }
}

static _Noreturn void fail_deadlock(void)
{
    char names[300] = "";
    size_t n = 0;

    for (unsigned i = 0; i < w.task_count && n < sizeof(names) - 1; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED) {
            n += (size_t)snprintf(names + n, sizeof(names) - n, " %s(%s)", w.tasks[i]->name,
                                  w.tasks[i]->op == NULL ? "-" : w.tasks[i]->op);
        }
    }
    sim_fail("I12: deadlock, blocked for ever:%s", names);
}

/* Nobody can run: the next deadline becomes now. */
static void jump_clock(void)
{
    uint64_t next_ns = SIM_FOREVER;

    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED) {
            next_ns = min_of(next_ns, w.tasks[i]->deadline_ns);
        }
    }
    if (next_ns == SIM_FOREVER) {
        fail_deadlock();
    }
    sim_check(next_ns >= w.now_ns, "I11: the clock would go backwards");
    w.now_ns = next_ns;
    sim_check(w.now_ns <= SIM_TIME_MAX_NS, "more than 24 h of simulated time");
    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED && w.tasks[i]->deadline_ns <= next_ns) {
            make_runnable(w.tasks[i], false);
        }
    }
    check_ops();
}

static void task_main(void)
{
    struct task *t = w.current;

    sim_task_exit(t->run(t->arg));
}

/* The first time on a fresh stack. */
static _Noreturn void enter(struct task *to)
{
    static ucontext_t first;

    (void)getcontext(&first);
    first.uc_stack.ss_sp = (char *)to->stack + GUARD_SIZE;
    first.uc_stack.ss_size = STACK_SIZE - GUARD_SIZE;
    first.uc_link = NULL;
    makecontext(&first, task_main, 0);
    (void)setcontext(&first);
    abort();
}

static _Noreturn void go_on(struct task *to)
{
    w.current = to;
    errno = to->saved_errno;
    if (!to->has_started) {
        to->has_started = true;
        enter(to);
    }
    _longjmp(to->context, 1);
}

static struct task *choose(void)
{
    while (w.runnable_count == 0) {
        jump_clock();
    }
    return w.runnable_count == 1 ? w.runnable[0]
                                 : w.runnable[sim_random_below(&w.schedule, w.runnable_count)];
}

/* The current task goes on some time later, the chosen one now. */
static void switch_task(void)
{
    struct task *from = w.current;
    struct task *to = choose();

    if (to == from) {
        return;
    }
    trace_switch(to);
    from->saved_errno = errno;
    if (_setjmp(from->context) == 0) {
        go_on(to);
    }
}

static _Noreturn void leave(void)
{
    bool is_any_left = false;

    for (unsigned i = 0; i < w.task_count && !is_any_left; i++) {
        is_any_left = w.tasks[i]->state == TASK_RUNNABLE || w.tasks[i]->state == TASK_BLOCKED;
    }
    if (!is_any_left) {
        w.current = NULL;
        _longjmp(w.runner, 1);
    }
    struct task *to = choose();

    trace_switch(to);
    go_on(to);
}

static void run_checkers(void)
{
    if (w.is_checking) {
        return;
    }
    w.is_checking = true;
    for (unsigned i = 0; i < w.checker_count; i++) {
        w.checkers[i].check(w.checkers[i].ctx);
    }
    w.is_checking = false;
}

void sim_add_checker(void (*check)(void *), void *ctx)
{
    assert(w.checker_count < CHECKERS_MAX);
    w.checkers[w.checker_count++] = (struct checker){ .check = check, .ctx = ctx };
}

static void count_step(void)
{
    struct task *t = w.current;
    struct sim_proc *p = &w.procs[t->proc];

    w.steps++;
    t->op_steps++;
    p->steps++;
    sim_check(w.steps <= SIM_STEPS_MAX, "more than %u steps", SIM_STEPS_MAX);
    sim_check(t->op == NULL || t->op_steps <= SIM_OP_STEPS_MAX, "I12: %s takes more than %u steps",
              t->op, SIM_OP_STEPS_MAX);
    run_checkers();
    if (p->kill_at_step != 0 && p->steps >= p->kill_at_step) {
        sim_trace("SIGKILL of process %s at its step %llu", p->name, (unsigned long long)p->steps);
        sim_proc_kill(t->proc);
    }
}

void sim_step(void)
{
    count_step();
    if (w.runnable_count > 1) {
        switch_task();
    }
}

bool sim_block(const void *object, uint64_t deadline_ns)
{
    struct task *t = w.current;

    count_step();
    not_runnable(t);
    t->state = TASK_BLOCKED;
    t->object = object;
    t->deadline_ns = max_of(deadline_ns, w.now_ns);
    switch_task();
    return t->is_woken;
}

void sim_sleep(uint64_t ns)
{
    (void)sim_block(NULL, w.now_ns + ns);
}

void sim_wake_all(const void *object)
{
    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED && w.tasks[i]->object == object) {
            make_runnable(w.tasks[i], true);
        }
    }
}

void sim_wake_one(const void *object)
{
    struct task *chosen = NULL;
    unsigned count = 0;

    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED && w.tasks[i]->object == object) {
            count++;
            if (count == 1 || sim_random_below(&w.schedule, count) == 0) {
                chosen = w.tasks[i];
            }
        }
    }
    if (chosen != NULL) {
        make_runnable(chosen, true);
    }
}

bool sim_has_waiters(const void *object)
{
    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_BLOCKED && w.tasks[i]->object == object) {
            return true;
        }
    }
    return false;
}

/* ---- Operations ---- */

void sim_op_begin(const char *name, uint64_t limit_ns)
{
    struct task *t = w.current;

    sim_check(t->op == NULL, "the scenario nests %s in %s", name, t->op);
    t->op = name;
    t->op_steps = 0;
    t->op_deadline_ns = w.now_ns + limit_ns;
}

void sim_op_end(void)
{
    assert(w.current->op != NULL);
    w.current->op = NULL;
}

/* ---- Tasks ---- */

static void *take_stack(void)
{
    void *stack = NULL;

    if (spare_count > 0) {
        return spare_stacks[--spare_count];
    }
    stack = real_mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD_SIZE, PROT_NONE) < 0) {
        (void)fputs("sim: no memory for a stack\n", stderr);
        abort();
    }
    return stack;
}

static void give_stack(struct task *t)
{
    if (t->stack != NULL) {
        spare_stacks[spare_count++] = t->stack;
        t->stack = NULL;
    }
}

static struct task *new_slot(void)
{
    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->state == TASK_FREE) {
            return w.tasks[i];
        }
    }
    if (w.task_count == SIM_TASKS_MAX) {
        return NULL;
    }
    struct task *t = sim_calloc(1, sizeof(*t));

    w.tasks[w.task_count++] = t;
    return t;
}

static struct task *task_new(const char *name, unsigned proc, void *(*run)(void *), void *arg)
{
    struct task *t = new_slot();

    sim_check(t != NULL, "more than %u tasks", SIM_TASKS_MAX);
    memset(t, 0, sizeof(*t));
    t->id = ++w.task_ids;
    t->proc = proc;
    t->run = run;
    t->arg = arg;
    t->stack = take_stack();
    t->state = TASK_BLOCKED;
    (void)snprintf(t->name, sizeof(t->name), "%s", name);
    make_runnable(t, false);
    w.procs[proc].task_count++;
    return t;
}

static struct task *task_find(unsigned id)
{
    for (unsigned i = 0; i < w.task_count; i++) {
        if (w.tasks[i]->id == id && w.tasks[i]->state != TASK_FREE) {
            return w.tasks[i];
        }
    }
    return NULL;
}

unsigned sim_task_id(void)
{
    return w.current->id;
}

unsigned sim_task_create(const char *name, void *(*run)(void *), void *arg)
{
    return task_new(name, w.current->proc, run, arg)->id;
}

void sim_task_rename(unsigned id, const char *name)
{
    struct task *t = task_find(id);

    if (t != NULL) {
        (void)snprintf(t->name, sizeof(t->name), "%s", name);
    }
}

bool sim_task_join(unsigned id, void **result)
{
    struct task *t = task_find(id);

    if (t == NULL || t->is_detached) {
        return false;
    }
    while (t->state != TASK_ENDED) {
        (void)sim_block(t, SIM_FOREVER);
    }
    if (result != NULL) {
        *result = t->result;
    }
    t->state = TASK_FREE;
    w.procs[t->proc].task_count--;
    return true;
}

static void task_end(struct task *t)
{
    not_runnable(t);
    give_stack(t); /* the stack is left before anybody takes it: nothing runs in between */
    t->op = NULL;
    if (t->is_detached) {
        t->state = TASK_FREE;
        w.procs[t->proc].task_count--;
    } else {
        t->state = TASK_ENDED;
    }
}

void sim_task_detach(unsigned id)
{
    struct task *t = task_find(id);

    if (t != NULL) {
        t->is_detached = true;
        if (t->state == TASK_ENDED) {
            t->state = TASK_FREE;
            w.procs[t->proc].task_count--;
        }
    }
}

_Noreturn void sim_task_exit(void *result)
{
    struct task *t = w.current;
    struct sim_proc *p = &w.procs[t->proc];

    t->result = result;
    sim_wake_all(t);
    task_end(t);
    if (t->id == p->main_task && t->proc != 0) {
        sim_proc_kill(t->proc); /* the process exits: the rest of it ends, too */
    }
    leave();
}

/* ---- Processes ---- */

static void *proc_main(void *arg)
{
    struct sim_proc *p = arg;

    p->main(p->arg);
    return NULL;
}

static void proc_start(unsigned proc, const char *name, void (*main)(void *), void *arg)
{
    struct sim_proc *p = &w.procs[proc];

    memset(p, 0, sizeof(*p));
    p->is_used = true;
    p->is_alive = true;
    p->main = main;
    p->arg = arg;
    (void)snprintf(p->name, sizeof(p->name), "%s", name);
    struct task *t = task_new(name, proc, proc_main, p);

    p->main_task = t->id;
    t->is_detached = true;
}

unsigned sim_proc_spawn(const char *name, void (*main)(void *), void *arg)
{
    for (unsigned i = 1; i < SIM_PROCS_MAX; i++) {
        if (!w.procs[i].is_used || !w.procs[i].is_alive) {
            proc_start(i, name, main, arg);
            return i;
        }
    }
    sim_fail("more than %u processes", SIM_PROCS_MAX);
}

void sim_proc_kill(unsigned proc)
{
    struct sim_proc *p = &w.procs[proc];
    bool is_own = w.current != NULL && w.current->proc == proc;

    assert(proc != 0);
    if (!p->is_alive) {
        return;
    }
    p->is_alive = false;
    for (unsigned i = 0; i < w.task_count; i++) {
        struct task *t = w.tasks[i];

        if (t->proc == proc && (t->state == TASK_RUNNABLE || t->state == TASK_BLOCKED)) {
            t->is_detached = true;
            task_end(t);
        } else if (t->proc == proc && t->state == TASK_ENDED) {
            t->state = TASK_FREE;
        }
    }
    p->task_count = 0;
    sim_fds_close_all(proc);
    sim_memory_drop(proc);
    sim_wake_all(p);
    if (is_own) {
        leave();
    }
}

bool sim_proc_is_alive(unsigned proc)
{
    return w.procs[proc].is_alive;
}

void sim_proc_wait(unsigned proc)
{
    while (w.procs[proc].is_alive) {
        (void)sim_block(&w.procs[proc], SIM_FOREVER);
    }
}

unsigned sim_proc_current(void)
{
    return w.current->proc;
}

void sim_proc_kill_after(unsigned proc, uint64_t steps)
{
    w.procs[proc].kill_at_step = w.procs[proc].steps + steps;
}

void sim_proc_held(unsigned proc, struct sim_held *out)
{
    out->fds = sim_fds_count(proc);
    out->tasks = w.procs[proc].task_count;
    sim_memory_held(proc, &out->mappings, &out->allocations);
}

/* ---- The run ---- */

static void start_world(const struct sim_options *options, void (*main)(void *), void *arg,
                        struct sim_result *out)
{
    memset(&w, 0, sizeof(w));
    memset(out, 0, sizeof(*out));
    w.options = *options;
    w.result = out;
    w.now_ns = SIM_NS_PER_SEC;
    SHA256Init(&w.trace);
    sim_random_init(&w.schedule, options->seed, "schedule");
    sim_random_init(&w.scenario, options->seed, "scenario");
    sim_random_init(&w.system, options->seed, "system");
    sim_random_init(&w.disk, options->seed, "disk");
    sim_random_init(&w.net, options->seed, "net");
    w.is_active = true;
    sim_memory_init();
    sim_files_init();
    sim_events_init();
    sim_epoll_init();
    sim_faults_init();
    sim_checks_init();
    proc_start(0, "main", main, arg);
}

static void check_end(void)
{
    struct sim_held held;
    const char *unfired = sim_faults_unfired();

    sim_proc_held(0, &held);
    sim_check(held.tasks == 0, "I9: %u threads leaked", held.tasks);
    sim_check(held.fds == 0, "I9: %u descriptors leaked", held.fds);
    sim_check(held.mappings == 0, "I9: %u mappings leaked", held.mappings);
    sim_check(held.allocations == 0, "I9: %u allocations leaked", held.allocations);
    sim_check(unfired == NULL || w.options.disabled_rules != 0, "the fault '%s' never fired",
              unfired);
}

void sim_run(const struct sim_options *options, void (*main)(void *), void *arg,
             struct sim_result *out)
{
    start_world(options, main, arg, out);
    if (_setjmp(w.runner) == 0) {
        go_on(w.runnable[0]);
    }
    if (!out->is_failed && _setjmp(w.runner) == 0) {
        check_end();
    }
    out->steps = w.steps;
    out->time_ns = w.now_ns - SIM_NS_PER_SEC;
    sim_faults_report(out);
    SHA256Final(out->trace_hash, &w.trace);
    for (unsigned i = 0; i < w.task_count; i++) {
        give_stack(w.tasks[i]);
        sim_free(w.tasks[i]);
    }
    w.current = NULL;
    sim_files_deinit();
    sim_memory_deinit();
    sim_faults_deinit();
    w.is_active = false;
}
