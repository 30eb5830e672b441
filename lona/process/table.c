/* SPDX-License-Identifier: Apache-2.0 */
#include "process/table.h"

static struct process *next_free(struct process *p)
{
    return (struct process *)(void *)p->mailbox;
}

static void set_next_free(struct process *p, struct process *next)
{
    p->mailbox = (struct message *)(void *)next;
}

static bool table_grow(struct vm *vm, struct worker *w)
{
    struct process_table *t = &vm->processes;
    uint32_t n = atomic_load_explicit(&t->segment_count, memory_order_relaxed);
    const struct platform *pf = &vm->platform;
    size_t size = align_up(sizeof(struct process_segment), (size_t)4096);

    if (n == SEGMENTS_MAX) {
        return false;
    }
    struct process_segment *s = pf->reserve(pf->self, size, 4096);

    if (s == NULL || pf->commit(pf->self, s, size) != PLATFORM_OK) {
        if (s != NULL) {
            pf->release(pf->self, s, size);
        }
        return false;
    }
    for (uint32_t i = SEGMENT_RECORDS; i-- > 0;) {
        struct process *p = &s->records[i];

        p->index = n * SEGMENT_RECORDS + i;
        p->status = PROCESS_FREE;
        atomic_init(&p->generation, 1);
        atomic_init(&p->inbox, inbox_tag(1));
        set_next_free(p, w->free_processes);
        w->free_processes = p;
    }
    w->free_count += SEGMENT_RECORDS;
    atomic_store_explicit(&t->segments[n], s, memory_order_release);
    atomic_store_explicit(&t->segment_count, n + 1, memory_order_release);
    return true;
}

static bool refill(struct worker *w)
{
    struct vm *vm = w->vm;
    struct process_table *t = &vm->processes;
    bool ok = true;

    lock_acquire(&vm->platform, &t->lock);
    for (unsigned i = 0; i < SEGMENT_RECORDS && t->free != NULL; i++) {
        struct process *p = t->free;

        t->free = next_free(p);
        set_next_free(p, w->free_processes);
        w->free_processes = p;
        w->free_count++;
    }
    if (w->free_processes == NULL) {
        ok = table_grow(vm, w);
    }
    lock_release(&t->lock);
    return ok;
}

struct process *process_take(struct worker *w)
{
    if (w->free_processes == NULL && !refill(w)) {
        return NULL;
    }
    struct process *p = w->free_processes;

    w->free_processes = next_free(p);
    w->free_count--;
    atomic_fetch_add_explicit(&w->vm->processes.alive, 1, memory_order_relaxed);
    return p;
}

void process_give(struct worker *w, struct process *p)
{
    struct process_table *t = &w->vm->processes;

    p->status = PROCESS_FREE;
    atomic_fetch_sub_explicit(&t->alive, 1, memory_order_relaxed);
    set_next_free(p, w->free_processes);
    w->free_processes = p;
    if (++w->free_count <= WORKER_FREE_MAX) {
        return;
    }
    lock_acquire(&w->vm->platform, &t->lock);
    while (w->free_count > WORKER_FREE_MAX / 2) {
        struct process *q = w->free_processes;

        w->free_processes = next_free(q);
        set_next_free(q, t->free);
        t->free = q;
        w->free_count--;
    }
    lock_release(&t->lock);
}

void process_table_deinit(struct vm *vm)
{
    uint32_t n = atomic_load_explicit(&vm->processes.segment_count, memory_order_acquire);
    size_t size = align_up(sizeof(struct process_segment), (size_t)4096);

    for (uint32_t i = 0; i < n; i++) {
        struct process_segment *s =
            atomic_load_explicit(&vm->processes.segments[i], memory_order_relaxed);

        vm->platform.release(vm->platform.self, s, size);
    }
}
