/* SPDX-License-Identifier: Apache-2.0 */
/* The files that every root image has, beyond what packages and projects bring. */

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "../cli.h"
#include "pack.h"

static const struct {
    const char *path;
    mode_t permissions;
} dirs[] = {
    { "dev", 0755 },  { "etc", 0755 },      { "home", 0755 },    { "mnt", 0755 },
    { "proc", 0555 }, { "root", 0700 },     { "run", 0755 },     { "sys", 0555 },
    { "tmp", 01777 }, { "usr/bin", 0755 },  { "usr/lib", 0755 }, { "usr/lib64", 0755 },
    { "var", 0755 },  { "usr/sbin", 0755 }, { "var/lib", 0755 }, { "var/tmp", 01777 },
};

/* Debian's merged /usr, as its package usrmerge makes it. */
static const char *const merged[] = { "bin", "sbin", "lib", "lib64" };

static const struct {
    const char *path;
    const char *text;
} files[] = {
    { "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" },
    { "etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n" },
    { "etc/hosts", "127.0.0.1 localhost drupe\n::1 localhost\n" },
    { "etc/hostname", "drupe\n" },
    { "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n" },
    { "etc/host.conf", "multi on\n" },
};

int skeleton_add_dirs(struct image_tree *t)
{
    int err = 0;

    for (size_t i = 0; i < array_size(dirs) && err == 0; i++) {
        err = tree_add_dir(t, dirs[i].path, dirs[i].permissions);
    }
    for (size_t i = 0; i < array_size(merged) && err == 0; i++) {
        CLEANUP_FREE char *target = text_format("usr/%s", merged[i]);

        err = tree_add_symlink(t, merged[i], target);
    }
    if (err == 0) {
        err = tree_add_symlink(t, "var/run", "../run");
    }
    return err < 0 ? refuse_node("image", "the base directories", err) : 0;
}

int skeleton_add_files(struct image_tree *t)
{
    for (size_t i = 0; i < array_size(files); i++) {
        if (tree_find(t, files[i].path, false)) {
            continue;
        }
        int err = tree_add_bytes(t, files[i].path, 0644, files[i].text, strlen(files[i].text));

        if (err < 0) {
            return refuse_node("image", files[i].path, err);
        }
    }
    return 0;
}

/* One line of `busybox --list-full`: "bin/ls". */
static int add_applet(struct image_tree *t, const char *applet, const char *busybox_path)
{
    static const char *const places[] = { "bin", "sbin", "usr/bin", "usr/sbin" };
    const char *name = strrchr(applet, '/');

    if (!name || strcmp(++name, "busybox") == 0) {
        return 0; /* "linuxrc" is for initial RAM disks */
    }
    for (size_t i = 0; i < array_size(places); i++) {
        CLEANUP_FREE char *path = text_format("%s/%s", places[i], name);

        if (tree_find(t, path, false)) {
            return 0;
        }
    }
    int err = tree_add_symlink(t, applet, busybox_path);

    return err < 0 ? refuse_node("busybox", applet, err) : 0;
}

int skeleton_add_busybox(struct image_tree *t, const char *busybox_path, const char *host_busybox)
{
    CLEANUP_BUFFER list = { 0 };
    CLEANUP_BUFFER errors = { 0 };
    const char *const argv[] = { host_busybox, "--list-full", NULL };
    struct command c = { .argv = argv };
    char *state = NULL;

    if (command_run(&c, &list, &errors) != 0 || !list.data) {
        warn("%s does not list its applets; the image gets no links for them", host_busybox);
        return 0;
    }
    for (char *line = strtok_r(list.data, "\n", &state); line;
         line = strtok_r(NULL, "\n", &state)) {
        int status = add_applet(t, line, busybox_path);

        if (status != 0) {
            return status;
        }
    }
    return 0;
}

static int add_shell(struct image_tree *t)
{
    static const char *const shells[] = { "dash", "bash", "busybox" };

    if (tree_find(t, "bin/sh", true)) {
        return 0;
    }
    for (size_t i = 0; i < array_size(shells); i++) {
        CLEANUP_FREE char *path = text_format("usr/bin/%s", shells[i]);

        if (tree_find(t, path, true)) {
            int err = tree_add_symlink(t, "usr/bin/sh", shells[i]);

            return err < 0 ? refuse_node("image", "/bin/sh", err) : 0;
        }
    }
    return 0;
}

int skeleton_finish(struct image_tree *t)
{
    int status = add_shell(t);

    return status == 0 ? skeleton_add_ld_cache(t) : status;
}
