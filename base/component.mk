# SPDX-License-Identifier: Apache-2.0
# base: freestanding building blocks; includes nothing of ours.

base.srcs := $(filter-out %_test.c,$(wildcard base/*.c))
base.sees := base/include
base.variants := host pic asan tsan cov fuzz sim kernel
base.cflags.kernel := -mgeneral-regs-only
$(call component,base)

# What needs a libc or vector registers: the end of a failed assertion, hashing.
base_hosted.srcs := $(filter-out %_test.c,$(wildcard base/hosted/*.c))
base_hosted.sees := base/include
base_hosted.variants := host pic asan tsan cov fuzz sim
$(call component,base_hosted)

$(call unit_tests,base,$(wildcard base/*_test.c base/hosted/*_test.c),base base_hosted,,asan cov)
