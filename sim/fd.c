/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptor tables, and the calls that act on any descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/assert.h>

#include "fault.h"
#include "file.h"
#include "internal.h"
#include "wrap.h"

#define FDS_MAX   1024
#define FD_FIRST  3
#define SIM_PIECE (64u << 10)

static struct sim_file *tables[SIM_PROCS_MAX][FDS_MAX];
static unsigned used[SIM_PROCS_MAX];
static char readiness; /* an address to wait on */

long sim_result_of(long r)
{
    if (r < 0) {
        errno = (int)-r;
        return -1;
    }
    return r;
}

void sim_files_changed(void)
{
    sim_wake_all(&readiness);
}

struct sim_file *sim_fd_get(int fd)
{
    return fd < 0 || fd >= FDS_MAX ? NULL : tables[sim_proc_current()][fd];
}

void sim_file_put(struct sim_file *f)
{
    assert(f->refs > 0);
    f->refs--;
    if (f->refs == 0) {
        sim_epoll_forget(f);
        f->ops->close(f);
        sim_files_changed();
    }
}

static int install_from(struct sim_file *f, int first)
{
    unsigned proc = sim_proc_current();
    bool is_refused = sim_fault_draw(OP_file_open, SIM_KIND(FD_EXHAUSTION), NULL) != SIM_FAULT_NONE;

    for (int fd = max_of(first, FD_FIRST); !is_refused && fd < FDS_MAX; fd++) {
        if (tables[proc][fd] == NULL) {
            tables[proc][fd] = f;
            used[proc]++;
            return fd;
        }
    }
    sim_file_put(f);
    return -EMFILE;
}

int sim_fd_install(struct sim_file *f)
{
    return install_from(f, FD_FIRST);
}

static void drop(unsigned proc, int fd)
{
    struct sim_file *f = tables[proc][fd];

    tables[proc][fd] = NULL;
    used[proc]--;
    sim_file_put(f);
}

void sim_fds_close_all(unsigned proc)
{
    for (int fd = 0; fd < FDS_MAX && used[proc] > 0; fd++) {
        if (tables[proc][fd] != NULL) {
            drop(proc, fd);
        }
    }
}

unsigned sim_fds_count(unsigned proc)
{
    return used[proc];
}

/* ---- Reading and writing ---- */

bool sim_file_wait(struct sim_file *f, enum sim_op op)
{
    uint64_t ready_ns = f->ops->ready_ns == NULL ? SIM_FOREVER : f->ops->ready_ns(f);

    if (sim_fault_draw(op, SIM_KIND(INTERRUPTED), NULL) != SIM_FAULT_NONE) {
        return false;
    }
    (void)sim_block(&readiness, ready_ns);
    return true;
}

static ssize_t do_read(int fd, void *to, size_t size, off_t offset)
{
    struct sim_file *f = sim_fd_get(fd);
    ssize_t n = 0;

    if (f == NULL || (f->flags & O_ACCMODE) == O_WRONLY) {
        return -EBADF;
    }
    if (f->ops->read == NULL) {
        return -EINVAL;
    }
    f->refs++; /* another task may close it meanwhile */
    n = f->ops->read(f, to, size, offset);
    while (n == -EAGAIN && (f->flags & O_NONBLOCK) == 0) {
        n = sim_file_wait(f, OP_net_receive) ? f->ops->read(f, to, size, offset) : -EINTR;
    }
    sim_file_put(f);
    return n;
}

static ssize_t do_write(int fd, const void *from, size_t size, off_t offset)
{
    struct sim_file *f = sim_fd_get(fd);
    ssize_t n = 0;

    if (f == NULL || (f->flags & O_ACCMODE) == O_RDONLY) {
        return -EBADF;
    }
    if (f->ops->write == NULL) {
        return -EINVAL;
    }
    f->refs++;
    n = f->ops->write(f, from, size, offset);
    while (n == -EAGAIN && (f->flags & O_NONBLOCK) == 0) {
        n = sim_file_wait(f, OP_net_send) ? f->ops->write(f, from, size, offset) : -EINTR;
    }
    sim_file_put(f);
    return n;
}

ssize_t __real_read(int fd, void *to, size_t size);
ssize_t __real_write(int fd, const void *from, size_t size);
int __real_close(int fd);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

WRAP(ssize_t, read)(int fd, void *to, size_t size)
{
    if (!sim_is_active()) {
        return __real_read(fd, to, size);
    }
    sim_step();
    return sim_result_of(do_read(fd, to, size, -1));
}

WRAP(ssize_t, write)(int fd, const void *from, size_t size)
{
    if (!sim_is_active()) {
        return __real_write(fd, from, size);
    }
    sim_step();
    return sim_result_of(do_write(fd, from, size, -1));
}

WRAP(ssize_t, pread)(int fd, void *to, size_t size, off_t offset)
{
    sim_step();
    return sim_result_of(offset < 0 ? -EINVAL : do_read(fd, to, size, offset));
}

WRAP(ssize_t, pwrite)(int fd, const void *from, size_t size, off_t offset)
{
    sim_step();
    return sim_result_of(offset < 0 ? -EINVAL : do_write(fd, from, size, offset));
}

static ssize_t vector_read(int fd, const struct iovec *v, int count, off_t offset)
{
    ssize_t total = 0;

    for (int i = 0; i < count; i++) {
        ssize_t n = v[i].iov_len == 0 ? 0
                                      : do_read(fd, v[i].iov_base, v[i].iov_len,
                                                offset < 0 ? -1 : offset + total);

        if (n < 0) {
            return total > 0 ? total : n;
        }
        total += n;
        if ((size_t)n < v[i].iov_len) {
            break;
        }
    }
    return total;
}

