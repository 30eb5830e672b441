/* SPDX-License-Identifier: Apache-2.0 */
/* The tables that a guest finds: ACPI, boot arguments, zero page, PVH start info, command line. */
#include "test.h"

#include <asm/bootparam.h>
#include <stdbool.h>
#include <string.h>

#include "abi/boot.h"
#include "boot/acpi.h"
#include "boot/boot_args.h"
#include "boot/cmdline.h"
#include "boot/linux_boot.h"
#include "config.h"
#include "devices/gmem.h"

#define GPA 0xe0000u

static uint64_t load(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, at, size);
    return value;
}

static void check_sum(const uint8_t *at, size_t size)
{
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum += at[i];
    }
    assert_int_equal(sum & 0xff, 0);
}

static const uint8_t *table_at(const uint8_t *bytes, size_t size, uint64_t gpa,
                               const char *signature)
{
    const uint8_t *t = bytes + (gpa - GPA);

    assert_in_range(gpa, GPA, GPA + size - 36);
    assert_memory_equal(t, signature, 4);
    assert_true(gpa - GPA + load(t + 4, 4) <= size);
    check_sum(t, load(t + 4, 4));
    return t;
}

static void test_acpi(void **state)
{
    static const unsigned counts[] = { 1, 2, 31, 32 };

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint8_t bytes[ACPI_SIZE_MAX];
        struct acpi_machine m = {
            .gpa = GPA,
            .vcpus = counts[i],
            .lapic_gpa = 0xfee00000,
            .ioapic_gpa = 0xfec00000,
            .devices = { .virtio_gpa = 0xd0000000,
                         .virtio_size = 0x1000,
                         .virtio_irq = 5,
                         .virtio_count = 16,
                         .serial_port = 0x3f8,
                         .serial_irq = 4,
                         .keyboard_port = 0x60,
                         .keyboard_irq = 1 },
        };
        size_t size = acpi_write(&m, bytes);
        const uint8_t *xsdt = NULL;
        const uint8_t *madt = NULL;
        const uint8_t *fadt = NULL;
        const uint8_t *dsdt = NULL;
        unsigned cpus = 0;
        unsigned ioapics = 0;

        assert_true(size <= ACPI_SIZE_MAX);
        assert_memory_equal(bytes, "RSD PTR ", 8);
        check_sum(bytes, 20);
        check_sum(bytes, 36);
        xsdt = table_at(bytes, size, load(bytes + 24, 8), "XSDT");
        assert_int_equal(load(xsdt + 4, 4), 36 + 16);
        fadt = table_at(bytes, size, load(xsdt + 36, 8), "FACP");
        madt = table_at(bytes, size, load(xsdt + 44, 8), "APIC");
        dsdt = table_at(bytes, size, load(fadt + 140, 8), "DSDT");
        /* One scope, whose length is the table's; what is in it was read by a disassembler once. */
        assert_int_equal(dsdt[36], 0x10);
        assert_int_equal((dsdt[37] & 0x0f) | (unsigned)dsdt[38] << 4, load(dsdt + 4, 4) - 37);
        assert_memory_equal(dsdt + 39, "\\_SB_", 5);
        assert_memory_equal(dsdt + 48, "V000", 4);
        assert_int_equal(load(fadt + 120, 8), 0x64); /* reset register */
        for (uint64_t at = 44; at < load(madt + 4, 4); at += madt[at + 1]) {
            assert_true(madt[at + 1] >= 6);
            cpus += madt[at] == 0 && madt[at + 3] == cpus && load(madt + at + 4, 4) == 1;
            ioapics += madt[at] == 1 && load(madt + at + 4, 4) == 0xfec00000;
        }
        assert_int_equal(cpus, counts[i]);
        assert_int_equal(ioapics, 1);
    }
}

