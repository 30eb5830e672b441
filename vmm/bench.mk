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

$(call program,bench/clone,host,bench/lifecycle/clone.c,vmm base base_hosted,$(vmm.libs),include,)
lint_sees.bench/lifecycle/clone.c := include

$(call program,bench/shell,host,bench/lifecycle/shell.c,vmm base base_hosted,$(vmm.libs),include,)
lint_sees.bench/lifecycle/shell.c := include

.PHONY: bench-shells
bench-shells: $(BUILD)/bench/shell $(BUILD)/tests/vmm_guest.elf
	@if [ -r /dev/kvm ] && [ -w /dev/kvm ] && [ "$$(id -u)" = 0 ]; then \
	    taskset -c 0 $(BUILD)/bench/shell $(BUILD)/tests/vmm_guest.elf /dev/shm/drupe-bench-shell.snap; \
	else echo "shells: skipped, no /dev/kvm or not root"; fi
benches += bench-shells

.PHONY: bench-snapshot
bench-snapshot: $(BUILD)/bench/clone $(BUILD)/tests/vmm_guest.elf
	@if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then $(BUILD)/bench/clone $(BUILD)/tests/vmm_guest.elf /dev/shm/drupe-bench.snap; \
	else echo "snapshot: skipped, no /dev/kvm"; fi
benches += bench-snapshot

# The jail's cost, step by step.
$(call program,bench/jail,host,bench/jail.c,vmm base base_hosted,$(vmm.libs),include,)
lint_sees.bench/jail.c := include

.PHONY: bench-jail
bench-jail: $(BUILD)/bench/jail $(BUILD)/bench/repeat $(BUILD)/drupe
	@bench/jail.sh $(BUILD)
benches += bench-jail

# Machines through the commands, and all that concerns a machine's life in one goal.
.PHONY: bench-clones bench-lifecycle
bench-clones: $(BUILD)/drupe $(BUILD)/bench/repeat $(BUILD)/bench/bare_kvm $(BUILD)/tests/python.erofs
	@if [ -r /dev/kvm ] && [ -w /dev/kvm ] && [ -s $(BUILD)/tests/python.erofs ]; then \
	    bench/lifecycle/clones.sh $(BUILD) $(BUILD)/tests/python.erofs; \
	else echo "clones: skipped, no /dev/kvm or no Python image"; fi
benches += bench-clones
bench-lifecycle: build
	@set -e; for goal in bench-vm-start bench-snapshot bench-shells bench-exec bench-jail bench-clones bench-block; do \
	    echo "== $$goal"; $(MAKE) --no-print-directory $$goal; done

# A disk under our monitor and under QEMU.
.PHONY: bench-block
bench-block: $(BUILD)/drupe $(BUILD)/kernel.elf
	@bench/block/run.sh $(BUILD)
benches += bench-block
