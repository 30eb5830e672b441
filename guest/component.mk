# SPDX-License-Identifier: Apache-2.0
# guest: what runs in the guest besides its kernel. The agent is one static program without the
# host's libc, so that it starts fast and is small enough to travel with every VM.

agent.cc := musl-gcc
agent.all := $(filter-out %_test.c,$(wildcard guest/agent/*.c))
agent.sees := guest/agent base/include include
agent.cflags := -std=gnu17 -Os -g -D_GNU_SOURCE -MMD -MP $(filter-out -Wundef,$(warnings)) -fno-pie -fno-stack-protector \
    -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=.

$(patsubst %,$(OUT)/agent/%.o,$(agent.all)): $(OUT)/agent/%.o: % $(OUT)/agent/agent.flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(agent.cc) $(agent.cflags) $(addprefix -I,$(agent.sees)) -MF $(@:.o=.d) -c $< -o $@
$(eval $(call flags_file,$(OUT)/agent/agent.flags,$(agent.cc) $(agent.cflags)))
deps += $(patsubst %,$(OUT)/agent/%.d,$(agent.all))

$(BUILD)/agent.elf: $(patsubst %,$(OUT)/agent/%.o,$(agent.all))
	$(call say,LD)
	$(Q)$(agent.cc) -static -no-pie -Wl,--gc-sections -Wl,-z,norelro -o $@.full $^ && strip -s -o $@ $@.full

# The parsers and the host's tools of them, for unit tests and fuzzing.
agent_parse.srcs := guest/agent/json.c guest/agent/request.c
agent_parse.sees := $(agent.sees)
agent_parse.variants := asan cov fuzz
$(call component,agent_parse)

all_srcs += $(agent.all)
$(foreach s,$(agent.all),$(eval lint_sees.$(s) := $(agent.sees)))
programs += $(BUILD)/agent.elf

$(call program,fuzz/agent_request,fuzz,fuzz/agent_request_fuzz.c,agent_parse,,$(agent.sees),-D_GNU_SOURCE)
lint_sees.fuzz/agent_request_fuzz.c := $(agent.sees)
fuzz_targets += $(BUILD)/fuzz/agent_request
