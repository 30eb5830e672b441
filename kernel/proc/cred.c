// SPDX-License-Identifier: Apache-2.0
/* Credentials as objects, and what they allow. */
#include <proc/proc_internal.h>

#include <core/string.h>
#include <mm/slab.h>
#include <proc/signal_internal.h>
#include <sched/task.h>

#define CAPS_ALL ((UINT64_C(1) << (CAP_LAST + 1)) - 1)

#define CAP_KILL 5u

static struct slab_cache cred_cache = SLAB_CACHE("cred", struct cred);

/* Root's, of the kernel and of the first processes; its first reference is never dropped. */
struct cred init_cred = {
    .ref = { 1 },
    .cap_permitted = CAPS_ALL,
    .cap_effective = CAPS_ALL,
    .cap_bounding = CAPS_ALL,
};

const struct cred *cred_get(const struct cred *c)
{
    ref_get(&((struct cred *)c)->ref); /* the count is not part of what is immutable */
    return c;
}

void cred_put(const struct cred *c)
{
    struct cred *mine = (struct cred *)c;

    if (ref_put(&mine->ref)) {
        kfree(mine->groups);
        slab_free(&cred_cache, mine);
    }
}

struct cred *cred_copy(const struct cred *from)
{
    struct cred *c = slab_alloc(&cred_cache, GFP_KERNEL);

    if (!c) {
        return NULL;
    }
    *c = *from;
    ref_init(&c->ref);
    c->groups = NULL;
    if (from->group_count > 0) {
        c->groups = kmalloc_array(from->group_count, sizeof(*c->groups), GFP_KERNEL);
        if (!c->groups) {
            slab_free(&cred_cache, c);
            return NULL;
        }
        memcpy(c->groups, from->groups, from->group_count * sizeof(*c->groups));
    }
    return c;
}

void cred_install(struct cred *c)
{
    struct task *self = current;
    const struct cred *old = self->cred;
    uint64_t flags;

    /* Readers of other tasks' credentials hold the tree lock while they look. */
    flags = spin_lock_irqsave(&process_tree_lock);
    self->cred = c;
    spin_unlock_irqrestore(&process_tree_lock, flags);
    cred_put(old);
}

bool cred_is_capable(const struct cred *c, unsigned capability)
{
    return (c->cap_effective >> capability & 1) != 0;
}

bool cred_in_group(const struct cred *c, gid_t gid)
{
    uint32_t low = 0;
    uint32_t high = c->group_count;

    if (gid == c->fsgid) {
        return true;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (c->groups[middle] == gid) {
            return true;
        }
        if (c->groups[middle] < gid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

int signal_permission(const struct process *p, int signo)
{
    const struct cred *mine = current->cred;
    uint64_t flags;
    bool is_allowed;

    if (p == current->process || cred_is_capable(mine, CAP_KILL)) {
        return 0;
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    is_allowed = signo == SIGCONT && p->sid == current->process->sid;
    if (!is_allowed && p->leader) {
        const struct cred *its = p->leader->cred;

        is_allowed = mine->euid == its->suid || mine->euid == its->uid || mine->uid == its->suid ||
                     mine->uid == its->uid;
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return is_allowed ? 0 : -EPERM;
}
