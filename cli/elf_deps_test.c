/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf_deps.h"

/* A small, valid, dynamic program: header, three program headers, dynamic section, strings. */
struct sample {
    Elf64_Ehdr header;
    Elf64_Phdr programs[3];
    Elf64_Dyn dynamic[5];
    char interpreter[16];
    char strings[48];
};

static void make_sample(struct sample *s)
{
    memset(s, 0, sizeof(*s));
    memcpy(s->header.e_ident, ELFMAG, SELFMAG);
    s->header.e_ident[EI_CLASS] = ELFCLASS64;
    s->header.e_ident[EI_DATA] = ELFDATA2LSB;
    s->header.e_type = ET_DYN;
    s->header.e_machine = EM_X86_64;
    s->header.e_phoff = offsetof(struct sample, programs);
    s->header.e_phentsize = sizeof(Elf64_Phdr);
    s->header.e_phnum = 3;
    s->programs[0] =
        (Elf64_Phdr){ .p_type = PT_LOAD, .p_filesz = sizeof(*s), .p_memsz = sizeof(*s) };
    s->programs[1] = (Elf64_Phdr){ .p_type = PT_DYNAMIC,
                                   .p_offset = offsetof(struct sample, dynamic),
                                   .p_filesz = sizeof(s->dynamic) };
    s->programs[2] = (Elf64_Phdr){ .p_type = PT_INTERP,
                                   .p_offset = offsetof(struct sample, interpreter),
                                   .p_filesz = 11 };
    memcpy(s->interpreter, "/lib/ld.so", 11);
    memcpy(s->strings, "\0libx.so\0$ORIGIN/y", 19);
    s->dynamic[0] = (Elf64_Dyn){ DT_NEEDED, { 1 } };
    s->dynamic[1] = (Elf64_Dyn){ DT_RUNPATH, { 9 } };
    s->dynamic[2] = (Elf64_Dyn){ DT_STRTAB, { offsetof(struct sample, strings) } };
    s->dynamic[3] = (Elf64_Dyn){ DT_STRSZ, { sizeof(s->strings) } };
}

static const char *read_bytes(const void *bytes, size_t size, struct elf_info *out)
{
    int fd = memfd_create("elf", MFD_CLOEXEC);
    const char *why = NULL;

    assert_int_equal(fd_write_all(fd, bytes, size), 0);
    why = elf_read(fd, out);
    (void)close(fd);
    return why;
}

static void reads_a_dynamic_program(void **state)
{
    struct sample s;
    struct elf_info info;

    (void)state;
    make_sample(&s);
    assert_null(read_bytes(&s, sizeof(s), &info));
    assert_int_equal(info.kind, ELF_KIND_DYNAMIC);
    assert_string_equal(info.interpreter, "/lib/ld.so");
    assert_int_equal(info.needed.count, 1);
    assert_string_equal(info.needed.items[0], "libx.so");
    assert_string_equal(info.runpath, "$ORIGIN/y");
    assert_null(info.rpath);
    elf_info_free(&info);
}

static void refuses(struct sample *s, size_t size, const char *holds)
{
    struct elf_info info;
    const char *why = read_bytes(s, size, &info);

    if (!why || !strstr(why, holds)) {
        fail_msg("\"%s\" lacks \"%s\"", why ? why : "(accepted)", holds);
    }
    assert_null(info.interpreter);
    make_sample(s);
}

static void refusals(void **state)
{
    struct sample s;

    (void)state;
    make_sample(&s);
    refuses(&s, 0, "not an ELF");
    refuses(&s, 63, "not an ELF");
    s.header.e_ident[0] = 'x';
    refuses(&s, sizeof(s), "not an ELF");
    s.header.e_machine = EM_AARCH64;
    refuses(&s, sizeof(s), "AArch64");
    s.header.e_machine = EM_386;
    s.header.e_ident[EI_CLASS] = ELFCLASS32;
    refuses(&s, sizeof(s), "32-bit x86");
    s.header.e_ident[EI_DATA] = ELFDATA2MSB;
    refuses(&s, sizeof(s), "big-endian");
    s.header.e_type = ET_REL;
    refuses(&s, sizeof(s), "object file");
    s.header.e_phoff = UINT64_MAX - 8;
    refuses(&s, sizeof(s), "truncated");
    s.header.e_phnum = 0;
    refuses(&s, sizeof(s), "truncated");
    s.programs[0].p_offset = UINT64_MAX;
    refuses(&s, sizeof(s), "truncated");
    s.programs[1].p_filesz = sizeof(s);
    refuses(&s, sizeof(s), "truncated");
    s.programs[2].p_filesz = UINT64_MAX;
    refuses(&s, sizeof(s), "truncated");
    s.interpreter[10] = 'x';
    refuses(&s, sizeof(s), "truncated");
    s.dynamic[0].d_un.d_val = UINT64_MAX;
    refuses(&s, sizeof(s), "truncated");
    s.dynamic[2].d_un.d_ptr = UINT64_MAX - 4;
    refuses(&s, sizeof(s), "truncated");
    memset(s.strings, 'a', sizeof(s.strings));
    refuses(&s, sizeof(s), "truncated");
}

static void every_prefix_is_refused(void **state)
{
    struct sample s;

    (void)state;
    make_sample(&s);
    for (size_t size = 0; size < sizeof(s); size++) {
        struct elf_info info;

        assert_non_null(read_bytes(&s, size, &info));
    }
}

static void closure_of_this_test(void **state)
{
    char path[4096] = "";
    struct elf_files files;
    char error[256];
    bool has_libc = false;

    (void)state;
    assert_true(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    assert_null(elf_closure(path, &files, error, sizeof(error)));
    assert_string_equal(files.paths.items[0], path);
    for (size_t i = 0; i < files.paths.count; i++) {
        has_libc = has_libc || strstr(files.paths.items[i], "/libc.so.6");
        assert_int_equal(access(files.paths.items[i], R_OK), 0);
    }
    assert_true(has_libc);
    elf_files_free(&files);
    assert_non_null(elf_closure("/etc/passwd", &files, error, sizeof(error)));
    assert_non_null(elf_closure("/nonexistent/program", &files, error, sizeof(error)));
    assert_int_equal(files.paths.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_dynamic_program),
        cmocka_unit_test(refusals),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(closure_of_this_test),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
