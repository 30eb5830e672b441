/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking cpio archives (newc: ASCII headers, everything padded to 4 bytes). */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/cpio.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <mm/slab.h>

#define HEADER_SIZE 110u
#define FIELD_COUNT 13u

enum field {
    F_INO,
    F_MODE,
    F_UID,
    F_GID,
    F_NLINK,
    F_MTIME,
    F_SIZE,
    F_DEV_MAJOR,
    F_DEV_MINOR,
    F_RDEV_MAJOR,
    F_RDEV_MINOR,
    F_NAME_SIZE,
    F_CHECK,
};

struct member {
    uint32_t field[FIELD_COUNT];
    char name[PATH_MAX];
    const uint8_t *data;
};

/* Files with several names: the first one's inode, by archive number. */
struct hard_link {
    struct list link;
    uint32_t ino;
    uint32_t dev_major, dev_minor;
    struct inode *inode; /* counted */
};

static bool parse_hex(const uint8_t *p, uint32_t *out)
{
    uint32_t v = 0;

    for (int i = 0; i < 8; i++) {
        uint8_t c = p[i] | 0x20;

        if (p[i] >= '0' && p[i] <= '9') {
            v = v << 4 | (uint32_t)(p[i] - '0');
        } else if (c >= 'a' && c <= 'f') {
            v = v << 4 | (uint32_t)(c - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = v;
    return true;
}

/* The next member at *at; 1, 0 at the trailer or the end, -errno. */
static int next_member(const uint8_t *archive, size_t size, size_t *at, struct member *m)
{
    size_t data;
    size_t name_size;

    while (*at < size && archive[*at] == 0) {
        (*at)++; /* archives one after the other may have zeros between them */
    }
    if (*at == size) {
        return 0;
    }
    if (!range_fits(*at, HEADER_SIZE, size) ||
        (memcmp(archive + *at, "070701", 6) != 0 && memcmp(archive + *at, "070702", 6) != 0)) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        if (!parse_hex(archive + *at + 6 + (size_t)8 * i, &m->field[i])) {
            return -EINVAL;
        }
    }
    name_size = m->field[F_NAME_SIZE];
    if (name_size == 0 || name_size > PATH_MAX || !range_fits(*at + HEADER_SIZE, name_size, size)) {
        return -EINVAL;
    }
    memcpy(m->name, archive + *at + HEADER_SIZE, name_size);
    if (m->name[name_size - 1] != '\0') {
        return -EINVAL;
    }
    data = align_up(*at + HEADER_SIZE + name_size, 4);
    if (data > size || !range_fits(data, m->field[F_SIZE], size)) {
        return -EINVAL;
    }
    m->data = archive + data;
    *at = min_of(align_up(data + m->field[F_SIZE], 4), size);
    return strcmp(m->name, "TRAILER!!!") != 0;
}

static int write_data(struct inode *inode, const struct member *m)
{
    uint64_t size = m->field[F_SIZE];
    struct attr a = { .mask = ATTR_SIZE, .size = size };
    int err = size > 0 ? inode_change(inode, &a) : 0;

    for (uint64_t done = 0; err == 0 && done < size; done += PAGE_SIZE) {
        struct frame frame;

        err = inode->mapping.ops->get(&inode->mapping, done >> PAGE_SHIFT, MAPPING_WRITE, &frame);
        if (err == 0) {
            memcpy(phys_to_virt(frame.pa), m->data + done, (size_t)min_of(size - done, PAGE_SIZE));
            page_put(frame.page);
        }
    }
    return err;
}

static int make_inode(struct inode *dir, const struct name *name, const struct member *m,
                      struct inode **out)
{
    uint32_t mode = m->field[F_MODE];
    char *target;
    int err;

    switch (mode & S_IFMT) {
    case S_IFDIR:
        return dir->ops->mkdir(dir, name, mode & S_PERM, out);
    case S_IFLNK:
        if (m->field[F_SIZE] == 0 || m->field[F_SIZE] >= PATH_MAX) {
            return -EINVAL;
        }
        target = kmalloc(m->field[F_SIZE] + 1, GFP_KERNEL);
        if (!target) {
            return -ENOMEM;
        }
        memcpy(target, m->data, m->field[F_SIZE]);
        target[m->field[F_SIZE]] = '\0';
        err = dir->ops->symlink(dir, name, target, out);
        kfree(target);
        return err;
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        return dir->ops->create(dir, name, mode,
                                dev_make(m->field[F_RDEV_MAJOR], m->field[F_RDEV_MINOR]), out);
    default:
        return -EINVAL;
    }
}

static struct hard_link *find_link(struct list *links, const struct member *m)
{
    struct hard_link *l;

    list_for_each_entry(l, links, link) {
        if (l->ino == m->field[F_INO] && l->dev_major == m->field[F_DEV_MAJOR] &&
            l->dev_minor == m->field[F_DEV_MINOR]) {
            return l;
        }
    }
    return NULL;
}

static int remember_link(struct list *links, const struct member *m, struct inode *inode)
{
    struct hard_link *l = kmalloc(sizeof(*l), GFP_KERNEL);

    if (!l) {
        return -ENOMEM;
    }
    l->ino = m->field[F_INO];
    l->dev_major = m->field[F_DEV_MAJOR];
    l->dev_minor = m->field[F_DEV_MINOR];
    l->inode = inode_get(inode);
    list_push_back(links, &l->link);
    return 0;
}

/* The name and its inode; *out is counted. The directory is locked. */
static int unpack_locked(struct place *at, const struct member *m, struct list *links,
                         struct inode **out)
{
    struct inode *dir = at->dir.dentry->inode;
    bool has_links = m->field[F_NLINK] > 1 && (m->field[F_MODE] & S_IFMT) == S_IFREG;
    struct hard_link *other = has_links ? find_link(links, m) : NULL;
    struct inode *made = NULL;
    struct dentry *child;
    int err = dentry_lookup(at->dir.dentry, &at->name, &child);

    if (err < 0) {
        return err;
    }
    if (child->inode) { /* directories may come twice; files keep their first contents */
        made = inode_get(child->inode);
        err = S_ISDIR(made->mode) == ((m->field[F_MODE] & S_IFMT) == S_IFDIR) ? 0 : -EEXIST;
    } else if (other) {
        err = dir->ops->link(dir, &at->name, other->inode);
        if (err == 0) {
            made = inode_get(other->inode);
            dentry_fill(child, inode_get(made));
        }
    } else {
        err = make_inode(dir, &at->name, m, &made);
        if (err == 0) {
            dentry_fill(child, inode_get(made));
            err = has_links ? remember_link(links, m, made) : 0;
        }
    }
    if (err == 0) {
        made->mode = (made->mode & S_IFMT) | (m->field[F_MODE] & S_PERM);
        made->uid = m->field[F_UID];
        made->gid = m->field[F_GID];
        *out = inode_get(made);
    }
    if (made) {
        inode_put(made);
    }
    dentry_put(child);
    return err;
}

static int unpack_member(const struct member *m, struct list *links)
{
    struct path root = { root_mount, root_mount->root };
    const char *name = m->name;
    unsigned followed = 0;
    struct place at;
    int err;

    while (*name == '/') {
        name++;
    }
    if (*name == '\0' || strcmp(name, ".") == 0) {
        return 0;
    }
    err = place_lookup_from(&root, name, LOOKUP_IN_ROOT, &followed, &at);
    if (err < 0) {
        return err;
    }
    if (at.kind == NAME_NORMAL) {
        struct inode *dir = at.dir.dentry->inode;
        struct inode *made = NULL;

        rwsem_write_lock(&dir->lock);
        err = S_ISDIR(dir->mode) ? unpack_locked(&at, m, links, &made) : -ENOTDIR;
        rwsem_write_unlock(&dir->lock);
        if (err == 0) {
            if (S_ISREG(made->mode) && m->field[F_SIZE] > 0) {
                err = write_data(made, m);
            }
            made->mtime = (struct timestamp){ .sec = m->field[F_MTIME] };
            inode_put(made);
        }
    } else {
        err = -EINVAL;
    }
    place_put(&at);
    return err;
}

int cpio_unpack(const void *archive, size_t size, const char **why)
{
    struct member *m = kmalloc(sizeof(*m), GFP_KERNEL);
    struct list links = LIST_INIT(links);
    size_t at = 0;
    int err = m ? 1 : -ENOMEM;

    *why = "no memory";
    while (err > 0) {
        err = next_member(archive, size, &at, m);
        if (err < 0) {
            *why = "the cpio archive is damaged";
        } else if (err > 0) {
            int one = unpack_member(m, &links);

            if (one < 0) {
                *why = "a member of the cpio archive cannot be made";
                err = one;
            }
        }
    }
    while (!list_is_empty(&links)) {
        struct hard_link *l = list_first(&links, struct hard_link, link);

        list_remove(&l->link);
        inode_put(l->inode);
        kfree(l);
    }
    kfree(m);
    return err;
}
