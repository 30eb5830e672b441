/* SPDX-License-Identifier: Apache-2.0 */
/* The pure parts of exec: ELF headers, #! lines, boot arguments, argument strings. */
#include <test.h>

#include <string.h>

#include <base/bytes.h>
#include <host/host.h>
#include <mm/mm.h>
#include <proc/boot_args.h>
#include <proc/elf.h>
#include <proc/exec_strings.h>
#include <proc/script.h>

#define MACHINE 62

static int machine(void **state)
{
    (void)state;
    host_machine_create(UINT64_C(32) << 20, true);
    return 0;
}

/* --- ELF -------------------------------------------------------------------------------------- */

struct elf_bytes {
    uint8_t bytes[64 + 4 * 56];
};

static void put_phdr(struct elf_bytes *e, unsigned index, uint32_t type, uint32_t flags,
                     uint64_t offset, uint64_t addr, uint64_t file_size, uint64_t mem_size)
{
    uint8_t *p = e->bytes + 64 + (size_t)index * 56;

    store_le32(p, type);
    store_le32(p + 4, flags);
    store_le64(p + 8, offset);
    store_le64(p + 16, addr);
    store_le64(p + 24, addr);
    store_le64(p + 32, file_size);
    store_le64(p + 40, mem_size);
    store_le64(p + 48, 4096);
}

/* A small dynamic program: text, data with bss, an interpreter, a stack note. */
static struct elf_bytes good_elf(void)
{
    struct elf_bytes e = { { 0x7f, 'E', 'L', 'F', 2, 1, 1 } };

    store_le16(e.bytes + 16, 3);
    store_le16(e.bytes + 18, MACHINE);
    store_le64(e.bytes + 24, 0x1040);
    store_le64(e.bytes + 32, 64);
    store_le16(e.bytes + 54, 56);
    store_le16(e.bytes + 56, 4);
    put_phdr(&e, 0, 3, 4, 0x200, 0x200, 28, 28);
    put_phdr(&e, 1, 1, 5, 0, 0, 0x1234, 0x1234);
    put_phdr(&e, 2, 1, 6, 0x1e00, 0x3e00, 0x300, 0x900);
    put_phdr(&e, 3, 0x6474e551, 6, 0, 0, 0, 0);
    return e;
}

static int parse(const struct elf_bytes *e, struct elf_image *image)
{
    int err = elf_parse_header(e->bytes, sizeof(e->bytes), MACHINE, image);

    return err < 0 ? err : elf_parse_segments(e->bytes + 64, sizeof(e->bytes) - 64, image);
}

static void elf_accepted(void **state)
{
    struct elf_bytes e = good_elf();
    struct elf_image image;

    (void)state;
    assert_int_equal(parse(&e, &image), 0);
    assert_true(image.is_dynamic);
    assert_int_equal(image.entry, 0x1040);
    assert_int_equal(image.segment_count, 2);
    assert_int_equal(image.segments[0].access, VMA_READ | VMA_EXEC);
    assert_int_equal(image.segments[1].access, VMA_READ | VMA_WRITE);
    assert_int_equal(image.low, 0);
    assert_int_equal(image.high, 0x5000);
    assert_int_equal(image.phdr_addr, 64);
    assert_int_equal(image.interp_size, 28);
    assert_true(image.has_stack_flags);
    assert_false(image.is_stack_exec);
}

