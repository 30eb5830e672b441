/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a VM and of its workers: for lona/'s own core, not for natives. */
#pragma once

#include <stdatomic.h>

#include "bounds.h"
#include "gc/alloc.h"
#include "lock_rank.h"
#include "platform/platform.h"
#include "process/process.h"
#include "term/term.h"
#include "vm.h"

/* ---- locks: only where a wait is short and rare ---- */

struct lock {
    _Atomic uint32_t held;
    uint32_t rank; /* enum lock_rank */
};

static inline void lock_init(struct lock *l, enum lock_rank rank)
{
    *l = (struct lock){ .rank = rank };
}

/* Ranks must rise: lock_rank.h. */
void lock_acquire(const struct platform *pf, struct lock *l);
void lock_release(struct lock *l);

/* ---- the inbox word; see process.h ---- */

#define INBOX_PARKED       UINT64_C(1)
#define INBOX_POINTER_MASK (((UINT64_C(1) << 45) - 1) & ~INBOX_PARKED)
#define INBOX_TAG_SHIFT    45

static inline uint64_t inbox_tag(uint32_t generation)
{
    return (uint64_t)generation << INBOX_TAG_SHIFT;
}

/* ---- the process table ---- */

enum {
    SEGMENT_RECORDS = 1024,
    SEGMENTS_MAX = 16384,
    SEGMENTS_KEPT = 4,      /* the first segments keep their memory */
    WORKER_FREE_MAX = 2048, /* free records a worker keeps before it shares them */
};

struct process_segment {
    struct process records[SEGMENT_RECORDS];
};

struct segment_state {
    struct process *free; /* through `mailbox` as link */
    uint32_t count;
    uint32_t *generations; /* of a purged segment */
};

struct process_table {
    _Atomic(struct process_segment *) segments[SEGMENTS_MAX];
    _Atomic uint32_t segment_count;
    struct lock lock;
    uint32_t first_free; /* no lower segment has free records; under lock, as are the states */
    struct segment_state states[SEGMENTS_MAX];
    _Atomic int64_t alive;
};

/* ---- realm memory and names ---- */

#define REALM_SIZE        ((size_t)16 << 30) /* addresses reserved */
#define REALM_COMMIT_STEP ((size_t)1 << 18)

struct name_table {
    struct name *_Atomic *names; /* by index; reserved address space, so it never moves */
    _Atomic uint32_t count;
    uint32_t *slots; /* hash table of index + 1; under the lock */
    uint32_t slot_mask;
};

enum {
    NAMES_MAX = 1 << 24
};

struct ns;

struct realm {
    uint8_t *base;
    _Atomic size_t used;
    size_t committed;
    struct lock lock; /* memory, name insertion, namespaces */
    struct name_table symbols;
    struct name_table keywords;
    struct ns *first_ns;
    struct ns *last_ns;

    struct fun_index {
        const struct fun **funs; /* ascending by code address; reserved address space */
        _Atomic uint32_t count;
    } funs;

    term_t empty_map;
    term_t empty_set;
    term_t empty_vector;
    term_t oom_error;   /* [:error :oom] */
    struct var *ns_var; /* *ns* */
    _Atomic uint64_t gensym;
    _Atomic uint64_t ref;
};

enum {
    FUNS_MAX = 1 << 22
};

/* ---- workers ---- */

/* A growable Chase-Lev deque of processes; see sched/deque.c. */
struct deque_ring;

struct deque {
    _Atomic int64_t top ALIGNED(64);
    _Atomic int64_t bottom ALIGNED(64);
    _Atomic(struct deque_ring *) ring;
};

enum {
    QUEUE_HIGH,
    QUEUE_NORMAL,
    QUEUE_LOW,
    QUEUES
};

struct timer;

enum {
    WHEEL_LEVELS = 4,
    WHEEL_SLOTS = 256
};

struct wheel {
    struct timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t tick; /* milliseconds: slots before it are empty */
    size_t count;
    _Atomic(struct timer *) cancelled; /* by other workers */
};

struct scratch {
    uint8_t *base; /* reserved address space, committed as it is used */
    size_t committed;
};

#define SCRATCH_SIZE ((size_t)32 << 30)

struct worker {
    struct vm *vm;
    unsigned index;
    struct arena arena;
    struct process *current;
    term_t apply_fn; /* what native_apply() asked for */
    term_t apply_args;
    unsigned nested;       /* native_run() depth */
    unsigned equal_trials; /* data/equal.c */
    struct process *free_processes;
    uint32_t free_count;
    struct wheel wheel;
    struct scratch copy;
    struct scratch copy_log;
    uint64_t random;
    unsigned skipped[QUEUES];
    uintptr_t thread;
    /* ---- what other workers look at ---- */
    struct deque queues[QUEUES];
    _Atomic(struct process *) next ALIGNED(64); /* woken last; runs after the current one */
    _Atomic uint32_t slice;
    _Atomic bool asleep;
    struct platform_wake wake;
};

struct registry_entry {
    term_t name;
    uint64_t pid;
};

struct vm {
    struct platform platform;
    struct vm_options options;
    uint64_t hash_seed;
    struct arena_pool pool;
    struct realm realm;
    struct process_table processes;
    struct worker *workers[WORKERS_MAX];
    unsigned worker_count;
    int32_t slice; /* reductions of one turn */
    struct worker
        outside; /* the arena and queue of threads that are no workers; under outside_lock */
    struct lock outside_lock;
    struct arena memory; /* vm_alloc(); under memory_lock */
    struct lock memory_lock;
    _Atomic uint32_t sleeping;
    _Atomic uint32_t searching;
    _Atomic bool stopping;
    bool gc_stress;
    struct lock registry_lock;
    struct registry_entry *registry;
    size_t registry_count, registry_capacity;
    struct lock timer_lock;
    struct timer **timers; /* hash of send-after timers by ref; under timer_lock */
    size_t timer_capacity, timer_count;
    _Atomic size_t shared_binary_bytes;
    term_t body_loop;   /* FUN: see call_body.c */
    struct call *calls; /* vm_call()s that wait; under outside_lock */
    int argc;
    const char *const *argv;
};

/* Another thread may do something here: between two steps of what is not one atomic step. */
static inline void sched_point(const struct vm *vm)
{
#ifdef TEST_BUILD
    if (vm->platform.step != NULL) {
        vm->platform.step(vm->platform.self);
    }
#else
    (void)vm;
#endif
}

/* Memory for parts of the VM that no worker owns: takes memory_lock. */
void *vm_alloc(struct vm *vm, size_t size) MUST_CHECK;
void vm_free(struct vm *vm, void *p, size_t size);

/* The arena of the worker that runs p. */
static inline struct arena *process_arena(struct process *p)
{
    return &p->worker->arena;
}

static inline bool realm_holds(const struct realm *r, const void *p)
{
    return (uintptr_t)p - (uintptr_t)r->base < REALM_SIZE;
}

struct bindings;
/* One block for all processes whose only binding is *ns* = this namespace: shared without counting,
 * so that workers don't contend for the count. NULL without memory. */
struct bindings *ns_bindings(struct vm *vm, term_t ns);

int realm_init(struct vm *vm) MUST_CHECK;
void realm_deinit(struct vm *vm);
/* Text used by realm_alloc() callers that hold realm.lock. */
term_t *realm_alloc_locked(struct vm *vm, size_t words) MUST_CHECK;
bool realm_add_fun(struct vm *vm, const struct fun *f) MUST_CHECK;
