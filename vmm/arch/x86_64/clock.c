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

#define ONE_MSR_SIZE (sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry))

/* Read or write one MSR. */
static bool msr_access(const struct vcpu *v, unsigned long request, uint32_t index, uint64_t *value)
{
    _Alignas(struct kvm_msrs) uint8_t bytes[ONE_MSR_SIZE] = { 0 };
    struct kvm_msrs *m = (struct kvm_msrs *)bytes;

    m->nmsrs = 1;
    m->entries[0].index = index;
    m->entries[0].data = *value;
    if (ioctl(v->fd, request, m) != 1) {
        return false;
    }
    *value = m->entries[0].data;
    return true;
}

static bool msr_read(const struct vcpu *v, uint32_t index, uint64_t *value)
{
    *value = 0;
    return msr_access(v, KVM_GET_MSRS, index, value);
}

static void msr_write(const struct vcpu *v, uint32_t index, uint64_t value)
{
    /* It was read before; a refusal leaves time running. */
    (void)msr_access(v, KVM_SET_MSRS, index, &value);
}

static struct kvm_device_attr offset_attr(uint64_t *offset)
{
    return (struct kvm_device_attr){
        .group = KVM_VCPU_TSC_CTRL,
        .attr = KVM_VCPU_TSC_OFFSET,
        .addr = (uint64_t)(uintptr_t)offset,
    };
}

static void stop_vcpu(struct vcpu *v)
{
    struct kvm_device_attr attr = offset_attr(&v->clock.offset);

    v->clock.has_offset = ioctl(v->fd, KVM_GET_DEVICE_ATTR, &attr) == 0;
    if (!msr_read(v, MSR_TSC, &v->clock.tsc)) {
        v->clock.tsc = 0;
    }
    if (!msr_read(v, MSR_TSC_DEADLINE, &v->clock.deadline)) {
        v->clock.deadline = 0;
    }
}

void arch_clock_stop(struct machine *m)
{
    struct kvm_clock_data clock;
    int khz = ioctl(m->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);

    memset(&clock, 0, sizeof(clock));
    m->clock = (struct arch_clock){ .counter = __builtin_ia32_rdtsc() };
    m->clock.tsc_khz = khz > 0 ? (uint64_t)khz : 0;
    m->clock.vm_ns = ioctl(m->vm_fd, KVM_GET_CLOCK, &clock) == 0 ? clock.clock : 0;
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        stop_vcpu(&m->vcpus[i]);
    }
}

/* By offset where KVM has it (Linux 5.16), which keeps the vCPUs exactly as far apart as they were;
 * otherwise by value. */
static void set_back(struct vcpu *v, uint64_t ticks)
{
    uint64_t offset = v->clock.offset - ticks;
    struct kvm_device_attr attr = offset_attr(&offset);

    if (!v->clock.has_offset || ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) < 0) {
        msr_write(v, MSR_TSC, v->clock.tsc);
    }
}

/*
 * A counter that is the host's own (machine.h) stays that, and skips what the pause took.
 * Some hosts take the offset and go on as if nothing had been said: what came of it is measured.
 * The timer is armed for a value of the counter, so it is armed anew, for as far ahead as it was.
 */
void arch_clock_go(struct machine *m)
{
    struct kvm_clock_data clock = { .clock = m->clock.vm_ns };
    uint64_t ticks = __builtin_ia32_rdtsc() - m->clock.counter;
    uint64_t now = 0;

    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (!m->shares_counter || !arch_vcpu_share_counter(&m->vcpus[i])) {
            set_back(&m->vcpus[i], ticks);
        }
    }
    if (msr_read(&m->vcpus[0], MSR_TSC, &now)) {
        m->clock.guest_now = now;
        m->clock.guest_skip = now - m->vcpus[0].clock.tsc;
    }
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        if (m->vcpus[i].clock.deadline != 0) {
            msr_write(&m->vcpus[i], MSR_TSC_DEADLINE,
                      m->vcpus[i].clock.deadline + m->clock.guest_skip);
        }
    }
    if (m->clock.vm_ns != 0) {
        (void)ioctl(m->vm_fd, KVM_SET_CLOCK, &clock);
    }
    for (unsigned i = 0; i < m->vcpu_count; i++) {
        /* Tells a guest's watchdog; EINVAL when the guest has no such clock. */
        (void)ioctl(m->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
    }
}
