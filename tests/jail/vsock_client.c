/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a guest: connect to ports of the host over vsock, say a word, print the answer. Begins when
 * somebody listens at the first.
 *
 *   vsock_client PORT...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static void talk(unsigned port)
{
    const struct sockaddr_vm host = { .svm_family = AF_VSOCK,
                                      .svm_port = port,
                                      .svm_cid = VMADDR_CID_HOST };
    const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    char text[64] = "";

    if (fd < 0 || connect(fd, (const struct sockaddr *)&host, sizeof(host)) < 0) {
        (void)printf("%u: %s\n", port, strerrorname_np(errno));
    } else if (write(fd, "hello\n", 6) != 6 || read(fd, text, sizeof(text) - 1) <= 0) {
        (void)printf("%u: no answer\n", port);
    } else {
        (void)printf("%u: %s", port, text);
    }
    (void)fflush(stdout);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void wait_for(unsigned port)
{
    const struct sockaddr_vm host = { .svm_family = AF_VSOCK,
                                      .svm_port = port,
                                      .svm_cid = VMADDR_CID_HOST };

    for (int i = 0; i < 600; i++) {
        const int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
        const int r = connect(fd, (const struct sockaddr *)&host, sizeof(host));

        (void)close(fd);
        if (r == 0) {
            return;
        }
        (void)usleep(100000);
    }
}

int main(int argc, char **argv)
{
    (void)puts("ready");
    (void)fflush(stdout);
    wait_for(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0);
    for (int i = 1; i < argc; i++) {
        talk((unsigned)strtoul(argv[i], NULL, 10));
    }
    (void)puts("done");
    (void)fflush(stdout);
    (void)sleep(60);
    return 0;
}
