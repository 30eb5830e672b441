/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/x86_64/cpu.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <base/fmt.h>

#include "arch/x86_64/guest_cpuid.h"
#include "error.h"
#include "kvm/machine.h"
#include "layout.h"

#define CR0_PE  UINT64_C(0x1)
#define CR0_ET  UINT64_C(0x10)
#define CR0_NE  UINT64_C(0x20)
#define CR0_PG  UINT64_C(0x80000000)
#define CR4_PAE UINT64_C(0x20)

#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)

#define RFLAGS_FIXED UINT64_C(0x2)

#define MSR_MISC_ENABLE     0x1a0u
#define MISC_ENABLE_STRINGS UINT64_C(1)
#define MSR_MTRR_DEFAULT    0x2ffu
#define MTRR_ON_WRITE_BACK  UINT64_C(0x806)

#define INSTRUCTION_BYTES 15u

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = selector,
        .type = type,
        .present = 1,
        .s = 1,
        .g = 1,
    };
}

static void set_flat(struct kvm_sregs *s, uint64_t gdt_gpa, uint16_t code_selector)
{
    struct kvm_segment data = segment(CPU_SELECTOR_DATA, 3);

    data.db = 1;
    s->cs = segment(code_selector, 11);
    s->ds = data;
    s->es = data;
    s->fs = data;
    s->gs = data;
    s->ss = data;
    s->tr = (struct kvm_segment){
        .limit = 0x67, .selector = CPU_SELECTOR_TSS, .type = 11, .present = 1
    };
    s->gdt.base = gdt_gpa;
    s->gdt.limit = CPU_GDT_ENTRIES * 8 - 1;
    s->idt.base = 0;
    s->idt.limit = 0;
}

void cpu_set_long_mode(struct kvm_sregs *s, uint64_t gdt_gpa, uint64_t cr3)
{
    set_flat(s, gdt_gpa, CPU_SELECTOR_CODE64);
    s->cs.l = 1;
    s->cr3 = cr3;
    s->cr4 = CR4_PAE;
    s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s->efer = EFER_LME | EFER_LMA;
}

void cpu_set_protected_mode(struct kvm_sregs *s, uint64_t gdt_gpa)
{
    set_flat(s, gdt_gpa, CPU_SELECTOR_CODE32);
    s->cs.db = 1;
    s->cr3 = 0;
    s->cr4 = 0;
    s->cr0 = CR0_PE | CR0_ET;
    s->efer = 0;
}

/* What firmware would have done; a kernel that doesn't look doesn't need it, so a refusal is only
 * noted. */
static void set_msrs(struct vcpu *v)
{
    static const struct kvm_msr_entry entries[] = {
        { .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_STRINGS },
        { .index = MSR_MTRR_DEFAULT, .data = MTRR_ON_WRITE_BACK },
    };
    _Alignas(struct kvm_msrs) uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(entries)] = { 0 };
    struct kvm_msrs *msrs = (struct kvm_msrs *)bytes;

    msrs->nmsrs = array_size(entries);
    memcpy(msrs->entries, entries, sizeof(entries));
    if (ioctl(v->fd, KVM_SET_MSRS, msrs) != (int)array_size(entries)) {
        log_write(&v->machine->log, DRUPE_LOG_INFO, "vcpu",
                  "some MSRs keep their reset values vcpu=%u", v->index);
    }
}

drupe_vm_err_t arch_vcpu_init(struct vcpu *v, struct drupe_error *err)
{
    drupe_vm_err_t r = cpuid_set(v->machine->kvm_fd, v->fd, v->index, v->machine->vcpu_count,
                                 v->machine->config, err);

    if (r == DRUPE_OK) {
        set_msrs(v);
    }
    return r;
}

drupe_vm_err_t arch_vcpu_set_entry(struct vcpu *v, const struct machine_boot *boot,
                                   struct drupe_error *err)
{
    struct kvm_regs regs = { .rflags = RFLAGS_FIXED };
    struct kvm_sregs sregs;

    if (ioctl(v->fd, KVM_GET_SREGS, &sregs) < 0) {
        return error_set(err, DRUPE_INTERNAL, errno, "read the vCPU's registers");
    }
    if (boot->is_pvh) {
        cpu_set_protected_mode(&sregs, LAYOUT_GDT);
        regs.rip = boot->image.pvh_entry;
        regs.rbx = LAYOUT_START_INFO;
    } else {
        cpu_set_long_mode(&sregs, LAYOUT_GDT, LAYOUT_PML4);
        regs.rip = boot->image.entry;
        regs.rsi = LAYOUT_ZERO_PAGE;
        regs.rsp = LAYOUT_STACK_TOP;
        regs.rbp = LAYOUT_STACK_TOP;
    }
    if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0) {
        return error_set(err, DRUPE_INTERNAL, errno, "set the vCPU's registers");
    }
    return DRUPE_OK;
}

uint64_t arch_vcpu_tsc_khz(const struct vcpu *v)
{
    int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);

    return khz > 0 ? (uint64_t)khz : 0;
}

bool arch_vcpu_share_counter(const struct vcpu *v)
{
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uintptr_t)&offset,
    };

    return ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) == 0;
}

static size_t fetch_instruction(const struct vcpu *v, uint64_t rip,
                                uint8_t bytes[INSTRUCTION_BYTES])
{
    struct kvm_translation t = { .linear_address = rip };
    size_t size = min_of(INSTRUCTION_BYTES, 4096u - (rip & 4095u));

    if (ioctl(v->fd, KVM_TRANSLATE, &t) < 0 || t.valid == 0 ||
        gmem_read(&v->machine->gmem, (gpa_t){ t.physical_address }, bytes, size) < 0) {
        return 0;
    }
    return size;
}

void arch_vcpu_describe(const struct vcpu *v, char *text, size_t size)
{
    uint8_t bytes[INSTRUCTION_BYTES];
    struct kvm_regs regs;
    size_t length = 0;
    size_t count = 0;

    if (ioctl(v->fd, KVM_GET_REGS, &regs) < 0) {
        (void)fmt_snprintf(text, size, "rip unknown");
        return;
    }
    length = fmt_snprintf(text, size, "rip=0x%llx rsp=0x%llx bytes=", (unsigned long long)regs.rip,
                          (unsigned long long)regs.rsp);
    count = fetch_instruction(v, regs.rip, bytes);
    if (count == 0) {
        (void)fmt_snprintf(text + length, size - length, "unmapped");
    }
    for (size_t i = 0; i < count && length + 3 < size; i++) {
        length += fmt_snprintf(text + length, size - length, "%02x", bytes[i]);
    }
}
