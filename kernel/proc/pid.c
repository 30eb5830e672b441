// SPDX-License-Identifier: Apache-2.0
/*
 * Two levels: 512 leaves of 64 numbers, allocated when first needed and kept. A lookup is two loads
 * under one lock; a free number is found by the leaf's bit map, going up from the last one given,
 * so that a number is not reused soon.
 */
#include <proc/pid.h>

#include <core/lock.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <sched/task.h>

#define LEAF_SIZE  64u
#define LEAF_COUNT (PID_MAX / LEAF_SIZE)

struct pid_slot {
    struct task *task;
    struct process *process;
    uint32_t uses;
};

struct pid_leaf {
    uint64_t used;
    struct pid_slot slots[LEAF_SIZE];
};

static struct spinlock pid_lock = SPINLOCK_INIT(RANK_PID);
static struct pid_leaf *leaves[LEAF_COUNT];
static struct slab_cache leaf_cache = SLAB_CACHE("pid_leaf", struct pid_leaf);
static uint32_t last_pid; /* all three under pid_lock */

static struct pid_slot *slot_locked(pid_t n)
{
    struct pid_leaf *leaf;

    if (n <= 0 || n >= PID_MAX) {
        return NULL;
    }
    leaf = leaves[(uint32_t)n / LEAF_SIZE];
    if (!leaf || !(leaf->used >> ((uint32_t)n % LEAF_SIZE) & 1)) {
        return NULL;
    }
    return &leaf->slots[(uint32_t)n % LEAF_SIZE];
}

/* The first free number in [from, to); the leaf that is missing first ends the search: *missing. */
static uint32_t find_free_locked(uint32_t from, uint32_t to, uint32_t *missing)
{
    while (from < to) {
        uint32_t index = from / LEAF_SIZE;
        uint64_t free;

        if (!leaves[index]) {
            *missing = index;
            return 0;
        }
        free = ~leaves[index]->used & (UINT64_MAX << (from % LEAF_SIZE));
        if (free) {
            uint32_t n = index * LEAF_SIZE + (uint32_t)__builtin_ctzll(free);

            return n < to ? n : 0;
        }
        from = (index + 1) * LEAF_SIZE;
    }
    return 0;
}

static bool add_leaf(uint32_t index)
{
    struct pid_leaf *leaf = slab_alloc(&leaf_cache, GFP_ZERO);
    uint64_t flags;

    if (!leaf) {
        return false;
    }
    if (index == 0) {
        leaf->used = 1; /* 0 is nobody */
    }
    flags = spin_lock_irqsave(&pid_lock);
    if (!leaves[index]) {
        leaves[index] = leaf;
        leaf = NULL;
    }
    spin_unlock_irqrestore(&pid_lock, flags);
    slab_free(&leaf_cache, leaf);
    return true;
}

pid_t pid_alloc(void)
{
    for (;;) {
        uint32_t missing = LEAF_COUNT;
        uint64_t flags = spin_lock_irqsave(&pid_lock);
        uint32_t n = find_free_locked(last_pid + 1, PID_MAX, &missing);

        if (!n && missing == LEAF_COUNT) {
            n = find_free_locked(PID_RESERVED, last_pid + 1, &missing);
        }
        if (n) {
            leaves[n / LEAF_SIZE]->used |= UINT64_C(1) << (n % LEAF_SIZE);
            leaves[n / LEAF_SIZE]->slots[n % LEAF_SIZE] = (struct pid_slot){ .uses = 1 };
            last_pid = n;
        }
        spin_unlock_irqrestore(&pid_lock, flags);
        if (n) {
            return (pid_t)n;
        }
        if (missing == LEAF_COUNT) {
            return -EAGAIN;
        }
        if (!add_leaf(missing)) {
            return -ENOMEM;
        }
    }
}

void pid_hold(pid_t n)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(n);

    assert(slot && slot->uses > 0);
    slot->uses++;
    spin_unlock_irqrestore(&pid_lock, flags);
}

void pid_drop(pid_t n)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(n);

    assert(slot && slot->uses > 0);
    if (--slot->uses == 0) {
        assert(!slot->task && !slot->process);
        leaves[(uint32_t)n / LEAF_SIZE]->used &= ~(UINT64_C(1) << ((uint32_t)n % LEAF_SIZE));
    }
    spin_unlock_irqrestore(&pid_lock, flags);
}

void pid_set_task(pid_t n, struct task *t)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(n);

    assert(slot);
    slot->task = t;
    spin_unlock_irqrestore(&pid_lock, flags);
}

void pid_set_process(pid_t n, struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(n);

    assert(slot);
    slot->process = p;
    spin_unlock_irqrestore(&pid_lock, flags);
}

struct task *task_find(pid_t tid)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(tid);
    struct task *t = slot ? slot->task : NULL;

    if (t && !ref_get_unless_zero(&t->ref)) {
        t = NULL;
    }
    spin_unlock_irqrestore(&pid_lock, flags);
    return t;
}

struct process *process_find(pid_t pid)
{
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    struct pid_slot *slot = slot_locked(pid);
    struct process *p = slot ? slot->process : NULL;

    if (p && !ref_get_unless_zero(&p->ref)) {
        p = NULL;
    }
    spin_unlock_irqrestore(&pid_lock, flags);
    return p;
}

pid_t pid_next(pid_t n)
{
    uint32_t from = n > 0 ? (uint32_t)n : 1;
    uint64_t flags = spin_lock_irqsave(&pid_lock);
    pid_t found = 0;

    while (from < PID_MAX && !found) {
        const struct pid_leaf *leaf = leaves[from / LEAF_SIZE];
        uint64_t used = leaf ? leaf->used & (UINT64_MAX << (from % LEAF_SIZE)) : 0;

        if (from < LEAF_SIZE) {
            used &= ~UINT64_C(1);
        }
        if (used) {
            found = (pid_t)((from & ~(LEAF_SIZE - 1)) + (uint32_t)__builtin_ctzll(used));
        }
        from = (from / LEAF_SIZE + 1) * LEAF_SIZE;
    }
    spin_unlock_irqrestore(&pid_lock, flags);
    return found;
}
