/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent may send: any bytes, to a client that runs a program and lists a directory. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drupe/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static bool any_entry(void *ctx, const char *name, const struct drupe_file_info *info)
{
    (void)ctx;
    (void)info;
    if (strchr(name, '/') != NULL) {
        abort();
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint8_t hello[] = { 0, 0, 0, 12, 1, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 31 };
    static const char *const argv[] = { "x", NULL };
    struct drupe_exec_options o;
    struct drupe_exec_output out;
    drupe_agent_t *a = NULL;
    int fds[2];

    if (size > 100000 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0) {
        return 0;
    }
    /* All that the agent will ever say, ahead of the questions. */
    if (write(fds[1], hello, sizeof(hello)) != (ssize_t)sizeof(hello) ||
        write(fds[1], bytes, size) != (ssize_t)size || shutdown(fds[1], SHUT_WR) < 0) {
        (void)close(fds[0]);
    } else if (drupe_agent_open(fds[0], 1000, &a, NULL) == DRUPE_OK) { /* takes the descriptor */
        drupe_exec_options_init(&o);
        o.argv = argv;
        if (drupe_agent_exec(a, &o, NULL, 0, &out, NULL) == DRUPE_OK) {
            drupe_exec_output_free(&out);
        }
        (void)!drupe_agent_list(a, "/", any_entry, NULL, NULL);
        drupe_agent_close(a);
    }
    (void)close(fds[1]);
    return 0;
}
