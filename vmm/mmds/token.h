/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tokens: the time when they end, and a code over it that only the holder of the key can
 * make. So none is stored, and all end with the key.
 */
#pragma once

#include <base/compiler.h>

#define TOKEN_KEY_SIZE  32u
#define TOKEN_TEXT_SIZE 32u /* characters, without NUL */

void token_make(const uint8_t key[TOKEN_KEY_SIZE], uint64_t end_ns, char out[TOKEN_TEXT_SIZE]);
/* Is it one of ours, and not at its end yet? Guest-controlled. */
bool token_check(const uint8_t key[TOKEN_KEY_SIZE], uint64_t now_ns, const char *text,
                 size_t size) MUST_CHECK;
