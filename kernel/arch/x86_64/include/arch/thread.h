/* SPDX-License-Identifier: Apache-2.0 */
/* What the architecture keeps of a task that does not run. The first member of struct task. */
#pragma once

#include <base/compiler.h>

struct arch_thread {
    uint64_t sp; /* kernel stack: callee-saved registers and the address to go on from */
    uint64_t fs_base;
    uint64_t gs_base; /* the user's; the kernel's own is struct cpu */
    void *fpu;        /* XSAVE or FXSAVE image, 64-aligned; NULL: kernel thread */
};
