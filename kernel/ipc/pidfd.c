// SPDX-License-Identifier: Apache-2.0
#include <ipc/pidfd.h>

#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/syscall.h>

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t pidfd_no_io(struct file *f, struct uio *u, int64_t *pos)
{
    (void)f;
    (void)u;
    (void)pos;
    return -EINVAL;
}

static uint32_t pidfd_poll(struct file *f, struct poll_table *pt)
{
    struct process *p = f->private;

    poll_wait(pt, f, &p->exit_wait);
    return *(volatile bool *)&p->is_zombie ? POLLIN | POLLRDNORM : 0;
}

static void pidfd_release(struct file *f)
{
    process_put(f->private);
}

static const struct file_ops pidfd_ops = {
    .type = "anon_inode:[pidfd]",
    .read = pidfd_no_io,
    .write = pidfd_no_io,
    .poll = pidfd_poll,
    .release = pidfd_release,
};

int pidfd_file_create(struct process *p, unsigned flags, struct file **out)
{
    int err = file_create(&pidfd_ops, p, O_RDWR | flags, out);

    if (err == 0) {
        (void)process_get(p);
    }
    return err;
}

struct process *pidfd_to_process(int fd, int *err)
{
    struct file *f = fd_get(fd);
    struct process *p = NULL;

    *err = -EBADF;
    if (f) {
        if (f->ops == &pidfd_ops) {
            p = process_get(f->private);
            *err = 0;
        }
        file_put(f);
    }
    return p;
}

pid_t pidfd_to_pid(int fd)
{
    int err;
    struct process *p = pidfd_to_process(fd, &err);
    pid_t pid;

    if (!p) {
        return err;
    }
    pid = p->pid;
    process_put(p);
    return pid;
}

#define PIDFD_NONBLOCK O_NONBLOCK

long sys_pidfd_open(pid_t pid, unsigned flags)
{
    struct process *p;
    struct task *t;
    struct file *f;
    int err;

    if (pid <= 0 || (flags & ~PIDFD_NONBLOCK)) {
        return -EINVAL;
    }
    p = process_find(pid);
    if (!p) {
        t = task_find(pid);
        if (t) {
            task_put(t);
        }
        return t ? -EINVAL : -ESRCH; /* a thread, but not a process' first */
    }
    err = pidfd_file_create(p, flags, &f);
    process_put(p);
    if (err < 0) {
        return err;
    }
    err = fd_install(f, 0, true);
    if (err < 0) {
        file_put(f);
    }
    return err;
}
