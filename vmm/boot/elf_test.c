/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "abi/boot.h"
#include "boot/elf.h"
#include "devices/gmem.h"

#define FILE_SIZE 1024
#define RAM_SIZE  0x200000

struct file {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[3];
    uint8_t notes[64];
    uint8_t code[64];
    uint8_t rest[FILE_SIZE - 64 - 3 * 56 - 128];
};

static struct file good(void)
{
    struct file f = {
        .eh = {
            .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
            .e_type = ET_EXEC,
            .e_machine = EM_X86_64,
            .e_version = 1,
            .e_entry = 0x100010,
            .e_phoff = offsetof(struct file, ph),
            .e_phentsize = sizeof(Elf64_Phdr),
            .e_phnum = 3,
        },
        .ph = {
            { .p_type = PT_LOAD, .p_offset = offsetof(struct file, code), .p_paddr = 0x100000, .p_filesz = 64,
              .p_memsz = 0x2000 },
            { .p_type = PT_LOAD, .p_offset = 0, .p_paddr = 0x103000, .p_filesz = 16, .p_memsz = 16 },
            { .p_type = PT_NOTE, .p_offset = offsetof(struct file, notes), .p_filesz = 20 + 20, .p_align = 4 },
        },
    };
    const uint32_t xen[] = { 4, 4, 18, 0x006e6558, 0x100020 };
    const uint32_t drupe[] = { 6, 4, BOOT_NOTE_TYPE };

    memcpy(f.notes, xen, sizeof(xen));
    memcpy(f.notes + 20, drupe, sizeof(drupe));
    memcpy(f.notes + 32, "Drupe\0\0\0", 8);
    f.notes[40] = 1;
    f.ph[2].p_filesz = 44;
    memset(f.code, 0x90, sizeof(f.code));
    return f;
}

static int parse(const struct file *f, struct elf_image *image, const char **why)
{
    struct elf_bytes bytes = { .bytes = (const uint8_t *)f };
    struct elf_source source = elf_source_bytes(&bytes, sizeof(*f));

    return elf_parse(&source, image, why);
}

static void test_good(void **state)
{
    struct file f = good();
    struct elf_image image;
    const char *why = NULL;

    (void)state;
    assert_int_equal(parse(&f, &image, &why), 0);
    assert_int_equal(image.entry, 0x100010);
    assert_true(image.has_pvh);
    assert_int_equal(image.pvh_entry, 0x100020);
    assert_true(image.has_drupe);
    assert_int_equal(image.drupe_version, 1);
    assert_int_equal(image.segment_count, 2);
    assert_int_equal(image.segments[1].gpa, 0x103000);
}

static void break_magic(struct file *f)
{
    f->eh.e_ident[0] = 0;
}

static void break_class(struct file *f)
{
    f->eh.e_ident[EI_CLASS] = ELFCLASS32;
}

static void break_machine(struct file *f)
{
    f->eh.e_machine = EM_AARCH64;
}

static void break_type(struct file *f)
{
    f->eh.e_type = ET_REL;
}

static void break_phnum(struct file *f)
{
    f->eh.e_phnum = 0;
}

static void break_phnum_large(struct file *f)
{
    f->eh.e_phnum = 0xffff;
}

static void break_phoff(struct file *f)
{
    f->eh.e_phoff = UINT64_MAX - 8;
}

static void break_phoff_end(struct file *f)
{
    f->eh.e_phoff = FILE_SIZE - 8;
}

static void break_offset(struct file *f)
{
    f->ph[0].p_offset = FILE_SIZE - 1;
}

static void break_file_size(struct file *f)
{
    f->ph[0].p_filesz = UINT64_MAX;
}

static void break_memory_size(struct file *f)
{
    f->ph[0].p_memsz = 1;
}

static void break_low(struct file *f)
{
    f->ph[0].p_paddr = 0xfffff;
}

static void break_wrap(struct file *f)
{
    f->ph[0].p_paddr = UINT64_MAX - 0xfff;
}

static void break_overlap(struct file *f)
{
    f->ph[1].p_paddr = 0x101fff;
}

static void break_entry(struct file *f)
{
    f->eh.e_entry = 0x102000;
}

static void break_pvh_entry(struct file *f)
{
    memset(f->notes + 16, 0, 4);
}

static void break_note_offset(struct file *f)
{
    f->ph[2].p_offset = UINT64_MAX;
}

static void test_refusals(void **state)
{
    void (*const breaks[])(struct file *) = {
        break_magic,       break_class,       break_machine,   break_type,    break_phnum,
        break_phnum_large, break_phoff,       break_phoff_end, break_offset,  break_file_size,
        break_low,         break_memory_size, break_wrap,      break_overlap, break_entry,
        break_note_offset, break_pvh_entry,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++) {
        struct file f = good();
        struct elf_image image;
        const char *why = NULL;

        breaks[i](&f);
        if (parse(&f, &image, &why) != -ENOEXEC) {
            fail_msg("broken file %zu was taken", i);
        }
        assert_non_null(why);
    }
}

static void test_short_files(void **state)
{
    struct file f = good();
    struct elf_bytes bytes = { .bytes = (const uint8_t *)&f };
    struct elf_image image;
    const char *why = NULL;

    (void)state;
    for (uint64_t size = 0; size < offsetof(struct file, code) + 64; size++) {
        struct elf_source source = elf_source_bytes(&bytes, size);

        assert_int_equal(elf_parse(&source, &image, &why), -ENOEXEC);
    }
}

/* Notes whose sizes lie are ignored; they never make the file unreadable. */
static void test_lying_notes(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 12; at++) {
        struct file f = good();
        struct elf_image image;
        const char *why = NULL;

        f.notes[at] = 0xff;
        assert_int_equal(parse(&f, &image, &why), 0);
        assert_false(image.has_pvh);
    }
}

static void test_load(void **state)
{
    static uint8_t ram[RAM_SIZE];
    struct gmem g = { .regions = { { .gpa = 0, .size = RAM_SIZE, .hva = ram } },
                      .region_count = 1 };
    struct file f = good();
    struct elf_bytes bytes = { .bytes = (const uint8_t *)&f };
    struct elf_source source = elf_source_bytes(&bytes, sizeof(f));
    struct elf_image image;
    const char *why = NULL;
    uint64_t end = 0;

    (void)state;
    assert_int_equal(elf_parse(&source, &image, &why), 0);
    assert_int_equal(elf_load(&source, &image, &g, &end), 0);
    assert_int_equal(end, 0x103010);
    assert_memory_equal(ram + 0x100000, f.code, 64);
    assert_int_equal(ram[0x100040], 0);
    g.regions[0].size = 0x103008; /* the second segment does not fit: nothing is written */
    memset(ram, 0, sizeof(ram));
    assert_int_equal(elf_load(&source, &image, &g, &end), -EFAULT);
    assert_int_equal(ram[0x100000], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_short_files), cmocka_unit_test(test_lying_notes),
        cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests_name("elf", tests, NULL, NULL);
}
