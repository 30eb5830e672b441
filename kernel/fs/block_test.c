/* SPDX-License-Identifier: Apache-2.0 */
/* Block devices as files: any position and size, against an array. */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <core/errno.h>
#include <fs/dev.h>
#include <fs/devfs/devfs.h>
#include <fs/file.h>
#include <host/host.h>

#define SECTORS 300u
#define SIZE    ((size_t)SECTORS * 512u)

static uint8_t medium[SIZE];
static unsigned requests;

static int disk_read(struct block_device *b, uint64_t sector, void *buf, size_t count)
{
    (void)b;
    requests++;
    assert_true(range_fits(sector, count, SECTORS));
    memcpy(buf, medium + sector * 512, count * 512);
    return 0;
}

static int disk_write(struct block_device *b, uint64_t sector, const void *buf, size_t count)
{
    (void)b;
    requests++;
    assert_true(range_fits(sector, count, SECTORS));
    memcpy(medium + sector * 512, buf, count * 512);
    return 0;
}

static int disk_fails(struct block_device *b, uint64_t sector, void *buf, size_t count)
{
    (void)b;
    (void)sector;
    (void)buf;
    (void)count;
    return -EIO;
}

static struct block_device disk = {
    .name = "test", .sectors = SECTORS, .read = disk_read, .write = disk_write
};

static int setup(void **state)
{
    (void)state;
    host_machine_create(UINT64_C(32) << 20, true);
    return 0;
}

static const struct stretch {
    uint64_t pos;
    size_t size;
    size_t moved;
} stretches[] = {
    { 0, 512, 512 },          { 0, 1, 1 },           { 511, 2, 2 },
    { 1000, 5000, 5000 },     { 512, 4096, 4096 },   { 4095, 70000, 70000 },
    { 0, SIZE, SIZE },        { 1, SIZE, SIZE - 1 }, { SIZE - 1, 10, 1 },
    { SIZE - 512, 512, 512 },
};

static void transfers(void **state)
{
    struct file f = { .private = &disk };
    uint8_t *expected = malloc(SIZE);
    uint8_t *bytes = malloc(SIZE);

    (void)state;
    assert_non_null(expected);
    assert_non_null(bytes);
    for (size_t i = 0; i < array_size(stretches); i++) {
        const struct stretch *s = &stretches[i];
        int64_t pos = (int64_t)s->pos;
        struct uio u;

        for (size_t k = 0; k < SIZE; k++) {
            medium[k] = (uint8_t)(k * 7 + i);
            bytes[k] = (uint8_t)(k * 3 + 1);
        }
        memcpy(expected, medium, SIZE);
        memcpy(expected + s->pos, bytes, s->moved);
        uio_init_kernel(&u, bytes, s->size);
        assert_int_equal(block_file_ops.write(&f, &u, &pos), s->moved);
        assert_int_equal(pos, s->pos + s->moved);
        assert_memory_equal(medium, expected, SIZE);

        memset(bytes, 0, SIZE);
        pos = (int64_t)s->pos;
        uio_init_kernel(&u, bytes, s->size);
        requests = 0;
        assert_int_equal(block_file_ops.read(&f, &u, &pos), s->moved);
        assert_int_equal(pos, s->pos + s->moved);
        assert_memory_equal(bytes, medium + s->pos, s->moved);
        assert_true(requests <= 1 + s->size / 65024); /* many sectors at once */
    }
    free(bytes);
    free(expected);
}

static void refusals(void **state)
{
    struct file f = { .private = &disk };
    struct block_device broken = disk;
    struct block_device fixed = disk;
    uint8_t bytes[600] = { 0 };
    int64_t pos = (int64_t)SIZE;
    struct uio u;

    (void)state;
    uio_init_kernel(&u, bytes, sizeof(bytes));
    assert_int_equal(block_file_ops.read(&f, &u, &pos), 0);
    assert_int_equal(block_file_ops.write(&f, &u, &pos), -ENOSPC);
    broken.read = disk_fails;
    f.private = &broken;
    pos = 0;
    assert_int_equal(block_file_ops.read(&f, &u, &pos), -EIO);
    pos = 1; /* a part of a sector is read first */
    assert_int_equal(block_file_ops.write(&f, &u, &pos), -EIO);
    assert_int_equal(pos, 1);
    fixed.is_read_only = true;
    f.private = &fixed;
    assert_int_equal(block_file_ops.write(&f, &u, &pos), -EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(transfers, setup),
        cmocka_unit_test_setup(refusals, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
