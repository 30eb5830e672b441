# SPDX-License-Identifier: Apache-2.0
# From kernel.a to kernel.elf: offsets for assembly, the vDSO, the linker script, the symbol table.

kernel_arch := kernel/arch/x86_64
kernel_compile := $(cc.kernel) $(common) $(cflags.kernel) -DKERNEL=1 $(addprefix -I,$(kernel.sees))

# Marked lines of the compiler's assembly become #defines.
$(kernel_gen)/asm_offsets.h: $(kernel_arch)/gen/asm_offsets.c $(kernel_gen)/syscall_protos.h
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)$(kernel_compile) -fno-lto -MT $@ -MF $(@:.h=.d) -S $< -o $(@:.h=.s)
	$(Q)awk '/^[ \t]*#@ / { print "#define " $$2, $$3 }' $(@:.h=.s) >$@
	@echo '#define VDSO_FILE "$(OUT)/kernel/vdso.so"' >>$@
deps += $(kernel_gen)/asm_offsets.d

$(OUT)/kernel/vdso.so: $(kernel_arch)/vdso/vdso.c $(kernel_arch)/vdso/vdso_data.h $(kernel_arch)/vdso/vdso.lds
	@mkdir -p $(@D)
	$(call say,VDSO)
	$(Q)$(CC) -std=gnu17 $(warnings) -O2 -ffreestanding -fPIC -fvisibility=default -fno-stack-protector \
	    -fcf-protection=none -fasynchronous-unwind-tables -march=x86-64 -c $< -o $@.o
	$(Q)ld -shared -nostdlib --hash-style=both -soname linux-vdso.so.1 -Bsymbolic --build-id=none -z max-page-size=4096 \
	    -z noseparate-code --no-warn-rwx-segments -T $(kernel_arch)/vdso/vdso.lds $@.o -o $@.full
	$(Q)objcopy -S $@.full $@
$(OUT)/kernel/$(kernel_arch)/vdso_image.S.o: $(OUT)/kernel/vdso.so

kernel_link := ld -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=none -T $(kernel_arch)/kernel.lds
kernel_archives := $(OUT)/kernel/kernel.a $(OUT)/kernel/base.a

# All of it as one object: with gcc this is where the code is generated.
$(OUT)/kernel/whole.o: $(kernel_archives) $(OUT)/kernel/kernel.flags
	$(call say,LTO)
	$(Q)$(cc.kernel) $(filter-out -nostdinc,$(cflags.kernel)) -g $(if $(kernel_lto),-flinker-output=nolto-rel -flto-partition=one) -nostdlib -r -o $@ -Wl,--whole-archive $(OUT)/kernel/kernel.a \
	    -Wl,--no-whole-archive $(OUT)/kernel/base.a

# The first link decides the addresses of functions; the table of their names goes behind everything
# that is code, so the second link does not move them.
$(OUT)/kernel/kernel.first.elf: $(OUT)/kernel/whole.o $(kernel_arch)/kernel.lds
	$(call say,LD)
	$(Q)$(kernel_link) -o $@ $<

$(OUT)/kernel/symbol_table.S: $(OUT)/kernel/kernel.first.elf $(kernel_arch)/symbol_table.awk
	$(call say,GEN)
	$(Q)nm -n $< | awk -f $(kernel_arch)/symbol_table.awk >$@

$(OUT)/kernel/symbol_table.o: $(OUT)/kernel/symbol_table.S
	$(Q)$(CC) -c $< -o $@

# kernel.debug.elf has the debugger's information, kernel.elf is what boots.
$(BUILD)/kernel.debug.elf: $(OUT)/kernel/whole.o $(OUT)/kernel/symbol_table.o $(kernel_arch)/kernel.lds
	$(call say,LD)
	$(Q)$(kernel_link) -o $@ $(OUT)/kernel/whole.o $(OUT)/kernel/symbol_table.o

$(BUILD)/kernel.elf: $(BUILD)/kernel.debug.elf
	$(call say,STRIP)
	$(Q)objcopy --strip-all $< $@

