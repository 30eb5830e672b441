/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe machine: 64 KiB, one vCPU, no irqchip, no IDT. Code that works ends in a hlt; anything
 * else (an internal error, or a fault that without an IDT becomes a shutdown) means that it
 * doesn't, and gets a fresh machine.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/probe.h"
#include "arch/x86_64/probe_table.h"

#define RAM_SIZE   0x10000u
#define GDT_GPA    0x500u
#define PML4_GPA   0x1000u
#define PDPT_GPA   0x2000u
#define PD_GPA     0x3000u
#define PML4_HUGE  0x4000u /* a second set, with a 1 GiB page */
#define PDPT_HUGE  0x5000u
#define CODE_GPA   0x6000u
#define DATA_GPA   0x8000u
#define STACK_GPA  0xf000u
#define DATA_SIZE  0x1000u
#define RFLAGS     UINT64_C(2)
#define OPCODE_HLT 0xf4u
#define PTE        UINT64_C(3) /* present, writable */
#define PTE_LARGE  UINT64_C(0x83)

/* A ring-0 instruction natively takes well under 1 ns here, an interpreted one some 300 ns. */
#define TIMED_LOOPS       2000u
#define TIMED_EMULATED_NS 300000u

struct probe_machine {
    int kvm_fd;
    int vm_fd;
    int vcpu_fd;
    size_t run_size;
    struct kvm_run *run;
    uint8_t *ram;
    struct kvm_sregs sregs; /* as the CPU came up */
};

static void machine_close(struct probe_machine *m)
{
    if (m->run != NULL) {
        (void)munmap(m->run, m->run_size);
    }
    if (m->vcpu_fd >= 0) {
        (void)close(m->vcpu_fd);
    }
    if (m->vm_fd >= 0) {
        (void)close(m->vm_fd);
    }
    if (m->ram != NULL) {
        (void)munmap(m->ram, RAM_SIZE);
    }
    *m = (struct probe_machine){ .kvm_fd = m->kvm_fd, .vm_fd = -1, .vcpu_fd = -1 };
}

static void put64(uint8_t *ram, uint32_t at, uint64_t value)
{
    memcpy(ram + at, &value, sizeof(value));
}

static void write_tables(uint8_t *ram)
{
    put64(ram, GDT_GPA + CPU_SELECTOR_CODE64, UINT64_C(0x00af9b000000ffff));
    put64(ram, GDT_GPA + CPU_SELECTOR_DATA, UINT64_C(0x00cf93000000ffff));
    put64(ram, PML4_GPA, PDPT_GPA | PTE);
    put64(ram, PDPT_GPA, PD_GPA | PTE);
    put64(ram, PD_GPA, PTE_LARGE);
    put64(ram, PML4_HUGE, PDPT_HUGE | PTE);
    put64(ram, PDPT_HUGE, PTE_LARGE);
}

static int machine_make(struct probe_machine *m, const struct kvm_cpuid2 *supported)
{
    struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE };
    int run_size = ioctl(m->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    void *map = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED || run_size < (int)sizeof(struct kvm_run)) {
        return -ENOMEM;
    }
    m->ram = map;
    m->run_size = (size_t)run_size;
    slot.userspace_addr = (uint64_t)(uintptr_t)map;
    write_tables(m->ram);
    m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
    if (m->vm_fd < 0 || ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0) {
        return -errno;
    }
    m->vcpu_fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, 0);
    if (m->vcpu_fd < 0 || ioctl(m->vcpu_fd, KVM_SET_CPUID2, supported) < 0 ||
        ioctl(m->vcpu_fd, KVM_GET_SREGS, &m->sregs) < 0) {
        return -errno;
    }
    map = mmap(NULL, m->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu_fd, 0);
    if (map == MAP_FAILED) {
        return -errno;
    }
    m->run = map;
    return 0;
}

static bool run_to_hlt(struct probe_machine *m)
{
    int r = 0;

    assert(m->run != NULL);
    do {
        r = ioctl(m->vcpu_fd, KVM_RUN, 0);
    } while (r < 0 && errno == EINTR);
    return r == 0 && m->run->exit_reason == KVM_EXIT_HLT;
}

static bool run_code(struct probe_machine *m, const uint8_t *code, size_t size, uint32_t cr4,
                     uint64_t cr3)
{
    struct kvm_sregs sregs = m->sregs;
    struct kvm_regs regs = { .rip = CODE_GPA, .rsp = STACK_GPA, .rdi = DATA_GPA, .rflags = RFLAGS };

    memset(m->ram + DATA_GPA, 0, DATA_SIZE);
    memcpy(m->ram + CODE_GPA, code, size);
    m->ram[CODE_GPA + size] = OPCODE_HLT;
    m->ram[CODE_GPA + size + 1] = OPCODE_HLT;
    cpu_set_long_mode(&sregs, GDT_GPA, cr3);
    sregs.cr4 |= cr4;
    return ioctl(m->vcpu_fd, KVM_SET_SREGS, &sregs) == 0 &&
           ioctl(m->vcpu_fd, KVM_SET_REGS, &regs) == 0 && run_to_hlt(m);
}

/* KVM writes the clock page on its way into the guest: so go in once more, then look whether it has
 * a scale. */
static bool is_clock_filled(struct probe_machine *m)
{
    struct {
        uint32_t version;
        uint32_t pad;
        uint64_t tsc;
        uint64_t system_time;
        uint32_t tsc_to_system_mul;
    } clock;

    if (!run_to_hlt(m)) {
        return false;
    }
    memcpy(&clock, m->ram + DATA_GPA, sizeof(clock));
    return clock.version != 0 && clock.tsc_to_system_mul != 0;
}

static bool try_probe(struct probe_machine *m, const struct probe *p)
{
    bool works =
        run_code(m, p->code, p->size, p->cr4, p->kind == PROBE_HUGE_PAGE ? PML4_HUGE : PML4_GPA);

    return works && (p->kind != PROBE_CLOCK || is_clock_filled(m));
}

/* Twice, since the first run pays for page faults; the faster one counts. */
static bool is_emulated(struct probe_machine *m)
{
    /* mov ecx,TIMED_LOOPS; 1: dec ecx; jnz 1b */
    static const uint8_t loop[] = {
        0xb9, TIMED_LOOPS & 0xff, TIMED_LOOPS >> 8, 0, 0, 0xff, 0xc9, 0x75, 0xfc
    };
    uint64_t best_ns = UINT64_MAX;

    for (int i = 0; i < 2; i++) {
        uint64_t before = clock_ns();

        if (!run_code(m, loop, sizeof(loop), 0, PML4_GPA)) {
            return false;
        }
        best_ns = min_of(best_ns, clock_ns() - before);
    }
    return best_ns > TIMED_EMULATED_NS;
}

int probe_run(int kvm_fd, const struct kvm_cpuid2 *supported, struct probe_result *out)
{
    struct probe_machine m = { .kvm_fd = kvm_fd, .vm_fd = -1, .vcpu_fd = -1 };
    struct probe_result result = { .is_valid = true };
    int r = machine_make(&m, supported);

    if (r == 0) {
        result.is_ring0_emulated = is_emulated(&m);
    }
    for (size_t i = 0; r == 0 && i < probe_count; i++) {
        assert(probes[i].size + 2u <= sizeof(probes[i].code) + 2u);
        if (try_probe(&m, &probes[i])) {
            result.works |= 1u << i;
        } else {
            machine_close(&m);
            r = machine_make(&m, supported);
        }
    }
    machine_close(&m);
    if (r == 0) {
        *out = result;
    }
    return r;
}
