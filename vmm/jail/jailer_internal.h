/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of Firecracker's jailer. */
#pragma once

#include "drupe/jailer.h"
#include "jail/jail_internal.h"

drupe_vm_err_t jailer_cgroup_check(const struct drupe_jailer_config *cfg,
                                   struct drupe_error *err) MUST_CHECK;
/* Make the groups, set the values, join with the calling process. */
drupe_vm_err_t jailer_cgroup_enter(const struct drupe_jailer_config *cfg, const char *exec_name,
                                   struct drupe_error *err) MUST_CHECK;
