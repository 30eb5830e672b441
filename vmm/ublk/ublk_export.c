/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drupe_block_export(): opens the image, makes the device, and serves it in the calling thread
 * until it is told to stop. Four descriptors wake it: the two rings of the device, the backend's
 * completions, and the caller's stop.
 */

#include <errno.h>
#include <linux/ublk_cmd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <base/assert.h>

#include "drupe/block.h"

#include "config.h"
#include "devices/page_disk.h"
#include "error.h"
#include "ublk_device.h"
#include "ublk_queue.h"

#define SECTOR_SIZE       512u
#define BUFFER_SIZE       (256u << 10)
#define PHYSICAL_SHIFT    12u /* what the page cache writes back */
#define CLEAR_SECTORS_MAX (1u << 21)
#define LOAD_SIZE         (1u << 20) /* read of an image at a time */
#define DEVICE_NAME_SIZE  32

enum phase {
    STARTING,
    LIVE,
    STOPPING,
    OVER, /* what is left is to wait until all tags are gone */
};

struct export
{
    const drupe_block_export_t *cfg;
    struct config_file file;
    struct page_disk *memory;
    uint64_t size;
    struct ublk_device *device;
    struct ublk_queue *queue;
    enum phase phase;
    int failure; /* -errno of the start or of the rings */
    int stop_fd;
    void (*ready)(void *ctx, const char *device);
    void *ready_ctx;
};

/* ---- The image ---- */

