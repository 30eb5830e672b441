/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console between a driver in guest memory and pipes: both directions, their ends, their walls.
 */

#include "test_driver.h"

#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/bytes.h>

#include "virtio_console.h"

#define F_VERSION_1  (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define F_EVENT_IDX  (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define F_MULTIPORT  (UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT)
#define F_SIZE       (UINT64_C(1) << VIRTIO_CONSOLE_F_SIZE)
#define QUEUES       8
#define CONTROL_SIZE 64u
#define CONTROL_GPA  TEST_DATA_GPA
#define BUFFER_GPA   (TEST_DATA_GPA + 0x10000u)

enum queue_index {
    RX0,
    TX0,
    CONTROL_RX,
    CONTROL_TX,
    RX1,
    TX1,
    RX2,
    TX2
};

struct fixture {
    struct test_machine m;
    struct test_driver d;
    struct virtio_console *con;
    struct test_queue q[QUEUES];
    int in[2];  /* the test writes in[1] */
    int out[2]; /* the test reads out[0] */
    int tee;
};

static void make_pipe(int fds[2], int flags)
{
    assert_int_equal(pipe2(fds, O_CLOEXEC | flags), 0);
}

static void create(struct fixture *f, unsigned port, int in_fd, int out_fd)
{
    struct virtio_console_setup setup = {
        .host = &f->m.host,
        .irq = TEST_IRQ,
        .cols = 80,
        .rows = 25,
        .tee_fd = f->tee,
        .tee_bytes_max = 4,
    };

    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        setup.ports[i] = (struct virtio_console_port_setup){ false, -1, -1 };
    }
    setup.ports[port] = (struct virtio_console_port_setup){ true, in_fd, out_fd };
    assert_int_equal(virtio_console_create(&setup, &f->con), 0);
    test_driver_attach(&f->d, &f->m, virtio_console_device(f->con));
}

/* A device with `port` on pipes of the given flags, driven up to DRIVER_OK. */
static struct fixture *start(unsigned port, uint64_t features, int pipe_flags)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));

    assert_non_null(f);
    test_machine_init(&f->m);
    make_pipe(f->in, pipe_flags);
    make_pipe(f->out, pipe_flags);
    assert_int_equal(fcntl(f->out[0], F_SETFL, O_NONBLOCK), 0);
    f->tee = memfd_create("tee", MFD_CLOEXEC);
    assert_true(f->tee >= 0);
    create(f, port, f->in[0], f->out[1]);
    test_negotiate(&f->d, features);
    for (unsigned i = 0; i < QUEUES; i++) {
        test_queue_init(&f->d, &f->q[i], i);
    }
    test_driver_ok(&f->d);
    return f;
}

static void stop(struct fixture *f)
{
    virtio_console_destroy(f->con);
    assert_int_equal(test_watch_count(&f->m), 0);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(f->in[i]);
        (void)close(f->out[i]);
    }
    (void)close(f->tee);
    free(f);
}

static void post_control_buffers(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void)test_post(&f->q[CONTROL_RX], CONTROL_GPA + i * CONTROL_SIZE, CONTROL_SIZE,
                        VRING_DESC_F_WRITE);
    }
    test_kick(&f->d, &f->q[CONTROL_RX]);
}

static void send_control(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
    const struct virtio_console_control m = { id, event, value };
    const uint64_t at = CONTROL_GPA + 0x8000u + 8u * (f->q[CONTROL_TX].free_desc % 64u);
    struct vring_used_elem used = { 0 };

    memcpy(f->m.ram + at, &m, sizeof(m));
    (void)test_post(&f->q[CONTROL_TX], at, sizeof(m), 0);
    test_kick(&f->d, &f->q[CONTROL_TX]);
    assert_true(test_used(&f->q[CONTROL_TX], &used));
}

