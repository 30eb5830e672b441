/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exceptions: a program's become signals with Linux's numbers; the kernel's own are page faults on
 * user memory (served, or fixed up by the exception table) or bugs. Interrupts are handed to
 * apic.c.
 */

#include <arch/console.h>
#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <arch/regs.h>
#include <core/boot.h>
#include <core/log.h>
#include <mm/mm.h>
#include <proc/process.h>
#include <sched/task.h>
#include <x86.h>

enum vector {
    VECTOR_DIVIDE = 0,
    VECTOR_DEBUG = 1,
    VECTOR_NMI = 2,
    VECTOR_BREAKPOINT = 3,
    VECTOR_OVERFLOW = 4,
    VECTOR_BOUND = 5,
    VECTOR_INVALID_OPCODE = 6,
    VECTOR_NO_FPU = 7,
    VECTOR_DOUBLE_FAULT = 8,
    VECTOR_INVALID_TSS = 10,
    VECTOR_NO_SEGMENT = 11,
    VECTOR_STACK_SEGMENT = 12,
    VECTOR_PROTECTION = 13,
    VECTOR_PAGE_FAULT = 14,
    VECTOR_X87 = 16,
    VECTOR_ALIGNMENT = 17,
    VECTOR_MACHINE_CHECK = 18,
    VECTOR_SIMD = 19,
};

#define PF_PRESENT  (1u << 0)
#define PF_WRITE    (1u << 1)
#define PF_USER     (1u << 2)
#define PF_RESERVED (1u << 3)
#define PF_FETCH    (1u << 4)

#define IST_NMI           1
#define IST_DOUBLE_FAULT  2
#define IST_MACHINE_CHECK 3

#define ILL_ILLOPN 2

static const char *const vector_names[32] = {
    [VECTOR_DIVIDE] = "divide error",
    [VECTOR_DEBUG] = "debug",
    [VECTOR_NMI] = "NMI",
    [VECTOR_BREAKPOINT] = "breakpoint",
    [VECTOR_OVERFLOW] = "overflow",
    [VECTOR_BOUND] = "bound range",
    [VECTOR_INVALID_OPCODE] = "invalid opcode",
    [VECTOR_NO_FPU] = "device not available",
    [VECTOR_DOUBLE_FAULT] = "double fault",
    [VECTOR_INVALID_TSS] = "invalid TSS",
    [VECTOR_NO_SEGMENT] = "segment not present",
    [VECTOR_STACK_SEGMENT] = "stack segment fault",
    [VECTOR_PROTECTION] = "general protection fault",
    [VECTOR_PAGE_FAULT] = "page fault",
    [VECTOR_X87] = "x87 error",
    [VECTOR_ALIGNMENT] = "alignment check",
    [VECTOR_MACHINE_CHECK] = "machine check",
    [VECTOR_SIMD] = "SIMD error",
};

struct gate {
    uint64_t low; /* offset 0-15, selector, stack, type, offset 16-31 */
    uint64_t high;
};

#define GATE_INTERRUPT (UINT64_C(0x8e) << 40)
#define GATE_PRIVILEGE (UINT64_C(3) << 45) /* ring 3 may use it */
#define GATE_STACK(n)  ((uint64_t)(n) << 32)

static struct gate idt[256];
extern char entry_vectors[];
extern char entry_page_fault[];

static struct gate gate_to(uintptr_t at)
{
    return (struct gate){
        .low = (at & 0xffff) | SELECTOR_KERNEL_CODE << 16 | GATE_INTERRUPT |
               (uint64_t)(at >> 16 & 0xffff) << 48,
        .high = at >> 32,
    };
}

/* The stubs lie in one page, 16 bytes each: gates differ in the lowest bits only. */
static ALWAYS_INLINE void set_gate(unsigned vector)
{
    struct gate first = gate_to((uintptr_t)entry_vectors);

    idt[vector] = (struct gate){ first.low + UINT64_C(16) * vector, first.high };
}

void idt_set_interrupt(unsigned vector)
{
    set_gate(vector);
}

/*
 * From entry.S, interrupts off, %gs still the program's. A program's SYSCALL came as a page fault:
 * ring 3 runs natively under an interpreted ring 0, and its RDTSC does not read the counter that
 * ours does, unless the monitor says so.
 */
void syscall_fault_seen(void);

void syscall_fault_seen(void)
{
    idt[VECTOR_PAGE_FAULT] = gate_to((uintptr_t)entry_page_fault);
    if (!boot_info.has_host_counter) {
        vdso_forbid_counter();
    }
}

