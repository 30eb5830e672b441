/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "backends/backend.h"
#include "error.h"

#define QEMU_PROGRAM  "qemu-system-x86_64"
#define PATH_DEFAULT  "/usr/local/bin:/usr/bin:/bin"
#define QEMU_SIZE_MAX 256u

bool host_find_qemu(char *path, size_t size)
{
    const char *at = getenv("PATH");

    if (at == NULL) {
        at = PATH_DEFAULT;
    }
    while (*at != '\0') {
        size_t length = strcspn(at, ":");

        /* Relative entries are skipped: what runs must not depend on where we stand. */
        if (at[0] == '/' &&
            fmt_snprintf(path, size, "%.*s/" QEMU_PROGRAM, (int)length, at) < size &&
            access(path, X_OK) == 0) {
            return true;
        }
        at += length;
        at += *at == ':' ? 1 : 0;
    }
    path[0] = '\0';
    return false;
}

/* 0 if /dev/kvm opens, otherwise errno. */
static int try_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return errno;
    }
    (void)close(fd);
    return 0;
}

drupe_vm_err_t host_pick_backend(enum drupe_accel accel, const struct backend **out,
                                 struct drupe_error *err)
{
    char path[QEMU_SIZE_MAX];
    int kvm_errno = accel == DRUPE_ACCEL_QEMU ? 0 : try_kvm();
    bool has_qemu = false;

    if (accel != DRUPE_ACCEL_QEMU && kvm_errno == 0) {
        *out = &backend_kvm;
        return DRUPE_OK;
    }
    if (accel == DRUPE_ACCEL_KVM) {
        return error_set(err, DRUPE_UNAVAILABLE, kvm_errno, "no KVM: open /dev/kvm");
    }
    has_qemu = host_find_qemu(path, sizeof(path));
    if (has_qemu) {
        *out = &backend_qemu;
        return DRUPE_OK;
    }
    if (accel == DRUPE_ACCEL_QEMU) {
        return error_set(err, DRUPE_UNAVAILABLE, 0, "no QEMU: install " QEMU_PROGRAM);
    }
    return error_set(err, DRUPE_UNAVAILABLE, 0,
                     "no KVM and no QEMU: /dev/kvm does not open (%s); install " QEMU_PROGRAM
                     " to run in emulation",
                     strerrorname_np(kvm_errno));
}