/* The next control message is this one. Returns its payload. */
static const uint8_t *expect_control(struct fixture *f, uint32_t id, uint16_t event, uint16_t value,
                                     uint32_t payload_size)
{
    struct vring_used_elem used = { 0 };
    struct virtio_console_control m;
    const uint8_t *at;

    assert_true(test_used(&f->q[CONTROL_RX], &used));
    assert_int_equal(used.len, sizeof(m) + payload_size);
    at = f->m.ram + f->q[CONTROL_RX].desc[used.id].addr;
    memcpy(&m, at, sizeof(m));
    assert_int_equal(m.id, id);
    assert_int_equal(m.event, event);
    assert_int_equal(m.value, value);
    return at + sizeof(m);
}

static void expect_no_control(struct fixture *f)
{
    struct vring_used_elem used = { 0 };

    assert_false(test_used(&f->q[CONTROL_RX], &used));
}

/* The opening conversation of a stream port. */
static void open_port(struct fixture *f, uint32_t port)
{
    post_control_buffers(f, 16);
    send_control(f, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    (void)expect_control(f, port, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
    send_control(f, port, VIRTIO_CONSOLE_PORT_READY, 1);
    if (port == 0) {
        (void)expect_control(f, port, VIRTIO_CONSOLE_CONSOLE_PORT, 1, 0);
        (void)expect_control(f, port, VIRTIO_CONSOLE_PORT_NAME, 1, 3);
        assert_int_equal(load_le32(expect_control(f, port, VIRTIO_CONSOLE_RESIZE, 0, 4)),
                         80 | 25 << 16);
    } else {
        assert_memory_equal(expect_control(f, port, VIRTIO_CONSOLE_PORT_NAME, 1, 5), "stdio", 5);
    }
    (void)expect_control(f, port, VIRTIO_CONSOLE_PORT_OPEN, 1, 0);
    send_control(f, port, VIRTIO_CONSOLE_PORT_OPEN, 1);
    expect_no_control(f);
}

static void post_text(struct fixture *f, struct test_queue *q, const char *text)
{
    const uint64_t at = BUFFER_GPA + 64u * (q->free_desc % 64u);

    memcpy(f->m.ram + at, text, strlen(text));
    (void)test_post(q, at, (uint32_t)strlen(text), 0);
}

static void expect_output(struct fixture *f, const char *text)
{
    char got[256];

    assert_int_equal(read(f->out[0], got, sizeof(got)), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void identity(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);

    (void)state;
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_CONSOLE);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 80 | 25 << 16);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), VIRTIO_CONSOLE_PORTS);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 12), 0); /* behind its end */
    stop(f);
}

static void output_goes_through(void **state)
{
    static const uint64_t features[] = { F_VERSION_1 | F_MULTIPORT,
                                         F_VERSION_1 | F_MULTIPORT | F_EVENT_IDX };
    static const int flags[] = { 0, O_NONBLOCK };

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct fixture *f = start(1, features[i / 2], flags[i % 2]);
        struct vring_used_elem used = { 0 };
        char tee[8];

        post_text(f, &f->q[TX1], "hello");
        post_text(f, &f->q[TX1], ", ");
        post_text(f, &f->q[TX1], "world");
        test_kick(&f->d, &f->q[TX1]);
        expect_output(f, "hello, world"); /* no loop ran: straight from the kick */
        for (unsigned n = 0; n < 3; n++) {
            assert_true(test_used(&f->q[TX1], &used));
            assert_int_equal(used.len, 0);
        }
        assert_false(test_used(&f->q[TX1], &used));
        assert_int_equal(f->m.irq_count, 1); /* one for the batch */
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
        reg_write(&f->d, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
        assert_int_equal(pread(f->tee, tee, sizeof(tee), 0), 4); /* and no more than its limit */
        assert_memory_equal(tee, "hell", 4);
        stop(f);
    }
}

/* One descriptor after the other without waiting; an odd driver may also leave interrupts off. */
static void output_without_interrupts(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);

    (void)state;
    f->q[TX1].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
    for (unsigned i = 0; i < 500; i++) {
        struct vring_used_elem used = { 0 };

        post_text(f, &f->q[TX1], "x");
        test_kick(&f->d, &f->q[TX1]);
        expect_output(f, "x");
        assert_true(test_used(&f->q[TX1], &used));
    }
    assert_int_equal(f->m.irq_count, 0);
    stop(f);
}