void idt_init(void)
{
    assert(is_aligned((uintptr_t)entry_vectors, 4096));
    for (unsigned v = 0; v < 22; v++) {
        set_gate(v);
    }
    idt[VECTOR_BREAKPOINT].low |= GATE_PRIVILEGE;
    idt[VECTOR_OVERFLOW].low |= GATE_PRIVILEGE;
    idt[VECTOR_NMI].low |= GATE_STACK(IST_NMI);
    idt[VECTOR_DOUBLE_FAULT].low |= GATE_STACK(IST_DOUBLE_FAULT);
    idt[VECTOR_MACHINE_CHECK].low |= GATE_STACK(IST_MACHINE_CHECK);
    set_gate(VECTOR_TIMER);
    set_gate(VECTOR_RESCHED);
    set_gate(VECTOR_CALL);
    set_gate(VECTOR_APIC_ERROR);
    set_gate(VECTOR_SPURIOUS);
}

void idt_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } PACKED p = { sizeof(idt) - 1, (uintptr_t)idt };

    __asm__ volatile("lidt %0" : : "m"(p));
}

static _Noreturn void kernel_trap(struct regs *regs, unsigned vector, uint64_t error)
{
    const char *name = vector < 32 ? vector_names[vector] : NULL;

    if (vector == VECTOR_PAGE_FAULT) {
        panic(regs, "page fault at 0x%lx (error 0x%lx)", read_cr2(), error);
    }
    panic(regs, "%s in the kernel (vector %u, error 0x%lx)", name ? name : "exception", vector,
          error);
}

/* --- page faults */

struct exception_entry {
    uint64_t insn;
    uint64_t fixup;
    uint64_t is_served;
};

extern const struct exception_entry exception_table_start[];
extern const struct exception_entry exception_table_end[];

/* A handful of entries: a search in order is the fast one. */
static const struct exception_entry *find_exception(uint64_t ip)
{
    for (const struct exception_entry *e = exception_table_start; e < exception_table_end; e++) {
        if (e->insn == ip) {
            return e;
        }
    }
    return NULL;
}

static unsigned access_of(uint64_t error)
{
    return (error & PF_WRITE ? FAULT_WRITE : FAULT_READ) | (error & PF_FETCH ? FAULT_EXEC : 0) |
           (error & PF_PRESENT ? 0 : FAULT_ABSENT);
}

static void user_page_fault(struct regs *regs, uint64_t addr, uint64_t error)
{
    int signal = SIGSEGV;
    int code = SEGV_MAPERR;

    irq_enable();
    if (addr < USER_MAX && !(error & PF_RESERVED)) {
        int err = mm_fault(current->mm, addr, access_of(error) | FAULT_USER, &signal, &code);

        if (err == 0 || err == -ENOMEM) { /* no memory: the killer chose; if us, work is pending */
            return;
        }
    }
    if (addr >= USER_MAX) {
        error |= PF_PRESENT; /* as Linux: what of the kernel is mapped is nobody's business */
    }
    signal_fault(regs, signal, code, addr, VECTOR_PAGE_FAULT, (uint32_t)error);
}

#define OOM_TRIES 64u

static void kernel_page_fault(struct regs *regs, uint64_t addr, uint64_t error)
{
    const struct exception_entry *e = find_exception(regs->ip);
    int signal;
    int code;

    if (!e || error & PF_RESERVED || (e->is_served && addr >= DIRECT_MAP_BASE)) {
        kernel_trap(regs, VECTOR_PAGE_FAULT, error);
    }
    if (e->is_served && addr < USER_MAX && current->mm && regs->flags & FLAGS_IF) {
        irq_enable();
        int err = mm_fault(current->mm, addr, access_of(error), &signal, &code);

        /* The killer chose somebody else: let him go and try again. Bounded, because he may wait
         * for what we hold. */
        for (unsigned n = 0; n < OOM_TRIES && err == -ENOMEM && !fatal_signal_is_pending(current);
             n++) {
            sched_yield_cpu();
            err = mm_fault(current->mm, addr, access_of(error), &signal, &code);
        }
        irq_disable();
        if (err == 0) {
            return;
        }
    }
    regs->ip = e->fixup;
}

/* --- a program's other exceptions */

static int x87_code(uint16_t status)
{
    static const int code[] = { 7, 5 /* denormal: FLTUND */, 3, 4, 5, 6 };

    for (unsigned i = 0; i < array_size(code); i++) {
        if (status & 1u << i) {
            return code[i];
        }
    }
    return 0;
}

