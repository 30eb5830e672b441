/* SPDX-License-Identifier: Apache-2.0 */
/* Commands to the ublk driver: see ublk_device.h. */

#include "ublk_device.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/ublk_cmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>

#define CONTROL_PATH    "/dev/ublk-control"
#define CONTROL_ENTRIES 4u
#define OPEN_TRIES      200u /* of the character device, 10 ms apart: udev makes it */
#define OPEN_PAUSE_NS   10000000

/* Linux 6.4 and later number commands as ioctls; the plain numbers go away with an option of its
 * configuration. */
#define ENCODED_CONTROL(op) ((uint32_t)_IOWR('u', op, struct ublksrv_ctrl_cmd))
#define ENCODED_IO(op)      ((uint32_t)_IOWR('u', op, struct ublksrv_io_cmd))

struct ublk_device {
    struct ublk_events events;
    int control_fd;
    int data_fd;   /* -1: not attached */
    bool is_plain; /* the kernel wants the plain numbers */
    int id;
    unsigned depth;
    uint32_t buffer_size;
    unsigned tags_out;  /* with the kernel */
    unsigned tags_gone; /* given up by it */
    void *descs;
    uint8_t *buffers;
    struct io_uring control;
    struct io_uring data;
};

int ublk_device_open(const struct ublk_events *events, struct ublk_device **out)
{
    struct ublk_device *d = calloc(1, sizeof(*d));
    int err;

    if (d == NULL) {
        return -ENOMEM;
    }
    d->events = *events;
    d->data_fd = -1;
    d->id = -1;
    d->control_fd = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
    err = d->control_fd < 0
              ? -errno
              : io_uring_queue_init(CONTROL_ENTRIES, &d->control, IORING_SETUP_SQE128);
    if (err < 0) {
        if (d->control_fd >= 0) {
            (void)close(d->control_fd);
            err = err == -ENOENT ? -EIO : err;
        }
        free(d);
        return err;
    }
    *out = d;
    return 0;
}

void ublk_device_close(struct ublk_device *d)
{
    assert(d->data_fd < 0);
    io_uring_queue_exit(&d->control);
    (void)close(d->control_fd);
    free(d);
}

/* ---- Control commands ---- */

static void prepare(struct io_uring_sqe *sqe, int fd, uint32_t op, const void *command, size_t size,
                    uint64_t user_data)
{
    io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
    sqe->cmd_op = op;
    sqe->user_data = user_data;
    memcpy((uint8_t *)sqe + offsetof(struct io_uring_sqe, cmd), command, size);
}

/* Queue one; there is always room, as few are begun at a time. */
static int control_begin(struct ublk_device *d, uint32_t op, const struct ublksrv_ctrl_cmd *command,
                         uint64_t user_data)
{
    uint8_t padded[80] = { 0 };
    struct io_uring_sqe *sqe = io_uring_get_sqe(&d->control);
    int n;

    static_assert(sizeof(*command) <= sizeof(padded), "the command area of a 128-byte entry");
    assert(sqe != NULL);
    memcpy(padded, command, sizeof(*command));
    prepare(sqe, d->control_fd, d->is_plain ? op : ENCODED_CONTROL(op), padded, sizeof(padded),
            user_data);
    n = io_uring_submit(&d->control);
    return n < 0 ? n : 0;
}

/* Begin one and wait for its end; nothing else is under way on the control ring. */
static int control_run(struct ublk_device *d, uint32_t op, const struct ublksrv_ctrl_cmd *command)
{
    struct io_uring_cqe *cqe;
    int err = control_begin(d, op, command, 0);

    while (err == 0 && (err = io_uring_wait_cqe(&d->control, &cqe)) == -EINTR) {
        err = 0;
    }
    if (err == 0) {
        err = cqe->res;
        io_uring_cqe_seen(&d->control, cqe);
    }
    return err;
}

static struct ublksrv_ctrl_cmd command_of(const struct ublk_device *d)
{
    return (struct ublksrv_ctrl_cmd){ .dev_id = (uint32_t)d->id, .queue_id = UINT16_MAX };
}

