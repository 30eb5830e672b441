/* SPDX-License-Identifier: Apache-2.0 */
/* Signals: Linux's numbers and layouts (x86-64 and AArch64 agree on them). */
#pragma once

#include <core/ref.h>
#include <core/types.h>
#include <proc/signal_queue.h>

struct process;
struct regs;
struct task;

enum {
    SIGHUP = 1,
    SIGINT,
    SIGQUIT,
    SIGILL,
    SIGTRAP,
    SIGABRT,
    SIGBUS,
    SIGFPE,
    SIGKILL,
    SIGUSR1,
    SIGSEGV,
    SIGUSR2,
    SIGPIPE,
    SIGALRM,
    SIGTERM,
    SIGSTKFLT,
    SIGCHLD,
    SIGCONT,
    SIGSTOP,
    SIGTSTP,
    SIGTTIN,
    SIGTTOU,
    SIGURG,
    SIGXCPU,
    SIGXFSZ,
    SIGVTALRM,
    SIGPROF,
    SIGWINCH,
    SIGIO,
    SIGPWR,
    SIGSYS,
    SIGRTMIN,
    SIGNAL_MAX = 64
};

#define signal_bit(n) (UINT64_C(1) << ((n)-1))

/* si_code */
#define SI_USER       0
#define SI_KERNEL     0x80
#define SI_QUEUE      (-1)
#define SI_TIMER      (-2)
#define SI_TKILL      (-6)
#define ILL_ILLOPC    1
#define FPE_INTDIV    1
#define FPE_FLTINV    7
#define SEGV_MAPERR   1
#define SEGV_ACCERR   2
#define BUS_ADRALN    1
#define BUS_ADRERR    2
#define TRAP_BRKPT    1
#define TRAP_TRACE    2
#define CLD_EXITED    1
#define CLD_KILLED    2
#define CLD_DUMPED    3
#define CLD_STOPPED   5
#define CLD_CONTINUED 6

/* The ABI's siginfo_t: 128 bytes. */
struct siginfo {
    int32_t signo;
    int32_t error;
    int32_t code;
    int32_t pad;

    union {
        struct {
            int32_t pid;
            uint32_t uid;

            union {
                uint64_t value; /* sigval */

                struct {
                    int32_t status;
                    int32_t pad2;
                    int64_t utime;
                    int64_t stime;
                };
            };
        };

        struct {
            int32_t timer_id;
            int32_t overrun;
            uint64_t timer_value;
        };

        uint64_t addr;
        uint8_t raw[112];
    };
};

static_assert(sizeof(struct siginfo) == 128, "siginfo_t is ABI");

/* The kernel ABI's struct sigaction (not libc's). */
struct sigaction {
    uint64_t handler; /* 0 SIG_DFL, 1 SIG_IGN */
    uint64_t flags;   /* SA_* */
    uint64_t restorer;
    uint64_t mask;
};

/*
 * Dispositions of a process, copied when written while shared (fork). Kept tight, so that a table
 * is a slab object; sigaction_get() gives the ABI's form.
 */
struct sigaction_table {
    struct ref ref;
    uint64_t caught;  /* has a handler */
    uint64_t ignored; /* SIG_IGN was asked for */

    struct {
        uint64_t handler, restorer, mask;
        uint32_t flags;
    } PACKED ALIGNED(4) slots[SIGNAL_MAX];
};

static_assert(sizeof(struct sigaction_table) <= 2048, "the largest slab object");

static inline struct sigaction sigaction_get(const struct sigaction_table *table, int signo)
{
    return (struct sigaction){
        .handler = table->slots[signo - 1].handler,
        .flags = table->slots[signo - 1].flags,
        .restorer = table->slots[signo - 1].restorer,
        .mask = table->slots[signo - 1].mask,
    };
}

#define SA_NOCLDSTOP 0x00000001u
#define SA_NOCLDWAIT 0x00000002u
#define SA_SIGINFO   0x00000004u
#define SA_RESTORER  0x04000000u
#define SA_ONSTACK   0x08000000u
#define SA_RESTART   0x10000000u
#define SA_NODEFER   0x40000000u
#define SA_RESETHAND 0x80000000u

/* sigaltstack(2) */
#define SS_ONSTACK    1u
#define SS_DISABLE    2u
#define SS_AUTODISARM 0x80000000u

/* What arch_signal_frame() needs. */
struct signal_delivery {
    struct siginfo info;
    struct sigaction action;
    uint64_t old_mask; /* goes into the frame */
    uint64_t sp;      /* stack to build on: the interrupted one or the top of the alternate stack */
    bool on_altstack; /* sp is an alternate stack's top: no red zone to skip */
    uint64_t altstack_base, altstack_size;
    uint32_t altstack_flags; /* uc_stack */
    uint64_t fault_address;  /* cr2-like context fields; 0 when not a fault */
    uint32_t trap, error;
};

/* Send. info may be NULL (SI_KERNEL). Any context but hard interrupts with signal_lock held. 0,
 * -EAGAIN (queue full, RT). */
int signal_send_task(struct task *t, int signo, const struct siginfo *info);
int signal_send_process(struct process *p, int signo, const struct siginfo *info);
int signal_send_group(pid_t pgid, int signo, const struct siginfo *info); /* -ESRCH: empty */

/*
 * A fault of the current task in user mode: synchronous, cannot be blocked or ignored away (then
 * default action).
 */
void signal_fault(struct regs *regs, int signo, int code, uint64_t addr, uint32_t trap,
                  uint32_t error);

/* Deliver what is deliverable before returning to user mode. True if a handler frame was built or
 * the task's mask was restored. */
void signal_deliver(struct regs *regs);
