/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which backend a VM gets. The library's own choice is replaced at link time, in this program
 * alone: while a simulated /dev/kvm exists it stands for the simulated machine, and without one the
 * library's answer is asked for.
 */
#include "host.h"

#include "disk.h"
#include "machine.h"
#include "wrap.h"

drupe_vm_err_t __real_host_pick_backend(enum drupe_accel accel, const struct backend **out,
                                        struct drupe_error *err);

WRAP(drupe_vm_err_t, host_pick_backend)

(enum drupe_accel accel, const struct backend **out, struct drupe_error *err)
{
    if (accel != DRUPE_ACCEL_QEMU && sim_disk_size("/dev/kvm") >= 0) {
        *out = &backend_sim;
        return DRUPE_OK;
    }
    return __real_host_pick_backend(accel, out, err);
}
