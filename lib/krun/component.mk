# SPDX-License-Identifier: Apache-2.0
# lib/krun: libkrun.so.1 of our own, over libdrupe's public header; monitor and guest kernel are inside.

krun.srcs := $(wildcard lib/krun/*.c)
krun.sees := lib/krun base/include include
krun.variants := pic
$(call component,krun)

krun_kernel.srcs := lib/krun/kernel_image.S
krun_kernel.sees := lib/krun
krun_kernel.variants := pic
krun_kernel.cflags := $(if $(cli_kernel),-DKERNEL_IMAGE='"$(cli_kernel)"')
$(call component,krun_kernel)
$(OUT)/pic/lib/krun/kernel_image.S.o: $(cli_kernel)

krun_parts := $(foreach c,krun krun_kernel vmm base base_hosted,$(OUT)/pic/$(c).a)
$(BUILD)/libkrun.so.1: $(krun_parts) lib/krun/libkrun.map
	$(call say,LD)
	$(Q)$(CC) $(shared_ldflags) -Wl,-soname,$(@F) -Wl,--version-script=lib/krun/libkrun.map -o $@ \
	    -Wl,--whole-archive $< -Wl,--no-whole-archive -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(vmm.shared_libs)
$(BUILD)/libkrun.so: $(BUILD)/libkrun.so.1
	$(Q)ln -sf $(<F) $@
$(BUILD)/libkrun.pc: lib/krun/libkrun.pc.in
	$(Q)cp $< $@

programs += $(BUILD)/libkrun.so $(BUILD)/libkrun.pc
checks += tests/krun/libkrun.sh tests/krun/libdrupe.sh tests/krun/backend.sh
check_needs += $(BUILD)/libkrun.so $(BUILD)/libkrun.pc $(BUILD)/libdrupe.so
