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

static int add_link(struct inode *root, const char *text, const char *target)
{
    const struct name name = name_of(text);
    struct inode *made;
    int err = root->ops->symlink(root, &name, target, &made);

    if (err == 0) {
        inode_put(made);
    }
    return err;
}

static int add_directory(struct inode *root, const char *text, uint32_t mode)
{
    const struct name name = name_of(text);
    struct inode *made;
    int err = root->ops->mkdir(root, &name, mode, &made);

    if (err == 0) {
        made->uid = 0;
        made->gid = 0;
        inode_put(made);
    }
    return err;
}

static int add_device(struct inode *root, const struct device_node *d)
{
    const struct name name = name_of(d->name);
    struct inode *made;
    int err =
        root->ops->create(root, &name, (d->is_block ? S_IFBLK : S_IFCHR) | d->mode, d->dev, &made);

    if (err == 0) {
        made->uid = 0;
        made->gid = 0;
        inode_put(made);
    }
    return err;
}

/* Called once, root's lock held for writing. What there is no memory for is missing. */
static void fill(struct inode *root)
{
    const struct device_node *d;
    int err = 0;

    for (unsigned n = 0; err == 0 && (d = device_at(n)) != NULL; n++) {
        err = add_device(root, d);
    }
    if (err == 0) {
        err = add_link(root, "fd", "/proc/self/fd");
    }
    if (err == 0) {
        err = add_link(root, "stdin", "/proc/self/fd/0");
    }
    if (err == 0) {
        err = add_link(root, "stdout", "/proc/self/fd/1");
    }
    if (err == 0) {
        err = add_link(root, "stderr", "/proc/self/fd/2");
    }
    if (err == 0) {
        err = add_directory(root, "shm", 01777);
    }
    if (err == 0) {
        err = add_directory(root, "pts", 0755);
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
