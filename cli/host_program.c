/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `drupe run PROGRAM`. The image holds the program at its own absolute path, the loader and
 * libraries at theirs, and the base files. It is kept in <cache>/run/<key>.erofs beside
 * <key>.stamp, which lists the files that went in with their identity; while those are unchanged, a
 * start costs a few stat calls.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha256.h>

#include "cli.h"
#include "elf_deps.h"
#include "host_program.h"
#include "image/erofs.h"
#include "pack/pack.h"

#define STAMP_VERSION   "drupe-stamp 2"
#define STAMP_SIZE_MAX  ((size_t)1 << 20)
#define SCRIPT_LINE_MAX 256u

/* ---- Putting a program into a tree
 * --------------------------------------------------------------- */

static int add_file(struct image_tree *t, const char *verb, const char *host_path,
                    const char *guest_path, struct strings *used)
{
    struct stat st;

    if (stat(host_path, &st) < 0) {
        return complain(STATUS_FAILED, "%s: %s: %s", verb, host_path, strerror(errno));
    }
    if (used && !strings_has(used, host_path)) {
        strings_add(used, host_path);
    }
    if (tree_find(t, guest_path, true)) {
        return 0;
    }
    int err = tree_add_host_file(t, guest_path, st.st_mode & 0111 ? 0755 : 0644, host_path,
                                 (uint64_t)st.st_size);

    return err < 0 ? refuse_node(verb, host_path, err) : 0;
}

/* A library outside of the loader's own directories gets a link in one of them. */
static int add_library_link(struct image_tree *t, const char *verb, const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    CLEANUP_FREE char *link = text_format("/usr/lib/%s", name);
    int err = tree_find(t, link, true) ? 0 : tree_add_symlink(t, link, path);

    return err < 0 ? refuse_node(verb, path, err) : 0;
}

static int add_elf(struct image_tree *t, const char *verb, const char *host_path,
                   const char *guest_path, struct strings *used)
{
    struct elf_files files;
    char error[512];
    const char *why = elf_closure(host_path, &files, error, sizeof(error));
    int status = 0;

    if (why) {
        return complain(STATUS_FAILED, "%s: %s: %s", verb, host_path, why);
    }
    for (size_t i = 0; i < files.paths.count && status == 0; i++) {
        const char *path = files.paths.items[i];

        status = add_file(t, verb, path, i == 0 ? guest_path : path, used);
    }
    for (size_t i = 0; i < files.links.count && status == 0; i++) {
        status = add_library_link(t, verb, files.links.items[i]);
    }
    elf_files_free(&files);
    return status;
}

int host_program_add(struct image_tree *t, const char *verb, const char *host_path,
                     const char *guest_path)
{
    return add_elf(t, verb, host_path, guest_path, NULL);
}

/* "#!/usr/bin/env NAME" and "#!/path [argument]": the programs that run the script. */
static int add_interpreters(struct image_tree *t, const char *script, char *line,
                            struct strings *used)
{
    char *state = NULL;
    const char *interpreter = strtok_r(line + 2, " \t\r\n", &state);
    const char *argument = strtok_r(NULL, " \t\r\n", &state);

    if (!interpreter || interpreter[0] != '/') {
        return complain(STATUS_FAILED,
                        "%s: %s: its first line names no interpreter by an absolute path",
                        verb_running(), script);
    }
    const char *name = strrchr(interpreter, '/') + 1;
    int status = add_elf(t, "run", interpreter, interpreter, used);

    if (status == 0 && strcmp(name, "env") == 0 && argument && argument[0] != '-') {
        CLEANUP_FREE char *found = program_find(argument);

        if (!found) {
            return complain(STATUS_FAILED, "%s: %s: %s is not in PATH", verb_running(), script,
                            argument);
        }
        name = argument;
        status = add_elf(t, "run", found, found, used);
    }
    if (status == 0 && (strncmp(name, "python", 6) == 0 || strncmp(name, "perl", 4) == 0)) {
        warn("only %s itself goes into the machine, not its modules; drupe init makes a project "
             "with them",
             name);
    }
    return status;
}

static int add_program(struct image_tree *t, const char *path, struct strings *used)
{
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char line[SCRIPT_LINE_MAX + 1] = { 0 };

    if (fd < 0) {
        return complain(STATUS_FAILED, "%s: %s: %s", verb_running(), path, strerror(errno));
    }
    if (pread(fd, line, SCRIPT_LINE_MAX, 0) > 2 && line[0] == '#' && line[1] == '!') {
        int status = add_file(t, "run", path, path, used);

        line[strcspn(line, "\n")] = '\0';
        return status == 0 ? add_interpreters(t, path, line, used) : status;
    }
    return add_elf(t, "run", path, path, used);
}

/* ---- The stamp
 * ------------------------------------------------------------------------------------ */

