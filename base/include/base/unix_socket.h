/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unix stream sockets by path. Hosted programs only. Descriptors are close-on-exec and the caller's
 * to close. Both return the descriptor or -errno: -EINVAL for an empty path (which would name a
 * socket of no file), -ENAMETOOLONG for one that no socket address holds.
 */
#pragma once

#include <sys/socket.h>

#include <base/compiler.h>

/*
 * Bind to `path` and listen. `flags`: 0 or SOCK_NONBLOCK. -EADDRINUSE when the file is there. The
 * file is the caller's to unlink; after a failure none is left.
 */
int unix_listen(const char *path, int flags) MUST_CHECK;

/*
 * Connect to who listens at `path`. With SOCK_NONBLOCK it never waits: -EAGAIN says that the
 * listener's queue is full.
 */
int unix_connect(const char *path, int flags) MUST_CHECK;
