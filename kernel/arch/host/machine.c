/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated RAM, CPU, task and time for unit tests. */
#include <host/host.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <mm/page.h>
#include <proc/process.h>
#include <sched/cpu.h>
#include <sched/task.h>

struct cpu cpus[CPU_MAX];
unsigned cpu_count = 1;
_Atomic uint64_t cpu_online_mask = 1;
bool host_irq_enabled = true;
uint64_t host_now_ns = NSEC_PER_SEC;
uint64_t host_realtime_ns = UINT64_C(1700000000) * NSEC_PER_SEC;
uint64_t host_limits[16];
bool host_signal_pending;
bool host_fatal_pending;
uintptr_t host_ram_base;
uintptr_t host_vmalloc_base;
unsigned host_lines_logged;
unsigned host_fail_page_alloc;

static uint64_t ram_size;
static struct task host_task;
static struct process host_process;
static struct cred host_cred;

static void *reserve(uint64_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert(p != MAP_FAILED);
    return p;
}

static void task_create(void)
{
    host_cred = (struct cred){ .cap_permitted = ~UINT64_C(0), .cap_effective = ~UINT64_C(0) };
    ref_init(&host_cred.ref);
    host_process = (struct process){ .pid = 2, .leader = &host_task, .thread_count = 1 };
    ref_init(&host_process.ref);
    list_init(&host_process.children);
    list_init(&host_process.threads);
    list_init(&host_process.sibling);
    list_init(&host_process.all);
    host_task = (struct task){ .tid = 2, .process = &host_process, .cred = &host_cred };
    ref_init(&host_task.ref);
    list_init(&host_task.thread_link);
    for (unsigned i = 0; i < array_size(host_limits); i++) {
        host_limits[i] = RLIM_INFINITY;
    }
    cpus[0].arch.task = &host_task;
}

void host_machine_create(uint64_t size, bool ram_is_zero)
{
    const uint64_t align = UINT64_C(4) << 20;

    host_machine_destroy();
    assert(size != 0 && is_aligned(size, PAGE_SIZE));
    uintptr_t at = (uintptr_t)reserve(size + align, PROT_READ | PROT_WRITE);

    host_ram_base = align_up(at, align);
    ram_size = size;
    if (!ram_is_zero) {
        memset((void *)host_ram_base, 0xa5, size);
    }
    if (host_vmalloc_base == 0) {
        host_vmalloc_base = (uintptr_t)reserve(VMALLOC_SIZE, PROT_NONE);
    }
    memset(&boot_info, 0, sizeof(boot_info));
    boot_info.ram[0] = (struct phys_range){ .start = 0, .size = size };
    boot_info.ram_count = 1;
    boot_info.ram_is_zero = ram_is_zero;
    cpus[0] = (struct cpu){ .index = 0 };
    host_irq_enabled = true;
    task_create();
    page_init();
}

void host_machine_destroy(void)
{
    if (ram_size != 0) {
        /* The unaligned head and tail of the reservation are never touched; they stay reserved. */
        int err = munmap((void *)host_ram_base, ram_size);

        assert(err == 0);
        ram_size = 0;
        host_ram_base = 0;
    }
}

uint64_t host_counter(void)
{
    return host_now_ns;
}

uint64_t arch_counter_hz(void)
{
    return NSEC_PER_SEC;
}

int pt_direct_map(paddr_t pa, uint64_t size, bool is_device)
{
    return is_device || range_fits(pa, size, ram_size) ? 0 : -EINVAL;
}

void ipi_call(uint64_t cpu_mask, void (*fn)(void *arg), void *arg)
{
    (void)cpu_mask; /* there is no other CPU */
    (void)fn;
    (void)arg;
}

void ipi_resched(unsigned cpu)
{
    (void)cpu;
}

HOST_STAND_IN uint64_t limit_of(enum rlimit_index which)
{
    return host_limits[which];
}

HOST_STAND_IN bool signal_is_pending(const struct task *t)
{
    (void)t;
    return host_signal_pending || host_fatal_pending;
}

HOST_STAND_IN bool fatal_signal_is_pending(const struct task *t)
{
    (void)t;
    return host_fatal_pending;
}

HOST_STAND_IN bool cred_is_capable(const struct cred *c, unsigned capability)
{
    return (c->cap_effective >> capability & 1) != 0;
}

HOST_STAND_IN void cond_resched(void)
{
}

HOST_STAND_IN void sched_yield_cpu(void)
{
}

/* No monitor below: page_copy() then does all itself, which is what the tests of mm look at. */
HOST_STAND_IN void arch_copy_port_write(unsigned port, uint64_t frame)
{
    (void)port;
    (void)frame;
}
