/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ABI's signal frame (rt_sigframe of Linux, arch/x86/include/uapi/asm/sigcontext.h), built on
 * the program's stack and taken apart again. From high to low addresses: the red zone is skipped,
 * the FPU image (64-aligned), the frame (16-aligned less 8, as after a CALL).
 */

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/string.h>
#include <mm/mm.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/uaccess.h>
#include <x86.h>

#define RED_ZONE          128u
#define FP_XSTATE_MAGIC1  0x46505853u
#define FP_XSTATE_MAGIC2  0x46505845u
#define FX_SIZE           512u
#define FX_SW_RESERVED    464u
#define FX_MXCSR          24u
#define MXCSR_MASK        0xffffu
#define XSAVE_HEADER_SIZE 64u

#define UC_FP_XSTATE         1u
#define UC_SIGCONTEXT_SS     2u
#define UC_STRICT_RESTORE_SS 4u

#define USER_FLAGS    0x250dd5u /* what a program may set: entry.S */
#define FLAGS_ALWAYS  0x202u
#define FLAGS_HANDLER (0x400u | 0x100u | 0x10000u) /* DF, TF, RF: off in a handler */

struct stack_descriptor {
    uint64_t base;
    uint32_t flags;
    uint32_t pad;
    uint64_t size;
};

struct sigcontext {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trap, old_mask, cr2;
    uint64_t fpstate;
    uint64_t reserved[8];
};

struct ucontext {
    uint64_t flags;
    uint64_t link;
    struct stack_descriptor stack;
    struct sigcontext context;
    uint64_t mask;
};

struct signal_frame {
    uint64_t restorer;
    struct ucontext uc;
    struct siginfo info;
};

static_assert(sizeof(struct sigcontext) == 256, "ABI");
static_assert(offsetof(struct ucontext, mask) == 296, "ABI");
static_assert(offsetof(struct signal_frame, info) == 312, "ABI");

/* In the image's bytes that the CPU leaves to software. */
struct fx_software {
    uint32_t magic1;
    uint32_t extended_size; /* with the second magic word */
    uint64_t features;
    uint32_t xstate_size;
    uint32_t padding[7];
};

static_assert(sizeof(struct fx_software) == 48, "ABI");

/* Interrupted here in ring 3: its SYSCALL is on the way to arrive as a page fault (entry.S). */
extern char entry_syscall[];

static uint64_t fp_frame_size(void)
{
    return fpu_xmask ? (uint64_t)fpu_size + sizeof(uint32_t) : FX_SIZE;
}

uint64_t signal_frame_size(void)
{
    return sizeof(struct signal_frame) + fp_frame_size() + 64 + 16 + RED_ZONE;
}

/* The image with its magic words at `to`. */
static int put_fpu(uint64_t to)
{
    uint8_t *image = current->arch.fpu;
    struct fx_software sw = { 0 };
    uint64_t flags = irq_save();

    fpu_save(image);
    irq_restore(flags);
    if (fpu_xmask) {
        sw = (struct fx_software){ .magic1 = FP_XSTATE_MAGIC1,
                                   .extended_size = fpu_size + (uint32_t)sizeof(uint32_t),
                                   .features = fpu_xmask,
                                   .xstate_size = fpu_size };
    }
    memcpy(image + FX_SW_RESERVED, &sw, sizeof(sw));
    if (copy_to_user((void *)to, image, fpu_size) < 0) {
        return -EFAULT;
    }
    return fpu_xmask ? put_user32(FP_XSTATE_MAGIC2, (void *)(to + fpu_size)) : 0;
}

static void fill_context(struct sigcontext *c, const struct regs *r,
                         const struct signal_delivery *d, uint64_t fpstate)
{
    *c = (struct sigcontext){
        .r8 = r->r8,
        .r9 = r->r9,
        .r10 = r->r10,
        .r11 = r->r11,
        .r12 = r->r12,
        .r13 = r->r13,
        .r14 = r->r14,
        .r15 = r->r15,
        .di = r->di,
        .si = r->si,
        .bp = r->bp,
        .bx = r->bx,
        .dx = r->dx,
        .ax = r->ax,
        .cx = r->cx,
        .sp = r->sp,
        .ip = r->ip,
        .flags = r->flags,
        .cs = (uint16_t)r->cs,
        .ss = (uint16_t)r->ss,
        .err = d->error,
        .trap = d->trap,
        .old_mask = d->old_mask,
        .cr2 = d->fault_address,
        .fpstate = fpstate,
    };
}

