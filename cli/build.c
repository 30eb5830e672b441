/* SPDX-License-Identifier: Apache-2.0 */
/* drupe build: compile a C project, check the syntax of a Python one. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "manifest.h"
#include "options.h"
#include "project.h"

struct build_options {
    bool is_dynamic;
    bool is_debug;
    const char *compiler;
};

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    size_t end_size = strlen(end);

    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* The sources: every file of that kind in the entry's directory and below, sorted. */
static void find_sources(const char *dir, const char *suffix, unsigned depth, struct strings *out)
{
    struct dirent **entries = NULL;
    int count = depth < 32 ? scandir(dir, &entries, NULL, alphasort) : 0;

    for (int i = 0; i < count; i++) {
        CLEANUP_FREE char *path = path_join(dir, entries[i]->d_name);
        struct stat st;

        if (entries[i]->d_name[0] != '.' && lstat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode)) {
                find_sources(path, suffix, depth + 1, out);
            } else if (ends_with(path, suffix)) {
                strings_add(out, path);
            }
        }
        free(entries[i]);
    }
    free(entries);
}

static char *dir_of_entry(const struct manifest *m)
{
    const char *slash = strrchr(m->entry, '/');

    return slash ? text_copy_sized(m->entry, (size_t)(slash - m->entry)) : text_copy(".");
}

static int build_c(const struct manifest *m, const struct build_options *o)
{
    CLEANUP_FREE char *dir = dir_of_entry(m);
    CLEANUP_FREE char *program = project_program(m);
    CLEANUP_STRINGS sources = { 0 };
    CLEANUP_STRINGS argv = { 0 };
    const char *cc = o->compiler ? o->compiler : getenv("CC");

    if (!ends_with(m->entry, ".c")) {
        return complain(STATUS_USAGE,
                        "%s: project.entry = \"%s\": a C project's entry is a .c file",
                        MANIFEST_NAME, m->entry);
    }
    if (access(m->entry, R_OK) < 0) {
        return complain(STATUS_FAILED, "%s: project.entry = \"%s\": %s", MANIFEST_NAME, m->entry,
                        strerror(errno));
    }
    if (strcmp(dir, ".") == 0) {
        strings_add(&sources, m->entry); /* dist/ and build/ lie here as well: only what is named */
    } else {
        find_sources(dir, ".c", 0, &sources);
    }
    strings_add(&argv, cc && *cc ? cc : "cc");
    strings_add(&argv, "-std=gnu17");
    strings_add(&argv, o->is_debug ? "-Og" : "-O2");
    strings_add(&argv, "-g");
    strings_add(&argv, "-Wall");
    /* No path or time of this host in the program: equal sources give equal bytes. */
    CLEANUP_FREE char *cwd = getcwd(NULL, 0);

    strings_take(&argv, text_format("-ffile-prefix-map=%s=/app", cwd ? cwd : "/"));
    if (!o->is_dynamic) {
        strings_add(&argv, "-static");
    }
    strings_add(&argv, "-o");
    strings_add(&argv, program);
    for (size_t i = 0; i < sources.count; i++) {
        strings_add(&argv, sources.items[i]);
    }
    strings_add(&argv, "-lm");

    int err = dirs_make("build", 0755);
    struct command c = { .argv = (const char *const *)argv.items };

    if (err < 0) {
        return complain(STATUS_FAILED, "build: build: %s", strerror(-err));
    }
    int status = command_run(&c, NULL, NULL);

    if (status == -ENOENT) {
        return complain(STATUS_HOST,
                        "build: no C compiler %s on this host; install gcc, or name one with "
                        "--cc",
                        argv.items[0]);
    }
    if (status != 0) {
        return complain(STATUS_FAILED, "build: %s failed (its messages are above)", argv.items[0]);
    }
    (void)printf("Built %s\n", program);
    return 0;
}

static int build_python(const struct manifest *m)
{
    static const char script[] = "import sys\n"
                                 "bad = 0\n"
                                 "for path in sys.argv[1:]:\n"
                                 "    try:\n"
                                 "        compile(open(path, 'rb').read(), path, 'exec')\n"
                                 "    except SyntaxError as e:\n"
                                 "        bad = 1\n"
                                 "        print(f'{path}:{e.lineno}: {e.msg}', file=sys.stderr)\n"
                                 "    except ValueError as e:\n"
                                 "        bad = 1\n"
                                 "        print(f'{path}: {e}', file=sys.stderr)\n"
                                 "sys.exit(bad)\n";
    CLEANUP_FREE char *dir = dir_of_entry(m);
    CLEANUP_STRINGS argv = { 0 };

    if (access(m->entry, R_OK) < 0) {
        return complain(STATUS_FAILED, "%s: project.entry = \"%s\": %s", MANIFEST_NAME, m->entry,
                        strerror(errno));
    }
    strings_add(&argv, "python3");
    strings_add(&argv, "-I");
    strings_add(&argv, "-c");
    strings_add(&argv, script);
    if (strcmp(dir, ".") == 0) {
        strings_add(&argv, m->entry);
    } else {
        find_sources(dir, ".py", 0, &argv);
    }
    struct command c = { .argv = (const char *const *)argv.items };
    int status = command_run(&c, NULL, NULL);

    if (status == -ENOENT) {
        (void)printf("Nothing to build (no python3 here to check the syntax)\n");
        return 0;
    }
    if (status != 0) {
        return complain(STATUS_FAILED, "build: the sources have errors (above)");
    }
    (void)printf("Checked %zu Python files\n", argv.count - 4);
    return 0;
}

static int run_build(int argc, char **argv)
{
    struct build_options o = { 0 };
    bool is_release = false;
    const struct option_spec specs[] = {
        { .name = "cc", .kind = OPTION_TEXT, .out = &o.compiler },
        { .name = "dynamic", .kind = OPTION_FLAG, .out = &o.is_dynamic },
        { .name = "debug", .kind = OPTION_FLAG, .out = &o.is_debug },
        { .name = "release", .kind = OPTION_FLAG, .out = &is_release },
    };
    CLEANUP_MANIFEST m = { 0 };
    struct operands operands;
    int status = options_of_verb(&verb_build, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "build: takes no arguments; see drupe build --help");
    }
    status = manifest_load(&m);
    if (status != 0) {
        return status;
    }
    switch (m.language) {
    case LANGUAGE_C:
        return build_c(&m, &o);
    case LANGUAGE_PYTHON:
        return build_python(&m);
    case LANGUAGE_LINUX_ELF:
        (void)printf("Nothing to build: the entry is a program already\n");
        return 0;
    }
    return STATUS_FAILED;
}

const struct verb verb_build = {
    .name = "build",
    .summary = "compile the project",
    .help =
        "usage: drupe build [OPTIONS]\n\n"
        "C: compiles all .c files beside the entry and below into build/NAME, a static program.\n"
        "Python: checks the syntax. linux-elf: nothing to do.\n\n"
        "options:\n"
        "  --cc COMMAND  the compiler (default: $CC, then cc)\n"
        "  --dynamic     link to this host's libraries; drupe pack takes them along\n"
        "  --debug       optimise for the debugger\n"
        "  --release     optimise for speed (the default)\n\n"
        "example:\n"
        "  drupe build && drupe pack && drupe run\n",
    .run = run_build,
};