static int add(struct ublk_device *d, struct ublksrv_ctrl_dev_info *info)
{
    struct ublksrv_ctrl_cmd command = command_of(d);

    command.addr = (uintptr_t)info;
    command.len = sizeof(*info);
    return control_run(d, UBLK_CMD_ADD_DEV, &command);
}

int ublk_device_add(struct ublk_device *d, const struct ublk_shape *shape)
{
    struct ublksrv_ctrl_dev_info info = { .nr_hw_queues = 1,
                                          .queue_depth = (uint16_t)shape->depth,
                                          .max_io_buf_bytes = shape->buffer_size,
                                          .dev_id = (uint32_t)shape->id,
                                          .ublksrv_pid = -1 };
    struct ublksrv_ctrl_dev_info asked = info;
    int err;

    d->id = shape->id;
    err = add(d, &asked);
    if (err == -EINVAL || err == -EOPNOTSUPP) {
        d->is_plain = true;
        asked = info;
        err = add(d, &asked);
    }
    if (err < 0) {
        return err;
    }
    d->id = (int)asked.dev_id;
    d->depth = min_of(shape->depth, (unsigned)asked.queue_depth);
    d->buffer_size = min_of(shape->buffer_size, asked.max_io_buf_bytes);
    if (d->depth == shape->depth && d->buffer_size == shape->buffer_size) {
        return 0;
    }
    /* Less than asked for is not what the caller laid out. */
    err = ublk_device_remove(d);
    return err < 0 ? err : -EINVAL;
}

int ublk_device_remove(struct ublk_device *d)
{
    const struct ublksrv_ctrl_cmd command = command_of(d);

    assert(d->data_fd < 0); /* the kernel waits for that */
    return control_run(d, UBLK_CMD_DEL_DEV, &command);
}

int ublk_device_set_params(struct ublk_device *d, struct ublk_params *params)
{
    struct ublksrv_ctrl_cmd command = command_of(d);

    params->len = sizeof(*params);
    command.addr = (uintptr_t)params;
    command.len = sizeof(*params);
    return control_run(d, UBLK_CMD_SET_PARAMS, &command);
}

int ublk_device_begin_start(struct ublk_device *d)
{
    struct ublksrv_ctrl_cmd command = command_of(d);

    command.data[0] = (__u64)getpid();
    return control_begin(d, UBLK_CMD_START_DEV, &command, UBLK_STARTED);
}

int ublk_device_begin_stop(struct ublk_device *d)
{
    const struct ublksrv_ctrl_cmd command = command_of(d);

    return control_begin(d, UBLK_CMD_STOP_DEV, &command, UBLK_STOPPED);
}

/* ---- Requests ---- */

static size_t descs_size(const struct ublk_device *d)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return align_up(d->depth * sizeof(struct ublksrv_io_desc), page);
}

static void offer(struct ublk_device *d, uint32_t op, unsigned tag, int32_t result)
{
    const struct ublksrv_io_cmd command = {
        .q_id = 0,
        .tag = (uint16_t)tag,
        .result = result,
        .addr = (uintptr_t)d->buffers + (uint64_t)tag * d->buffer_size,
    };
    struct io_uring_sqe *sqe = io_uring_get_sqe(&d->data);

    assert(sqe != NULL); /* the ring is as large as there are tags */
    assert(tag < d->depth);
    prepare(sqe, d->data_fd, d->is_plain ? op : ENCODED_IO(op), &command, sizeof(command), tag);
    d->tags_out++;
    assert(d->tags_out <= d->depth);
}

static int open_data(int id)
{
    const struct timespec pause = { .tv_nsec = OPEN_PAUSE_NS };
    char path[32];
    int fd = -1;

    (void)snprintf(path, sizeof(path), "/dev/ublkc%d", id);
    for (unsigned i = 0; i < OPEN_TRIES; i++) {
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 || (errno != ENOENT && errno != EACCES)) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    }
    return fd < 0 ? -errno : fd;
}

