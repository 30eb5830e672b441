# SPDX-License-Identifier: Apache-2.0
# Tests across components: each is a program that prints TAP.

checks += $(wildcard tests/boot/*.sh)
check_needs += $(BUILD)/kernel.elf
checks += tests/guest/run
include tests/lifecycle/exec.mk
include tests/lifecycle/verbs.mk
