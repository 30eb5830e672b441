# SPDX-License-Identifier: Apache-2.0
# The guest of the monitor's boot tests: a tiny freestanding ELF.
$(call program,tests/vmm_guest.elf,kernel,tests/vmm/guest_start.S tests/vmm/guest.c,,-nostdlib -static -no-pie -Wl$(comma)-T$(comma)tests/vmm/guest.ld -Wl$(comma)--build-id=none -Wl$(comma)-z$(comma)noexecstack,include,-mgeneral-regs-only -mno-red-zone -march=x86-64)
