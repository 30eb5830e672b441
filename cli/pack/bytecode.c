/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python's bytecode, made when packing: a guest would otherwise compile each module at every start,
 * because its writable layer is new each time.
 *
 * The compiler is the image's own Python with the image's own C library, started on the host
 * (Debian's maintainer scripts would do the same at installation). The packages' part is kept
 * in the cache, keyed by their hashes: <cache>/python/<key>/ is an unpacked tree with its
 * __pycache__ directories. Bytecode is marked "unchecked", so that no guest compares it with the
 * source, and holds no time or host path: equal input gives equal bytes.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha256.h>

#include "../cli.h"
#include "pack.h"

#define BYTECODE_SIZE_MAX ((size_t)64 << 20)

#define LOADER "/lib64/ld-linux-x86-64.so.2"

/* One process, files in sorted order, a fixed hash seed: marshal's output depends on all three. */
static const char compile_script[] =
    "import compileall, py_compile, sys\n"
    "root = sys.argv[1]\n"
    "for path in sys.argv[2:]:\n"
    "    compileall.compile_dir(root + path, maxlevels=20, ddir=None, stripdir=root, "
    "prependdir='/',\n"
    "        quiet=2, force=True, "
    "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)\n";

/* The newest /usr/bin/python3.N of the tree: its minor version, or -1. */
static int find_python(struct image_tree *t)
{
    const struct image_node *bin = tree_find(t, "usr/bin", true);
    int best = -1;

    for (size_t i = 0; bin && i < bin->child_count; i++) {
        const char *name = bin->children[i]->name;

        if (strncmp(name, "python3.", 8) == 0 &&
            strspn(name + 8, "0123456789") == strlen(name + 8) && strlen(name) <= 11 && name[8]) {
            best = max_of(best, (int)strtol(name + 8, NULL, 10));
        }
    }
    return best;
}

static int extract_part(struct image_tree *t, const char *path, const char *dir)
{
    CLEANUP_FREE char *to = path_join(dir, path);
    CLEANUP_FREE char *parent = text_copy(to);
    char *slash = strrchr(parent, '/');

    if (!tree_find(t, path, true)) {
        return 0;
    }
    *slash = '\0';
    int err = dirs_make(parent, 0700);

    if (err == 0) {
        err = tree_extract(t, path, to);
    }
    return err < 0 ? complain(STATUS_FAILED, "pack: %s: %s", to, strerror(-err)) : 0;
}

/* What the interpreter needs to run: /usr/lib (its modules, the C library), itself, the loader. */
static int extract_interpreter(struct image_tree *t, int minor, const char *dir)
{
    CLEANUP_FREE char *python = text_format("/usr/bin/python3.%d", minor);
    CLEANUP_FREE char *lib = path_join(dir, "lib");
    CLEANUP_FREE char *lib64 = path_join(dir, "lib64");
    int status = extract_part(t, "/usr/lib", dir);

    if (status == 0) {
        status = extract_part(t, "/usr/lib64", dir);
    }
    if (status == 0) {
        status = extract_part(t, python, dir);
    }
    if (status == 0 && (symlink("usr/lib", lib) < 0 || symlink("usr/lib64", lib64) < 0)) {
        status = complain(STATUS_FAILED, "pack: %s: %s", lib, strerror(errno));
    }
    return status;
}

/* Compile the directories `paths` below `root` with the Python unpacked in `sysroot`. */
static int run_compiler(const char *sysroot, int minor, const char *root, const char *const *paths)
{
    CLEANUP_FREE char *home = text_format("PYTHONHOME=%s/usr", sysroot);
    const char *const env[] = { home,           "PYTHONHASHSEED=0",   "PYTHONDONTWRITEBYTECODE=1",
                                "LANG=C.UTF-8", "PATH=/usr/bin:/bin", NULL };
    CLEANUP_STRINGS argv = { 0 };
    CLEANUP_BUFFER output = { 0 };
    CLEANUP_BUFFER errors = { 0 };

    strings_take(&argv, text_format("%s%s", sysroot, LOADER));
    strings_add(&argv, "--library-path");
    strings_take(&argv, text_format("%s/usr/lib/x86_64-linux-gnu:%s/usr/lib", sysroot, sysroot));
    strings_take(&argv, text_format("%s/usr/bin/python3.%d", sysroot, minor));
    strings_add(&argv, "-sS");
    strings_add(&argv, "-c");
    strings_add(&argv, compile_script);
    strings_add(&argv, root);
    for (; *paths; paths++) {
        strings_add(&argv, *paths);
    }
    struct command c = { .argv = (const char *const *)argv.items, .env = env };
    int status = command_run(&c, &output, &errors);

    if (status != 0) {
        return complain(STATUS_FAILED,
                        "pack: the image's Python cannot compile its modules: %.200s",
                        status < 0    ? strerror(-status)
                        : errors.data ? errors.data
                                      : "it ended without a message");
    }
    return 0;
}

static int add_bytecode(struct image_tree *t, const char *host_path, const char *guest_path)
{
    CLEANUP_BUFFER bytes = { 0 };
    int err = file_read(host_path, BYTECODE_SIZE_MAX, &bytes);

    if (err == 0) {
        err = tree_add_bytes(t, guest_path, 0644, bytes.data, bytes.size);
    }
    return err < 0 ? refuse_node("pack", guest_path, err) : 0;
}

/* Add every file of a __pycache__ directory below host_dir to the tree. */
static int collect(struct image_tree *t, const char *host_dir, const char *guest_dir, bool is_cache)
{
    struct dirent **entries = NULL;
    int count = scandir(host_dir, &entries, NULL, alphasort);
    int status = 0;

    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        CLEANUP_FREE char *host_path = path_join(host_dir, name);
        CLEANUP_FREE char *guest_path = path_join(guest_dir, name);
        struct stat st;

        if (status == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
            lstat(host_path, &st) == 0) {
            if (S_ISDIR(st.st_mode)) {
                status = collect(t, host_path, guest_path, strcmp(name, "__pycache__") == 0);
            } else if (is_cache && S_ISREG(st.st_mode)) {
                status = add_bytecode(t, host_path, guest_path);
            }
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

static void make_key(const struct packages *packages, char out[DIGEST_TEXT_SIZE])
{
    uint8_t digest[EROFS_DIGEST_SIZE];
    SHA2_CTX sha;

    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)compile_script, sizeof(compile_script));
    for (size_t i = 0; i < packages->count; i++) {
        SHA256Update(&sha, (const uint8_t *)packages->items[i].digest, DIGEST_TEXT_SIZE);
    }
    SHA256Final(digest, &sha);
    digest_format(digest, out);
    out[32] = '\0';
}

/* Unpack and compile into a directory of our own, then give it its name: half-made ones are never
 * used. */
static int make_sysroot(struct image_tree *t, int minor, const char *sysroot)
{
    CLEANUP_FREE char *temporary = text_format("%s.tmp-%d", sysroot, (int)getpid());
    static const char *const paths[] = { "/usr/lib/python3", NULL };
    CLEANUP_FREE char *own = text_format("/usr/lib/python3.%d", minor);
    const char *const all[] = { own, paths[0], NULL };
    int err = dirs_make(temporary, 0700);

    if (err < 0) {
        return complain(STATUS_FAILED, "pack: %s: %s", temporary, strerror(-err));
    }
    progress("compiling Python's modules (once for these packages)");
    int status = extract_interpreter(t, minor, temporary);

    if (status == 0) {
        status = run_compiler(temporary, minor, temporary, all);
    }
    if (status == 0 && rename(temporary, sysroot) < 0 && errno != EEXIST && errno != ENOTEMPTY) {
        status = complain(STATUS_FAILED, "pack: %s: %s", sysroot, strerror(errno));
    }
    tree_remove(temporary);
    progress_end();
    return status;
}

static int compile_project(struct image_tree *t, int minor, const char *sysroot)
{
    static const char *const paths[] = { "/app", NULL };

    if (!tree_find(t, "app", true)) {
        return 0;
    }
    CLEANUP_FREE char *temporary = text_format("%s.app-%d", sysroot, (int)getpid());
    CLEANUP_FREE char *app = path_join(temporary, "app");
    int status = extract_part(t, "/app", temporary);

    if (status == 0) {
        status = run_compiler(sysroot, minor, temporary, paths);
    }
    if (status == 0) {
        status = collect(t, app, "/app", false);
    }
    tree_remove(temporary);
    return status;
}

int bytecode_compile(struct image_tree *t, const struct packages *packages, char **version_out)
{
    CLEANUP_FREE char *dir = cache_dir("python");
    char key[DIGEST_TEXT_SIZE];
    int minor = find_python(t);

    if (minor < 0) {
        return 0;
    }
    *version_out = text_format("3.%d", minor);
    if (!tree_find(t, LOADER, true)) {
        warn("the image's Python cannot run on this host; its modules stay uncompiled");
        return 0;
    }
    if (!dir) {
        return complain(STATUS_FAILED, "pack: the cache directory cannot be made: %s",
                        strerror(errno));
    }
    remove_stale(dir);
    make_key(packages, key);
    CLEANUP_FREE char *sysroot = path_join(dir, key);
    CLEANUP_FREE char *lib = path_join(sysroot, "usr/lib");
    struct stat st;
    int status = stat(sysroot, &st) == 0 ? 0 : make_sysroot(t, minor, sysroot);

    if (status == 0) {
        status = collect(t, lib, "/usr/lib", false);
    }
    return status == 0 ? compile_project(t, minor, sysroot) : status;
}
