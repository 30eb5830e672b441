/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which slots of the stack hold live terms. The top frame's state follows from p->ip: at a
 * function's entry slots 0..argc are live; at a call instruction (a native runs in its window) the
 * live slots of its safepoint word plus the window; at any other safepoint the word alone.
 */
#include "gc/memory.h"
#include "interp/bytecode.h"
#include "interp/frame.h"
#include "process/relations.h"

typedef void (*visit_fn)(void *arg, term_t *slot);

static void visit_map(struct process *p, uint64_t word, term_t *fp, visit_fn visit, void *arg)
{
    if ((word & SAFEPOINT_INDIRECT) == 0) {
        for (uint32_t live = safepoint_live(word); live != 0; live &= live - 1) {
            visit(arg, &fp[__builtin_ctz(live)]);
        }
        return;
    }
    const uint64_t *base = (const uint64_t *)(const void *)p->worker->vm->realm.base;
    const struct live_map *m = (const void *)(base + safepoint_live(word));

    for (uint64_t i = 0; i < m->count; i++) {
        for (uint64_t live = m->bits[i]; live != 0; live &= live - 1) {
            visit(arg, &fp[i * 64 + (unsigned)__builtin_ctzll(live)]);
        }
    }
}

static void visit_top(struct process *p, visit_fn visit, void *arg)
{
    term_t *fp = p->fp;

    if ((p->flags & PROCESS_AT_ENTRY) != 0) {
        for (unsigned i = 0; i <= p->entry_argc; i++) {
            visit(arg, &fp[i]);
        }
        return;
    }
    const uint64_t *ip = p->ip;
    const struct op_info *info = &op_info[op_code(*ip)];

    if (info->a == O_WINDOW) {
        unsigned first = op_a(*ip) + ((info->flags & OF_CALLEE) != 0 ? 0 : 1);
        unsigned last = op_a(*ip) + op_b(*ip);

        for (unsigned i = first; i <= last; i++) {
            visit(arg, &fp[i]);
        }
    }
    bool has_map = info->e1 == E_MAP || info->e2 == E_MAP;

    assert(has_map || (info->flags & OF_END) != 0);
    if (has_map) {
        visit_map(p, ip[info->words - 1], fp, visit, arg);
    }
    if ((info->flags & OF_SELF) != 0) {
        visit(arg, &fp[0]);
    }
}

void process_each_root(struct process *p, visit_fn visit, void *arg)
{
    if (p->fp != NULL) {
        visit_top(p, visit, arg);
        term_t *fp = p->fp;

        while (fp[-1] != RETURN_TO_NOBODY) {
            const uint64_t *ret =
                (const uint64_t *)(uintptr_t)fp[-1]; // NOLINT(performance-no-int-to-ptr)

            fp -= safepoint_window(ret[-1]);
            visit_map(p, ret[-1], fp, visit, arg);
        }
    }
    for (struct root *r = p->roots; r != NULL; r = r->next) {
        visit(arg, r->value);
    }
    visit(arg, &p->reason);
    visit(arg, &p->worker->apply_fn);
    visit(arg, &p->worker->apply_args);
    struct bindings *b = p->bindings;

    /* A shared block holds nothing that could move. */
    if (b != NULL && atomic_load_explicit(&b->references, memory_order_relaxed) == 1) {
        for (uint32_t i = 0; i < b->count; i++) {
            visit(arg, &b->items[i].value);
        }
    }
}
