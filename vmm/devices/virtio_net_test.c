/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames in both directions, with every shape of buffers; limits; a hostile driver. A pair of
 * datagram sockets stands for the tap: each message is one frame behind its header.
 */
#include "test_driver.h"

#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "abi/snapshot.h"
#include "virtio_net.h"

#define F(bit)    (UINT64_C(1) << (bit))
#define F_BASE    F(VIRTIO_F_VERSION_1)
#define F_MERGE   (F_BASE | F(VIRTIO_NET_F_MRG_RXBUF))
#define HEADER    VIRTIO_NET_HEADER_SIZE
#define FRAME_MAX (HEADER + VIRTIO_NET_FRAME_MAX)
#define WAIT_MS   20000
#define RX_GPA    (TEST_DATA_GPA + 0x40000u) /* a quarter of the RAM behind it */

struct fixture {
    struct test_machine m;
    struct test_driver d;
    struct test_queue rx;
    struct test_queue tx;
    struct virtio_net *net;
    int fd; /* the device's end */
    int tap;
    uint8_t frame[FRAME_MAX + 100];
};

static struct virtio_net_setup default_setup(void)
{
    return (struct virtio_net_setup){ .irq = TEST_IRQ, .mac = { 2, 0, 0, 0, 0, 1 } };
}

static struct fixture *create(struct virtio_net_setup setup)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));
    int fds[2];

    assert_non_null(f);
    test_machine_init(&f->m);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    f->fd = fds[0];
    f->tap = fds[1];
    setup.host = &f->m.host;
    setup.fd = fds[0];
    assert_int_equal(virtio_net_create(&setup, &f->net), 0);
    test_driver_attach(&f->d, &f->m, virtio_net_device(f->net));
    return f;
}

static void go(struct fixture *f, uint64_t features)
{
    test_negotiate(&f->d, features);
    test_queue_init(&f->d, &f->rx, 0);
    test_queue_init(&f->d, &f->tx, 1);
    test_driver_ok(&f->d);
    (void)test_loop_settle(&f->m, 8);
}

static struct fixture *start(uint64_t features)
{
    struct fixture *f = create(default_setup());

    go(f, features);
    return f;
}

static void stop(struct fixture *f)
{
    virtio_net_destroy(f->net);
    assert_int_equal(test_watch_count(&f->m), 0);
    (void)close(f->fd);
    (void)close(f->tap);
    free(f);
}

static void settle(struct fixture *f)
{
    (void)test_loop_settle(&f->m, 300);
}

static struct drupe_net_stats stats(struct fixture *f)
{
    struct drupe_net_stats s;

    virtio_net_stats(f->net, &s);
    return s;
}

/* A frame of so many bytes, header excluded, with a pattern. */
static void make_frame(struct fixture *f, size_t size)
{
    memset(f->frame, 0, HEADER);
    for (size_t i = 0; i < size; i++) {
        f->frame[HEADER + i] = (uint8_t)(i * 31 + size);
    }
}

static void from_tap(struct fixture *f, size_t size)
{
    make_frame(f, size);
    assert_int_equal(write(f->tap, f->frame, HEADER + size), HEADER + size);
}

static void tells_its_configuration(void **state)
{
    struct virtio_net_setup setup = default_setup();
    struct fixture *f = NULL;

    (void)state;
    f = create(setup);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_NET);
    assert_int_equal(test_offered(&f->d) & F(VIRTIO_NET_F_MTU), 0);
    assert_true((test_offered(&f->d) & F(VIRTIO_NET_F_MAC)) != 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 2);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 1u << 8 | 1u << 16);
    stop(f);
    setup.mtu = 1400;
    f = create(setup);
    assert_true((test_offered(&f->d) & F(VIRTIO_NET_F_MTU)) != 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 8), 1u | 1400u << 16);
    stop(f);
}

