# SPDX-License-Identifier: Apache-2.0
# cli: the command `drupe`. Sees the monitor only through include/drupe.

cli.srcs := $(filter-out %_test.c cli/main.c,$(wildcard cli/*.c cli/*/*.c))
cli.sees := cli base/include include
cli.variants := host asan cov fuzz
$(call component,cli)
lint_sees.cli/main.c := $(cli.sees)

# Kernel and agent stand in the program itself. A tree without a kernel makes a drupe that needs --kernel.
cli_kernel := $(if $(wildcard kernel/arch/$(ARCH)/link.mk),$(BUILD)/kernel.elf)
cli_agent := $(BUILD)/agent.elf
$(OUT)/host/cli/guest_images.S.o: $(cli_kernel) $(cli_agent)

# vmm.libs is expanded when the program is linked: its component is read after this one.
cli_md := -l:libmd.a -l:libjansson.a
ifneq ($(wildcard vmm/vm.c),)
$(call program,drupe,host,cli/main.c cli/guest_images.S,cli vmm_api vmm base base_hosted,$(cli_md) $$(vmm_api.libs) $$(vmm.libs),$(cli.sees),\
    $(if $(cli_kernel),-DKERNEL_IMAGE='"$(cli_kernel)"') -DAGENT_IMAGE='"$(cli_agent)"')
# The same, static: what a jail without libraries can execute. Its name makes it `drupe vmm`.
$(BUILD)/drupe-vmm: $(patsubst %,$(OUT)/host/%.o,cli/main.c cli/guest_images.S) \
    $(patsubst %,$(OUT)/host/%.a,cli vmm_api vmm base base_hosted)
	$(call say,LD)
	$(Q)$(cc.host) -static-pie -Wl,-z,relro,-z,now -Wl,--no-warnings -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) \
	    -Wl,--end-group $(cli_md) $(vmm_api.libs) $(vmm.libs)
programs += $(BUILD)/drupe $(BUILD)/drupe-vmm
checks += $(wildcard tests/cli/*.sh)
check_needs += $(BUILD)/drupe $(BUILD)/tests/vmm_guest.elf
endif

$(call unit_tests,cli,$(wildcard cli/*_test.c cli/*/*_test.c),cli base base_hosted,$(cli_md),asan cov)

$(call program,fuzz/manifest_fuzz,fuzz,fuzz/manifest_fuzz.c,cli base base_hosted,$(cli_md),$(cli.sees),)
$(call program,fuzz/elf_fuzz,fuzz,fuzz/elf_fuzz.c,cli base base_hosted,$(cli_md),$(cli.sees),)
lint_sees.fuzz/manifest_fuzz.c := $(cli.sees)
lint_sees.fuzz/elf_fuzz.c := $(cli.sees)
fuzz_targets += $(BUILD)/fuzz/manifest_fuzz $(BUILD)/fuzz/elf_fuzz

.PHONY: demo demo-lifecycle
demo: build
	@tools/demo $(BUILD)/drupe
demo-lifecycle: build
	@tools/demo-lifecycle $(BUILD)/drupe
