/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of a ublk device without the driver: descriptors written by hand, results collected. */

#include <test.h>

#include <errno.h>
#include <linux/ublk_cmd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/page_disk.h"
#include "ublk_queue.h"

#define DEPTH       8u
#define SECTORS     1024u
#define DISK_SIZE   ((size_t)SECTORS * 512u)
#define BUFFER_SIZE 65536u
#define PENDING     INT32_MIN

struct fixture {
    FILE *file;
    struct page_disk *memory;
    struct ublk_queue *queue;
    struct ublksrv_io_desc descs[DEPTH];
    int32_t results[DEPTH];
    uint8_t buffers[DEPTH][BUFFER_SIZE] __attribute__((aligned(4096)));
    uint8_t model[DISK_SIZE];
};

static void on_commit(void *ctx, unsigned tag, int32_t result)
{
    struct fixture *f = ctx;

    assert_true(tag < DEPTH);
    assert_int_equal(f->results[tag], PENDING); /* each tag once */
    f->results[tag] = result;
}

static struct fixture *start(bool is_in_memory, bool is_read_only)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), (size_t)4096));
    struct ublk_queue_setup setup;

    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    for (size_t i = 0; i < DISK_SIZE; i++) {
        f->model[i] = (uint8_t)(i / 512 + 1);
    }
    f->file = tmpfile();
    assert_non_null(f->file);
    assert_int_equal(pwrite(fileno(f->file), f->model, DISK_SIZE, 0), DISK_SIZE);
    if (is_in_memory) {
        assert_int_equal(page_disk_create(DISK_SIZE, UINT64_MAX, &f->memory), 0);
        assert_int_equal(page_disk_write(f->memory, 0, f->model, DISK_SIZE), 0);
    }
    setup = (struct ublk_queue_setup){ .fd = fileno(f->file),
                                       .memory = f->memory,
                                       .size = DISK_SIZE,
                                       .is_read_only = is_read_only,
                                       .depth = DEPTH,
                                       .buffer_size = BUFFER_SIZE,
                                       .commit = on_commit,
                                       .ctx = f };
    assert_int_equal(ublk_queue_create(&setup, &f->queue), 0);
    ublk_queue_attach(f->queue, f->descs, f->buffers[0]);
    return f;
}

static void stop(struct fixture *f)
{
    ublk_queue_drain(f->queue);
    ublk_queue_destroy(f->queue);
    if (f->memory != NULL) {
        page_disk_destroy(f->memory);
    }
    (void)fclose(f->file);
    free(f);
}

static void post(struct fixture *f, unsigned tag, uint32_t op_flags, uint64_t sector,
                 uint32_t count)
{
    f->descs[tag] = (struct ublksrv_io_desc){ .op_flags = op_flags,
                                              .nr_sectors = count,
                                              .start_sector = sector };
    f->results[tag] = PENDING;
    ublk_queue_request(f->queue, tag);
}

static int32_t result_of(struct fixture *f, unsigned tag)
{
    ublk_queue_submit(f->queue);
    while (f->results[tag] == PENDING) {
        struct pollfd p = { .fd = ublk_queue_event_fd(f->queue), .events = POLLIN };

        assert_int_equal(poll(&p, 1, 60000), 1);
        ublk_queue_reap(f->queue);
    }
    return f->results[tag];
}

static void read_back(struct fixture *f, unsigned tag, uint64_t sector, uint32_t count)
{
    memset(f->buffers[tag], 0xee, BUFFER_SIZE);
    post(f, tag, UBLK_IO_OP_READ, sector, count);
    assert_int_equal(result_of(f, tag), count * 512);
    assert_memory_equal(f->buffers[tag], f->model + sector * 512, (size_t)count * 512);
    if (count * 512 < BUFFER_SIZE) {
        assert_int_equal(f->buffers[tag][(size_t)count * 512], 0xee); /* and nothing behind */
    }
}