/* A frame lands in the buffers in order, and the header says how many they are. */
static void receives(void **state)
{
    static const struct {
        uint64_t features;
        uint32_t buffer_size;
        unsigned buffers;
        size_t frame_size;
        unsigned used; /* 0: it is dropped */
    } cases[] = {
        { F_BASE, 2048, 1, 60, 1 },
        { F_BASE, HEADER + 1514, 1, 1514, 1 },
        { F_BASE, HEADER + 1513, 3, 1514, 0 },
        { F_MERGE, 2048, 1, 1514, 1 },
        { F_MERGE, HEADER, 6, 60, 6 },
        { F_MERGE, HEADER - 1, 20, 60, 0 },
        { F_MERGE, 1024, 10, 9000, 9 },
        { F_MERGE, 4096, 40, VIRTIO_NET_FRAME_MAX, 17 },
        { F_MERGE, 512, 128, VIRTIO_NET_FRAME_MAX, 0 },
        { F_MERGE | F(VIRTIO_RING_F_EVENT_IDX), 1024, 3, 2000, 2 },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct fixture *f = start(cases[i].features);
        struct vring_used_elem used = { 0 };
        const size_t stride = align_up((size_t)cases[i].buffer_size, 0x100u);
        size_t done = 0;

        for (unsigned b = 0; b < cases[i].buffers; b++) {
            (void)test_post(&f->rx, RX_GPA + b * stride, cases[i].buffer_size, VRING_DESC_F_WRITE);
        }
        test_kick(&f->d, &f->rx);
        from_tap(f, cases[i].frame_size);
        settle(f);
        f->frame[10] = (uint8_t)cases[i].used;
        for (unsigned b = 0; b < cases[i].used; b++) {
            assert_true(test_used(&f->rx, &used));
            assert_int_equal(used.id, b);
            assert_memory_equal(f->m.ram + RX_GPA + b * stride, f->frame + done, used.len);
            done += used.len;
        }
        assert_int_equal(done, cases[i].used == 0 ? 0 : HEADER + cases[i].frame_size);
        assert_false(test_used(&f->rx, &used));
        assert_false(test_needs_reset(&f->d));
        assert_int_equal(stats(f).rx_fails, cases[i].used == 0);
        assert_int_equal(stats(f).rx_bytes, cases[i].used == 0 ? 0 : cases[i].frame_size);
        stop(f);
    }
}

/* Without buffers nothing is lost, and the tap is not looked at again and again. */
static void waits_for_buffers(void **state)
{
    struct fixture *f = start(F_MERGE);
    struct vring_used_elem used = { 0 };

    (void)state;
    from_tap(f, 1000);
    from_tap(f, 500);
    settle(f);
    assert_false(test_loop_run(&f->m, 0));
    assert_int_equal(stats(f).no_rx_avail_buffer, 1);
    (void)test_post(&f->rx, RX_GPA, 600, VRING_DESC_F_WRITE); /* not yet enough */
    test_kick(&f->d, &f->rx);
    settle(f);
    assert_false(test_used(&f->rx, &used));
    (void)test_post(&f->rx, RX_GPA + 0x1000, 600, VRING_DESC_F_WRITE);
    (void)test_post(&f->rx, RX_GPA + 0x2000, 600, VRING_DESC_F_WRITE);
    test_kick(&f->d, &f->rx);
    settle(f);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(test_used(&f->rx, &used));
    }
    assert_int_equal(used.len, HEADER + 500);
    assert_int_equal(stats(f).rx_packets, 2);
    stop(f);
}

