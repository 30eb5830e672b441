# SPDX-License-Identifier: Apache-2.0
# vmm: the microVM monitor and its public API (libdrupe). Unit tests stand beside the code.

vmm.all := $(filter-out vmm/api/%,$(wildcard vmm/*.c vmm/*/*.c vmm/*/*/*.c))
vmm.arch_others := $(filter-out vmm/arch/$(ARCH)/%,$(wildcard vmm/arch/*/*.c))
vmm.srcs := $(filter-out %_test.c $(vmm.arch_others),$(vmm.all))
vmm.tests := $(filter %_test.c,$(filter-out $(vmm.arch_others),$(vmm.all)))
vmm_gen := $(OUT)/gen/vmm
vmm.sees := vmm vmm/arch/$(ARCH) base/include include $(vmm_gen)
vmm.needs := $(vmm_gen)/syscall_list.h
vmm.variants := host pic asan tsan cov fuzz sim
vmm.libs := -luring -l:liblz4.a -lpthread
$(call component,vmm)

# The names of all system calls, for the line that says which one was forbidden.
$(vmm_gen)/syscall_list.h: vmm/component.mk
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)echo '#include <sys/syscall.h>' | $(CC) -E -dM - | sed -n 's/^#define __NR_\([a-z][a-z0-9_]*\) .*/CALL(\1)/p' | sort >$@
tidy_needs += $(vmm.needs)

$(call unit_tests,vmm,$(vmm.tests),vmm base base_hosted,$(vmm.libs),asan tsan cov)

include vmm/api/component.mk

# The library as an embedder links it: one archive that holds what it needs of base as well.
$(BUILD)/libdrupe.a: $(OUT)/host/vmm.a $(OUT)/host/base.a $(OUT)/host/base_hosted.a
	$(call say,AR)
	$(Q)rm -f $@ && printf 'create $@\n$(patsubst %,addlib %\n,$^)save\nend\n' | $(AR) -M

# The same as a shared library: what vmm/libdrupe.map names is all that is seen of it.
vmm.shared_libs = $(subst -l:liblz4.a,-llz4,$(vmm.libs))
$(BUILD)/libdrupe.so.0: $(OUT)/pic/vmm.a $(OUT)/pic/base.a $(OUT)/pic/base_hosted.a vmm/libdrupe.map
	$(call say,LD)
	$(Q)$(CC) $(shared_ldflags) -Wl,-soname,$(@F) -Wl,--version-script=vmm/libdrupe.map -o $@ \
	    -Wl,--whole-archive $< -Wl,--no-whole-archive -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(vmm.shared_libs)
$(BUILD)/libdrupe.so: $(BUILD)/libdrupe.so.0
	$(Q)ln -sf $(<F) $@

$(BUILD)/libdrupe.pc: vmm/libdrupe.pc.in vmm/component.mk
	@mkdir -p $(@D)
	$(Q)sed 's|@libs@|$(vmm.libs)|' $< > $@

programs += $(BUILD)/libdrupe.a $(BUILD)/libdrupe.so $(BUILD)/libdrupe.pc

# Boot tests: a guest of a few KiB, and the programs that run it under KVM.
include tests/vmm/vmm_tests.mk
include tests/jail/jail_tests.mk
include vmm/bench.mk
