/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hierarchical wheel a worker: 4 levels of 256 slots, 1 ms a slot on the lowest. Entries keep
 * their deadline in nanoseconds and fire when it has passed, so a slot's width costs no precision.
 */
#include "sched/timer.h"

#include "gc/memory.h"
#include "native.h"
#include "process/mailbox.h"
#include "process/table.h"

#define TICK_NS 1000000u

enum {
    SLOT_BITS = 8
};

void wheel_init(struct worker *w, uint64_t now_ns)
{
    w->wheel.tick = now_ns / TICK_NS;
}

static void slot_insert(struct wheel *wheel, struct timer *t)
{
    uint64_t tick = max_of(t->deadline_ns / TICK_NS, wheel->tick);
    uint64_t ahead = tick - wheel->tick;
    unsigned level = 0;

    while (level + 1 < WHEEL_LEVELS && (ahead >> (SLOT_BITS * (level + 1))) != 0) {
        level++;
    }
    if ((ahead >> (SLOT_BITS * WHEEL_LEVELS)) != 0) { /* beyond 49 days: looked at again then */
        tick = wheel->tick + ((uint64_t)1 << (SLOT_BITS * WHEEL_LEVELS)) - 1;
    }
    struct timer **head = &wheel->slots[level][(tick >> (SLOT_BITS * level)) & (WHEEL_SLOTS - 1)];

    t->next = *head;
    t->link = head;
    if (*head != NULL) {
        (*head)->link = &t->next;
    }
    *head = t;
}

static void slot_remove(struct timer *t)
{
    *t->link = t->next;
    if (t->next != NULL) {
        t->next->link = t->link;
    }
}

static void timer_free(struct worker *w, struct timer *t)
{
    if (t->payload != NULL) {
        message_free(w, t->payload);
    }
    arena_free(&w->arena, t, sizeof(*t));
}

void timer_free_message(struct worker *w, struct message *m)
{
    timer_free(w, container_of(m, struct timer, message));
}

static struct timer *timer_new(struct process *p, uint64_t deadline_ns, uint64_t target)
{
    struct worker *w = p->worker;
    struct timer *t = arena_alloc(&w->arena, sizeof(*t));

    if (t != NULL) {
        *t = (struct timer){ .deadline_ns = deadline_ns, .owner = w, .target = target };
        if (w->wheel.count == 0) {
            w->wheel.tick =
                max_of(w->wheel.tick, w->vm->platform.mono_ns(w->vm->platform.self) / TICK_NS);
        }
        slot_insert(&w->wheel, t);
        w->wheel.count++;
    }
    return t;
}

