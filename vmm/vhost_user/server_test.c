/* SPDX-License-Identifier: Apache-2.0 */
/* A front end that does as QEMU does, and ones that do not. */

#include "devices/test_driver.h"

#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/virtio_vsock.h"
#include "vhost_user/message.h"
#include "vhost_user/server.h"

#define RAM_SIZE  (UINT64_C(1) << 20)
#define USER_ADDR UINT64_C(0x7f0000000000)
#define RING_SIZE 16u
#define BUFFER_AT 0x20000u
#define FEATURES  ((UINT64_C(1) << 32) | (UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES))

struct world {
    struct test_machine *m;
    struct vhost_user_server *server;
    struct virtio_vsock *vsock;
    int front; /* our end */
    int memory_fd;
    uint8_t *ram;
    int host; /* the other end of a connection to the guest */
    int listen_fd;
    int kick[2];
    int call[2];
    unsigned closed_count;
};

static void on_closed(void *ctx)
{
    struct world *w = ctx;

    w->closed_count++;
}

static int sealed_memory(unsigned seals)
{
    int fd = memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)RAM_SIZE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static struct world *world_create(void)
{
    struct world *w = calloc(1, sizeof(*w));
    struct virtio_vsock_setup setup = { .guest_cid = 7 };
    int ends[2];

    w->m = aligned_alloc(4096, sizeof(*w->m));
    test_machine_init(w->m);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    w->front = ends[0];
    w->memory_fd = sealed_memory(F_SEAL_SHRINK);
    w->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->memory_fd, 0);
    /* A listening socket that has no name: autobound, abstract. */
    w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(w->listen_fd, &(struct sockaddr){ .sa_family = AF_UNIX }, sizeof(sa_family_t)), 0);
    assert_int_equal(listen(w->listen_fd, 4), 0);
    assert_int_equal(vhost_user_create(&(struct vhost_user_setup){ .host = &w->m->host,
                                                                   .socket = ends[1],
                                                                   .closed = on_closed,
                                                                   .ctx = w },
                                       &w->server),
                     0);
    setup.host = vhost_user_host(w->server);
    setup.listen_fd = w->listen_fd;
    assert_int_equal(virtio_vsock_create(&setup, &w->vsock), 0);
    assert_int_equal(vhost_user_serve(w->server, virtio_vsock_device(w->vsock)), 0);
    w->host = -1;
    for (unsigned i = 0; i < 2; i++) {
        w->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        w->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    return w;
}

static void world_destroy(struct world *w)
{
    virtio_vsock_destroy(w->vsock);
    vhost_user_destroy(w->server);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(w->kick[i]);
        (void)close(w->call[i]);
    }
    if (w->host >= 0) {
        (void)close(w->host);
    }
    (void)close(w->listen_fd);
    (void)close(w->memory_fd);
    (void)close(w->front);
    (void)munmap(w->ram, RAM_SIZE);
    free(w->m);
    free(w);
}

/* ---- The front end ---- */

static void settle(struct world *w)
{
    (void)test_loop_settle(w->m, 100);
}

static void post(struct world *w, uint32_t request, uint32_t flags, const void *payload,
                 uint32_t size, int fd)
{
    struct vhost_user_header header = { request, flags, size };
    struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)(uintptr_t)payload, size } };

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
                              .cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS } };

    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
    }
    (void)sendmsg(w->front, &msg, MSG_NOSIGNAL);
    settle(w);
}

static void tell(struct world *w, uint32_t request, const void *payload, uint32_t size, int fd)
{
    post(w, request, VHOST_USER_VERSION, payload, size, fd);
    assert_int_equal(w->closed_count, 0);
}

static void tell_word(struct world *w, uint32_t request, uint64_t word, int fd)
{
    tell(w, request, &word, sizeof(word), fd);
}

