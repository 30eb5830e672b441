# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: one libFuzzer program for each byte stream that crosses a trust boundary.

fuzz.sees := vmm base/include include
fuzz.vmm_libs := -luring -l:liblz4.a -lpthread

$(call program,fuzz/virtqueue,fuzz,fuzz/virtqueue_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/virtqueue_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/virtqueue

$(call program,fuzz/kernel_elf,fuzz,fuzz/kernel_elf_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/kernel_elf_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/kernel_elf
fuzz_seeds += $(BUILD)/fuzz/seeds/kernel_elf/guest
$(BUILD)/fuzz/seeds/kernel_elf/guest: $(BUILD)/tests/vmm_guest.elf
	@mkdir -p $(@D)
	$(call say,SEED)
	$(Q)strip -s -o $@ $<

$(call program,fuzz/p9,fuzz,fuzz/p9_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/p9_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/p9

$(call program,fuzz/snapshot,fuzz,fuzz/snapshot_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/snapshot_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/snapshot

$(call program,fuzz/agent_frames,fuzz,fuzz/agent_frames_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs) -l:liblz4.a,$(fuzz.sees))
lint_sees.fuzz/agent_frames_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/agent_frames

$(call program,fuzz/mmds,fuzz,fuzz/mmds_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/mmds_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/mmds

$(call program,fuzz/vhost_user,fuzz,fuzz/vhost_user_fuzz.c,vmm base base_hosted,$(fuzz.vmm_libs),$(fuzz.sees))
lint_sees.fuzz/vhost_user_fuzz.c := $(fuzz.sees)
fuzz_targets += $(BUILD)/fuzz/vhost_user