static void transfers(void **state)
{
    (void)state;
    for (unsigned in_memory = 0; in_memory < 2; in_memory++) {
        struct fixture *f = start(in_memory == 1, false);

        read_back(f, 0, 0, 1);
        read_back(f, DEPTH - 1, SECTORS - 128, 128);
        for (unsigned tag = 0; tag < DEPTH; tag++) {
            const bool is_durable = tag % 2 == 1;

            memset(f->buffers[tag], (int)(0xa0 + tag), (size_t)512 * 3);
            memset(f->model + (size_t)tag * 10 * 512, (int)(0xa0 + tag), (size_t)512 * 3);
            post(f, tag, UBLK_IO_OP_WRITE | (is_durable ? UBLK_IO_F_FUA : 0), (uint64_t)tag * 10,
                 3);
        }
        for (unsigned tag = 0; tag < DEPTH; tag++) {
            assert_int_equal(result_of(f, tag), 512 * 3);
        }
        read_back(f, 1, 0, 128);
        post(f, 2, UBLK_IO_OP_FLUSH, 0, 0);
        assert_int_equal(result_of(f, 2), 0);
        stop(f);
    }
}

static void clearing(void **state)
{
    static const uint32_t ways[] = { UBLK_IO_OP_DISCARD, UBLK_IO_OP_WRITE_ZEROES,
                                     UBLK_IO_OP_WRITE_ZEROES | UBLK_IO_F_NOUNMAP };

    (void)state;
    for (unsigned i = 0; i < array_size(ways) * 2; i++) {
        struct fixture *f = start(i % 2 == 1, false);

        post(f, 3, ways[i / 2], 8, 16);
        const int32_t result = result_of(f, 3);

        assert_true(result == 0 || result == -EOPNOTSUPP); /* not each file system can */
        if (result == 0) {
            memset(f->model + (size_t)8 * 512, 0, (size_t)16 * 512);
        }
        read_back(f, 3, 0, 128);
        stop(f);
    }
}

static const struct refusal {
    uint32_t op_flags;
    uint32_t count;
    uint64_t sector;
    bool is_read_only;
    int32_t result;
} refusals[] = {
    { UBLK_IO_OP_READ, 0, 0, false, -EINVAL },
    { UBLK_IO_OP_READ, 1, SECTORS, false, -EINVAL },
    { UBLK_IO_OP_READ, 2, SECTORS - 1, false, -EINVAL },
    { UBLK_IO_OP_READ, 1, UINT64_MAX, false, -EINVAL },
    { UBLK_IO_OP_READ, BUFFER_SIZE / 512 + 1, 0, false, -EINVAL },
    { UBLK_IO_OP_WRITE, UINT32_MAX, 0, false, -EINVAL },
    { UBLK_IO_OP_DISCARD, UINT32_MAX, 0, false, -EINVAL },
    { UBLK_IO_OP_DISCARD, 1, UINT64_MAX / 512, false, -EINVAL },
    { UBLK_IO_OP_WRITE_SAME, 1, 0, false, -EOPNOTSUPP },
    { 0xff, 1, 0, false, -EOPNOTSUPP },
    { UBLK_IO_OP_WRITE, 1, 0, true, -EROFS },
    { UBLK_IO_OP_DISCARD, 1, 0, true, -EROFS },
    { UBLK_IO_OP_WRITE_ZEROES, 1, 0, true, -EROFS },
    { UBLK_IO_OP_READ, 1, 0, true, 512 },
};

static void refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct fixture *f = start(i % 2 == 1, r->is_read_only);

        post(f, 5, r->op_flags, r->sector, r->count);
        assert_int_equal(result_of(f, 5), r->result);
        read_back(f, 5, 0, 128); /* nothing has changed, and the tag works */
        stop(f);
    }
}

/* The image is shorter than it was. */
static void shrunk(void **state)
{
    struct fixture *f = start(false, false);

    (void)state;
    assert_int_equal(ftruncate(fileno(f->file), 512), 0);
    post(f, 0, UBLK_IO_OP_READ, 0, 8);
    assert_int_equal(result_of(f, 0), -EIO);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transfers),
        cmocka_unit_test(clearing),
        cmocka_unit_test(refused),
        cmocka_unit_test(shrunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