static void answer(struct world *w, uint32_t request, void *payload, uint32_t size)
{
    struct vhost_user_header header = { 0 };

    assert_int_equal(recv(w->front, &header, sizeof(header), MSG_DONTWAIT), sizeof(header));
    assert_int_equal(header.request, request);
    assert_int_equal(header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
    assert_int_equal(header.size, size);
    assert_int_equal(recv(w->front, payload, size, MSG_DONTWAIT), size);
}

static uint64_t ask_word(struct world *w, uint32_t request)
{
    uint64_t word = 0;

    tell(w, request, NULL, 0, -1);
    answer(w, request, &word, sizeof(word));
    return word;
}

static const struct vhost_user_regions whole = {
    .count = 1,
    .items = { { .gpa = 0, .size = RAM_SIZE, .user_addr = USER_ADDR } },
};

static void start_ring(struct world *w, uint32_t index, uint32_t base)
{
    const struct vhost_user_ring_state size = { index, RING_SIZE };
    const struct vhost_user_ring_state from = { index, base };
    const struct vhost_user_ring_state on = { index, 1 };
    const uint64_t at = USER_ADDR + UINT64_C(0x4000) * (index + 1);
    const struct vhost_user_ring_addresses addresses = {
        .index = index, .desc = at, .avail = at + 0x1000, .used = at + 0x2000
    };

    tell(w, VHOST_USER_SET_VRING_NUM, &size, sizeof(size), -1);
    tell(w, VHOST_USER_SET_VRING_BASE, &from, sizeof(from), -1);
    tell(w, VHOST_USER_SET_VRING_ADDR, &addresses, sizeof(addresses), -1);
    tell_word(w, VHOST_USER_SET_VRING_KICK, index, w->kick[index]);
    tell_word(w, VHOST_USER_SET_VRING_CALL, index, w->call[index]);
    tell(w, VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), -1);
}

static uint32_t stop_ring(struct world *w, uint32_t index)
{
    struct vhost_user_ring_state state = { index, 0 };

    tell(w, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), -1);
    answer(w, VHOST_USER_GET_VRING_BASE, &state, sizeof(state));
    assert_int_equal(state.index, index);
    return state.value;
}

static void configure(struct world *w)
{
    tell_word(w, VHOST_USER_SET_FEATURES, FEATURES, -1);
    tell_word(w, VHOST_USER_SET_PROTOCOL_FEATURES, 1u << VHOST_USER_PROTOCOL_F_REPLY_ACK, -1);
    tell(w, VHOST_USER_SET_MEM_TABLE, &whole, 8 + 32, w->memory_fd);
}

/* Buffers for `count` packets to the guest. */
static void post_buffers(struct world *w, uint16_t first, uint16_t count)
{
    struct vring_desc *desc = (void *)(w->ram + 0x4000);
    struct vring_avail *avail = (void *)(w->ram + 0x5000);

    for (uint16_t i = first; i < first + count; i++) {
        desc[i] = test_desc(BUFFER_AT + (uint64_t)i * 0x1000u, 0x1000, VRING_DESC_F_WRITE);
        avail->ring[i] = i;
    }
    avail->idx = (uint16_t)(first + count);
    assert_int_equal(eventfd_write(w->kick[0], 1), 0);
    settle(w);
}

static const struct virtio_vsock_hdr *packet(const struct world *w, unsigned index)
{
    return (const void *)(w->ram + BUFFER_AT + (size_t)index * 0x1000u);
}

static unsigned used_count(const struct world *w)
{
    return ((const struct vring_used *)(const void *)(w->ram + 0x6000))->idx;
}

static void call_guest(struct world *w)
{
    struct sockaddr_storage at;
    socklen_t size = sizeof(at);

    assert_int_equal(getsockname(w->listen_fd, (struct sockaddr *)&at, &size), 0);
    w->host = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(w->host, (struct sockaddr *)&at, size), 0);
    assert_int_equal(write(w->host, "CONNECT 9001\n", 13), 13);
    settle(w);
}

/* ---- Tests ---- */

