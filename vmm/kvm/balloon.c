/* SPDX-License-Identifier: Apache-2.0 */
/* What a running machine's balloon is told and asked. */
#include "devices/virtio_balloon.h"
#include "error.h"
#include "kvm/machine.h"

static drupe_vm_err_t no_balloon(const char *what, struct drupe_error *err)
{
    return error_set(err, DRUPE_UNSUPPORTED, 0, "%s", what);
}

drupe_vm_err_t kvm_set_balloon(void *machine, uint32_t target_mib, struct drupe_error *err)
{
    struct virtio_balloon *b = machine_balloon(machine);

    if (b == NULL) {
        return no_balloon("the VM has no balloon", err);
    }
    virtio_balloon_set_target(b, target_mib);
    return DRUPE_OK;
}

drupe_vm_err_t kvm_set_balloon_interval(void *machine, uint32_t interval_s, struct drupe_error *err)
{
    struct virtio_balloon *b = machine_balloon(machine);

    if (b == NULL || virtio_balloon_set_interval(b, interval_s) < 0) {
        return no_balloon("the VM has no balloon with statistics", err);
    }
    return DRUPE_OK;
}

drupe_vm_err_t kvm_balloon_stats(void *machine, struct drupe_balloon_stats *out,
                                 struct drupe_error *err)
{
    struct virtio_balloon *b = machine_balloon(machine);

    if (b == NULL || virtio_balloon_stats(b, out) < 0) {
        return no_balloon("the VM has no balloon with statistics", err);
    }
    return DRUPE_OK;
}
