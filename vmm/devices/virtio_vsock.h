/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock (Virtio 1.1, section 5.10): streams between the guest and Unix sockets of the host,
 * by Firecracker's convention. A host program connects to the listener, sends "CONNECT <port>\n",
 * and reads "OK <host port>\n" when the guest has accepted; a connection of the guest to CID 2,
 * port P, becomes a connection to `<path>_P`. A refusal is a closed connection.
 *
 * Threads: all work is done on the loop thread, kicks are deferred to it. Only streams; the guest
 * talks to CID 2 alone.
 */
#pragma once

#include <base/compiler.h>

struct device_host;
struct virtio_device;
struct virtio_vsock;

#define VIRTIO_VSOCK_CONNECTIONS_MAX 1023u
#define VIRTIO_VSOCK_BUFFER_SIZE     (256u << 10) /* of one connection, towards the host */
#define VIRTIO_VSOCK_CID_HOST        2u
#define VIRTIO_VSOCK_CID_MIN         3u

struct virtio_vsock_setup {
    const struct device_host *host;
    unsigned irq;
    uint32_t guest_cid;
    int listen_fd;    /* a listening Unix stream socket, non-blocking; borrowed. -1: none */
    const char *path; /* borrowed; NULL: the guest cannot connect out */
    /* Who connects for us (vsock_broker.h); borrowed. -1: the device does it itself. */
    int broker_fd;
};

/* 0 or -errno, with nothing kept. Destroy as virtio_device_deinit() says. */
int virtio_vsock_create(const struct virtio_vsock_setup *setup,
                        struct virtio_vsock **out) MUST_CHECK;
void virtio_vsock_destroy(struct virtio_vsock *vsock);
struct virtio_device *virtio_vsock_device(struct virtio_vsock *vsock);

/*
 * Close every connection on the host's side and tell the guest by a transport reset event that none
 * is left; its listening sockets stay. Before a snapshot is taken (the event is then part of the
 * guest's memory) and after one was restored. Any thread.
 */
void virtio_vsock_reset(struct virtio_vsock *vsock);

/* The guest is gone: every connection ends, soon and on the loop thread. Any thread, vCPUs' too. */
void virtio_vsock_hang_up(struct virtio_vsock *vsock);

/* Another address for a clone; the guest reads it anew after a reset. Any thread. */
void virtio_vsock_set_cid(struct virtio_vsock *vsock, uint32_t guest_cid);

/* Connections under way, for statistics. Any thread. */
unsigned virtio_vsock_connection_count(struct virtio_vsock *vsock);
