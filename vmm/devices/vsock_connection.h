/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One stream between a port of the guest and a Unix socket of the host: the socket's side of it,
 * and the books of the credit (Virtio 1.1, 5.10.6.3). It knows no queues; virtio_vsock.c moves its
 * packets. All calls are made under the device's lock; none blocks.
 *
 * The socket is watched edge-triggered: is_readable and is_writable hold what the last edge said
 * until a call runs into EAGAIN.
 */
#pragma once

#include <linux/virtio_vsock.h>
#include <sys/uio.h>

#include <base/compiler.h>
#include <base/list.h>

enum vsock_state {
    VSOCK_GREETING,    /* the host's program has not said CONNECT yet */
    VSOCK_REQUESTED,   /* the guest has been asked */
    VSOCK_ESTABLISHED, /* both sides agreed */
    VSOCK_CLOSING,     /* the host's side is closed; the guest's answer is awaited */
};

/* Packets to the guest that wait for a buffer, as bits. */
enum vsock_pending {
    VSOCK_PENDING_REQUEST = 1u << 0,
    VSOCK_PENDING_RESPONSE = 1u << 1,
    VSOCK_PENDING_RESET = 1u << 2,
    VSOCK_PENDING_SHUTDOWN = 1u << 3,
    VSOCK_PENDING_CREDIT = 1u << 4,
};

struct vsock_connection {
    struct list link;  /* in the device's table */
    struct list ready; /* in its queue, when there may be something for the guest */
    enum vsock_state state;
    int fd; /* -1: closed */
    uint32_t guest_port;
    uint32_t host_port;
    unsigned pending; /* enum vsock_pending */
    bool is_dead;     /* out of the table, to be closed */

    /* Towards the guest. All counts wrap (5.10.6.3). */
    uint32_t sent;           /* bytes given to the guest */
    uint32_t peer_buffer;    /* what it says it can hold */
    uint32_t peer_forwarded; /* and has used up */
    bool is_readable;
    bool is_at_end;     /* the host sends no more */
    bool is_hung_up;    /* nor receives */
    unsigned host_shut; /* VIRTIO_VSOCK_SHUTDOWN_*: what the guest is told */

    /* Towards the host. */
    uint32_t received;       /* bytes that came from the guest */
    uint32_t forwarded;      /* of them, gone into the socket */
    uint32_t forwarded_told; /* as the guest last heard */
    bool is_writable;
    bool is_deaf; /* the host reads no more: what comes is dropped */
    unsigned guest_shut;
    unsigned guest_shut_done; /* carried out */
    uint8_t *buffer;          /* VIRTIO_VSOCK_BUFFER_SIZE, a ring; NULL until it is needed */
    uint32_t head;
    uint32_t count;
};

/* Takes `fd`. NULL: no memory, and fd stays the caller's. */
struct vsock_connection *vsock_connection_create(int fd);
/* Closes the socket; not in any list any more. */
void vsock_connection_destroy(struct vsock_connection *c);
void vsock_connection_close(struct vsock_connection *c);

/*
 * Read the host's "CONNECT <port>\n" and nothing behind it. 1 and *port; 0: not complete yet;
 * -EPROTO: something else, or the host is gone.
 */
int vsock_connection_greeting(struct vsock_connection *c, uint32_t *port) MUST_CHECK;
/* Answer it. -errno: the host is gone. */
int vsock_connection_welcome(struct vsock_connection *c) MUST_CHECK;

/* Bytes that the guest can still take. */
uint32_t vsock_connection_credit(const struct vsock_connection *c);
/* Is there something for the guest? */
bool vsock_connection_is_ready(const struct vsock_connection *c);
/* Read from the host. > 0 bytes; 0: nothing now, or the end, which is then noted. */
size_t vsock_connection_read(struct vsock_connection *c, struct iovec *iov, unsigned count);

/*
 * Bytes of the guest, `size` in all: *taken of them are done with. The caller puts the rest into
 * the connection's buffer: reserve gives a place for up to *size bytes (NULL: no memory), keep says
 * how many were put there. -EPROTO: more than was allowed.
 */
int vsock_connection_write(struct vsock_connection *c, struct iovec *iov, unsigned count,
                           size_t size, size_t *taken) MUST_CHECK;
uint8_t *vsock_connection_reserve(struct vsock_connection *c, size_t *size);
void vsock_connection_keep(struct vsock_connection *c, size_t size);
/* Move what is kept into the socket, then carry out what the guest shut. */
void vsock_connection_flush(struct vsock_connection *c);
/* The guest has not heard for long how much was used up. */
bool vsock_connection_owes_credit(const struct vsock_connection *c);
