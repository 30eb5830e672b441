/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Free records go from workers back to their segment, under the table's lock, in batches. A segment
 * all of whose records have come back gives its memory to the system; the generations are kept
 * aside, so that a stale pid stays stale. A purged record reads as zero, and generation 0 belongs
 * to nobody.
 */
#include "process/table.h"

static struct process *next_free(struct process *p)
{
    return (struct process *)(void *)p->mailbox;
}

static void set_next_free(struct process *p, struct process *next)
{
    p->mailbox = (struct message *)(void *)next;
}

static size_t segment_bytes(void)
{
    return align_up(sizeof(struct process_segment), (size_t)4096);
}

static struct process_segment *segment_at(struct vm *vm, uint32_t i)
{
    return atomic_load_explicit(&vm->processes.segments[i], memory_order_relaxed);
}

/* Records with these generations, none in use, to w. */
static void hand_out(struct worker *w, struct process_segment *s, uint32_t segment,
                     const uint32_t *generations)
{
    for (uint32_t i = SEGMENT_RECORDS; i-- > 0;) {
        struct process *p = &s->records[i];
        uint32_t generation = generations == NULL ? 1 : generations[i];

        p->index = segment * SEGMENT_RECORDS + i;
        p->status = PROCESS_FREE;
        atomic_store_explicit(&p->inbox, inbox_tag(generation), memory_order_relaxed);
        /* release: who reads the generation reads the inbox's tag that goes with it */
        atomic_store_explicit(&p->generation, generation, memory_order_release);
        set_next_free(p, w->free_processes);
        w->free_processes = p;
    }
    w->free_count += SEGMENT_RECORDS;
}

static bool grow_locked(struct vm *vm, struct worker *w)
{
    struct process_table *t = &vm->processes;
    uint32_t n = atomic_load_explicit(&t->segment_count, memory_order_relaxed);
    const struct platform *pf = &vm->platform;

    if (n == SEGMENTS_MAX) {
        return false;
    }
    struct process_segment *s = pf->reserve(pf->self, segment_bytes(), 4096);

    if (s == NULL || pf->commit(pf->self, s, segment_bytes()) != PLATFORM_OK) {
        if (s != NULL) {
            pf->release(pf->self, s, segment_bytes());
        }
        return false;
    }
    hand_out(w, s, n, NULL);
    atomic_store_explicit(&t->segments[n], s, memory_order_release);
    atomic_store_explicit(&t->segment_count, n + 1, memory_order_release);
    return true;
}

/* A segment with free records goes first: the lowest, so that the high ones empty. */
static bool take_free_locked(struct vm *vm, struct worker *w)
{
    struct process_table *t = &vm->processes;
    uint32_t n = atomic_load_explicit(&t->segment_count, memory_order_relaxed);

    for (uint32_t i = t->first_free; i < n; i++) {
        struct segment_state *state = &t->states[i];

        if (state->generations != NULL) {
            hand_out(w, segment_at(vm, i), i, state->generations);
            vm_free(vm, state->generations, SEGMENT_RECORDS * sizeof(uint32_t));
            state->generations = NULL;
            t->first_free = i;
            return true;
        }
        if (state->free != NULL) {
            w->free_processes = state->free;
            w->free_count += state->count;
            state->free = NULL;
            state->count = 0;
            t->first_free = i;
            return true;
        }
    }
    t->first_free = n;
    return false;
}

struct process *process_take(struct worker *w)
{
    struct vm *vm = w->vm;

    if (w->free_processes == NULL) {
        lock_acquire(&vm->platform, &vm->processes.lock);
        bool ok = take_free_locked(vm, w) || grow_locked(vm, w);

        lock_release(&vm->processes.lock);
        if (!ok) {
            return NULL;
        }
    }
    struct process *p = w->free_processes;

    w->free_processes = next_free(p);
    w->free_count--;
    atomic_fetch_add_explicit(&vm->processes.alive, 1, memory_order_relaxed);
    return p;
}

/* All records of a segment are here: keep the generations, give the memory back. */
static void purge_locked(struct vm *vm, uint32_t i)
{
    struct segment_state *state = &vm->processes.states[i];
    struct process_segment *s = segment_at(vm, i);
    uint32_t *generations = vm_alloc(vm, SEGMENT_RECORDS * sizeof(*generations));

    if (generations == NULL) {
        return;
    }
    for (unsigned k = 0; k < SEGMENT_RECORDS; k++) {
        generations[k] = atomic_load_explicit(&s->records[k].generation, memory_order_relaxed);
    }
    state->generations = generations;
    state->free = NULL;
    state->count = 0;
    vm->platform.purge(vm->platform.self, s, segment_bytes());
}

static void give_back_locked(struct vm *vm, struct process *p)
{
    struct process_table *t = &vm->processes;
    uint32_t i = p->index / SEGMENT_RECORDS;
    struct segment_state *state = &t->states[i];

    set_next_free(p, state->free);
    state->free = p;
    t->first_free = min_of(t->first_free, i);
    if (++state->count == SEGMENT_RECORDS && i >= SEGMENTS_KEPT) {
        purge_locked(vm, i);
    }
}

void process_give(struct worker *w, struct process *p)
{
    struct vm *vm = w->vm;

    p->status = PROCESS_FREE;
    atomic_fetch_sub_explicit(&vm->processes.alive, 1, memory_order_relaxed);
    set_next_free(p, w->free_processes);
    w->free_processes = p;
    if (++w->free_count <= WORKER_FREE_MAX) {
        return;
    }
    lock_acquire(&vm->platform, &vm->processes.lock);
    while (w->free_count > WORKER_FREE_MAX / 2) {
        struct process *q = w->free_processes;

        w->free_processes = next_free(q);
        w->free_count--;
        give_back_locked(vm, q);
    }
    lock_release(&vm->processes.lock);
}

void process_table_deinit(struct vm *vm)
{
    uint32_t n = atomic_load_explicit(&vm->processes.segment_count, memory_order_acquire);

    for (uint32_t i = 0; i < n; i++) {
        vm->platform.release(vm->platform.self, segment_at(vm, i), segment_bytes());
    }
}
