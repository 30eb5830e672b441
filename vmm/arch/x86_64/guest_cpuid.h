/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's CPUID says: the host's, less what doesn't work here, with the machine's own
 * topology. */
#pragma once

#include <linux/kvm.h>

#include <base/compiler.h>

#include "drupe/vm.h"

/* Give vCPU `index` of `count` its table, with the configuration's changes. `kvm_fd` is /dev/kvm.
 */
struct config;
drupe_vm_err_t cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned count,
                         const struct config *config, struct drupe_error *err) MUST_CHECK;

#define CPUID_ENTRIES_MAX 128u

/*
 * The table that cpuid_set() gives before the configuration's changes, to be freed; NULL with errno
 * set. What KVM answers when asked for a vCPU's is not always what it was given.
 */
struct kvm_cpuid2 *cpuid_make(int kvm_fd, unsigned index, unsigned count);

/*
 * Give a vCPU the table that a snapshot has. Hostile. ARCH_MISMATCH when it announces a feature
 * that this host's vCPUs do not have, or another make of CPU.
 */
drupe_vm_err_t cpuid_restore(int kvm_fd, int vcpu_fd, unsigned index,
                             const struct kvm_cpuid_entry2 *entries, uint32_t count,
                             struct drupe_error *err) MUST_CHECK;
