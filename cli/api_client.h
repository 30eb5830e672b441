/* SPDX-License-Identifier: Apache-2.0 */
/* One request to the control API of a machine, over the Unix socket in its directory. */
#pragma once

#include "files.h"
#include "vm_dir.h"

struct api_request {
    const char *method;
    const char *path; /* "/vm", ... */
    const char *body; /* JSON; NULL: none */
    const int *fds;   /* passed along; the body names them "fd:0", "fd:1", ... */
    size_t fd_count;  /* at most 8 */
    int timeout_ms;   /* for the whole answer; 0: as long as it takes */
};

struct api_answer {
    int status; /* HTTP: 200, 204, 400, ... */
    struct buffer body;
};

/*
 * 0 when an answer came, whatever its status; -ECONNREFUSED or -ENOENT: nobody listens (any more);
 * -ETIMEDOUT; -EPROTO: that was no HTTP. The caller frees out->body.
 */
int api_call(const struct vm_record *r, const struct api_request *request,
             struct api_answer *out) MUST_CHECK;

/*
 * The same for a verb: answers other than 2xx, and silence, are printed as `verb: <name>: reason`.
 * Returns 0 or an exit status. `body` (may be NULL) takes the answer's body.
 */
int api_do(const char *verb, const struct vm_record *r, const struct api_request *request,
           struct buffer *body) MUST_CHECK;
