/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's connections to the host for a monitor that has no paths (a jail): a process outside,
 * the broker, connects to `<name>_<port>` and passes the descriptor. A port is all that it can be
 * asked for; a message of another size ends it.
 */
#pragma once

#include <base/compiler.h>

/*
 * In the monitor: a non-blocking connection, or -errno. -EPIPE: the broker is gone or does not
 * answer; it must not be asked again. Waits for the broker, a second at most.
 */
int vsock_broker_ask(int fd, uint32_t port) MUST_CHECK;

/* In the broker: serve until the other side is gone. `name`: a file's, in the working directory. */
void vsock_broker_serve(int fd, const char *name);
