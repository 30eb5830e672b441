// SPDX-License-Identifier: Apache-2.0
#include <ipc/socket_message.h>

#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

#define SOL_SOCKET      1
#define SCM_RIGHTS      1
#define SCM_CREDENTIALS 2
#define CONTROL_MAX     4096u
#define CAP_SETGID      6u
#define CAP_SETUID      7u
#define CAP_SYS_ADMIN   21u

struct user_cmsghdr {
    uint64_t size; /* header included */
    int32_t level;
    int32_t type;
};

void socket_message_drop(struct socket_message *m)
{
    for (uint32_t i = 0; i < m->file_count; i++) {
        file_put(m->files[i]);
    }
    kfree(m->files);
    m->files = NULL;
    m->file_count = 0;
}

static int take_files(struct socket_message *m, const uint8_t *data, size_t size)
{
    uint32_t count = (uint32_t)(size / sizeof(int32_t));

    if (m->files || count > SOCKET_FDS_MAX) {
        return -EINVAL;
    }
    if (count == 0) {
        return 0;
    }
    m->files = kmalloc_array(count, sizeof(struct file *), GFP_KERNEL);
    if (!m->files) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct file *f = fd_get((int32_t)load_le32(data + i * sizeof(int32_t)));

        if (!f) {
            return -EBADF;
        }
        m->files[m->file_count++] = f;
    }
    return 0;
}

/* One may only speak for oneself, unless privileged. */
static int take_credentials(struct socket_message *m, const uint8_t *data, size_t size)
{
    const struct cred *c = current->cred;
    struct socket_credentials given;

    if (size != sizeof(given)) {
        return -EINVAL;
    }
    memcpy(&given, data, sizeof(given));
    if ((given.pid != current->process->pid && !cred_is_capable(c, CAP_SYS_ADMIN)) ||
        (given.uid != c->uid && given.uid != c->euid && given.uid != c->suid &&
         !cred_is_capable(c, CAP_SETUID)) ||
        (given.gid != c->gid && given.gid != c->egid && given.gid != c->sgid &&
         !cred_is_capable(c, CAP_SETGID))) {
        return -EPERM;
    }
    m->credentials = given;
    m->has_credentials = true;
    return 0;
}

static int parse(struct socket_message *m, const uint8_t *control, size_t size)
{
    size_t at = 0;

    while (range_fits(at, sizeof(struct user_cmsghdr), size)) {
        struct user_cmsghdr c;
        const uint8_t *data = control + at + sizeof(c);
        int err = 0;

        memcpy(&c, control + at, sizeof(c));
        if (c.size < sizeof(c) || !range_fits(at, c.size, size)) {
            return -EINVAL;
        }
        if (c.level == SOL_SOCKET && c.type == SCM_RIGHTS) {
            err = take_files(m, data, c.size - sizeof(c));
        } else if (c.level == SOL_SOCKET && c.type == SCM_CREDENTIALS) {
            err = take_credentials(m, data, c.size - sizeof(c));
        } else if (c.level == SOL_SOCKET) {
            err = -EINVAL;
        }
        if (err < 0) {
            return err;
        }
        at += align_up(c.size, (uint64_t)8); /* at most CONTROL_MAX + 7: cannot wrap */
    }
    return 0;
}

int socket_control_from_user(struct socket_message *m, const struct user_msghdr *h)
{
    uint8_t *control;
    int err;

    if (!h->control || h->control_size < sizeof(struct user_cmsghdr)) {
        return 0;
    }
    if (h->control_size > CONTROL_MAX) {
        return -ENOBUFS;
    }
    control = kmalloc(h->control_size, GFP_KERNEL);
    if (!control) {
        return -ENOMEM;
    }
    err = copy_from_user(control, (void __user *)h->control, h->control_size);
    if (err == 0) {
        err = parse(m, control, h->control_size);
    }
    kfree(control);
    if (err < 0) {
        socket_message_drop(m);
    }
    return err;
}

/* --- receiving
 * ------------------------------------------------------------------------------------ */

struct control_writer {
    uint8_t __user *at;
    uint64_t room;
    uint64_t written;
};

static int put_header(struct control_writer *w, int type, uint64_t data_size)
{
    struct user_cmsghdr c = { sizeof(c) + data_size, SOL_SOCKET, type };
    uint64_t step = min_of(align_up(c.size, (uint64_t)8), w->room);

    if (copy_to_user(w->at, &c, sizeof(c)) < 0) {
        return -EFAULT;
    }
    w->at += step;
    w->room -= step;
    w->written += step;
    return 0;
}

/* As many descriptors as there is room for; the rest is closed, and that is told. */
static int put_files(struct control_writer *w, struct socket_message *m, bool close_on_exec)
{
    int32_t fds[SOCKET_FDS_MAX];
    uint64_t fit = w->room < sizeof(struct user_cmsghdr)
                       ? 0
                       : (w->room - sizeof(struct user_cmsghdr)) / sizeof(int32_t);
    uint32_t count = 0;
    uint32_t kept = 0;
    int err;

    while (count < m->file_count && count < fit) {
        int fd = fd_reserve(0, close_on_exec);

        if (fd < 0) {
            break;
        }
        fds[count++] = fd;
    }
    if (count < m->file_count) {
        m->flags |= MSG_CTRUNC;
    }
    if (count == 0) {
        return 0;
    }
    err = copy_to_user(w->at + sizeof(struct user_cmsghdr), fds, count * sizeof(fds[0]));
    if (err == 0) {
        err = put_header(w, SCM_RIGHTS, count * sizeof(fds[0]));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (err < 0) {
            fd_unreserve(fds[i]);
        } else {
            fd_publish(fds[i], m->files[i]);
        }
    }
    if (err == 0) {
        for (uint32_t i = count; i < m->file_count; i++) {
            m->files[kept++] = m->files[i]; /* socket_message_drop() closes these */
        }
        m->file_count = kept;
    }
    return err;
}

int socket_control_to_user(struct socket_message *m, struct user_msghdr *h, bool close_on_exec)
{
    struct control_writer w = { (uint8_t __user *)h->control, h->control ? h->control_size : 0, 0 };
    int err = 0;

    if (m->has_credentials) {
        uint64_t size = sizeof(struct user_cmsghdr) + sizeof(m->credentials);

        if (w.room < size) {
            m->flags |= h->control ? MSG_CTRUNC : 0;
        } else {
            err = copy_to_user(w.at + sizeof(struct user_cmsghdr), &m->credentials,
                               sizeof(m->credentials));
            err = err < 0 ? err : put_header(&w, SCM_CREDENTIALS, sizeof(m->credentials));
        }
    }
    if (err == 0 && m->file_count > 0) {
        err = put_files(&w, m, close_on_exec);
    }
    h->control_size = w.written;
    return err;
}
