/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of `drupe pack`: resolve packages (apt.c), unpack them (deb.c), lay the base files
 * (skeleton.c), compile Python (bytecode.c), write the image (output.c). Each prints its own errors
 * and returns 0 or an exit status.
 */
#pragma once

#include <stdint.h>

#include <base/compiler.h>

#include "../files.h"
#include "../image/erofs.h"
#include "../image/tree.h"

/* ---- Packages ----------------------------------------------------------------------------------
 */

#define DIGEST_TEXT_SIZE 65u /* SHA-256 in hexadecimal and its NUL */

struct package {
    char *name;
    char *version;
    char *architecture;
    char *path; /* of the .deb in the cache */
    char digest[DIGEST_TEXT_SIZE];
};

struct packages {
    struct package *items; /* sorted by name */
    size_t count;
};

void packages_free(struct packages *p);

#define CLEANUP_PACKAGES __attribute__((cleanup(packages_free))) struct packages

/*
 * Find these packages and all that they depend on with apt's resolver, and bring their files into
 * the cache. Nothing is installed, and the host's package state is neither read nor changed; its
 * package lists are used when they are there, otherwise lists of our own are fetched first.
 */
int apt_resolve(const struct strings *names, struct packages *out) MUST_CHECK;

/* Bring exactly the packages of a lock file into the cache. */
int apt_fetch_locked(struct packages *locked) MUST_CHECK;

/* Unpack one package's files into the tree; what images do without (see deb.c) is left out. */
int deb_unpack(struct image_tree *t, const struct package *p) MUST_CHECK;

/* ---- env/ukernel.lock
 * ---------------------------------------------------------------------------- */

#define LOCK_PATH "env/ukernel.lock"

/* `names` is what the manifest asks for: a lock made for another list is stale. */
int lock_write(const struct strings *names, const struct packages *p) MUST_CHECK;
int lock_read(const struct strings *names, struct packages *out) MUST_CHECK;

/* ---- The image's contents
 * ------------------------------------------------------------------------ */

/*
 * What every root has: the merged /usr directories, /etc/passwd, group, hosts, nsswitch.conf,
 * /tmp, /proc, /dev, /run, ... Before packages are unpacked, whose own files then win.
 */
int skeleton_add_dirs(struct image_tree *t) MUST_CHECK;
int skeleton_add_files(struct image_tree *t) MUST_CHECK; /* only those that are missing */

/* Applet links for busybox, where no other program has the name. */
int skeleton_add_busybox(struct image_tree *t, const char *busybox_path,
                         const char *host_busybox) MUST_CHECK;

/* /etc/ld.so.cache for the libraries in the loader's own directories. */
int skeleton_add_ld_cache(struct image_tree *t) MUST_CHECK;

/* What packages' maintainer scripts would do and programs rely on: /bin/sh, ld.so's cache. */
int skeleton_finish(struct image_tree *t) MUST_CHECK;

/*
 * Compile all Python modules of the tree with the tree's own interpreter, started on the host with
 * its own libraries. `version_out` (may be NULL) gets "3.11"; it stays NULL without a Python.
 */
int bytecode_compile(struct image_tree *t, const struct packages *packages,
                     char **version_out) MUST_CHECK;

/* The project's files below `host_dir`, as `guest_dir`: no hidden files, caches or special files.
 */
int project_add_dir(struct image_tree *t, const char *host_dir, const char *guest_dir) MUST_CHECK;

/* ---- Writing
 * -------------------------------------------------------------------------------------- */

/* Write the tree to `path` by way of a temporary name; nothing is left behind on failure. */
int image_save(struct image_tree *t, const char *path, struct erofs_summary *out) MUST_CHECK;

void digest_format(const uint8_t digest[EROFS_DIGEST_SIZE], char out[DIGEST_TEXT_SIZE]);

/* SHA-256 of a file; 0 or a negative errno. */
int digest_file(const char *path, char out[DIGEST_TEXT_SIZE]) MUST_CHECK;

/* Print that `path` cannot be added to the image, and why; returns STATUS_FAILED. */
int refuse_node(const char *origin, const char *path, int err);
