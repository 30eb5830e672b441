/* SPDX-License-Identifier: Apache-2.0 */
/* Terminals' requests and job control (termios(3), tty_ioctl(4), credentials(7)). */

#include <core/string.h>
#include <drivers/tty.h>
#include <drivers/tty_flags.h>
#include <ipc/poll.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

/* --- job control
 * ------------------------------------------------------------------------------------ */

/* The group of the current process if it is in t's session but not in the foreground; 0 otherwise.
 */
static pid_t background_group(const struct tty *t)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    const struct process *p = current->process;
    pid_t pgid = p && p->tty == t && t->pgid > 0 && p->pgid != t->pgid ? p->pgid : 0;

    spin_unlock_irqrestore(&process_tree_lock, flags);
    return pgid;
}

static int stop_background(const struct tty *t, int signo)
{
    pid_t pgid = background_group(t);

    if (pgid == 0) {
        return 0;
    }
    if (current->signal_mask & signal_bit(signo)) {
        return signo == SIGTTIN ? -EIO : 0;
    }
    (void)signal_send_group(pgid, signo, NULL);
    return signal_is_pending(current) ? -ERESTARTSYS : signo == SIGTTIN ? -EIO : 0;
}

int tty_check_background(struct tty *t, int signo)
{
    if (signo == SIGTTOU && !(t->termios.lflag & TOSTOP)) {
        return 0;
    }
    return stop_background(t, signo);
}

int tty_check_change(struct tty *t)
{
    return stop_background(t, SIGTTOU);
}

static void set_control(struct tty *t, struct process *p)
{
    t->sid = p->sid;
    t->pgid = p->pgid;
    p->tty = t;
}

void tty_take_control(struct tty *t)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p = current->process;

    if (p && p->is_session_leader && !p->tty && t->sid == 0) {
        set_control(t, p);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
}

static long take_control(struct tty *t, uint64_t steal)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p = current->process;
    long err = 0;

    if (p->tty == t && t->sid == p->sid) {
        err = 0;
    } else if (!p->is_session_leader || p->tty ||
               (t->sid != 0 && !(steal == 1 && current->cred->euid == 0))) {
        err = -EPERM;
    } else {
        struct process *other;

        list_for_each_entry(other, &process_list, all) {
            if (other->tty == t) {
                other->tty = NULL;
            }
        }
        set_control(t, p);
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return err;
}

static long give_up_control(struct tty *t)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct process *p = current->process;
    long err = p->tty == t ? 0 : -ENOTTY;
    pid_t pgid = 0;

    if (err == 0 && p->is_session_leader) {
        struct process *other;

        pgid = t->pgid;
        list_for_each_entry(other, &process_list, all) {
            if (other->tty == t) {
                other->tty = NULL;
            }
        }
        t->sid = 0;
        t->pgid = 0;
    } else if (err == 0) {
        p->tty = NULL;
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    if (pgid > 0) {
        (void)signal_send_group(pgid, SIGHUP, NULL);
        (void)signal_send_group(pgid, SIGCONT, NULL);
    }
    return err;
}

void tty_leave_session(void)
{
    const struct process *p = current->process;

    if (p->tty && p->is_session_leader) {
        (void)give_up_control(p->tty); /* it is ours, so it is not refused */
    }
}

static long set_foreground(struct tty *t, uint64_t arg)
{
    uint32_t pgid;
    uint64_t flags;
    struct process *p;
    long err = get_user32(&pgid, (const void *)arg);

    if (err == 0) {
        err = tty_check_change(t);
    }
    if (err < 0) {
        return err;
    }
    if ((int32_t)pgid < 0) {
        return -EINVAL;
    }
    flags = spin_lock_irqsave(&process_tree_lock);
    err = current->process->tty == t ? -EPERM : -ENOTTY;
    if (err == -EPERM) {
        list_for_each_entry(p, &process_list, all) {
            if (p->pgid == (pid_t)pgid && p->sid == current->process->sid) {
                t->pgid = (pid_t)pgid;
                err = 0;
                break;
            }
        }
    }
    spin_unlock_irqrestore(&process_tree_lock, flags);
    return err;
}

static long get_own(const struct tty *t, pid_t value, uint64_t arg)
{
    return current->process->tty == t ? put_user32((uint32_t)value, (void *)arg) : -ENOTTY;
}

/* --- modes
 * -------------------------------------------------------------------------------------------- */

struct termios2 {
    struct termios base;
    uint32_t ispeed, ospeed;
};

static_assert(sizeof(struct termios2) == 44, "struct termios2 is ABI");

static long get_modes(struct tty *t, uint64_t arg, bool with_speed)
{
    struct termios2 copy = { .ispeed = 38400, .ospeed = 38400 };
    uint64_t flags = spin_lock_irqsave(&t->lock);

    copy.base = t->termios;
    spin_unlock_irqrestore(&t->lock, flags);
    return copy_to_user((void *)arg, &copy, with_speed ? sizeof(copy) : sizeof(copy.base));
}

