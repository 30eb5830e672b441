/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: a program that came with the boot arguments (docs/boot.md), run where it lies in
 * memory.
 */
#pragma once

#include <core/types.h>

struct task;

bool agent_is_there(void);
/* A process that becomes the agent once it is started; a child of init. NULL: no memory, *what says
 * for what. */
struct task *agent_create(const char **what);
