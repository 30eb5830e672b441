/* SPDX-License-Identifier: Apache-2.0 */
/* A bzImage of a few hundred bytes, and each of its fields spoilt. */
#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/bytes.h>

#include "boot/bzimage.h"
#include "devices/gmem.h"

#define SETUP_SECTS 2u
#define PAYLOAD     1024u
#define FILE_SIZE   ((SETUP_SECTS + 1) * 512u + PAYLOAD)
#define RAM_SIZE    (4u << 20)

static void make(uint8_t file[FILE_SIZE])
{
    memset(file, 0, FILE_SIZE);
    file[0x1f1] = SETUP_SECTS;
    store_le16(file + 0x1fe, 0xaa55);
    file[0x201] = 0x6a;
    store_le32(file + 0x202, 0x53726448); /* "HdrS" */
    store_le16(file + 0x206, 0x020f);
    file[0x211] = 1;
    store_le16(file + 0x236, 1);
    store_le64(file + 0x258, 0x200000);
    store_le32(file + 0x260, 0x100000);
    memset(file + FILE_SIZE - PAYLOAD, 0xab, PAYLOAD);
}

static int parse(const uint8_t *file, size_t size, struct bzimage *out)
{
    const struct elf_bytes bytes = { .bytes = file };
    struct elf_source source = elf_source_bytes(&bytes, size);
    const char *why = NULL;
    int r = bzimage_parse(&source, out, &why);

    assert_true(r == 0 || why != NULL);
    return r;
}

static void test_good(void **state)
{
    uint8_t file[FILE_SIZE];
    struct bzimage image;
    uint8_t *ram = calloc(1, RAM_SIZE);
    const struct elf_bytes bytes = { .bytes = file };
    struct elf_source source = elf_source_bytes(&bytes, sizeof(file));
    struct gmem g = { .regions = { { .gpa = 0, .size = RAM_SIZE, .hva = ram } },
                      .region_count = 1 };

    (void)state;
    assert_non_null(ram);
    make(file);
    assert_int_equal(parse(file, sizeof(file), &image), 0);
    assert_int_equal(image.gpa, 0x200000);
    assert_int_equal(image.offset, (SETUP_SECTS + 1) * 512);
    assert_int_equal(image.size, PAYLOAD);
    assert_int_equal(image.memory_size, 0x100000);
    assert_int_equal(image.setup_size, 0x202 + 0x6a - 0x1f1);
    assert_int_equal(bzimage_load(&source, &image, &g), 0);
    assert_int_equal(ram[0x200000], 0xab);
    assert_int_equal(ram[0x200000 + PAYLOAD - 1], 0xab);
    image.memory_size = RAM_SIZE - 0x200000 + 1;
    assert_int_equal(bzimage_load(&source, &image, &g), -EFAULT);
    image.gpa = UINT64_MAX - 10;
    assert_int_equal(bzimage_load(&source, &image, &g), -EFAULT);
    store_le64(file + 0x258, 0); /* never below the tables */
    assert_int_equal(parse(file, sizeof(file), &image), 0);
    assert_int_equal(image.gpa, 0x100000);
    free(ram);
}

static void test_bad(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } spoilt[] = {
        { 0x1fe, 0 }, { 0x202, 'h' }, { 0x207, 1 },  { 0x206, 0x0b },
        { 0x211, 0 }, { 0x236, 0 },   { 0x1f1, 64 },
    };

    uint8_t file[FILE_SIZE];
    struct bzimage image;

    (void)state;
    for (size_t i = 0; i < array_size(spoilt); i++) {
        make(file);
        file[spoilt[i].at] = spoilt[i].value;
        if (spoilt[i].at == 0x206) {
            file[0x207] = 0x02;
        }
        assert_int_equal(parse(file, sizeof(file), &image), -ENOEXEC);
    }
    make(file);
    for (size_t size = 0; size < FILE_SIZE - PAYLOAD + 0x200; size += 13) {
        assert_int_equal(parse(file, size, &image), -ENOEXEC);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
