/* SPDX-License-Identifier: Apache-2.0 */
/* drupe-agent [PROGRAM [ARGUMENT ...]]: listen on vsock, run what the host asks for. */

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#define FAMILY_VSOCK 40
#define CID_ANY      UINT32_MAX

struct vsock_address { /* struct sockaddr_vm; musl's headers come without Linux's own */
    uint16_t family;
    uint16_t reserved;
    uint32_t port;
    uint32_t cid;
    uint8_t flags;
    uint8_t zero[3];
};

static struct source listener = { .fd = -1, .fn = connection_accept };

static bool start_listening(void)
{
    const struct vsock_address at = { .family = FAMILY_VSOCK, .port = AGENT_PORT, .cid = CID_ANY };

    listener.fd = socket(FAMILY_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return listener.fd >= 0 && bind(listener.fd, (const struct sockaddr *)&at, sizeof(at)) == 0 &&
           listen(listener.fd, AGENT_CONNECTIONS_MAX) == 0;
}

int main(int argc, char **argv)
{
    (void)umask(0);       /* modes come from the host as they are to be */
    if (chdir("/") < 0) { /* where programs begin */
        return AGENT_CODE_SETUP;
    }
    loop_init();
    init_start(argc > 0 ? argv + 1 : argv);
    if (!start_listening()) {
        if (getpid() != 1) {
            perror("drupe-agent: vsock");
            return AGENT_CODE_SETUP;
        }
    } else {
        source_watch(&listener, EPOLLIN);
    }
    loop_run();
}
