/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/thread.h, for unit tests only: no context is ever switched. */
#pragma once

#include <core/types.h>

struct arch_thread {
    uint64_t unused;
};