static void user_float_fault(struct regs *regs, unsigned vector)
{
    const uint8_t *image = current->arch.fpu;
    uint16_t status;

    fpu_save(current->arch.fpu);
    if (vector == VECTOR_X87) {
        status = (uint16_t)(load_le16(image + 2) & ~load_le16(image));
    } else {
        uint32_t mxcsr = load_le32(image + 24);

        status = (uint16_t)(mxcsr & ~(mxcsr >> 7));
    }
    signal_fault(regs, SIGFPE, x87_code(status), regs->ip, vector, 0);
}

static void user_trap(struct regs *regs, unsigned vector, uint64_t error)
{
    static const struct {
        uint8_t signo;
        uint8_t code;
        bool has_ip; /* si_addr is the instruction */
    } action[] = {
        [VECTOR_DIVIDE] = { SIGFPE, FPE_INTDIV, true },
        [VECTOR_DEBUG] = { SIGTRAP, TRAP_TRACE, true },
        [VECTOR_BREAKPOINT] = { SIGTRAP, SI_KERNEL, false },
        [VECTOR_OVERFLOW] = { SIGSEGV, SI_KERNEL, false },
        [VECTOR_BOUND] = { SIGSEGV, SI_KERNEL, false },
        [VECTOR_INVALID_OPCODE] = { SIGILL, ILL_ILLOPN, true },
        [VECTOR_NO_FPU] = { SIGSEGV, SI_KERNEL, false },
        [VECTOR_INVALID_TSS] = { SIGSEGV, SI_KERNEL, false },
        [VECTOR_NO_SEGMENT] = { SIGBUS, SI_KERNEL, false },
        [VECTOR_STACK_SEGMENT] = { SIGBUS, SI_KERNEL, false },
        [VECTOR_PROTECTION] = { SIGSEGV, SI_KERNEL, false },
        [VECTOR_ALIGNMENT] = { SIGBUS, BUS_ADRALN, false },
    };

    irq_enable();
    if (vector == VECTOR_X87 || vector == VECTOR_SIMD) {
        user_float_fault(regs, vector);
    } else if (vector < array_size(action) && action[vector].signo != 0) {
        signal_fault(regs, action[vector].signo, action[vector].code,
                     action[vector].has_ip ? regs->ip : 0, vector, (uint32_t)error);
    } else {
        signal_fault(regs, SIGSEGV, SI_KERNEL, 0, vector, (uint32_t)error);
    }
}

/* From entry.S, interrupts off, and returns so. */
void trap_entry(struct regs *regs, unsigned vector, uint64_t error);

void trap_entry(struct regs *regs, unsigned vector, uint64_t error)
{
    if (vector >= 32) {
        apic_interrupt(vector, regs);
        return;
    }
    if (vector == VECTOR_PAGE_FAULT) {
        uint64_t addr = read_cr2();

        if (regs_is_user(regs)) {
            user_page_fault(regs, addr, error);
            irq_disable();
        } else {
            kernel_page_fault(regs, addr, error);
        }
        return;
    }
    if (regs_is_user(regs)) {
        user_trap(regs, vector, error);
        irq_disable();
        return;
    }
    const struct exception_entry *e = vector == VECTOR_PROTECTION ? find_exception(regs->ip) : NULL;

    if (!e) {
        kernel_trap(regs, vector, error);
    }
    regs->ip = e->fixup; /* an address that is not canonical */
}

/* On a stack of its own, from anywhere. */
void trap_paranoid(struct regs *regs, unsigned vector, uint64_t error);

void trap_paranoid(struct regs *regs, unsigned vector, uint64_t error)
{
    if (vector == VECTOR_NMI) {
        if (atomic_load_explicit(&cpus_are_stopping, memory_order_acquire)) {
            for (;;) {
                __asm__ volatile("cli; hlt");
            }
        }
        return; /* nobody's: some machines send them when they are nudged */
    }
    kernel_trap(regs, vector, error);
}

void arch_user_work(struct regs *regs);

void arch_user_work(struct regs *regs)
{
    irq_enable();
    if (atomic_load_explicit(&current->work, memory_order_relaxed) & WORK_RESCHED) {
        schedule();
    }
    if (atomic_load_explicit(&current->work, memory_order_relaxed) != 0) {
        task_work_run(regs);
    }
    irq_disable();
}
