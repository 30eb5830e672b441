// SPDX-License-Identifier: Apache-2.0
/*
 * epoll. An item watches one open description under one descriptor number. A wake event of the file
 * puts its item on the ready list and wakes the epoll: edge-triggered items are told of each event
 * that way, and level-triggered ones are put back when still ready at collection. No level is ever
 * compared with one reported earlier (spec R-EV-3).
 *
 * Locks: `watch_lock` (one for the machine) guards file->epolls and the graph of nested epolls, so
 * that the last file_put() can find the items; epoll->mutex guards the item tree and collecting;
 * ready_lock is taken from wake callbacks. An item dies when it is out of tree, file list and ready
 * list and off its wait queues; only the holder of epoll->mutex makes that happen.
 */
#include <arch/abi_epoll.h>
#include <core/lock.h>
#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/anon_fd.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_DEL 2
#define EPOLL_CTL_MOD 3

#define EPOLLEXCLUSIVE (1u << 28)
#define EPOLLWAKEUP    (1u << 29)
#define EPOLLONESHOT   (1u << 30)
#define EPOLLET        (1u << 31)

#define EPOLL_PRIVATE (EPOLLEXCLUSIVE | EPOLLWAKEUP | EPOLLONESHOT | EPOLLET)
#define EPOLL_EXCLUSIVE_OK                                                                         \
    (POLLIN | POLLOUT | POLLERR | POLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

#define NESTING_MAX 4 /* epolls below an epoll, as Linux */
#define QUEUES_MAX  2 /* that one file announces on: a tty, a socket, both ends of a fifo */

struct epoll {
    struct file *file;          /* its own, for going up; under watch_lock, not counted */
    struct mutex mutex;         /* items, collecting */
    struct rb_root items;       /* by (file, fd) */
    struct spinlock ready_lock; /* irq-safe */
    struct list ready;
    struct wait_queue wait; /* sleepers in epoll_wait() */
    struct wait_queue poll; /* who polls the epoll itself */
};

struct epoll_item {
    struct rb_node node;
    struct epoll *epoll;
    struct file *file; /* not counted: epoll_file_released() comes first */
    int fd;
    uint32_t events; /* wanted; 0 after a oneshot fired; ready_lock for writing */
    uint64_t data;
    struct list watch_link; /* file->epolls, under watch_lock */
    struct list ready_link; /* epoll->ready, under ready_lock */
    unsigned queue_count;
    struct wait_entry queues[QUEUES_MAX];
};

static struct slab_cache epoll_cache = SLAB_CACHE("epoll", struct epoll);
static struct slab_cache item_cache = SLAB_CACHE("epoll_item", struct epoll_item);
static struct mutex watch_lock = { /* see above; taken before any epoll->mutex */
                                   .lock = SPINLOCK_INIT(RANK_MUTEX_INNER),
                                   .waiters = LIST_INIT(watch_lock.waiters)
};

static const struct file_ops epoll_ops;

/* --- ready list
 * ------------------------------------------------------------------------------------ */

/* Called under the file's wait queue lock, maybe in an interrupt. */
static bool item_wake(struct wait_entry *entry, uint32_t events)
{
    struct epoll_item *item = entry->ctx;
    struct epoll *e = item->epoll;
    uint64_t flags = spin_lock_irqsave(&e->ready_lock);
    uint32_t wanted = item->events & ~EPOLL_PRIVATE;
    bool counts = wanted && (!events || (events & (wanted | POLLERR | POLLHUP)));

    if (counts && !list_is_linked(&item->ready_link)) {
        list_push_back(&e->ready, &item->ready_link);
    }
    spin_unlock_irqrestore(&e->ready_lock, flags);
    if (counts) {
        wake_one(&e->wait, POLLIN);
        wake_all(&e->poll, POLLIN);
    }
    return counts;
}

static void make_ready(struct epoll_item *item)
{
    struct epoll *e = item->epoll;
    uint64_t flags = spin_lock_irqsave(&e->ready_lock);

    if (!list_is_linked(&item->ready_link)) {
        list_push_back(&e->ready, &item->ready_link);
    }
    spin_unlock_irqrestore(&e->ready_lock, flags);
    wake_one(&e->wait, POLLIN);
    wake_all(&e->poll, POLLIN);
}

static bool has_ready(const struct epoll *e)
{
    return *(struct list *const volatile *)&e->ready.next != &e->ready; /* a hint */
}

/* --- items, under epoll->mutex
 * ----------------------------------------------------------------------- */

static int compare(const struct epoll_item *item, const struct file *file, int fd)
{
    if (item->file != file) {
        return (uintptr_t)file < (uintptr_t)item->file ? -1 : 1;
    }
    return fd < item->fd ? -1 : fd > item->fd;
}

static struct epoll_item *item_find(struct epoll *e, const struct file *file, int fd)
{
    struct rb_node *n = e->items.node;

    while (n) {
        struct epoll_item *item = rb_entry(n, struct epoll_item, node);
        int order = compare(item, file, fd);

        if (order == 0) {
            return item;
        }
        n = order < 0 ? n->left : n->right;
    }
    return NULL;
}

static void item_insert(struct epoll *e, struct epoll_item *item)
{
    struct rb_node **link = &e->items.node;
    struct rb_node *parent = NULL;

    while (*link) {
        parent = *link;
        link = compare(rb_entry(parent, struct epoll_item, node), item->file, item->fd) < 0
                   ? &parent->left
                   : &parent->right;
    }
    rb_link(&item->node, parent, link);
    rb_insert_fixup(&e->items, &item->node);
}

struct registration {
    struct poll_table table;
    struct epoll_item *item;
    bool is_full;
};

static void item_add_queue(struct poll_table *pt, struct file *f, struct wait_queue *q)
{
    struct registration *r = container_of(pt, struct registration, table);
    struct epoll_item *item = r->item;
    struct wait_entry *entry;

    (void)f;
    if (item->queue_count == QUEUES_MAX) {
        r->is_full = true;
        return;
    }
    entry = &item->queues[item->queue_count++];
    *entry = (struct wait_entry){
        .wake = item_wake,
        .is_exclusive = (item->events & EPOLLEXCLUSIVE) != 0,
        .ctx = item,
    };
    wait_entry_add(q, entry);
}

/* Out of everything; watch_lock and the epoll's mutex held. */
static void item_remove(struct epoll_item *item)
{
    struct epoll *e = item->epoll;
    uint64_t flags;

    for (unsigned i = 0; i < item->queue_count; i++) {
        wait_entry_remove(&item->queues[i]);
    }
    flags = spin_lock_irqsave(&e->ready_lock);
    list_remove(&item->ready_link);
    spin_unlock_irqrestore(&e->ready_lock, flags);
    list_remove(&item->watch_link);
    rb_remove(&e->items, &item->node);
    slab_free(&item_cache, item);
}

void epoll_file_released(struct file *f)
{
    if (list_is_empty(&f->epolls)) {
        return; /* nobody can add one any more: this was the last reference */
    }
    mutex_lock(&watch_lock);
    while (!list_is_empty(&f->epolls)) {
        struct epoll_item *item = list_first(&f->epolls, struct epoll_item, watch_link);
        struct epoll *e = item->epoll;

        mutex_lock(&e->mutex);
        item_remove(item);
        mutex_unlock(&e->mutex);
    }
    mutex_unlock(&watch_lock);
}

/* --- nesting: an epoll may watch epolls, in no circle and not too deep; watch_lock held
 * --------------- */

/* The longest chain of epolls from f down, f included; > NESTING_MAX also when `target` is among
 * them. */
static int depth_below(const struct file *f, const struct epoll *target, int level)
{
    struct epoll *e = f->private;
    int deepest = 0;

    if (f->ops != &epoll_ops) {
        return 0;
    }
    if (e == target || level > NESTING_MAX) {
        return NESTING_MAX + 1;
    }
    for (struct rb_node *n = rb_first(&e->items); n; n = rb_next(n)) {
        int d = depth_below(rb_entry(n, struct epoll_item, node)->file, target, level + 1);

        deepest = max_of(deepest, d);
    }
    return deepest + 1;
}

/* The longest chain of epolls that watch this one. */
static int height_above(const struct file *f, int level)
{
    const struct epoll_item *item = NULL;
    int highest = 0;

    if (level > NESTING_MAX) {
        return level;
    }
    list_for_each_entry(item, &f->epolls, watch_link) {
        highest = max_of(highest, 1 + height_above(item->epoll->file, level + 1));
    }
    return highest;
}

/* --- epoll_ctl
 * ------------------------------------------------------------------------------------------ */

static int item_create(struct epoll *e, struct file *f, int fd, const struct epoll_event *event)
{
    struct epoll_item *item = slab_alloc(&item_cache, GFP_ZERO);
    struct registration r = { .table = { .add = item_add_queue } };
    uint32_t events;

    if (!item) {
        return -ENOMEM;
    }
    item->epoll = e;
    item->file = f;
    item->fd = fd;
    item->events = event->events | POLLERR | POLLHUP;
    item->data = event->data;
    list_init(&item->ready_link);
    list_push_back(&f->epolls, &item->watch_link);
    item_insert(e, item);
    r.item = item;
    r.table.events = item->events & ~EPOLL_PRIVATE;
    events = f->ops->poll(f, &r.table);
    if (r.is_full) {
        item_remove(item);
        return -ENOSPC;
    }
    if (events & item->events) {
        make_ready(item);
    }
    return 0;
}

static int item_modify(struct epoll_item *item, const struct epoll_event *event)
{
    struct epoll *e = item->epoll;
    uint64_t flags;

    if ((event->events | item->events) & EPOLLEXCLUSIVE) {
        return -EINVAL;
    }
    flags = spin_lock_irqsave(&e->ready_lock);
    item->events = event->events | POLLERR | POLLHUP;
    item->data = event->data;
    spin_unlock_irqrestore(&e->ready_lock, flags);
    if (item->file->ops->poll(item->file, NULL) & item->events) {
        make_ready(item);
    }
    return 0;
}

/* watch_lock and e->mutex held. */
static int change_item(struct epoll *e, int op, struct file *f, int fd,
                       const struct epoll_event *event)
{
    struct epoll_item *item = item_find(e, f, fd);

    switch (op) {
    case EPOLL_CTL_ADD:
        return item ? -EEXIST : item_create(e, f, fd, event);
    case EPOLL_CTL_MOD:
        return item ? item_modify(item, event) : -ENOENT;
    default:
        if (!item) {
            return -ENOENT;
        }
        item_remove(item);
        return 0;
    }
}

/* Regular files and directories are always ready, and refused. */
static bool can_be_watched(const struct file *f)
{
    uint32_t kind = f->inode ? f->inode->mode & 0170000u : 0;

    return kind != 0100000u && kind != 0040000u;
}

static int check_exclusive(int op, const struct file *f, const struct epoll_event *event)
{
    if (op == EPOLL_CTL_DEL || !(event->events & EPOLLEXCLUSIVE)) {
        return 0;
    }
    if (op == EPOLL_CTL_MOD || f->ops == &epoll_ops || (event->events & ~EPOLL_EXCLUSIVE_OK)) {
        return -EINVAL;
    }
    return 0;
}

static int control(struct file *ef, int op, struct file *f, int fd, const struct epoll_event *event)
{
    struct epoll *e = ef->private;
    int err = check_exclusive(op, f, event);

    if (err < 0) {
        return err;
    }
    mutex_lock(&watch_lock);
    e->file = ef;
    if (op == EPOLL_CTL_ADD && f->ops == &epoll_ops &&
        depth_below(f, e, 1) + height_above(ef, 1) > NESTING_MAX) {
        mutex_unlock(&watch_lock);
        return -ELOOP;
    }
    mutex_lock(&e->mutex);
    err = change_item(e, op, f, fd, event);
    mutex_unlock(&e->mutex);
    mutex_unlock(&watch_lock);
    return err;
}

long sys_epoll_ctl(int epfd, int op, int fd, void __user *from)
{
    struct epoll_event event = { 0 };
    struct file *ef;
    struct file *f;
    int err = -EBADF;

    if (op != EPOLL_CTL_DEL && copy_from_user(&event, from, sizeof(event)) < 0) {
        return -EFAULT;
    }
    ef = fd_get(epfd);
    if (!ef) {
        return -EBADF;
    }
    f = fd_get(fd);
    if (f) {
        if (!can_be_watched(f)) {
            err = -EPERM;
        } else if (ef->ops != &epoll_ops || f == ef || op < EPOLL_CTL_ADD || op > EPOLL_CTL_MOD) {
            err = -EINVAL;
        } else {
            err = control(ef, op, f, fd, &event);
        }
        file_put(f);
    }
    file_put(ef);
    return err;
}

/* --- epoll_wait
 * ------------------------------------------------------------------------------------------ */

/* The first ready item, off the list; NULL: none. The epoll's mutex keeps it alive. */
static struct epoll_item *pop_ready(struct epoll *e)
{
    struct epoll_item *item = NULL;
    uint64_t flags = spin_lock_irqsave(&e->ready_lock);

    if (!list_is_empty(&e->ready)) {
        item = list_first(&e->ready, struct epoll_item, ready_link);
        list_remove(&item->ready_link);
    }
    spin_unlock_irqrestore(&e->ready_lock, flags);
    return item;
}

/* After reporting: a oneshot sleeps until MOD, a level-triggered one is looked at again next time.
 */
static bool settle(struct epoll_item *item)
{
    uint64_t flags;

    if (item->events & EPOLLONESHOT) {
        flags = spin_lock_irqsave(&item->epoll->ready_lock);
        item->events &= EPOLL_PRIVATE;
        spin_unlock_irqrestore(&item->epoll->ready_lock, flags);
        return false;
    }
    return !(item->events & EPOLLET);
}

static void put_back(struct epoll *e, struct list *again)
{
    struct epoll_item *item;
    struct epoll_item *next;
    uint64_t flags = spin_lock_irqsave(&e->ready_lock);

    list_for_each_entry_safe(item, next, again, ready_link) {
        list_remove(&item->ready_link);
        list_push_back(&e->ready, &item->ready_link);
    }
    spin_unlock_irqrestore(&e->ready_lock, flags);
}

/*
 * Up to `max` events to the program. Items that stay ready are kept aside and put back at the end,
 * so that each is reported once; a wake in between finds them linked, which is what it wants.
 */
static int collect(struct epoll *e, struct epoll_event __user *to, int max)
{
    struct epoll_item *item;
    struct list again;
    int count = 0;
    int err = 0;

    list_init(&again);
    mutex_lock(&e->mutex);
    while (count < max && (item = pop_ready(e)) != NULL) {
        uint32_t wanted = item->events & ~EPOLL_PRIVATE;
        uint32_t events = wanted ? item->file->ops->poll(item->file, NULL) & wanted : 0;
        struct epoll_event event = { .events = events, .data = item->data };

        if (!events) {
            continue;
        }
        if (copy_to_user(&to[count], &event, sizeof(event)) < 0) {
            make_ready(item);
            err = -EFAULT;
            break;
        }
        count++;
        if (settle(item)) {
            uint64_t flags = spin_lock_irqsave(&e->ready_lock);

            /* A wake since pop_ready() may have linked it already. */
            if (!list_is_linked(&item->ready_link)) {
                list_push_back(&again, &item->ready_link);
            }
            spin_unlock_irqrestore(&e->ready_lock, flags);
        }
    }
    put_back(e, &again);
    mutex_unlock(&e->mutex);
    return count ? count : err;
}

static long epoll_wait_until(int epfd, struct epoll_event __user *to, int max, uint64_t deadline)
{
    struct file *f;
    struct epoll *e;
    struct waiter w;
    long result;
    int err = deadline == 0 ? -ETIMEDOUT : 0;

    if (max <= 0 || (size_t)max > INT32_MAX / sizeof(*to)) {
        return -EINVAL;
    }
    f = fd_get(epfd);
    if (!f) {
        return -EBADF;
    }
    if (f->ops != &epoll_ops) {
        file_put(f);
        return -EINVAL;
    }
    e = f->private;
    for (;;) {
        result = has_ready(e) ? collect(e, to, max) : 0;
        if (result != 0 || err != 0) {
            break;
        }
        wait_begin(&w, WAIT_INTERRUPTIBLE, deadline);
        wait_add_exclusive(&e->wait, &w, POLLIN);
        current->wait_reason = "epoll";
        while (!has_ready(e) && (err = wait_sleep(&w)) == 0) {
        }
        current->wait_reason = NULL;
        wait_end(&w);
    }
    /* Woken alone for several items: the rest is somebody else's. */
    if (result > 0 && has_ready(e)) {
        wake_one(&e->wait, POLLIN);
    }
    file_put(f);
    if (result != 0) {
        return result;
    }
    return err == -ETIMEDOUT ? 0 : err;
}

static uint64_t deadline_of_ms(int timeout_ms)
{
    if (timeout_ms < 0) {
        return TIME_FOREVER;
    }
    return timeout_ms ? deadline_after((uint64_t)timeout_ms * NSEC_PER_MSEC) : 0;
}

long sys_epoll_wait(int epfd, void __user *to, int max, int timeout_ms)
{
    long result = epoll_wait_until(epfd, to, max, deadline_of_ms(timeout_ms));

    return result == -ERESTARTSYS ? -EINTR : result;
}

static long wait_masked(int epfd, void __user *to, int max, uint64_t deadline, void __user *mask,
                        size_t size)
{
    int borrowed = wait_mask_begin(mask, size);
    long result;

    if (borrowed < 0) {
        return borrowed;
    }
    result = wait_mask_end(borrowed, epoll_wait_until(epfd, to, max, deadline));
    return result == -ERESTARTNOHAND ? -EINTR : result;
}

long sys_epoll_pwait(int epfd, void __user *to, int max, int timeout_ms, void __user *mask,
                     size_t size)
{
    return wait_masked(epfd, to, max, deadline_of_ms(timeout_ms), mask, size);
}

long sys_epoll_pwait2(int epfd, void __user *to, int max, void __user *timeout, void __user *mask,
                      size_t size)
{
    uint64_t deadline = TIME_FOREVER;
    uint64_t ns;

    if (timeout) {
        int err = time_from_user(&ns, timeout);

        if (err < 0) {
            return err;
        }
        deadline = ns ? deadline_after(ns) : 0;
    }
    return wait_masked(epfd, to, max, deadline, mask, size);
}

/* --- as a file
 * ---------------------------------------------------------------------------------------------- */

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t epoll_no_io(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -EINVAL;
}

/* Readable when an item is really ready: those that only were are dropped on the way. */
static uint32_t epoll_poll(struct file *f, struct poll_table *pt)
{
    struct epoll *e = f->private;
    struct epoll_item *item;
    bool is_ready = false;

    poll_wait(pt, f, &e->poll);
    if (!has_ready(e)) {
        return 0;
    }
    mutex_lock(&e->mutex);
    while (!is_ready && (item = pop_ready(e)) != NULL) {
        uint32_t wanted = item->events & ~EPOLL_PRIVATE;

        if (wanted && (item->file->ops->poll(item->file, NULL) & wanted)) {
            uint64_t flags = spin_lock_irqsave(&e->ready_lock);

            if (!list_is_linked(&item->ready_link)) {
                list_push_front(&e->ready, &item->ready_link);
            }
            spin_unlock_irqrestore(&e->ready_lock, flags);
            is_ready = true;
        }
    }
    mutex_unlock(&e->mutex);
    return is_ready ? POLLIN | POLLRDNORM : 0;
}

static void epoll_release(struct file *f)
{
    struct epoll *e = f->private;
    struct rb_node *n;

    mutex_lock(&watch_lock);
    mutex_lock(&e->mutex);
    while ((n = rb_first(&e->items)) != NULL) {
        item_remove(rb_entry(n, struct epoll_item, node));
    }
    mutex_unlock(&e->mutex);
    mutex_unlock(&watch_lock);
    slab_free(&epoll_cache, e);
}

static const struct file_ops epoll_ops = {
    .type = "anon_inode:[eventpoll]",
    .read = epoll_no_io,
    .write = epoll_no_io,
    .poll = epoll_poll,
    .release = epoll_release,
};

long sys_epoll_create1(int flags)
{
    struct epoll *e;
    long fd;

    if ((unsigned)flags & ~O_CLOEXEC) {
        return -EINVAL;
    }
    e = slab_alloc(&epoll_cache, GFP_ZERO);
    if (!e) {
        return -ENOMEM;
    }
    mutex_init(&e->mutex, RANK_EPOLL);
    spin_init(&e->ready_lock, RANK_EPOLL_READY);
    list_init(&e->ready);
    wait_queue_init_ranked(&e->wait, RANK_WAIT_INNER);
    wait_queue_init_ranked(&e->poll, RANK_WAIT_INNER);
    fd = anon_fd_open(&epoll_ops, e, O_RDWR | (unsigned)flags);
    if (fd < 0) {
        slab_free(&epoll_cache, e);
    }
    return fd;
}

long sys_epoll_create(int size)
{
    return size <= 0 ? -EINVAL : sys_epoll_create1(0);
}