static void output_waits_for_the_reader(void **state)
{
    static const int flags[] = { 0, O_NONBLOCK };

    (void)state;
    for (unsigned i = 0; i < array_size(flags); i++) {
        struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, flags[i]);
        struct test_queue *q = &f->q[TX1];
        const uint32_t size = 0x20000; /* two pipes full */
        struct vring_used_elem used = { 0 };
        size_t got = 0;

        for (uint32_t n = 0; n < size; n++) {
            f->m.ram[TEST_DATA_GPA - 0x20000 + n] = (uint8_t)(n % 251);
        }
        (void)test_post(q, TEST_DATA_GPA - 0x20000, size, 0);
        post_text(f, q, "end");
        test_kick(&f->d, q);
        assert_false(test_used(q, &used));
        while (got < size) {
            uint8_t bytes[5000];
            const ssize_t n = read(f->out[0], bytes, min_of(sizeof(bytes), size - got));

            assert_true(n > 0);
            for (ssize_t k = 0; k < n; k++) {
                assert_int_equal(bytes[k], (uint8_t)((got + (size_t)k) % 251));
            }
            got += (size_t)n;
            (void)test_loop_settle(&f->m, 100);
        }
        expect_output(f, "end");
        assert_true(test_used(q, &used));
        assert_true(test_used(q, &used));
        assert_false(test_loop_run(&f->m, 0)); /* and nobody waits for the pipe any more */
        stop(f);
    }
}

static void closed_reader(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);
    struct vring_used_elem used = { 0 };

    (void)state;
    open_port(f, 1);
    (void)close(f->out[0]);
    post_text(f, &f->q[TX1], "into the void");
    post_text(f, &f->q[TX1], "more");
    test_kick(&f->d, &f->q[TX1]);
    assert_true(test_used(&f->q[TX1], &used));
    assert_true(test_used(&f->q[TX1], &used));
    (void)expect_control(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, 0);
    (void)expect_control(f, 1, VIRTIO_CONSOLE_PORT_REMOVE, 1, 0);
    assert_false(test_needs_reset(&f->d));
    f->out[0] = f->in[0]; /* closed twice is closed, but not somebody else's */
    f->in[0] = -1;
    stop(f);
}

static void input_waits_for_buffers(void **state)
{
    static const int flags[] = { 0, O_NONBLOCK };

    (void)state;
    for (unsigned i = 0; i < array_size(flags); i++) {
        struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT | F_EVENT_IDX, flags[i]);
        struct test_queue *q = &f->q[RX1];
        struct vring_used_elem used = { 0 };

        assert_int_equal(write(f->in[1], "abcdefgh", 8), 8);
        (void)test_post(q, BUFFER_GPA, 3, VRING_DESC_F_WRITE);
        test_kick(&f->d, q);
        assert_false(test_loop_run(&f->m, 0)); /* the port isn't open: not even watched */
        assert_false(test_used(q, &used));
        open_port(f, 1);
        assert_true(test_used(q, &used));
        assert_int_equal(used.len, 3);
        assert_memory_equal(f->m.ram + BUFFER_GPA, "abc", 3);
        assert_false(test_loop_run(&f->m, 0)); /* input is there, a buffer isn't */
        (void)test_post(q, BUFFER_GPA + 16, 16, VRING_DESC_F_WRITE);
        test_kick(&f->d, q);
        assert_true(test_used(q, &used));
        assert_int_equal(used.len, 5);
        assert_memory_equal(f->m.ram + BUFFER_GPA + 16, "defgh", 5);

        /* Now the buffer comes first. */
        (void)test_post(q, BUFFER_GPA + 32, 16, VRING_DESC_F_WRITE);
        test_kick(&f->d, q);
        assert_false(test_used(q, &used));
        assert_int_equal(write(f->in[1], "late", 4), 4);
        assert_true(test_loop_run(&f->m, 0));
        assert_true(test_used(q, &used));
        assert_int_equal(used.len, 4);

        /* End of file leaves the buffer with the device and says PORT_OPEN 0. */
        (void)test_post(q, BUFFER_GPA + 48, 16, VRING_DESC_F_WRITE);
        test_kick(&f->d, q);
        (void)close(f->in[1]);
        f->in[1] = -1;
        (void)test_loop_settle(&f->m, 10);
        assert_false(test_used(q, &used));
        (void)expect_control(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, 0);
        expect_no_control(f);

        /* Output still works. */
        post_text(f, &f->q[TX1], "still here");
        test_kick(&f->d, &f->q[TX1]);
        expect_output(f, "still here");
        stop(f);
    }
}

