/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers that are aligned to nothing on files opened with O_DIRECT, several under way at once.
 */

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block_bounce.h"
#include "block_file.h"

#define DISK_SIZE  (2u << 20)
#define OPS_MAX    16u
#define PIECES     3u
#define ROUNDS     60u
#define SECTOR     512u
#define OP_SECTORS (DISK_SIZE / SECTOR / OPS_MAX) /* each operation of a round has its own part */

struct one {
    struct block_op op;
    struct iovec iov[PIECES];
    uint8_t *bytes; /* where the data lies, at an odd address */
    uint64_t offset;
    uint64_t size;
    int result;
    bool is_done;
};

struct fixture {
    int fd;
    struct block_file *file;
    uint32_t seed;
    uint8_t *memory;
    uint8_t model[DISK_SIZE];
    struct one ops[OPS_MAX];
};

static uint32_t next(struct fixture *f)
{
    f->seed = f->seed * 1664525u + 1013904223u;
    return f->seed >> 8;
}

static void on_done(void *ctx, struct block_op *op, int result)
{
    struct one *o = container_of(op, struct one, op);

    (void)ctx;
    assert_false(o->is_done);
    o->is_done = true;
    o->result = result;
}

/* A file with O_DIRECT, or -1 where the file system has none. `dir` NULL: in memory. */
static int direct_file(const char *dir)
{
    char name[64];
    int fd = dir == NULL ? memfd_create("disk", MFD_CLOEXEC)
                         : open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int direct;

    if (fd < 0) {
        return -1;
    }
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    direct = open(name, O_RDWR | O_CLOEXEC | O_DIRECT);
    (void)close(fd);
    return direct;
}

static struct fixture *start(const char *dir, bool want_sync)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->seed = 7;
    f->fd = direct_file(dir);
    if (f->fd < 0) {
        free(f);
        return NULL;
    }
    f->memory = aligned_alloc(4096, DISK_SIZE + 4096u);
    assert_non_null(f->memory);
    assert_int_equal(block_file_create(f->fd, OPS_MAX, want_sync, on_done, f, &f->file), 0);
    return f;
}

static void stop(struct fixture *f)
{
    block_file_destroy(f->file);
    (void)close(f->fd);
    free(f->memory);
    free(f);
}

/* An operation somewhere in part `i`, in up to PIECES pieces that begin anywhere. */
static void prepare(struct fixture *f, unsigned i, bool is_aligned)
{
    struct one *o = &f->ops[i];
    const uint32_t unit = is_aligned ? 8 : 1;
    const uint32_t first = next(f) % (OP_SECTORS / 2) / unit * unit;
    const uint32_t count = (1 + next(f) % (OP_SECTORS / 2 / unit)) * unit;
    const size_t size = (size_t)count * SECTOR;
    const size_t cut = is_aligned ? 0 : next(f) % size;

    o->offset = ((uint64_t)i * OP_SECTORS + first) * SECTOR;
    o->size = size;
    o->bytes = f->memory + (size_t)i * OP_SECTORS * SECTOR + (is_aligned ? 0 : 1 + next(f) % 64);
    o->is_done = false;
    o->iov[0] = (struct iovec){ o->bytes, cut };
    o->iov[1] = (struct iovec){ o->bytes + cut, size - cut };
    o->op = (struct block_op){
        .offset = o->offset,
        .size = size,
        .iov = cut == 0 ? o->iov + 1 : o->iov,
        .iov_count = cut == 0 ? 1 : 2,
    };
}

static void run(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        block_file_start(f->file, &f->ops[i].op);
    }
    block_file_submit(f->file);
    block_file_reap(f->file);
    for (unsigned i = 0; i < count; i++) {
        while (!f->ops[i].is_done) {
            struct pollfd p = { .fd = block_file_event_fd(f->file), .events = POLLIN };
            uint64_t n;

            assert_int_equal(poll(&p, 1, 60000), 1); /* nothing may wait for ever */
            (void)!read(p.fd, &n, sizeof(n));
            block_file_reap(f->file);
        }
        assert_int_equal(f->ops[i].result, 0);
    }
}

