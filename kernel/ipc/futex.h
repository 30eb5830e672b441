/* SPDX-License-Identifier: Apache-2.0 */
/* What the exit of a thread needs of futexes. */
#pragma once

#include <core/types.h>

/* Wake up to `count` waiters on a word of the current address space; how many, or -errno. */
long futex_wake_word(void __user *word, int count);

/* The current task dies: mark the locks on its robust list, wake one waiter each. */
void futex_exit_robust_list(void);
