/* SPDX-License-Identifier: Apache-2.0 */
/* mounts and mountinfo. The table is copied under its lock and printed without it. */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/procfs/procfs.h>
#include <mm/page.h>

/* The n-th mount, counted, or NULL. */
static struct mount *mount_at(unsigned n)
{
    struct mount *found = NULL;
    struct mount *m;

    spin_lock(&dentry_lock);
    list_for_each_entry(m, &mount_table, link) {
        if (n-- == 0) {
            found = mount_get(m);
            break;
        }
    }
    spin_unlock(&dentry_lock);
    return found;
}

static void print_flags(struct proc_text *t, const struct mount *m)
{
    unsigned flags = m->flags | m->sb->flags;

    proc_print(t, "%s%s%s%s%s", flags & MS_RDONLY ? "ro" : "rw", flags & MS_NOSUID ? ",nosuid" : "",
               flags & MS_NODEV ? ",nodev" : "", flags & MS_NOEXEC ? ",noexec" : "",
               flags & MS_NOATIME ? ",noatime" : ",relatime");
}

/* Blanks and backslashes in octal, as everybody who reads these files expects. */
static void print_escaped(struct proc_text *t, const char *text)
{
    for (; *text; text++) {
        if (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\\') {
            proc_print(t, "\\%03o", (unsigned)(uint8_t)*text);
        } else {
            proc_append(t, text, 1);
        }
    }
}

static int show(struct proc_text *t, bool is_mountinfo)
{
    struct page *page = page_alloc(0, GFP_KERNEL);
    struct mount *m;

    if (!page) {
        return -ENOMEM;
    }
    for (unsigned n = 0; (m = mount_at(n)) != NULL; n++) {
        struct path root = { m, m->root };
        const char *where = path_text(&root, page_address(page), PAGE_SIZE);

        where = where ? where : "?";
        if (is_mountinfo) {
            const struct mount *parent = m->parent;

            proc_print(t, "%u %u %u:%u / ", m->id, parent && parent != m ? parent->id : 1,
                       dev_major(m->sb->dev), dev_minor(m->sb->dev));
            print_escaped(t, where);
            proc_append(t, " ", 1);
            print_flags(t, m);
            proc_print(t, " - %s ", m->sb->type->name);
            print_escaped(t, m->source);
            proc_print(t, " %s\n", m->sb->flags & MS_RDONLY ? "ro" : "rw");
        } else {
            print_escaped(t, m->source);
            proc_append(t, " ", 1);
            print_escaped(t, where);
            proc_print(t, " %s ", m->sb->type->name);
            print_flags(t, m);
            proc_print(t, " 0 0\n");
        }
        mount_put(m);
    }
    page_put(page);
    return 0;
}

int proc_show_mounts(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    return show(t, false);
}

int proc_show_mountinfo(struct proc_text *t, const struct proc_subject *s)
{
    (void)s;
    return show(t, true);
}
