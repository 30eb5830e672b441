# SPDX-License-Identifier: Apache-2.0
# The only entry. `make help` lists what it can do.

.DEFAULT_GOAL := build
MAKEFLAGS += -j$(shell nproc)

include mk/engine.mk
-include $(sort $(wildcard */component.mk lib/*/component.mk))
include mk/e2e.mk
include mk/targets.mk

-include $(sort $(deps))
