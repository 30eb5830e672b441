/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Definitions behind the linker's --wrap=NAME: calls of NAME reach __wrap_NAME, and __real_NAME is
 * the C library's. A wrapped function has the prototype of the one that it stands for.
 */
#pragma once

/* NOLINTBEGIN(bugprone-reserved-identifier,bugprone-macro-parentheses): the linker's names */
#define WRAPPED(name)    __wrap_##name
#define WRAP(type, name) type __wrap_##name
/* NOLINTEND(bugprone-reserved-identifier,bugprone-macro-parentheses) */

/* Only the linker refers to them. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
