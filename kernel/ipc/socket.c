// SPDX-License-Identifier: Apache-2.0
/* Sockets as files, and the system calls that every family shares. */
#include <ipc/socket.h>

#include <core/string.h>
#include <fs/files.h>
#include <fs/vfs.h>
#include <ipc/flags.h>
#include <ipc/poll.h>
#include <ipc/socket_message.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/syscall.h>
#include <syscall/time_user.h>
#include <syscall/uaccess.h>

#define FIONREAD      0x541bu
#define SOCK_NONBLOCK O_NONBLOCK
#define SOCK_CLOEXEC  O_CLOEXEC
#define SOMAXCONN     4096

#define SOL_SOCKET    1
#define SO_DEBUG      1
#define SO_REUSEADDR  2
#define SO_TYPE       3
#define SO_ERROR      4
#define SO_SNDBUF     7
#define SO_RCVBUF     8
#define SO_KEEPALIVE  9
#define SO_LINGER     13
#define SO_PASSCRED   16
#define SO_PEERCRED   17
#define SO_RCVTIMEO   20
#define SO_SNDTIMEO   21
#define SO_ACCEPTCONN 30
#define SO_PROTOCOL   38
#define SO_DOMAIN     39

#define BUFFER_DEFAULT 212992u /* Linux's net.core.wmem_default */
#define BUFFER_LEAST   2048u

/* Families, by number. Others: EAFNOSUPPORT. */
static const struct socket_family *const families[] = { &unix_family, &vsock_family };

void socket_init(struct socket *s, const struct socket_ops *ops, int family, int type, int protocol)
{
    s->ops = ops;
    s->family = family;
    s->type = type;
    s->protocol = protocol;
    s->send_buffer = BUFFER_DEFAULT;
    s->receive_buffer = BUFFER_DEFAULT;
}

/* --- as a file -----------------------------------------------------------------------------------
 */

static uint64_t deadline_of(const struct file *f, uint32_t flags, uint64_t timeout_ns)
{
    if ((flags & MSG_DONTWAIT) || (f && file_is_nonblock(f))) {
        return 0;
    }
    return timeout_ns ? deadline_after(timeout_ns) : TIME_FOREVER;
}

/* A call with a timeout of its own is not restarted (spec R-ABI-13). */
static ssize_t after_wait(ssize_t result, uint64_t timeout_ns)
{
    if (result == -ETIMEDOUT) {
        return -EAGAIN;
    }
    return result == -ERESTARTSYS && timeout_ns ? -EINTR : result;
}

static ssize_t do_send(struct file *f, struct uio *u, struct socket_message *m)
{
    struct socket *s = f->private;
    uint32_t flags = m->flags;
    ssize_t n = s->ops->send(s, u, m, deadline_of(f, flags, s->send_timeout_ns));

    if (n == -EPIPE && !(flags & MSG_NOSIGNAL) && s->type != SOCK_DGRAM) {
        (void)signal_send_task(current, SIGPIPE, NULL); /* a standard signal does not fail */
    }
    return after_wait(n, s->send_timeout_ns);
}

static ssize_t do_receive(struct file *f, struct uio *u, struct socket_message *m)
{
    struct socket *s = f->private;
    ssize_t n = s->ops->receive(s, u, m, deadline_of(f, m->flags, s->receive_timeout_ns));

    return after_wait(n, s->receive_timeout_ns);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t socket_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct socket_message m = { 0 };
    ssize_t n;

    (void)pos;
    n = do_receive(f, u, &m);
    socket_message_drop(&m);
    return n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): struct file_ops has it so */
static ssize_t socket_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct socket_message m = { 0 };

    (void)pos;
    return do_send(f, u, &m);
}

static uint32_t socket_poll(struct file *f, struct poll_table *pt)
{
    struct socket *s = f->private;

    return s->ops->poll(s, f, pt);
}

static long socket_ioctl(struct file *f, unsigned command, uint64_t arg)
{
    struct socket *s = f->private;

    if (command == FIONREAD) {
        return s->ops->is_listening(s) ? -EINVAL
                                       : put_user32(s->ops->unread(s), (void __user *)arg);
    }
    return -ENOTTY;
}

static void socket_release(struct file *f)
{
    struct socket *s = f->private;

    s->ops->release(s);
}

static const struct file_ops socket_ops = {
    .type = "socket",
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .ioctl = socket_ioctl,
    .release = socket_release,
};

/* Takes s; releases it on failure. */
static int file_of_socket(struct socket *s, unsigned flags, struct file **out)
{
    int err = file_create(&socket_ops, s, O_RDWR | (flags & O_NONBLOCK), out);

    if (err < 0) {
        s->ops->release(s);
    }
    return err;
}

