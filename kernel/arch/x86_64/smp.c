/* SPDX-License-Identifier: Apache-2.0 */
/* The other CPUs: starting them, calling functions on them, stopping them, TLB shootdown. */

#include <stdatomic.h>

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/lock.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/mm.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <sched/task.h>
#include <sched/timer.h>
#include <x86.h>

#define TRAMPOLINE_PAGE  0x8 /* physical 0x8000: the startup IPI's vector */
#define START_TIMEOUT_NS (200 * NSEC_PER_MSEC)
#define FLUSH_PAGES_MAX  32u
#define STACK_ORDER      2u

extern char ap_trampoline[], ap_trampoline_end[];
extern uint64_t ap_stack;

_Atomic bool cpus_are_stopping;
static unsigned starting_index;

/* One call at a time in the whole machine; `waiting` are those that have not run it yet. */
static struct spinlock call_lock = SPINLOCK_INIT(RANK_NONE);
static void (*call_fn)(void *arg);
static void *call_arg;
static _Atomic uint64_t call_waiting;

void ipi_resched(unsigned cpu)
{
    apic_send_ipi(cpus[cpu].arch.apic_id, VECTOR_RESCHED);
}

void ipi_call_interrupt(void)
{
    uint64_t bit = UINT64_C(1) << this_cpu()->index;

    /* Acquire: pairs with the release store below; function and argument are complete. */
    if (atomic_load_explicit(&call_waiting, memory_order_acquire) & bit) {
        call_fn(call_arg);
        (void)atomic_fetch_and_explicit(&call_waiting, ~bit, memory_order_release);
    }
}

void ipi_call(uint64_t cpu_mask, void (*fn)(void *arg), void *arg)
{
    uint64_t online = atomic_load_explicit(&cpu_online_mask, memory_order_acquire);

    cpu_mask &= online;
    if ((cpu_mask & ~(UINT64_C(1) << this_cpu()->index)) == 0) {
        return;
    }
    assert(irq_is_enabled());
    spin_lock(&call_lock);
    cpu_mask &= ~(UINT64_C(1) << this_cpu()->index);
    call_fn = fn;
    call_arg = arg;
    atomic_store_explicit(&call_waiting, cpu_mask, memory_order_release);
    for (uint64_t m = cpu_mask; m != 0; m &= m - 1) {
        apic_send_ipi(cpus[__builtin_ctzll(m)].arch.apic_id, VECTOR_CALL);
    }
    while (atomic_load_explicit(&call_waiting, memory_order_acquire) != 0) {
        cpu_relax();
    }
    spin_unlock(&call_lock);
}

void ipi_stop_others(void)
{
    if (cpu_count > 1 &&
        !(atomic_exchange_explicit(&cpus_are_stopping, true, memory_order_release))) {
        apic_send_nmi_others();
    }
}

/* --- TLB */

struct flush {
    struct mm *mm;
    uint64_t start;
    uint64_t end;
};

static void flush_here(void *arg)
{
    const struct flush *f = arg;

    if (f->end - f->start > FLUSH_PAGES_MAX << PAGE_SHIFT) {
        write_cr3(read_cr3());
        return;
    }
    for (uint64_t va = f->start; va < f->end; va += PAGE_SIZE) {
        invlpg(va);
    }
}

void tlb_flush_range(struct mm *mm, uint64_t start, uint64_t end)
{
    struct flush f = { mm, start, end };
    /* Sequentially consistent: the PTEs are changed before we look who may have seen them. */
    uint64_t mask = atomic_load_explicit(&mm->cpu_mask, memory_order_seq_cst);
    uint64_t me = UINT64_C(1) << this_cpu()->index;

    if (mask & me) {
        flush_here(&f);
    }
    if (mask & ~me) {
        ipi_call(mask, flush_here, &f);
    }
}

void tlb_flush_mm(struct mm *mm)
{
    tlb_flush_range(mm, 0, UINT64_C(1) << 47);
}

/* --- start */

/* On its own stack, interrupts off, boot page tables. */
_Noreturn void ap_start(void);

_Noreturn void ap_start(void)
{
    struct cpu *c = &cpus[starting_index];

    cpu_init_base(c, starting_index);
    arch_load_page_table(0);
    cpu_init_features(false);
    apic_init_cpu();
    timer_start_cpu();
    sched_start_cpu();
    (void)atomic_fetch_or_explicit(&cpu_online_mask, UINT64_C(1) << c->index, memory_order_release);
    irq_enable();
    sched_idle();
}

static void wait_ns(uint64_t ns)
{
    uint64_t end = clock_monotonic_ns() + ns;

    while (clock_monotonic_ns() < end) {
        cpu_relax();
    }
}

static bool is_online(unsigned index)
{
    return (atomic_load_explicit(&cpu_online_mask, memory_order_acquire) >> index & 1) != 0;
}

static bool give_stacks(struct cpu *c)
{
    struct page *stack = page_alloc(STACK_ORDER, GFP_KERNEL);

    if (!stack) {
        return false;
    }
    ap_stack = (uintptr_t)page_address(stack) + (PAGE_SIZE << STACK_ORDER);
    for (unsigned i = 0; i < 3; i++) {
        struct page *ist = page_alloc(0, GFP_KERNEL);

        if (!ist) {
            return false; /* the machine goes on with fewer CPUs; nothing runs on what was taken */
        }
        cpu_set_ist(c, i, page_address(ist));
    }
    return true;
}

static void start_one(unsigned index, uint32_t id)
{
    struct cpu *c = &cpus[index];
    uint64_t deadline;

    if (!give_stacks(c)) {
        log_warn("x86: no memory to start CPU %u", index);
        return;
    }
    c->index = index;
    c->arch.apic_id = id;
    starting_index = index;
    apic_send_init(id);
    wait_ns(NSEC_PER_MSEC / 100);
    apic_send_startup(id, TRAMPOLINE_PAGE);
    deadline = clock_monotonic_ns() + START_TIMEOUT_NS;
    for (bool again = true; !is_online(index) && clock_monotonic_ns() < deadline; cpu_relax()) {
        if (again && clock_monotonic_ns() > deadline - START_TIMEOUT_NS / 2) {
            apic_send_startup(id, TRAMPOLINE_PAGE);
            again = false;
        }
    }
    if (!is_online(index)) {
        log_warn("x86: CPU %u (APIC %u) does not start", index, id);
    }
}

void arch_start_cpus(void)
{
    uint64_t max = CPU_MAX;
    size_t length;
    uint32_t me = apic_id();
    unsigned next = 1;

    (void)boot_option_u64("maxcpus=", &max);
    if (boot_option("nosmp", &length)) {
        max = 1;
    }
    if (machine.cpu_count <= 1 || max <= 1) {
        return;
    }
    memcpy(arch_phys_to_virt((paddr_t)TRAMPOLINE_PAGE << PAGE_SHIFT), ap_trampoline,
           (size_t)(ap_trampoline_end - ap_trampoline));
    for (unsigned i = 0; i < machine.cpu_count && next < max && next < CPU_MAX; i++) {
        if (machine.apic_ids[i] != me) {
            start_one(next, machine.apic_ids[i]);
            if (!is_online(next)) {
                break; /* its index stays unused */
            }
            cpu_count = ++next;
        }
    }
    log_info("x86: %u CPUs", cpu_count);
}
