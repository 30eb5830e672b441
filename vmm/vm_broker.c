/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that connects for a jailed monitor (devices/vsock_broker.h). It has one socket and,
 * as root, the folder of the VM's vsock socket for its root; no capabilities, no other process's
 * descriptors, and a list of system calls that has no other than its work.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/vsock_broker.h"
#include "error.h"
#include "jail/filter.h"
#include "jail/jail_internal.h"
#include "vm_internal.h"

#define STATUS_FAILED 1
#define BROKER_FD     (STDERR_FILENO + 1)

/* Only descriptor BROKER_FD is left, and /dev/null. */
static bool keep_only(int fd)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++) {
        if (null < 0 || dup2(null, i) < 0) {
            return false;
        }
    }
    return (fd == BROKER_FD || dup2(fd, BROKER_FD) == BROKER_FD) &&
           syscall(SYS_close_range, BROKER_FD + 1, UINT32_MAX, 0) == 0;
}

/* Into the folder of `path`; its file's name is returned. NULL: it cannot be entered. */
static const char *enter_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[DRUPE_VSOCK_PATH_SIZE_MAX + 1] = ".";

    if (slash != NULL) {
        const size_t size = slash == path ? 1 : (size_t)(slash - path);

        memcpy(folder, path, size);
        folder[size] = '\0';
    }
    if (chdir(folder) < 0 || (geteuid() == 0 && chroot(".") < 0)) {
        return NULL;
    }
    return slash == NULL ? path : slash + 1;
}

static _Noreturn void be_broker(int fd, const char *path)
{
    const struct rlimit none = { 0, 0 };
    const char *name = NULL;

    (void)setsid(); /* fails for who leads a session already */
    if (!keep_only(fd)) {
        _exit(STATUS_FAILED);
    }
    name = enter_folder(path);
    if (name == NULL || setrlimit(RLIMIT_CORE, &none) < 0 || !jail_capabilities_forget()) {
        _exit(STATUS_FAILED);
    }
    filter_mode_set(DRUPE_JAIL_FILTER_KILL);
    if (filter_install(DRUPE_JAIL_THREAD_BROKER) < 0) {
        _exit(STATUS_FAILED);
    }
    vsock_broker_serve(BROKER_FD, name);
    _exit(0);
}

drupe_vm_err_t drupe_vm_start_broker(drupe_vm_t *vm, pid_t *pid, struct drupe_error *err)
{
    struct config *c = &vm->config;
    int ends[2];

    *pid = -1;
    if (c->vsock_path == NULL) {
        return DRUPE_OK;
    }
    if (c->vsock_broker_fd >= 0) {
        return error_set(err, DRUPE_BAD_STATE, 0, "the VM has a broker already");
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "make a broker's socket");
    }
    *pid = fork();
    if (*pid == 0) {
        be_broker(ends[1], c->vsock_path);
    }
    (void)close(ends[1]);
    if (*pid < 0) {
        (void)close(ends[0]);
        return error_set(err, DRUPE_NO_MEMORY, errno, "fork a broker");
    }
    c->vsock_broker_fd = ends[0];
    return DRUPE_OK;
}
