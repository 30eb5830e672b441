/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/<pid>/fd and fdinfo: what descriptors lead to. */
#include <base/fmt.h>
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/procfs/procfs.h>

static struct file *file_of(const struct proc_subject *s)
{
    struct files *files = proc_files(s->task);
    struct file *f = NULL;

    if (files) {
        f = files_get(files, (unsigned)s->fd);
        files_put(files);
    }
    return f;
}

static int follow_fd(struct path *out, const struct proc_subject *s)
{
    struct file *f = file_of(s);
    int err = 0;

    if (!f) {
        return -ENOENT;
    }
    if (f->path.dentry) {
        *out = f->path;
        path_get(out);
    } else {
        err = alias_path(f, out);
    }
    file_put(f);
    return err;
}

static ssize_t link_fd(char *buf, size_t size, const struct proc_subject *s)
{
    struct file *f = file_of(s);
    ssize_t n;

    if (!f) {
        return -ENOENT;
    }
    if (f->path.dentry) {
        n = proc_path_text(&f->path, buf, size);
    } else {
        const char *type = f->ops->type ? f->ops->type : "anon_inode:[unknown]";
        const void *object = f->private ? f->private : f;

        /* Kernel addresses stay inside: shifted and cut, still the same for both ends of a pipe. */
        n = strchr(type, ':')
                ? (ssize_t)fmt_snprintf(buf, size, "%s", type)
                : (ssize_t)fmt_snprintf(buf, size, "%s:[%u]", type,
                                        (unsigned)((uintptr_t)object >> 5) & 0xffffffu);
    }
    file_put(f);
    return n;
}

static int show_fdinfo(struct proc_text *t, const struct proc_subject *s)
{
    struct file *f = file_of(s);

    if (!f) {
        return -ENOENT;
    }
    proc_print(t, "pos:\t%ld\nflags:\t0%o\nmnt_id:\t%u\nino:\t%lu\n", (long)f->pos,
               atomic_load_explicit(&f->flags, memory_order_relaxed) | O_LARGEFILE,
               f->path.mount ? f->path.mount->id : 0,
               f->inode ? (unsigned long)f->inode->ino : 0ul);
    file_put(f);
    return 0;
}

const struct proc_node proc_fd_node = {
    .mode = S_IFLNK | 0700, .link = link_fd, .follow = follow_fd, .is_owned = true
};
const struct proc_node proc_fdinfo_node = { .mode = S_IFREG | 0400,
                                            .show = show_fdinfo,
                                            .is_owned = true };
