/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/handler.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>
#include <base/unix_socket.h>

#include "error.h"

#define PAGE            4096u
#define REGIONS_MAX     4u
#define REGION_TEXT_MAX 192u
#define HANDLER_WAIT_MS 10000

int userfaultfd_open(int device)
{
    int fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    }
    return fd < 0 ? -errno : fd;
}

/* ---- The socket ---- */

static drupe_vm_err_t connect_failed(int error, const char *path, struct drupe_error *err)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        return error_set(err, DRUPE_NOT_FOUND, error, "no page-fault handler listens at %s", path);
    case EACCES:
    case EPERM:
        return error_set(err, DRUPE_NO_ACCESS, error, "connect to the page-fault handler at %s",
                         path);
    case EAGAIN:
        return error_set(err, DRUPE_RESTORE_FAILED, error,
                         "the page-fault handler at %s takes no connection", path);
    case ENAMETOOLONG:
        return error_set(err, DRUPE_RESTORE_FAILED, error, "%s is too long for a socket's name",
                         path);
    default:
        return error_set(err, DRUPE_RESTORE_FAILED, error,
                         "connect to the page-fault handler at %s", path);
    }
}

/* Never waits: a full queue of connections is an error. */
static drupe_vm_err_t connect_to(const char *path, int *fd, struct drupe_error *err)
{
    *fd = unix_connect(path, SOCK_NONBLOCK);
    return *fd >= 0 ? DRUPE_OK : connect_failed(-*fd, path, err);
}

static size_t describe(const struct handler_region *regions, unsigned count, char *text,
                       size_t room)
{
    size_t size = fmt_snprintf(text, room, "[");

    for (unsigned i = 0; i < count; i++) {
        size += fmt_snprintf(text + size, room - size,
                             "%s{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":%llu,"
                             "\"page_size\":%u,\"page_size_kib\":%u}",
                             i > 0 ? "," : "", (unsigned long long)(uintptr_t)regions[i].start,
                             (unsigned long long)regions[i].size,
                             (unsigned long long)regions[i].offset, PAGE, PAGE);
    }
    return size + fmt_snprintf(text + size, room - size, "]");
}

/* The text and the descriptor, in one message. 0 or -errno. */
static int send_to(int socket_fd, int uffd, const char *text, size_t size)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    struct iovec iov = { .iov_base = (void *)(uintptr_t)text, .iov_len = size };
    struct msghdr message = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    ssize_t n = 0;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &uffd, sizeof(uffd));
    do {
        n = sendmsg(socket_fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (size_t)n == size ? 0 : -EMSGSIZE;
}

/* ---- Memory ---- */

static void unregister_all(int uffd, const struct handler_region *regions, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct uffdio_range all = { (uint64_t)(uintptr_t)regions[i].start, regions[i].size };

        (void)ioctl(uffd, UFFDIO_UNREGISTER, &all); /* wakes who waits */
    }
}

static int register_all(int uffd, const struct handler_region *regions, unsigned count)
{
    struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE };

    if (ioctl(uffd, UFFDIO_API, &api) < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < count; i++) {
        struct uffdio_register reg = {
            .range = { (uint64_t)(uintptr_t)regions[i].start, regions[i].size },
            .mode = UFFDIO_REGISTER_MODE_MISSING,
        };

        if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0) {
            return -errno;
        }
    }
    return 0;
}

/* ---- Does it answer? ---- */

struct probe {
    const volatile uint8_t *page;
    int done_fd;
};

static void *touch(void *ctx)
{
    const struct probe *p = ctx;
    const uint64_t one = 1;

    (void)*p->page;
    return write(p->done_fd, &one, sizeof(one)) < 0 ? ctx : NULL;
}

/* 0, -ETIMEDOUT or another -errno. */
static int wait_first_page(int uffd, const struct handler_region *regions, unsigned count)
{
    struct probe p = { .page = regions[0].start, .done_fd = eventfd(0, EFD_CLOEXEC) };
    struct pollfd done = { .fd = p.done_fd, .events = POLLIN };
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int r = p.done_fd < 0 ? -errno : 0;

    if (r < 0) {
        return r;
    }
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = -pthread_create(&thread, NULL, touch, &p);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0) {
        do {
            r = poll(&done, 1, HANDLER_WAIT_MS);
        } while (r < 0 && errno == EINTR);
        r = r == 1 ? 0 : r < 0 ? -errno : -ETIMEDOUT;
        if (r < 0) {
            unregister_all(uffd, regions, count);
        }
        (void)pthread_join(thread, NULL);
    }
    (void)close(p.done_fd);
    return r;
}

/* The socket is closed with the message sent: nothing follows it. */
static drupe_vm_err_t hand_over(const char *path, int socket_fd, int uffd,
                                const struct handler_region *regions, unsigned count,
                                struct drupe_error *err)
{
    char text[REGIONS_MAX * REGION_TEXT_MAX];
    size_t size = describe(regions, count, text, sizeof(text));
    int r = register_all(uffd, regions, count);

    if (r < 0) {
        (void)close(socket_fd);
        return error_set(err, DRUPE_UNSUPPORTED, -r,
                         "this host's userfaultfd does not do what a page-fault handler needs");
    }
    r = send_to(socket_fd, uffd, text, size);
    (void)close(socket_fd);
    if (r < 0) {
        return error_set(err, DRUPE_RESTORE_FAILED, -r,
                         "hand the guest's memory to the page-fault handler at %s", path);
    }
    r = wait_first_page(uffd, regions, count);
    if (r == -ETIMEDOUT) {
        return error_set(err, DRUPE_RESTORE_FAILED, -r,
                         "the page-fault handler at %s brings no page within %u s", path,
                         HANDLER_WAIT_MS / 1000);
    }
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_RESTORE_FAILED, -r, "wait for the page-fault handler");
}

drupe_vm_err_t handler_start(const char *path, int device, const struct handler_region *regions,
                             unsigned count, int *uffd, struct drupe_error *err)
{
    int socket_fd = -1;
    int fd = -1;
    drupe_vm_err_t r = connect_to(path, &socket_fd, err);

    assert(count > 0 && count <= REGIONS_MAX);
    if (r != DRUPE_OK) {
        return r;
    }
    fd = userfaultfd_open(device);
    if (fd < 0) {
        (void)close(socket_fd);
        r = error_set(err, DRUPE_UNSUPPORTED, -fd,
                      "a page-fault handler needs userfaultfd, which this host does not have, or "
                      "not for us");
    } else {
        r = hand_over(path, socket_fd, fd, regions, count, err);
    }
    if (r != DRUPE_OK && fd >= 0) {
        unregister_all(fd, regions, count);
        (void)close(fd);
        fd = -1;
    }
    *uffd = fd;
    return r;
}
