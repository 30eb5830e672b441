/* SPDX-License-Identifier: Apache-2.0 */
/* The libkrun backend beside its table. */
#pragma once

#include <base/compiler.h>

/* Whether libkrun.so.1 can be loaded; a program that is linked statically can load none. */
bool libkrun_is_there(void);
