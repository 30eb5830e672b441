/* SPDX-License-Identifier: Apache-2.0 */
/* Host answer to arch/regs.h, for unit tests only: a user frame with just what the core asks for.
 */
#pragma once

#include <core/types.h>

struct regs {
    uint64_t ip;
    uint64_t sp;
    uint64_t result;
    int64_t syscall;
    uint64_t arg[6];
    bool is_user;
    unsigned restarts; /* how often regs_restart() was asked */
};

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
    return r->result;
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
    r->result = result;
}

static inline int64_t regs_syscall(const struct regs *r)
{
    return r->syscall;
}

static inline uint64_t regs_arg(const struct regs *r, unsigned n)
{
    assert(n < 6);
    return r->arg[n];
}

static inline void regs_restart(struct regs *r)
{
    r->restarts++;
}

static inline void regs_set_syscall(struct regs *r, int64_t nr)
{
    r->syscall = nr;
}

static inline bool regs_is_user(const struct regs *r)
{
    return r->is_user;
}
