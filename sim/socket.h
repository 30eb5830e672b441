/* SPDX-License-Identifier: Apache-2.0 */
/* Unix stream sockets, as socket.c has them and the calls of socket_calls.c act on them. */
#pragma once

#include "disk.h"
#include "file.h"

#define SOCK_BACKLOG_MAX 128u
#define SOCK_PASSED_MAX  253u /* descriptors in one message, as Linux limits them */

/* Open files on their way (SCM_RIGHTS): each is a reference. */
struct sock_passed {
    unsigned count;
    struct sim_file *files[SOCK_PASSED_MAX];
};

struct piece;

struct socket {
    struct sim_file file;
    struct socket *peer; /* NULL: not connected, or the other end is closed */
    struct piece *first;
    struct piece *last;
    size_t queued;
    bool is_connected;
    bool is_listening;
    bool is_reset;
    bool is_read_shut;
    bool is_write_shut;
    bool is_peer_done; /* it will send no more; seen after what it sent */
    uint64_t done_ns;
    uint64_t events;        /* counts what would wake an edge-triggered waiter, arrivals apart */
    struct disk_node *node; /* bound to */
    struct socket *pending[SOCK_BACKLOG_MAX];
    unsigned pending_count;
    unsigned backlog;
};

struct socket *sock_new(int type);
struct socket *sock_get(int fd); /* NULL: no socket */
void sock_join(struct socket *a, struct socket *b);
void sock_shutdown(struct socket *s, int how);
/* One call's worth, or negative errno. send: `passed` (NULL: none) goes along when it succeeds.
 * receive: up to a piece that brings files, which go to `passed` (NULL: they are dropped). */
ssize_t sock_send(struct socket *s, const void *from, size_t size, struct sock_passed *passed);
ssize_t sock_receive(struct socket *s, void *to, size_t size, int flags,
                     struct sock_passed *passed);
void sock_passed_drop(struct sock_passed *passed);
