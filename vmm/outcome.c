/* SPDX-License-Identifier: Apache-2.0 */
#include "outcome.h"

#include <string.h>

#include <base/compiler.h>
#include <base/fmt.h>

#include "abi/boot.h"

static const struct {
    enum drupe_end_kind kind;
    const char *text;
} meanings[] = {
    [0] = { DRUPE_END_RESET, "the guest reset the machine without a status" },
    [BOOT_STATUS_EXIT] = { DRUPE_END_EXIT, "the workload ended" },
    [BOOT_STATUS_PANIC] = { DRUPE_END_PANIC, "the guest kernel panicked" },
    [BOOT_STATUS_ERROR] = { DRUPE_END_BOOT_ERROR, "the guest kernel could not start the workload" },
    [BOOT_STATUS_REBOOT] = { DRUPE_END_REBOOT, "the workload asked for a restart" },
};

void outcome_from_status(struct drupe_vm_outcome *out, unsigned kind, unsigned status)
{
    memset(out, 0, sizeof(*out));
    kind = kind < array_size(meanings) ? kind : 0;
    out->kind = meanings[kind].kind;
    out->status = kind == 0 ? 0 : (int)(status & 0xffu);
    (void)fmt_snprintf(out->text, sizeof(out->text), "%s", meanings[kind].text);
}
