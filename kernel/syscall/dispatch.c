// SPDX-License-Identifier: Apache-2.0
/*
 * From a number to its handler. The table is generated; arguments reach a handler as the ABI's
 * registers have them, so that a parameter narrower than a register is truncated by its type.
 *
 * Hot (getpid: 120 instructions from entry to exit): of the call only its number is remembered in
 * the task. Its arguments stay readable in the user frame until the return.
 */
#include <syscall/syscall.h>

#include <arch/ops.h>
#include <arch/regs.h>
#include <core/log.h>
#include <core/string.h>
#include <sched/task.h>

typedef long (*syscall_fn)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

#include <syscall_table.h>

const int64_t syscall_restart_number = SYSCALL_RESTART;

#define UNKNOWN_SEEN_MAX 64u

static _Atomic uint32_t unknown_seen[UNKNOWN_SEEN_MAX]; /* hashes of (program, number); 0: free */
static _Atomic uint64_t unknown_count;

static uint32_t unknown_key(const char *program, int64_t number)
{
    uint32_t hash = 2166136261u ^ (uint32_t)number; /* FNV-1a */

    for (size_t i = 0; i < TASK_NAME_MAX && program[i]; i++) {
        hash = (hash ^ (uint8_t)program[i]) * 16777619u;
    }
    return hash ? hash : 1;
}

/* True the first time for this key; a full table silences the rest, so that a program that changes
 * its name cannot flood the log. */
static bool unknown_is_new(uint32_t key)
{
    for (unsigned i = 0; i < UNKNOWN_SEEN_MAX; i++) {
        uint32_t free = 0;

        /* relaxed: nothing is published through a slot */
        if (atomic_compare_exchange_strong_explicit(&unknown_seen[i], &free, key,
                                                    memory_order_relaxed, memory_order_relaxed)) {
            return true;
        }
        if (free == key) {
            return false;
        }
    }
    return false;
}

static NEVER_INLINE long syscall_unknown(int64_t number)
{
    const struct task *t = current;

    atomic_fetch_add_explicit(&unknown_count, 1, memory_order_relaxed); /* a statistic */
    if (unknown_is_new(unknown_key(t->name, number))) {
        log_info("syscall: not supported: %s (%lld) program=%.16s pid=%d", syscall_name(number),
                 (long long)number, t->name, t->tid);
    }
    return -ENOSYS;
}

void syscall_dispatch(struct regs *regs)
{
    struct task *t = current;
    uint32_t number = (uint32_t)regs_syscall(regs); /* as Linux: the upper half does not count */
    long result;

    t->last_syscall = (int32_t)number;
    if (likely(number < SYSCALL_COUNT && syscall_handlers[number])) {
        result = syscall_handlers[number](regs_arg(regs, 0), regs_arg(regs, 1), regs_arg(regs, 2),
                                          regs_arg(regs, 3), regs_arg(regs, 4), regs_arg(regs, 5));
    } else {
        result = syscall_unknown((int32_t)number);
    }
    regs_set_result(regs, (uint64_t)result);
    if (unlikely(result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK)) {
        /* Only signal delivery knows how such a call goes on; the signal itself may be gone.
         * relaxed: read by this task. */
        atomic_fetch_or_explicit(&t->work, WORK_SIGNAL, memory_order_relaxed);
    }
}

const char *syscall_name(int64_t number)
{
    if ((uint64_t)number < SYSCALL_COUNT && syscall_names[number]) {
        return syscall_names[number];
    }
    return "?";
}
