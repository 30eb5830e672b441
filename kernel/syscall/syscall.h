/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls come from tables (spec R-ABI-1): kernel/syscall/table/<family>.tbl, one line a call:
 *
 *     name  x86-64-number|-  aarch64-number|-  status  restart  argument types, comma
 * separated|void read  0                63                real    sys      int, user_ptr, size
 *
 * status: real, partial, refused, noop (spec R-ABI-14); restart: none, sys, nohand, block
 * (R-ABI-12). Argument types: int, uint, long, ulong, size, off, pid, user_ptr, path.
 * tools/gen-syscalls makes the dispatch table, the prototypes, the tracing names and
 * docs/syscalls.md, and compares the numbers with the UAPI headers.
 *
 * A handler is `long sys_<name>(<typed arguments>)`: it returns the result or -errno. Arguments
 * narrower than a register are truncated by their type.
 */
#pragma once

#include <core/types.h>

#include <syscall_protos.h> /* generated */

struct regs;

/* From the architecture's entry: run the call in regs, leave its result there. Budget: getpid 120
 * instructions, entry to exit. */
void syscall_dispatch(struct regs *regs);

/* restart_syscall(2) of this architecture. */
extern const int64_t syscall_restart_number;

const char *syscall_name(int64_t number); /* "?" if unknown */