static int fd_of_socket(struct socket *s, unsigned flags)
{
    struct file *f;
    int err = file_of_socket(s, flags, &f);

    if (err == 0) {
        err = fd_install(f, 0, (flags & SOCK_CLOEXEC) != 0);
        if (err < 0) {
            file_put(f);
        }
    }
    return err;
}

/* The description of a socket descriptor, counted; NULL: *err is -EBADF or -ENOTSOCK. */
static struct file *socket_get(int fd, long *err)
{
    struct file *f = fd_get(fd);

    *err = -EBADF;
    if (f && f->ops != &socket_ops) {
        *err = -ENOTSOCK;
        file_put(f);
        f = NULL;
    }
    return f;
}

/* --- creation
 * --------------------------------------------------------------------------------------- */

static const struct socket_family *family_of(int number)
{
    for (size_t i = 0; i < array_size(families); i++) {
        if (families[i]->family == number) {
            return families[i];
        }
    }
    return NULL;
}

static int create(int family, int type, int protocol, struct socket **out)
{
    const struct socket_family *fam = family_of(family);

    if ((unsigned)type & ~(0xfu | SOCK_NONBLOCK | SOCK_CLOEXEC)) {
        return -EINVAL;
    }
    return fam ? fam->create(type & 0xf, protocol, out) : -EAFNOSUPPORT;
}

long sys_socket(int family, int type, int protocol)
{
    struct socket *s;
    int err = create(family, type, protocol, &s);

    return err < 0 ? err : fd_of_socket(s, (unsigned)type);
}

static int create_pair(int family, int type, int protocol, struct file *files[2])
{
    const struct socket_family *fam = family_of(family);
    struct socket *s[2];
    int err = create(family, type, protocol, &s[0]);

    if (err < 0) {
        return err;
    }
    err = fam->pair ? create(family, type, protocol, &s[1]) : -EOPNOTSUPP;
    if (err < 0) {
        s[0]->ops->release(s[0]);
        return err;
    }
    err = fam->pair(s[0], s[1]);
    if (err < 0) {
        s[0]->ops->release(s[0]);
        s[1]->ops->release(s[1]);
        return err;
    }
    err = file_of_socket(s[0], (unsigned)type, &files[0]);
    if (err < 0) {
        s[1]->ops->release(s[1]);
        return err;
    }
    err = file_of_socket(s[1], (unsigned)type, &files[1]);
    if (err < 0) {
        file_put(files[0]);
    }
    return err;
}

long sys_socketpair(int family, int type, int protocol, void __user *to)
{
    bool cloexec = ((unsigned)type & SOCK_CLOEXEC) != 0;
    struct file *files[2];
    int err = create_pair(family, type, protocol, files);

    if (err < 0) {
        return err;
    }
    return fd_install_pair(files, cloexec, to);
}

/* --- addresses and connections
 * ------------------------------------------------------------------------ */

static int socket_address_from_user(struct socket_address *a, const void __user *from, int64_t size)
{
    if (size < 0 || size > (int64_t)SOCKET_ADDRESS_MAX) {
        return -EINVAL;
    }
    memset(a, 0, sizeof(*a));
    a->size = (uint32_t)size;
    return copy_from_user(a->bytes, from, (size_t)size);
}

/* As much as the program has room for; *size_at becomes the real size. */
static int address_to_user(const struct socket_address *a, void __user *to, void __user *size_at)
{
    uint32_t room;

    if (get_user32(&room, size_at) < 0) {
        return -EFAULT;
    }
    if ((int32_t)room < 0) {
        return -EINVAL;
    }
    if (copy_to_user(to, a->bytes, min_of(room, a->size)) < 0) {
        return -EFAULT;
    }
    return put_user32(a->size, size_at);
}

long sys_bind(int fd, void __user *address, int size)
{
    struct socket_address a;
    struct socket *s;
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    s = f->private;
    err = socket_address_from_user(&a, address, size);
    if (err == 0) {
        err = s->ops->bind(s, &a);
    }
    file_put(f);
    return err;
}

long sys_listen(int fd, int backlog)
{
    struct socket *s;
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    s = f->private;
    if (backlog < 0 || backlog > SOMAXCONN) {
        backlog = SOMAXCONN;
    }
    err = s->ops->listen(s, backlog);
    file_put(f);
    return err;
}

