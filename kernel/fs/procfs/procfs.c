/* SPDX-License-Identifier: Apache-2.0 */
/* The machinery of procfs and sysfs: from the node tables to inodes, listings and text. */
#include <base/fmt.h>
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/files.h>
#include <fs/procfs/procfs.h>
#include <mm/mm.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/pid.h>
#include <proc/process.h>
#include <sched/task.h>

#define PROC_MAGIC  0x9fa0u
#define SYSFS_MAGIC 0x62656572u
#define WRITE_MAX   4096u

struct proc_inode {
    struct inode inode; /* first */
    const struct proc_node *node;
    pid_t tid;         /* 0: the system */
    uint64_t start_ns; /* of the task with that number */
    int fd;
};

static struct slab_cache proc_inode_cache = SLAB_CACHE("proc_inode", struct proc_inode);

static struct proc_inode *proc_of(const struct inode *i)
{
    return container_of(i, struct proc_inode, inode);
}

/* --- subjects --------------------------------------------------------------------------------- */

static struct task *task_of(const struct proc_inode *p)
{
    struct task *t = task_find(p->tid);

    if (t && t->start_ns != p->start_ns) {
        task_put(t);
        return NULL;
    }
    return t;
}

/* 0 and a subject to be put, or -ESRCH. */
static int subject_get(const struct proc_inode *p, struct proc_subject *s)
{
    s->task = NULL;
    s->fd = p->fd;
    if (p->tid != 0) {
        s->task = task_of(p);
        if (!s->task) {
            return -ESRCH;
        }
    }
    return 0;
}

static void subject_put(struct proc_subject *s)
{
    if (s->task) {
        task_put(s->task);
    }
}

struct process *proc_process(struct task *t)
{
    return t->process;
}

struct mm *proc_mm(struct task *t)
{
    struct mm *mm = NULL;
    uint64_t flags;

    if (!t->process) {
        return NULL;
    }
    flags = spin_lock_irqsave(&t->process->signal_lock);
    if (t->mm) {
        mm = mm_get(t->mm);
    }
    spin_unlock_irqrestore(&t->process->signal_lock, flags);
    return mm;
}

struct files *proc_files(struct task *t)
{
    struct files *files = NULL;
    uint64_t flags;

    if (!t->process) {
        return NULL;
    }
    flags = spin_lock_irqsave(&t->process->signal_lock);
    if (t->files) {
        files = t->files;
        ref_get(&files->ref);
    }
    spin_unlock_irqrestore(&t->process->signal_lock, flags);
    return files;
}

bool proc_fs_paths(struct task *t, struct path *root, struct path *cwd)
{
    struct fs_context *fs = NULL;
    uint64_t flags;

    if (!t->process) {
        return false;
    }
    flags = spin_lock_irqsave(&t->process->signal_lock);
    if (t->fs) {
        fs = fs_context_get(t->fs);
    }
    spin_unlock_irqrestore(&t->process->signal_lock, flags);
    if (!fs) {
        return false;
    }
    spin_lock(&dentry_lock);
    *root = fs->root;
    *cwd = fs->cwd;
    path_get(root);
    path_get(cwd);
    spin_unlock(&dentry_lock);
    fs_context_put(fs);
    return true;
}

/* --- inodes ----------------------------------------------------------------------------------- */

static const struct inode_ops proc_dir_ops;
static const struct inode_ops proc_file_inode_ops;
static const struct inode_ops proc_text_link_ops;
static const struct inode_ops proc_jump_link_ops;
static const struct file_ops proc_file_ops;

/* Distinct for distinct files: node, task and descriptor mixed. */
static uint64_t ino_of(const struct proc_node *node, pid_t tid, int fd)
{
    uint64_t h = (uintptr_t)node >> 3;

    h = h * 0x9e3779b1u + (uint64_t)tid;
    h = h * 0x9e3779b1u + (uint64_t)(fd + 1);
    return (h & 0xffffffffffull) | 1;
}

static void set_owner(struct inode *inode, const struct task *t)
{
    inode->uid = t->cred->euid;
    inode->gid = t->cred->egid;
}

static int make_inode(struct super_block *sb, const struct proc_node *node, struct task *t, int fd,
                      struct inode **out)
{
    struct proc_inode *p = slab_alloc(&proc_inode_cache, GFP_KERNEL);

