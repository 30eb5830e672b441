/* SPDX-License-Identifier: Apache-2.0 */
/* The block device on a memory file, with io_uring and without: data, limits, refusals. */

#include "test_driver.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/snapshot.h"
#include "virtio_blk.h"

#define F(bit)       (UINT64_C(1) << (bit))
#define F_ALL        (F(VIRTIO_F_VERSION_1) | F(VIRTIO_BLK_F_FLUSH) | F(VIRTIO_BLK_F_DISCARD))
#define F_ZEROES     (F_ALL | F(VIRTIO_BLK_F_WRITE_ZEROES) | F(VIRTIO_RING_F_EVENT_IDX))
#define DISK_SECTORS 64u
#define DISK_SIZE    (DISK_SECTORS * 512u + 100u) /* the rest is no whole sector */
#define HEADERS_GPA  TEST_DATA_GPA /* 64 bytes a request: header at 0, status at 32 */
#define DATA_GPA     (TEST_DATA_GPA + 0x10000u)
#define IN           VRING_DESC_F_WRITE

struct fixture {
    struct test_machine m;
    struct test_driver d;
    struct test_queue q; /* the one that is used now */
    struct test_queue queues[VIRTIO_BLK_QUEUES_MAX];
    struct virtio_blk *blk;
    int fd;
    unsigned requests;
};

static struct fixture *start_with(unsigned queue_count, bool want_sync, bool is_read_only,
                                  uint64_t features)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));
    struct virtio_blk_setup setup;

    assert_non_null(f);
    test_machine_init(&f->m);
    f->requests = 0;
    f->fd = memfd_create("disk", MFD_CLOEXEC);
    assert_true(f->fd >= 0);
    for (uint32_t i = 0; i < DISK_SECTORS; i++) {
        uint8_t sector[512];

        memset(sector, (int)i + 1, sizeof(sector));
        assert_int_equal(pwrite(f->fd, sector, 512, (off_t)i * 512), 512);
    }
    assert_int_equal(ftruncate(f->fd, DISK_SIZE), 0);
    setup = (struct virtio_blk_setup){
        .host = &f->m.host,
        .irq = TEST_IRQ,
        .fd = f->fd,
        .is_read_only = is_read_only,
        .want_sync = want_sync,
        .queue_count = queue_count,
        .id = "a-serial-longer-than-twenty",
    };
    assert_int_equal(virtio_blk_create(&setup, &f->blk), 0);
    test_driver_attach(&f->d, &f->m, virtio_blk_device(f->blk));
    test_negotiate(&f->d, features & (test_offered(&f->d)));
    for (unsigned i = 0; i < queue_count; i++) {
        test_queue_init(&f->d, &f->queues[i], i);
    }
    f->q = f->queues[0];
    test_driver_ok(&f->d);
    return f;
}

static struct fixture *start(bool want_sync, bool is_read_only, uint64_t features)
{
    return start_with(1, want_sync, is_read_only, features);
}

static void stop(struct fixture *f)
{
    virtio_blk_destroy(f->blk);
    assert_int_equal(test_watch_count(&f->m), 0);
    (void)close(f->fd);
    free(f);
}

static uint64_t header(struct fixture *f, uint32_t type, uint64_t sector)
{
    const struct virtio_blk_outhdr h = { .type = type, .sector = sector };
    const uint64_t at = HEADERS_GPA + 64u * (f->requests++ % 128u);

    memcpy(f->m.ram + at, &h, sizeof(h));
    f->m.ram[at + 32] = 0xee;
    return at;
}

/*
 * Post one request with one data segment (none when size is 0). Returns where its status will be.
 */
static uint64_t post(struct fixture *f, uint32_t type, uint64_t sector, uint64_t data,
                     uint32_t size, uint16_t flags)
{
    const uint64_t at = header(f, type, sector);
    const struct vring_desc descs[] = {
        test_desc(at, 16, 0),
        test_desc(data, size, flags),
        test_desc(at + 32, 1, IN),
    };
    const struct vring_desc bare[] = { descs[0], descs[2] };

    (void)(size > 0 ? test_chain(&f->q, descs, 3) : test_chain(&f->q, bare, 2));
    return at + 32;
}

static uint32_t wait_used(struct fixture *f)
{
    struct vring_used_elem used = { 0 };

    for (unsigned i = 0; i < 1000 && !test_used(&f->q, &used); i++) {
        (void)test_loop_run(&f->m, 10);
    }
    assert_true(used.len > 0);
    return used.len;
}

