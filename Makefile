# SPDX-License-Identifier: Apache-2.0
# The only entry. `make help` lists what it can do.

.DEFAULT_GOAL := build
MAKEFLAGS += -j$(shell nproc)

include mk/engine.mk

# The packages come first: a remade makefile makes make start afresh, and ask the compiler then.
ifneq ($(filter-out help clean deps,$(or $(MAKECMDGOALS),build)),)
-include $(BUILD)/packages.mk
endif
$(BUILD)/packages.mk: tools/deps.list
	@tools/deps
	@mkdir -p $(@D)
	@touch $@
-include $(sort $(wildcard */component.mk lib/*/component.mk))
include mk/e2e.mk
include mk/targets.mk

-include $(sort $(deps))
