/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's clocks over a pause: the time-stamp counters of all vCPUs are set back by what the
 * host's counted meanwhile, so they stay as far apart as they were; KVM's paravirtual clock is set
 * back by value.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/machine.h"

#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL   0
#define KVM_VCPU_TSC_OFFSET 0
#endif

#define MSR_TSC          0x10u
#define MSR_TSC_DEADLINE 0x6e0u

struct one_msr {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
};

static bool msr_read(const struct vcpu *v, uint32_t index, uint64_t *value)
{
    struct one_msr m = { .head.nmsrs = 1, .entry.index = index };

    if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1) {
        return false;
    }
    *value = m.entry.data;
    return true;
}

static void msr_write(const struct vcpu *v, uint32_t index, uint64_t value)
{
    struct one_msr m = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

    (void)ioctl(v->fd, KVM_SET_MSRS, &m); /* it was read before; a refusal leaves time running */
}

/* Exact, where KVM has it (Linux 5.16). */
static bool offset_back(const struct vcpu *v, uint64_t ticks)
{
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uint64_t)(uintptr_t)&offset,
    };

    if (ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr) < 0) {
        return false;
    }
    offset -= ticks;
    return ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) == 0;
}

static void set_back(const struct vcpu *v, uint64_t ticks)
{
    uint64_t value = 0;

    if (!offset_back(v, ticks) && msr_read(v, MSR_TSC, &value)) {
        msr_write(v, MSR_TSC, value - ticks);
    }
    /* The timer was armed for the counter as it was: written again, it is armed anew. */
    if (msr_read(v, MSR_TSC_DEADLINE, &value) && value != 0) {
        msr_write(v, MSR_TSC_DEADLINE, value);
    }
}

void arch_clock_stop(struct machine *m)
{
    struct kvm_clock_data clock;

    memset(&clock, 0, sizeof(clock));
    m->clock.counter = __builtin_ia32_rdtsc();
    m->clock.vm_ns = ioctl(m->vm_fd, KVM_GET_CLOCK, &clock) == 0 ? clock.clock : 0;
}

void arch_clock_go(struct machine *m)
{
    struct kvm_clock_data clock = { .clock = m->clock.vm_ns };
    uint64_t ticks = __builtin_ia32_rdtsc() - m->clock.counter;

    for (unsigned i = 0; i < m->vcpu_count; i++) {
        set_back(&m->vcpus[i], ticks);
    }
    if (m->clock.vm_ns != 0) {
        (void)ioctl(m->vm_fd, KVM_SET_CLOCK, &clock);
    }
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        /* Tells a guest's watchdog; EINVAL when the guest has no such clock. */
        (void)ioctl(m->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
    }
}
