/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: how a new one's stack looks, and the switch between two. */

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/mm.h>
#include <sched/task.h>
#include <x86.h>

/* What switch_stacks() leaves on a stack. */
struct switch_frame {
    uint64_t r15, r14, r13, r12, bp, bx;
    uint64_t ip;
};

#define FLAGS_USER_START 0x202 /* interrupts on */

extern char thread_start_user[];
extern char thread_start_kernel[];
void switch_stacks(uint64_t *save_sp, uint64_t load_sp);
_Noreturn void enter_user_at(struct regs *frame);

static struct regs *user_frame(const struct task *t)
{
    return (struct regs *)t->kstack - 1;
}

void arch_thread_init_user(struct task *t, const struct regs *from, uint64_t sp, uint64_t tls,
                           bool has_tls)
{
    struct regs *regs = user_frame(t);
    struct switch_frame *frame;

    *regs = *from;
    regs->ax = 0;
    regs->orig_ax = -1;
    if (sp != 0) {
        regs->sp = sp;
    }
    if (cpu_features.has_fsgsbase) { /* the program may have changed them by itself */
        current->arch.fs_base = read_msr(MSR_FS_BASE);
        current->arch.gs_base = read_msr(MSR_KERNEL_GS_BASE);
    }
    t->arch.fs_base = has_tls ? tls : current->arch.fs_base;
    t->arch.gs_base = current->arch.gs_base;
    t->regs = regs;
    /* One word keeps the ABI's alignment at the first call. */
    frame = (struct switch_frame *)regs - 1;
    *frame = (struct switch_frame){ .ip = (uintptr_t)thread_start_user };
    t->arch.sp = (uintptr_t)frame;
}

void arch_thread_init_kernel(struct task *t, int (*fn)(void *arg), void *arg)
{
    /* The user frame's place stays free: exec may turn the thread into a program. */
    struct switch_frame *frame = (struct switch_frame *)user_frame(t) - 1;

    *frame = (struct switch_frame){ .ip = (uintptr_t)thread_start_kernel,
                                    .r12 = (uintptr_t)fn,
                                    .r13 = (uintptr_t)arg };
    t->arch.sp = (uintptr_t)frame;
    t->regs = user_frame(t);
}

void arch_thread_free(struct task *t)
{
    fpu_free(t->arch.fpu);
    t->arch.fpu = NULL;
}

int arch_thread_copy_fpu(struct task *to, const struct task *from)
{
    if (!from->arch.fpu) {
        return 0;
    }
    to->arch.fpu = fpu_alloc();
    if (!to->arch.fpu) {
        return -ENOMEM;
    }
    if (from == current) {
        fpu_save(to->arch.fpu); /* straight to where it is wanted */
    } else {
        memcpy(to->arch.fpu, from->arch.fpu, fpu_size);
    }
    return 0;
}

static void save_user_state(struct task *t)
{
    if (!t->arch.fpu) {
        return;
    }
    fpu_save(t->arch.fpu);
    if (cpu_features.has_fsgsbase) {
        t->arch.fs_base = read_msr(MSR_FS_BASE);
        t->arch.gs_base = read_msr(MSR_KERNEL_GS_BASE);
    }
}

/* Writing a base costs more than looking whether it is there already. */
static void load_bases(struct arch_cpu *c, const struct task *t)
{
    if (cpu_features.has_fsgsbase || c->fs_base != t->arch.fs_base) {
        write_msr(MSR_FS_BASE, t->arch.fs_base);
        c->fs_base = t->arch.fs_base;
    }
    if (cpu_features.has_fsgsbase || c->gs_base != t->arch.gs_base) {
        write_msr(MSR_KERNEL_GS_BASE, t->arch.gs_base);
        c->gs_base = t->arch.gs_base;
    }
}

void arch_switch(struct task *prev, struct task *next)
{
    struct arch_cpu *c = &this_cpu()->arch;

    assert(!irq_is_enabled());
    save_user_state(prev);
    c->task = next;
    c->kernel_sp = (uintptr_t)next->kstack;
    c->tss.rsp[0] = (uintptr_t)next->kstack;
    if (next->arch.fpu) {
        fpu_load(next->arch.fpu);
        load_bases(c, next);
    }
    switch_stacks(&prev->arch.sp, next->arch.sp);
}

void arch_start_user(struct regs *regs, uint64_t ip, uint64_t sp)
{
    struct task *t = current;
    uint64_t flags;

    /* Not canonical: the fault belongs to the program, at an address that is never mapped. */
    *regs = (struct regs){ .orig_ax = -1,
                           .ip = ip < USER_MAX ? ip : USER_MAX,
                           .cs = SELECTOR_USER_CODE,
                           .flags = FLAGS_USER_START,
                           .sp = sp,
                           .ss = SELECTOR_USER_DATA };
    if (!t->arch.fpu) {
        t->arch.fpu = fpu_alloc();
        if (!t->arch.fpu) {
            panic(regs, "no memory for the first program's FPU state");
        }
    }
    flags = irq_save();
    fpu_reset(t->arch.fpu);
    fpu_load(t->arch.fpu);
    t->arch.fs_base = 0;
    t->arch.gs_base = 0;
    load_bases(&this_cpu()->arch, t);
    irq_restore(flags);
}

void arch_enter_user(void)
{
    irq_disable();
    assert(current->regs == user_frame(current));
    enter_user_at(current->regs);
}
