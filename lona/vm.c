/* SPDX-License-Identifier: Apache-2.0 */
/* A VM's life and calls into it from outside. */
#include "vm.h"

#include "gc/memory.h"
#include "interp/code.h"
#include "library.h"
#include "native.h"
#include "process/mailbox.h"
#include "process/relations.h"
#include "process/table.h"
#include "sched/timer.h"
#include "sched/worker.h"
#include "vm_call.h"

void *vm_alloc(struct vm *vm, size_t size)
{
    lock_acquire(&vm->platform, &vm->memory_lock);
    void *p = arena_alloc(&vm->memory, size);

    lock_release(&vm->memory_lock);
    return p;
}

void vm_free(struct vm *vm, void *p, size_t size)
{
    lock_acquire(&vm->platform, &vm->memory_lock);
    arena_free(&vm->memory, p, size);
    lock_release(&vm->memory_lock);
}

const struct platform *vm_platform(const struct vm *vm)
{
    return &vm->platform;
}

void vm_set_args(struct vm *vm, int argc, const char *const *argv)
{
    vm->argc = argc;
    vm->argv = argv;
}

static size_t vm_bytes(void)
{
    return align_up(sizeof(struct vm), (size_t)4096);
}

static bool workers_create(struct vm *vm, unsigned count)
{
    if (!worker_init(&vm->outside, vm, WORKERS_MAX)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct worker *w = vm_alloc(vm, align_up(sizeof(*w), (size_t)4096) + 4096);

        if (w == NULL) {
            return false;
        }
        __builtin_memset(w, 0, sizeof(*w));
        vm->workers[i] = w;
        vm->worker_count = i + 1;
        if (!worker_init(w, vm, i)) {
            return false;
        }
    }
    return true;
}

static bool workers_start(struct vm *vm)
{
    for (unsigned i = 0; i < vm->worker_count; i++) {
        struct worker *w = vm->workers[i];

        if (vm->platform.thread_start(vm->platform.self, i, worker_main, w, &w->thread) != 0) {
            return false;
        }
    }
    return true;
}

static void locks_init(struct vm *vm)
{
    lock_init(&vm->outside_lock, LOCK_OUTSIDE);
    lock_init(&vm->timer_lock, LOCK_TIMERS);
    lock_init(&vm->registry_lock, LOCK_REGISTRY);
    lock_init(&vm->processes.lock, LOCK_PROCESSES);
    lock_init(&vm->realm.lock, LOCK_REALM);
    lock_init(&vm->memory_lock, LOCK_MEMORY);
}

struct vm *vm_create(const struct vm_options *options, const char **error)
{
    const struct platform *pf = options->platform;
    struct vm *vm = pf->reserve(pf->self, vm_bytes(), 4096);

    *error = "out of memory";
    if (vm == NULL || pf->commit(pf->self, vm, vm_bytes()) != PLATFORM_OK) {
        return NULL;
    }
    vm->platform = *pf;
    vm->options = *options;
    vm->gc_stress = options->gc_stress;
    vm->slice = options->slice == 0 ? SLICE_REDUCTIONS : (int32_t)options->slice;
    locks_init(vm);
    vm->pool.platform = &vm->platform;
    vm->pool.limit = options->memory_max;
    arena_init(&vm->memory, &vm->pool);
    vm->hash_seed = options->seed;
    if (vm->hash_seed == 0 &&
        pf->entropy(pf->self, &vm->hash_seed, sizeof(vm->hash_seed)) != PLATFORM_OK) {
        vm->hash_seed = pf->mono_ns(pf->self);
    }
    unsigned workers = options->workers != 0 ? options->workers : pf->cpu_count(pf->self);

    workers = max_of(1u, min_of(workers, (unsigned)WORKERS_MAX));
    if (!workers_create(vm, workers) || realm_init(vm) != 0 || !call_body_init(vm) ||
        !workers_start(vm)) {
        vm_destroy(vm);
        return NULL;
    }
    if (!options->without_library && library_load(vm) != 0) {
        *error = "the library does not load";
        vm_destroy(vm);
        return NULL;
    }
    return vm;
}

static void drop_processes(struct vm *vm)
{
    uint32_t segments = atomic_load_explicit(&vm->processes.segment_count, memory_order_acquire);

    for (uint32_t i = 0; i < segments * SEGMENT_RECORDS; i++) {
        struct process *p = process_at(vm, i);

        if (p != NULL && p->status != PROCESS_FREE) {
            process_drop(&vm->outside, p);
        }
    }
}

