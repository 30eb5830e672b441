/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root at boot: an EROFS image in memory or on a block device with a writable layer above, or a
 * tmpfs filled from a cpio ramdisk; then /dev, /proc and /sys.
 */
#include <abi/boot.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <drivers/pty.h>
#include <fs/cpio.h>
#include <fs/dentry.h>
#include <fs/dev.h>
#include <fs/devfs/devfs.h>
#include <fs/fcntl.h>
#include <fs/options.h>
#include <fs/p9/p9.h>
#include <fs/procfs/procfs.h>
#include <fs/tmpfs/tmpfs.h>
#include <mm/page.h>
#include <mm/reclaim.h>

/* The value of a command-line option, terminated; "" when it is absent. */
static void option_text(const char *key, char *buf, size_t size)
{
    size_t length = 0;
    const char *text = boot_option(key, &length);

    buf[0] = '\0';
    if (text && length < size) {
        memcpy(buf, text, length);
        buf[length] = '\0';
    }
}

static int fail(const char *what, const char *why, int err)
{
    log_error("boot: root %s: %s (error %d)", what, why, -err);
    return err;
}

static int mount_image(struct erofs_image *image, const char *name, const char *options)
{
    bool is_read_only = mount_option_is_set(options, "ro");
    unsigned skip = mount_option_is_set(options, "nochecksum") ? EROFS_SKIP_CHECKSUM : 0u;
    const char *why = "";
    struct super_block *sb;
    int err = tmpfs_mount_image(is_read_only ? &erofs_type : &overlay_type, image,
                                is_read_only ? MS_RDONLY : 0, skip, options, &why, &sb);

    if (err < 0) {
        return fail(name, why, err);
    }
    err = mount_super(sb, name, NULL, is_read_only ? MS_RDONLY : 0);
    if (err < 0) {
        super_put(sb);
        return fail(name, "cannot be mounted", err);
    }
    return 0;
}

static int mount_memory(const char *options)
{
    const struct phys_range *r = &boot_info.root_image;
    struct erofs_image image = { .pa = r->start, .size = r->size };
    int err = pt_direct_map(r->start, r->size, false);

    if (err < 0) {
        return fail("image", "cannot be mapped", err);
    }
    image.bytes = phys_to_virt(r->start);
    return mount_image(&image, "image", options);
}

static int mount_disk(const char *name, const char *options)
{
    struct block_device *device = block_device_find(name);
    struct erofs_image image = { .device = device };

    if (!device) {
        return fail(name, "no such block device", -ENODEV);
    }
    image.size = device->sectors << 9;
    return mount_image(&image, name, options);
}

/* A folder of the host: writable unless the command line says "ro". */
static int mount_shared(const char *tag, const char *options)
{
    size_t length;
    int err =
        mount_file_system("9p", tag, NULL, boot_option("ro", &length) ? MS_RDONLY : 0, options);

    return err < 0 ? fail(tag, "the shared folder cannot be mounted", err) : 0;
}

/* The ramdisk's pages: direct map of RAM, or mapped now when it lies elsewhere. */
static int mount_ramdisk(void)
{
    const struct phys_range *r = &boot_info.ramdisk;
    const char *why = "";
    int err = mount_file_system("tmpfs", "rootfs", NULL, 0, "mode=755,size=0");

    if (err < 0) {
        return fail("ramdisk", "no memory for it", err);
    }
    err = cpio_unpack(phys_to_virt(r->start), (size_t)r->size, &why);
    return err < 0 ? fail("ramdisk", why, err) : 0;
}

static bool has_cpio(void)
{
    const struct phys_range *r = &boot_info.ramdisk;

    return r->size >= 6 && memcmp(phys_to_virt(r->start), "07070", 5) == 0;
}

static int mount_first(void)
{
    char root[64];
    char options[256];

    option_text("root=", root, sizeof(root));
    option_text("rootflags=", options, sizeof(options));
    if (boot_info.root_image.size > 0) {
        return mount_memory(options);
    }
    if (strncmp(root, "/dev/", 5) == 0) {
        return mount_disk(root + 5, options);
    }
    if (strncmp(root, "9p:", 3) == 0) {
        return mount_shared(root + 3, options);
    }
    if (root[0] != '\0') {
        return fail(root, "is neither mem:<address>,<size>, /dev/<disk> nor 9p:<tag>", -EINVAL);
    }
    if (has_cpio()) {
        return mount_ramdisk();
    }
    if (block_device_find("vda")) {
        return mount_disk("vda", options);
    }
    return fail("file system", "none given: want root=mem:..., root=/dev/vda or a cpio ramdisk",
                -ENODEV);
}

/* A directory to mount on; made if the root lacks it and can be written. */
static int mount_point(const char *name, struct path *out)
{
    struct path root = { root_mount, root_mount->root };
    int err = path_lookup_from(&root, name, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out);

    if (err == -ENOENT && !path_is_read_only(&root)) {
        struct name n = { .text = name, .length = (uint32_t)strlen(name) };
        struct inode *dir = root.dentry->inode;
        struct inode *made;

        n.hash = name_hash(n.text, n.length);
        rwsem_write_lock(&dir->lock);
        err = dir->ops->mkdir(dir, &n, 0755, &made);
        rwsem_write_unlock(&dir->lock);
        if (err == 0) {
            inode_put(made);
            dentry_prune(root.dentry); /* it was remembered as missing */
            err = path_lookup_from(&root, name, LOOKUP_DIRECTORY, out);
        }
    }
    return err;
}

/* Missing mount points of a read-only root are its owner's choice: said once, no error. */
static void mount_on(const char *type, const char *name, unsigned flags, const char *options)
{
    struct path on;
    int err = mount_point(name, &on);

    if (err == 0) {
        err = mount_file_system(type, type, &on, flags, options);
        path_put(&on);
    }
    if (err < 0) {
        log_warn("boot: /%s not mounted (error %d)", name, -err);
    }
}

/* Names that nobody uses, and with them the pages of their files. */
static size_t shrink_names(struct reclaimer *r, size_t want)
{
    (void)r;
    return dentry_shrink(want);
}

int vfs_mount_root(void)
{
    static struct reclaimer names = { .shrink = shrink_names };
    int err;

    dentry_init();
    reclaim_register(&names);
    mount_init();
    names_init();
    devfs_init();
    err = file_system_register(&overlay_type);
    err = err ? err : file_system_register(&erofs_type);
    err = err ? err : file_system_register(&tmpfs_type);
    err = err ? err : file_system_register(&devfs_type);
    err = err ? err : file_system_register(&procfs_type);
    err = err ? err : file_system_register(&devpts_type);
    err = err ? err : file_system_register(&sysfs_type);
    err = err ? err : file_system_register(&p9_type);
    err = err ? err : file_system_register(&p9_virtiofs_type);
    if (err < 0) {
        return err;
    }
    err = mount_first();
    if (err < 0) {
        return err;
    }
    mount_on("devtmpfs", "dev", MS_NOSUID, NULL);
    mount_on("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_on("sysfs", "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (root_mount->flags & MS_RDONLY) {
        mount_on("tmpfs", "tmp", MS_NOSUID | MS_NODEV, "mode=1777");
        mount_on("tmpfs", "run", MS_NOSUID | MS_NODEV, "mode=755");
    }
    return p9_mount_shares();
}
