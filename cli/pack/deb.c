/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpack a Debian package (deb(5): an ar archive whose member data.tar.* holds the files) into the
 * tree. libarchive reads both layers. It is opened when it is needed rather than linked, because it
 * and the nine libraries behind it would cost every `drupe run` several milliseconds.
 *
 * Maintainer scripts are not run. Left out, because programs run without them: manuals,
 * documentation (but each package's copyright file stays), translations, and what only packaging
 * tools read.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <archive.h>
#include <archive_entry.h>

#include "../cli.h"
#include "pack.h"

#define LIBRARY "libarchive.so.13"

/* The calls that we use, under their own names and types. */
#define CALLS(X)                                                                                   \
    X(archive_read_new)                                                                            \
    X(archive_read_free)                                                                           \
    X(archive_read_support_format_ar)                                                              \
    X(archive_read_support_format_tar)                                                             \
    X(archive_read_support_filter_all)                                                             \
    X(archive_read_open_filename)                                                                  \
    X(archive_read_open)                                                                           \
    X(archive_read_next_header)                                                                    \
    X(archive_read_data)                                                                           \
    X(archive_error_string)                                                                        \
    X(archive_entry_pathname)                                                                      \
    X(archive_entry_symlink)                                                                       \
    X(archive_entry_hardlink)                                                                      \
    X(archive_entry_mode)                                                                          \
    X(archive_entry_uid)                                                                           \
    X(archive_entry_gid)                                                                           \
    X(archive_entry_rdev)

#define DECLARE(name) __typeof__(name) *(name);

static struct {
    void *library;
    CALLS(DECLARE)
} lib;

#undef DECLARE

static int library_open(void)
{
    if (lib.library) {
        return 0;
    }
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    bool is_complete = library != NULL;

#define RESOLVE(name)                                                                              \
    lib.name = library ? (__typeof__(lib.name))(uintptr_t)dlsym(library, #name) : NULL;            \
    is_complete = is_complete && lib.name != NULL;
    CALLS(RESOLVE)
#undef RESOLVE

    if (!is_complete) {
        return complain(STATUS_HOST, "pack: %s cannot be used; install the package libarchive13",
                        LIBRARY);
    }
    lib.library = library;
    return 0;
}

/* ---- What is left out
 * ---------------------------------------------------------------------------- */

static bool is_left_out(const char *path)
{
    static const char *const patterns[] = {
        "usr/share/man/*",     "usr/share/info/*",   "usr/share/locale/*",
        "usr/share/lintian/*", "usr/share/bug/*",    "usr/share/doc-base/*",
        "usr/share/doc/*",     "usr/share/apport/*", "usr/share/bash-completion/*",
    };

    if (fnmatch("usr/share/doc/*/copyright", path, FNM_PATHNAME) == 0) {
        return false;
    }
    for (size_t i = 0; i < array_size(patterns); i++) {
        if (fnmatch(patterns[i], path, 0) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- One entry
 * ------------------------------------------------------------------------------------ */

struct unpack {
    struct image_tree *tree;
    const struct package *package;
    struct archive *outer;
    struct archive *inner;
    char chunk[65536];
};

static int refuse_archive(const struct unpack *u, struct archive *a)
{
    const char *text = lib.archive_error_string(a);

    return complain(STATUS_FAILED, "pack: %s: %s", u->package->path,
                    text ? text : "the package is damaged");
}

static int add_regular(struct unpack *u, const char *path, mode_t mode, struct image_node **out)
{
    int err = tree_add_spooled(u->tree, path, mode & 07777, out);

    while (err == 0) {
        la_ssize_t n = lib.archive_read_data(u->inner, u->chunk, sizeof(u->chunk));

        if (n < 0) {
            return refuse_archive(u, u->inner);
        }
        if (n == 0) {
            return 0;
        }
        err = tree_spool(u->tree, *out, u->chunk, (size_t)n);
    }
    return err < 0 ? refuse_node(u->package->path, path, err) : 0;
}

static int add_special(struct unpack *u, struct archive_entry *e, const char *path, mode_t mode)
{
    const char *symlink_target = lib.archive_entry_symlink(e);
    dev_t device = lib.archive_entry_rdev(e);
    int err = -EINVAL;

    if (S_ISDIR(mode)) {
        err = tree_add_dir(u->tree, path, mode & 07777);
    } else if (S_ISLNK(mode) && symlink_target) {
        err = tree_add_symlink(u->tree, path, symlink_target);
    } else {
        err = tree_add_device(u->tree, path, mode, major(device), minor(device));
    }
    return err < 0 ? refuse_node(u->package->path, path, err) : 0;
}

static int add_entry(struct unpack *u, struct archive_entry *e)
{
    const char *path = lib.archive_entry_pathname(e);
    const char *link_target = lib.archive_entry_hardlink(e);
    mode_t mode = lib.archive_entry_mode(e);
    struct image_node *n = NULL;

    if (!path) {
        return complain(STATUS_FAILED, "pack: %s: a file without a name", u->package->path);
    }
    while (strncmp(path, "./", 2) == 0 || *path == '/') {
        path += *path == '/' ? 1 : 2;
    }
    if (*path == '\0' || strcmp(path, ".") == 0 || is_left_out(path)) {
        return 0;
    }
    if (link_target) {
        int err = tree_add_hard_link(u->tree, path, link_target);

        return err < 0 ? refuse_node(u->package->path, path, err) : 0;
    }
    int status = S_ISREG(mode) ? add_regular(u, path, mode, &n) : add_special(u, e, path, mode);

    if (status == 0 && !S_ISDIR(mode)) {
        n = tree_find(u->tree, path, false);
    }
    if (status == 0 && n) {
        n->uid = (uint32_t)lib.archive_entry_uid(e);
        n->gid = (uint32_t)lib.archive_entry_gid(e);
    }
    return status;
}

/* ---- The two layers
 * ------------------------------------------------------------------------------- */

/* libarchive asks for the inner archive's bytes: they are the outer one's current member. */
static la_ssize_t read_member(struct archive *inner, void *ctx, const void **out)
{
    struct unpack *u = ctx;
    static char member[65536];

    (void)inner;
    *out = member;
    return lib.archive_read_data(u->outer, member, sizeof(member));
}

static int unpack_data(struct unpack *u)
{
    struct archive_entry *e = NULL;
    int status = 0;

    u->inner = lib.archive_read_new();
    if (!u->inner) {
        return complain(STATUS_FAILED, "out of memory");
    }
    (void)lib.archive_read_support_format_tar(u->inner);
    (void)lib.archive_read_support_filter_all(u->inner);
    if (lib.archive_read_open(u->inner, u, NULL, read_member, NULL) != ARCHIVE_OK) {
        status = refuse_archive(u, u->inner);
    }
    while (status == 0) {
        int r = lib.archive_read_next_header(u->inner, &e);

        if (r == ARCHIVE_EOF) {
            break;
        }
        status = r < ARCHIVE_WARN ? refuse_archive(u, u->inner) : add_entry(u, e);
    }
    (void)lib.archive_read_free(u->inner);
    return status;
}

static int find_data(struct unpack *u)
{
    struct archive_entry *e = NULL;

    if (lib.archive_read_open_filename(u->outer, u->package->path, 65536) != ARCHIVE_OK) {
        return refuse_archive(u, u->outer);
    }
    for (;;) {
        int r = lib.archive_read_next_header(u->outer, &e);
        const char *name =
            r >= ARCHIVE_WARN && r != ARCHIVE_EOF ? lib.archive_entry_pathname(e) : NULL;

        if (r == ARCHIVE_EOF) {
            return complain(STATUS_FAILED, "pack: %s: no data in the package", u->package->path);
        }
        if (r < ARCHIVE_WARN) {
            return refuse_archive(u, u->outer);
        }
        if (name && strncmp(name, "data.tar", 8) == 0) {
            return unpack_data(u);
        }
    }
}

int deb_unpack(struct image_tree *t, const struct package *p)
{
    int status = library_open();

    if (status != 0) {
        return status;
    }
    struct unpack *u = alloc_zeroed(1, sizeof(*u));

    u->tree = t;
    u->package = p;
    u->outer = lib.archive_read_new();
    if (u->outer) {
        (void)lib.archive_read_support_format_ar(u->outer);
        status = find_data(u);
        (void)lib.archive_read_free(u->outer);
    } else {
        status = complain(STATUS_FAILED, "out of memory");
    }
    free(u);
    return status;
}