long sys_connect(int fd, void __user *address, int size)
{
    struct socket_address a;
    struct socket *s;
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    s = f->private;
    err = socket_address_from_user(&a, address, size);
    if (err == 0) {
        err = s->ops->connect(s, &a, deadline_of(f, 0, s->send_timeout_ns));
        err = after_wait(err, s->send_timeout_ns);
    }
    file_put(f);
    return err;
}

static long do_accept(struct file *f, void __user *address, void __user *size_at, unsigned flags)
{
    struct socket *s = f->private;
    struct socket_address a = { 0 };
    struct socket *fresh;
    struct file *fresh_file;
    int fd;
    int err = s->ops->accept(s, deadline_of(f, 0, s->receive_timeout_ns), &fresh);

    if (err < 0) {
        return after_wait(err, s->receive_timeout_ns);
    }
    if (address) {
        err = fresh->ops->name(fresh, true, &a);
    }
    fd = file_of_socket(fresh, flags, &fresh_file);
    if (fd < 0) {
        return fd;
    }
    if (err == 0 && address) {
        err = address_to_user(&a, address, size_at);
    }
    fd = err < 0 ? err : fd_install(fresh_file, 0, (flags & SOCK_CLOEXEC) != 0);
    if (fd < 0) {
        file_put(fresh_file);
    }
    return fd;
}

long sys_accept4(int fd, void __user *address, void __user *size_at, int flags)
{
    long result;
    struct file *f;

    if ((unsigned)flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) {
        return -EINVAL;
    }
    f = socket_get(fd, &result);
    if (f) {
        result = do_accept(f, address, size_at, (unsigned)flags);
        file_put(f);
    }
    return result;
}

long sys_accept(int fd, void __user *address, void __user *size_at)
{
    return sys_accept4(fd, address, size_at, 0);
}

static long get_name(int fd, bool of_peer, void __user *address, void __user *size_at)
{
    struct socket_address a = { 0 };
    struct socket *s;
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    s = f->private;
    err = s->ops->name(s, of_peer, &a);
    file_put(f);
    return err < 0 ? err : address_to_user(&a, address, size_at);
}

long sys_getsockname(int fd, void __user *address, void __user *size_at)
{
    return get_name(fd, false, address, size_at);
}

long sys_getpeername(int fd, void __user *address, void __user *size_at)
{
    return get_name(fd, true, address, size_at);
}

long sys_shutdown(int fd, int how)
{
    struct socket *s;
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    s = f->private;
    /* 0, 1, 2: reading, writing, both: as bits one more. */
    err = how < 0 || how > 2 ? -EINVAL : s->ops->shutdown(s, (unsigned)how + 1);
    file_put(f);
    return err;
}

/* --- sending and receiving
 * ------------------------------------------------------------------------------ */

long sys_sendto(int fd, void __user *bytes, size_t size, int flags, void __user *address,
                int address_size)
{
    struct socket_address a;
    struct socket_message m = { .flags = (uint32_t)flags };
    struct uio u;
    long result;
    struct file *f = socket_get(fd, &result);

    if (!f) {
        return result;
    }
    result = 0;
    if (address) {
        result = socket_address_from_user(&a, address, address_size);
        m.name = &a;
    }
    if (result == 0) {
        uio_init_user(&u, bytes, min_of(size, (size_t)UIO_MAX_BYTES));
        result = do_send(f, &u, &m);
    }
    file_put(f);
    return result;
}

long sys_recvfrom(int fd, void __user *bytes, size_t size, int flags, void __user *address,
                  void __user *size_at)
{
    struct socket_address a = { 0 };
    struct socket_message m = { .flags = (uint32_t)flags, .name = address ? &a : NULL };
    struct uio u;
    long result;
    struct file *f = socket_get(fd, &result);

    if (!f) {
        return result;
    }
    uio_init_user(&u, bytes, min_of(size, (size_t)UIO_MAX_BYTES));
    result = do_receive(f, &u, &m);
    socket_message_drop(&m); /* descriptors that came along are not wanted */
    file_put(f);
    if (result >= 0 && address) {
        int err = address_to_user(&a, address, size_at);

        result = err < 0 ? err : result;
    }
    return result;
}

