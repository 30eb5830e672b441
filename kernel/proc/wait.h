/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for children from inside the kernel: init. */
#pragma once

#include <core/types.h>

/* Sleep until a child of the current process has died, reap it: its pid and wait status, or
 * -ECHILD, -ERESTARTSYS. */
pid_t wait_any_child(int *status) MUST_CHECK;

/* The same without sleeping: 0 when none has died yet. */
pid_t wait_any_child_now(int *status) MUST_CHECK;
