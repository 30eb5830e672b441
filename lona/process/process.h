/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process record, its mailbox and its signals.
 *
 * Who may touch what. Everything in the record belongs to the worker that runs the process (or to
 * whoever holds the one right to make it ready), except `inbox`, which any thread changes, and
 * `generation`, which any thread reads.
 *
 * The inbox word is the one meeting point between processes:
 *
 *     bits 63..45  low 19 bits of the generation: a push for a former process never succeeds
 *     bits 44..1   address of the newest message / 8, or 0 (a stack, newest first)
 *     bit  0       PARKED: the process waits and is in no queue
 *
 * A push is one compare-and-swap. The pusher that replaces a PARKED word has thereby cleared it, is
 * the only one who did, and must make the process ready: so no wake-up is lost and none is doubled,
 * and no status needs to be re-checked. The owner takes the whole stack with one exchange, reverses
 * it and appends messages to the mailbox in arrival order; signals are handled right there.
 *
 * The mailbox (private queue) is no root: a message owns its data, which the collector neither
 * scans nor moves until a receive accepts it. Then the message becomes a fragment of the young
 * generation.
 *
 * Records live in slabs that are never unmapped, so reading `inbox` through a stale pid is safe.
 */
#pragma once

#include <stdatomic.h>

#include "bounds.h"
#include "term/term.h"

struct bindings;
struct process_memory;
struct relations;
struct root;
struct timer;
struct vm;
struct worker;

/* A pid as C passes it is a uint64_t: index | generation << 32. This one names nobody. */
#define PID_NONE_RAW UINT64_C(0x00000000FFFFFFFF)

enum message_kind {
    MESSAGE_TERM,      /* an ordinary message: `term` */
    MESSAGE_EXIT,      /* data[0] sender pid, data[1] by-link?, term reason */
    MESSAGE_LINK,      /* data[0] sender */
    MESSAGE_UNLINK,    /* data[0] sender */
    MESSAGE_MONITOR,   /* data[0] watcher, data[1] ref id */
    MESSAGE_DEMONITOR, /* data[0] watcher, data[1] ref id */
    MESSAGE_DOWN,      /* data[0] the dead, data[1] ref id, term reason */
    MESSAGE_TIMEOUT, /* data[0] wait number; embedded in a struct timer, never freed by the receiver
                      */
    MESSAGE_INFO,    /* data[0] asker, data[1] ref id: answer with [ref info] */
    MESSAGE_NAME,    /* data[3]: a name that has been registered for the receiver */
    MESSAGE_WAKE,    /* nothing but a wake-up (interrupt from outside) */
};

/* A message or signal on its way. Allocated by the sender's worker, freed by the receiver's. */
struct message {
    struct message *next;
    uint8_t kind;
    uint8_t flags;
    uint16_t unused;
    uint32_t words; /* of data */
    term_t term;    /* points into data, into realm memory, or is immediate */
    term_t data[];
};

enum message_flag {
    MESSAGE_SYNC = 1,   /* data[0] sender pid, data[1] ref id: acknowledge when accepted */
    MESSAGE_OWNERS = 4, /* some object in it holds a shared binary */
    MESSAGE_PINNED =
        2, /* a collection ran while a receive looked at it; old objects may point into it */
};

enum process_status {
    PROCESS_FREE, /* zero: what a record reads that has no memory */
    PROCESS_READY,
    PROCESS_RUNNING,
    PROCESS_WAITING,
    PROCESS_EXITING
};

enum process_flag {
    PROCESS_TRAP_EXIT = 1,
    PROCESS_KILLED = 2,    /* `reason` holds a fatal exit reason; ends at the next yield point */
    PROCESS_TIMED_OUT = 4, /* the current receive's deadline has passed */
    PROCESS_AT_ENTRY = 8,  /* yielded at a function's entry: live are slots 0..entry_argc */
    PROCESS_SLEEPING = 16, /* inside the native sleep */
    PROCESS_PEEKED = 32,   /* *save is being matched: slots may point into it */
};

#define PROCESS_STACK_INLINE 16 /* words */
#define PROCESS_HEAP_INLINE  16

