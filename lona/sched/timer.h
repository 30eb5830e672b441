/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers. One is in its owner's wheel until it fires or is cancelled; the state word decides which,
 * once. A fired deadline travels as the message inside the timer and is freed by who drains it.
 */
#pragma once

#include "vm_state.h"

enum timer_state {
    TIMER_ARMED,
    TIMER_FIRED,
    TIMER_CANCELLED
};

/* The message has no data of its own; message_data only keeps its flexible array from the end. */
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wgnu-variable-sized-type-not-at-end"
#endif

struct timer {
    uint64_t deadline_ns;
    struct timer *next;
    struct timer **link; /* what points to it in its slot */
    struct worker *owner;
    uint64_t target;
    uint64_t ref; /* of send-after; 0: the deadline of a receive */
    struct timer *hash_next;
    struct timer *cancelled_next;
    struct message *payload; /* of send-after */
    _Atomic uint32_t state;
    struct message message; /* MESSAGE_TIMEOUT */
    term_t message_data[1];
};

#ifdef __clang__
#pragma clang diagnostic pop
#endif

void wheel_init(struct worker *w, uint64_t now_ns);
/* Fire what is due. */
void wheel_advance(struct worker *w, uint64_t now_ns);
/* When to look again; PLATFORM_FOREVER without timers. */
uint64_t wheel_next_ns(struct worker *w);
/* The timer around a MESSAGE_TIMEOUT. */
void timer_free_message(struct worker *w, struct message *m);
/* All timers of a worker that has stopped. */
void wheel_deinit(struct worker *w);
