/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pair is a struct tty, which the slave's descriptions use, with the master's two directions: a
 * ring of output that the master reads, and the line discipline's input that it writes.
 *
 * The master's description and each of the slave's hold a reference. The master goes: the terminal
 * is hung up and its name removed. The last one goes: sessions forget the terminal, and it is
 * freed.
 */
#include <drivers/pty.h>

#include <base/fmt.h>
#include <core/ref.h>
#include <core/string.h>
#include <drivers/tty.h>
#include <drivers/tty_flags.h>
#include <fs/dentry.h>
#include <fs/dev.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/tmpfs/tmpfs.h>
#include <fs/vfs.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

#define PTY_MAX     64u
#define RING_SIZE   4096u
#define SLAVE_MAJOR 136u
#define NODE_MODE   0620u

#define TIOCGPTN   0x80045430u
#define TIOCSPTLCK 0x40045431u
#define TIOCGPTLCK 0x80045439u
#define TIOCSIG    0x40045436u

struct pty {
    struct tty tty;
    struct ref ref;
    unsigned index;
    bool is_locked;
    struct wait_queue master_readers; /* output, or no slave any more */
    struct wait_queue master_writers; /* the slave has read */
    struct wait_queue slave_writers;  /* the master has read */

    struct spinlock lock; /* the rest; under tty.lock */
    bool has_master;
    bool was_open; /* a slave has been: none is now means the end for the master */
    unsigned slaves;
    uint32_t head, tail;
    uint8_t ring[RING_SIZE];
};

/* Names stay registered; a pair comes and goes behind each. */
static struct pair {
    struct device_node node;
    char name[12];
    bool is_registered;
    struct pty *pty; /* NULL: free. Its reference is the master's */
} pairs[PTY_MAX];

static struct mutex pairs_lock;
static struct super_block *devpts; /* made at the first mount, kept */

static struct pty *pty_of(struct tty *t)
{
    return container_of(t, struct pty, tty);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void forget_in_sessions(const struct tty *t)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p;

    list_for_each_entry(p, &process_list, all) {
        if (p->tty == t) {
            p->tty = NULL;
        }
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

static void pty_put(struct pty *p)
{
    if (ref_put(&p->ref)) {
        forget_in_sessions(&p->tty);
        kfree(p);
    }
}

/* --- the slave's output, which the master reads ----------------------------------------------- */

static size_t ring_put(struct pty *p, const uint8_t *bytes, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&p->lock);
    size_t n = 0;

    while (n < size && p->tail - p->head < RING_SIZE) {
        p->ring[p->tail++ % RING_SIZE] = bytes[n++];
    }
    spin_unlock_irqrestore(&p->lock, flags);
    if (n > 0) {
        wake_all(&p->master_readers, POLLIN | POLLRDNORM);
    }
    return n;
}

static size_t ring_take(struct pty *p, uint8_t *bytes, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&p->lock);
    size_t n = 0;

    while (n < size && p->head != p->tail) {
        bytes[n++] = p->ring[p->head++ % RING_SIZE];
    }
    spin_unlock_irqrestore(&p->lock, flags);
    if (n > 0) {
        wake_all(&p->slave_writers, POLLOUT | POLLWRNORM);
    }
    return n;
}

static bool is_full(const struct pty *p)
{
    return *(const volatile uint32_t *)&p->tail - *(const volatile uint32_t *)&p->head == RING_SIZE;
}

static int wait_room(struct pty *p)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->slave_writers, &w, 0);
    while (is_full(p) && !p->tty.is_hung_up && (err = wait_sleep(&w)) == 0) {
    }
    wait_end(&w);
    return err;
}

static int slave_write(struct tty *t, const uint8_t *bytes, size_t size, bool atomic, size_t *done)
{
    struct pty *p = pty_of(t);
    int err = 0;

    *done = 0;
    for (;;) {
        *done += ring_put(p, bytes + *done, size - *done);
        if (*done == size) {
            return 0;
        }
        if (atomic) {
            return -EAGAIN;
        }
        err = t->is_hung_up ? -EIO : wait_room(p);
        if (err < 0) {
            return err;
        }
    }
}