static void write_round(struct fixture *f)
{
    for (unsigned i = 0; i < OPS_MAX; i++) {
        struct one *o = &f->ops[i];

        prepare(f, i, next(f) % 3 == 0);
        o->op.kind = next(f) % 4 == 0 ? BLOCK_WRITE_DURABLE : BLOCK_WRITE;
        for (size_t at = 0; at < o->size; at++) {
            o->bytes[at] = (uint8_t)next(f);
        }
        memcpy(f->model + o->offset, o->bytes, o->size);
    }
    run(f, OPS_MAX);
}

static void read_round(struct fixture *f)
{
    for (unsigned i = 0; i < OPS_MAX; i++) {
        prepare(f, i, next(f) % 3 == 0);
        f->ops[i].op.kind = BLOCK_READ;
        memset(f->ops[i].bytes, 0xee, f->ops[i].size);
    }
    run(f, OPS_MAX);
    for (unsigned i = 0; i < OPS_MAX; i++) {
        const struct one *o = &f->ops[i];

        assert_memory_equal(o->bytes, f->model + o->offset, o->size);
    }
}

static const char *const dirs[] = { NULL, "/var/tmp", "/tmp" };

static void unaligned(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (unsigned i = 0; i < 2 * array_size(dirs); i++) {
        struct fixture *f = start(dirs[i / 2], i % 2 == 1);

        if (f == NULL) {
            continue; /* a file system without O_DIRECT */
        }
        tried++;
        for (unsigned round = 0; round < ROUNDS; round++) {
            write_round(f);
            read_round(f);
        }
        stop(f);
    }
    if (tried == 0) {
        skip();
    }
}

/* Neighbours in one block, begun together: no write undoes another. */
static void neighbours(void **state)
{
    (void)state;
    for (unsigned i = 0; i < array_size(dirs); i++) {
        struct fixture *f = start(dirs[i], false);

        if (f == NULL) {
            continue;
        }
        for (unsigned n = 0; n < OPS_MAX; n++) {
            struct one *o = &f->ops[n];

            o->bytes = f->memory + (size_t)n * 1024u + 3u;
            memset(o->bytes, (int)n + 1, SECTOR);
            memset(f->model + (size_t)n * SECTOR, (int)n + 1, SECTOR);
            o->iov[0] = (struct iovec){ o->bytes, SECTOR };
            o->op = (struct block_op){ .kind = BLOCK_WRITE,
                                       .offset = (uint64_t)n * SECTOR,
                                       .size = SECTOR,
                                       .iov = o->iov,
                                       .iov_count = 1 };
        }
        run(f, OPS_MAX);
        read_round(f);
        stop(f);
    }
}

static void alignment(void **state)
{
    struct direct_alignment a;

    (void)state;
    assert_int_equal(direct_alignment_of(-1, &a), -EBADF);
    for (unsigned i = 0; i < array_size(dirs); i++) {
        struct fixture *f = start(dirs[i], false);

        if (f != NULL) {
            assert_int_equal(direct_alignment_of(f->fd, &a), 0);
            assert_true(block_file_block_size(f->file) >= a.block);
            stop(f);
        }
    }
}

/* The file shrank under us: an error, and the next operation goes on. */
static void shrunk(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * array_size(dirs); i++) {
        struct fixture *f = start(dirs[i / 2], i % 2 == 1);

        if (f == NULL) {
            continue;
        }
        assert_int_equal(ftruncate(f->fd, 4096), 0);
        prepare(f, 3, false);
        f->ops[3].op.kind = BLOCK_READ;
        block_file_start(f->file, &f->ops[3].op);
        block_file_submit(f->file);
        block_file_drain(f->file);
        assert_true(f->ops[3].is_done);
        assert_true(f->ops[3].result < 0);
        stop(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unaligned),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(alignment),
        cmocka_unit_test(shrunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
