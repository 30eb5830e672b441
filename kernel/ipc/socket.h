/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets: what every address family has in common (descriptors, messages, control data, options)
 * is in socket.c; a family registers one struct socket_family and fills one struct socket_ops.
 */
#pragma once

#include <core/types.h>

struct file;
struct poll_table;
struct uio;

#define AF_UNSPEC 0
#define AF_UNIX   1
#define AF_VSOCK  40

#define SOCK_STREAM    1
#define SOCK_DGRAM     2
#define SOCK_SEQPACKET 5

#define MSG_OOB          0x1u
#define MSG_PEEK         0x2u
#define MSG_CTRUNC       0x8u
#define MSG_TRUNC        0x20u
#define MSG_DONTWAIT     0x40u
#define MSG_EOR          0x80u
#define MSG_WAITALL      0x100u
#define MSG_NOSIGNAL     0x4000u
#define MSG_CMSG_CLOEXEC 0x40000000u

#define SHUT_RD 1u /* bits, unlike the call's numbers */
#define SHUT_WR 2u

#define SOCKET_ADDRESS_MAX 128u
#define SOCKET_FDS_MAX     253u

struct socket_address {
    uint32_t size; /* bytes given or present; 0: none */

    union {
        uint16_t family;
        char bytes[SOCKET_ADDRESS_MAX];
    };
};

struct socket_credentials { /* the ABI's struct ucred */
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
};

/* What travels beside the bytes. Files are counted and belong to the message. */
struct socket_message {
    uint32_t flags;              /* MSG_* asked for; on return, those to report */
    struct socket_address *name; /* destination, or where to put the source; NULL: none wanted */
    struct file **files;
    uint32_t file_count;
    bool has_credentials; /* sent explicitly; on return: to be reported */
    struct socket_credentials credentials;
};

struct socket {
    const struct socket_ops *ops;
    int family;
    int type;
    int protocol;
    bool passes_credentials;                      /* SO_PASSCRED */
    uint64_t send_timeout_ns, receive_timeout_ns; /* 0: none */
    uint32_t send_buffer, receive_buffer;
};

/* Methods may sleep, up to the deadline (0: not at all; then -EAGAIN). */
struct socket_ops {
    int (*bind)(struct socket *s, const struct socket_address *a);
    int (*listen)(struct socket *s, int backlog);
    int (*accept)(struct socket *s, uint64_t deadline, struct socket **out);
    int (*connect)(struct socket *s, const struct socket_address *a, uint64_t deadline);
    int (*name)(struct socket *s, bool of_peer, struct socket_address *out);
    ssize_t (*send)(struct socket *s, struct uio *u, struct socket_message *m, uint64_t deadline);
    ssize_t (*receive)(struct socket *s, struct uio *u, struct socket_message *m,
                       uint64_t deadline);
    int (*shutdown)(struct socket *s, unsigned how);
    uint32_t (*poll)(struct socket *s, struct file *f, struct poll_table *pt);
    int (*error)(struct socket *s); /* SO_ERROR: taken, positive */
    bool (*is_listening)(const struct socket *s);
    int (*peer_credentials)(const struct socket *s, struct socket_credentials *out);
    uint32_t (*unread)(struct socket *s); /* FIONREAD */
    void (*release)(struct socket *s);
};

struct socket_family {
    int family;
    int (*create)(int type, int protocol, struct socket **out);
    int (*pair)(struct socket *a, struct socket *b); /* NULL: EOPNOTSUPP */
};

extern const struct socket_family unix_family;
extern const struct socket_family vsock_family;

void socket_init(struct socket *s, const struct socket_ops *ops, int family, int type,
                 int protocol);
