/* SPDX-License-Identifier: Apache-2.0 */
/* Streams both ways, their ends, credit, and guests that lie. */

#include "test_driver.h"

#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "virtio_vsock.h"

#define F_VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define GUEST_CID   7u
#define GUEST_PORT  9001u
#define RX_AT       TEST_DATA_GPA
#define RX_SIZE     0x1000u
#define RX_COUNT    16u
#define TX_AT       (TEST_DATA_GPA + 0x20000u)
#define EVENT_AT    (TEST_DATA_GPA + 0x60000u)
#define HEADER      ((uint32_t)sizeof(struct virtio_vsock_hdr))

struct world {
    struct test_machine *m;
    struct virtio_vsock *vsock;
    struct test_driver d;
    struct test_queue rx, tx, event;
    int listen_fd;
    char path[64];
    unsigned rx_posted;
    uint64_t tx_at;
};

static void listen_at(const char *path, int *fd)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(*fd, 16), 0);
}

static int connect_to(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void post_rx(struct world *w)
{
    (void)test_post(&w->rx, RX_AT + RX_SIZE * (w->rx_posted++ % RX_COUNT), RX_SIZE,
                    VRING_DESC_F_WRITE);
    test_kick(&w->d, &w->rx);
}

static void settle(struct world *w)
{
    (void)test_loop_settle(w->m, 100);
}

static void start(struct world *w)
{
    test_driver_attach(&w->d, w->m, virtio_vsock_device(w->vsock));
    assert_int_equal(reg_read(&w->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_VSOCK);
    assert_int_equal(reg_read(&w->d, VIRTIO_MMIO_CONFIG), GUEST_CID);
    test_negotiate(&w->d, F_VERSION_1);
    test_queue_init(&w->d, &w->rx, 0);
    test_queue_init(&w->d, &w->tx, 1);
    test_queue_init(&w->d, &w->event, 2);
    test_driver_ok(&w->d);
    w->rx_posted = 0;
    for (unsigned i = 0; i < RX_COUNT; i++) {
        post_rx(w);
    }
    (void)test_post(&w->event, EVENT_AT, 4, VRING_DESC_F_WRITE);
    test_kick(&w->d, &w->event);
    settle(w);
}

static int set_up(void **state)
{
    static unsigned number;
    struct world *w = calloc(1, sizeof(*w));
    struct virtio_vsock_setup setup = { .irq = TEST_IRQ, .guest_cid = GUEST_CID, .broker_fd = -1 };

    assert_non_null(w);
    w->m = aligned_alloc(4096, align_up(sizeof(*w->m), 4096u));
    assert_non_null(w->m);
    test_machine_init(w->m);
    (void)snprintf(w->path, sizeof(w->path), "/tmp/drupe-vsock-%d-%u", (int)getpid(), number++);
    listen_at(w->path, &w->listen_fd);
    setup.host = &w->m->host;
    setup.listen_fd = w->listen_fd;
    setup.path = w->path;
    assert_int_equal(virtio_vsock_create(&setup, &w->vsock), 0);
    w->tx_at = TX_AT;
    start(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    virtio_vsock_destroy(w->vsock);
    assert_int_equal(test_watch_count(w->m), 0);
    (void)close(w->listen_fd);
    (void)unlink(w->path);
    free(w->m);
    free(w);
    return 0;
}

/* The next packet to the guest; its data is at *data. False: none. */
static bool next_packet(struct world *w, struct virtio_vsock_hdr *h, const uint8_t **data)
{
    struct vring_used_elem used;
    uint64_t at = 0;

    settle(w);
    if (!test_used(&w->rx, &used)) {
        return false;
    }
    at = w->rx.desc[used.id].addr;
    memcpy(h, w->m->ram + at, sizeof(*h));
    assert_int_equal(used.len, HEADER + h->len);
    assert_int_equal(h->src_cid, 2);
    assert_int_equal(h->dst_cid, GUEST_CID);
    *data = w->m->ram + at + HEADER;
    return true;
}

static struct virtio_vsock_hdr expect(struct world *w, unsigned op)
{
    struct virtio_vsock_hdr h = { 0 };
    const uint8_t *data = NULL;

    assert_true(next_packet(w, &h, &data));
    assert_int_equal(h.op, op);
    return h;
}

static void expect_nothing(struct world *w)
{
    struct virtio_vsock_hdr h;
    const uint8_t *data = NULL;

    assert_false(next_packet(w, &h, &data));
}

static void send_raw(struct world *w, const struct virtio_vsock_hdr *h, const void *data,
                     uint32_t size)
{
    memcpy(w->m->ram + w->tx_at, h, sizeof(*h));
    if (size > 0) {
        memcpy(w->m->ram + w->tx_at + HEADER, data, size);
    }
    (void)test_post(&w->tx, w->tx_at, HEADER + size, 0);
    w->tx_at = w->tx_at + align_up(HEADER + size, 16u);
    if (w->tx_at > TX_AT + 0x30000) {
        w->tx_at = TX_AT;
    }
    test_kick(&w->d, &w->tx);
    settle(w);
}

/* A packet of the connection that `of` came on. */
static void reply(struct world *w, const struct virtio_vsock_hdr *of, unsigned op, unsigned flags,
                  const void *data, uint32_t size)
{
    const struct virtio_vsock_hdr h = {
        .src_cid = GUEST_CID,
        .dst_cid = 2,
        .src_port = of->dst_port,
        .dst_port = of->src_port,
        .len = size,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = (uint16_t)op,
        .flags = flags,
        .buf_alloc = 1000,
    };

    send_raw(w, &h, data, size);
}

static bool is_closed(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

/* A host program that is connected to the guest. */
static int open_stream(struct world *w, struct virtio_vsock_hdr *h)
{
    char line[32];
    int fd = connect_to(w->path);

    assert_int_equal(write(fd, "CONNECT 9001\n", 13), 13);
    *h = expect(w, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(h->dst_port, GUEST_PORT);
    assert_int_equal(h->buf_alloc, VIRTIO_VSOCK_BUFFER_SIZE);
    reply(w, h, VIRTIO_VSOCK_OP_RESPONSE, 0, NULL, 0);
    assert_true(recv(fd, line, sizeof(line), 0) > 4);
    assert_memory_equal(line, "OK ", 3);
    return fd;
}

static void host_connects(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    struct virtio_vsock_hdr got = { 0 };
    const uint8_t *data = NULL;
    char text[16];
    int fd = open_stream(w, &h);

    assert_int_equal(write(fd, "hello", 5), 5);
    assert_true(next_packet(w, &got, &data));
    assert_int_equal(got.op, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(got.len, 5);
    assert_memory_equal(data, "hello", 5);
    reply(w, &h, VIRTIO_VSOCK_OP_RW, 0, "there", 5);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 5);
    assert_memory_equal(text, "there", 5);
    /* Half a close, then the rest. */
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    got = expect(w, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(got.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    reply(w, &h, VIRTIO_VSOCK_OP_RW, 0, "last", 4);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 4);
    (void)close(fd);
    got = expect(w, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(got.flags, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
    reply(w, &h, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 0);
}

static void guest_ends(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    int fd = open_stream(w, &h);
    char text[8];

    reply(w, &h, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
    reply(w, &h, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV,
          NULL, 0);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 1);
    assert_true(is_closed(fd));
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 0);
    (void)close(fd);
    fd = open_stream(w, &h);
    reply(w, &h, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
    assert_true(is_closed(fd));
    (void)close(fd);
}

static void greetings(void **state)
{
    static const struct {
        const char *line;
        bool is_taken;
    } cases[] = {
        { "CONNECT 0\n", true },
        { "CONNECT 4294967294\n", true },
        { "CONNECT 4294967295\n", false },
        { "CONNECT 4294967296\n", false },
        { "CONNECT \n", false },
        { "CONNECT -1\n", false },
        { "CONNECT 1 \n", false },
        { "CONNECT  1\n", false },
        { "connect 1\n", false },
        { "\n", false },
        { "CONNECT 00000000000000000000000000000001\n", false },
    };
    struct world *w = *state;

    for (size_t i = 0; i < array_size(cases); i++) {
        int fd = connect_to(w->path);

        assert_int_equal(write(fd, cases[i].line, strlen(cases[i].line)), strlen(cases[i].line));
        if (cases[i].is_taken) {
            const struct virtio_vsock_hdr h = expect(w, VIRTIO_VSOCK_OP_REQUEST);

            reply(w, &h, VIRTIO_VSOCK_OP_RST, 0, NULL, 0); /* nobody listens */
        } else {
            expect_nothing(w);
        }
        if (!is_closed(fd)) {
            assert_int_equal(errno, ECONNRESET); /* closed with the rest of the line unread */
        }
        (void)close(fd);
    }
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 0);
}

static void guest_connects(void **state)
{
    struct world *w = *state;
    const struct virtio_vsock_hdr from = { .src_port = 52, .dst_port = 1234 };
    const struct virtio_vsock_hdr to_none = { .src_port = 53, .dst_port = 1234 };
    struct virtio_vsock_hdr h;
    char path[96];
    char text[8];
    int listen_fd = -1;
    int fd = -1;

    reply(w, &to_none, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
    h = expect(w, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(h.src_port, 53);
    (void)snprintf(path, sizeof(path), "%s_52", w->path);
    listen_at(path, &listen_fd);
    reply(w, &from, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
    (void)expect(w, VIRTIO_VSOCK_OP_RESPONSE);
    fd = accept(listen_fd, NULL, NULL);
    assert_true(fd >= 0);
    reply(w, &from, VIRTIO_VSOCK_OP_RW, 0, "up", 2);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 2);
    /* The same ports once more. */
    reply(w, &from, VIRTIO_VSOCK_OP_REQUEST, 0, NULL, 0);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    assert_true(is_closed(fd));
    (void)close(fd);
    (void)close(listen_fd);
    (void)unlink(path);
}

static void keeps_credit(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    struct virtio_vsock_hdr got = { 0 };
    const uint8_t *data = NULL;
    static uint8_t bytes[4000];
    uint32_t sum = 0;
    int fd = open_stream(w, &h);

    /* The guest said that it can hold 1000 bytes. */
    assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    while (next_packet(w, &got, &data)) {
        sum += got.len;
    }
    assert_int_equal(sum, 1000);
    h.fwd_cnt = 0;
    {
        struct virtio_vsock_hdr more = { .src_cid = GUEST_CID,
                                         .dst_cid = 2,
                                         .src_port = h.dst_port,
                                         .dst_port = h.src_port,
                                         .type = 1,
                                         .op = VIRTIO_VSOCK_OP_CREDIT_UPDATE,
                                         .buf_alloc = 1000,
                                         .fwd_cnt = 600 };

        send_raw(w, &more, NULL, 0);
        sum = 0;
        while (next_packet(w, &got, &data)) {
            sum += got.len;
        }
        assert_int_equal(sum, 600);
        /* It lies: more used up than it got. */
        more.fwd_cnt = 4000000000u;
        send_raw(w, &more, NULL, 0);
        expect_nothing(w);
    }
    reply(w, &h, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, NULL, 0);
    (void)close(fd);
}

/* The host's program does not read: bytes are kept up to the limit, and no further. */
static void slow_host(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    static uint8_t bytes[4000];
    static uint8_t back[sizeof(bytes)];
    size_t sent = 0;
    size_t received = 0;
    bool is_reset = false;
    ssize_t n = 0;
    int fd = open_stream(w, &h);

    for (unsigned i = 0; i < 2000 && !is_reset; i++) {
        struct virtio_vsock_hdr got = { 0 };
        const uint8_t *data = NULL;

        memset(bytes, (int)i, sizeof(bytes));
        reply(w, &h, VIRTIO_VSOCK_OP_RW, 0, bytes, sizeof(bytes));
        sent += sizeof(bytes);
        while (next_packet(w, &got, &data)) {
            is_reset = is_reset || got.op == VIRTIO_VSOCK_OP_RST;
            post_rx(w);
        }
    }
    assert_true(is_reset); /* it sent on without credit */
    while ((n = recv(fd, back, sizeof(back), MSG_DONTWAIT)) > 0) {
        received += (size_t)n;
    }
    assert_true(received > 0 && received < sent);
    (void)close(fd);
}

static void resets(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    struct vring_used_elem used;
    uint32_t id = 1;
    int fd = open_stream(w, &h);
    int greeter = connect_to(w->path);

    settle(w);
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 2);
    virtio_vsock_set_cid(w->vsock, 9);
    virtio_vsock_reset(w->vsock);
    settle(w);
    assert_true(test_used(&w->event, &used));
    memcpy(&id, w->m->ram + EVENT_AT, 4);
    assert_int_equal(id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    assert_true(is_closed(fd));
    assert_true(is_closed(greeter));
    assert_int_equal(virtio_vsock_connection_count(w->vsock), 0);
    assert_int_equal(reg_read(&w->d, VIRTIO_MMIO_CONFIG), 9);
    /* No buffer for the next event: it comes with one. */
    virtio_vsock_reset(w->vsock);
    assert_false(test_used(&w->event, &used));
    (void)test_post(&w->event, EVENT_AT, 4, VRING_DESC_F_WRITE);
    test_kick(&w->d, &w->event);
    settle(w);
    assert_true(test_used(&w->event, &used));
    (void)close(fd);
    (void)close(greeter);
}

static void driver_resets(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    int fd = open_stream(w, &h);

    reg_write(&w->d, VIRTIO_MMIO_STATUS, 0);
    settle(w);
    assert_true(is_closed(fd));
    (void)close(fd);
    fd = connect_to(w->path); /* no driver: nobody listens */
    assert_int_equal(write(fd, "CONNECT 1\n", 10), 10);
    settle(w);
    assert_true(is_closed(fd));
    (void)close(fd);
    start(w);
    fd = open_stream(w, &h);
    virtio_vsock_hang_up(w->vsock);
    settle(w);
    assert_true(is_closed(fd));
    (void)close(fd);
}

static void hostile_packets(void **state)
{
    struct world *w = *state;
    struct virtio_vsock_hdr h;
    struct virtio_vsock_hdr bad;
    int fd = open_stream(w, &h);

    /* Of nobody's: answered by a reset, or not at all. */
    bad = (struct virtio_vsock_hdr){ .src_port = 5, .dst_port = 6 };
    reply(w, &bad, VIRTIO_VSOCK_OP_RW, 0, "x", 1);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    reply(w, &bad, VIRTIO_VSOCK_OP_RST, 0, NULL, 0);
    expect_nothing(w);
    bad = (struct virtio_vsock_hdr){ .src_cid = 99, .dst_cid = 2, .type = 1, .op = 1 };
    send_raw(w, &bad, NULL, 0);
    bad = (struct virtio_vsock_hdr){ .src_cid = GUEST_CID, .dst_cid = 5, .type = 1, .op = 1 };
    send_raw(w, &bad, NULL, 0);
    expect_nothing(w);
    bad = (struct virtio_vsock_hdr){ .src_cid = GUEST_CID, .dst_cid = 2, .type = 7, .op = 1 };
    send_raw(w, &bad, NULL, 0);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    /* A length that the packet does not have. */
    bad = (struct virtio_vsock_hdr){ .src_cid = GUEST_CID,
                                     .dst_cid = 2,
                                     .src_port = h.dst_port,
                                     .dst_port = h.src_port,
                                     .len = UINT32_MAX,
                                     .type = 1,
                                     .op = VIRTIO_VSOCK_OP_RW };
    send_raw(w, &bad, "x", 1);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    assert_true(is_closed(fd));
    (void)close(fd);
    fd = open_stream(w, &h);
    reply(w, &h, 4711, 0, NULL, 0);
    (void)expect(w, VIRTIO_VSOCK_OP_RST);
    (void)close(fd);
    /* More strays than are kept: no more answers than that. */
    for (unsigned i = 0; i < 40; i++) {
        bad = (struct virtio_vsock_hdr){ .src_port = 5, .dst_port = 600 + i };
        reply(w, &bad, VIRTIO_VSOCK_OP_RW, 0, NULL, 0);
    }
    assert_false(test_needs_reset(&w->d));
    /* No header at all. */
    (void)test_post(&w->tx, TX_AT, HEADER - 1, 0);
    test_kick(&w->d, &w->tx);
    settle(w);
    assert_true(test_needs_reset(&w->d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(host_connects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guest_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(greetings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(guest_connects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_credit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_host, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(driver_resets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_packets, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
