/* SPDX-License-Identifier: Apache-2.0 */
/* What uname(2) and /proc/sys/kernel say. */
#pragma once

#include <core/types.h>

#define SYSTEM_NAME_MAX 65 /* with the NUL, as struct utsname */

extern const char system_release[]; /* parses as a modern Linux: glibc looks */
extern const char system_version[];

void system_host_name(char out[SYSTEM_NAME_MAX]);
int system_set_host_name(const char *name, size_t length) MUST_CHECK; /* -EINVAL: too long */
