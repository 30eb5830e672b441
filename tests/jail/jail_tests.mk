# SPDX-License-Identifier: Apache-2.0
# The jail from inside: a hostile program in the monitor's place, and VMs that run jailed.
jail_tests.sees := tests/jail base/include include
$(call program,tests/jail_hostile,host,tests/jail/hostile.c tests/jail/attempts.c tests/jail/neighbours.c,vmm base base_hosted,$(vmm.libs),$(jail_tests.sees),)
lint_sees.tests/jail/hostile.c := $(jail_tests.sees)
lint_sees.tests/jail/neighbours.c := $(jail_tests.sees)
lint_sees.tests/jail/attempts.c := $(jail_tests.sees)
# Static, so that it can be all that a root image holds.
$(call program,tests/vsock_client,host,tests/jail/vsock_client.c,,-static -no-pie,,)
jail_tests.needs := $(BUILD)/tests/jail_hostile $(BUILD)/tests/vsock_client $(BUILD)/drupe $(BUILD)/drupe-vmm
checks += $(wildcard tests/jail/*.sh)
check_needs += $(jail_tests.needs)

.PHONY: test-jail
test-jail: build $(jail_tests.needs)
	@tools/run-tests -j 1 $(wildcard tests/jail/*.sh)
