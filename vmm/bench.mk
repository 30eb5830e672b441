# SPDX-License-Identifier: Apache-2.0
# The monitor's start against a bare KVM program.
$(call program,bench/bare_kvm,host,bench/bare_kvm.c,,,,)
$(call program,bench/repeat,host,bench/repeat.c,,,,)
$(call program,bench/vm_start,host,bench/vm_start.c,vmm base base_hosted,$(vmm.libs),include,)
lint_sees.bench/vm_start.c := include

.PHONY: bench-vm-start
bench-vm-start: $(BUILD)/bench/bare_kvm $(BUILD)/bench/repeat $(BUILD)/bench/vm_start $(BUILD)/tests/vmm_guest.elf
	@bench/vm_start.sh $(BUILD)
benches += bench-vm-start

# The jail's cost, step by step.
$(call program,bench/jail,host,bench/jail.c,vmm base base_hosted,$(vmm.libs),include,)
lint_sees.bench/jail.c := include

.PHONY: bench-jail
bench-jail: $(BUILD)/bench/jail $(BUILD)/bench/repeat $(BUILD)/drupe
	@bench/jail.sh $(BUILD)
benches += bench-jail