static void a_proper_life(void **state)
{
    struct world *w = world_create();
    struct vhost_user_config config = { .size = 8 };
    eventfd_t count = 0;
    uint64_t word = 0;
    uint32_t base = 0;
    char byte = 0;

    (void)state;
    word = ask_word(w, VHOST_USER_GET_FEATURES);
    assert_int_equal(word & FEATURES, FEATURES);
    assert_int_equal(ask_word(w, VHOST_USER_GET_PROTOCOL_FEATURES), 0x209);
    assert_int_equal(ask_word(w, VHOST_USER_GET_QUEUE_NUM), 3);
    tell(w, VHOST_USER_GET_CONFIG, &config, 20, -1);
    answer(w, VHOST_USER_GET_CONFIG, &config, 20);
    assert_int_equal(config.bytes[0], 7); /* the guest's CID */
    tell(w, VHOST_USER_SET_OWNER, NULL, 0, -1);
    configure(w);
    post(w, VHOST_USER_SET_OWNER, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, NULL, 0, -1);
    answer(w, VHOST_USER_SET_OWNER, &word, sizeof(word));
    assert_int_equal(word, 0);
    start_ring(w, 0, 0);
    start_ring(w, 1, 0);
    post_buffers(w, 0, 4);
    (void)eventfd_read(w->call[0], &count);
    call_guest(w);
    assert_int_equal(used_count(w), 1);
    assert_int_equal(packet(w, 0)->op, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(packet(w, 0)->dst_port, 9001);
    assert_int_equal(eventfd_read(w->call[0], &count), 0);

    /* A pause: stopped, and started where it stood. The connection is the same. */
    base = stop_ring(w, 0);
    assert_int_equal(base, 1);
    assert_int_equal(stop_ring(w, 1), 0);
    start_ring(w, 0, base);
    start_ring(w, 1, 0);
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 1);
    assert_int_equal(read(w->host, &byte, 1), -1);

    /* A new driver: from the beginning. The connection was the old one's. */
    (void)stop_ring(w, 0);
    (void)stop_ring(w, 1);
    start_ring(w, 0, 0);
    settle(w);
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 0);
    assert_int_equal(read(w->host, &byte, 1), 0);
    (void)shutdown(w->front, SHUT_WR);
    settle(w);
    assert_int_equal(w->closed_count, 1);
    assert_int_equal(w->m->error_count, 0);
    world_destroy(w);
}

static void refused_messages(void **state)
{
    static const struct {
        const char *name;
        uint32_t request;
        uint32_t flags;
        uint32_t size;
        uint64_t words[6];

        enum {
            NO_FD,
            EVENT_FD,
            MEMORY_FD,
            LOOSE_FD
        } fd;
    } cases[] = {
        { "no request", 0, 1, 0, { 0 }, NO_FD },
        { "an unknown request", 200, 1, 0, { 0 }, NO_FD },
        { "a dirty log", 6, 1, 16, { 0 }, MEMORY_FD },
        { "another version", VHOST_USER_SET_OWNER, 2, 0, { 0 }, NO_FD },
        { "an answer", VHOST_USER_SET_OWNER, 5, 0, { 0 }, NO_FD },
        { "a payload too long", VHOST_USER_SET_OWNER, 1, 8, { 0 }, NO_FD },
        { "a payload without end", VHOST_USER_SET_MEM_TABLE, 1, 0x7fffffff, { 0 }, NO_FD },
        { "a descriptor too many", VHOST_USER_SET_OWNER, 1, 0, { 0 }, EVENT_FD },
        { "features not offered", VHOST_USER_SET_FEATURES, 1, 8, { UINT64_C(1) << 26 }, NO_FD },
        { "no such ring", VHOST_USER_SET_VRING_NUM, 1, 8, { 3 }, NO_FD },
        { "a ring too large", VHOST_USER_SET_VRING_NUM, 1, 8, { UINT64_C(1) << 48 }, NO_FD },
        { "a kick for no ring", VHOST_USER_SET_VRING_KICK, 1, 8, { 9 }, EVENT_FD },
        { "a kick without descriptor", VHOST_USER_SET_VRING_KICK, 1, 8, { 0 }, NO_FD },
        { "a kick by polling", VHOST_USER_SET_VRING_KICK, 1, 8, { 0x100 }, NO_FD },
        { "a kick by a file", VHOST_USER_SET_VRING_KICK, 1, 8, { 0 }, MEMORY_FD },
        { "a call to a file", VHOST_USER_SET_VRING_CALL, 1, 8, { 0 }, MEMORY_FD },
        { "configuration beyond its end",
          VHOST_USER_GET_CONFIG,
          1,
          20,
          { UINT64_C(8) << 32 | 4 },
          NO_FD },
        { "configuration too long", VHOST_USER_GET_CONFIG, 1, 20, { UINT64_C(900) << 32 }, NO_FD },
        { "more regions than it says",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 2, 0, RAM_SIZE, 0, 0 },
          MEMORY_FD },
        { "regions without number", VHOST_USER_SET_MEM_TABLE, 1, 8, { 0xffffffff }, NO_FD },
        { "a region without descriptor",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, 0, RAM_SIZE, 0, 0 },
          NO_FD },
        { "a region beyond its file",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, 0, RAM_SIZE + 4096, 0, 0 },
          MEMORY_FD },
        { "a region behind its file",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, 0, 4096, 0, UINT64_MAX - 4095 },
          MEMORY_FD },
        { "a region past the end of addresses",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, UINT64_MAX - 4095, 8192, 0, 0 },
          MEMORY_FD },
        { "an empty region", VHOST_USER_SET_MEM_TABLE, 1, 40, { 1, 0, 0, 0, 0 }, MEMORY_FD },
        { "a region of no whole pages",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, 0, 100, 0, 0 },
          MEMORY_FD },
        { "memory that can shrink",
          VHOST_USER_SET_MEM_TABLE,
          1,
          40,
          { 1, 0, RAM_SIZE, 0, 0 },
          LOOSE_FD },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct world *w = world_create();
        int loose = sealed_memory(F_SEAL_GROW);
        const int fds[] = { -1, w->kick[0], w->memory_fd, loose };
        uint32_t size = cases[i].size > sizeof(cases[i].words) ? 0 : cases[i].size;

        if (size == cases[i].size) {
            post(w, cases[i].request, cases[i].flags, cases[i].words, size, fds[cases[i].fd]);
        } else { /* the header alone is refused */
            const uint32_t header[3] = { cases[i].request, cases[i].flags, cases[i].size };

            assert_int_equal(send(w->front, header, sizeof(header), 0), sizeof(header));
            settle(w);
        }
        if (w->closed_count != 1) {
            fail_msg("%s: not refused", cases[i].name);
        }
        (void)close(loose);
        world_destroy(w);
    }
}

