/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio console (VIRTIO 1.1, section 5.3) with the ports of docs/boot.md: 0 a terminal, 1 the
 * standard streams, 2 standard error. A driver without the multiport feature sees port 0 alone.
 *
 * Output goes from guest memory straight to the descriptor, on the vCPU thread that kicked; when
 * the descriptor would block, the chain waits for EPOLLOUT on the loop. Input is read only into
 * buffers that the guest has posted. Nothing is buffered here, so both directions have
 * backpressure.
 *
 * What the guest sees of the ends: PORT_OPEN 0 is end of file on the port's input; PORT_OPEN 0 and
 * then DEVICE_REMOVE say that its output has nobody to read it any more (later output is dropped).
 * Input of ports 1 and 2 flows once the driver has sent PORT_OPEN 1 for it.
 */
#pragma once

#include <abi/boot.h>

#include "virtio_mmio.h"

#define VIRTIO_CONSOLE_PORTS 3 /* BOOT_CONSOLE_PORT_... */

struct virtio_console;

struct virtio_console_port_setup {
    bool is_present;
    int in_fd;  /* -1: no input, ever */
    int out_fd; /* -1: output is dropped; may equal in_fd */
};

/*
 * Descriptors are borrowed until destroy. They should be O_NONBLOCK; a blocking one (shared with
 * another process, say) is polled before each access and written in pieces of PIPE_BUF at most. No
 * two ports share one. SIGPIPE, if the process does nothing about it, is ignored from create on: a
 * reader that goes away must not take the monitor with it.
 */
struct virtio_console_setup {
    const struct device_host *host; /* outlives the device */
    unsigned irq;
    struct virtio_console_port_setup ports[VIRTIO_CONSOLE_PORTS];
    uint16_t cols; /* terminal size; 0: unknown */
    uint16_t rows;
    int tee_fd;             /* a regular file that gets all output as well; -1: none */
    uint64_t tee_bytes_max; /* no more than that goes there */
};

/* 0 and a device in *out (destroy it), or -errno. Context as for virtio_device_init/deinit. */
int virtio_console_create(const struct virtio_console_setup *setup,
                          struct virtio_console **out) MUST_CHECK;
void virtio_console_destroy(struct virtio_console *con);

struct virtio_device *virtio_console_device(struct virtio_console *con);

/* The terminal has a new size. Any thread. */
void virtio_console_resize(struct virtio_console *con, uint16_t cols, uint16_t rows);

/*
 * The port's ends become these (-1: none), as at create. While the guest stands still: what waits
 * is looked at when the loop goes on. A port that is not present is left alone.
 */
void virtio_console_set_port(struct virtio_console *con, unsigned number, int in_fd, int out_fd);

/*
 * No output is held back: what the guest has kicked is written. True for a stopped device. Any
 * thread.
 */
bool virtio_console_is_drained(struct virtio_console *con);
