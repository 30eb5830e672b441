/* SPDX-License-Identifier: Apache-2.0 */
/* Mount options: "size=1m,mode=1777". */
#pragma once

#include <core/types.h>

/* `key`'s value with K, M, G suffix or, when `whole` is not 0, "%" of it. False: absent or no
 * number. */
bool mount_option_size(const char *options, const char *key, uint64_t whole, uint64_t *value);
bool mount_option_octal(const char *options, const char *key, uint64_t *value);
bool mount_option_is_set(const char *options, const char *key);
