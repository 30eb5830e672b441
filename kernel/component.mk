# SPDX-License-Identifier: Apache-2.0
# kernel: the guest kernel, one ELF. Pure parts also build for the host (arch/host) for unit tests.

kernel_dirs := core mm sched proc fs ipc drivers syscall arch/$(ARCH)
kernel_gen := $(OUT)/gen/kernel

kernel.srcs := $(filter-out %_test.c,$(wildcard $(foreach d,$(kernel_dirs),kernel/$(d)/*.c kernel/$(d)/*/*.c kernel/$(d)/*.S)))
kernel.sees := kernel kernel/arch/include kernel/arch/$(ARCH)/include base/include include $(kernel_gen)
kernel.variants := kernel
kernel.cflags := -DKERNEL=1
$(call component,kernel)
