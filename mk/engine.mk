# SPDX-License-Identifier: Apache-2.0
#
# The build engine: one non-recursive graph, one fragment per component (<component>/component.mk).
#
#   <name>.srcs      C and assembly sources, paths from the top
#   <name>.sees      its include path, and nothing else
#   <name>.variants  host asan tsan cov fuzz sim kernel: each gets objects of its own
#   <name>.cflags    more flags (pkg-config results, -mgeneral-regs-only, ...)
#   <name>.needs     generated headers that must exist before its first compilation
#   $(call component,<name>)                       -> $(OUT)/<variant>/<name>.a
#   $(call program,<path>,<variant>,<srcs>,<archives>,<libs>,<sees>,<cflags>)
#   $(call unit_tests,<name>,<*_test.c>,<archives>,<libs>,<variants>)
#
# Objects depend on the flags that made them: a changed flag rebuilds what it touches.

BUILD ?= build
OUT := $(BUILD)/out
ARCH ?= x86_64
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-7s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@))

CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
CLANG ?= clang
AR := $(if $(IS_CLANG),ar,gcc-ar)
IS_CLANG := $(findstring clang,$(shell $(CC) --version | head -n 1))

warnings := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
    -Wvla -Wundef -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough -Wformat=2
common := -std=gnu17 -g -MMD -MP -pipe $(warnings) -ffile-prefix-map=$(CURDIR)=.
hardened := -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2

cc.host := $(CC)
cc.pic := $(CC)
cc.asan := $(CC)
cc.tsan := $(CC)
cc.cov := gcc
cc.fuzz := $(CLANG)
cc.sim := $(CC)
cc.kernel := $(CC)

# Small: no unwind tables (gdb has .debug_frame), and the linker drops what nothing calls.
cflags.host := -O2 -D_GNU_SOURCE $(hardened) -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
# For shared libraries: only what is marked so is seen from outside.
cflags.pic := -O2 -D_GNU_SOURCE -fPIC -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2
cflags.asan := -O1 -D_GNU_SOURCE -DTEST_BUILD=1 -fPIE -fno-omit-frame-pointer -fno-sanitize-recover=all \
    -fsanitize=address,undefined
cflags.tsan := -O1 -D_GNU_SOURCE -DTEST_BUILD=1 -fPIE -fno-omit-frame-pointer -fsanitize=thread
cflags.cov := -O0 -D_GNU_SOURCE -DTEST_BUILD=1 -fPIE --coverage
cflags.fuzz := -O1 -D_GNU_SOURCE -DTEST_BUILD=1 -fPIE -fno-omit-frame-pointer -fno-sanitize-recover=all \
    -fsanitize=fuzzer-no-link,address,undefined
# For the simulation (sim/): without the wrappers of _FORTIFY_SOURCE, whose names the linker would not replace.
cflags.sim := -O2 -D_GNU_SOURCE -DTEST_BUILD=1 -fPIE -fno-omit-frame-pointer
# Ring 0 is paid for by the instruction on some hosts: no padding to run through, no frames in leaves.
kernel_machine.x86_64 := -march=x86-64 -mgeneral-regs-only -mno-red-zone -mcmodel=kernel -fcf-protection=none \
    $(if $(IS_CLANG),,-fno-align-loops -fno-align-jumps)
# gcc sees the kernel as a whole, and may let it grow where kernel/component.mk says that functions are
# to be inlined; clang compiles it file by file (its objects would want lld).
kernel_lto := $(if $(IS_CLANG),,-flto --param inline-unit-growth=300)
kernel_isystem := $(shell $(CC) -print-file-name=include)
cflags.kernel := -O2 -ffreestanding -nostdinc -isystem $(kernel_isystem) -fno-strict-aliasing \
    -fno-delete-null-pointer-checks -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables \
    -fomit-frame-pointer $(kernel_lto) $(kernel_machine.$(ARCH))

shared_ldflags := -shared -Wl,-z,relro,-z,now,-z,defs
ldflags.host := -pie -Wl,-z,relro,-z,now,-z,pack-relative-relocs -Wl,--gc-sections
ldflags.asan := -pie -fsanitize=address,undefined
ldflags.tsan := -pie -fsanitize=thread
ldflags.cov := -pie --coverage
ldflags.sim := -pie -Wl,-z,relro,-z,now
ldflags.fuzz := -pie -fsanitize=fuzzer,address,undefined

