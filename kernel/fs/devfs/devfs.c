/* SPDX-License-Identifier: Apache-2.0 */
/* The file system of /dev (see devfs.h). */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/devfs/devfs.h>
#include <fs/fcntl.h>
#include <fs/tmpfs/tmpfs.h>

static struct name name_of(const char *text)
{
    size_t length = strlen(text);

    return (
        struct name){ .text = text, .length = (uint32_t)length, .hash = name_hash(text, length) };
}

/* Things of /dev that are no devices. */
static const struct fixture {
    const char *name;
    const char *target; /* symbolic link; NULL: a directory */
    uint32_t mode;
} fixtures[] = {
    { "fd", "/proc/self/fd", 0 },
    { "stdin", "/proc/self/fd/0", 0 },
    { "stdout", "/proc/self/fd/1", 0 },
    { "stderr", "/proc/self/fd/2", 0 },
    { "shm", NULL, 01777 },
    { "pts", NULL, 0755 },
};

static bool is_other(const char *text, const struct name *only)
{
    return only && (text[0] != only->text[0] || strncmp(text, only->text, only->length) != 0 ||
                    text[only->length] != '\0');
}

/* Made before, when somebody looked for it alone? */
static bool is_there(struct inode *root, const struct name *name)
{
    struct inode *there;

    if (root->ops->lookup(root, name, &there) < 0) {
        return false;
    }
    inode_put(there);
    return true;
}

/* Whoever looked first does not own what he saw. */
static int settle(int err, struct inode *made)
{
    if (err == 0) {
        made->uid = 0;
        made->gid = 0;
        inode_put(made);
    }
    return err;
}

static int add_fixture(struct inode *root, const struct fixture *f, const struct name *only)
{
    struct inode *made = NULL;

    if (is_other(f->name, only)) {
        return 0;
    }
    const struct name name = name_of(f->name);

    if (!only && is_there(root, &name)) {
        return 0;
    }
    int err = f->target ? root->ops->symlink(root, &name, f->target, &made)
                        : root->ops->mkdir(root, &name, f->mode, &made);

    return settle(err, made);
}

static int add_device(struct inode *root, const struct device_node *d, const struct name *only)
{
    struct inode *made = NULL;

    if (d->is_hidden || is_other(d->name, only)) {
        return 0;
    }
    const struct name name = name_of(d->name);

    if (!only && is_there(root, &name)) {
        return 0;
    }
    int err =
        root->ops->create(root, &name, (d->is_block ? S_IFBLK : S_IFCHR) | d->mode, d->dev, &made);

    return settle(err, made);
}

/*
 * At the first sight of a name make that, at the first listing all the rest: most programs open a
 * device or two. Root's lock held for writing. What there is no memory for is missing.
 */
static void fill(struct inode *root, const struct name *only)
{
    struct device_node *d = NULL;
    int err = 0;

    while (err == 0 && (d = device_after(d)) != NULL) {
        err = add_device(root, d, only);
    }
    for (unsigned n = 0; err == 0 && n < array_size(fixtures); n++) {
        err = add_fixture(root, &fixtures[n], only);
    }
}

static int devfs_mount(struct file_system *type, const char *source, unsigned flags,
                       const char *options, struct super_block **out)
{
    int err = tmpfs_type.mount(type, source, flags, options ? options : "mode=755", out);

    if (err == 0) {
        ((struct tmpfs *)(*out)->private)->fill = fill;
    }
    return err;
}

struct file_system devfs_type = { .name = "devtmpfs", .mount = devfs_mount };
