# SPDX-License-Identifier: Apache-2.0
# The guest of the monitor's boot tests, a tiny freestanding ELF: with the Drupe note and with PVH's alone.
comma := ,
vmm_guest.srcs := tests/vmm/guest_start.S tests/vmm/guest.c tests/vmm/guest_console.c tests/vmm/guest_net.c
vmm_guest.sees := include
vmm_guest.variants := kernel
vmm_guest.cflags := -mgeneral-regs-only -mno-red-zone -march=x86-64
$(call component,vmm_guest)

vmm_guest.link := -nostdlib -static -no-pie -Wl$(comma)-T$(comma)tests/vmm/guest.ld \
    -Wl$(comma)--build-id=none -Wl$(comma)-z$(comma)noexecstack -Wl$(comma)--no-warn-rwx-segments
$(call program,tests/vmm_guest.elf,kernel,tests/vmm/guest_note.S,vmm_guest,$(vmm_guest.link),,)
$(call program,tests/vmm_guest_pvh.elf,kernel,,vmm_guest,$(vmm_guest.link),,)

vmm_machine.sees := tests/include base/include include
vmm_machine.tests := machine control net snapshot snapshot_live snapshot_diff snapshot_handler snapshot_working_set
define vmm_machine_test
$(call program,tests/vmm_$(1),asan,tests/vmm/$(1)_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_$(1)_tsan,tsan,tests/vmm/$(1)_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
lint_sees.tests/vmm/$(1)_test.c := $(vmm_machine.sees)
endef
$(foreach t,$(vmm_machine.tests),$(eval $(call vmm_machine_test,$(t))))
vmm_machine.programs := $(foreach t,$(vmm_machine.tests),$(BUILD)/tests/vmm_$(t) $(BUILD)/tests/vmm_$(t)_tsan)
# With ASan without filters, which forbid what it does; TSan does not survive the fork.
$(call program,tests/vmm_shell,host,tests/vmm/shell_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_shell_asan,asan,tests/vmm/shell_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
lint_sees.tests/vmm/shell_test.c := $(vmm_machine.sees)
vmm_machine.programs += $(BUILD)/tests/vmm_shell $(BUILD)/tests/vmm_shell_asan
checks += $(vmm_machine.programs)
check_needs += $(vmm_machine.programs) $(BUILD)/tests/vmm_guest.elf $(BUILD)/tests/vmm_guest_pvh.elf

# The metadata service without a machine, for this host's TCP to talk to.
mmds_tap.sees := vmm base/include include
$(call program,tests/mmds_tap,asan,tests/vmm/mmds_tap.c,vmm base base_hosted,$(vmm.libs),$(mmds_tap.sees),)
lint_sees.tests/vmm/mmds_tap.c := $(mmds_tap.sees)
checks += tests/vmm/mmds.py
check_needs += $(BUILD)/tests/mmds_tap
