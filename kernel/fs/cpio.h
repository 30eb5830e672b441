/* SPDX-License-Identifier: Apache-2.0 */
/* A ramdisk: cpio archive in the "newc" format, unpacked into the root. */
#pragma once

#include <core/types.h>

/* 0, or -errno with *why. What was unpacked before a failure stays. Untrusted input. */
int cpio_unpack(const void *archive, size_t size, const char **why) MUST_CHECK;