static long send_message(struct file *f, const void __user *from, unsigned flags)
{
    struct socket_address a;
    struct socket_message m = { .flags = flags };
    struct user_msghdr h;
    struct user_iovec *heap = NULL;
    struct uio u;
    long result;

    if (copy_from_user(&h, from, sizeof(h)) < 0) {
        return -EFAULT;
    }
    if (h.name && h.name_size) {
        result = socket_address_from_user(&a, (void __user *)h.name, (int32_t)h.name_size);
        if (result < 0) {
            return result;
        }
        m.name = &a;
    }
    result = h.vector_count > UIO_MAX_SEGMENTS
                 ? -EMSGSIZE
                 : uio_import(&u, (void __user *)h.vector, h.vector_count, &heap);
    if (result < 0) {
        return result;
    }
    result = socket_control_from_user(&m, &h);
    if (result == 0) {
        result = do_send(f, &u, &m);
    }
    socket_message_drop(&m); /* what was sent has taken its own references */
    kfree(heap);
    return result;
}

static long receive_message(struct file *f, void __user *to, unsigned flags)
{
    struct socket *s = f->private;
    struct socket_address a = { 0 };
    struct socket_message m = { .flags = flags };
    struct user_msghdr h;
    struct user_iovec *heap = NULL;
    struct uio u;
    long result;

    if (copy_from_user(&h, to, sizeof(h)) < 0) {
        return -EFAULT;
    }
    m.name = h.name ? &a : NULL;
    result = h.vector_count > UIO_MAX_SEGMENTS
                 ? -EMSGSIZE
                 : uio_import(&u, (void __user *)h.vector, h.vector_count, &heap);
    if (result < 0) {
        return result;
    }
    result = do_receive(f, &u, &m);
    kfree(heap);
    if (result < 0) {
        return result;
    }
    m.has_credentials = s->passes_credentials;
    if (socket_control_to_user(&m, &h, (flags & MSG_CMSG_CLOEXEC) != 0) < 0) {
        result = -EFAULT;
    }
    socket_message_drop(&m);
    if (h.name && copy_to_user((void __user *)h.name, a.bytes, min_of(h.name_size, a.size)) < 0) {
        result = -EFAULT;
    }
    h.name_size = a.size;
    h.flags = m.flags & (MSG_TRUNC | MSG_CTRUNC | MSG_EOR | MSG_CMSG_CLOEXEC);
    return copy_to_user(to, &h, sizeof(h)) < 0 ? -EFAULT : result;
}

long sys_sendmsg(int fd, void __user *message, int flags)
{
    long result;
    struct file *f = socket_get(fd, &result);

    if (f) {
        result = send_message(f, message, (unsigned)flags);
        file_put(f);
    }
    return result;
}

long sys_recvmsg(int fd, void __user *message, int flags)
{
    long result;
    struct file *f = socket_get(fd, &result);

    if (f) {
        result = receive_message(f, message, (unsigned)flags);
        file_put(f);
    }
    return result;
}

#define MMSG_MAX 1024u

struct user_mmsghdr {
    struct user_msghdr header;
    uint32_t size;
    uint32_t pad;
};

long sys_sendmmsg(int fd, void __user *messages, unsigned count, int flags)
{
    struct user_mmsghdr __user *all = messages;
    long result = 0;
    unsigned done = 0;
    struct file *f = socket_get(fd, &result);

    if (!f) {
        return result;
    }
    while (done < min_of(count, MMSG_MAX)) {
        result = send_message(f, &all[done].header, (unsigned)flags);
        if (result < 0 || put_user32((uint32_t)result, &all[done].size) < 0) {
            break;
        }
        done++;
    }
    file_put(f);
    return done ? done : result;
}

#define MSG_WAITFORONE 0x10000u

long sys_recvmmsg(int fd, void __user *messages, unsigned count, int flags, void __user *timeout)
{
    struct user_mmsghdr __user *all = messages;
    uint64_t deadline = TIME_FOREVER;
    unsigned each = (unsigned)flags & ~MSG_WAITFORONE;
    long result = 0;
    unsigned done = 0;
    struct file *f;

    if (timeout) {
        int err = deadline_from_user(&deadline, timeout);

        if (err < 0) {
            return err;
        }
    }
    f = socket_get(fd, &result);
    if (!f) {
        return result;
    }
    while (done < min_of(count, MMSG_MAX)) {
        result = receive_message(f, &all[done].header, each);
        if (result < 0 || put_user32((uint32_t)result, &all[done].size) < 0) {
            break;
        }
        done++;
        if ((unsigned)flags & MSG_WAITFORONE) {
            each |= MSG_DONTWAIT;
        }
        if (clock_monotonic_ns() >= deadline) {
            break;
        }
    }
    file_put(f);
    return done ? done : result;
}

/* --- options
 * -------------------------------------------------------------------------------------------- */

struct user_timeval {
    int64_t sec;
    int64_t usec;
};

