# SPDX-License-Identifier: Apache-2.0
# kernel: the guest kernel, one ELF. Pure parts also build for the host (arch/host) for unit tests.

kernel_dirs := core mm sched proc fs ipc drivers syscall arch/$(ARCH)
kernel_gen := $(OUT)/gen/kernel

kernel.srcs := $(filter-out %_test.c kernel/arch/$(ARCH)/gen/% kernel/arch/$(ARCH)/vdso/%,$(wildcard $(foreach d,$(kernel_dirs),kernel/$(d)/*.c kernel/$(d)/*/*.c kernel/$(d)/*.S)))
kernel.sees := kernel kernel/arch/include kernel/arch/$(ARCH)/include kernel/arch/$(ARCH) base/include include $(kernel_gen)
kernel.variants := kernel
kernel.cflags := -DKERNEL=1
kernel.needs := $(kernel_gen)/syscall_protos.h $(kernel_gen)/syscall_table.h $(kernel_gen)/asm_offsets.h
$(call component,kernel)

# What the system-call tables say, as C and as docs/syscalls.md.
syscall_tables := $(sort $(wildcard kernel/syscall/table/*.tbl))
$(kernel_gen)/syscall_protos.h: $(syscall_tables) tools/gen-syscalls
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)tools/gen-syscalls protos $(syscall_tables) >$@
$(kernel_gen)/syscall_table.h: $(syscall_tables) tools/gen-syscalls
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)tools/gen-syscalls table $(ARCH) $(syscall_tables) >$@
.PHONY: docs-syscalls
docs-syscalls:
	@tools/gen-syscalls docs $(syscall_tables) >docs/syscalls.md
checks += kernel/syscall/table_test

# Pure parts for the host's unit tests: arch/host stands in for the machine. One line a layer; name
# the files that need neither the MMU nor devices.
kernel_host.srcs := $(filter-out %_test.c,$(wildcard kernel/arch/host/*.c))
kernel_host.srcs += $(addprefix kernel/mm/,page.c page_copy.c slab.c mapping.c vma.c mm.c fault.c fork.c access.c mmap.c mprotect.c madvise.c exec_map.c reclaim.c)
kernel_host.srcs += $(addprefix kernel/proc/,elf.c script.c boot_args.c exec_strings.c pid.c signal_queue.c signal_action.c)
kernel_host.srcs += $(addprefix kernel/ipc/,pipe_ring.c)
kernel_host.srcs += $(addprefix kernel/syscall/,uaccess.c uio.c)
kernel_host.srcs += $(addprefix kernel/drivers/,tty.c tty_ioctl.c)
kernel_host.srcs += $(filter-out %_test.c kernel/fs/boot.c,$(wildcard kernel/fs/*.c kernel/fs/tmpfs/*.c kernel/fs/erofs/*.c kernel/fs/devfs/*.c))
kernel_host.sees := kernel kernel/arch/include kernel/arch/host/include base/include include $(kernel_gen)
kernel_host.variants := asan cov fuzz
kernel_host.cflags := -DKERNEL_HOST=1
kernel_host.needs := $(kernel_gen)/syscall_protos.h $(kernel_gen)/syscall_table.h
$(call component,kernel_host)

# Every kernel/<layer>/*_test.c is a host unit test.
kernel_tests := $(wildcard $(foreach d,$(kernel_dirs) arch/host,kernel/$(d)/*_test.c))
$(call unit_tests,kernel_host,$(kernel_tests),kernel_host base base_hosted,,asan cov)

include kernel/arch/$(ARCH)/link.mk

# Parsers of hostile bytes, one libFuzzer program each: fuzz/kernel_host_<what>_fuzz.c.
kernel_fuzz := $(patsubst fuzz/%.c,%,$(wildcard fuzz/kernel_host_*_fuzz.c))
$(foreach f,$(kernel_fuzz),$(eval lint_sees.fuzz/$(f).c := $(kernel_host.sees)))
$(foreach f,$(kernel_fuzz),$(call program,fuzz/$(f),fuzz,fuzz/$(f).c,kernel_host base base_hosted,,$(kernel_host.sees),$(kernel_host.cflags)))
fuzz_targets += $(addprefix $(BUILD)/fuzz/,$(kernel_fuzz))
programs += $(BUILD)/kernel.elf
