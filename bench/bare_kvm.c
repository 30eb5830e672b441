/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick for start times: the least that a program can do to run a guest instruction under
 * KVM. One VM, one slot of 128 MiB, one vCPU in real mode at a hlt, then exit. What it takes is the
 * host's price, not ours.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE   (128u << 20)
#define CODE       0x1000u
#define OPCODE_HLT 0xf4

static void need(int is_ok, int status)
{
    if (!is_ok) {
        _exit(status);
    }
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    uint8_t *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE,
                                                .userspace_addr = (uint64_t)(uintptr_t)ram };
    struct kvm_sregs sregs;
    struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
    struct kvm_run *run = NULL;
    int vcpu = -1;
    int size = 0;

    need(vm >= 0 && ram != MAP_FAILED, 2);
    ram[CODE] = OPCODE_HLT;
    need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0, 3);
    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    need(vcpu >= 0 && size > 0, 4);
    run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    need(run != MAP_FAILED && ioctl(vcpu, KVM_GET_SREGS, &sregs) == 0, 5);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    need(ioctl(vcpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(vcpu, KVM_SET_REGS, &regs) == 0, 6);
    need(ioctl(vcpu, KVM_RUN, 0) == 0 && run->exit_reason == KVM_EXIT_HLT, 7);
    _exit(0);
}
