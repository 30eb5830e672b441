/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Advisory locks. One kind of record for all three: POSIX locks belong to a descriptor table and
 * OFD and flock locks to a description; flock locks are a space of their own and cover everything.
 *
 * One spinlock guards all lists: lock traffic is rare, and deadlock detection wants to see
 * everything at once. Whoever must wait stands in `blocked` with the owner that is in his way; a
 * release wakes those that wait for the same inode, and they look again.
 */
#include <fs/fcntl.h>
#include <fs/files.h>
#include <fs/locks.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <sched/task.h>
#include <sched/wait.h>
#include <syscall/uaccess.h>

enum lock_kind {
    LOCK_POSIX,
    LOCK_OFD,
    LOCK_FLOCK
};

#define RANGE_END INT64_MAX

struct file_lock {
    struct list link; /* inode->locks, ordered by start within an owner's */
    enum lock_kind kind;
    bool is_write;
    const void *owner; /* struct files or struct file */
    int64_t start;
    int64_t end; /* inclusive */
    pid_t pid;
};

struct blocked_request {
    struct list link;
    const struct inode *inode;
    const void *owner;
    const void *blocker; /* owner in the way */
    struct wait_queue queue;
};

struct user_flock {
    int16_t type;
    int16_t whence;
    int32_t pad;
    int64_t start;
    int64_t size;
    int32_t pid;
    int32_t pad2;
};

static struct slab_cache lock_cache = SLAB_CACHE("file_lock", struct file_lock);
static struct spinlock locks_lock = SPINLOCK_INIT(RANK_FS_MISC);
static struct list blocked = LIST_INIT(blocked);

static bool is_flock(const struct file_lock *l)
{
    return l->kind == LOCK_FLOCK;
}

static bool conflicts(const struct file_lock *a, const struct file_lock *b)
{
    return is_flock(a) == is_flock(b) && a->owner != b->owner && (a->is_write || b->is_write) &&
           a->start <= b->end && b->start <= a->end;
}

static struct file_lock *find_conflict(struct inode *inode, const struct file_lock *wanted)
{
    struct file_lock *l;

    list_for_each_entry(l, &inode->locks, link) {
        if (conflicts(l, wanted)) {
            return l;
        }
    }
    return NULL;
}

static void wake_waiters(const struct inode *inode)
{
    struct blocked_request *b;

    list_for_each_entry(b, &blocked, link) {
        if (b->inode == inode) {
            wake_all(&b->queue, 0);
        }
    }
}

/* Would `owner`, waiting for `blocker`, close a circle of POSIX owners? */
static bool is_deadlock(const void *owner, const void *blocker)
{
    for (unsigned hops = 0; hops < 64; hops++) {
        const struct blocked_request *b;
        const void *next = NULL;

        if (blocker == owner) {
            return true;
        }
        list_for_each_entry(b, &blocked, link) {
            if (b->owner == blocker) {
                next = b->blocker;
                break;
            }
        }
        if (!next) {
            return false;
        }
        blocker = next;
    }
    return true; /* so long a chain is as bad */
}

/*
 * The owner's locks over the wanted range give way to the wanted one (NULL: to nothing). `spare`
 * is used when one lock is split in two. Returns what is left over of it.
 */
static struct file_lock *carve(struct inode *inode, const struct file_lock *wanted,
                               struct file_lock *spare, struct list *doomed)
{
    struct file_lock *l;
    struct file_lock *tmp;

    list_for_each_entry_safe(l, tmp, &inode->locks, link) {
        if (l->owner != wanted->owner || l->kind != wanted->kind || l->start > wanted->end ||
            l->end < wanted->start) {
            continue;
        }
        if (l->start < wanted->start && l->end > wanted->end) {
            assert(spare);
            *spare = *l;
            spare->start = wanted->end + 1;
            l->end = wanted->start - 1;
            list_push_back(&inode->locks, &spare->link);
            spare = NULL;
        } else if (l->start < wanted->start) {
            l->end = wanted->start - 1;
        } else if (l->end > wanted->end) {
            l->start = wanted->end + 1;
        } else {
            list_remove(&l->link);
            list_push_back(doomed, &l->link);
        }
    }
    return spare;
}

static void free_list(struct list *doomed)
{
    while (!list_is_empty(doomed)) {
        struct file_lock *l = list_first(doomed, struct file_lock, link);

        list_remove(&l->link);
        slab_free(&lock_cache, l);
    }
}

/* Set (or, with is_unlock, clear) `wanted`, waiting if asked. */
static int lock_set(struct inode *inode, const struct file_lock *wanted, bool is_unlock, bool waits)
{
    struct file_lock *fresh = slab_alloc(&lock_cache, GFP_KERNEL);
    struct file_lock *spare = slab_alloc(&lock_cache, GFP_KERNEL);
    struct list doomed = LIST_INIT(doomed);
    int err = fresh && spare ? 0 : -ENOLCK;

    while (err == 0) {
        struct blocked_request b;
        struct file_lock *other;
        struct waiter w;

        spin_lock(&locks_lock);
        other = is_unlock ? NULL : find_conflict(inode, wanted);
        if (!other) {
            spare = carve(inode, wanted, spare, &doomed);
            if (!is_unlock) {
                *fresh = *wanted;
                list_init(&fresh->link);
                list_push_back(&inode->locks, &fresh->link);
                fresh = NULL;
            }
            wake_waiters(inode);
            spin_unlock(&locks_lock);
            break;
        }
        if (!waits) {
            spin_unlock(&locks_lock);
            err = -EAGAIN;
            break;
        }
        if (wanted->kind == LOCK_POSIX && is_deadlock(wanted->owner, other->owner)) {
            spin_unlock(&locks_lock);
            err = -EDEADLK;
            break;
        }
        wait_queue_init(&b.queue);
        b.inode = inode;
        b.owner = wanted->owner;
        b.blocker = other->owner;
        list_push_back(&blocked, &b.link);
        spin_unlock(&locks_lock);

        wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
        wait_add(&b.queue, &w, 0);
        spin_lock(&locks_lock); /* a release before wait_add() went unheard: look again */
        other = find_conflict(inode, wanted);
        spin_unlock(&locks_lock);
        err = other ? wait_sleep(&w) : 0;
        wait_end(&w);
        spin_lock(&locks_lock);
        list_remove(&b.link);
        spin_unlock(&locks_lock);
    }
    slab_free(&lock_cache, fresh);
    slab_free(&lock_cache, spare);
    free_list(&doomed);
    return err;
}

