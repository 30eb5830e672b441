// SPDX-License-Identifier: Apache-2.0
/* Pending signals: a set that decides, and entries that carry what a handler may want to know. */
#include <proc/signal_internal.h>

#include <core/string.h>
#include <mm/slab.h>
#include <proc/posix_timer.h>

static struct slab_cache entry_cache = SLAB_CACHE("signal", struct signal_entry);

static void entry_free(struct signal_entry *e)
{
    list_remove(&e->link);
    if (e->timer) {
        return; /* posix_timer.c owns it */
    }
    assert(e->owner->queued_signals > 0);
    e->owner->queued_signals--;
    slab_free(&entry_cache, e);
}

void signal_queue_flush(struct signal_queue *q)
{
    signal_queue_remove(q, UINT64_MAX);
}

void signal_queue_remove(struct signal_queue *q, uint64_t signals)
{
    struct signal_entry *e;
    struct signal_entry *next;

    if (!(q->set & signals)) {
        return;
    }
    q->set &= ~signals;
    list_for_each_entry_safe(e, next, &q->entries, link) {
        if (signals & signal_bit(e->info.signo)) {
            entry_free(e);
        }
    }
}

int signal_choose(uint64_t set)
{
    if (set & SIGNALS_SYNCHRONOUS) {
        set &= SIGNALS_SYNCHRONOUS;
    }
    return set ? __builtin_ctzll(set) + 1 : 0;
}

void signal_queue_take(struct signal_queue *q, int signo, struct siginfo *info)
{
    struct signal_entry *found = NULL;
    struct signal_entry *e;
    bool more = false;

    assert(q->set & signal_bit(signo));
    list_for_each_entry(e, &q->entries, link) {
        if (e->info.signo == signo) {
            if (found) {
                more = true;
                break;
            }
            found = e;
        }
    }
    if (!more) {
        q->set &= ~signal_bit(signo);
    }
    if (!found) {
        *info = (struct siginfo){ .signo = signo, .code = SI_USER };
        return;
    }
    *info = found->info;
    if (found->timer) {
        posix_timer_taken(found->timer, info);
    }
    entry_free(found);
}

int signal_queue_add(struct process *p, struct signal_queue *q, int signo,
                     const struct siginfo *info)
{
    struct signal_entry *e = NULL;

    if (signo < SIGRTMIN && (q->set & signal_bit(signo))) {
        return 0;
    }
    /* What the kernel itself says about a fault is not refused for a limit. */
    if (p->queued_signals < p->limits[RLIMIT_SIGPENDING].soft || !info ||
        (info->code > 0 && signo < SIGRTMIN)) {
        e = slab_alloc(&entry_cache, GFP_ATOMIC);
    }
    if (!e) {
        if (signo >= SIGRTMIN && info && info->code != SI_USER && info->code != SI_KERNEL) {
            return -EAGAIN;
        }
        q->set |= signal_bit(signo);
        return 0;
    }
    p->queued_signals++;
    e->timer = NULL;
    e->owner = p;
    if (info) {
        e->info = *info;
    } else {
        e->info = (struct siginfo){ .code = SI_KERNEL };
    }
    e->info.signo = signo;
    list_push_back(&q->entries, &e->link);
    q->set |= signal_bit(signo);
    return 0;
}