static void sends(void **state)
{
    static const struct {
        uint64_t features;
        struct virtio_net_hdr_v1 header;
        size_t size;  /* of the frame */
        size_t split; /* where the second segment begins, header included */
        bool is_sent;
        uint8_t flags; /* as the tap sees them */
    } cases[] = {
        { F_BASE, { 0 }, 60, 12, true, 0 },
        { F_BASE, { 0 }, 1514, 5, true, 0 },
        { F_BASE, { .num_buffers = 9, .csum_start = 7, .flags = 0xfe }, 100, 50, true, 0 },
        { F_BASE, { 0 }, ETH_HLEN - 1, 12, false, 0 },
        { F_BASE, { 0 }, VIRTIO_NET_FRAME_MAX, 12, true, 0 },
        { F_BASE, { 0 }, VIRTIO_NET_FRAME_MAX + 1, 12, false, 0 },
        { F_BASE, { .flags = 1, .csum_start = 34 }, 100, 12, false, 0 },
        { F_BASE | F(VIRTIO_NET_F_CSUM), { .flags = 1, .csum_start = 34 }, 100, 12, true, 1 },
        { F_BASE, { .gso_type = 1 }, 100, 12, false, 0 },
        { F_BASE | F(VIRTIO_NET_F_HOST_TSO4), { .gso_type = 1 }, 100, 12, true, 0 },
        { F_BASE | F(VIRTIO_NET_F_HOST_TSO4), { .gso_type = 4 }, 100, 12, false, 0 },
        { F_BASE | F(VIRTIO_NET_F_HOST_TSO4), { .gso_type = 0x81 }, 100, 12, false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct fixture *f = start(cases[i].features);
        const size_t total = HEADER + cases[i].size;
        uint8_t *got = malloc(FRAME_MAX + 100);
        struct vring_used_elem used = { 0 };
        const struct vring_desc descs[] = {
            test_desc(RX_GPA, (uint32_t)cases[i].split, 0),
            test_desc(RX_GPA + cases[i].split, (uint32_t)(total - cases[i].split), 0),
        };

        assert_non_null(got);
        make_frame(f, cases[i].size);
        memcpy(f->m.ram + RX_GPA, f->frame, total);
        memcpy(f->m.ram + RX_GPA, &cases[i].header, HEADER);
        (void)test_chain(&f->tx, descs, 2);
        test_kick(&f->d, &f->tx);
        settle(f);
        assert_true(test_used(&f->tx, &used));
        assert_int_equal(used.len, 0);
        if (cases[i].is_sent) {
            assert_int_equal(read(f->tap, got, FRAME_MAX + 100), total);
            assert_memory_equal(got + HEADER, f->frame + HEADER, cases[i].size);
            assert_int_equal(got[0], cases[i].flags);
            assert_int_equal(got[10], 0);
            assert_int_equal(stats(f).tx_packets, 1);
        } else {
            assert_int_equal(read(f->tap, got, FRAME_MAX + 100), -1);
            assert_int_equal(stats(f).tx_malformed_frames, 1);
        }
        assert_false(test_needs_reset(&f->d));
        free(got);
        stop(f);
    }
}

/* Writable, empty and endless chains: refused frame by frame, or the queue stops. */
static void survives_hostile_rings(void **state)
{
    struct fixture *f = start(F_MERGE);
    struct vring_used_elem used = { 0 };

    (void)state;
    (void)test_post(&f->tx, RX_GPA, 100, VRING_DESC_F_WRITE);
    (void)test_post(&f->tx, RX_GPA, 3, 0);
    test_kick(&f->d, &f->tx);
    settle(f);
    assert_true(test_used(&f->tx, &used));
    assert_true(test_used(&f->tx, &used));
    assert_int_equal(stats(f).tx_malformed_frames, 2);

    (void)test_post(&f->rx, RX_GPA, 100, 0); /* readable where the device writes */
    test_kick(&f->d, &f->rx);
    from_tap(f, 60);
    settle(f);
    assert_false(test_used(&f->rx, &used));
    assert_int_equal(stats(f).rx_fails, 1);

    f->rx.desc[5] = test_desc(RX_GPA, 100, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
    f->rx.desc[5].next = 5;
    stop(f);

    f = start(F_MERGE);
    f->tx.desc[5] = test_desc(RX_GPA, 100, VRING_DESC_F_NEXT);
    f->tx.desc[5].next = 5;
    test_avail_head(&f->tx, 5);
    test_kick(&f->d, &f->tx);
    settle(f);
    assert_true(test_needs_reset(&f->d));
    from_tap(f, 60); /* nothing touches the guest any more */
    settle(f);
    assert_false(test_loop_run(&f->m, 0));
    stop(f);
}

/* Two frames pass at once, the others with time; a reset in between forgets them. */
static void keeps_to_limits(void **state)
{
    struct virtio_net_setup setup = default_setup();
    struct fixture *f = NULL;
    struct vring_used_elem used = { 0 };
    unsigned count = 0;

    (void)state;
    setup.rx_limit.ops = (struct drupe_token_bucket){ .size = 2, .refill_ms = 200 };
    setup.tx_limit.bandwidth = (struct drupe_token_bucket){ .size = 2000, .refill_ms = 200 };
    f = create(setup);
    go(f, F_MERGE);
    for (unsigned i = 0; i < 4; i++) {
        (void)test_post(&f->rx, RX_GPA + i * 0x1000u, 2048, VRING_DESC_F_WRITE);
        (void)test_post(&f->tx, RX_GPA + 0x10000, HEADER + 1000, 0);
        from_tap(f, 100);
    }
    test_kick(&f->d, &f->rx);
    test_kick(&f->d, &f->tx);
    settle(f);
    assert_int_equal(stats(f).rx_packets, 2);
    assert_int_equal(stats(f).tx_packets, 2);
    assert_int_equal(stats(f).rx_rate_limiter_throttled, 1);
    assert_int_equal(stats(f).tx_rate_limiter_throttled, 1);
    while (stats(f).rx_packets < 4 || stats(f).tx_packets < 4) {
        assert_true(test_loop_run(&f->m, WAIT_MS));
    }
    while (test_used(&f->rx, &used)) {
        count++;
    }
    assert_int_equal(count, 4);
    assert_true(stats(f).rx_rate_limiter_event_count > 0);
    assert_true(stats(f).tx_rate_limiter_event_count > 0);

    from_tap(f, 100);
    from_tap(f, 100);
    from_tap(f, 100);
    settle(f);
    virtio_net_update(f->net, &(struct drupe_rate_limit){ 0 }, &(struct drupe_rate_limit){ 0 });
    for (unsigned i = 0; i < 3; i++) {
        (void)test_post(&f->rx, RX_GPA + i * 0x1000u, 2048, VRING_DESC_F_WRITE);
    }
    test_kick(&f->d, &f->rx);
    settle(f);
    assert_int_equal(stats(f).rx_packets, 7);
    reg_write(&f->d, VIRTIO_MMIO_STATUS, 0);
    from_tap(f, 100);
    assert_false(test_loop_run(&f->m, 0));
    stop(f);
}

/* A descriptor that can no longer be read: the link goes down, and nothing turns in circles. */
static void loses_its_tap(void **state)
{
    struct fixture *f = start(F_MERGE | F(VIRTIO_NET_F_STATUS));
    int nothing = open("/", O_PATH | O_CLOEXEC);

    (void)state;
    assert_true(nothing >= 0);
    (void)test_post(&f->rx, RX_GPA, 2048, VRING_DESC_F_WRITE);
    assert_int_equal(dup2(nothing, f->fd), f->fd);
    (void)close(nothing);
    test_kick(&f->d, &f->rx);
    settle(f);
    assert_int_equal(f->m.error_count, 1);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 1u << 8);
    assert_true((reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG) != 0);
    assert_int_equal(stats(f).tap_read_fails, 1);
    (void)test_post(&f->tx, RX_GPA, 100, 0);
    test_kick(&f->d, &f->tx);
    settle(f);
    assert_int_equal(stats(f).tap_write_fails, 1);
    assert_false(test_loop_run(&f->m, 0));
    stop(f);
}

static void survives_a_snapshot(void **state)
{
    struct fixture *f = start(F_MERGE);
    struct virtio_net_setup setup = default_setup();
    const struct virtio_device_ops *ops = virtio_net_device(f->net)->setup.ops;
    struct snapshot_net saved = { 0 };
    struct snapshot_net other;
    const char *why = NULL;

    (void)state;
    assert_int_equal(ops->save(virtio_net_device(f->net), &saved), sizeof(saved));
    stop(f);
    setup.mac[5] = 9;
    f = create(setup);
    other = saved;
    other.mtu = 1000;
    assert_int_equal(ops->load(virtio_net_device(f->net), 1, &other, sizeof(other), &why), -EINVAL);
    assert_non_null(why);
    assert_int_equal(ops->load(virtio_net_device(f->net), 2, &saved, sizeof(saved), &why), -EINVAL);
    assert_int_equal(ops->load(virtio_net_device(f->net), 1, &saved, sizeof(saved) - 1, &why),
                     -EINVAL);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 9u << 8 | 1u << 16);
    assert_int_equal(ops->load(virtio_net_device(f->net), 1, &saved, sizeof(saved), &why), 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 1u << 8 | 1u << 16);
    stop(f);
    setup.is_mac_kept = true;
    f = create(setup);
    assert_int_equal(ops->load(virtio_net_device(f->net), 1, &saved, sizeof(saved), &why), 0);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 9u << 8 | 1u << 16);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_its_configuration), cmocka_unit_test(receives),
        cmocka_unit_test(waits_for_buffers),       cmocka_unit_test(sends),
        cmocka_unit_test(survives_hostile_rings),  cmocka_unit_test(keeps_to_limits),
        cmocka_unit_test(loses_its_tap),           cmocka_unit_test(survives_a_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
