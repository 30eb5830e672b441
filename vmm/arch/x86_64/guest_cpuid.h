/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's CPUID says: the host's, less what doesn't work here, with the machine's own
 * topology. */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

/* Give vCPU `index` of `count` its table. `kvm_fd` is /dev/kvm. */
drupe_vm_err_t cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned count,
                         struct drupe_error *err) MUST_CHECK;
