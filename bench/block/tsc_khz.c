/* SPDX-License-Identifier: Apache-2.0 */
/* Print the frequency of a vCPU's time counter. A guest that calibrates it on a busy host is off,
 * and its clock with it. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(void)
{
    const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    const int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    const int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
    const int khz = vcpu < 0 ? -1 : ioctl(vcpu, KVM_GET_TSC_KHZ, 0);

    if (khz <= 0) {
        perror("/dev/kvm");
        return 1;
    }
    printf("%d\n", khz);
    return 0;
}
