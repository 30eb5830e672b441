/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vector port of include/abi/boot.h: XSAVE and XRSTOR for a kernel whose ring 0 is interpreted
 * by something that has neither. KVM keeps the guest's whole state, whoever interprets.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/kvm.h>

#include <base/assert.h>

#include "abi/boot.h"
#include "arch/arch.h"
#include "boot/cmdline.h"
#include "devices/gmem.h"
#include "kvm/machine.h"

/* XCR0 (Intel SDM, volume 1, 13.3): x87, SSE, AVX, and the three components of AVX-512. */
#define XCR0_OFFERED UINT64_C(0xe7)
#define XCR0_AVX     UINT64_C(0x04)

static_assert(sizeof(struct kvm_xsave) == BOOT_FPU_PAGE_SIZE, "the state fills the page");

bool arch_vcpu_takes_port(const struct vcpu *v, uint16_t port, unsigned size, bool is_write)
{
    (void)v;
    return (port == BOOT_FPU_PORT || port == BOOT_FPU_PORT + BOOT_FPU_LOAD) && size == 4 &&
           is_write;
}

void arch_vcpu_port_write(struct vcpu *v, uint16_t port, uint32_t value)
{
    const gpa_t at = { (uint64_t)value * BOOT_FPU_PAGE_SIZE };
    struct machine *m = v->machine;
    struct kvm_xsave state;
    int r = 0;

    if (port == BOOT_FPU_PORT) {
        r = ioctl(v->fd, KVM_GET_XSAVE, &state) < 0 ? -errno : 0;
        r = r < 0 ? r : gmem_write(&m->gmem, at, &state, sizeof(state));
    } else {
        r = gmem_read(&m->gmem, at, &state, sizeof(state));
        r = r == 0 && ioctl(v->fd, KVM_SET_XSAVE, &state) < 0 ? -errno : r;
    }
    if (r < 0) {
        machine_end(m, DRUPE_END_MONITOR, 0, "vCPU %u: the vector port cannot %s frame 0x%x: %s",
                    v->index, port == BOOT_FPU_PORT ? "store to" : "load", value, strerror(-r));
    }
}

/* What ring 3 here, and so there, may use. */
static uint64_t host_xcr0(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;

    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) {
        return 0;
    }
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return ((uint64_t)d << 32 | a) & XCR0_OFFERED;
}

void arch_announce_ports(struct cmdline *c)
{
    const uint64_t xcr0 = host_xcr0();

    if ((xcr0 & XCR0_AVX) != 0) {
        cmdline_add(c, "drupe.fpu=0x%x drupe.xcr0=0x%llx", BOOT_FPU_PORT, (unsigned long long)xcr0);
    }
}