/* One request, start to end. Returns its status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t size,
                       uint16_t flags)
{
    const uint64_t status = post(f, type, sector, DATA_GPA, size, flags);

    test_kick(&f->d, &f->q);
    (void)wait_used(f);
    return f->m.ram[status];
}

static void configuration(void **state)
{
    struct fixture *f = start(false, true, F_ALL);

    (void)state;
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), DISK_SECTORS);
    assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 4), 0);
    assert_true((test_offered(&f->d) & F(VIRTIO_BLK_F_RO)) != 0);
    assert_true((test_offered(&f->d) & F(VIRTIO_BLK_F_DISCARD)) == 0);
    stop(f);
    f = start(false, false, F_ALL);
    assert_true((test_offered(&f->d) & F(VIRTIO_BLK_F_RO)) == 0);
    stop(f);
}

static void transfers(bool want_sync, uint64_t features)
{
    struct fixture *f = start(want_sync, false, features);
    uint8_t bytes[1024];

    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 3, 1024, IN), VIRTIO_BLK_S_OK);
    assert_int_equal(f->m.ram[DATA_GPA], 4);
    assert_int_equal(f->m.ram[DATA_GPA + 1023], 5);
    assert_int_equal(f->m.ram[DATA_GPA + 1024], 0);
    memset(f->m.ram + DATA_GPA, 0xab, 1024);
    assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 62, 1024, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(f->fd, bytes, 1024, (off_t)62 * 512), 1024);
    assert_int_equal(bytes[0], 0xab);
    assert_int_equal(bytes[1023], 0xab);
    assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, 20, IN), VIRTIO_BLK_S_OK);
    assert_memory_equal(f->m.ram + DATA_GPA, "a-serial-longer-than", 20);
    assert_int_equal(f->m.error_count, 0);
    stop(f);
}

static void transfers_work(void **state)
{
    (void)state;
    transfers(false, F_ALL);
    transfers(true, F_ALL);
    transfers(false, F(VIRTIO_F_VERSION_1) | F(VIRTIO_RING_F_EVENT_IDX));
    transfers(true, F(VIRTIO_F_VERSION_1));
}

static void clearing(void **state)
{
    static const struct {
        uint32_t type;
        struct virtio_blk_discard_write_zeroes segment;
        uint32_t size;
        uint8_t status;
    } cases[] = {
        { VIRTIO_BLK_T_DISCARD, { 8, 8, 0 }, 16, VIRTIO_BLK_S_OK },
        { VIRTIO_BLK_T_DISCARD, { 8, 8, 1 }, 16, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_DISCARD, { 8, 8, 2 }, 16, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_DISCARD, { 60, 5, 0 }, 16, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, { UINT64_MAX, 2, 0 }, 16, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, { 0, UINT32_MAX, 0 }, 16, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, { 0, 0, 0 }, 16, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, { 8, 8, 0 }, 15, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, { 8, 8, 0 }, 32, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_WRITE_ZEROES, { 16, 8, 1 }, 16, VIRTIO_BLK_S_OK },
        { VIRTIO_BLK_T_WRITE_ZEROES, { 16, 8, 3 }, 16, VIRTIO_BLK_S_UNSUPP },
    };

    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f = start(sync == 1, false, F_ZEROES);
        uint8_t bytes[32 * 512];

        for (unsigned i = 0; i < array_size(cases); i++) {
            memcpy(f->m.ram + DATA_GPA, &cases[i].segment, sizeof(cases[i].segment));
            assert_int_equal(request(f, cases[i].type, 0, cases[i].size, 0), cases[i].status);
        }
        assert_int_equal(pread(f->fd, bytes, sizeof(bytes), 0), sizeof(bytes));
        for (size_t sector = 0; sector < 32; sector++) {
            const bool is_cleared = sector >= 8 && sector < 24;

            assert_int_equal(bytes[sector * 512], is_cleared ? 0 : sector + 1);
            assert_int_equal(bytes[sector * 512 + 511], is_cleared ? 0 : sector + 1);
        }
        stop(f);
    }
}

static void refusals(void **state)
{
    static const struct {
        uint32_t type;
        uint64_t sector;
        uint32_t size;
        uint16_t flags;
        uint8_t status;
    } cases[] = {
        { VIRTIO_BLK_T_IN, DISK_SECTORS, 512, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, DISK_SECTORS - 1, 1024, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, UINT64_MAX, 512, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, 512, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, 0, 511, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, 0, 0, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_IN, 0, 512, 0, VIRTIO_BLK_S_IOERR }, /* the wrong direction */
        { VIRTIO_BLK_T_OUT, 0, 512, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, 0, 512, 0, VIRTIO_BLK_S_IOERR }, /* read-only */
        { VIRTIO_BLK_T_GET_ID, 0, 19, IN, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_DISCARD, 0, 16, 0, VIRTIO_BLK_S_UNSUPP }, /* not negotiated */
        { VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, VIRTIO_BLK_S_UNSUPP },
        { VIRTIO_BLK_T_SCSI_CMD, 0, 512, IN, VIRTIO_BLK_S_UNSUPP },
        { UINT32_MAX, 0, 512, IN, VIRTIO_BLK_S_UNSUPP },
    };
    struct fixture *f = start(false, true, F_ZEROES);

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        assert_int_equal(request(f, cases[i].type, cases[i].sector, cases[i].size, cases[i].flags),
                         cases[i].status);
    }
    assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512, IN), VIRTIO_BLK_S_OK);
    assert_false(test_needs_reset(&f->d));

    /* A header cut short has a status byte to say so; without a status byte there is no answer. */
    {
        const struct vring_desc cut[] = { test_desc(HEADERS_GPA, 15, 0),
                                          test_desc(HEADERS_GPA + 32, 1, IN) };

        (void)test_chain(&f->q, cut, 2);
        test_kick(&f->d, &f->q);
        (void)wait_used(f);
        assert_int_equal(f->m.ram[HEADERS_GPA + 32], VIRTIO_BLK_S_IOERR);
    }
    (void)test_post(&f->q, header(f, VIRTIO_BLK_T_FLUSH, 0), 16, 0);
    test_kick(&f->d, &f->q);
    assert_true(test_needs_reset(&f->d));
    assert_int_equal(f->m.error_count, 1);
    stop(f);
}

