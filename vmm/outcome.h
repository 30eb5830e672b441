/* SPDX-License-Identifier: Apache-2.0 */
/* What the bytes of the status port (include/abi/boot.h) mean to the embedder. */
#pragma once

#include "drupe/vm.h"

/* `kind` is a boot_status_kind, or anything else for a reset without a status. Fills *out wholly.
 */
void outcome_from_status(struct drupe_vm_outcome *out, unsigned kind, unsigned status);