static uint32_t slave_poll_out(struct tty *t, struct file *f, struct poll_table *pt)
{
    struct pty *p = pty_of(t);

    poll_wait(pt, f, &p->slave_writers);
    return is_full(p) ? 0 : POLLOUT | POLLWRNORM;
}

static void slave_has_read(struct tty *t)
{
    wake_all(&pty_of(t)->master_writers, POLLOUT | POLLWRNORM);
}

static const struct tty_driver slave_driver = { slave_write, slave_poll_out, slave_has_read };

/* --- the master ------------------------------------------------------------------------------- */

/* Nobody has the slave open any more, and what they wrote is read. */
static bool is_at_end(const struct pty *p)
{
    return p->was_open && p->slaves == 0;
}

static bool is_readable(const struct pty *p)
{
    return *(const volatile uint32_t *)&p->tail != *(const volatile uint32_t *)&p->head;
}

static int wait_output(struct pty *p)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->master_readers, &w, 0);
    while (!is_readable(p) && !is_at_end(p) && (err = wait_sleep(&w)) == 0) {
    }
    wait_end(&w);
    return err;
}

static ssize_t master_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = pty_of(f->private);
    uint8_t buf[256];
    ssize_t total = 0;

    (void)pos;
    while (u->remaining > 0) {
        size_t n = ring_take(p, buf, min_of(sizeof(buf), u->remaining));
        ssize_t copied;
        int err;

        if (n > 0) {
            copied = uio_copy_out(u, buf, n);
            if (copied < 0) {
                return total > 0 ? total : copied;
            }
            total += copied;
            continue;
        }
        if (total > 0) {
            return total;
        }
        if (is_at_end(p)) {
            return -EIO;
        }
        err = file_is_nonblock(f) ? -EAGAIN : wait_output(p);
        if (err < 0) {
            return err;
        }
    }
    return total;
}

/* Bytes that the line discipline can take without dropping some; a line that is too long is its
 * own affair. */
static uint32_t input_room(struct pty *p)
{
    struct tty *t = &p->tty;
    uint64_t flags = spin_lock_irqsave(&t->lock);
    uint32_t room = TTY_INPUT_MAX - 1 - min_of(t->tail - t->head, TTY_INPUT_MAX - 1);

    if (room == 0 && t->line_end == t->head) {
        room = 1; /* nothing there to be read that would make room */
    }
    spin_unlock_irqrestore(&t->lock, flags);
    return room;
}

static int wait_input_room(struct pty *p)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->master_writers, &w, 0);
    while (input_room(p) == 0 && (err = wait_sleep(&w)) == 0) {
    }
    wait_end(&w);
    return err;
}

static ssize_t master_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct pty *p = pty_of(f->private);
    uint8_t buf[256];
    ssize_t total = 0;
    int err = 0;

    (void)pos;
    if (is_at_end(p)) {
        return -EIO;
    }
    while (u->remaining > 0) {
        size_t room = min_of((size_t)input_room(p), sizeof(buf));
        ssize_t n;

        if (room == 0) {
            err = file_is_nonblock(f) ? -EAGAIN : wait_input_room(p);
            if (err < 0) {
                break;
            }
            continue;
        }
        n = uio_copy_in(u, buf, min_of(room, u->remaining));
        if (n <= 0) {
            err = -EFAULT;
            break;
        }
        tty_input(&p->tty, buf, (size_t)n);
        total += n;
    }
    return total > 0 ? total : err;
}

static uint32_t master_poll(struct file *f, struct poll_table *pt)
{
    struct pty *p = pty_of(f->private);
    uint32_t events = 0;

    poll_wait(pt, f, &p->master_readers);
    poll_wait(pt, f, &p->master_writers);
    events |= is_readable(p) ? POLLIN | POLLRDNORM : 0;
    events |= is_at_end(p) ? POLLHUP : 0;
    events |= input_room(p) > 0 ? POLLOUT | POLLWRNORM : 0;
    return events;
}

static long send_signal(struct pty *p, uint64_t signo)
{
    if (signo != SIGINT && signo != SIGQUIT && signo != SIGTSTP) {
        return -EINVAL;
    }
    return p->tty.pgid > 0 ? signal_send_group(p->tty.pgid, (int)signo, NULL) : 0;
}