/* A regular file can't be watched by epoll; it is simply always ready. */
static void input_from_a_file(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);
    struct vring_used_elem used = { 0 };

    (void)state;
    virtio_console_destroy(f->con);
    assert_int_equal(ftruncate(f->tee, 100), 0);
    create(f, 1, f->tee, f->out[1]);
    test_negotiate(&f->d, F_VERSION_1 | F_MULTIPORT);
    for (unsigned i = 0; i < QUEUES; i++) {
        test_queue_init(&f->d, &f->q[i], i);
    }
    test_driver_ok(&f->d);
    open_port(f, 1);
    f->m.watch_error = -EPERM;
    (void)test_post(&f->q[RX1], BUFFER_GPA, 64, VRING_DESC_F_WRITE);
    (void)test_post(&f->q[RX1], BUFFER_GPA, 64, VRING_DESC_F_WRITE);
    (void)test_post(&f->q[RX1], BUFFER_GPA, 64, VRING_DESC_F_WRITE);
    test_kick(&f->d, &f->q[RX1]);
    assert_true(test_used(&f->q[RX1], &used));
    assert_int_equal(used.len, 64);
    assert_true(test_used(&f->q[RX1], &used));
    assert_int_equal(used.len, 36);
    (void)expect_control(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, 0);
    assert_int_equal(f->m.error_count, 0);
    f->m.watch_error = 0;
    stop(f);
}

static void terminal(void **state)
{
    struct fixture *f = start(0, F_VERSION_1 | F_MULTIPORT | F_SIZE, O_NONBLOCK);
    const uint8_t *size;

    (void)state;
    open_port(f, 0);
    virtio_console_resize(f->con, 132, 50);
    size = expect_control(f, 0, VIRTIO_CONSOLE_RESIZE, 0, 4);
    assert_int_equal(load_le16(size), 132);
    assert_int_equal(load_le16(size + 2), 50);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), 132 | 50 << 16);
    f->d.window.write(f->d.window.device, VIRTIO_MMIO_CONFIG + 8, 4, '!');
    expect_output(f, "!");
    stop(f);
}

static void single_port_driver(void **state)
{
    struct fixture *f = start(0, F_VERSION_1 | F_SIZE, O_NONBLOCK);
    struct vring_used_elem used = { 0 };
    const uint32_t generation = reg_read(&f->d, VIRTIO_MMIO_CONFIG_GENERATION);

    (void)state;
    post_text(f, &f->q[TX0], "plain");
    test_kick(&f->d, &f->q[TX0]);
    expect_output(f, "plain");
    assert_int_equal(write(f->in[1], "in", 2), 2);
    (void)test_post(&f->q[RX0], BUFFER_GPA, 16, VRING_DESC_F_WRITE);
    test_kick(&f->d, &f->q[RX0]);
    assert_true(test_used(&f->q[RX0], &used));
    assert_int_equal(used.len, 2);
    reg_write(&f->d, VIRTIO_MMIO_INTERRUPT_ACK, 3);
    virtio_console_resize(f->con, 100, 30);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    assert_int_not_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    stop(f);
}