static ssize_t vector_write(int fd, const struct iovec *v, int count, off_t offset)
{
    ssize_t total = 0;

    for (int i = 0; i < count; i++) {
        ssize_t n = v[i].iov_len == 0 ? 0
                                      : do_write(fd, v[i].iov_base, v[i].iov_len,
                                                 offset < 0 ? -1 : offset + total);

        if (n < 0) {
            return total > 0 ? total : n;
        }
        total += n;
        if ((size_t)n < v[i].iov_len) {
            break;
        }
    }
    return total;
}

WRAP(ssize_t, readv)(int fd, const struct iovec *v, int count)
{
    sim_step();
    return sim_result_of(vector_read(fd, v, count, -1));
}

WRAP(ssize_t, writev)(int fd, const struct iovec *v, int count)
{
    sim_step();
    return sim_result_of(vector_write(fd, v, count, -1));
}

WRAP(ssize_t, preadv)(int fd, const struct iovec *v, int count, off_t offset)
{
    sim_step();
    return sim_result_of(vector_read(fd, v, count, offset));
}

WRAP(ssize_t, pwritev)(int fd, const struct iovec *v, int count, off_t offset)
{
    sim_step();
    return sim_result_of(vector_write(fd, v, count, offset));
}

WRAP(int, close)(int fd)
{
    if (!sim_is_active()) {
        return __real_close(fd);
    }
    sim_step();
    if (sim_fd_get(fd) == NULL) {
        sim_fail("I9: close() of descriptor %d, which is not open", fd);
    }
    drop(sim_proc_current(), fd);
    return 0;
}

WRAP(int, dup)(int fd)
{
    struct sim_file *f = sim_fd_get(fd);

    sim_step();
    if (f == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    f->refs++;
    return (int)sim_result_of(sim_fd_install(f));
}

WRAP(int, fcntl)(int fd, int command, ...)
{
    struct sim_file *f = sim_fd_get(fd);
    struct flock *lock = NULL;
    va_list args;
    int value = 0;

    va_start(args, command);
    if (command == F_OFD_SETLK) {
        lock = va_arg(args, struct flock *);
    } else {
        value = va_arg(args, int); /* of the commands served here all but the GETs have one */
    }
    va_end(args);
    sim_step();
    if (f == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        f->refs++;
        return (int)sim_result_of(install_from(f, value));
    case F_GETFL:
        return f->flags;
    case F_SETFL:
        f->flags = (f->flags & O_ACCMODE) | (value & ~O_ACCMODE);
        return 0;
    case F_GETFD:
        return FD_CLOEXEC;
    case F_SETFD:
        return 0;
    case F_OFD_SETLK:
        return (int)sim_result_of(sim_file_lock(f, lock));
    default:
        return (int)sim_result_of(-EINVAL);
    }
}

WRAP(int, ioctl)(int fd, unsigned long request, ...)
{
    (void)request;
    sim_step();
    return (int)sim_result_of(sim_fd_get(fd) == NULL ? -EBADF : -ENOTTY);
}

WRAP(int, fstat)(int fd, struct stat *out)
{
    struct sim_file *f = sim_fd_get(fd);

    sim_step();
    if (f == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    memset(out, 0, sizeof(*out));
    if (f->ops->stat == NULL) {
        out->st_mode = S_IFIFO | 0600;
        return 0;
    }
    return (int)sim_result_of(f->ops->stat(f, out));
}

/* ---- Waiting ---- */

static int poll_once(struct pollfd *fds, nfds_t count, uint64_t *ready_ns)
{
    int hits = 0;

    for (nfds_t i = 0; i < count; i++) {
        struct sim_file *f = sim_fd_get(fds[i].fd);

        fds[i].revents = 0;
        if (fds[i].fd < 0) {
            continue;
        }
        if (f == NULL) {
            fds[i].revents = POLLNVAL;
        } else {
            int wanted = fds[i].events | POLLERR | POLLHUP;

            fds[i].revents = (short)(f->ops->poll(f) & wanted);
            if (f->ops->ready_ns != NULL) {
                *ready_ns = min_of(*ready_ns, f->ops->ready_ns(f));
            }
        }
        hits += fds[i].revents != 0;
    }
    return hits;
}

static int do_poll(struct pollfd *fds, nfds_t count, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t ready_ns = deadline_ns;
        int hits = poll_once(fds, count, &ready_ns);

        if (hits > 0 || sim_now_ns() >= deadline_ns) {
            return hits;
        }
        if (sim_fault_draw(OP_net_receive, SIM_KIND(INTERRUPTED), NULL) != SIM_FAULT_NONE) {
            return -EINTR;
        }
        (void)sim_block(&readiness, ready_ns);
    }
}

WRAP(int, poll)(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (!sim_is_active()) {
        return __real_poll(fds, count, timeout_ms);
    }
    sim_step();
    return (int)sim_result_of(do_poll(
        fds, count,
        timeout_ms < 0 ? SIM_FOREVER : sim_now_ns() + (uint64_t)timeout_ms * SIM_NS_PER_MS));
}

WRAP(int, ppoll)(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const void *mask)
{
    (void)mask;
    sim_step();
    return (int)sim_result_of(
        do_poll(fds, count,
                timeout == NULL ? SIM_FOREVER
                                : sim_now_ns() + (uint64_t)timeout->tv_sec * SIM_NS_PER_SEC +
                                      (uint64_t)timeout->tv_nsec));
}