/* What the guest chose, a ring elsewhere than in memory, ends nobody's service. */
static void refused_ring(void **state)
{
    struct world *w = world_create();
    const struct vhost_user_ring_state size = { 0, RING_SIZE };
    const struct vhost_user_ring_state on = { 0, 1 };
    const struct vhost_user_ring_addresses nowhere = { .desc = 1, .avail = 2, .used = 3 };

    (void)state;
    configure(w);
    tell(w, VHOST_USER_SET_VRING_NUM, &size, sizeof(size), -1);
    tell(w, VHOST_USER_SET_VRING_ADDR, &nowhere, sizeof(nowhere), -1);
    tell_word(w, VHOST_USER_SET_VRING_KICK, 0, w->kick[0]);
    tell(w, VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), -1);
    assert_int_equal(w->m->warn_count, 1);
    assert_int_equal(stop_ring(w, 0), 0);
    start_ring(w, 0, 0);
    post_buffers(w, 0, 2);
    call_guest(w);
    assert_int_equal(used_count(w), 1);
    world_destroy(w);
}

/* A message in pieces is one message. */
static void a_slow_front_end(void **state)
{
    struct world *w = world_create();
    const uint32_t words[] = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8, 0, 1 };
    const char *bytes = (const char *)words;
    uint64_t features = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(words); i++) {
        assert_int_equal(send(w->front, bytes + i, 1, 0), 1);
        settle(w);
    }
    assert_int_equal(w->closed_count, 0);
    features = ask_word(w, VHOST_USER_GET_FEATURES);
    assert_true((features >> 32 & 1) != 0);
    world_destroy(w);
}

/* Whatever comes, in whatever order: it ends or goes on, and nothing leaks. */
static void any_front_end(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (unsigned run = 0; run < 300; run++) {
        struct world *w = world_create();

        if (run % 2 == 0) {
            configure(w);
            start_ring(w, 0, 0);
        }
        for (unsigned i = 0; i < 40 && w->closed_count == 0; i++) {
            uint64_t words[8];
            unsigned choice = (seed = seed * 1103515245u + 12345u) >> 16;
            const uint32_t size = choice % 7 == 0 ? 40 : choice % 3 == 0 ? 0 : 8;
            const int fds[] = { -1, w->kick[choice / 64 % 2], w->memory_fd, -1 };

            for (unsigned k = 0; k < array_size(words); k++) {
                seed = seed * 1103515245u + 12345u;
                words[k] = seed >> 16 & (seed % 2 == 0 ? 3 : 0x3000);
            }
            post(w, choice / 8 % VHOST_USER_REQUESTS, 1, words, size, fds[choice % 4]);
        }
        world_destroy(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_proper_life), cmocka_unit_test(refused_messages),
        cmocka_unit_test(refused_ring),  cmocka_unit_test(a_slow_front_end),
        cmocka_unit_test(any_front_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
