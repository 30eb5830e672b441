# SPDX-License-Identifier: Apache-2.0
# vmm_api: the control API (docs/control-api.md) over libdrupe's public header. An archive of its own,
# so that programs that serve no API carry neither it nor its JSON parser.

vmm_api.srcs := $(filter-out %_test.c,$(wildcard vmm/api/*.c))
vmm_api.sees := vmm/api base/include include
vmm_api.variants := host asan cov fuzz sim
vmm_api.libs := -l:libjansson.a
$(call component,vmm_api)

$(call unit_tests,vmm_api,$(wildcard vmm/api/*_test.c),vmm_api vmm base base_hosted,$(vmm_api.libs) $(vmm.libs),asan cov)

$(call program,fuzz/http_request,fuzz,fuzz/http_request_fuzz.c,vmm_api base base_hosted,$(vmm_api.libs),$(vmm_api.sees))
$(call program,fuzz/api_body,fuzz,fuzz/api_body_fuzz.c,vmm_api vmm base base_hosted,$(vmm_api.libs) $(vmm.libs),\
    $(vmm_api.sees))
lint_sees.fuzz/http_request_fuzz.c := $(vmm_api.sees)
lint_sees.fuzz/api_body_fuzz.c := $(vmm_api.sees)
fuzz_targets += $(BUILD)/fuzz/http_request $(BUILD)/fuzz/api_body

# As an embedder links it, beside libdrupe.a.
$(BUILD)/libdrupe_control.a: $(OUT)/host/vmm_api.a
	$(call say,AR)
	$(Q)cp $< $@

programs += $(BUILD)/libdrupe_control.a

# End to end: what clients see, and the session of the document.
checks += tests/api/conformance.py tests/api/network.py tests/api/page_faults.py tests/api/session.sh tests/api/linux.sh
check_needs += $(BUILD)/drupe $(BUILD)/drupe-vmm

.PHONY: test-api
test-api: $(BUILD)/drupe $(BUILD)/drupe-vmm
	@tools/run-tests tests/api/conformance.py tests/api/network.py tests/api/page_faults.py tests/api/session.sh tests/api/linux.sh