static void elf_refused(void **state)
{
    static const struct {
        unsigned at;
        unsigned size;
        uint64_t value;
    } table[] = {
        { 0, 1, 0 },                                       /* magic */
        { 4, 1, 1 },                                       /* 32 bits */
        { 5, 1, 2 },                                       /* big-endian */
        { 16, 2, 1 },                                      /* relocatable */
        { 18, 2, 183 },                                    /* another machine */
        { 54, 2, 32 },                                     /* size of a program header */
        { 56, 2, 0 },                                      /* none */
        { 56, 2, 0xffff },                                 /* too many */
        { 32, 8, UINT64_MAX },                             /* program headers nowhere */
        { 64 + 56 + 16, 8, 1 },                            /* address and offset not congruent */
        { 64 + 56 + 40, 8, 1 },                            /* smaller in memory than in the file */
        { 64 + 56 + 40, 8, UINT64_MAX },                   /* past user space */
        { 64 + 112 + 16, 8, 0xe00 },                       /* descending, overlapping */
        { 64 + 112 + 8, 8, UINT64_C(0x7ffffffffffffe00) }, /* offset overflows */
        { 64 + 32, 8, 1 },                                 /* an interpreter of no name */
        { 64 + 32, 8, 1 << 20 },                           /* an endless one */
        { 64 + 56, 4, 0 }, /* only one segment is left, which is fine: see below */
    };

    (void)state;
    for (size_t i = 0; i < array_size(table); i++) {
        struct elf_bytes e = good_elf();
        struct elf_image image;
        uint8_t value[8];

        store_le64(value, table[i].value);
        memcpy(e.bytes + table[i].at, value, table[i].size);
        assert_int_equal(parse(&e, &image), i + 1 == array_size(table) ? 0 : -ENOEXEC);
    }
    struct elf_image image;
    struct elf_bytes e = good_elf();

    assert_int_equal(elf_parse_header(e.bytes, 63, MACHINE, &image), -ENOEXEC);
    assert_int_equal(elf_parse_header(e.bytes, 64, MACHINE, &image), 0);
    assert_int_equal(elf_parse_segments(e.bytes + 64, 4 * 56 - 1, &image), -ENOEXEC);
}

/* --- scripts ---------------------------------------------------------------------------------- */

static void scripts(void **state)
{
    static const struct {
        const char *text;
        int result;
        const char *interpreter;
        const char *argument;
    } table[] = {
        { "#!/bin/sh\n", 1, "/bin/sh", "" },
        { "#!/bin/sh", 1, "/bin/sh", "" },
        { "#! \t/usr/bin/env  python3 -x \t\nrest", 1, "/usr/bin/env", "python3 -x" },
        { "#!/bin/sh -e\n", 1, "/bin/sh", "-e" },
        { "#!sh\n", 1, "sh", "" },
        { "#!\n", -ENOEXEC, "", "" },
        { "#!   ", -ENOEXEC, "", "" },
        { "#", 0, "", "" },
        { "", 0, "", "" },
        { "\x7f"
          "ELF",
          0, "", "" },
    };
    struct script_line line;
    char longest[SCRIPT_HEAD_SIZE + 10];

    (void)state;
    for (size_t i = 0; i < array_size(table); i++) {
        assert_int_equal(script_parse(table[i].text, strlen(table[i].text), &line),
                         table[i].result);
        if (table[i].result == 1) {
            assert_string_equal(line.interpreter, table[i].interpreter);
            assert_string_equal(line.argument, table[i].argument);
        }
    }
    memset(longest, 'x', sizeof(longest)); /* a name that does not end in the bytes that count */
    longest[0] = '#';
    longest[1] = '!';
    assert_int_equal(script_parse(longest, sizeof(longest), &line), -ENOEXEC);
    longest[100] = ' '; /* the argument may be cut */
    assert_int_equal(script_parse(longest, sizeof(longest), &line), 1);
    assert_int_equal(strlen(line.interpreter), 98);
}

/* --- boot arguments --------------------------------------------------------------------------- */

struct blob {
    struct boot_args header;
    char strings[64];
};

static struct blob good_blob(void)
{
    struct blob b = {
        .header = { .magic = BOOT_ARGS_MAGIC,
                    .version = BOOT_ARGS_VERSION,
                    .argc = 2,
                    .envc = 1,
                    .strings_offset = sizeof(struct boot_args) },
    };
    static const char strings[] = "prog\0arg\0A=b\0/tmp\0"; /* and an empty host name */

    memcpy(b.strings, strings, sizeof(strings));
    b.header.strings_size = sizeof(strings);
    b.header.size = (uint32_t)(sizeof(struct boot_args) + sizeof(strings));
    return b;
}