static int set_timeout(uint64_t *ns, const void __user *from, int size)
{
    struct user_timeval tv;

    if (size < (int)sizeof(tv)) {
        return -EINVAL;
    }
    if (copy_from_user(&tv, from, sizeof(tv)) < 0) {
        return -EFAULT;
    }
    if (tv.usec < 0 || tv.usec >= 1000000) {
        return -EDOM;
    }
    tv.sec = min_of(tv.sec, (int64_t)1 << 31);
    *ns = tv.sec < 0 ? 1 : (uint64_t)tv.sec * NSEC_PER_SEC + (uint64_t)tv.usec * 1000;
    return 0;
}

static int set_option(struct socket *s, int option, const void __user *from, int size)
{
    uint32_t value;

    if (option == SO_RCVTIMEO || option == SO_SNDTIMEO) {
        return set_timeout(option == SO_RCVTIMEO ? &s->receive_timeout_ns : &s->send_timeout_ns,
                           from, size);
    }
    if (size < (int)sizeof(value)) {
        return -EINVAL;
    }
    if (get_user32(&value, from) < 0) {
        return -EFAULT;
    }
    switch (option) {
    case SO_SNDBUF: /* doubled, as on Linux, for the kernel's own share */
        s->send_buffer = max_of(min_of(value, BUFFER_DEFAULT) * 2, BUFFER_LEAST);
        return 0;
    case SO_RCVBUF:
        s->receive_buffer = max_of(min_of(value, BUFFER_DEFAULT) * 2, BUFFER_LEAST);
        return 0;
    case SO_PASSCRED:
        s->passes_credentials = value != 0;
        return 0;
    case SO_REUSEADDR: /* without meaning for names in file systems; accepted as on Linux */
    case SO_KEEPALIVE:
    case SO_LINGER:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

long sys_setsockopt(int fd, int level, int option, void __user *from, int size)
{
    long err;
    struct file *f = socket_get(fd, &err);

    if (!f) {
        return err;
    }
    err = level == SOL_SOCKET ? set_option(f->private, option, from, size) : -ENOPROTOOPT;
    file_put(f);
    return err;
}

union option_value {
    uint32_t number;
    uint32_t linger[2];
    struct user_timeval time;
    struct socket_credentials credentials;
};

/* The size of the answer, or -errno. */
static int get_option(struct socket *s, int option, union option_value *v)
{
    uint64_t ns;

    switch (option) {
    case SO_TYPE:
        v->number = (uint32_t)s->type;
        break;
    case SO_DOMAIN:
        v->number = (uint32_t)s->family;
        break;
    case SO_PROTOCOL:
        v->number = (uint32_t)s->protocol;
        break;
    case SO_ERROR:
        v->number = (uint32_t)s->ops->error(s);
        break;
    case SO_SNDBUF:
        v->number = s->send_buffer;
        break;
    case SO_RCVBUF:
        v->number = s->receive_buffer;
        break;
    case SO_PASSCRED:
        v->number = s->passes_credentials;
        break;
    case SO_ACCEPTCONN:
        v->number = s->ops->is_listening(s);
        break;
    case SO_DEBUG:
    case SO_REUSEADDR:
    case SO_KEEPALIVE:
        v->number = 0;
        break;
    case SO_LINGER:
        return sizeof(v->linger);
    case SO_RCVTIMEO:
    case SO_SNDTIMEO:
        ns = option == SO_RCVTIMEO ? s->receive_timeout_ns : s->send_timeout_ns;
        v->time = (struct user_timeval){ (int64_t)(ns / NSEC_PER_SEC),
                                         (int64_t)(ns % NSEC_PER_SEC / 1000) };
        return sizeof(v->time);
    case SO_PEERCRED:
        return s->ops->peer_credentials(s, &v->credentials) < 0 ? -ENOPROTOOPT
                                                                : (int)sizeof(v->credentials);
    default:
        return -ENOPROTOOPT;
    }
    return sizeof(v->number);
}

long sys_getsockopt(int fd, int level, int option, void __user *to, void __user *size_at)
{
    union option_value v = { 0 };
    uint32_t room;
    long size;
    struct file *f;

    if (get_user32(&room, size_at) < 0) {
        return -EFAULT;
    }
    f = socket_get(fd, &size);
    if (!f) {
        return size;
    }
    size = level == SOL_SOCKET ? get_option(f->private, option, &v) : -EOPNOTSUPP;
    file_put(f);
    if (size < 0) {
        return size;
    }
    if ((int32_t)room < 0) {
        return -EINVAL;
    }
    room = min_of(room, (uint32_t)size);
    return copy_to_user(to, &v, room) < 0 ? -EFAULT : put_user32(room, size_at);
}