static int map(struct ublk_device *d)
{
    d->descs = mmap(NULL, descs_size(d), PROT_READ, MAP_SHARED | MAP_POPULATE, d->data_fd,
                    UBLKSRV_CMD_BUF_OFFSET);
    if (d->descs == MAP_FAILED) {
        return -errno;
    }
    d->buffers = mmap(NULL, (size_t)d->depth * d->buffer_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (d->buffers == MAP_FAILED) {
        const int err = -errno;

        (void)munmap(d->descs, descs_size(d));
        return err;
    }
    return 0;
}

/* A refusal comes at once; a start would then wait for the missing tags for ever. */
static int offer_all(struct ublk_device *d)
{
    struct io_uring_cqe *cqe;
    int n;

    for (unsigned i = 0; i < d->depth; i++) {
        offer(d, UBLK_IO_FETCH_REQ, i, 0);
    }
    n = io_uring_submit(&d->data);
    if (n >= 0 && io_uring_peek_cqe(&d->data, &cqe) == 0) {
        return cqe->res < 0 ? cqe->res : -EPROTO; /* nothing can be asked of it yet */
    }
    return n < 0 ? n : 0;
}

int ublk_device_attach(struct ublk_device *d)
{
    int err;

    d->data_fd = open_data(d->id);
    if (d->data_fd < 0) {
        return d->data_fd;
    }
    err = io_uring_queue_init(d->depth, &d->data, 0);
    if (err < 0) {
        goto close_data;
    }
    err = map(d);
    if (err < 0) {
        goto exit_ring;
    }
    err = offer_all(d);
    if (err == 0) {
        return 0;
    }
    d->tags_out = 0;
    (void)munmap(d->buffers, (size_t)d->depth * d->buffer_size);
    (void)munmap(d->descs, descs_size(d));
exit_ring:
    io_uring_queue_exit(&d->data);
close_data:
    (void)close(d->data_fd);
    d->data_fd = -1;
    return err;
}

void ublk_device_detach(struct ublk_device *d)
{
    assert(ublk_device_is_over(d));
    io_uring_queue_exit(&d->data);
    (void)munmap(d->buffers, (size_t)d->depth * d->buffer_size);
    (void)munmap(d->descs, descs_size(d));
    (void)close(d->data_fd);
    d->data_fd = -1;
}

void ublk_device_commit(struct ublk_device *d, unsigned tag, int32_t result)
{
    offer(d, UBLK_IO_COMMIT_AND_FETCH_REQ, tag, result);
}

int ublk_device_submit(struct ublk_device *d)
{
    const int n = io_uring_sq_ready(&d->data) > 0 ? io_uring_submit(&d->data) : 0;

    return n < 0 && n != -EINTR && n != -EAGAIN && n != -EBUSY ? n : 0;
}

static void reap_control(struct ublk_device *d)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&d->control, &cqe) == 0) {
        const enum ublk_command command = (enum ublk_command)cqe->user_data;
        const int result = cqe->res;

        io_uring_cqe_seen(&d->control, cqe);
        d->events.ended(d->events.ctx, command, result);
    }
}

void ublk_device_reap(struct ublk_device *d)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&d->data, &cqe) == 0) {
        const unsigned tag = (unsigned)cqe->user_data;
        const int result = cqe->res;

        io_uring_cqe_seen(&d->data, cqe);
        assert(d->tags_out > 0);
        d->tags_out--;
        if (result == UBLK_IO_RES_OK) {
            d->events.request(d->events.ctx, tag);
        } else {
            d->tags_gone++; /* UBLK_IO_RES_ABORT, or a refusal: the device is going */
        }
    }
    reap_control(d);
}

void ublk_device_fds(const struct ublk_device *d, int fds[2])
{
    fds[0] = d->data.ring_fd;
    fds[1] = d->control.ring_fd;
}

int ublk_device_id(const struct ublk_device *d)
{
    return d->id;
}

bool ublk_device_is_over(const struct ublk_device *d)
{
    return d->tags_gone == d->depth;
}

const volatile struct ublksrv_io_desc *ublk_device_descs(const struct ublk_device *d)
{
    return d->descs;
}

uint8_t *ublk_device_buffers(const struct ublk_device *d)
{
    return d->buffers;
}