static void boot_arguments(void **state)
{
    struct blob b = good_blob();
    struct boot_args_view view;
    const char *pointers[8];
    const char *what = "";

    (void)state;
    assert_int_equal(boot_args_parse(&b, sizeof(b), pointers, 8, &view, &what), 0);
    assert_string_equal(view.argv[1], "arg");
    assert_null(view.argv[2]);
    assert_string_equal(view.envp[0], "A=b");
    assert_null(view.envp[1]);
    assert_string_equal(view.directory, "/tmp");
    assert_string_equal(view.host_name, "drupe");
    assert_int_equal(boot_args_parse(&b, sizeof(b), pointers, 4, &view, &what), -E2BIG);

    static const struct {
        size_t at;
        uint32_t value;
        int err;
    } table[] = {
        { 0, 7, -ENOENT },
        { offsetof(struct boot_args, version), 2, -EINVAL },
        { offsetof(struct boot_args, size), 95, -EINVAL },
        { offsetof(struct boot_args, size), 1u << 21, -EINVAL },
        { offsetof(struct boot_args, argc), 3, -EINVAL },
        { offsetof(struct boot_args, argc), UINT32_MAX, -EINVAL },
        { offsetof(struct boot_args, envc), UINT32_MAX, -EINVAL },
        { offsetof(struct boot_args, argc), 1, -EINVAL },
        { offsetof(struct boot_args, strings_offset), 1, -EINVAL },
        { offsetof(struct boot_args, strings_offset), UINT32_MAX, -EINVAL },
        { offsetof(struct boot_args, strings_size), UINT32_MAX, -EINVAL },
        { offsetof(struct boot_args, strings_size), 10, -EINVAL },
    };

    for (size_t i = 0; i < array_size(table); i++) {
        b = good_blob();
        memcpy((char *)&b + table[i].at, &table[i].value, sizeof(table[i].value));
        assert_int_equal(boot_args_parse(&b, sizeof(b), pointers, 8, &view, &what), table[i].err);
    }
    assert_int_equal(boot_args_parse(&b, 8, pointers, 8, &view, &what), -ENOENT);
}

/* --- strings ---------------------------------------------------------------------------------- */

static char byte_at(const struct exec_strings *s, uint64_t at)
{
    return ((const char *)page_address(s->pages[at / PAGE_SIZE]))[at % PAGE_SIZE];
}

static void strings_cross_pages(void **state)
{
    static char text[10000];
    struct exec_strings s;

    (void)state;
    memset(text, 'y', sizeof(text) - 1);
    exec_strings_init(&s, 1u << 20);
    assert_int_equal(exec_strings_add(&s, "first"), 0);
    assert_int_equal(exec_strings_add_user(&s, text), 0);
    assert_int_equal(exec_strings_add(&s, text), 0);
    assert_int_equal(exec_strings_add_user(&s, ""), 0);
    assert_int_equal(s.count, 4);
    assert_int_equal(s.offsets[1], 6);
    assert_int_equal(s.offsets[2], 6 + sizeof(text));
    assert_int_equal(s.size, 6 + 2 * sizeof(text) + 1);
    for (uint64_t i = 0; i < sizeof(text) - 1; i++) {
        assert_int_equal(byte_at(&s, s.offsets[1] + i), 'y');
        assert_int_equal(byte_at(&s, s.offsets[2] + i), 'y');
    }
    assert_int_equal(byte_at(&s, s.offsets[1] + sizeof(text) - 1), 0);
    assert_int_equal(byte_at(&s, s.offsets[3]), 0);
    exec_strings_deinit(&s);
}

static void string_limits(void **state)
{
    static char text[EXEC_STRING_MAX + 1];
    const char *array[] = { "a", "bb", "ccc", NULL };
    struct exec_strings s;
    uint32_t count = 0;

    (void)state;
    memset(text, 'z', sizeof(text) - 1);
    exec_strings_init(&s, 1u << 20);
    assert_int_equal(exec_strings_add_user(&s, text), -E2BIG);
    assert_int_equal(exec_strings_add(&s, text), -E2BIG);
    exec_strings_deinit(&s);

    exec_strings_init(&s, 4096);
    text[5000] = '\0';
    assert_int_equal(exec_strings_add_user(&s, text), -E2BIG);
    exec_strings_deinit(&s);

    exec_strings_init(&s, 40);
    assert_int_equal(exec_strings_add_user_array(&s, array, 1, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(exec_strings_add_user_array(&s, array, 0, &count),
                     -E2BIG); /* pointers count */
    exec_strings_deinit(&s);

    exec_strings_init(&s, 4096);
    host_bad_start = (uintptr_t)text;
    host_bad_end = host_bad_start + 1;
    assert_int_equal(exec_strings_add_user(&s, text), -EFAULT);
    host_bad_start = host_bad_end = 0;
    exec_strings_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elf_accepted),
        cmocka_unit_test(elf_refused),
        cmocka_unit_test(scripts),
        cmocka_unit_test(boot_arguments),
        cmocka_unit_test(strings_cross_pages),
        cmocka_unit_test(string_limits),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}