static bool describe_file(const char *path, struct buffer *out)
{
    struct stat st;

    if (stat(path, &st) < 0 || strchr(path, '\n')) {
        return false;
    }
    buffer_format(out, "%" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 ".%09ld %s\n",
                  (uint64_t)st.st_dev, (uint64_t)st.st_ino, (int64_t)st.st_size,
                  (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, path);
    return true;
}

/* Does each line of the stamp still describe its file? */
static bool is_fresh(const char *stamp_path, const char *image)
{
    CLEANUP_BUFFER stamp = { 0 };
    CLEANUP_BUFFER now = { 0 };
    struct stat st;

    if (stat(image, &st) < 0 || file_read(stamp_path, STAMP_SIZE_MAX, &stamp) < 0 || !stamp.data) {
        return false;
    }
    buffer_format(&now, "%s %" PRId64 "\n", STAMP_VERSION, (int64_t)st.st_size);
    if (stamp.size <= now.size || memcmp(stamp.data, now.data, now.size) != 0) {
        return false;
    }
    for (const char *line = stamp.data + now.size; *line;) {
        const char *end = strchr(line, '\n');
        const char *path = strchr(line, '/');

        if (!end || !path || path > end) {
            return false;
        }
        CLEANUP_FREE char *file = text_copy_sized(path, (size_t)(end - path));

        now.size = 0;
        if (!describe_file(file, &now) || now.size != (size_t)(end + 1 - line) ||
            memcmp(now.data, line, now.size) != 0) {
            return false;
        }
        line = end + 1;
    }
    return true;
}

/* ---- The image
 * ------------------------------------------------------------------------------------ */

static bool is_busybox(const char *path)
{
    const char *name = strrchr(path, '/');

    return name && strcmp(name + 1, "busybox") == 0;
}

static int fill_tree(struct image_tree *t, const char *path, const char *given,
                     struct strings *used)
{
    int status = skeleton_add_dirs(t);

    if (status == 0) {
        status = add_program(t, path, used);
    }
    /* The name that the user gave may be a link to the file. */
    if (status == 0 && !tree_find(t, given, true)) {
        int err = tree_add_symlink(t, given, path);

        status = err < 0 ? refuse_node("run", given, err) : 0;
    }
    if (status == 0) {
        status = skeleton_add_files(t);
    }
    if (status == 0 && is_busybox(path)) {
        status = skeleton_add_busybox(t, path, path);
    }
    return status == 0 ? skeleton_finish(t) : status;
}

static int make_image(const char *path, const char *given, const char *image, const char *stamp)
{
    struct image_tree *t = tree_create();
    struct erofs_summary summary;
    CLEANUP_STRINGS used = { 0 };
    CLEANUP_BUFFER text = { 0 };
    bool is_described = true;
    int status = fill_tree(t, path, given, &used);

    for (size_t i = 0; i < used.count; i++) {
        is_described = describe_file(used.items[i], &text) && is_described;
    }
    (void)unlink(stamp);
    if (status == 0) {
        status = image_save(t, image, &summary);
    }
    tree_destroy(t);
    if (status == 0 && is_described) {
        CLEANUP_FREE char *whole = text_format("%s %" PRIu64 "\n%s", STAMP_VERSION, summary.size,
                                               text.data ? text.data : "");
        int err = file_replace(stamp, whole, strlen(whole), 0600);

        if (err < 0) {
            warn("%s: %s; the image is made again next time", stamp, strerror(-err));
        }
    }
    return status;
}

/* Where the program is: an absolute path whose last part may be a link. NULL after printing. */
static char *locate(const char *program, int *status)
{
    char *given = NULL;
    struct stat st;

    if (!strchr(program, '/')) {
        given = program_find(program);
        if (!given) {
            *status = complain(STATUS_FAILED,
                               "%s: %s: no such program in PATH; give a path, or -- %s "
                               "for a command of the project's image",
                               verb_running(), program, program);
            return NULL;
        }
    } else if (program[0] == '/') {
        given = text_copy(program);
    } else {
        CLEANUP_FREE char *cwd = getcwd(NULL, 0);

        given = path_join(cwd ? cwd : "/", program);
    }
    if (stat(given, &st) < 0) {
        *status = complain(STATUS_FAILED, "%s: %s: %s", verb_running(), program, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        *status = complain(STATUS_FAILED, "%s: %s: %s, not a program", verb_running(), program,
                           S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    } else if (access(given, R_OK) < 0) {
        *status = complain(STATUS_FAILED, "%s: %s: cannot be read: %s", verb_running(), program,
                           strerror(errno));
    } else {
        return given;
    }
    free(given);
    return NULL;
}

int host_image(const char *program, char **image_out, char **argv0_out)
{
    int status = STATUS_FAILED;
    char *given = locate(program, &status);
    uint8_t digest[EROFS_DIGEST_SIZE];
    char key[DIGEST_TEXT_SIZE];
    SHA2_CTX sha;

    if (!given) {
        return status;
    }
    CLEANUP_FREE char *path = realpath(given, NULL);
    CLEANUP_FREE char *dir = cache_dir("run");

    if (!path || !dir) {
        free(given);
        return complain(STATUS_FAILED, "%s: %s: %s", verb_running(),
                        path ? "the cache directory (set DRUPE_CACHE to another)" : program,
                        strerror(errno));
    }
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)given, strlen(given) + 1);
    SHA256Update(&sha, (const uint8_t *)path, strlen(path) + 1);
    SHA256Final(digest, &sha);
    digest_format(digest, key);
    key[32] = '\0';

    char *image = text_format("%s/%s.erofs", dir, key);
    CLEANUP_FREE char *stamp = text_format("%s/%s.stamp", dir, key);

    status = is_fresh(stamp, image) ? 0 : make_image(path, given, image, stamp);
    if (status != 0) {
        free(image);
        free(given);
        return status;
    }
    *image_out = image;
    *argv0_out = given;
    return 0;
}