# A file that changes only when the text of the flags does.
define flags_file
$(1): FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' '$(subst ','\'',$(2))' | cmp -s - $$@ || printf '%s\n' '$(subst ','\'',$(2))' > $$@
endef

# $(call objects,<tag>,<variant>,<srcs>,<sees>,<cflags>,<needs>): compile rules; <tag> names the flags file.
define objects
$(patsubst %,$(OUT)/$(2)/%.o,$(3)): private compile := $(cc.$(2)) $(common) $(cflags.$(2)) $(5) $(addprefix -I,$(4))
$(patsubst %,$(OUT)/$(2)/%.o,$(3)): $(OUT)/$(2)/%.o: % $(OUT)/$(2)/$(1).flags | $(6)
	@mkdir -p $$(@D)
	$$(call say,CC)
	$$(Q)$$(compile) -MF $$(@:.o=.d) -c $$< -o $$@
$(call flags_file,$(OUT)/$(2)/$(1).flags,$(cc.$(2)) $(common) $(cflags.$(2)) $(5) $(addprefix -I,$(4)))
deps += $(patsubst %,$(OUT)/$(2)/%.d,$(3))
endef

define component_variant
$(call objects,$(1),$(2),$($(1).srcs),$($(1).sees),$($(1).cflags),$($(1).needs))
$(OUT)/$(2)/$(1).a: $(patsubst %,$(OUT)/$(2)/%.o,$($(1).srcs))
	$$(call say,AR)
	$$(Q)rm -f $$@ && $$(AR) rcsD $$@ $$^
endef

define component_
$(foreach v,$($(1).variants),$(eval $(call component_variant,$(1),$(v))))
all_srcs += $($(1).srcs)
$(foreach s,$(filter %.c,$($(1).srcs)),$(eval lint_sees.$(s) := $($(1).sees)))
$(foreach s,$(filter %.c,$($(1).srcs)),$(eval lint_flags.$(s) := $($(1).cflags)))
endef
component = $(eval $(call component_,$(strip $(1))))

define program_
$(call objects,$(subst /,_,$(1)).program,$(2),$(3),$(6),$(7),)
$(BUILD)/$(1): $(patsubst %,$(OUT)/$(2)/%.o,$(3)) $(foreach a,$(4),$(OUT)/$(2)/$(a).a)
	@mkdir -p $$(@D)
	$$(call say,LD)
	$$(Q)$(cc.$(2)) $(ldflags.$(2)) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(5)
all_srcs += $(3)
$(foreach s,$(filter %.c,$(3)),$(eval lint_sees.$(s) ?= $(6)))
$(foreach s,$(filter %.c,$(3)),$(eval lint_flags.$(s) ?= $(7)))
endef
program = $(eval $(call program_,$(strip $(1)),$(strip $(2)),$(3),$(4),$(5),$(6),$(7)))

# One cmocka program a file; run by `make test` (asan), `make test-tsan` (tsan) and `make coverage` (cov).
define unit_test_
$(call objects,$(1)_tests_$(notdir $(2:.c=)),$(5),$(2),$($(1).sees) tests/include,$($(1).cflags),$($(1).needs))
$(OUT)/$(5)/$(2:.c=): $(OUT)/$(5)/$(2).o $(foreach a,$(3),$(OUT)/$(5)/$(a).a)
	$$(call say,LD)
	$$(Q)$(cc.$(5)) $(ldflags.$(5)) -o $$@ $$< -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $(4) -lcmocka
unit_tests.$(5) += $(OUT)/$(5)/$(2:.c=)
unit_tests.$(5).$(1) += $(OUT)/$(5)/$(2:.c=)
all_srcs += $(2)
$(eval lint_sees.$(2) := $($(1).sees) tests/include)
$(eval lint_flags.$(2) := $($(1).cflags))
endef
unit_tests = $(foreach v,$(5),$(foreach t,$(2),$(eval $(call unit_test_,$(strip $(1)),$(t),$(3),$(4),$(v)))))

FORCE:
.PHONY: FORCE
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