static void control_nonsense(void **state)
{
    static const struct virtio_console_control messages[] = {
        { 3, VIRTIO_CONSOLE_PORT_READY, 1 },   { UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1 },
        { 2, VIRTIO_CONSOLE_PORT_READY, 1 },   { 1, UINT16_MAX, UINT16_MAX },
        { 1, VIRTIO_CONSOLE_RESIZE, 1 },       { 1, VIRTIO_CONSOLE_PORT_READY, 0 },
        { 0, VIRTIO_CONSOLE_DEVICE_READY, 0 }, { 0x80000001u, VIRTIO_CONSOLE_PORT_OPEN, 1 },
    };
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);
    struct vring_used_elem used = { 0 };

    (void)state;
    post_control_buffers(f, 4);
    for (unsigned i = 0; i < array_size(messages); i++) {
        send_control(f, messages[i].id, messages[i].event, messages[i].value);
    }
    (void)test_post(&f->q[CONTROL_TX], CONTROL_GPA, 7, 0); /* too short */
    (void)test_post(&f->q[CONTROL_TX], CONTROL_GPA, 8, VRING_DESC_F_WRITE);
    test_kick(&f->d, &f->q[CONTROL_TX]);
    assert_true(test_used(&f->q[CONTROL_TX], &used));
    assert_true(test_used(&f->q[CONTROL_TX], &used));
    expect_no_control(f);

    /* A control buffer that is too small loses its message, no more. */
    send_control(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    assert_false(test_needs_reset(&f->d));
    stop(f);
}

/* Output without end gives way to others: the rest is written from the loop. */
static void long_output_takes_turns(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);
    struct vring_used_elem used = { 0 };
    const uint32_t size = 0x40000;

    (void)state;
    virtio_console_destroy(f->con);
    create(f, 1, -1, f->tee);
    test_negotiate(&f->d, F_VERSION_1 | F_MULTIPORT);
    test_queue_init(&f->d, &f->q[TX1], TX1);
    test_driver_ok(&f->d);
    assert_true(virtio_console_is_drained(f->con));
    for (unsigned i = 0; i < 3; i++) {
        (void)test_post(&f->q[TX1], TEST_DATA_GPA, size, 0);
    }
    test_kick(&f->d, &f->q[TX1]);
    assert_true(test_used(&f->q[TX1], &used));
    assert_false(test_used(&f->q[TX1], &used));
    assert_false(virtio_console_is_drained(f->con));
    assert_int_equal(test_loop_settle(&f->m, 10), 2);
    assert_true(virtio_console_is_drained(f->con));
    assert_true(test_used(&f->q[TX1], &used));
    assert_true(test_used(&f->q[TX1], &used));
    /* The tee is the same file here, and gets its 4 bytes. */
    assert_int_equal(lseek(f->tee, 0, SEEK_END), 3 * size + 4);
    stop(f);
}

static void reset_forgets(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT, O_NONBLOCK);
    uint8_t bytes[4096];
    struct vring_used_elem used = { 0 };

    (void)state;
    open_port(f, 1);
    (void)test_post(&f->q[TX1], TEST_DATA_GPA - 0x40000, 0x20000, 0);
    test_kick(&f->d, &f->q[TX1]);
    (void)test_post(&f->q[RX1], BUFFER_GPA, 16, VRING_DESC_F_WRITE);
    test_kick(&f->d, &f->q[RX1]);
    assert_int_equal(test_watch_count(&f->m), 3);
    test_negotiate(&f->d, F_VERSION_1 | F_MULTIPORT);
    assert_int_equal(test_watch_count(&f->m), 1);
    for (unsigned i = 0; i < QUEUES; i++) {
        test_queue_init(&f->d, &f->q[i], i);
    }
    test_driver_ok(&f->d);
    while (read(f->out[0], bytes, sizeof(bytes)) > 0) {
    }
    post_text(f, &f->q[TX1], "fresh");
    test_kick(&f->d, &f->q[TX1]);
    expect_output(f, "fresh");
    assert_true(test_used(&f->q[TX1], &used));
    assert_false(test_used(&f->q[TX1], &used));
    stop(f);
}

/*
 * A vCPU that writes and one that posts buffers, against a loop that reads input and a reader that
 * is slow: for the thread sanitizer, and to see that nothing is lost on the way.
 */
#define STRESS_BYTES 20000u

static void *stress_loop(void *arg)
{
    struct fixture *f = arg;

    while (__atomic_load_n(&f->tee, __ATOMIC_SEQ_CST) >= 0) {
        (void)test_loop_run(&f->m, 1);
    }
    return NULL;
}