static long master_ioctl(struct file *f, unsigned request, uint64_t arg)
{
    struct pty *p = pty_of(f->private);
    uint32_t value;

    switch (request) {
    case TIOCGPTN:
        return put_user32(p->index, (void __user *)(uintptr_t)arg);
    case TIOCSPTLCK:
        if (get_user32(&value, (void __user *)(uintptr_t)arg) < 0) {
            return -EFAULT;
        }
        p->is_locked = value != 0;
        return 0;
    case TIOCGPTLCK:
        return put_user32(p->is_locked, (void __user *)(uintptr_t)arg);
    case TIOCGPGRP: /* the master may look without being in the session */
        return put_user32((uint32_t)p->tty.pgid, (void __user *)(uintptr_t)arg);
    case TIOCSIG:
        return send_signal(p, arg);
    case FIONREAD:
        return put_user32(p->tail - p->head, (void __user *)(uintptr_t)arg);
    case TIOCSCTTY:
    case TIOCNOTTY:
        return -ENOTTY;
    default:
        return tty_ioctl(f, request, arg);
    }
}

/* --- names ------------------------------------------------------------------------------------ */

static struct name name_of(const char *text)
{
    size_t length = strlen(text);

    return (
        struct name){ .text = text, .length = (uint32_t)length, .hash = name_hash(text, length) };
}

static int make_name(const struct pair *pair)
{
    struct inode *root = devpts->root;
    const struct name name = name_of(pair->name);
    struct inode *made;
    int err;

    rwsem_write_lock(&root->lock);
    err = root->ops->create(root, &name, S_IFCHR | NODE_MODE, pair->node.dev, &made);
    rwsem_write_unlock(&root->lock);
    if (err == 0) {
        made->uid = current->cred->fsuid;
        made->gid = current->cred->fsgid;
        inode_put(made);
    }
    return err;
}

static void remove_name(const struct pair *pair)
{
    struct inode *root = devpts->root;
    const struct name name = name_of(pair->name);
    struct inode *there;

    rwsem_write_lock(&root->lock);
    if (root->ops->lookup(root, &name, &there) == 0) {
        (void)root->ops->unlink(root, &name, there); /* gone already is as good */
        inode_put(there);
    }
    rwsem_write_unlock(&root->lock);
}

/* One file system for the machine, however often it is mounted. */
static int devpts_mount(struct file_system *type, const char *source, unsigned flags,
                        const char *options, struct super_block **out)
{
    int err = 0;

    (void)options; /* modes are what Linux' users ask for anyway */
    if (!devpts) {
        err = tmpfs_type.mount(type, source, flags, "mode=755", out);
        if (err < 0) {
            return err;
        }
        devpts = *out;
        devpts->never_caches = true; /* names come and go behind the walk's back */
    }
    ref_get(&devpts->ref); /* of the mount; the first one is ours */
    *out = devpts;
    return 0;
}

struct file_system devpts_type = { .name = "devpts", .mount = devpts_mount };

