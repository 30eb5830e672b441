# SPDX-License-Identifier: Apache-2.0
# lona: the actor-language VM. Only lona/platform/posix (and platform/sim, for tests) sees libc and threads; GMP's mpn is the one
# library (lona/number).

lona_dirs := term gc interp process sched realm number data native reader compiler embed platform/posix \
    platform/sim
lona.srcs := $(filter-out %_test.c,$(foreach d,$(lona_dirs),$(wildcard lona/$(d)/*.c)) $(wildcard lona/*.c))
lona.sees := lona base/include include
lona.variants := host asan tsan cov fuzz
# Objects of one word array are read as structs and back.
lona.cflags := -fno-strict-aliasing
$(call component,lona)

lona_tests := $(foreach d,$(lona_dirs),$(wildcard lona/$(d)/*_test.c))
$(call unit_tests,lona,$(lona_tests),lona base base_hosted,-lgmp -lpthread -lm,asan cov)
$(call unit_tests,lona,$(wildcard lona/sched/*_test.c),lona base base_hosted,-lgmp -lpthread -lm,tsan)

# The library is compiled at build time, by lona-boot in a VM without one, and linked as data into each
# program that names the archive lona_image before lona. The order is that of loading.
$(call program,lona-boot,host,lona/boot/boot.c,lona base base_hosted,-lgmp -lpthread -lm,$(lona.sees),$(lona.cflags))
lona_library := $(addprefix lona/lib/lona/,core.lona process.lona time.lona supervisor.lona server.lona test.lona)
$(BUILD)/lona-library.image: $(BUILD)/lona-boot $(lona_library)
	$(call say,LONA)
	$(Q)$(BUILD)/lona-boot -o $@ $(lona_library)
lona_image.srcs := lona/image/library.c
lona_image.sees := $(lona.sees)
lona_image.variants := $(lona.variants)
lona_image.cflags := $(lona.cflags) -DLONA_IMAGE='"$(BUILD)/lona-library.image"'
$(call component,lona_image)
# Else the empty library inside lona.a is found first.
lona_image_libs := -Wl,-u,lona_library_image
$(foreach v,$(lona.variants),$(OUT)/$(v)/lona/image/library.c.o): $(BUILD)/lona-library.image

# The program. Its sources lie in lona/program, which alone uses libedit.
lona_program_srcs := $(filter-out %_test.c,$(wildcard lona/program/*.c))
ifneq ($(lona_program_srcs),)
$(call program,lona,host,$(lona_program_srcs),lona_image lona base base_hosted,$(lona_image_libs) -lgmp -lpthread -lm -ledit,$(lona.sees),$(lona.cflags))
$(call program,lona-asan,asan,$(lona_program_srcs),lona_image lona base base_hosted,$(lona_image_libs) -lgmp -lpthread -lm -ledit,$(lona.sees),$(lona.cflags))
$(call program,lona-tsan,tsan,$(lona_program_srcs),lona_image lona base base_hosted,$(lona_image_libs) -lgmp -lpthread -lm -ledit,$(lona.sees),$(lona.cflags))
programs += $(BUILD)/lona
endif

# The language's own tests: tables of cases, the program, the prompt in a terminal.
lona_checks := $(wildcard tests/lona/*.sh)
lona_check_needs := $(BUILD)/lona $(BUILD)/lona-asan
checks += $(lona_checks)
check_needs += $(lona_check_needs)

# Coverage counts what they reach as well.
$(call program,lona-cov,cov,$(lona_program_srcs),lona_image lona base base_hosted,$(lona_image_libs) -lgmp -lpthread -lm -ledit,$(lona.sees),$(lona.cflags))
coverage_checks += $(lona_checks)
coverage_needs += $(BUILD)/lona-cov
coverage_env += LONA=$(BUILD)/lona-cov LONA_ASAN=none

.PHONY: lona test-lona test-lona-tsan bench-lona
lona: $(BUILD)/lona
test-lona: $(unit_tests.asan.lona) $(lona_check_needs)
	@tools/run-tests $(unit_tests.asan.lona) $(lona_checks)
test-lona-tsan: $(unit_tests.tsan.lona) $(BUILD)/lona-tsan
	@LONA_TSAN=$(BUILD)/lona-tsan tools/run-tests $(unit_tests.tsan.lona) tests/lona/threads
bench-lona: $(BUILD)/lona
	@bench/lona/run

# Fuzz targets of the language, with the library for its macros.
lona_fuzz := lona_reader lona_bytecode lona_decoder lona_pattern lona_gc
$(foreach f,$(lona_fuzz),$(call program,fuzz/$(f),fuzz,fuzz/$(f)_fuzz.c,lona_image lona base base_hosted,$(lona_image_libs) -lgmp -lpthread -lm,$(lona.sees) tests/include,$(lona.cflags)))
$(foreach f,$(lona_fuzz),$(eval lint_sees.fuzz/$(f)_fuzz.c := $(lona.sees) tests/include))
fuzz_targets += $(addprefix $(BUILD)/fuzz/,$(lona_fuzz))