static void *stress_host(void *arg)
{
    const struct fixture *f = arg;
    unsigned sent = 0;
    unsigned got = 0;

    while (sent < STRESS_BYTES || got < STRESS_BYTES) {
        struct pollfd p[2] = { { .fd = f->out[0], .events = POLLIN },
                               { .fd = sent < STRESS_BYTES ? f->in[1] : -1, .events = POLLOUT } };
        uint8_t bytes[97];

        (void)poll(p, 2, 100);
        if (p[1].revents != 0) {
            const size_t size = min_of(sizeof(bytes), (size_t)(STRESS_BYTES - sent));
            ssize_t n;

            for (size_t i = 0; i < size; i++) {
                bytes[i] = (uint8_t)(sent + i);
            }
            n = write(f->in[1], bytes, size);
            sent += n > 0 ? (unsigned)n : 0;
        }
        if (p[0].revents != 0) {
            const ssize_t n = read(f->out[0], bytes, sizeof(bytes));

            for (ssize_t i = 0; i < n; i++) {
                assert_int_equal(bytes[i], (uint8_t)(got + (unsigned)i));
            }
            got += n > 0 ? (unsigned)n : 0;
        }
    }
    return NULL;
}

/* A vCPU that only writes. */
static void *stress_output(void *arg)
{
    struct fixture *f = arg;
    struct test_queue *q = &f->q[TX1];
    unsigned sent = 0;
    unsigned outstanding = 0;

    while (sent < STRESS_BYTES || outstanding > 0) {
        struct vring_used_elem used = { 0 };

        if (sent < STRESS_BYTES && outstanding < q->size) {
            const uint64_t at = BUFFER_GPA + 0x10000 + 32u * (q->free_desc % q->size);
            const unsigned size = min_of(32u, STRESS_BYTES - sent);

            for (unsigned i = 0; i < size; i++) {
                f->m.ram[at + i] = (uint8_t)(sent + i);
            }
            (void)test_post(q, at, size, 0);
            test_kick(&f->d, q);
            sent += size;
            outstanding++;
        }
        while (test_used(q, &used)) {
            outstanding--;
        }
    }
    return NULL;
}

static void concurrent_kick_and_input(void **state)
{
    struct fixture *f = start(1, F_VERSION_1 | F_MULTIPORT | F_EVENT_IDX, O_NONBLOCK);
    struct test_queue *q = &f->q[RX1];
    pthread_t threads[3];
    unsigned got = 0;
    unsigned posted = 0;

    (void)state;
    open_port(f, 1);
    assert_true(fcntl(f->out[1], F_SETPIPE_SZ, 4096) > 0);
    assert_int_equal(pthread_create(&threads[0], NULL, stress_loop, f), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, stress_host, f), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, stress_output, f), 0);
    while (got < STRESS_BYTES) {
        struct vring_used_elem used = { 0 };

        if (posted < 8) {
            (void)test_post(q, BUFFER_GPA + 16u * (q->free_desc % q->size), 16, VRING_DESC_F_WRITE);
            test_kick(&f->d, q);
            posted++;
        }
        while (test_used(q, &used)) {
            const uint8_t *bytes = f->m.ram + q->desc[used.id].addr;

            for (unsigned i = 0; i < used.len; i++) {
                assert_int_equal(bytes[i], (uint8_t)(got + i));
            }
            got += used.len;
            posted--;
        }
    }
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    assert_int_equal(pthread_join(threads[2], NULL), 0);
    assert_int_equal(close(f->tee), 0);
    __atomic_store_n(&f->tee, -1, __ATOMIC_SEQ_CST);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_false(test_needs_reset(&f->d));
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity),
        cmocka_unit_test(output_goes_through),
        cmocka_unit_test(output_without_interrupts),
        cmocka_unit_test(output_waits_for_the_reader),
        cmocka_unit_test(closed_reader),
        cmocka_unit_test(input_waits_for_buffers),
        cmocka_unit_test(input_from_a_file),
        cmocka_unit_test(terminal),
        cmocka_unit_test(single_port_driver),
        cmocka_unit_test(control_nonsense),
        cmocka_unit_test(long_output_takes_turns),
        cmocka_unit_test(reset_forgets),
        cmocka_unit_test(concurrent_kick_and_input),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
