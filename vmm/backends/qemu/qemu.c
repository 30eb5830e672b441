/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/backend.h"
#include "error.h"

static drupe_vm_err_t qemu_create(const struct config *c, const struct backend_events *events,
                                  void **out, struct drupe_error *err)
{
    (void)c;
    (void)events;
    (void)out;
    return error_set(err, DRUPE_UNSUPPORTED, 0, "the QEMU backend is not built yet");
}

const struct backend backend_qemu = { .name = "qemu", .create = qemu_create };
