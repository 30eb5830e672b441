# SPDX-License-Identifier: Apache-2.0
# Exec against a real guest: a program on the client library, run by exec.sh.

exec_vm.sees := base/include include
$(call program,tests/exec_vm,host,tests/lifecycle/exec_vm.c,vmm base base_hosted,$$(vmm.libs),$(exec_vm.sees),)
lint_sees.tests/lifecycle/exec_vm.c := $(exec_vm.sees)
$(call program,tests/agent_vm,host,tests/lifecycle/agent_vm.c,vmm base base_hosted,$$(vmm.libs),$(exec_vm.sees),)
lint_sees.tests/lifecycle/agent_vm.c := $(exec_vm.sees)
$(call program,tests/exec_at,host,tests/lifecycle/exec_at.c,vmm base base_hosted,$$(vmm.libs),include,)
lint_sees.tests/lifecycle/exec_at.c := include
checks += tests/lifecycle/exec.sh tests/lifecycle/exec_qemu.sh
check_needs += $(BUILD)/tests/exec_vm $(BUILD)/tests/exec_at $(BUILD)/kernel.elf $(BUILD)/agent.elf

$(call program,bench/exec,host,bench/lifecycle/exec.c,vmm base base_hosted,$$(vmm.libs),include,)
lint_sees.bench/lifecycle/exec.c := include
.PHONY: bench-exec
bench-exec: $(BUILD)/bench/exec $(BUILD)/kernel.elf $(BUILD)/agent.elf
	@BUILD=$(BUILD) bench/lifecycle/exec.sh
benches += bench-exec
