/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-vsock, the transport under AF_VSOCK (Virtio 1.1, section 5.10). Nothing happens at boot:
 * the device is started by the first socket.
 */
#pragma once

#include <core/types.h>

struct page;

#define VSOCK_CID_HOST 2u

enum vsock_op {
    VSOCK_OP_REQUEST = 1,
    VSOCK_OP_RESPONSE = 2,
    VSOCK_OP_RST = 3,
    VSOCK_OP_SHUTDOWN = 4,
    VSOCK_OP_RW = 5,
    VSOCK_OP_CREDIT_UPDATE = 6,
    VSOCK_OP_CREDIT_REQUEST = 7,
};

#define VSOCK_TYPE_STREAM 1u

struct vsock_header {
    uint64_t src_cid;
    uint64_t dst_cid;
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t size; /* of the payload */
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buf_alloc;
    uint32_t fwd_cnt;
} PACKED;

static_assert(sizeof(struct vsock_header) == 44, "Virtio 1.1, 5.10.6");

/* A packet with data is a page: the header, then up to so many bytes. */
#define VSOCK_PAYLOAD_MAX ((uint32_t)(PAGE_SIZE - sizeof(struct vsock_header)))

bool vsock_device_exists(void);
/* Start it if it has not been started. 0, -ENODEV, -ENOMEM. Sleeps. */
int vsock_device_start(void) MUST_CHECK;
uint32_t vsock_device_cid(void);

/*
 * Send a packet without data; src_cid and type are filled in. May sleep for room, or -ENOBUFS when
 * it may not.
 */
int vsock_device_send(const struct vsock_header *h, bool may_sleep);
/* Send a page that begins with its header. Takes the page, also on failure. Sleeps for room. */
int vsock_device_send_page(struct page *p, uint32_t size) MUST_CHECK;

/* --- what the device calls, in its interrupt; ipc/vsock_packet.c ------------------------------ */

/*
 * A packet came: `size` bytes of the page, its header first, checked to be there. True: the page
 * was kept; false: it can be used again.
 */
bool vsock_receive(struct page *p, uint32_t size);
/* All connections are gone (the machine was snapshotted or restored); listeners stay. */
void vsock_transport_reset(void);
