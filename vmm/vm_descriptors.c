/* SPDX-License-Identifier: Apache-2.0 */
/* What a VM holds open before it starts: a jailed monitor keeps these and can open nothing else. */
#include "vm_internal.h"

static void add(int fd, int *fds, size_t max, size_t *count)
{
    if (fd >= 0 && *count < max) {
        fds[(*count)++] = fd;
    }
}

size_t vm_descriptors(const drupe_vm_t *vm, int *fds, size_t max)
{
    const struct config *c = &vm->config;
    size_t count = 0;

    add(vm->event_fd, fds, max, &count);
    add(c->kvm_fd, fds, max, &count);
    add(c->userfaultfd_fd, fds, max, &count);
    add(c->kernel.fd, fds, max, &count);
    add(c->root.fd, fds, max, &count);
    for (unsigned i = 0; i < c->disk_count; i++) {
        add(c->disks[i].fd, fds, max, &count);
    }
    for (unsigned i = 0; i < c->share_count; i++) {
        add(c->shares[i].fd, fds, max, &count);
    }
    for (unsigned i = 0; i < c->net_count; i++) {
        add(c->nets[i].fd, fds, max, &count);
    }
    add(c->host_stdin, fds, max, &count);
    add(c->host_stdout, fds, max, &count);
    add(c->host_stderr, fds, max, &count);
    add(c->serial_log, fds, max, &count);
    add(c->serial_in, fds, max, &count);
    add(c->initrd.fd, fds, max, &count);
    add(c->vsock_fd, fds, max, &count);
    add(c->vsock_broker_fd, fds, max, &count);
    return count;
}
