# SPDX-License-Identifier: Apache-2.0
# End-to-end tests: real programs through build/drupe. They run after the kernel is there.

python_image := $(BUILD)/tests/python.erofs

# Packing needs Debian's packages from the cache or the network; without either the tests that want it say so.
$(python_image): $(BUILD)/drupe examples/python/ukernel.toml $(wildcard examples/python/src/*)
	@mkdir -p $(@D)
	$(call say,PACK)
	$(Q)$(BUILD)/drupe -C examples/python pack --image $(CURDIR)/$@ >$@.log 2>&1 || { tail -n 1 $@.log; : >$@; }

ifneq ($(wildcard kernel/arch/$(ARCH)/link.mk),)
checks += tests/e2e/shell.sh tests/e2e/python.sh tests/e2e/share.sh
check_needs += $(python_image)
endif

.PHONY: bench-wall bench-ring0
bench-wall: $(BUILD)/drupe $(BUILD)/bench/bare_kvm $(python_image)
	@if [ -r /dev/kvm ] && [ -w /dev/kvm ] && [ -s $(python_image) ]; then bench/wall.sh $(BUILD) $(python_image); \
	else echo "wall: skipped, no /dev/kvm or no Python image"; fi
bench-ring0: $(BUILD)/kernel.elf
	@KERNEL=$(BUILD)/kernel.elf bench/ring0/run
benches += bench-wall bench-ring0

.PHONY: test-python
test-python: build
	@tests/python/run.sh
