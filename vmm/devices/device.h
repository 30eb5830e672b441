/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device is to the rest of the monitor, and what it gets from it. Devices know neither KVM
 * nor threads: they are driven by calls and answer through the host table that they were created
 * with, so that tests and the simulator can supply their own.
 *
 * Threads: MMIO and PIO accesses come from vCPU threads, events from the VM's loop thread. Each
 * device has one lock of its own, taken inside its entry points; host calls below may be made with
 * it held and never call back into the device.
 */
#pragma once

#include <base/compiler.h>

struct gmem;

/* Severities of a device's message; the embedder decides where they go. Rate-limited by the host.
 */
enum device_log_level {
    DEVICE_LOG_ERROR,
    DEVICE_LOG_WARN,
    DEVICE_LOG_INFO,
};

/* Called on the loop thread when `fd` is ready; `events` are EPOLLIN/EPOLLOUT/EPOLLERR/EPOLLHUP
 * bits. */
typedef void (*device_fd_fn)(void *device, int fd, uint32_t events);

/* What a device may ask of the machine around it. Every call is safe from any thread. */
struct device_host {
    void *ctx;
    const struct gmem *gmem;
    /* Raise interrupt line `irq` once (edge). */
    void (*irq_raise)(void *ctx, unsigned irq);
    /* Watch a descriptor on the loop thread (level-triggered); `events` 0 stops watching it. 0 or
     * -errno. */
    int (*watch)(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device);
    void (*log)(void *ctx, enum device_log_level level, const char *device, const char *text);
    /* The machine ends: kind and status as in include/abi/boot.h; idempotent, the first one counts.
     */
    void (*machine_end)(void *ctx, unsigned kind, unsigned status);
};

/*
 * A window of guest-physical or I/O-port space. `offset` is relative to the window and offset +
 * size lies inside it; size is 1, 2, 4 or 8. `value` is little-endian in the low bytes.
 */
struct io_window {
    uint64_t base;
    uint64_t size;
    void *device;
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};
