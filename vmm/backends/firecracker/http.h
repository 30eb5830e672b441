/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request after the other over one connection to Firecracker's API socket. An answer ends where
 * its Content-Length says, never at the end of the connection; whatever it holds is not trusted.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

#define FC_ANSWER_SIZE_MAX 65536u /* head and body */

struct fc_http {
    int fd;        /* -1: none */
    bool is_spent; /* an answer was lost or malformed: what comes next can't be told apart */
    size_t size;   /* of answer */
    const char *body;
    size_t body_size;
    char answer[FC_ANSWER_SIZE_MAX + 1];
};

struct fc_request {
    const char *method;
    const char *path;
    const char *body;    /* JSON; NULL: none */
    uint64_t until_ns;   /* CLOCK_MONOTONIC */
    drupe_vm_err_t code; /* what a refusal means */
};

/* Connect; 0 or -errno. */
int fc_http_open(struct fc_http *h, const char *socket_path) MUST_CHECK;
void fc_http_close(struct fc_http *h);
/*
 * DRUPE_OK for a status of 200 to 299; then body is the answer's until the next call. Otherwise
 * r->code and Firecracker's own words.
 */
drupe_vm_err_t fc_http_do(struct fc_http *h, const struct fc_request *r,
                          struct drupe_error *err) MUST_CHECK;
