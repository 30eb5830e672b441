/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_VSOCK stream sockets: what the calls (vsock.c) and the packets (vsock_packet.c) share.
 *
 * One lock, vsock_lock, irq-safe, guards tables and sockets: packets are handled in the device's
 * interrupt, and every change is a few stores. A socket is counted: its file or its place in a
 * listener's queue holds one, the table of connections another.
 */
#pragma once

#include <core/lock.h>
#include <core/ref.h>
#include <drivers/virtio_vsock.h>
#include <ipc/socket.h>
#include <sched/wait.h>

#define VSOCK_ANY          UINT32_MAX /* as a port, and as a CID */
#define VSOCK_WINDOW       (128u << 10)
#define VSOCK_SHUT_RECEIVE 1u /* bits as in packets; the calls' SHUT_RD, SHUT_WR are the same */
#define VSOCK_SHUT_SEND    2u
#define VSOCK_SHUT_BOTH    3u

static_assert(SHUT_RD == VSOCK_SHUT_RECEIVE && SHUT_WR == VSOCK_SHUT_SEND, "bits pass through");

enum vsock_state {
    VSOCK_IDLE,
    VSOCK_LISTENING,
    VSOCK_CONNECTING,
    VSOCK_CONNECTED,
    VSOCK_DONE, /* was connected; what came can still be read */
};

struct vsock_socket {
    struct socket base;
    struct ref ref;

    /* vsock_lock */
    enum vsock_state state;
    bool is_bound;
    bool is_released; /* no file any more: in the table until the peer has answered */
    uint32_t local_port;
    uint32_t peer_cid, peer_port;
    struct list bound;  /* in the list of listeners and bound ones */
    struct list linked; /* in the table of connections */
    unsigned shut, peer_shut;
    int error; /* SO_ERROR, positive */
    struct list pending;
    struct list pending_link;
    int pending_count, backlog;
    struct list
        queue;       /* pages received, by page->link; their headers keep size and what was read */
    uint32_t queued; /* bytes in it */
    uint32_t received, forwarded, forwarded_told;
    uint32_t sent, peer_buffer, peer_forwarded;

    struct mutex read_mutex; /* one reader at a time, across copies to the program */
    struct wait_queue read_wait;
    struct wait_queue write_wait;
};

extern struct spinlock vsock_lock;

struct vsock_socket *vsock_alloc(unsigned gfp) MUST_CHECK;
void vsock_put(struct vsock_socket *v);

/* Under vsock_lock. */
bool vsock_bind_locked(struct vsock_socket *v, uint32_t port); /* VSOCK_ANY: a free one */
void vsock_unbind_locked(struct vsock_socket *v);
void vsock_link_locked(struct vsock_socket *v);
/* True: the table's reference is the caller's to put, after the lock. */
bool vsock_unlink_locked(struct vsock_socket *v) MUST_CHECK;
uint32_t vsock_credit_locked(const struct vsock_socket *v);
/* A packet of this connection, with its books; they count as told. */
struct vsock_header vsock_header_locked(struct vsock_socket *v, enum vsock_op op, uint32_t flags);
void vsock_wake_all(struct vsock_socket *v);
