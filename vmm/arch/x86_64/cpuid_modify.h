/* SPDX-License-Identifier: Apache-2.0 */
/* The embedder's changes to a CPUID table. */
#pragma once

#include <linux/kvm.h>

#include <base/compiler.h>

#include "drupe/vm.h"

/*
 * Apply them in order. NULL, or the first whose leaf the table does not have; then those before it
 * are applied.
 */
const struct drupe_cpuid_modifier *
cpuid_modify(struct kvm_cpuid2 *t, const struct drupe_cpuid_modifier *modifiers, size_t count);
