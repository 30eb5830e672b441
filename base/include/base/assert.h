/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions about our own correctness. They stay on in release builds; assert_slow() only where
 * TEST_BUILD is set. An expression with a side effect does not belong here.
 */
#pragma once

/*
 * Supplied by each program: report the failed expression with its place and stop. base/hosted has
 * the one for programs with a libc; the kernel's is its panic path.
 */
_Noreturn void assert_failed(const char *expression, const char *file, int line);

#undef assert
#define assert(e) (__builtin_expect(!(e), 0) ? assert_failed(#e, __FILE__, __LINE__) : (void)0)

#ifdef TEST_BUILD
#define assert_slow(e) assert(e)
#else
#define assert_slow(e) ((void)sizeof(!(e)))
#endif

#define unreachable(why) assert_failed("unreachable: " why, __FILE__, __LINE__)

#ifndef static_assert
#define static_assert _Static_assert
#endif
