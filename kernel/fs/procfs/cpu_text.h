/* SPDX-License-Identifier: Apache-2.0 */
/* The architecture's part of /proc/cpuinfo. */
#pragma once

#include <core/types.h>

/* The lines about CPU `index`, as Linux on this architecture prints them. Returns their length. */
size_t arch_cpu_text(unsigned index, char *buf, size_t size);