/* A file that shrank under us gives an error, not old memory. */
static void shrunk_file(void **state)
{
    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f = start(sync == 1, false, F_ALL);

        assert_int_equal(ftruncate(f->fd, 1024), 0);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 1, 1024, IN), VIRTIO_BLK_S_IOERR);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 1, 512, IN), VIRTIO_BLK_S_OK);
        stop(f);
    }
}

/* Header, data and status cut at odd places: positions count, descriptors don't (2.6.4). */
static void odd_framing(void **state)
{
    struct fixture *f = start(false, false, F_ALL);
    const uint64_t h = header(f, VIRTIO_BLK_T_IN, 5);
    const struct vring_desc read_descs[] = {
        test_desc(h, 7, 0), test_desc(h + 7, 9, 0), test_desc(DATA_GPA, 100, IN),
        test_desc(DATA_GPA + 100, 413, IN), /* the status is its last byte */
    };
    const struct vring_desc write_descs[] = {
        test_desc(DATA_GPA + 0x1000, 16 + 12, 0),
        test_desc(DATA_GPA + 0x2000, 500, 0),
        test_desc(h + 32, 1, IN),
    };
    const struct virtio_blk_outhdr w = { .type = VIRTIO_BLK_T_OUT, .sector = 9 };
    uint8_t bytes[512];

    (void)state;
    f->m.ram[DATA_GPA + 512] = 0xee;
    (void)test_chain(&f->q, read_descs, array_size(read_descs));
    test_kick(&f->d, &f->q);
    assert_int_equal(wait_used(f), 513);
    assert_int_equal(f->m.ram[DATA_GPA], 6);
    assert_int_equal(f->m.ram[DATA_GPA + 511], 6);
    assert_int_equal(f->m.ram[DATA_GPA + 512], VIRTIO_BLK_S_OK);

    memcpy(f->m.ram + DATA_GPA + 0x1000, &w, sizeof(w));
    memset(f->m.ram + DATA_GPA + 0x1000 + 16, 0x11, 12);
    memset(f->m.ram + DATA_GPA + 0x2000, 0x22, 500);
    (void)test_chain(&f->q, write_descs, array_size(write_descs));
    test_kick(&f->d, &f->q);
    assert_int_equal(wait_used(f), 1);
    assert_int_equal(pread(f->fd, bytes, 512, (off_t)9 * 512), 512);
    assert_int_equal(bytes[11], 0x11);
    assert_int_equal(bytes[12], 0x22);
    stop(f);
}

