/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/cpu_data.h, for unit tests only. */
#pragma once

#include <core/types.h>

struct task;

struct arch_cpu {
    struct task *task;
};
