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

# Where ring 0 is interpreted every call and every saved register is paid for: in the files that boot,
# system calls and faults run through, functions are inlined that elsewhere are not worth their bytes.
# What hardly ever runs is kept small instead.
kernel_hot_flags := -O3 $(if $(IS_CLANG),,--param max-inline-insns-auto=120)
kernel_hot := $(addprefix kernel/mm/,exec_map.c fault.c fork.c mapping.c mm.c mmap.c mprotect.c page.c page_copy.c slab.c vma.c vmalloc.c) \
    $(addprefix kernel/fs/,boot.c dentry.c dir_calls.c file.c files.c inode.c mount.c name.c open.c page_io.c rw.c stat.c walk.c) \
    $(wildcard kernel/fs/tmpfs/*.c) $(addprefix kernel/fs/erofs/,dir.c image.c inode.c) \
    $(addprefix kernel/proc/,boot_args.c elf.c exec.c exec_load.c exec_stack.c exec_strings.c exit.c fork.c init.c pid.c process.c) \
    $(addprefix kernel/proc/,signal.c signal_action.c signal_deliver.c task.c wait.c workload.c) \
    $(addprefix kernel/ipc/,epoll.c pipe.c pipe_ring.c poll.c socket.c vsock.c vsock_packet.c) $(wildcard kernel/sched/*.c) \
    $(addprefix kernel/drivers/,drivers.c virtio.c virtio_vsock.c virtio_console.c worker.c) \
    $(addprefix kernel/syscall/,dispatch.c uaccess.c uio.c) $(addprefix kernel/core/,boot.c lock.c log.c main.c random.c string.c) \
    $(addprefix kernel/arch/$(ARCH)/,boot.c cpu.c machine.c paging.c pt_user.c thread.c time.c trap.c)
kernel_cold := $(wildcard kernel/fs/p9/*.c kernel/drivers/tty*.c) $(addprefix kernel/drivers/,pty.c virtio_9p.c virtio_balloon.c) \
    $(addprefix kernel/fs/procfs/,cpu_text.c descriptors.c memory.c mounts.c sysctl.c system.c text.c) \
    $(addprefix kernel/fs/,attr_calls.c copy.c cpio.c locks.c mount_calls.c options.c) \
    $(addprefix kernel/proc/,itimer.c job_control.c limits.c posix_timer.c prctl.c sched_calls.c system.c) \
    $(addprefix kernel/ipc/,pidfd.c signalfd.c timerfd.c) $(addprefix kernel/mm/,madvise.c oom.c reclaim.c) \
    $(addprefix kernel/core/,panic.c symbols.c) $(addprefix kernel/arch/$(ARCH)/,backtrace.c cpu_text.c prctl.c rtc.c serial_input.c)
$(patsubst %,$(OUT)/kernel/%.o,$(kernel_hot)): private compile += $(kernel_hot_flags)
$(patsubst %,$(OUT)/kernel/%.o,$(kernel_cold)): private compile += -Os
$(patsubst %,$(OUT)/kernel/%.o,$(kernel_hot) $(kernel_cold)): $(OUT)/kernel/kernel_hot.flags
$(eval $(call flags_file,$(OUT)/kernel/kernel_hot.flags,$(kernel_hot_flags) $(kernel_hot) $(kernel_cold)))

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
