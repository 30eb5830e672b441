# SPDX-License-Identifier: Apache-2.0
# Machines in the background, as a user commands them; and all that concerns a machine's life in one goal.

checks += tests/lifecycle/verbs.sh tests/lifecycle/snapshot.sh tests/lifecycle/diff.sh tests/lifecycle/shares.sh tests/lifecycle/linux.sh tests/lifecycle/firecracker.sh
check_needs += $(BUILD)/drupe $(BUILD)/drupe-vmm $(BUILD)/libdrupe.so

.PHONY: test-lifecycle
test-lifecycle: $(programs) $(check_needs)
	@tools/run-tests $(sort $(filter tests/lifecycle/% tests/api/% $(BUILD)/tests/vmm_control% $(BUILD)/tests/vmm_snapshot% \
	    $(BUILD)/tests/vmm_machine%,$(checks)))
