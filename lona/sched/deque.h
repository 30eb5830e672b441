/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work-stealing deque of Chase and Lev (2005) with the memory orders of Lê, Pop, Cohen and
 * Zappa Nardelli (2013). The owner pushes at the bottom. For fairness the owner too takes from the
 * top, where thieves steal; so the pop at the bottom of the original isn't needed.
 */
#pragma once

#include "vm_state.h"

bool deque_init(struct deque *d, struct vm *vm) MUST_CHECK;
void deque_deinit(struct deque *d, struct vm *vm);
/* Owner only. False when it can't grow. */
bool deque_push(struct deque *d, struct vm *vm, struct process *p) MUST_CHECK;
/* Anyone: the oldest, or NULL if empty or another thread was faster (then *lost is set). */
struct process *deque_take(struct deque *d, bool *lost);

static inline int64_t deque_size(const struct deque *d)
{
    return atomic_load_explicit(&d->bottom, memory_order_relaxed) -
           atomic_load_explicit(&d->top, memory_order_relaxed);
}
