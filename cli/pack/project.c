/* SPDX-License-Identifier: Apache-2.0 */
/* A project's own files. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../cli.h"
#include "pack.h"

#define PROJECT_DEPTH_MAX 64u

static bool is_skipped(const char *name)
{
    return name[0] == '.' || strcmp(name, "__pycache__") == 0 || strcmp(name, "node_modules") == 0;
}

static int add_link(struct image_tree *t, const char *host_path, const char *guest_path, off_t size)
{
    CLEANUP_FREE char *target = alloc_zeroed((size_t)size + 2, 1);
    ssize_t n = readlink(host_path, target, (size_t)size + 1);

    if (n <= 0 || n > size) {
        return complain(STATUS_FAILED, "%s: the link cannot be read", host_path);
    }
    int err = tree_add_symlink(t, guest_path, target);

    return err < 0 ? refuse_node("pack", host_path, err) : 0;
}

static int add_dir(struct image_tree *t, const char *host_dir, const char *guest_dir,
                   unsigned depth);

static int add_one(struct image_tree *t, const char *host_path, const char *guest_path,
                   unsigned depth)
{
    struct stat st;

    if (lstat(host_path, &st) < 0) {
        return complain(STATUS_FAILED, "%s: %s", host_path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return add_dir(t, host_path, guest_path, depth + 1);
    }
    if (S_ISLNK(st.st_mode)) {
        return add_link(t, host_path, guest_path, st.st_size);
    }
    if (!S_ISREG(st.st_mode)) {
        warn("%s is not a file or directory and is left out", host_path);
        return 0;
    }
    if (access(host_path, R_OK) < 0) {
        return complain(STATUS_FAILED, "%s: cannot be read: %s", host_path, strerror(errno));
    }
    /* Two modes only, so that the umask of whoever checked the project out does not change the
     * image. */
    int err = tree_add_host_file(t, guest_path, st.st_mode & 0100 ? 0755 : 0644, host_path,
                                 (uint64_t)st.st_size);

    return err < 0 ? refuse_node("pack", host_path, err) : 0;
}

static int add_dir(struct image_tree *t, const char *host_dir, const char *guest_dir,
                   unsigned depth)
{
    struct dirent **entries = NULL;
    int err = tree_add_dir(t, guest_dir, 0755);

    if (err < 0) {
        return refuse_node("pack", guest_dir, err);
    }
    if (depth > PROJECT_DEPTH_MAX) {
        return complain(STATUS_FAILED, "%s: nested more than %u deep", host_dir, PROJECT_DEPTH_MAX);
    }
    int count = scandir(host_dir, &entries, NULL, alphasort);
    int status = 0;

    if (count < 0) {
        return complain(STATUS_FAILED, "%s: %s", host_dir, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        if (status == 0 && !is_skipped(entries[i]->d_name)) {
            CLEANUP_FREE char *host_path = path_join(host_dir, entries[i]->d_name);
            CLEANUP_FREE char *guest_path = path_join(guest_dir, entries[i]->d_name);

            status = add_one(t, host_path, guest_path, depth);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

int project_add_dir(struct image_tree *t, const char *host_dir, const char *guest_dir)
{
    return add_dir(t, host_dir, guest_dir, 0);
}
