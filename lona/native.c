/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as natives raise them, and running functions from C. */
#include "native.h"

#include <stdarg.h>

#include "data/data.h"
#include "gc/memory.h"
#include "interp/bytecode.h"
#include "interp/code.h"
#include "interp/frame.h"
#include "interp/interp.h"

term_t raise_oom(struct process *p)
{
    p->reason = process_vm(p)->realm.oom_error;
    return TERM_ERROR;
}

term_t raise_exit(struct process *p, term_t reason)
{
    p->reason = reason;
    return TERM_ERROR;
}

/* [:error kind info]; nothing may move, since an error can arise anywhere. */
static term_t raise_with(struct process *p, term_t kind, term_t info)
{
    if (info == TERM_ERROR || !heap_reserve(p, TUPLE_WORDS(3))) {
        return raise_oom(p);
    }
    term_t *e;
    term_t t = heap_tuple(p, 3, &e);

    e[0] = KW(error);
    e[1] = kind;
    e[2] = info;
    p->reason = t;
    return TERM_ERROR;
}

term_t raise(struct process *p, term_t kind, unsigned pairs, ...)
{
    term_t items[16];
    va_list args;

    assert((size_t)pairs <= array_size(items) / 2);
    va_start(args, pairs);
    for (unsigned i = 0; i < pairs * 2; i++) {
        items[i] = va_arg(args, term_t);
    }
    va_end(args);
    heap_inhibit_gc(p);
    term_t r = raise_with(p, kind, map_from_array(p, items, pairs));

    heap_permit_gc(p);
    return r;
}

static term_t name_term(struct process *p, const char *fn)
{
    term_t t = realm_symbol(process_vm(p), fn, __builtin_strlen(fn));

    return t == 0 ? TERM_NIL : t;
}

term_t raise_type(struct process *p, const char *fn, unsigned arg, term_t expected, term_t value)
{
    return raise(p, KW(type_error), 4, KW(fn), name_term(p, fn), KW(arg), term_small(arg),
                 KW(expected), expected, KW(value), value);
}

term_t raise_badarg(struct process *p, const char *fn, const term_t *args, unsigned argc)
{
    term_t list = TERM_EMPTY;

    heap_inhibit_gc(p);
    if (heap_reserve(p, (size_t)argc * PAIR_WORDS)) {
        for (unsigned i = argc; i-- > 0;) {
            list = heap_pair(p, args[i], list);
        }
    }
    term_t r = raise(p, KW(badarg), 2, KW(fn), name_term(p, fn), KW(args), list);

    heap_permit_gc(p);
    return r;
}

term_t raise_index(struct process *p, term_t index, size_t count)
{
    return raise(p, KW(index_out_of_bounds), 2, KW(index), index, KW(count),
                 term_small((int64_t)count));
}

term_t raise_bounds(struct process *p, term_t offset, size_t size)
{
    return raise(p, KW(out_of_bounds), 2, KW(offset), offset, KW(size), term_small((int64_t)size));
}

term_t native_apply(struct process *p, term_t fn, term_t args)
{
    p->worker->apply_fn = fn;
    p->worker->apply_args = args;
    return TERM_APPLY;
}

/* ---- nested runs ---- */

/* First free word above what the running native's frame uses. */
static term_t *stack_top(const struct process *p)
{
    if ((p->flags & PROCESS_AT_ENTRY) != 0) {
        return p->fp + p->entry_argc + 1;
    }
    uint64_t word = *p->ip;
    const struct op_info *info = &op_info[op_code(word)];

    assert(info->a == O_WINDOW);
    return p->fp + op_a(word) + op_b(word) + 1;
}

struct saved {
    const uint64_t *ip;
    size_t fp;
    uint8_t entry;
    uint16_t entry_argc;
    int32_t left;
    struct root *roots;
};

static term_t run_to_end(struct process *p, uint64_t budget)
{
    for (;;) {
        p->reductions_left = SLICE_REDUCTIONS;
        enum run_result r = interp_run(p->worker, p);

        switch (r) {
        case RUN_NESTED:
            return p->fp[0];
        case RUN_FAILED:
            return TERM_ERROR;
        case RUN_WAIT:
            return raise(p, KW(badarg), 1, KW(message), name_term(p, "receive-in-macro"));
        case RUN_DONE:
            unreachable("a nested run ended the process");
        case RUN_YIELDED:
            break;
        }
        if (budget <= SLICE_REDUCTIONS) {
            return raise(p, KW(macro_timeout), 0);
        }
        budget -= SLICE_REDUCTIONS;
        if ((p->flags & PROCESS_KILLED) != 0) {
            return TERM_ERROR;
        }
    }
}

term_t native_run(struct process *p, term_t fn, const term_t *args, unsigned argc, uint64_t budget)
{
    struct worker *w = p->worker;
    term_t *top = stack_top(p);
    struct saved s = {
        p->ip,         (size_t)(p->fp - p->stack), (uint8_t)(p->flags & PROCESS_AT_ENTRY),
        p->entry_argc, p->reductions_left,         p->roots
    };

    if (w->nested >= NESTED_RUNS_MAX || argc > PARAMS_MAX) {
        return raise(p, KW(too_complex), 0);
    }
    heap_inhibit_gc(p);
    p->fp = top + 1;
    term_t result = TERM_ERROR;

    if (stack_ensure(p, (size_t)argc + 2)) {
        w->nested++;
        p->fp[-1] = RETURN_TO_NATIVE;
        p->fp[0] = fn;
        for (unsigned i = 0; i < argc; i++) {
            p->fp[1 + i] = args[i];
        }
        p->flags |= PROCESS_AT_ENTRY;
        p->entry_argc = (uint16_t)argc;
        result = run_to_end(p, budget);
        w->nested--;
    }
    heap_permit_gc(p);
    p->ip = s.ip;
    p->fp = p->stack + s.fp;
    p->flags = (uint8_t)((p->flags & ~PROCESS_AT_ENTRY) | s.entry);
    p->entry_argc = s.entry_argc;
    p->reductions_left = s.left;
    p->roots = s.roots;
    return result;
}