/* More requests at once than the device keeps under way. */
static void many_at_once(void **state)
{
    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f = start(sync == 1, false, F_ZEROES);
        const unsigned count = f->q.size / 3u;

        for (unsigned round = 0; round < 20; round++) {
            uint64_t status[VQ_SIZE_MAX];

            for (unsigned i = 0; i < count; i++) {
                status[i] = post(f, VIRTIO_BLK_T_IN, i, DATA_GPA + i * 512u, 512, IN);
            }
            test_kick(&f->d, &f->q);
            for (unsigned i = 0; i < count; i++) {
                assert_int_equal(wait_used(f), 513);
            }
            for (unsigned i = 0; i < count; i++) {
                assert_int_equal(f->m.ram[status[i]], VIRTIO_BLK_S_OK);
                assert_int_equal(f->m.ram[DATA_GPA + i * 512u], i + 1);
            }
        }
        stop(f);
    }
}

/* A reset waits for what is under way; nothing arrives after it. */
static void reset_in_flight(void **state)
{
    struct fixture *f = start(false, false, F_ALL);

    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 0; i < 8; i++) {
            (void)post(f, VIRTIO_BLK_T_OUT, i, DATA_GPA, 512, 0);
            (void)post(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, 0);
        }
        test_kick(&f->d, &f->q);
        test_negotiate(&f->d, F_ALL);
        test_queue_init(&f->d, &f->q, 0);
        test_driver_ok(&f->d);
        (void)test_loop_run(&f->m, 10); /* time for a latecomer */
        assert_int_equal(f->q.used->idx, 0);
    }
    stop(f);
}

/* What the limits refuse comes back by the timer; without limits again nothing waits. */
static void limits(void **state)
{
    const struct drupe_rate_limit one = { .ops = { .size = 1, .refill_ms = 50 } };
    const struct drupe_rate_limit none = { .ops = { .size = 0, .refill_ms = 0 } };

    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f = start(sync == 1, false, F_ALL);

        assert_int_equal(virtio_blk_update(f->blk, -1, &one), 0);
        for (unsigned i = 0; i < 3; i++) {
            (void)post(f, VIRTIO_BLK_T_IN, i, DATA_GPA, 512, IN);
        }
        test_kick(&f->d, &f->q);
        (void)wait_used(f);
        (void)test_loop_settle(&f->m, 8);
        test_kick(&f->d, &f->q); /* asking again does not help */
        assert_true(f->q.used->idx < 3);
        (void)wait_used(f);
        (void)wait_used(f);
        assert_int_equal(virtio_blk_update(f->blk, -1, &none), 0);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512, IN), VIRTIO_BLK_S_OK);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512, IN), VIRTIO_BLK_S_OK);
        stop(f);
    }
}

static void another_file(void **state)
{
    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f = start(sync == 1, false, F_ALL);
        int fd = memfd_create("larger", MFD_CLOEXEC);
        int fds[2];

        assert_true(fd >= 0);
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(ftruncate(fd, (off_t)DISK_SIZE * 2), 0);
        assert_int_equal(pwrite(fd, "\x77", 1, 0), 1);
        assert_int_equal(virtio_blk_update(f->blk, fds[0], NULL), -ENOTBLK);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512, IN), VIRTIO_BLK_S_OK);
        assert_int_equal(f->m.ram[DATA_GPA], 1);
        assert_int_equal(virtio_blk_update(f->blk, fd, NULL), 0);
        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG), DISK_SIZE * 2 / 512);
        assert_true((reg_read(&f->d, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG) != 0);
        assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 512, IN), VIRTIO_BLK_S_OK);
        assert_int_equal(f->m.ram[DATA_GPA], 0x77);
        assert_int_equal(request(f, VIRTIO_BLK_T_OUT, DISK_SECTORS + 1, 512, 0), VIRTIO_BLK_S_OK);
        stop(f);
        (void)close(fd);
        (void)close(fds[0]);
        (void)close(fds[1]);
    }
}