    if (!p) {
        return -ENOMEM;
    }
    inode_init(&p->inode, sb, ino_of(node, t ? t->tid : 0, fd), node->mode);
    p->node = node;
    p->tid = t ? t->tid : 0;
    p->start_ns = t ? t->start_ns : 0;
    p->fd = fd;
    p->inode.atime = p->inode.mtime = p->inode.ctime = time_now();
    if (t) {
        set_owner(&p->inode, t);
    }
    if (S_ISDIR(node->mode)) {
        p->inode.ops = &proc_dir_ops;
        p->inode.file_ops = &directory_file_ops;
        p->inode.nlink = 2;
    } else if (S_ISLNK(node->mode)) {
        p->inode.ops = node->follow ? &proc_jump_link_ops : &proc_text_link_ops;
        p->inode.size = node->follow ? 64 : 0;
    } else {
        p->inode.ops = &proc_file_inode_ops;
        p->inode.file_ops = &proc_file_ops;
    }
    *out = &p->inode;
    return 0;
}

static void proc_free(struct inode *inode)
{
    slab_free(&proc_inode_cache, proc_of(inode));
}

static bool proc_is_current(struct inode *inode)
{
    const struct proc_inode *p = proc_of(inode);
    struct task *t;
    bool is_there = true;

    if (p->tid == 0) {
        return p->node->mode != 0 && !S_ISLNK(inode->mode);
    }
    t = task_of(p);
    if (!t) {
        return false;
    }
    set_owner(inode, t);
    if (p->node == &proc_fd_node || p->node == &proc_fdinfo_node) {
        struct files *files = proc_files(t);
        struct file *f = files ? files_get(files, (unsigned)p->fd) : NULL;

        is_there = f != NULL;
        if (f) {
            file_put(f);
        }
        if (files) {
            files_put(files);
        }
    }
    task_put(t);
    return is_there;
}

/* A decimal number without leading zeros, or -1. */
static int number_of(const struct name *name)
{
    int n = 0;

    if (name->length > 9 || (name->text[0] == '0' && name->length > 1)) {
        return -1;
    }
    for (uint32_t i = 0; i < name->length; i++) {
        if (name->text[i] < '0' || name->text[i] > '9') {
            return -1;
        }
        n = n * 10 + (name->text[i] - '0');
    }
    return n;
}

static bool is_leader(const struct task *t)
{
    return t->process && t->process->pid == t->tid;
}

static int lookup_task(struct inode *dir, int number, bool wants_leader, struct inode **out)
{
    const struct proc_inode *p = proc_of(dir);
    struct task *owner = NULL;
    struct task *t;
    int err = -ENOENT;

    t = number > 0 ? task_find(number) : NULL;
    if (!t) {
        return -ENOENT;
    }
    if (wants_leader) {
        if (t->process) { /* by tid too, though not listed, as in Linux */
            err = make_inode(dir->sb, &proc_process_node, t, -1, out);
        }
    } else {
        owner = task_of(p);
        if (owner && owner->process && owner->process == t->process) {
            err = make_inode(dir->sb, &proc_thread_node, t, -1, out);
        }
        if (owner) {
            task_put(owner);
        }
    }
    task_put(t);
    return err;
}

static int lookup_fd(struct inode *dir, int number, const struct proc_node *node,
                     struct inode **out)
{
    struct task *t = task_of(proc_of(dir));
    struct files *files = t ? proc_files(t) : NULL;
    struct file *f = files && number >= 0 ? files_get(files, (unsigned)number) : NULL;
    int err = -ENOENT;

    if (f) {
        err = make_inode(dir->sb, node, t, number, out);
        if (err == 0 && node == &proc_fd_node) {
            (*out)->mode = S_IFLNK | ((f->mode & (FMODE_READ | FMODE_PATH)) ? 0500u : 0u) |
                           ((f->mode & FMODE_WRITE) ? 0300u : 0u);
        }
        file_put(f);
    }
    if (files) {
        files_put(files);
    }
    if (t) {
        task_put(t);
    }
    return err;
}

static int proc_lookup(struct inode *dir, const struct name *name, struct inode **out)
{
    const struct proc_inode *p = proc_of(dir);
    const struct proc_node *n;
    struct proc_subject s;
    int number;
    int err;

    for (n = p->node->children; n && n->name; n++) {
        /* The first letter decides most cases; a name has no NUL in it. */
        if (n->name[0] == name->text[0] && strncmp(n->name, name->text, name->length) == 0 &&
            n->name[name->length] == '\0') {
            err = subject_get(p, &s);
            if (err < 0) {
                return -ENOENT;
            }
            err = make_inode(dir->sb, n, s.task, p->fd, out);
            subject_put(&s);
            return err;
        }
    }
    number = p->node->dynamic == PROC_STATIC ? -1 : number_of(name);
    if (number < 0) {
        return -ENOENT;
    }
    switch (p->node->dynamic) {
    case PROC_PIDS:
        return lookup_task(dir, number, true, out);
    case PROC_TASKS:
        return lookup_task(dir, number, false, out);
    case PROC_FDS:
        return lookup_fd(dir, number, &proc_fd_node, out);
    case PROC_FDINFO:
        return lookup_fd(dir, number, &proc_fdinfo_node, out);
    case PROC_STATIC:
        break;
    }
    return -ENOENT;
}

