/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How C functions become Lonala functions, and how they fail.
 *
 * A native gets its arguments in args[0..argc), which are frame slots: the collector updates them
 * in place, so after a reservation args[i] is still right while a C local copied from it is not.
 * Its argument count has been checked against min_args and max_args.
 *
 * It returns a term, or one of the markers below (none of which is a term).
 */
#pragma once

#include "gc/heap.h"
#include "process/process.h"
#include "realm/realm.h"
#include "term/term.h"

/* The error or exit reason stands in p->reason (see raise()). */
#define TERM_ERROR ((term_t)0)
/* Call another function instead of returning: see native_apply(). */
#define TERM_APPLY ((term_t)4)
/* Park the process; the native is called again, with its args as it left them, after any wake-up.
 */
#define TERM_WAIT ((term_t)8)
/* Out of reductions: let others run, then call the native again with its args as it left them. */
#define TERM_AGAIN ((term_t)12)

static inline bool term_is_marker(term_t t)
{
    return (t & TERM_TAG_MASK) == TERM_HEADER;
}

typedef term_t (*native_fn)(struct process *p, term_t *args, unsigned argc);

enum native_flag {
    NATIVE_PURE = 1,      /* allowed in guards; may still raise (then the clause fails) */
    NATIVE_ALLOCATES = 2, /* may collect */
    NATIVE_YIELDS = 4,    /* may return TERM_APPLY, TERM_WAIT or TERM_AGAIN: not in guards */
    NATIVE_INTERNAL = 8,  /* emitted by the compiler: interned, but private */
};

#define NATIVE_VARIADIC 255

/*
 * One table row. Tables are constant arrays, registered in a fixed order (native/table.c), so that
 * a native's id is the same in every VM of one build.
 */
struct native {
    const char *ns;   /* "lona.core" */
    const char *name; /* "+" */
    native_fn fn;
    uint8_t min_args;
    uint8_t max_args; /* NATIVE_VARIADIC: any number */
    uint8_t flags;
    uint8_t cost;     /* reductions a call */
    const char *args; /* "(n…)": :arglists of the doc, one list a line */
    const char *doc;
};

struct native_table {
    const struct native *rows;
    size_t count;
};

/* All tables in order; the id of a row is its index in their concatenation. */
const struct native *native_by_id(uint32_t id);
uint32_t native_count(void);

/* One per file in native/ (and eval.c of the compiler); listed in native/table.c. */
extern const struct native_table native_core;       /* 6.1: vars, namespaces, metadata, GC */
extern const struct native_table native_number;     /* 6.2: arithmetic and comparison */
extern const struct native_table native_bits;       /* 6.2: bitwise, fixed width, byte order */
extern const struct native_table native_predicate;  /* 6.3 */
extern const struct native_table native_collection; /* 6.4 */
extern const struct native_table native_text;   /* 6.5: str, subs, symbol, keyword, format parts */
extern const struct native_table native_binary; /* 6.5: binaries, bytebufs, #bytes/#bits matching */
extern const struct native_table native_address; /* 6.5: paddr, vaddr */
extern const struct native_table native_process; /* 6.7 */
extern const struct native_table native_time;    /* 6.8 */
extern const struct native_table native_system;  /* files, console, environment */
extern const struct native_table native_eval;    /* read-string, eval, macroexpand, loading */
extern const struct native_table native_match;   /* what patterns call: sets, pids, bytes, bits */
extern const struct native_table native_library; /* the loader of the built-in library */
extern const struct native_table native_call;    /* C code as a process */

/* ---- failing: set p->reason, return TERM_ERROR --------------------------------------------------
 */

/* reason [:error kind info] with info a map of `pairs` keyword/term pairs. The values may be heap
 * terms: they are kept safe. With no memory for it, the reason is [:error :oom]. */
term_t raise(struct process *p, term_t kind, unsigned pairs, ...);
/* `fn` is the function's name as text; arg counts from 0; expected is a type keyword. */
term_t raise_type(struct process *p, const char *fn, unsigned arg, term_t expected, term_t value);
term_t raise_badarg(struct process *p, const char *fn, const term_t *args, unsigned argc);
term_t raise_index(struct process *p, term_t index, size_t count);
term_t raise_bounds(struct process *p, term_t offset, size_t size);
term_t raise_oom(struct process *p);
/* `reason` as it is: what (exit reason) does. */
term_t raise_exit(struct process *p, term_t reason);

/* Make the caller call fn with the elements of the proper list `args`, as a tail call of the
 * native. */
term_t native_apply(struct process *p, term_t fn, term_t args);

/*
 * Run fn to its end inside the current native and return its value, or TERM_ERROR. The collector is
 * inhibited meanwhile, the run can't wait, and more than `budget` reductions raise :macro-timeout.
 * For macros; nests at most NESTED_RUNS_MAX.
 */
term_t native_run(struct process *p, term_t fn, const term_t *args, unsigned argc, uint64_t budget);

/* ---- small helpers ------------------------------------------------------------------------------
 */

/* args[i] as an index or size: false when it is no integer in [0, max]. */
static inline bool arg_size(term_t t, uint64_t max, uint64_t *out)
{
    if (!term_is_small(t) || small_value(t) < 0 || (uint64_t)small_value(t) > max) {
        return false;
    }
    *out = (uint64_t)small_value(t);
    return true;
}
