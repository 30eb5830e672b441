/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the control API inside the world, written from HTTP's rules and docs/control-api.md,
 * not from the server: it sends in pieces that the seed chooses and takes answers apart strictly.
 */
#pragma once

#include "drupe/control.h"

#include "check.h"

struct api_client {
    int fd; /* -1: closed */
    char *input;
    size_t input_size;
};

struct api_answer {
    unsigned status;
    char body[8192]; /* terminated */
    size_t size;
};

/* A monitor that serves in a task of this process. */
struct api_monitor {
    struct drupe_control_options options;
    struct drupe_error err;
    unsigned task;
    bool has_ended;
    int status; /* when it has ended */
};

/* Serve at `path` with what drupe_control_options_init() says; change what differs before. */
void api_monitor_init(struct api_monitor *m, const char *path);
void api_monitor_start(struct api_monitor *m);
/* Until it has ended, which must be with `status`; its socket's name goes. */
void api_monitor_wait(struct api_monitor *m, int status);

/* False: refused for good; a server that is not there yet is waited for. */
bool api_connect(struct api_client *c, const char *path);
void api_hang_up(struct api_client *c);

/* A request's text; returns its size. `body` NULL: none. */
size_t api_request(char *out, size_t size, const char *method, const char *path, const char *body);
/* All of it, in pieces by the seed. False: the connection is gone. */
bool api_send(struct api_client *c, const char *bytes, size_t size);
/* The same, with descriptors along the first byte. */
bool api_send_with(struct api_client *c, const char *bytes, size_t size, const int *fds,
                   unsigned count);
/* The next answer. False: the connection ended before it began; in the middle of one is an error
 * unless `may_break`. */
bool api_receive(struct api_client *c, struct api_answer *out, bool may_break);
/* Send and receive, within `limit_ns` (I12). False: no answer. */
bool api_ask(struct api_client *c, const char *method, const char *path, const char *body,
             struct api_answer *out);
/* The answer must have this status. */
void api_must(struct api_client *c, unsigned status, const char *method, const char *path,
              const char *body);
/* May answers break off in this scenario (resets, kills)? Off at the start of each. */
void api_allow_breaks(bool may_break);