/* Mount it on /dev/pts, where nobody has done so yet. */
static int mount_once(void)
{
    struct path at;
    int err = path_lookup(AT_FDCWD, "/dev/pts", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &at);

    if (err == 0) {
        if (!devpts || path_inode(&at)->sb != devpts) {
            err = mount_file_system("devpts", "devpts", &at, MS_NOSUID | MS_NOEXEC, NULL);
        }
        path_put(&at);
    }
    return devpts ? 0 : err < 0 ? err : -ENODEV;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static int slave_open(struct inode *inode, struct file *f);

static void slave_release(struct file *f)
{
    struct pty *p = pty_of(f->private);
    uint64_t flags = spin_lock_irqsave(&p->lock);
    bool was_last = --p->slaves == 0;

    spin_unlock_irqrestore(&p->lock, flags);
    if (was_last) {
        wake_all(&p->master_readers, POLLIN | POLLHUP);
        wake_all(&p->master_writers, POLLOUT | POLLHUP);
    }
    pty_put(p);
}

static const struct file_ops slave_closed_ops = { .type = "pts",
                                                  .open = slave_open,
                                                  .poll = page_poll };
static struct file_ops slave_ops; /* the line discipline's, and our release */

static int slave_open(struct inode *inode, struct file *f)
{
    struct pair *pair = &pairs[dev_minor(inode->rdev) % PTY_MAX];
    struct pty *p;
    int err = -EIO;

    mutex_lock(&pairs_lock);
    p = pair->pty;
    if (p && !p->is_locked && !p->tty.is_hung_up) {
        uint64_t flags = spin_lock_irqsave(&p->lock);

        p->slaves++;
        p->was_open = true;
        spin_unlock_irqrestore(&p->lock, flags);
        ref_get(&p->ref);
        err = 0;
    }
    mutex_unlock(&pairs_lock);
    if (err < 0) {
        return err;
    }
    f->ops = &slave_ops;
    f->private = &p->tty;
    if (!(f->mode & FMODE_NOCTTY)) {
        tty_take_control(&p->tty);
    }
    return 0;
}

static void master_release(struct file *f)
{
    struct pty *p = pty_of(f->private);
    struct pair *pair = &pairs[p->index];

    mutex_lock(&pairs_lock);
    remove_name(pair);
    pair->pty = NULL;
    mutex_unlock(&pairs_lock);
    tty_hang_up(&p->tty);
    wake_all(&p->slave_writers, POLLOUT | POLLHUP);
    pty_put(p);
}

static const struct file_ops master_ops = {
    .type = "ptmx",
    .read = master_read,
    .write = master_write,
    .poll = master_poll,
    .ioctl = master_ioctl,
    .release = master_release,
};

static struct pty *pty_create(unsigned index)
{
    struct pty *p = kmalloc(sizeof(*p), GFP_KERNEL | GFP_ZERO);

    if (!p) {
        return NULL;
    }
    tty_init(&p->tty, pairs[index].name, &slave_driver, p);
    ref_init(&p->ref);
    spin_init(&p->lock, RANK_DEVICE);
    wait_queue_init(&p->master_readers);
    wait_queue_init(&p->master_writers);
    wait_queue_init(&p->slave_writers);
    p->index = index;
    p->is_locked = true;
    return p;
}

/* A free number and a pair behind it. pairs_lock held. */
static int create_locked(struct pty **out)
{
    unsigned index = 0;
    struct pair *pair;
    int err;

    while (index < PTY_MAX && pairs[index].pty) {
        index++;
    }
    if (index == PTY_MAX) {
        return -ENOSPC;
    }
    pair = &pairs[index];
    if (!pair->is_registered) {
        (void)fmt_snprintf(pair->name, sizeof(pair->name), "%u", index);
        pair->node = (struct device_node){ .name = pair->name,
                                           .is_hidden = true,
                                           .dev = dev_make(SLAVE_MAJOR, index),
                                           .mode = NODE_MODE,
                                           .ops = &slave_closed_ops };
        device_register(&pair->node);
        pair->is_registered = true;
    }
    pair->pty = pty_create(index);
    if (!pair->pty) {
        return -ENOMEM;
    }
    err = make_name(pair);
    if (err < 0) {
        kfree(pair->pty);
        pair->pty = NULL;
        return err;
    }
    *out = pair->pty;
    return 0;
}

static int ptmx_open(struct inode *inode, struct file *f)
{
    struct pty *p = NULL;
    int err;

    (void)inode;
    if (!slave_ops.read) { /* the same bytes whoever does it */
        struct file_ops ops = tty_file_ops;

        ops.type = "pts";
        ops.release = slave_release;
        slave_ops = ops;
        mutex_init(&pairs_lock, RANK_NONE);
    }
    err = mount_once();
    if (err < 0) {
        return err;
    }
    mutex_lock(&pairs_lock);
    err = create_locked(&p);
    mutex_unlock(&pairs_lock);
    if (err == 0) {
        f->ops = &master_ops;
        f->private = &p->tty;
    }
    return err;
}

const struct file_ops ptmx_file_ops = { .type = "ptmx", .open = ptmx_open, .poll = page_poll };