static void release_owner(struct inode *inode, const void *owner)
{
    struct list doomed = LIST_INIT(doomed);
    struct file_lock *l;
    struct file_lock *tmp;

    spin_lock(&locks_lock);
    list_for_each_entry_safe(l, tmp, &inode->locks, link) {
        if (l->owner == owner) {
            list_remove(&l->link);
            list_push_back(&doomed, &l->link);
        }
    }
    if (!list_is_empty(&doomed)) {
        wake_waiters(inode);
    }
    spin_unlock(&locks_lock);
    free_list(&doomed);
}

void locks_release_posix(struct file *f, struct files *owner)
{
    if (f->inode && !list_is_empty(&f->inode->locks)) {
        release_owner(f->inode, owner);
    }
}

void locks_release_file(struct file *f)
{
    release_owner(f->inode, f);
}

/* --- fcntl ------------------------------------------------------------------------------------ */

/* The user's range, made absolute. */
static int range_of(struct file *f, const struct user_flock *u, struct file_lock *out)
{
    int64_t base = 0;
    int64_t start;
    int64_t end;

    switch (u->whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        base = (int64_t)f->inode->size;
        break;
    default:
        return -EINVAL;
    }
    if (!checked_add(base, u->start, &start)) {
        return -EOVERFLOW;
    }
    if (u->size == 0) {
        end = RANGE_END;
    } else if (u->size > 0) {
        if (!checked_add(start, u->size - 1, &end)) {
            return -EOVERFLOW;
        }
    } else { /* the bytes before start */
        end = start - 1;
        if (!checked_add(start, u->size, &start)) {
            return -EINVAL;
        }
    }
    if (start < 0) {
        return -EINVAL;
    }
    out->start = start;
    out->end = end;
    return 0;
}

static long get_lock(struct file *f, struct user_flock *u, const struct file_lock *wanted,
                     uint64_t arg)
{
    const struct file_lock *other;

    spin_lock(&locks_lock);
    other = find_conflict(f->inode, wanted);
    if (other) {
        u->type = other->is_write ? F_WRLCK : F_RDLCK;
        u->whence = SEEK_SET;
        u->start = other->start;
        u->size = other->end == RANGE_END ? 0 : other->end - other->start + 1;
        u->pid = other->kind == LOCK_POSIX ? other->pid : -1;
    } else {
        u->type = F_UNLCK;
    }
    spin_unlock(&locks_lock);
    return copy_to_user((void __user *)(uintptr_t)arg, u, sizeof(*u));
}

long locks_fcntl(struct file *f, int cmd, uint64_t arg)
{
    bool is_ofd = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
    bool is_get = cmd == F_GETLK || cmd == F_OFD_GETLK;
    struct file_lock wanted = { .kind = is_ofd ? LOCK_OFD : LOCK_POSIX };
    struct user_flock u;
    int err;

    if (copy_from_user(&u, (void __user *)(uintptr_t)arg, sizeof(u)) < 0) {
        return -EFAULT;
    }
    if (!f->inode) {
        return -EBADF;
    }
    if (u.type != F_RDLCK && u.type != F_WRLCK && (u.type != F_UNLCK || is_get)) {
        return -EINVAL;
    }
    if (is_ofd && u.pid != 0) {
        return -EINVAL;
    }
    err = range_of(f, &u, &wanted);
    if (err < 0) {
        return err;
    }
    if (!is_get && ((u.type == F_RDLCK && !(f->mode & FMODE_READ)) ||
                    (u.type == F_WRLCK && !(f->mode & FMODE_WRITE)))) {
        return -EBADF;
    }
    wanted.is_write = u.type == F_WRLCK;
    wanted.owner = is_ofd ? (const void *)f : (const void *)current->files;
    wanted.pid = current->process ? current->process->pid : current->tid;
    if (is_get) {
        return get_lock(f, &u, &wanted, arg);
    }
    return lock_set(f->inode, &wanted, u.type == F_UNLCK, cmd == F_SETLKW || cmd == F_OFD_SETLKW);
}

#define LOCK_SH 1u
#define LOCK_EX 2u
#define LOCK_NB 4u
#define LOCK_UN 8u

long locks_flock(struct file *f, int operation)
{
    unsigned op = (unsigned)operation & ~LOCK_NB;
    struct file_lock wanted = { .kind = LOCK_FLOCK, .owner = f, .start = 0, .end = RANGE_END };

    if (op != LOCK_SH && op != LOCK_EX && op != LOCK_UN) {
        return -EINVAL;
    }
    if (!f->inode || (f->mode & FMODE_PATH)) {
        return -EBADF;
    }
    wanted.is_write = op == LOCK_EX;
    wanted.pid = current->process ? current->process->pid : current->tid;
    return lock_set(f->inode, &wanted, op == LOCK_UN, !((unsigned)operation & LOCK_NB));
}
