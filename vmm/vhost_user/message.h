/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst), seen from the back end:
 * the program that serves a virtio device to a virtual machine in another process, the front end.
 * What a dirty log, an IOMMU or in-flight tracking would need is never offered and therefore no
 * message here.
 *
 * The front end runs a hostile guest: sizes and counts of descriptors are checked against what the
 * request says before anybody looks at a payload.
 */
#pragma once

#include <base/compiler.h>

#define VHOST_USER_REGIONS_MAX     8u /* what a table of regions holds without further features */
#define VHOST_USER_CONFIG_SIZE_MAX 256u

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_REQUESTS,
};

enum vhost_user_flag {
    VHOST_USER_VERSION = 0x1,
    VHOST_USER_VERSION_MASK = 0x3,
    VHOST_USER_REPLY = 0x4,
    VHOST_USER_NEED_REPLY = 0x8,
};

/* A bit among the device's features, and those that it brings. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum vhost_user_protocol_feature {
    VHOST_USER_PROTOCOL_F_MQ = 0,
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_F_CONFIG = 9,
};

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload */
};

struct vhost_user_ring_state {
    uint32_t index;
    uint32_t value;
};

/* Addresses are the front end's own ("user"), found in the table of regions. */
struct vhost_user_ring_addresses {
    uint32_t index;
    uint32_t flags;
    uint64_t desc;
    uint64_t used;
    uint64_t avail;
    uint64_t log;
};

struct vhost_user_region {
    uint64_t gpa;
    uint64_t size;
    uint64_t user_addr;
    uint64_t offset; /* in the descriptor that came with it */
};

struct vhost_user_regions {
    uint32_t count;
    uint32_t padding;
    struct vhost_user_region items[VHOST_USER_REGIONS_MAX];
};

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t bytes[VHOST_USER_CONFIG_SIZE_MAX];
};

/* The word of SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_USER_RING_INDEX_MASK 0xffu
#define VHOST_USER_RING_NO_FD      0x100u

union vhost_user_payload {
    uint64_t word;
    struct vhost_user_ring_state ring;
    struct vhost_user_ring_addresses addresses;
    struct vhost_user_regions regions;
    struct vhost_user_config config;
};

struct vhost_user_message {
    struct vhost_user_header header;
    union vhost_user_payload payload;
    int fds[VHOST_USER_REGIONS_MAX]; /* -1: none, or taken */
    unsigned fd_count;               /* that came */
    size_t used;                     /* bytes of header and payload that have come */
};

/* For an empty message: nothing came yet. */
void vhost_user_message_init(struct vhost_user_message *m);
/* Close the descriptors that nobody took, and begin anew. */
void vhost_user_message_clear(struct vhost_user_message *m);

/*
 * Go on receiving a message, without waiting. 1: it is there, and its size and descriptors are
 * those of its request; 0: more has to come; -EPROTO: no message of the above; -ECONNRESET: the
 * front end has gone; or what recvmsg(2) says. After 1 and errors, clear it.
 */
int vhost_user_receive(struct vhost_user_message *m, int socket) MUST_CHECK;

/* Descriptor `i` of the message becomes the caller's. */
int vhost_user_message_take_fd(struct vhost_user_message *m, unsigned i) MUST_CHECK;

/* Answer a request, without waiting: a front end that doesn't read its answers is broken. 0 or
 * -errno. */
int vhost_user_reply(int socket, uint32_t request, const void *payload, uint32_t size) MUST_CHECK;
