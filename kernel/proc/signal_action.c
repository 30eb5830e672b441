// SPDX-License-Identifier: Apache-2.0
/*
 * Dispositions. fork() shares the 2 KiB table and whoever changes it first copies it: most children
 * exec before they would need a copy of their own.
 */
#include <proc/signal_internal.h>

#include <core/string.h>
#include <mm/slab.h>

static struct slab_cache table_cache = SLAB_CACHE("sigaction", struct sigaction_table);

/* All default; its first reference is never dropped, so that it is copied and never written. */
static struct sigaction_table default_table = { .ref = { 1 } };

struct sigaction_table *sigaction_default_table(void)
{
    ref_get(&default_table.ref);
    return &default_table;
}

void sigaction_table_put(struct sigaction_table *table)
{
    if (ref_put(&table->ref)) {
        slab_free(&table_cache, table);
    }
}

/* The process' own table, to be written; NULL: no memory. */
static struct sigaction_table *own_table_locked(struct process *p)
{
    struct sigaction_table *old = p->actions;
    struct sigaction_table *own;

    /* acquire: pairs with the release in ref_put(): a former sharer has done reading. */
    if (atomic_load_explicit(&old->ref.count, memory_order_acquire) == 1) {
        return old;
    }
    own = slab_alloc(&table_cache, GFP_ATOMIC);
    if (!own) {
        return NULL;
    }
    memcpy(own, old, sizeof(*own));
    ref_init(&own->ref);
    p->actions = own;
    sigaction_table_put(old);
    return own;
}

int sigaction_set_locked(struct process *p, int signo, const struct sigaction *action)
{
    struct sigaction_table *table = own_table_locked(p);

    if (!table) {
        return -ENOMEM;
    }
    table->slots[signo - 1].handler = action->handler;
    table->slots[signo - 1].flags = (uint32_t)action->flags; /* no bit above is defined */
    table->slots[signo - 1].restorer = action->restorer;
    table->slots[signo - 1].mask = action->mask;
    table->caught &= ~signal_bit(signo);
    table->ignored &= ~signal_bit(signo);
    if (action->handler == SIG_IGN) {
        table->ignored |= signal_bit(signo);
    } else if (action->handler != SIG_DFL) {
        table->caught |= signal_bit(signo);
    }
    return 0;
}

void sigaction_reset_caught(struct process *p)
{
    uint64_t flags = spin_lock_irqsave(&p->signal_lock);
    struct sigaction_table *table = p->actions;

    if (table->caught) {
        table = own_table_locked(p);
        if (!table) {
            /* Handlers must go whatever happens: what they point into is gone. What was ignored
             * becomes default, too, then. */
            sigaction_table_put(p->actions);
            table = sigaction_default_table();
            p->actions = table;
        }
    }
    while (table->caught) {
        int signo = __builtin_ctzll(table->caught) + 1;

        memset(&table->slots[signo - 1], 0, sizeof(table->slots[signo - 1])); /* SIG_DFL */
        table->caught &= ~signal_bit(signo);
    }
    spin_unlock_irqrestore(&p->signal_lock, flags);
}