/* --- listing: positions from 3 on are the children's, from NUMBERS on the numbers'
 * ---------------- */

#define NUMBERS UINT64_C(1000)

static bool emit_number(struct dir_emit *e, const struct proc_node *node, pid_t tid, int number,
                        uint64_t base)
{
    char text[16];
    size_t n = fmt_snprintf(text, sizeof(text), "%d", number);

    return e->emit(e, text, n, ino_of(node, tid, base == 0 ? -1 : number), DT_OF_MODE(node->mode),
                   NUMBERS + (uint64_t)number + 1);
}

static int list_tasks(const struct proc_inode *p, uint64_t from, bool wants_leader,
                      struct dir_emit *e)
{
    struct task *owner = wants_leader ? NULL : task_of(p);
    pid_t next = (pid_t)from;

    if (!wants_leader && !owner) {
        return -ENOENT;
    }
    while ((next = pid_next(max_of(next, 1))) != 0) {
        struct task *t = task_find(next);
        bool is_listed = t && (wants_leader ? is_leader(t) : t->process == owner->process);
        bool fits = true;

        if (is_listed) {
            fits = emit_number(e, wants_leader ? &proc_process_node : &proc_thread_node, next, next,
                               0);
        }
        if (t) {
            task_put(t);
        }
        if (!fits) {
            break;
        }
        next++;
    }
    if (owner) {
        task_put(owner);
    }
    return 0;
}

static int list_fds(const struct proc_inode *p, uint64_t from, const struct proc_node *node,
                    struct dir_emit *e)
{
    struct task *t = task_of(p);
    struct files *files = t ? proc_files(t) : NULL;
    int fd = (int)from;

    while (files && (fd = files_next(files, (unsigned)fd)) >= 0) {
        if (!emit_number(e, node, p->tid, fd, 1)) {
            break;
        }
        fd++;
    }
    if (files) {
        files_put(files);
    }
    if (t) {
        task_put(t);
    }
    return t ? 0 : -ENOENT;
}

static int proc_readdir(struct inode *dir, uint64_t cookie, struct dir_emit *e)
{
    const struct proc_inode *p = proc_of(dir);
    const struct proc_node *n = p->node->children;
    uint64_t at = 2;

    for (; n && n->name; n++, at++) {
        if (at >= cookie && !e->emit(e, n->name, strlen(n->name), ino_of(n, p->tid, p->fd),
                                     DT_OF_MODE(n->mode), at + 1)) {
            return 0;
        }
    }
    cookie = cookie > NUMBERS ? cookie - NUMBERS : 0;
    if (cookie > INT32_MAX) {
        return 0;
    }
    switch (p->node->dynamic) {
    case PROC_PIDS:
        return list_tasks(p, cookie, true, e);
    case PROC_TASKS:
        return list_tasks(p, cookie, false, e);
    case PROC_FDS:
        return list_fds(p, cookie, &proc_fd_node, e);
    case PROC_FDINFO:
        return list_fds(p, cookie, &proc_fdinfo_node, e);
    case PROC_STATIC:
        break;
    }
    return 0;
}

/* --- links ------------------------------------------------------------------------------------ */

static ssize_t proc_readlink(struct inode *inode, char *buf, size_t size)
{
    const struct proc_inode *p = proc_of(inode);
    struct proc_subject s;
    ssize_t n = subject_get(p, &s);

    if (n < 0) {
        return -ENOENT;
    }
    n = p->node->link ? p->node->link(buf, size, &s) : -EINVAL;
    subject_put(&s);
    return n;
}

/* Who may look into another process: the same user, or one who may read everything. */
static bool may_look(const struct task *t)
{
    const struct cred *mine = current->cred;

    return t == current || t->process == current->process || mine->fsuid == t->cred->uid ||
           cred_is_capable(mine, CAP_DAC_OVERRIDE);
}

static int proc_follow(struct inode *inode, struct path *out)
{
    const struct proc_inode *p = proc_of(inode);
    struct proc_subject s;
    int err = subject_get(p, &s);

    if (err < 0) {
        return -ENOENT;
    }
    err = s.task && !may_look(s.task) ? -EACCES : p->node->follow(out, &s);
    subject_put(&s);
    return err;
}

/* --- files ------------------------------------------------------------------------------------ */

static int make_text(struct file *f)
{
    const struct proc_inode *p = proc_of(f->inode);
    struct proc_text *t = f->private;
    struct proc_subject s;
    int err = subject_get(p, &s);

    if (err < 0) {
        return err;
    }
    t->used = 0;
    t->is_out_of_memory = false;
    err = p->node->show(t, &s);
    subject_put(&s);
    return err < 0 ? err : (t->is_out_of_memory ? -ENOMEM : 0);
}

