/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/fmt.h>

#include "arch/arch.h"
#include "backends/backend.h"
#include "backends/libkrun.h"
#include "error.h"

#define QEMU_PROGRAM  "qemu-system-x86_64"
#define PATH_DEFAULT  "/usr/local/bin:/usr/bin:/bin"
#define QEMU_SIZE_MAX 256u
#define KVM_VERSION   12

bool host_find_program(const char *name, char *path, size_t size)
{
    const char *at = getenv("PATH");

    if (at == NULL) {
        at = PATH_DEFAULT;
    }
    while (*at != '\0') {
        size_t length = strcspn(at, ":");

        /* Relative entries are skipped: what runs must not depend on where we stand. */
        if (at[0] == '/' && fmt_snprintf(path, size, "%.*s/%s", (int)length, at, name) < size &&
            access(path, X_OK) == 0) {
            return true;
        }
        at += length;
        at += *at == ':' ? 1 : 0;
    }
    path[0] = '\0';
    return false;
}

bool host_find_qemu(char *path, size_t size)
{
    return host_find_program(QEMU_PROGRAM, path, size);
}

/* Those that are never chosen unasked; they look for what they need themselves. */
static const struct backend *asked_for(enum drupe_accel accel)
{
    switch (accel) {
    case DRUPE_ACCEL_FIRECRACKER:
        return &backend_firecracker;
    case DRUPE_ACCEL_LIBKRUN:
        return &backend_libkrun;
    default:
        return NULL;
    }
}

drupe_vm_err_t host_pick_backend(enum drupe_accel accel, const struct backend **out, int *kvm_fd,
                                 struct drupe_error *err)
{
    char path[QEMU_SIZE_MAX];
    int fd = -1;
    int kvm_errno = 0;
    bool has_qemu = false;

    *out = asked_for(accel);
    if (*out != NULL) {
        return DRUPE_OK;
    }
    fd = accel == DRUPE_ACCEL_QEMU ? -1 : open("/dev/kvm", O_RDWR | O_CLOEXEC);
    kvm_errno = fd < 0 ? errno : 0;

    if (fd >= 0) {
        arch_host_prepare(fd);
        *kvm_fd = fd;
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

static void probe_kvm(int fd, struct drupe_host_report *out)
{
    int vcpus = 0;

    if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_VERSION) {
        out->kvm_errno = EPROTO;
        return;
    }
    out->has_kvm = true;
    vcpus = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    out->vcpus_max = vcpus > 0 ? (unsigned)vcpus : 1;
    if (out->vcpus_max > DRUPE_VCPUS_MAX) {
        out->vcpus_max = DRUPE_VCPUS_MAX;
    }
    arch_host_describe(fd, &out->is_ring0_emulated, out->masked_features,
                       sizeof(out->masked_features));
}

void drupe_host_probe(struct drupe_host_report *out)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int kvm_errno = errno; /* before the search for QEMU sets it anew */

    memset(out, 0, sizeof(*out));
    out->has_qemu = host_find_qemu(out->qemu_path, sizeof(out->qemu_path));
    (void)host_find_program("firecracker", out->firecracker_path, sizeof(out->firecracker_path));
    out->has_libkrun = libkrun_is_there();
    out->vcpus_max = DRUPE_VCPUS_MAX;
    if (fd < 0) {
        out->kvm_errno = kvm_errno;
        return;
    }
    probe_kvm(fd, out);
    (void)close(fd);
}
