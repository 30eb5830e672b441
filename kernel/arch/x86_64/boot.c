/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From start.S to kernel_main(): read what the loader left (Linux zero page or PVH start info) into
 * boot_info. The loader is not trusted with our memory: every structure is copied once and every
 * address in it is checked to lie in what the direct map can reach.
 */

#include <arch/internal.h>
#include <arch/ops.h>
#include <base/bytes.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page.h>
#include <sched/cpu.h>
#include <x86.h>

#define E820_RAM 1u

/* Documentation/arch/x86/zero-page.rst and boot.rst of Linux; offsets in the page. */
#define ZP_ACPI_RSDP        0x070
#define ZP_EXT_RAMDISK      0x0c0
#define ZP_EXT_RAMDISK_SIZE 0x0c4
#define ZP_EXT_CMD_LINE     0x0c8
#define ZP_E820_COUNT       0x1e8
#define ZP_HEADER_MAGIC     0x202
#define ZP_RAMDISK          0x218
#define ZP_RAMDISK_SIZE     0x21c
#define ZP_CMD_LINE         0x228
#define ZP_E820             0x2d0
#define ZP_E820_MAX         128
#define ZP_E820_ENTRY_SIZE  20
#define ZP_HEADER_MAGIC_VAL 0x53726448u /* "HdrS" */

/* Xen's public/arch-x86/hvm/start_info.h */
#define PVH_MAGIC      0x336ec578u
#define PVH_MEMMAP_MAX 128u

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t module_list;
    uint64_t command_line;
    uint64_t rsdp;
    uint64_t memmap; /* version 1 on */
    uint32_t memmap_count;
    uint32_t reserved;
};

struct pvh_module {
    uint64_t addr;
    uint64_t size;
    uint64_t command_line;
    uint64_t reserved;
};

struct pvh_memmap {
    uint64_t addr;
    uint64_t size;
    uint32_t type;
    uint32_t reserved;
};

uint64_t boot_rsdp;

bool phys_copy(void *to, paddr_t pa, size_t size)
{
    if (!range_fits(pa, size, DIRECT_MAP_SIZE) || pt_direct_map(pa, size, false) < 0) {
        return false;
    }
    memcpy(to, arch_phys_to_virt(pa), size);
    return true;
}

static void copy_command_line(paddr_t pa)
{
    char *to = boot_info.command_line;
    size_t n = 0;

    if (pa == 0) {
        return;
    }
    if (!range_fits(pa, BOOT_COMMAND_LINE_MAX, DIRECT_MAP_SIZE) ||
        pt_direct_map(pa, BOOT_COMMAND_LINE_MAX, false) < 0) {
        log_warn("boot: command line at 0x%lx is out of reach; ignored", pa);
        return;
    }
    const volatile uint64_t *from = arch_phys_to_virt(pa);

    /* Eight bytes a step, each read once. What stands behind the end does not matter. */
    for (; n < BOOT_COMMAND_LINE_MAX; n += 8) {
        uint64_t word = from[n / 8];
        uint64_t end = bytes_zero(word);

        store_le64(to + n, word);
        if (end) {
            n += bytes_first(end);
            break;
        }
    }
    n = min_of(n, (size_t)BOOT_COMMAND_LINE_MAX - 1);
    to[n] = '\0';
}

static void set_ramdisk(paddr_t start, uint64_t size)
{
    if (size == 0) {
        return;
    }
    if (start == 0 || !range_fits(start, size, DIRECT_MAP_SIZE)) {
        log_warn("boot: ramdisk at 0x%lx is out of reach; ignored", start);
        return;
    }
    boot_info.ramdisk = (struct phys_range){ .start = start, .size = size };
}

static void read_zero_page(paddr_t pa)
{
    uint8_t page[4096];

    if (!phys_copy(page, pa, sizeof(page)) ||
        load_le32(page + ZP_HEADER_MAGIC) != ZP_HEADER_MAGIC_VAL) {
        boot_fail("entered by the Linux protocol without a zero page");
    }
    unsigned count = min_of((unsigned)page[ZP_E820_COUNT], ZP_E820_MAX);

    for (unsigned i = 0; i < count; i++) {
        const uint8_t *e = page + ZP_E820 + (size_t)i * ZP_E820_ENTRY_SIZE;

        if (load_le32(e + 16) == E820_RAM) {
            boot_ram_add(load_le64(e), load_le64(e + 8));
        }
    }
    copy_command_line(load_le32(page + ZP_CMD_LINE) | (uint64_t)load_le32(page + ZP_EXT_CMD_LINE)
                                                          << 32);
    set_ramdisk(load_le32(page + ZP_RAMDISK) | (uint64_t)load_le32(page + ZP_EXT_RAMDISK) << 32,
                load_le32(page + ZP_RAMDISK_SIZE) | (uint64_t)load_le32(page + ZP_EXT_RAMDISK_SIZE)
                                                        << 32);
    boot_rsdp = load_le64(page + ZP_ACPI_RSDP);
}

static void read_start_info(paddr_t pa)
{
    struct pvh_start_info info;
    struct pvh_module module;

    if (!phys_copy(&info, pa, sizeof(info)) || info.magic != PVH_MAGIC) {
        boot_fail("entered by PVH without start info");
    }
    if (info.version == 0 || info.memmap == 0 || info.memmap_count > PVH_MEMMAP_MAX) {
        boot_fail("PVH start info has no usable memory map");
    }
    for (uint32_t i = 0; i < info.memmap_count; i++) {
        struct pvh_memmap e;
        uint64_t at;

        if (!checked_add(info.memmap, i * sizeof(e), &at) || !phys_copy(&e, at, sizeof(e))) {
            break;
        }
        if (e.type == E820_RAM) {
            boot_ram_add(e.addr, e.size);
        }
    }
    copy_command_line(info.command_line);
    if (info.module_count > 0 && phys_copy(&module, info.module_list, sizeof(module))) {
        set_ramdisk(module.addr, module.size);
    }
    boot_rsdp = info.rsdp;
}

/* Called by start.S on the boot stack. */
_Noreturn void boot_start(uint64_t is_pvh, paddr_t info);

_Noreturn void boot_start(uint64_t is_pvh, paddr_t info)
{
    cpu_init_base(&cpus[0], 0);
    pt_init();
    if (is_pvh) {
        read_start_info(info);
    } else {
        read_zero_page(info);
    }
    boot_options_apply();
    if (boot_info.ram_count == 0) {
        boot_fail("the loader announced no RAM");
    }
    kernel_main();
}