static void flush_input(struct tty *t)
{
    t->head = t->line_end = t->tail;
}

static long set_modes(struct tty *t, uint64_t arg, bool flush)
{
    struct termios modes;
    uint64_t flags;
    long err = copy_from_user(&modes, (const void *)arg, sizeof(modes));

    if (err == 0) {
        err = tty_check_change(t);
    }
    if (err < 0) {
        return err;
    }
    flags = spin_lock_irqsave(&t->lock);
    if (flush) {
        flush_input(t);
    }
    /* What was being edited becomes readable when lines stop counting. */
    if ((t->termios.lflag & ICANON) && !(modes.lflag & ICANON)) {
        t->line_end = t->tail;
    }
    t->termios = modes;
    if (!(modes.iflag & IXON)) {
        t->is_stopped = false;
    }
    spin_unlock_irqrestore(&t->lock, flags);
    wake_all(&t->readers, POLLIN);
    wake_all(&t->unstopped, 0);
    return 0;
}

static long set_window(struct tty *t, uint64_t arg)
{
    struct winsize w;
    long err = copy_from_user(&w, (const void *)arg, sizeof(w));

    if (err == 0) {
        tty_set_window(t, w.rows, w.cols);
        t->winsize.xpixel = w.xpixel;
        t->winsize.ypixel = w.ypixel;
    }
    return err;
}

static long flow(struct tty *t, uint64_t action)
{
    if (action > 3) {
        return -EINVAL;
    }
    if (action <
        2) { /* TCOOFF, TCOON; the other two would tell the peer, which has no use for them */
        t->is_stopped = action == 0;
        wake_all(&t->unstopped, 0);
    }
    return 0;
}

static long flush(struct tty *t, uint64_t which)
{
    if (which > 2) {
        return -EINVAL;
    }
    if (which != 1) { /* TCIFLUSH, TCIOFLUSH; output is with the host already */
        uint64_t flags = spin_lock_irqsave(&t->lock);

        flush_input(t);
        spin_unlock_irqrestore(&t->lock, flags);
    }
    return 0;
}

static uint32_t readable_bytes(struct tty *t)
{
    uint64_t flags = spin_lock_irqsave(&t->lock);
    uint32_t n = t->line_end - t->head;

    spin_unlock_irqrestore(&t->lock, flags);
    return n;
}

long tty_ioctl(struct file *f, unsigned request, uint64_t arg)
{
    struct tty *t = f->private;

    switch (request) {
    case TCGETS:
        return get_modes(t, arg, false);
    case TCGETS2:
        return get_modes(t, arg, true);
    case TCSETS:
    case TCSETSW:
    case TCSETS2:
    case TCSETSW2:
        return set_modes(t, arg, false);
    case TCSETSF:
    case TCSETSF2:
        return set_modes(t, arg, true);
    case TIOCGWINSZ:
        return copy_to_user((void *)arg, &t->winsize, sizeof(t->winsize));
    case TIOCSWINSZ:
        return set_window(t, arg);
    case TIOCGPGRP:
        return get_own(t, t->pgid, arg);
    case TIOCSPGRP:
        return set_foreground(t, arg);
    case TIOCGSID:
        return get_own(t, t->sid, arg);
    case TIOCSCTTY:
        return take_control(t, arg);
    case TIOCNOTTY:
        return give_up_control(t);
    case TCXONC:
        return flow(t, arg);
    case TCFLSH:
        return flush(t, arg);
    case TCSBRK:
    case TCSBRKP:
        return 0; /* a break means nothing on a virtual line; drained already: writes return when
                     the host has them */
    case FIONREAD:
        return put_user32(readable_bytes(t), (void *)arg);
    case TIOCSTI:
        return -EPERM;
    default:
        return -ENOTTY;
    }
}

/* --- /dev/tty
 * ------------------------------------------------------------------------------------------- */

static int open_current(struct inode *inode, struct file *f)
{
    uint64_t flags = spin_lock_irqsave(&process_tree_lock);
    struct tty *t = current->process ? current->process->tty : NULL;

    (void)inode;
    spin_unlock_irqrestore(&process_tree_lock, flags);
    if (!t) {
        return -ENXIO;
    }
    f->ops = &tty_file_ops;
    f->private = t;
    return 0;
}

static uint32_t poll_nothing(struct file *f, struct poll_table *pt)
{
    (void)f;
    (void)pt;
    return POLLERR; /* never asked: open replaces the operations */
}

const struct file_ops tty_current_ops = { .type = "tty",
                                          .open = open_current,
                                          .poll = poll_nothing };