/* The image's bytes into memory; zeros take nothing there. 0 or -errno. */
static int load(struct export *x)
{
    uint8_t *bytes = malloc(LOAD_SIZE);
    uint64_t at = 0;
    int err = bytes == NULL ? -ENOMEM : 0;

    while (err == 0 && at < x->size) {
        const ssize_t n =
            pread(x->file.fd, bytes, (size_t)min_of(x->size - at, (uint64_t)LOAD_SIZE), (off_t)at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        err = n < 0 ? -errno : n == 0 ? -EIO : page_disk_write(x->memory, at, bytes, (size_t)n);
        at += n > 0 ? (uint64_t)n : 0;
    }
    free(bytes);
    return err;
}

static drupe_vm_err_t open_memory(struct export *x, struct drupe_error *err)
{
    /* Nothing of a disk takes more than its size. */
    int r =
        page_disk_create(align_up(x->size, (uint64_t)PAGE_DISK_PAGE_SIZE), UINT64_MAX, &x->memory);

    if (r == 0 && x->cfg->path != NULL) {
        r = load(x);
    }
    return r == 0 ? DRUPE_OK
                  : error_set(err, r == -ENOMEM ? DRUPE_NO_MEMORY : DRUPE_INTERNAL, -r,
                              "disk %s: keeping it in memory",
                              x->cfg->path != NULL ? x->cfg->path : "");
}

static drupe_vm_err_t open_image(struct export *x, struct drupe_error *err)
{
    const drupe_block_export_t *cfg = x->cfg;
    drupe_vm_err_t r = DRUPE_OK;

    x->size = cfg->memory_size;
    if (cfg->path != NULL) {
        r = config_take_disk(cfg->path, cfg->is_read_only || cfg->is_compressed,
                             cfg->is_direct && !cfg->is_compressed, &x->file, err);
        if (r != DRUPE_OK) {
            return r;
        }
        x->size = x->file.size;
        if (x->size % SECTOR_SIZE != 0) {
            return error_set(err, DRUPE_NO_ACCESS, 0,
                             "disk %s: %llu bytes are no whole sectors of %u", cfg->path,
                             (unsigned long long)x->size, SECTOR_SIZE);
        }
    }
    return cfg->path == NULL || cfg->is_compressed ? open_memory(x, err) : DRUPE_OK;
}

/* ---- Requests and commands ---- */

static void on_commit(void *ctx, unsigned tag, int32_t result)
{
    const struct export *x = ctx;

    ublk_device_commit(x->device, tag, result);
}

static void on_request(void *ctx, unsigned tag)
{
    const struct export *x = ctx;

    ublk_queue_request(x->queue, tag);
}

static void begin_stop(struct export *x)
{
    const int err = ublk_device_begin_stop(x->device);

    x->phase = STOPPING;
    if (err < 0) {
        x->failure = x->failure != 0 ? x->failure : err;
    }
}

static void on_ended(void *ctx, enum ublk_command command, int result)
{
    struct export *x = ctx;
    char name[DEVICE_NAME_SIZE];

    if (command == UBLK_STOPPED) {
        x->phase = OVER;
        return;
    }
    if (result < 0) {
        x->failure = result;
        begin_stop(x);
        return;
    }
    x->phase = LIVE;
    if (x->ready != NULL) {
        (void)snprintf(name, sizeof(name), "/dev/ublkb%d", ublk_device_id(x->device));
        x->ready(x->ready_ctx, name);
    }
}

/* Until the device has no tag left. */
static void serve(struct export *x)
{
    int rings[2];

    ublk_device_fds(x->device, rings);
    while (!ublk_device_is_over(x->device) || x->phase == STARTING || x->phase == STOPPING) {
        struct pollfd fds[] = {
            { .fd = rings[0], .events = POLLIN },
            { .fd = rings[1], .events = POLLIN },
            { .fd = ublk_queue_event_fd(x->queue), .events = POLLIN },
            { .fd = x->phase == LIVE ? x->stop_fd : -1, .events = POLLIN },
        };

        if (poll(fds, array_size(fds), -1) < 0 && errno != EINTR) {
            x->failure = -errno;
        }
        if (fds[2].revents != 0) {
            ublk_queue_reap(x->queue);
        }
        ublk_device_reap(x->device);
        ublk_queue_submit(x->queue);
        if (ublk_device_submit(x->device) < 0) {
            x->failure = -EIO;
        }
        if (x->phase == LIVE && (fds[3].revents != 0 || x->failure != 0)) {
            begin_stop(x);
        }
    }
    if (x->phase == LIVE && x->failure == 0) {
        x->failure = -ENODEV; /* somebody else has removed it */
    }
}

/* ---- The device ---- */

static void fill_params(const struct export *x, struct ublk_params *p)
{
    const uint32_t block = ublk_queue_block_size(x->queue);
    const uint32_t writable = x->memory != NULL ? 0 : UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
    const uint8_t shift = (uint8_t)__builtin_ctz(block);

    *p = (struct ublk_params){
        .types = UBLK_PARAM_TYPE_BASIC,
        .basic = {
            .attrs = x->cfg->is_read_only ? UBLK_ATTR_READ_ONLY : writable,
            .logical_bs_shift = shift,
            .physical_bs_shift = (uint8_t)max_of((unsigned)shift, PHYSICAL_SHIFT),
            .io_opt_shift = (uint8_t)max_of((unsigned)shift, PHYSICAL_SHIFT),
            .io_min_shift = shift,
            .max_sectors = BUFFER_SIZE / SECTOR_SIZE,
            .dev_sectors = x->size / SECTOR_SIZE,
        },
    };
    if (!x->cfg->is_read_only) {
        p->types |= UBLK_PARAM_TYPE_DISCARD;
        p->discard = (struct ublk_param_discard){
            .discard_granularity = 1u << p->basic.physical_bs_shift,
            .max_discard_sectors = CLEAR_SECTORS_MAX,
            .max_write_zeroes_sectors = CLEAR_SECTORS_MAX,
            .max_discard_segments = 1,
        };
    }
}

static int make_queue(struct export *x)
{
    return ublk_queue_create(
        &(struct ublk_queue_setup){
            .fd = x->file.fd,
            .memory = x->memory,
            .size = x->size,
            .is_read_only = x->cfg->is_read_only,
            .depth = x->cfg->depth != 0 ? x->cfg->depth : DRUPE_BLOCK_DEPTH,
            .buffer_size = BUFFER_SIZE,
            .commit = on_commit,
            .ctx = x,
        },
        &x->queue);
}

/* From a device that the kernel knows by its number to one that is gone again. 0 or -errno. */
static int run_device(struct export *x, const char **what)
{
    struct ublk_params params;
    int err;

    *what = "setting its parameters";
    fill_params(x, &params);
    err = ublk_device_set_params(x->device, &params);
    if (err < 0) {
        return err;
    }
    *what = "offering buffers to it";
    err = ublk_device_attach(x->device);
    if (err < 0) {
        return err;
    }
    ublk_queue_attach(x->queue, ublk_device_descs(x->device), ublk_device_buffers(x->device));
    *what = "starting it";
    err = ublk_device_begin_start(x->device);
    if (err < 0) {
        x->failure = err;
        begin_stop(x);
    }
    serve(x);
    ublk_queue_drain(x->queue);
    ublk_device_detach(x->device);
    return x->failure;
}

static drupe_vm_err_t device_error(struct drupe_error *err, int r, int id, const char *what)
{
    if (r == -ENODEV) {
        return error_set(err, DRUPE_INTERNAL, 0, "block device %d: somebody removed it", id);
    }
    return error_set(err, r == -ENOMEM ? DRUPE_NO_MEMORY : DRUPE_INTERNAL, -r,
                     "block device %d: %s", id, what);
}

static drupe_vm_err_t export_device(struct export *x, struct drupe_error *err)
{
    const struct ublk_shape shape = { .id = x->cfg->id,
                                      .depth =
                                          x->cfg->depth != 0 ? x->cfg->depth : DRUPE_BLOCK_DEPTH,
                                      .buffer_size = BUFFER_SIZE };
    const char *what = "adding it";
    int r = ublk_device_add(x->device, &shape);
    int removed;
    int id;

    if (r == -EEXIST) {
        return error_field(err, "id", "there is a block device %d already", shape.id);
    }
    if (r < 0) {
        return device_error(err, r, shape.id, what);
    }
    id = ublk_device_id(x->device);
    r = run_device(x, &what);
    removed = ublk_device_remove(x->device);
    if (r == 0 && removed < 0) {
        r = removed;
        what = "removing it";
    }
    return r < 0 ? device_error(err, r, id, what) : DRUPE_OK;
}

static drupe_vm_err_t open_device(struct export *x, struct drupe_error *err)
{
    const struct ublk_events events = { .request = on_request, .ended = on_ended, .ctx = x };
    const int r = ublk_device_open(&events, &x->device);

    switch (r) {
    case 0:
        return DRUPE_OK;
    case -ENOENT:
    case -ENODEV:
    case -ENXIO:
        return error_set(
            err, DRUPE_UNAVAILABLE, 0,
            "no ublk on this host: /dev/ublk-control is not there; it comes with Linux "
            "6.0 and the module ublk_drv (modprobe ublk_drv)");
    case -EACCES:
    case -EPERM:
        return error_set(err, DRUPE_NO_ACCESS, -r, "/dev/ublk-control or io_uring");
    default:
        return error_set(err, DRUPE_UNAVAILABLE, -r, "ublk needs an io_uring of Linux 6.0");
    }
}

static drupe_vm_err_t check(const drupe_block_export_t *cfg, struct drupe_error *err)
{
    if (cfg->struct_size != sizeof(*cfg)) {
        return error_field(err, "struct_size", "of another version of the library");
    }
    if ((cfg->path == NULL) == (cfg->memory_size == 0)) {
        return error_field(err, "path", "a path or a size in memory, and not both");
    }
    if (cfg->memory_size % SECTOR_SIZE != 0 || cfg->memory_size > PAGE_DISK_SIZE_MAX) {
        return error_field(err, "memory_size", "whole sectors, at most %llu bytes",
                           (unsigned long long)PAGE_DISK_SIZE_MAX);
    }
    if (cfg->id < DRUPE_BLOCK_ID_ANY || cfg->id > DRUPE_BLOCK_ID_MAX) {
        return error_field(err, "id", "0 to %d, or any", DRUPE_BLOCK_ID_MAX);
    }
    if (cfg->depth > DRUPE_BLOCK_DEPTH_MAX) {
        return error_field(err, "depth", "at most %u", DRUPE_BLOCK_DEPTH_MAX);
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_block_export(const drupe_block_export_t *cfg, int stop_fd,
                                  void (*ready)(void *ctx, const char *device), void *ctx,
                                  struct drupe_error *err)
{
    struct export x = {
        .cfg = cfg, .file = { .fd = -1 }, .stop_fd = stop_fd, .ready = ready, .ready_ctx = ctx
    };
    drupe_vm_err_t r = check(cfg, err);

    if (r == DRUPE_OK) {
        r = open_device(&x, err); /* before the image: that may take long to load */
    }
    if (r == DRUPE_OK) {
        r = open_image(&x, err);
    }
    if (r == DRUPE_OK) {
        const int made = make_queue(&x);

        r = made == 0 ? export_device(&x, err)
                      : error_set(err, DRUPE_NO_MEMORY, -made, "a queue of requests");
    }
    if (x.queue != NULL) {
        ublk_queue_destroy(x.queue);
    }
    if (x.memory != NULL) {
        page_disk_destroy(x.memory);
    }
    config_file_deinit(&x.file);
    if (x.device != NULL) {
        ublk_device_close(x.device);
    }
    return r;
}
