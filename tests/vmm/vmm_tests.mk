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
$(call program,tests/vmm_machine,asan,tests/vmm/machine_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_machine_tsan,tsan,tests/vmm/machine_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_control,asan,tests/vmm/control_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_control_tsan,tsan,tests/vmm/control_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_snapshot,asan,tests/vmm/snapshot_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_snapshot_tsan,tsan,tests/vmm/snapshot_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_net,asan,tests/vmm/net_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_net_tsan,tsan,tests/vmm/net_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
lint_sees.tests/vmm/net_test.c := $(vmm_machine.sees)
$(call program,tests/vmm_snapshot_live,asan,tests/vmm/snapshot_live_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_snapshot_live_tsan,tsan,tests/vmm/snapshot_live_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_snapshot_handler,asan,tests/vmm/snapshot_handler_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
$(call program,tests/vmm_snapshot_handler_tsan,tsan,tests/vmm/snapshot_handler_test.c,vmm base base_hosted,$(vmm.libs) -lcmocka,$(vmm_machine.sees),)
lint_sees.tests/vmm/snapshot_test.c := $(vmm_machine.sees)
lint_sees.tests/vmm/snapshot_live_test.c := $(vmm_machine.sees)
lint_sees.tests/vmm/snapshot_handler_test.c := $(vmm_machine.sees)
lint_sees.tests/vmm/machine_test.c := $(vmm_machine.sees)
lint_sees.tests/vmm/control_test.c := $(vmm_machine.sees)
vmm_machine.programs := $(addprefix $(BUILD)/tests/,vmm_machine vmm_machine_tsan vmm_control vmm_control_tsan \
    vmm_snapshot vmm_snapshot_tsan vmm_snapshot_live vmm_snapshot_live_tsan vmm_snapshot_handler vmm_snapshot_handler_tsan \
    vmm_net vmm_net_tsan)
checks += $(vmm_machine.programs)
check_needs += $(vmm_machine.programs) $(BUILD)/tests/vmm_guest.elf $(BUILD)/tests/vmm_guest_pvh.elf

# The metadata service without a machine, for this host's TCP to talk to.
mmds_tap.sees := vmm base/include include
$(call program,tests/mmds_tap,asan,tests/vmm/mmds_tap.c,vmm base base_hosted,$(vmm.libs),$(mmds_tap.sees),)
lint_sees.tests/vmm/mmds_tap.c := $(mmds_tap.sees)
checks += tests/vmm/mmds.py
check_needs += $(BUILD)/tests/mmds_tap