/* Only one of firing and cancelling succeeds. */
static bool timer_claim(struct timer *t, enum timer_state state)
{
    uint32_t armed = TIMER_ARMED;

    return atomic_compare_exchange_strong_explicit(&t->state, &armed, state, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* A claimed (cancelled) timer leaves its wheel: now, or when its owner looks. */
static void timer_retire(struct worker *self, struct timer *t)
{
    if (t->owner == self) {
        slot_remove(t);
        self->wheel.count--;
        timer_free(self, t);
        return;
    }
    _Atomic(struct timer *) *stack = &t->owner->wheel.cancelled;
    struct timer *head = atomic_load_explicit(stack, memory_order_relaxed);

    do {
        t->cancelled_next = head;
    } while (!atomic_compare_exchange_weak_explicit(stack, &head, t, memory_order_release,
                                                    memory_order_relaxed));
}

/* ---- the deadline of a receive ---- */

bool timer_arm_wait(struct process *p, uint64_t deadline_ns)
{
    timer_disarm_wait(p);
    struct timer *t = timer_new(p, deadline_ns, process_pid_raw(p));

    if (t == NULL) {
        (void)raise_oom(p);
        return false;
    }
    t->message = (struct message){ .kind = MESSAGE_TIMEOUT, .words = 1, .term = TERM_NIL };
    t->message_data[0] = p->wait_number;
    p->timer = t;
    return true;
}

void timer_disarm_wait(struct process *p)
{
    struct timer *t = p->timer;

    p->timer = NULL;
    if (t != NULL && timer_claim(t, TIMER_CANCELLED)) {
        timer_retire(p->worker, t);
    }
    /* else it is on its way; who drains it finds another wait number and frees it */
}

/* ---- send-after ---- */

static struct timer **hash_bucket(struct vm *vm, uint64_t ref)
{
    return &vm->timers[ref % vm->timer_capacity];
}

static bool hash_add_locked(struct vm *vm, struct timer *t)
{
    if (vm->timer_capacity == 0) {
        size_t capacity = 4096;
        struct timer **buckets = vm_alloc(vm, capacity * sizeof(struct timer *));

        if (buckets == NULL) {
            return false;
        }
        __builtin_memset((void *)buckets, 0, capacity * sizeof(struct timer *));
        vm->timers = buckets;
        vm->timer_capacity = capacity;
    }
    struct timer **b = hash_bucket(vm, t->ref);

    t->hash_next = *b;
    *b = t;
    return true;
}

static struct timer *hash_take_locked(struct vm *vm, uint64_t ref)
{
    if (vm->timer_capacity == 0) {
        return NULL;
    }
    for (struct timer **b = hash_bucket(vm, ref); *b != NULL; b = &(*b)->hash_next) {
        if ((*b)->ref == ref) {
            struct timer *t = *b;

            *b = t->hash_next;
            return t;
        }
    }
    return NULL;
}

bool timer_send_after(struct process *p, uint64_t deadline_ns, uint64_t to, term_t message,
                      uint64_t *ref_out)
{
    struct worker *w = p->worker;
    struct copy_plan plan;
    enum copy_result err = copy_prepare(w, message, &plan);

    if (err == COPY_BADARG) {
        (void)raise_badarg(p, "send-after", NULL, 0);
        return false;
    }
    struct message *m = err == COPY_OK ? message_new(w, MESSAGE_TERM, plan.words) : NULL;
    struct timer *t = m == NULL ? NULL : timer_new(p, deadline_ns, to);

    if (t == NULL) {
        if (m != NULL) {
            message_free(w, m);
        }
        (void)raise_oom(p);
        return false;
    }
    m->term = copy_place(w, &plan, m->data);
    m->flags = plan.has_owners ? MESSAGE_OWNERS : 0;
    t->payload = m;
    t->ref = realm_next_ref(w->vm);
    lock_acquire(&w->vm->platform, &w->vm->timer_lock);
    bool ok = hash_add_locked(w->vm, t);

    lock_release(&w->vm->timer_lock);
    if (!ok) {
        slot_remove(t);
        w->wheel.count--;
        timer_free(w, t);
        (void)raise_oom(p);
        return false;
    }
    *ref_out = t->ref;
    return true;
}

int64_t timer_cancel_ref(struct vm *vm, struct worker *self, uint64_t ref)
{
    uint64_t now = vm->platform.mono_ns(vm->platform.self);
    int64_t left = -1;

    lock_acquire(&vm->platform, &vm->timer_lock);
    struct timer *t = hash_take_locked(vm, ref);

    /* What is in the table has not fired: firing takes it out first, under this lock. */
    if (t != NULL && timer_claim(t, TIMER_CANCELLED)) {
        left = t->deadline_ns > now ? (int64_t)(t->deadline_ns - now) : 0;
        timer_retire(self, t);
    }
    lock_release(&vm->timer_lock);
    return left;
}

/* ---- the wheel ---- */

static void fire(struct worker *w, struct timer *t)
{
    struct vm *vm = w->vm;
    bool is_send = t->ref != 0;

    if (is_send) {
        lock_acquire(&vm->platform, &vm->timer_lock);
        (void)hash_take_locked(vm, t->ref);
    }
    bool mine = timer_claim(t, TIMER_FIRED);

    if (is_send) {
        lock_release(&vm->timer_lock);
    }
    if (!mine) {
        return; /* cancelled: it waits in the cancelled stack, which unlinks it */
    }
    slot_remove(t);
    w->wheel.count--;
    if (is_send) {
        struct message *m = t->payload;

        t->payload = NULL;
        if (!inbox_push(vm, w, t->target, m)) {
            message_free(w, m);
        }
        timer_free(w, t);
        return;
    }
    if (!inbox_push(vm, w, t->target, &t->message)) {
        timer_free(w, t);
    }
}

static void drop_cancelled(struct worker *w)
{
    if (atomic_load_explicit(&w->wheel.cancelled, memory_order_relaxed) == NULL) {
        return;
    }
    struct timer *t = atomic_exchange_explicit(&w->wheel.cancelled, NULL, memory_order_acquire);

    while (t != NULL) {
        struct timer *next = t->cancelled_next;

        slot_remove(t);
        w->wheel.count--;
        timer_free(w, t);
        t = next;
    }
}

/* Entries of a higher level's slot come down. */
static void cascade(struct wheel *wheel, unsigned level)
{
    struct timer **head =
        &wheel->slots[level][(wheel->tick >> (SLOT_BITS * level)) & (WHEEL_SLOTS - 1)];
    struct timer *t = *head;

    *head = NULL;
    while (t != NULL) {
        struct timer *next = t->next;

        slot_insert(wheel, t);
        t = next;
    }
}

void wheel_advance(struct worker *w, uint64_t now_ns)
{
    struct wheel *wheel = &w->wheel;
    uint64_t now_tick = now_ns / TICK_NS;

    drop_cancelled(w);
    if (wheel->count == 0) {
        wheel->tick = max_of(wheel->tick, now_tick);
        return;
    }
    for (;;) {
        struct timer *t = wheel->slots[0][wheel->tick & (WHEEL_SLOTS - 1)];

        while (t != NULL) {
            struct timer *next = t->next;

            if (t->deadline_ns <= now_ns) {
                fire(w, t);
            }
            t = next;
        }
        if (wheel->tick >= now_tick) {
            return;
        }
        wheel->tick++;
        for (unsigned level = 1; level < WHEEL_LEVELS &&
                                 (wheel->tick & (((uint64_t)1 << (SLOT_BITS * level)) - 1)) == 0;
             level++) {
            cascade(wheel, level);
        }
    }
}

uint64_t wheel_next_ns(struct worker *w)
{
    const struct wheel *wheel = &w->wheel;

    if (wheel->count == 0) {
        return PLATFORM_FOREVER;
    }
    uint64_t boundary = (wheel->tick | (WHEEL_SLOTS - 1)) + 1;

    for (uint64_t tick = wheel->tick; tick < boundary; tick++) {
        uint64_t first = PLATFORM_FOREVER;

        for (const struct timer *t = wheel->slots[0][tick & (WHEEL_SLOTS - 1)]; t != NULL;
             t = t->next) {
            first = min_of(first, t->deadline_ns);
        }
        if (first != PLATFORM_FOREVER) {
            return first;
        }
    }
    return boundary * TICK_NS;
}

void wheel_deinit(struct worker *w)
{
    drop_cancelled(w);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned i = 0; i < WHEEL_SLOTS; i++) {
            while (w->wheel.slots[level][i] != NULL) {
                struct timer *t = w->wheel.slots[level][i];

                slot_remove(t);
                timer_free(w, t);
            }
        }
    }
    w->wheel.count = 0;
}
