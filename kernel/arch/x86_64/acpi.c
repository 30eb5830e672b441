/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which CPUs and interrupt controllers there are: ACPI's MADT, else the MP table, else one CPU with
 * the usual addresses. Tables are the machine's: sizes are checked, each entry is copied once, and
 * what does not make sense is skipped.
 */

#include <arch/internal.h>
#include <arch/layout.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <sched/cpu.h>

#define TABLE_SIZE_MAX (64u << 10)
#define TABLES_MAX     64u

struct sdt_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
};

static_assert(sizeof(struct sdt_header) == 36, "ACPI 6.5, 5.2.6");

struct machine machine = {
    .local_apic = 0xfee00000,
    .cpu_count = 0,
};

static void add_cpu(uint32_t id)
{
    for (unsigned i = 0; i < machine.cpu_count; i++) {
        if (machine.apic_ids[i] == id) {
            return;
        }
    }
    if (machine.cpu_count < CPU_MAX) {
        machine.apic_ids[machine.cpu_count++] = id;
    }
}

static void add_io_apic(paddr_t pa, uint32_t base)
{
    if (machine.io_apic == 0) { /* one serves all our lines */
        machine.io_apic = pa;
        machine.io_apic_base = base;
    }
}

static void add_override(uint8_t source, uint32_t line, uint16_t flags)
{
    if (source < array_size(machine.isa)) {
        machine.isa[source].is_set = true;
        machine.isa[source].line = line;
        machine.isa[source].is_active_low = (flags & 3) == 3;
        machine.isa[source].is_level = (flags >> 2 & 3) == 3;
    }
}

static void read_madt_entry(const uint8_t *e, uint8_t type, uint8_t length)
{
    switch (type) {
    case 0: /* local APIC */
        if (length >= 8 && load_le32(e + 4) & 3) {
            add_cpu(e[3]);
        }
        break;
    case 1: /* IOAPIC */
        if (length >= 12) {
            add_io_apic(load_le32(e + 4), load_le32(e + 8));
        }
        break;
    case 2: /* interrupt source override */
        if (length >= 10) {
            add_override(e[3], load_le32(e + 4), load_le16(e + 8));
        }
        break;
    case 5: /* local APIC address */
        if (length >= 12) {
            machine.local_apic = load_le64(e + 4);
        }
        break;
    case 9: /* local x2APIC */
        if (length >= 16 && load_le32(e + 8) & 3) {
            add_cpu(load_le32(e + 4));
        }
        break;
    default:
        break;
    }
}

static void read_madt(paddr_t pa, uint32_t length)
{
    uint8_t head[8];
    uint8_t e[16];
    uint32_t at = sizeof(struct sdt_header) + 8;

    if (length < at || !phys_copy(head, pa + sizeof(struct sdt_header), sizeof(head))) {
        return;
    }
    machine.local_apic = load_le32(head);
    while (at + 2 <= length) {
        if (!phys_copy(e, pa + at, 2) || e[1] < 2 || e[1] > length - at) {
            return;
        }
        uint8_t size = (uint8_t)min_of(e[1], sizeof(e));
        uint8_t type = e[0];
        uint8_t step = e[1];

        if (!phys_copy(e, pa + at, size)) {
            return;
        }
        read_madt_entry(e, type, size);
        at += step;
    }
}

static bool read_rsdp(paddr_t rsdp)
{
    uint8_t r[36];
    struct sdt_header h;

    if (!phys_copy(r, rsdp, sizeof(r)) || memcmp(r, "RSD PTR ", 8) != 0) {
        return false;
    }
    bool is_wide = r[15] >= 2 && load_le64(r + 24) != 0;
    paddr_t table = is_wide ? load_le64(r + 24) : load_le32(r + 16);
    unsigned entry_size = is_wide ? 8 : 4;

    if (!phys_copy(&h, table, sizeof(h)) || h.length < sizeof(h) || h.length > TABLE_SIZE_MAX) {
        return false;
    }
    uint32_t count = min_of((h.length - (uint32_t)sizeof(h)) / entry_size, TABLES_MAX);

    for (uint32_t i = 0; i < count; i++) {
        uint8_t entry[8] = { 0 };

        if (!phys_copy(entry, table + sizeof(h) + (uint64_t)i * entry_size, entry_size)) {
            return false;
        }
        paddr_t pa = load_le64(entry);

        if (phys_copy(&h, pa, sizeof(h)) && memcmp(h.signature, "APIC", 4) == 0 &&
            h.length <= TABLE_SIZE_MAX) {
            read_madt(pa, h.length);
            return true;
        }
    }
    return false;
}

/* A signature on a 16-byte boundary of [start, start + size) of low memory; 0: not there. */
static paddr_t find_signature(paddr_t start, uint64_t size, const char *text, size_t length)
{
    for (paddr_t pa = start; pa < start + size; pa += 16) {
        if (memcmp(arch_phys_to_virt(pa), text, length) == 0) {
            return pa;
        }
    }
    return 0;
}

/* Intel MultiProcessor Specification 1.4, chapter 4. */
static bool read_mp_table(void)
{
    static const struct phys_range places[] = { { 0x9fc00, 0x400 }, { 0xf0000, 0x10000 } };
    uint8_t p[16];
    uint8_t h[44];
    paddr_t at = 0;

    for (size_t i = 0; i < array_size(places) && at == 0; i++) {
        at = find_signature(places[i].start, places[i].size, "_MP_", 4);
    }
    if (at == 0 || !phys_copy(p, at, sizeof(p)) || load_le32(p + 4) == 0 ||
        !phys_copy(h, load_le32(p + 4), sizeof(h)) || memcmp(h, "PCMP", 4) != 0) {
        return false;
    }
    paddr_t entry = (paddr_t)load_le32(p + 4) + sizeof(h);

    machine.local_apic = load_le32(h + 36);
    for (unsigned n = load_le16(h + 34); n > 0; n--) {
        uint8_t e[20];

        if (!phys_copy(e, entry, sizeof(e)) || e[0] > 4) {
            break;
        }
        if (e[0] == 0 && e[3] & 1) {
            add_cpu(e[1]);
        } else if (e[0] == 2 && e[3] & 1) {
            add_io_apic(load_le32(e + 4), 0);
        }
        entry += e[0] == 0 ? 20 : 8;
    }
    return machine.cpu_count > 0;
}

void machine_find(void)
{
    paddr_t rsdp = boot_rsdp;

    if (rsdp == 0 && !boot_info.status_port) { /* Drupe's monitor always says where it is */
        rsdp = find_signature(0xe0000, 0x20000, "RSD PTR ", 8);
    }
    if ((rsdp == 0 || !read_rsdp(rsdp)) && !read_mp_table()) {
        log_debug("x86: neither ACPI nor MP table: one CPU");
        add_io_apic(0xfec00000, 0);
    }
}