/*
 * Small on purpose: record and first stack and heap make up an idle process (<= 480 bytes). What
 * few processes need hangs off `memory` and `relations`, allocated at first use.
 */
struct process {
    _Atomic uint64_t inbox;
    /* ---- execution: cached in registers by the interpreter while it runs ---- */
    term_t *htop;       /* next free heap word */
    term_t *hend;       /* end of the block that htop is in */
    term_t *fp;         /* slot 0 of the current frame; fp[-1] is the return address */
    const uint64_t *ip; /* next instruction */
    int32_t reductions_left;
    uint8_t status;
    uint8_t flags;
    uint8_t priority;
    uint8_t gc_inhibit;
    /* ---- memory ---- */
    term_t *heap;  /* base of the young block */
    term_t *stack; /* base; grows up */
    term_t *stack_end;
    struct message
        *fragments; /* accepted messages and extra chunks: part of the young generation */
    struct process_memory *memory;
    struct root *roots;
    /* ---- mailbox ---- */
    struct message *mailbox;
    struct message **mailbox_tail;
    struct message **save; /* the link that points to the message the current receive looks at */
    uint32_t mailbox_count;
    uint32_t wait_number; /* counts waits, so that a late timeout is told from the current one */
    struct timer *timer;
    /* ---- the rest ---- */
    struct relations *relations;
    struct bindings *bindings; /* may be shared with other processes */
    struct worker *worker;     /* the one that runs it, or ran it last */
    term_t reason;             /* pending error or exit reason: a root */
    uint64_t reductions;       /* total of finished slices */
    uint32_t index;
    _Atomic uint32_t generation;
    uint32_t heap_max_words; /* 0: no limit */
    uint16_t entry_argc;
    uint16_t collections_since_full;
    term_t stack_inline[PROCESS_STACK_INLINE];
    term_t heap_inline[PROCESS_HEAP_INLINE];
};

static inline uint64_t process_pid_raw(const struct process *p)
{
    return (uint64_t)atomic_load_explicit(&p->generation, memory_order_relaxed) << 32 | p->index;
}

/* The VM that a running process lives in. */
struct vm *process_vm(const struct process *p);

/* A PID term for a raw pid; 2 words must be reserved. */
term_t heap_pid(struct process *p, uint64_t raw);

static inline uint64_t term_pid_raw(term_t t)
{
    return term_ptr(t)[1];
}

/* Charge a native for its work. The process yields at its next yield point once it is used up. */
static inline void process_charge(struct process *p, size_t reductions)
{
    p->reductions_left = reductions < (size_t)(p->reductions_left > 0 ? p->reductions_left : 0)
                             ? p->reductions_left - (int32_t)reductions
                             : 0;
}

/* ---- sending (any worker; `from` is the running process) ----------------------------------------
 */

/*
 * Deep-copy `message` and push it to `to`. Never blocks, takes no lock; a dead target swallows it.
 * Returns false with p's error set when the message can't be sent (:badarg: a bytebuf; :oom).
 */
bool process_send(struct process *from, uint64_t to, term_t message) MUST_CHECK;

/* Is this pid alive (ready, running or waiting)? A snapshot. */
bool process_is_alive(struct vm *vm, uint64_t pid);

struct spawn_options {
    uint8_t priority; /* 0..255; 100 is usual */
    bool link;
    bool monitor;
    bool trap_exit;
    uint16_t fullsweep_after; /* 0: default */
    uint32_t heap_min_words;  /* 0: the inline heap */
    uint32_t heap_max_words;  /* 0: none */
    term_t name;              /* symbol or nil */
};

/*
 * Make a process that will call `fn` (native, FUN or CLOSURE of no arguments). On success *pid_out
 * is its pid and, with .monitor, *ref_out the ref's id. Nothing is visible to anyone before
 * success. Returns false with from's error set: :badarg, :oom, :process-limit.
 */
bool process_spawn(struct process *from, term_t fn, const struct spawn_options *options,
                   uint64_t *pid_out, uint64_t *ref_out) MUST_CHECK;