void vm_destroy(struct vm *vm)
{
    struct platform pf = vm->platform;

    atomic_store_explicit(&vm->stopping, true, memory_order_seq_cst);
    workers_wake_all(vm);
    for (unsigned i = 0; i < vm->worker_count; i++) {
        if (vm->workers[i]->thread != 0) {
            pf.thread_join(pf.self, vm->workers[i]->thread);
        }
    }
    drop_processes(vm);
    for (unsigned i = 0; i < vm->worker_count; i++) {
        wheel_deinit(vm->workers[i]);
    }
    for (unsigned i = 0; i < vm->worker_count; i++) {
        worker_deinit(vm->workers[i]);
    }
    process_table_deinit(vm);
    realm_deinit(vm);
    worker_deinit(&vm->outside);
    arena_deinit(&vm->memory);
    pf.release(pf.self, vm, vm_bytes());
}

/* ---- calls from outside ---- */

void call_finish(struct call *c, struct process *p, term_t reason)
{
    c->is_error = reason != KW(normal);
    if (c->print != NULL) {
        c->print(c->arg, p, c->is_error ? reason : p->stack[1], c->is_error);
    }
    struct vm *vm = c->vm;

    lock_acquire(&vm->platform, &vm->outside_lock);
    for (struct call **link = &vm->calls; *link != NULL; link = &(*link)->next) {
        if (*link == c) {
            *link = c->next;
            break;
        }
    }
    /* Under the lock, which the caller takes before it frees c. */
    atomic_store_explicit(&c->done, true, memory_order_release);
    vm->platform.wake_signal(vm->platform.self, &c->wake);
    lock_release(&vm->outside_lock);
}

bool call_start(struct vm *vm, struct call *c, term_t fn)
{
    const struct spawn_options options = { .priority = 100, .name = TERM_NIL };
    term_t error;

    lock_acquire(&vm->platform, &vm->outside_lock);
    struct process *p = process_make(&vm->outside, fn, &options, NULL, &error);
    struct relations *r = p == NULL ? NULL : process_relations_get(p);

    if (r == NULL) {
        if (p != NULL) {
            process_drop(&vm->outside, p);
        }
        lock_release(&vm->outside_lock);
        return false;
    }
    r->call = c;
    c->pid = process_pid_raw(p);
    c->next = vm->calls;
    vm->calls = c;
    sched_ready(vm, &vm->outside, p);
    lock_release(&vm->outside_lock);
    return true;
}

void call_wait(struct vm *vm, struct call *c)
{
    while (!atomic_load_explicit(&c->done, memory_order_acquire)) {
        vm->platform.wake_wait(vm->platform.self, &c->wake, PLATFORM_FOREVER);
    }
    /* The finisher lets go of c with this lock. */
    lock_acquire(&vm->platform, &vm->outside_lock);
    lock_release(&vm->outside_lock);
}

static void send_exit_locked(struct vm *vm, uint64_t pid, term_t reason)
{
    struct message *m = signal_with_reason(&vm->outside, MESSAGE_EXIT, PID_NONE_RAW, 0, reason);

    if (!inbox_push(vm, &vm->outside, pid, m)) {
        message_free(&vm->outside, m);
    }
}

void call_stop(struct vm *vm, struct call *c)
{
    lock_acquire(&vm->platform, &vm->outside_lock);
    send_exit_locked(vm, c->pid, KW(kill));
    lock_release(&vm->outside_lock);
    call_wait(vm, c);
}

static int call_and_wait(struct vm *vm, term_t fn, const struct call *as)
{
    struct call *c = vm_alloc(vm, sizeof(*c));

    if (c == NULL) {
        return PLATFORM_ENOMEM;
    }
    *c = *as;
    if (!call_start(vm, c, fn)) {
        vm_free(vm, c, sizeof(*c));
        return PLATFORM_ENOMEM;
    }
    call_wait(vm, c);
    int result = c->is_error ? 1 : 0;

    vm_free(vm, c, sizeof(*c));
    return result;
}

int vm_call(struct vm *vm, term_t fn,
            void (*print)(void *arg, struct process *p, term_t value, bool is_error), void *arg)
{
    const struct call c = { .vm = vm, .print = print, .arg = arg };

    return call_and_wait(vm, fn, &c);
}

int vm_call_body(struct vm *vm,
                 term_t (*body)(void *arg, struct process *p, term_t last, bool *again),
                 void *body_arg,
                 void (*print)(void *arg, struct process *p, term_t value, bool is_error),
                 void *arg)
{
    const struct call c = {
        .vm = vm, .print = print, .arg = arg, .body = body, .body_arg = body_arg
    };

    return call_and_wait(vm, vm->body_loop, &c);
}

void vm_interrupt(struct vm *vm)
{
    lock_acquire(&vm->platform, &vm->outside_lock);
    for (const struct call *c = vm->calls; c != NULL; c = c->next) {
        if (!c->is_service) {
            send_exit_locked(vm, c->pid, KW(interrupted));
        }
    }
    lock_release(&vm->outside_lock);
}