static void test_boot_args(void **state)
{
    char *argv[] = { (char *)"/bin/echo", (char *)"", (char *)"a b" };
    char *env[] = { (char *)"A=1" };
    struct config c = {
        .argv = { .items = argv, .count = 3, .bytes = 15 },
        .env = { .items = env, .count = 1, .bytes = 4 },
        .cwd = (char *)"/tmp",
        .hostname = (char *)"",
        .uid = 5,
        .gid = 6,
        .stdio = DRUPE_STDIO_STREAM,
        .host_stdin = -1,
        .tty_rows = 24,
        .tty_cols = 80,
    };
    struct boot_args_facts facts = {
        .realtime_ns = 7, .tsc_khz = 8, .entropy = { 9 }, .has_console = true
    };
    uint8_t blob[sizeof(struct boot_args) + 25 + 1];
    struct boot_args header;

    (void)state;
    assert_int_equal(boot_args_size(&c), sizeof(blob) - 1);
    blob[sizeof(blob) - 1] = 0xaa;
    boot_args_write(&c, &facts, blob);
    memcpy(&header, blob, sizeof(header));
    assert_true(header.magic == BOOT_ARGS_MAGIC);
    assert_int_equal(header.size, sizeof(blob) - 1);
    assert_int_equal(header.flags, BOOT_ARGS_STDIO_STREAM | BOOT_ARGS_STDIN_NONE);
    assert_int_equal(header.argc, 3);
    assert_int_equal(header.envc, 1);
    assert_int_equal(header.strings_size, 25);
    assert_int_equal(header.entropy[0], 9);
    assert_memory_equal(blob + header.strings_offset, "/bin/echo\0\0a b\0A=1\0/tmp\0\0", 25);
    assert_int_equal(blob[sizeof(blob) - 1], 0xaa);

    c.host_stdin = 0;
    facts.is_stdin_split = true;
    boot_args_write(&c, &facts, blob);
    memcpy(&header, blob, sizeof(header));
    assert_int_equal(header.flags, BOOT_ARGS_STDIO_STREAM | BOOT_ARGS_STDIN_SPLIT);
    c.stdio = DRUPE_STDIO_TTY;
    boot_args_write(&c, &facts, blob);
    memcpy(&header, blob, sizeof(header));
    assert_int_equal(header.flags, BOOT_ARGS_STDIO_TTY);
    facts.has_console = false;
    boot_args_write(&c, &facts, blob);
    memcpy(&header, blob, sizeof(header));
    assert_int_equal(header.flags, 0);
}

static void test_entry_tables(void **state)
{
    static uint8_t ram[0x10000];
    struct gmem g = { .regions = { { .gpa = 0, .size = sizeof(ram), .hva = ram } },
                      .region_count = 1 };
    struct boot_map m = {
        .cmdline_gpa = 0x20000,
        .cmdline_size = 3,
        .module_gpa = 0x30000,
        .module_size = 99,
        .rsdp_gpa = GPA,
    };
    struct boot_params bp;

    (void)state;
    boot_map_add(&m, 0, 0x9fc00, BOOT_RANGE_RAM);
    boot_map_add(&m, 0x100000, 0, BOOT_RANGE_RAM); /* empty: left out */
    boot_map_add(&m, 0x40000000, 0x1000, BOOT_RANGE_RESERVED);
    assert_int_equal(linux_boot_write(&g, 0x7000, &m), 0);
    memcpy(&bp, ram + 0x7000, sizeof(bp));
    assert_int_equal(bp.e820_entries, 2);
    assert_int_equal(bp.e820_table[1].type, 2);
    assert_int_equal(bp.hdr.cmd_line_ptr, 0x20000);
    assert_int_equal(bp.hdr.ramdisk_size, 99);
    assert_int_equal(bp.acpi_rsdp_addr, GPA);
    assert_int_equal(pvh_boot_write(&g, 0x6000, &m), 0);
    assert_int_equal(load(ram + 0x6000, 4), 0x336ec578);
    assert_int_equal(load(ram + load(ram + 0x6000 + 16, 8), 8), 0x30000);
    assert_int_equal(load(ram + load(ram + 0x6000 + 40, 8) + 24, 8), 0x40000000);
    assert_int_equal(load(ram + 0x6000 + 48, 4), 2);
    g.regions[0].size = 0x7000;
    assert_true(linux_boot_write(&g, 0x7000, &m) < 0);
}

static void test_cmdline(void **state)
{
    struct cmdline c;

    (void)state;
    cmdline_init(&c);
    cmdline_add(&c, "a=%d", 1);
    cmdline_add(&c, "%s", "");
    cmdline_add(&c, "b");
    assert_string_equal(c.text, "a=1 b");
    assert_false(c.has_overflowed);
    while (c.length + 11 <= DRUPE_CMDLINE_SIZE_MAX) {
        cmdline_add(&c, "0123456789");
    }
    cmdline_add(&c, "%.*s", (int)(DRUPE_CMDLINE_SIZE_MAX - c.length - 1), "0123456789");
    assert_false(c.has_overflowed);
    assert_int_equal(c.length, DRUPE_CMDLINE_SIZE_MAX);
    cmdline_add(&c, "x");
    assert_true(c.has_overflowed);
    assert_int_equal(strlen(c.text), DRUPE_CMDLINE_SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acpi),
        cmocka_unit_test(test_boot_args),
        cmocka_unit_test(test_entry_tables),
        cmocka_unit_test(test_cmdline),
    };

    return cmocka_run_group_tests_name("boot_tables", tests, NULL, NULL);
}
