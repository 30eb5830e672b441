/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile front end of vhost-user: the input is a row of messages, each with a descriptor or
 * none, against the socket device; between them the guest's memory is edited and kicked. Odd first
 * byte: after a proper set-up. Invariants: no sanitizer report, no assertion, the loop comes to
 * rest.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>

#include "devices/virtio_vsock.h"
#include "vhost_user/message.h"
#include "vhost_user/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE    ((size_t)256 << 10)
#define USER_ADDR   UINT64_C(0x10000000)
#define WATCHES     16u
#define ROUNDS_MAX  1000u
#define MESSAGE_MAX 64u

struct watch {
    int fd;
    uint32_t events;
    device_fd_fn fn;
    void *device;
};

struct world {
    struct watch watches[WATCHES];
    struct device_host host;
    struct vhost_user_server *server;
    struct virtio_vsock *vsock;
    int front;
    int memory_fd;
    int event_fd;
    uint8_t *ram;
};

static int on_watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct world *w = ctx;
    struct watch *place = NULL;

    for (unsigned i = 0; i < WATCHES; i++) {
        if (w->watches[i].events != 0 && w->watches[i].fd == fd) {
            place = &w->watches[i];
            break;
        }
        if (w->watches[i].events == 0) {
            place = &w->watches[i];
        }
    }
    assert(place != NULL);
    *place = (struct watch){ .fd = fd, .events = events, .fn = fn, .device = device };
    return 0;
}

static void on_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    (void)ctx;
    (void)level;
    (void)device;
    (void)text;
}

static void on_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    (void)kind;
    (void)status;
}

static void on_closed(void *ctx)
{
    const struct world *w = ctx;

    virtio_vsock_hang_up(w->vsock);
}

static bool loop_once(struct world *w)
{
    struct watch watches[WATCHES];
    struct pollfd fds[WATCHES];

    memcpy(watches, w->watches, sizeof(watches));
    for (unsigned i = 0; i < WATCHES; i++) {
        fds[i] = (struct pollfd){ .fd = watches[i].events != 0 ? watches[i].fd : -1,
                                  .events = (short)watches[i].events };
    }
    if (poll(fds, WATCHES, 0) <= 0) {
        return false;
    }
    for (unsigned i = 0; i < WATCHES; i++) {
        /* Still watched: an earlier call may have closed it. */
        if (fds[i].revents != 0 && w->watches[i].events != 0 && w->watches[i].fd == fds[i].fd) {
            watches[i].fn(watches[i].device, fds[i].fd, (uint16_t)fds[i].revents);
        }
    }
    return true;
}

static void settle(struct world *w)
{
    uint8_t answers[512];
    unsigned rounds = 0;

    while (loop_once(w)) {
        rounds++;
        assert(rounds < ROUNDS_MAX);
    }
    while (recv(w->front, answers, sizeof(answers), MSG_DONTWAIT) > 0) {
    }
}

static void post(struct world *w, uint32_t request, uint32_t flags, const void *payload,
                 uint32_t size, int fd)
{
    const struct vhost_user_header header = { request, flags, size };
    uint8_t bytes[sizeof(header) + MESSAGE_MAX];
    struct iovec iov = { bytes, sizeof(header) + size };

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
                              .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS } };

    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    assert(size <= MESSAGE_MAX);
    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + sizeof(header), payload, size);
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    (void)sendmsg(w->front, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    settle(w);
}

static void set_up(struct world *w)
{
    const uint64_t features = UINT64_C(1) << 32;
    const struct vhost_user_regions regions = {
        .count = 1, .items = { { .size = RAM_SIZE, .user_addr = USER_ADDR } }
    };

    post(w, VHOST_USER_SET_FEATURES, 1, &features, 8, -1);
    post(w, VHOST_USER_SET_MEM_TABLE, 1, &regions, 40, w->memory_fd);
    for (uint32_t i = 0; i < 2; i++) {
        const struct vhost_user_ring_state size = { i, 16 };
        const uint64_t at = USER_ADDR + i * UINT64_C(0x1000);
        const struct vhost_user_ring_addresses addresses = {
            .index = i, .desc = at, .avail = at + 0x400, .used = at + 0x800
        };
        const uint64_t word = i;

        post(w, VHOST_USER_SET_VRING_NUM, 1, &size, sizeof(size), -1);
        post(w, VHOST_USER_SET_VRING_ADDR, 1, &addresses, sizeof(addresses), -1);
        post(w, VHOST_USER_SET_VRING_CALL, 1, &word, sizeof(word), w->event_fd);
        post(w, VHOST_USER_SET_VRING_KICK, 1, &word, sizeof(word), w->event_fd);
    }
}

static void step(struct world *w, const uint8_t *bytes, size_t size)
{
    const int fds[] = { -1, w->event_fd, w->memory_fd, -1 };
    const size_t at = ((size_t)bytes[1] << 4 | (size_t)bytes[2] << 12) % (RAM_SIZE - MESSAGE_MAX);

    if (bytes[0] < 128) { /* the guest */
        memcpy(w->ram + at, bytes + 4, size - 4);
        (void)eventfd_write(w->event_fd, 1);
        settle(w);
        return;
    }
    post(w, bytes[0] - 128u, bytes[1] % 16, bytes + 4, (uint32_t)(size - 4), fds[bytes[2] % 4]);
}

static bool world_create(struct world *w)
{
    struct virtio_vsock_setup setup = { .guest_cid = 3, .listen_fd = -1 };
    int ends[2];

    memset(w, 0, sizeof(*w));
    w->host =
        (struct device_host){ .ctx = w, .watch = on_watch, .log = on_log, .machine_end = on_end };
    w->memory_fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    w->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ftruncate(w->memory_fd, (off_t)RAM_SIZE) < 0 ||
        fcntl(w->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        return false;
    }
    w->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->memory_fd, 0);
    w->front = ends[0];
    if (vhost_user_create(
            &(struct vhost_user_setup){
                .host = &w->host, .socket = ends[1], .closed = on_closed, .ctx = w },
            &w->server) < 0) {
        return false;
    }
    setup.host = vhost_user_host(w->server);
    return w->ram != MAP_FAILED && virtio_vsock_create(&setup, &w->vsock) == 0 &&
           vhost_user_serve(w->server, virtio_vsock_device(w->vsock)) == 0;
}

static void world_destroy(struct world *w)
{
    virtio_vsock_destroy(w->vsock);
    vhost_user_destroy(w->server);
    (void)munmap(w->ram, RAM_SIZE);
    (void)close(w->front);
    (void)close(w->memory_fd);
    (void)close(w->event_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;

    if (size == 0) {
        return 0;
    }
    if (!world_create(&w)) {
        abort();
    }
    if ((data[0] & 1) != 0) {
        set_up(&w);
    }
    data++;
    size--;
    while (size > 4) {
        const size_t n = min_of(size, (size_t)4 + data[3] % (MESSAGE_MAX + 1));

        step(&w, data, n);
        data += n;
        size -= n;
    }
    world_destroy(&w);
    return 0;
}
