/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk operations on a file. The submission ring has a place for each operation that may be under
 * way, so that a started one always finds room, also when it continues after a short transfer.
 */

#include "block_file.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/assert.h>

#include "block_bounce.h"
#include "page_disk.h"

#include "jail/filter.h"

#define REAP_ROUNDS 64u /* in one go, before others get their turn */

struct block_file {
    int fd;
    struct page_disk *memory; /* NULL: the file */
    block_done_fn done;
    void *ctx;
    bool is_async;
    bool is_direct;
    int event_fd;
    unsigned depth;
    unsigned in_flight;
    struct block_op *waiting; /* behind a transfer that is bounced, which goes alone */
    struct block_op **waiting_end;
    struct bounce bounce; /* is_direct only */
    struct io_uring ring;
};

static int fallocate_mode(const struct block_op *op)
{
    return FALLOC_FL_KEEP_SIZE |
           (op->kind == BLOCK_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

void block_op_advance(struct block_op *op, uint64_t bytes)
{
    assert(bytes <= op->size);
    op->offset += bytes;
    op->size -= bytes;
    while (bytes > 0) {
        const size_t step = min_of(bytes, (uint64_t)op->iov->iov_len);

        assert(op->iov_count > 0);
        op->iov->iov_base = (uint8_t *)op->iov->iov_base + step;
        op->iov->iov_len -= step;
        bytes -= step;
        if (op->iov->iov_len == 0) {
            op->iov++;
            op->iov_count--;
        }
    }
}

/*
 * Take one system call's result into account. True when the operation has ended, with *result set;
 * false when it is to be continued.
 */
static bool is_ended(struct block_op *op, int64_t n, int *result)
{
    if (n == -EINTR || n == -EAGAIN) {
        return false;
    }
    *result = n < 0 ? (int)n : 0;
    if (n < 0 || !block_op_is_transfer(op)) {
        return true;
    }
    if (n == 0) {
        *result = -EIO; /* the file is shorter than it was */
        return true;
    }
    block_op_advance(op, (uint64_t)n);
    return op->size == 0;
}

static int64_t run_sync(const struct block_file *f, const struct block_op *op)
{
    const off_t offset = (off_t)op->offset;
    const int count = (int)op->iov_count;
    int64_t n = -EINVAL;

    switch (op->kind) {
    case BLOCK_READ:
        n = preadv2(f->fd, op->iov, count, offset, 0);
        break;
    case BLOCK_WRITE:
        n = pwritev2(f->fd, op->iov, count, offset, 0);
        break;
    case BLOCK_WRITE_DURABLE:
        n = pwritev2(f->fd, op->iov, count, offset, RWF_DSYNC);
        break;
    case BLOCK_FLUSH:
        n = fdatasync(f->fd);
        break;
    case BLOCK_PUNCH:
    case BLOCK_ZERO:
        n = fallocate(f->fd, fallocate_mode(op), offset, (off_t)op->size);
        break;
    }
    if (n >= 0) {
        return n;
    }
    return errno == EAGAIN ? -EIO : -errno; /* nobody would tell us when to try again */
}

/* All of a transfer, or what stopped it; the vector is used up. */
static int move_in_memory(struct page_disk *d, const struct block_op *op)
{
    uint64_t offset = op->offset;
    int err = 0;

    for (unsigned i = 0; err == 0 && i < op->iov_count; i++) {
        const struct iovec *v = &op->iov[i];

        if (op->kind == BLOCK_READ) {
            page_disk_read(d, offset, v->iov_base, v->iov_len);
        } else {
            err = page_disk_write(d, offset, v->iov_base, v->iov_len);
        }
        offset += v->iov_len;
    }
    return err;
}

static int run_in_memory(const struct block_file *f, const struct block_op *op)
{
    switch (op->kind) {
    case BLOCK_READ:
    case BLOCK_WRITE:
    case BLOCK_WRITE_DURABLE:
        return move_in_memory(f->memory, op);
    case BLOCK_FLUSH:
        return 0;
    case BLOCK_PUNCH:
    case BLOCK_ZERO:
        return page_disk_clear(f->memory, op->offset, op->size);
    }
    return -EINVAL;
}

static void queue(struct block_file *f, struct block_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);

    assert(sqe != NULL); /* the ring is as large as `depth` */
    switch (op->kind) {
    case BLOCK_READ:
        io_uring_prep_readv(sqe, f->fd, op->iov, op->iov_count, op->offset);
        break;
    case BLOCK_WRITE:
        io_uring_prep_writev(sqe, f->fd, op->iov, op->iov_count, op->offset);
        break;
    case BLOCK_WRITE_DURABLE:
        io_uring_prep_writev2(sqe, f->fd, op->iov, op->iov_count, op->offset, RWF_DSYNC);
        break;
    case BLOCK_FLUSH:
        io_uring_prep_fsync(sqe, f->fd, IORING_FSYNC_DATASYNC);
        break;
    case BLOCK_PUNCH:
    case BLOCK_ZERO:
        io_uring_prep_fallocate(sqe, f->fd, fallocate_mode(op), (off_t)op->offset, (off_t)op->size);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

static int run_to_end(const struct block_file *f, struct block_op *op)
{
    int result;

    while (!is_ended(op, run_sync(f, op), &result)) {
    }
    return result;
}

/* The caller's thread does all of it. */
static int run_bounced(struct block_file *f, struct block_op *op)
{
    int result;

    bounce_begin(&f->bounce, op);
    do {
        result = run_to_end(f, &f->bounce.io);
    } while (result == 0 && bounce_next(&f->bounce));
    f->bounce.op = NULL;
    return result;
}

static void begin(struct block_file *f, struct block_op *op)
{
    assert(f->in_flight < f->depth);
    f->in_flight++;
    queue(f, op);
}

/*
 * Begin what waits, in order. A bounced transfer goes alone: there is one buffer, and a write of a
 * part of a block must not undo its neighbour's.
 */
static void begin_waiting(struct block_file *f)
{
    struct block_op *op;

    while ((op = f->waiting) != NULL && f->bounce.op == NULL) {
        const bool must_bounce = bounce_is_needed(&f->bounce, op);

        if (must_bounce && f->in_flight > 0) {
            return;
        }
        f->waiting = op->next;
        if (f->waiting == NULL) {
            f->waiting_end = &f->waiting;
        }
        if (must_bounce) {
            bounce_begin(&f->bounce, op);
            op = &f->bounce.io;
        }
        begin(f, op);
    }
}

void block_file_start(struct block_file *f, struct block_op *op)
{
    const bool must_bounce = f->is_direct && bounce_is_needed(&f->bounce, op);

    if (f->memory != NULL) {
        f->done(f->ctx, op, run_in_memory(f, op));
    } else if (!f->is_async) {
        f->done(f->ctx, op, must_bounce ? run_bounced(f, op) : run_to_end(f, op));
    } else if (must_bounce || f->bounce.op != NULL || f->waiting != NULL) {
        op->next = NULL;
        *f->waiting_end = op;
        f->waiting_end = &op->next;
        begin_waiting(f);
    } else {
        begin(f, op);
    }
}

static void ask_for_reap(const struct block_file *f)
{
    const uint64_t one = 1;

    (void)!write(f->event_fd, &one, sizeof(one));
}

/* True when all that was started is the kernel's now. */
static bool submit(struct block_file *f)
{
    /* What ends during the submission is reaped right after it: no need to wake the loop. */
    (void)io_uring_cq_eventfd_toggle(&f->ring, false);
    /*
     * Refused for now (no memory, say): the entries stay queued, the event asks for another round.
     */
    if (io_uring_submit(&f->ring) < 0) {
        ask_for_reap(f);
        return false;
    }
    return true;
}

void block_file_submit(struct block_file *f)
{
    if (f->is_async) {
        (void)submit(f);
    }
}

/* What the kernel was asked for has ended. */
static void end(struct block_file *f, struct block_op *op, int result)
{
    assert(f->in_flight > 0);
    if (op == &f->bounce.io) {
        if (result == 0 && bounce_next(&f->bounce)) {
            queue(f, op);
            return;
        }
        op = f->bounce.op;
        f->bounce.op = NULL;
    }
    f->in_flight--;
    f->done(f->ctx, op, result);
}

void block_file_reap(struct block_file *f)
{
    struct io_uring_cqe *cqe;
    unsigned rounds = REAP_ROUNDS;
    bool is_going_on;

    if (!f->is_async) {
        return;
    }
    do {
        while (io_uring_peek_cqe(&f->ring, &cqe) == 0) {
            struct block_op *op = io_uring_cqe_get_data(cqe);
            const int n = cqe->res;
            int result;

            io_uring_cqe_seen(&f->ring, cqe);
            if (is_ended(op, n, &result)) {
                end(f, op, result);
            } else {
                queue(f, op);
            }
        }
        begin_waiting(f);
        if (io_uring_sq_ready(&f->ring) > 0) {
            is_going_on = submit(f) && --rounds > 0;
        } else {
            /* From here on the event tells of the next; one may have come in between. */
            (void)io_uring_cq_eventfd_toggle(&f->ring, true);
            __sync_synchronize(); /* with the host kernel; TSan knows no __atomic_thread_fence() */
            is_going_on = io_uring_cq_ready(&f->ring) > 0;
        }
    } while (is_going_on);
    (void)io_uring_cq_eventfd_toggle(&f->ring, true);
    if (rounds == 0) {
        ask_for_reap(f);
    }
}

void block_file_drain(struct block_file *f)
{
    while (f->in_flight > 0) {
        (void)io_uring_submit_and_wait(&f->ring, 1); /* EINTR and the like: once more */
        block_file_reap(f);
    }
}

/*
 * Seccomp does not see what a ring is asked for: without this, whoever owns a jailed vCPU thread
 * opens files and sockets through it. Only what queue() asks for is left, for good.
 */
static int ring_restrict(const struct io_uring *ring)
{
    static const uint8_t ops[] = { IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
                                   IORING_OP_FALLOCATE };
    struct io_uring_restriction allowed[array_size(ops)] = { 0 };

    for (size_t i = 0; i < array_size(ops); i++) {
        allowed[i].opcode = IORING_RESTRICTION_SQE_OP;
        allowed[i].sqe_op = ops[i];
    }
    /* By number: Debian's liburing.so exports neither of the two functions. */
    return syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
                   array_size(allowed)) < 0 ||
                   syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                           0) < 0
               ? -errno
               : 0;
}

/* 0, or -errno when this host or its policy has no io_uring for us. */
static int ring_init(struct block_file *f)
{
    int err = io_uring_queue_init(f->depth, &f->ring, IORING_SETUP_R_DISABLED);

    if (err < 0) {
        return err;
    }
    f->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (f->event_fd < 0) {
        err = -errno;
        goto exit_ring;
    }
    err = io_uring_register_eventfd(&f->ring, f->event_fd);
    if (err >= 0) {
        err = ring_restrict(&f->ring);
    }
    if (err < 0) {
        goto close_event_fd;
    }
    f->is_async = true;
    return 0;

close_event_fd:
    (void)close(f->event_fd);
    f->event_fd = -1;
exit_ring:
    io_uring_queue_exit(&f->ring);
    return err;
}

int block_file_create(int fd, unsigned depth, bool want_sync, block_done_fn done, void *ctx,
                      struct block_file **out)
{
    struct block_file *f = calloc(1, sizeof(*f));

    if (f == NULL) {
        return -ENOMEM;
    }
    f->fd = fd;
    f->depth = depth;
    f->done = done;
    f->ctx = ctx;
    f->event_fd = -1;
    f->waiting_end = &f->waiting;
    const int flags = fd < 0 ? 0 : fcntl(fd, F_GETFL);

    if (flags > 0 && (flags & O_DIRECT) != 0) {
        int err = bounce_init(&f->bounce, fd);

        if (err < 0) {
            free(f);
            return err;
        }
        f->is_direct = true;
    }
    if (!want_sync) {
        (void)ring_init(f); /* refused: is_async says so */
    }
    if (!f->is_async) {
        filter_allow_sync_disks();
    }
    *out = f;
    return 0;
}

int block_file_create_memory(struct page_disk *disk, block_done_fn done, void *ctx,
                             struct block_file **out)
{
    int err = block_file_create(-1, 1, true, done, ctx, out);

    if (err == 0) {
        (*out)->memory = disk;
    }
    return err;
}

void block_file_destroy(struct block_file *f)
{
    assert(f->in_flight == 0 && f->waiting == NULL);
    if (f->is_async) {
        io_uring_queue_exit(&f->ring);
        (void)close(f->event_fd);
    }
    if (f->is_direct) {
        bounce_deinit(&f->bounce);
    }
    free(f);
}

bool block_file_is_async(const struct block_file *f)
{
    return f->is_async;
}

uint32_t block_file_block_size(const struct block_file *f)
{
    return f->is_direct ? max_of(f->bounce.alignment.block, 512u) : 512;
}

int block_file_event_fd(const struct block_file *f)
{
    return f->event_fd;
}
