/* SPDX-License-Identifier: Apache-2.0 */
/* Linux: Documentation/x86/boot.rst and zero-page.rst. PVH:
 * xen/include/public/arch-x86/hvm/start_info.h. */
#include "boot/linux_boot.h"

#include <asm/bootparam.h>
#include <string.h>

#include <base/assert.h>

#include "devices/gmem.h"

#define LINUX_BOOT_FLAG    0xaa55u
#define LINUX_HEADER_MAGIC 0x53726448u /* "HdrS" */
#define LINUX_LOADER_OTHER 0xffu
#define LINUX_KERNEL_ALIGN 0x1000000u
#define LINUX_CMDLINE_MAX  2048u

#define PVH_MAGIC   0x336ec578u
#define PVH_VERSION 1u

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t modlist_gpa;
    uint64_t cmdline_gpa;
    uint64_t rsdp_gpa;
    uint64_t memmap_gpa;
    uint32_t memmap_count;
    uint32_t reserved;
};

struct pvh_module {
    uint64_t gpa;
    uint64_t size;
    uint64_t cmdline_gpa;
    uint64_t reserved;
};

struct pvh_memory {
    uint64_t gpa;
    uint64_t size;
    uint32_t type;
    uint32_t reserved;
};

struct pvh_page {
    struct pvh_start_info info;
    struct pvh_module module;
    struct pvh_memory memory[BOOT_RANGES_MAX];
};

static_assert(sizeof(struct boot_params) == 4096, "the zero page is one page");
static_assert(offsetof(struct boot_params, acpi_rsdp_addr) == 0x70, "zero-page.rst");
static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h");
static_assert(sizeof(struct pvh_module) == 32, "start_info.h");
static_assert(sizeof(struct pvh_memory) == 24, "start_info.h");

void boot_map_add(struct boot_map *m, uint64_t gpa, uint64_t size, enum boot_range_type type)
{
    if (size == 0) {
        return;
    }
    assert(m->count < BOOT_RANGES_MAX);
    m->ranges[m->count++] = (struct boot_range){ .gpa = gpa, .size = size, .type = type };
}

int linux_boot_write(const struct gmem *g, uint64_t at, const struct boot_map *m)
{
    struct boot_params bp;

    memset(&bp, 0, sizeof(bp));
    bp.hdr.kernel_alignment = LINUX_KERNEL_ALIGN;
    if (m->setup != NULL) {
        assert(m->setup_size <= sizeof(bp.hdr));
        memcpy(&bp.hdr, m->setup, m->setup_size);
    }
    bp.hdr.type_of_loader = LINUX_LOADER_OTHER;
    bp.hdr.boot_flag = LINUX_BOOT_FLAG;
    bp.hdr.header = LINUX_HEADER_MAGIC;
    bp.hdr.cmdline_size = LINUX_CMDLINE_MAX;
    bp.hdr.cmd_line_ptr = (uint32_t)m->cmdline_gpa;
    bp.hdr.ramdisk_image = (uint32_t)m->module_gpa; /* always below the device hole */
    bp.hdr.ramdisk_size = (uint32_t)m->module_size;
    bp.acpi_rsdp_addr = m->rsdp_gpa;
    bp.e820_entries = (uint8_t)m->count;
    for (unsigned i = 0; i < m->count; i++) {
        bp.e820_table[i].addr = m->ranges[i].gpa;
        bp.e820_table[i].size = m->ranges[i].size;
        bp.e820_table[i].type = (uint32_t)m->ranges[i].type;
    }
    return gmem_write(g, (gpa_t){ at }, &bp, sizeof(bp));
}

int pvh_boot_write(const struct gmem *g, uint64_t at, const struct boot_map *m)
{
    struct pvh_page p;

    memset(&p, 0, sizeof(p));
    p.info.magic = PVH_MAGIC;
    p.info.version = PVH_VERSION;
    p.info.cmdline_gpa = m->cmdline_gpa;
    p.info.rsdp_gpa = m->rsdp_gpa;
    p.info.memmap_gpa = at + offsetof(struct pvh_page, memory);
    p.info.memmap_count = m->count;
    if (m->module_size != 0) {
        p.info.module_count = 1;
        p.info.modlist_gpa = at + offsetof(struct pvh_page, module);
        p.module.gpa = m->module_gpa;
        p.module.size = m->module_size;
    }
    for (unsigned i = 0; i < m->count; i++) {
        p.memory[i].gpa = m->ranges[i].gpa;
        p.memory[i].size = m->ranges[i].size;
        p.memory[i].type = (uint32_t)m->ranges[i].type;
    }
    return gmem_write(g, (gpa_t){ at }, &p, sizeof(p));
}