int arch_signal_frame(struct regs *regs, const struct signal_delivery *d)
{
    struct signal_frame f = { 0 };
    uint64_t fp;
    uint64_t sp;

    if (!(d->action.flags & SA_RESTORER) || d->action.handler >= USER_MAX || d->sp > USER_MAX ||
        d->sp < signal_frame_size()) {
        return -EFAULT;
    }
    fp = align_down(d->sp - (d->on_altstack ? 0 : RED_ZONE) - fp_frame_size(), UINT64_C(64));
    sp = align_down(fp - sizeof(f), UINT64_C(16)) - 8;
    if ((d->on_altstack || (d->altstack_flags & SS_ONSTACK)) && sp < d->altstack_base) {
        return -EFAULT; /* nested too deeply: the alternate stack is full */
    }
    f.restorer = d->action.restorer;
    f.uc.flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | (fpu_xmask ? UC_FP_XSTATE : 0);
    f.uc.stack = (struct stack_descriptor){ .base = d->altstack_base,
                                            .flags = d->altstack_flags,
                                            .size = d->altstack_size };
    fill_context(&f.uc.context, regs, d, fp);
    f.uc.mask = d->old_mask;
    f.info = d->info;
    if (put_fpu(fp) < 0 || copy_to_user((void *)sp, &f, sizeof(f)) < 0) {
        return -EFAULT;
    }
    regs->di = (uint32_t)d->info.signo;
    regs->si = sp + offsetof(struct signal_frame, info);
    regs->dx = sp + offsetof(struct signal_frame, uc);
    regs->ax = 0;
    regs->ip = d->action.handler;
    regs->sp = sp;
    regs->cs = SELECTOR_USER_CODE;
    regs->ss = SELECTOR_USER_DATA;
    regs->flags &= ~(uint64_t)FLAGS_HANDLER;
    regs->orig_ax = -1;
    return 0;
}

/* Make an image that a program wrote loadable: bits that would fault are cleared. */
static void tame_image(uint8_t *image)
{
    store_le32(image + FX_MXCSR, load_le32(image + FX_MXCSR) & MXCSR_MASK);
    if (fpu_xmask) {
        uint64_t features = load_le64(image + FX_SIZE) & fpu_xmask;

        memset(image + FX_SIZE, 0, XSAVE_HEADER_SIZE);
        store_le64(image + FX_SIZE, features);
    }
}

static bool read_image(uint8_t *image, uint64_t from)
{
    struct fx_software sw;
    uint32_t magic2 = 0;

    if (copy_from_user(image, (const void *)from, FX_SIZE) < 0) {
        return false;
    }
    if (!fpu_xmask) {
        tame_image(image);
        return true;
    }
    memcpy(&sw, image + FX_SW_RESERVED, sizeof(sw));
    bool is_extended = sw.magic1 == FP_XSTATE_MAGIC1 &&
                       sw.xstate_size >= FX_SIZE + XSAVE_HEADER_SIZE &&
                       sw.xstate_size <= fpu_size &&
                       get_user32(&magic2, (const void *)(from + sw.xstate_size)) == 0 &&
                       magic2 == FP_XSTATE_MAGIC2;

    memset(image + FX_SIZE, 0, fpu_size - FX_SIZE);
    if (is_extended) {
        if (copy_from_user(image + FX_SIZE, (const void *)(from + FX_SIZE),
                           sw.xstate_size - FX_SIZE) < 0) {
            return false;
        }
    } else {
        store_le64(image + FX_SIZE, 3); /* x87 and SSE; the rest starts afresh */
    }
    tame_image(image);
    return true;
}

/*
 * Into a fresh image: a switch while we copy would save over the current one. The old one goes once
 * the new one is loaded.
 */
static int get_fpu(uint64_t from)
{
    struct task *t = current;
    uint8_t *image = fpu_alloc();
    void *old;
    uint64_t flags;

    if (!image) {
        return -ENOMEM;
    }
    if (from == 0) {
        fpu_reset(image);
    } else if (!is_aligned(from, 64) || from >= USER_MAX || !read_image(image, from)) {
        fpu_free(image);
        return -EFAULT;
    }
    flags = irq_save();
    old = t->arch.fpu;
    t->arch.fpu = image;
    fpu_load(image);
    irq_restore(flags);
    fpu_free(old);
    return 0;
}

static void restore_altstack(const struct stack_descriptor *s)
{
    struct task *t = current;

    if ((s->flags & ~(SS_DISABLE | SS_AUTODISARM | 1u)) != 0) {
        return;
    }
    if (s->flags & SS_DISABLE) {
        t->altstack_base = 0;
        t->altstack_size = 0;
        t->altstack_flags = SS_DISABLE;
    } else {
        t->altstack_base = s->base;
        t->altstack_size = s->size;
        t->altstack_flags = s->flags & SS_AUTODISARM;
    }
}

int arch_signal_return(struct regs *regs, uint64_t *mask)
{
    struct ucontext uc;
    const struct sigcontext *c = &uc.context;

    /* The handler's RET has taken the restorer's address. */
    if (copy_from_user(&uc, (const void *)(regs->sp - 8 + offsetof(struct signal_frame, uc)),
                       sizeof(uc)) < 0 ||
        (c->ip >= USER_MAX && c->ip != (uintptr_t)entry_syscall) || get_fpu(c->fpstate) < 0) {
        return -EFAULT;
    }
    *regs = (struct regs){
        .r15 = c->r15,
        .r14 = c->r14,
        .r13 = c->r13,
        .r12 = c->r12,
        .bp = c->bp,
        .bx = c->bx,
        .r11 = c->r11,
        .r10 = c->r10,
        .r9 = c->r9,
        .r8 = c->r8,
        .ax = c->ax,
        .cx = c->cx,
        .dx = c->dx,
        .si = c->si,
        .di = c->di,
        .orig_ax = -1,
        .ip = c->ip,
        .cs = SELECTOR_USER_CODE,
        .flags = (c->flags & USER_FLAGS) | FLAGS_ALWAYS,
        .sp = c->sp,
        .ss = SELECTOR_USER_DATA,
    };
    *mask = uc.mask;
    restore_altstack(&uc.stack);
    return 0;
}
