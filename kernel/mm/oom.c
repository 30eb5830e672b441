/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out of memory for a program: first what the kernel only caches, then a victim. The biggest
 * process by resident pages, moved by oom_score_adj, gets SIGKILL; while one that was chosen still
 * dies nobody else is. The kernel never aborts, and its own init is never chosen (spec R-MM-21).
 */
#include <core/log.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <mm/reclaim.h>
#include <proc/process.h>
#include <sched/sched.h>
#include <sched/task.h>

#define ADJ_NEVER     (-1000)
#define RECLAIM_FIRST 128u

struct choice {
    struct process *victim; /* counted */
    uint64_t score;
    uint64_t rss_pages;
    bool is_one_dying; /* a killed process still has memory to give */
};

static uint64_t rss_of(const struct process *p)
{
    const struct task *t = p->leader;
    const struct mm *mm = t ? t->mm : NULL;

    return mm ? atomic_load_explicit(&mm->rss_pages, memory_order_relaxed) : 0;
}

/* Points in pages; 0: not to be chosen. */
static uint64_t score_of(const struct process *p, uint64_t rss, uint64_t total)
{
    if (p == init_process || p->is_zombie || rss == 0 || p->oom_score_adj <= ADJ_NEVER) {
        return 0;
    }
    int64_t points = (int64_t)rss + (int64_t)p->oom_score_adj * (int64_t)(total / 1000);

    return points > 0 ? (uint64_t)points : 1;
}

static struct choice choose(uint64_t total)
{
    struct choice best = { .victim = NULL };
    struct process *p;

    spin_lock(&process_tree_lock);
    list_for_each_entry(p, &process_list, all) {
        uint64_t rss = rss_of(p);
        uint64_t score = score_of(p, rss, total);

        if (score > 0 && p->is_exiting) {
            best.is_one_dying = true;
        } else if (score > best.score) {
            best = (struct choice){
                .victim = p, .score = score, .rss_pages = rss, .is_one_dying = best.is_one_dying
            };
        }
    }
    if (best.victim && !best.is_one_dying) {
        (void)process_get(best.victim); /* under the lock that keeps it listed */
    } else {
        best.victim = NULL;
    }
    spin_unlock(&process_tree_lock);
    return best;
}

void oom_kill(void)
{
    struct page_stats stats;

    if (reclaim(RECLAIM_FIRST) > 0) {
        return; /* that may do */
    }
    page_stats(&stats);
    struct choice c = choose(stats.total);

    if (c.victim) {
        log_warn("out of memory: killed pid=%d name=%s rss_kib=%llu free_kib=%llu total_kib=%llu",
                 c.victim->pid, c.victim->leader ? c.victim->leader->name : "?",
                 (unsigned long long)(c.rss_pages * PAGE_SIZE / 1024),
                 (unsigned long long)(stats.free * PAGE_SIZE / 1024),
                 (unsigned long long)(stats.total * PAGE_SIZE / 1024));
        if (signal_send_process(c.victim, SIGKILL, NULL) < 0) {
            log_warn("out of memory: pid=%d cannot be killed", c.victim->pid);
        }
        process_put(c.victim);
    }
    sched_yield_cpu(); /* the dying needs the CPU to give its memory back */
}