/* Requests on all queues at once, more than the device keeps under way: each queue gets its own. */
static void several_queues(void **state)
{
    (void)state;
    for (unsigned sync = 0; sync < 2; sync++) {
        struct fixture *f =
            start_with(VIRTIO_BLK_QUEUES_MAX, sync == 1, false, F_ZEROES | F(VIRTIO_BLK_F_MQ));
        struct test_queue queues[VIRTIO_BLK_QUEUES_MAX];
        uint64_t status[VIRTIO_BLK_QUEUES_MAX][16];

        assert_int_equal(reg_read(&f->d, VIRTIO_MMIO_CONFIG + 32) >> 16, VIRTIO_BLK_QUEUES_MAX);
        for (unsigned q = 0; q < VIRTIO_BLK_QUEUES_MAX; q++) {
            queues[q] = f->queues[q];
            f->q = queues[q];
            for (unsigned i = 0; i < 16; i++) {
                const uint32_t n = q * 16u + i;

                status[q][i] = post(f, VIRTIO_BLK_T_IN, n, DATA_GPA + n * 512u, 512, IN);
            }
            queues[q] = f->q;
        }
        for (unsigned q = 0; q < VIRTIO_BLK_QUEUES_MAX; q++) {
            test_kick(&f->d, &queues[q]);
        }
        for (unsigned q = 0; q < VIRTIO_BLK_QUEUES_MAX; q++) {
            f->q = queues[q];
            for (unsigned i = 0; i < 16; i++) {
                assert_int_equal(wait_used(f), 513);
            }
            for (unsigned i = 0; i < 16; i++) {
                const uint32_t n = q * 16u + i;

                assert_int_equal(f->m.ram[status[q][i]], VIRTIO_BLK_S_OK);
                assert_int_equal(f->m.ram[DATA_GPA + n * 512u], n + 1);
            }
        }
        stop(f);
    }
}

/* The state of a disk with fewer queues is taken, and its driver goes on; that of one with more is
 * not. */
static void queues_of_another_monitor(void **state)
{
    (void)state;
    for (unsigned older = 0; older < 2; older++) {
        struct fixture *f = start_with(older == 1 ? 1 : VIRTIO_BLK_QUEUES_MAX, true, false,
                                       F_ZEROES | F(VIRTIO_BLK_F_MQ));
        const struct virtio_blk_setup setup = {
            .host = &f->m.host,
            .irq = TEST_IRQ,
            .fd = f->fd,
            .want_sync = true,
            .queue_count = older == 1 ? VIRTIO_BLK_QUEUES_MAX : 1,
        };
        const size_t size = virtio_transport_size(virtio_blk_device(f->blk));
        struct snapshot_virtio *saved = calloc(1, size);
        const char *why = NULL;
        int r;

        assert_non_null(saved);
        virtio_transport_save(virtio_blk_device(f->blk), saved);
        virtio_blk_destroy(f->blk);
        assert_int_equal(virtio_blk_create(&setup, &f->blk), 0);
        r = virtio_transport_load(virtio_blk_device(f->blk), saved, size, &why);
        if (older == 0) {
            assert_int_equal(r, -EINVAL);
            assert_string_equal(why, "another number of queues");
        } else {
            assert_int_equal(r, 0);
            test_driver_attach(&f->d, &f->m, virtio_blk_device(f->blk));
            const uint64_t status = post(f, VIRTIO_BLK_T_IN, 5, DATA_GPA, 512, IN);

            test_kick(&f->d, &f->q);
            assert_int_equal(wait_used(f), 513);
            assert_int_equal(f->m.ram[status], VIRTIO_BLK_S_OK);
            assert_int_equal(f->m.ram[DATA_GPA], 6);
            /* A size that does not go with the number of queues. */
            assert_int_equal(
                virtio_transport_load(virtio_blk_device(f->blk), saved, size - 1, &why), -EINVAL);
        }
        free(saved);
        stop(f);
    }
}

static void not_a_disk(void **state)
{
    struct test_machine *m = aligned_alloc(4096, align_up(sizeof(*m), 4096u));
    struct virtio_blk *blk = NULL;
    int fds[2];

    (void)state;
    assert_non_null(m);
    test_machine_init(m);
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(
        virtio_blk_create(&(struct virtio_blk_setup){ .host = &m->host, .fd = fds[0] }, &blk),
        -ENOTBLK);
    assert_int_equal(
        virtio_blk_create(&(struct virtio_blk_setup){ .host = &m->host, .fd = -1 }, &blk), -EBADF);
    assert_null(blk);
    (void)close(fds[0]);
    (void)close(fds[1]);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configuration),
        cmocka_unit_test(transfers_work),
        cmocka_unit_test(clearing),
        cmocka_unit_test(refusals),
        cmocka_unit_test(shrunk_file),
        cmocka_unit_test(odd_framing),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(reset_in_flight),
        cmocka_unit_test(not_a_disk),
        cmocka_unit_test(limits),
        cmocka_unit_test(another_file),
        cmocka_unit_test(several_queues),
        cmocka_unit_test(queues_of_another_monitor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
