/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors of objects without a name. */
#pragma once

#include <core/types.h>

struct file_ops;

/*
 * A descriptor for `private`, which the description owns from then on; flags O_RDWR..., O_NONBLOCK,
 * O_CLOEXEC. -errno: nothing was taken, and ops->release is not called.
 */
int anon_fd_open(const struct file_ops *ops, void *private, unsigned flags) MUST_CHECK;
