/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server on a Unix socket, driven by its owner's poll loop: one thread, requests are taken
 * one at a time and answered in order before the next one of any connection is looked at.
 *
 * Descriptors that a client passes (SCM_RIGHTS) belong to the next request that is completed on its
 * connection.
 */
#pragma once

#include <poll.h>

#include "http.h"

#define SERVER_CONNECTIONS_MAX 10u
#define SERVER_FDS_MAX         16u

/* Descriptors that came with a request. The handler takes one by writing -1 in its place. */
struct passed_fds {
    int fds[SERVER_FDS_MAX];
    unsigned count;
};

struct server_reply {
    unsigned status; /* 200, 204, 400, 413 */
    bool is_deprecated;
    char *body; /* owned; NULL: none (status 204) */
    size_t body_size;
};

typedef void (*server_handler)(void *ctx, const struct http_request *request,
                               struct passed_fds *fds, struct server_reply *reply);

struct server;

/*
 * Listen at `path`, which must not exist, or (path NULL) on `listen_fd`, which is taken. 0 and
 * *out, or -errno.
 */
int server_create(const char *path, int listen_fd, size_t body_size_max, server_handler handler,
                  void *ctx, struct server **out) MUST_CHECK;
void server_destroy(struct server *s);

#define SERVER_POLLS_MAX (SERVER_CONNECTIONS_MAX + 1)

/* What to poll for, then what to do with the answer. Returns how many entries were written. */
unsigned server_polls(const struct server *s, struct pollfd polls[SERVER_POLLS_MAX]);
void server_run(struct server *s, const struct pollfd *polls, unsigned count);
