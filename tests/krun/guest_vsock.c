/* SPDX-License-Identifier: Apache-2.0 */
/* In the guest: vsock connect PORT: send "ping", print the answer. vsock listen PORT: take one
 * connection, send back what comes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

int main(int argc, char **argv)
{
    struct sockaddr_vm address = { .svm_family = AF_VSOCK };
    char buffer[64];
    ssize_t n;
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (argc != 3 || fd < 0) {
        perror("socket");
        return 1;
    }
    address.svm_port = (unsigned)strtoul(argv[2], NULL, 10);
    if (strcmp(argv[1], "connect") == 0) {
        address.svm_cid = VMADDR_CID_HOST;
        if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            write(fd, "ping\n", 5) != 5) {
            perror("connect");
            return 1;
        }
        n = read(fd, buffer, sizeof(buffer));
        return n > 0 && fwrite(buffer, 1, (size_t)n, stdout) == (size_t)n ? 0 : 1;
    }
    address.svm_cid = VMADDR_CID_ANY;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0) {
        perror("listen");
        return 1;
    }
    printf("listening\n");
    (void)fflush(stdout);
    int peer = accept(fd, NULL, NULL);

    if (peer < 0) {
        perror("accept");
        return 1;
    }
    n = read(peer, buffer, sizeof(buffer));
    return n > 0 && write(peer, buffer, (size_t)n) == n ? 0 : 1;
}
