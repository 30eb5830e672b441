/* SPDX-License-Identifier: Apache-2.0 */
/* The frame at the top of a kernel stack: Linux's struct pt_regs, so that dumps read alike. */
#pragma once

#include <base/assert.h>
#include <base/compiler.h>

struct regs {
    uint64_t r15, r14, r13, r12, bp, bx;
    uint64_t r11, r10, r9, r8, ax, cx, dx, si, di;
    /* System call number, or -1 - vector for interrupts and faults, or -1: not to be restarted. */
    int64_t orig_ax;
    uint64_t ip, cs, flags, sp, ss;
};

static_assert(sizeof(struct regs) == 168, "entry.S builds this frame");
static_assert(offsetof(struct regs, orig_ax) == 120, "entry.S builds this frame");

static inline uint64_t regs_ip(const struct regs *r)
{
    return r->ip;
}

static inline uint64_t regs_sp(const struct regs *r)
{
    return r->sp;
}

static inline uint64_t regs_result(const struct regs *r)
{
    return r->ax;
}

static inline void regs_set_ip(struct regs *r, uint64_t ip)
{
    r->ip = ip;
}

static inline void regs_set_sp(struct regs *r, uint64_t sp)
{
    r->sp = sp;
}

static inline void regs_set_result(struct regs *r, uint64_t result)
{
    r->ax = result;
}

/* The call in progress; negative: none (fault, interrupt, or a call that must not restart). */
static inline int64_t regs_syscall(const struct regs *r)
{
    return r->orig_ax;
}

static inline void regs_forget_syscall(struct regs *r)
{
    r->orig_ax = -1;
}

static inline uint64_t regs_arg(const struct regs *r, unsigned n)
{
    switch (n) {
    case 0:
        return r->di;
    case 1:
        return r->si;
    case 2:
        return r->dx;
    case 3:
        return r->r10;
    case 4:
        return r->r8;
    default:
        return r->r9;
    }
}

/* Rewind so that the same call runs again: the SYSCALL instruction has two bytes. */
static inline void regs_restart(struct regs *r)
{
    r->ax = (uint64_t)r->orig_ax;
    r->ip -= 2;
    r->orig_ax = -1;
}

/* After regs_restart(): run call `nr` instead (restart_syscall). */
static inline void regs_set_syscall(struct regs *r, int64_t nr)
{
    r->ax = (uint64_t)nr;
}

static inline bool regs_is_user(const struct regs *r)
{
    return (r->cs & 3) != 0;
}