static ssize_t proc_read(struct file *f, struct uio *u, int64_t *pos)
{
    const struct proc_inode *p = proc_of(f->inode);
    struct proc_text *t = f->private;
    ssize_t n;

    if (!p->node->show) {
        return -EACCES;
    }
    if (*pos == 0 || !t->buf) {
        int err = make_text(f);

        if (err < 0) {
            return err;
        }
    }
    if ((uint64_t)*pos >= t->used) {
        return 0;
    }
    n = uio_copy_out(u, t->buf + *pos, min_of(u->remaining, t->used - (size_t)*pos));
    if (n > 0) {
        *pos += n;
    }
    return n;
}

static ssize_t proc_write(struct file *f, struct uio *u, int64_t *pos)
{
    const struct proc_inode *p = proc_of(f->inode);
    size_t size = u->remaining;
    struct proc_subject s;
    char *text;
    ssize_t n;

    if (!p->node->store) {
        return -EACCES;
    }
    if (size > WRITE_MAX) {
        return -EINVAL;
    }
    text = kmalloc(size + 1, GFP_KERNEL);
    if (!text) {
        return -ENOMEM;
    }
    n = uio_copy_in(u, text, size);
    if (n == (ssize_t)size) {
        int err = subject_get(p, &s);

        text[n] = '\0';
        if (err == 0) {
            err = p->node->store(text, (size_t)n, &s);
            subject_put(&s);
        }
        n = err < 0 ? err : n;
    } else {
        n = -EFAULT;
    }
    kfree(text);
    if (n > 0) {
        *pos += n;
    }
    return n;
}

static int proc_open(struct inode *inode, struct file *f)
{
    const struct proc_inode *p = proc_of(inode);
    struct proc_text *t;

    if (p->tid != 0 && p->node->is_owned) {
        struct task *task = task_of(p);
        bool is_allowed = task && may_look(task);

        if (task) {
            task_put(task);
        }
        if (!is_allowed) {
            return task ? -EACCES : -ESRCH;
        }
    }
    t = kmalloc(sizeof(*t), GFP_KERNEL);
    if (!t) {
        return -ENOMEM;
    }
    memset(t, 0, sizeof(*t));
    f->private = t;
    return 0;
}

static void proc_release(struct file *f)
{
    struct proc_text *t = f->private;

    proc_text_free(t);
    kfree(t);
}

static int64_t proc_seek(struct file *f, int64_t offset, int whence)
{
    return seek_plain(f, offset, whence, 0);
}

static int proc_setattr(struct inode *inode, const struct attr *a)
{
    (void)inode;
    /* Truncation comes with opening for writing and changes nothing. */
    return a->mask & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

static const struct inode_ops proc_dir_ops = {
    .lookup = proc_lookup,
    .readdir = proc_readdir,
    .setattr = proc_setattr,
    .is_current = proc_is_current,
    .free = proc_free,
};

static const struct inode_ops proc_file_inode_ops = {
    .setattr = proc_setattr,
    .is_current = proc_is_current,
    .free = proc_free,
};

static const struct inode_ops proc_text_link_ops = {
    .readlink = proc_readlink,
    .setattr = proc_setattr,
    .is_current = proc_is_current,
    .free = proc_free,
};

static const struct inode_ops proc_jump_link_ops = {
    .readlink = proc_readlink,
    .follow = proc_follow,
    .setattr = proc_setattr,
    .is_current = proc_is_current,
    .free = proc_free,
};

static const struct file_ops proc_file_ops = {
    .read = proc_read,
    .write = proc_write,
    .poll = page_poll,
    .seek = proc_seek,
    .open = proc_open,
    .release = proc_release,
};

/* --- mounting --------------------------------------------------------------------------------- */

static int proc_statfs(struct super_block *sb, struct statfs_info *out)
{
    out->type = sb->type == &procfs_type ? PROC_MAGIC : SYSFS_MAGIC;
    return 0;
}

static const struct super_ops proc_super_ops = { .statfs = proc_statfs };

static int proc_mount(struct file_system *type, const char *source, unsigned flags,
                      const char *options, struct super_block **out)
{
    struct super_block *sb = super_create(type, &proc_super_ops, flags);
    int err;

    (void)source;
    (void)options;
    if (!sb) {
        return -ENOMEM;
    }
    sb->never_caches = type == &procfs_type;
    err = make_inode(sb, type == &procfs_type ? &proc_root_node : &sys_root_node, NULL, -1,
                     &sb->root);
    if (err < 0) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

struct file_system procfs_type = { .name = "proc", .mount = proc_mount };
struct file_system sysfs_type = { .name = "sysfs", .mount = proc_mount };
