/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories as programs call them, and what befalls these calls. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>

#include "disk.h"
#include "fault.h"
#include "wrap.h"

#define FILE_SIZE_MAX   (UINT64_C(1) << 30)
#define LATENCY_DEFAULT 50u /* ms */

struct open_file {
    struct sim_file file;
    struct disk_node *node;
    size_t position;
    bool has_lock;
};

static struct open_file *open_file(struct sim_file *f);

/* ---- Trouble that a scenario ordered for one operation of one task ---- */

static struct {
    unsigned task; /* 0: none */
    unsigned skip;
    int os_errno;
    uint64_t delay_ns;
} trouble;

void sim_disk_trouble(unsigned skip, int os_errno, uint64_t delay_ns)
{
    trouble.task = os_errno == 0 && delay_ns == 0 ? 0 : sim_task_id();
    trouble.skip = skip;
    trouble.os_errno = os_errno;
    trouble.delay_ns = delay_ns;
}

/* 0, or -errno for this call. */
static int have_trouble(void)
{
    int e = -trouble.os_errno;

    if (trouble.task != sim_task_id() || trouble.skip-- > 0) {
        return 0;
    }
    trouble.task = 0;
    if (trouble.delay_ns > 0) {
        sim_sleep(trouble.delay_ns);
    }
    return e;
}

/* ---- Regular files ---- */

/* Loss of power befalls whoever is in a process that can be lost. */
static void maybe_lose_power(enum sim_op op, uint64_t kinds)
{
    if (sim_proc_current() != 0 && sim_fault_draw(op, kinds, NULL) != SIM_FAULT_NONE) {
        sim_power_loss();
    }
}

static void delay(uint64_t ms)
{
    sim_sleep((ms == 0 ? LATENCY_DEFAULT : ms) * SIM_NS_PER_MS);
}

static ssize_t disk_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct open_file *o = open_file(f);
    size_t at = offset < 0 ? o->position : (size_t)offset;
    uint64_t param = 0;

    if (S_ISDIR(o->node->mode)) {
        return -EISDIR;
    }
    enum sim_fault fault = sim_fault_draw(OP_file_read,
                                          SIM_KIND(READ_FAIL) | SIM_KIND(STORAGE_CORRUPT) |
                                              SIM_KIND(STORAGE_LATENCY) | SIM_KIND(SHORT_READ),
                                          &param);

    int e = have_trouble();

    if (fault == FAULT_READ_FAIL || e < 0) {
        return e < 0 ? e : -EIO;
    }
    if (fault == FAULT_STORAGE_LATENCY) {
        delay(param);
    }
    size_t n = at >= o->node->size ? 0 : min_of(size, o->node->size - at);

    if (fault == FAULT_SHORT_READ && n > 1) {
        n = 1 + sim_random_below(sim_disk_random(), (uint32_t)min_of(n - 1, (size_t)UINT32_MAX));
    }
    if (n > 0) {
        memcpy(to, o->node->data + at, n);
    }
    if (fault == FAULT_STORAGE_CORRUPT && n > 0) {
        ((uint8_t *)to)[sim_random_below(sim_disk_random(), (uint32_t)n)] ^=
            (uint8_t)(1u << sim_random_below(sim_disk_random(), 8));
    }
    if (offset < 0) {
        o->position = at + n;
    }
    return (ssize_t)n;
}

static void write_damaged(struct disk_node *n, size_t at, const void *from, size_t size)
{
    uint8_t *copy = sim_calloc(1, size);

    memcpy(copy, from, size);
    copy[sim_random_below(sim_disk_random(), (uint32_t)size)] ^=
        (uint8_t)(1u << sim_random_below(sim_disk_random(), 8));
    disk_write(n, at, copy, size);
    sim_free(copy);
}

static ssize_t disk_write_call(struct sim_file *f, const void *from, size_t size, off_t offset)
{
    struct open_file *o = open_file(f);
    uint64_t param = 0;

    maybe_lose_power(OP_file_write, SIM_KIND(CRASH_BEFORE_WRITE));
    enum sim_fault fault = sim_fault_draw(
        OP_file_write,
        SIM_KIND(WRITE_FAIL) | SIM_KIND(DISK_FULL) | SIM_KIND(PARTIAL_WRITE) |
            SIM_KIND(MISDIRECTED_WRITE) | SIM_KIND(STORAGE_CORRUPT) | SIM_KIND(STORAGE_LATENCY),
        &param);

    int e = have_trouble();

    if (fault == FAULT_WRITE_FAIL || e < 0) {
        return e < 0 ? e : -EIO;
    }
    if (fault == FAULT_DISK_FULL) {
        return -ENOSPC;
    }
    if (fault == FAULT_STORAGE_LATENCY) {
        delay(param);
    }
    size_t at = offset >= 0                  ? (size_t)offset
                : (f->flags & O_APPEND) != 0 ? o->node->size
                                             : o->position;

    if (size > FILE_SIZE_MAX || at > FILE_SIZE_MAX - size) {
        return -EFBIG;
    }
    if (fault == FAULT_PARTIAL_WRITE && size > 1) {
        size = min_of(size - 1, param == 0 ? size / 2 : (size_t)param);
    }
    if (size == 0) {
        return 0;
    }
    if (fault == FAULT_MISDIRECTED_WRITE) {
        size_t elsewhere =
            sim_random_below(sim_disk_random(), (uint32_t)(o->node->size + DISK_PAGE));

        disk_write(o->node, elsewhere, from, size);
    } else if (fault == FAULT_STORAGE_CORRUPT) {
        write_damaged(o->node, at, from, size);
    } else {
        disk_write(o->node, at, from, size);
    }
    if (offset < 0) {
        o->position = at + size;
    }
    maybe_lose_power(OP_file_write, SIM_KIND(CRASH_AFTER_WRITE));
    return (ssize_t)size;
}

static short disk_poll(struct sim_file *f)
{
    (void)f;
    return POLLIN | POLLOUT;
}

static int node_stat(const struct disk_node *n, struct stat *out)
{
    memset(out, 0, sizeof(*out));
    out->st_mode = n->mode;
    out->st_ino = n->inode;
    out->st_dev = disk_device();
    out->st_nlink = 1;
    out->st_size = (off_t)n->size;
    out->st_blksize = DISK_PAGE;
    out->st_blocks = (blkcnt_t)div_ceil(n->size, (size_t)512);
    return 0;
}

static int disk_stat(struct sim_file *f, struct stat *out)
{
    return node_stat(open_file(f)->node, out);
}

static void disk_close(struct sim_file *f)
{
    struct open_file *o = open_file(f);

    if (o->has_lock) {
        o->node->is_locked = false;
    }
    if (o->node->owner == f) {
        o->node->owner = NULL;
    }
    sim_free(o);
}

static const struct sim_file_ops disk_ops = { .kind = "file",
                                              .read = disk_read,
                                              .write = disk_write_call,
                                              .poll = disk_poll,
                                              .stat = disk_stat,
                                              .close = disk_close };

static struct open_file *open_file(struct sim_file *f)
{
    return (struct open_file *)f;
}

static struct open_file *disk_get(int fd)
{
    struct sim_file *f = sim_fd_get(fd);

    return f == NULL || f->ops != &disk_ops ? NULL : open_file(f);
}

/* ---- Opening ---- */

static int base_of(int dir_fd, const char *path, struct disk_node **out)
{
    const struct open_file *o = NULL;

    *out = NULL;
    if (path[0] == '/' || dir_fd == AT_FDCWD) {
        return 0;
    }
    o = disk_get(dir_fd);
    if (o == NULL) {
        return -EBADF;
    }
    *out = o->node;
    return 0;
}

static int open_node(struct disk_node *n, int flags)
{
    struct open_file *o = sim_calloc(1, sizeof(*o));

    o->file = (struct sim_file){ .ops = &disk_ops,
                                 .refs = 1,
                                 .flags = flags & (O_ACCMODE | O_NONBLOCK | O_APPEND) };
    o->node = n;
    return sim_fd_install(&o->file);
}

static int do_openat(int dir_fd, const char *path, int flags, mode_t mode)
{
    struct disk_node *base = NULL;
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    int r = base_of(dir_fd, path, &base);

    if (r < 0) {
        return r;
    }
    r = disk_find(base, path, &n, &dir, &name);
    if (r == 0 && (flags & O_TMPFILE) == O_TMPFILE) {
        return open_node(disk_node_new(S_IFREG | mode), flags);
    }
    if (r == -ENOENT && dir != NULL && (flags & O_CREAT) != 0) {
        n = disk_node_new(S_IFREG | (mode & 07777));
        disk_set_name(dir, name, n);
        sim_trace("create %s", path);
    } else if (r < 0) {
        return r;
    } else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return -EEXIST;
    }
    if (S_ISDIR(n->mode) ? (flags & O_ACCMODE) != O_RDONLY : (flags & O_DIRECTORY) != 0) {
        return S_ISDIR(n->mode) ? -EISDIR : -ENOTDIR;
    }
    if (S_ISSOCK(n->mode)) {
        return -ENXIO;
    }
    if ((flags & O_TRUNC) != 0) {
        disk_resize(n, 0);
    }
    return open_node(n, flags);
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

int __real_open(const char *path, int flags, ...);

WRAP(int, open)(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode = 0;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    if (!sim_is_active()) {
        return __real_open(path, flags, mode);
    }
    sim_step();
    return (int)sim_result_of(do_openat(AT_FDCWD, path, flags, mode));
}

WRAP(int, openat)(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode = 0;

    va_start(args, flags);
    mode = mode_of(flags, args);
    va_end(args);
    sim_step();
    return (int)sim_result_of(do_openat(dir_fd, path, flags, mode));
}

WRAP(int, memfd_create)(const char *name, unsigned flags)
{
    (void)name;
    (void)flags;
    sim_step();
    return (int)sim_result_of(open_node(disk_node_new(S_IFREG | 0600), O_RDWR));
}

/* ---- What one does to an open file ---- */

static int do_fsync(int fd)
{
    struct open_file *o = disk_get(fd);

    if (o == NULL) {
        return sim_fd_get(fd) == NULL ? -EBADF : -EINVAL;
    }
    int e = have_trouble();

    if (e < 0) {
        return e;
    }
    maybe_lose_power(OP_file_fsync, SIM_KIND(CRASH_IN_TRANSACTION));
    switch (sim_fault_draw(OP_file_fsync, SIM_KIND(FSYNC_FAIL) | SIM_KIND(UNFLUSHED_LOSS), NULL)) {
    case FAULT_FSYNC_FAIL:
        disk_forget_dirty(o->node);
        return -EIO;
    case FAULT_UNFLUSHED_LOSS:
        return 0; /* the drive lies */
    default:      /* none other was asked for */
        break;
    }
    if (S_ISDIR(o->node->mode)) {
        disk_commit_names();
    } else {
        disk_flush(o->node);
    }
    return 0;
}

WRAP(int, fsync)(int fd)
{
    sim_step();
    return (int)sim_result_of(do_fsync(fd));
}

WRAP(int, fdatasync)(int fd)
{
    return WRAPPED(fsync)(fd);
}

WRAP(int, syncfs)(int fd)
{
    int r = WRAPPED(fsync)(fd);

    disk_commit_names();
    return r;
}

WRAP(off_t, lseek)(int fd, off_t offset, int whence)
{
    struct open_file *o = disk_get(fd);
    off_t base = 0;

    sim_step();
    if (o == NULL) {
        return sim_result_of(sim_fd_get(fd) == NULL ? -EBADF : -ESPIPE);
    }
    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        size_t at = 0;

        if (offset < 0 || (off_t)o->node->size <= offset) {
            return sim_result_of(-ENXIO);
        }
        at = disk_next(o->node, (size_t)offset, whence == SEEK_DATA);
        return whence == SEEK_DATA && at == o->node->size ? sim_result_of(-ENXIO) : (off_t)at;
    }
    base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (off_t)o->position : (off_t)o->node->size;
    if (base + offset < 0) {
        return sim_result_of(-EINVAL);
    }
    o->position = (size_t)(base + offset);
    return base + offset;
}

static int do_truncate(int fd, off_t size)
{
    struct open_file *o = disk_get(fd);

    if (o == NULL || size < 0) {
        return o == NULL ? -EBADF : -EINVAL;
    }
    if ((uint64_t)size > FILE_SIZE_MAX) {
        return -EFBIG;
    }
    if (sim_fault_draw(OP_file_write, SIM_KIND(DISK_FULL), NULL) != SIM_FAULT_NONE) {
        return -ENOSPC;
    }
    disk_resize(o->node, (size_t)size);
    return 0;
}

WRAP(int, ftruncate)(int fd, off_t size)
{
    sim_step();
    return (int)sim_result_of(do_truncate(fd, size));
}

WRAP(int, fallocate)(int fd, int mode, off_t offset, off_t size)
{
    struct open_file *o = disk_get(fd);

    sim_step();
    if (o == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    if (mode != 0 || (size_t)(offset + size) <= o->node->size) {
        return mode != 0 ? (int)sim_result_of(-EOPNOTSUPP) : 0;
    }
    return (int)sim_result_of(do_truncate(fd, offset + size));
}

WRAP(int, posix_fallocate)(int fd, off_t offset, off_t size)
{
    return WRAPPED(fallocate)(fd, 0, offset, size) < 0 ? errno : 0;
}

WRAP(int, flock)(int fd, int operation)
{
    struct open_file *o = disk_get(fd);

    sim_step();
    if (o == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    if ((operation & LOCK_UN) != 0) {
        o->node->is_locked = o->node->is_locked && !o->has_lock;
        o->has_lock = false;
        sim_wake_all(o->node);
        return 0;
    }
    while (o->node->is_locked && !o->has_lock) {
        if ((operation & LOCK_NB) != 0) {
            return (int)sim_result_of(-EWOULDBLOCK);
        }
        (void)sim_block(o->node, sim_now_ns() + SIM_NS_PER_MS);
    }
    o->node->is_locked = true;
    o->has_lock = true;
    return 0;
}

int sim_file_lock(struct sim_file *f, const struct flock *lock)
{
    struct disk_node *n = NULL;

    if (f->ops != &disk_ops || lock->l_type == F_RDLCK) {
        return -EINVAL;
    }
    n = open_file(f)->node;
    if (lock->l_type == F_UNLCK) {
        n->owner = n->owner == f ? NULL : n->owner;
        return 0;
    }
    if ((f->flags & O_ACCMODE) == O_RDONLY || (n->owner != NULL && n->owner != f)) {
        return (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : -EAGAIN;
    }
    n->owner = f;
    return 0;
}

int sim_file_map(int fd, void *to, size_t size, off_t offset, bool is_shared_writable)
{
    const struct open_file *o = disk_get(fd);

    if (o == NULL) {
        return -EBADF;
    }
    if (is_shared_writable) {
        return -ENODEV;
    }
    if (sim_fault_draw(OP_file_read, SIM_KIND(READ_FAIL), NULL) != SIM_FAULT_NONE) {
        return -EIO;
    }
    if ((size_t)offset < o->node->size) {
        memcpy(to, o->node->data + offset, min_of(size, o->node->size - (size_t)offset));
    }
    return 0;
}

/* ---- Names ---- */

static int do_unlinkat(int dir_fd, const char *path, bool is_dir)
{
    struct disk_node *base = NULL;
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    int r = base_of(dir_fd, path, &base);

    if (r == 0) {
        r = disk_find(base, path, &n, &dir, &name);
    }
    if (r < 0) {
        return r;
    }
    if (dir == NULL || S_ISDIR(n->mode) != is_dir) {
        return dir == NULL ? -EBUSY : is_dir ? -ENOTDIR : -EISDIR;
    }
    if (n->names.count > 0) {
        return -ENOTEMPTY;
    }
    disk_set_name(dir, name, NULL);
    sim_trace("unlink %s", path);
    return 0;
}

int __real_unlink(const char *path);

WRAP(int, unlink)(const char *path)
{
    if (!sim_is_active()) {
        return __real_unlink(path);
    }
    sim_step();
    return (int)sim_result_of(do_unlinkat(AT_FDCWD, path, false));
}

WRAP(int, rmdir)(const char *path)
{
    sim_step();
    return (int)sim_result_of(do_unlinkat(AT_FDCWD, path, true));
}

WRAP(int, unlinkat)(int dir_fd, const char *path, int flags)
{
    sim_step();
    return (int)sim_result_of(do_unlinkat(dir_fd, path, (flags & AT_REMOVEDIR) != 0));
}

static int do_mkdirat(int dir_fd, const char *path, mode_t mode)
{
    struct disk_node *base = NULL;
    struct disk_node *n = NULL;
    struct disk_node *dir = NULL;
    const char *name = NULL;
    int r = base_of(dir_fd, path, &base);

    if (r < 0) {
        return r;
    }
    r = disk_find(base, path, &n, &dir, &name);
    if (r != -ENOENT || dir == NULL) {
        return r == 0 ? -EEXIST : r;
    }
    disk_set_name(dir, name, disk_node_new(S_IFDIR | (mode & 07777)));
    return 0;
}

int __real_mkdir(const char *path, mode_t mode);

WRAP(int, mkdir)(const char *path, mode_t mode)
{
    if (!sim_is_active()) {
        return __real_mkdir(path, mode);
    }
    sim_step();
    return (int)sim_result_of(do_mkdirat(AT_FDCWD, path, mode));
}

WRAP(int, mkdirat)(int dir_fd, const char *path, mode_t mode)
{
    sim_step();
    return (int)sim_result_of(do_mkdirat(dir_fd, path, mode));
}

static int do_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    struct disk_node *from_base = NULL;
    struct disk_node *to_base = NULL;
    struct disk_node *n = NULL;
    struct disk_node *there = NULL;
    struct disk_node *from_dir = NULL;
    struct disk_node *to_dir = NULL;
    const char *from_name = NULL;
    const char *to_name = NULL;
    int r = base_of(from_fd, from, &from_base);

    if (r == 0) {
        r = base_of(to_fd, to, &to_base);
    }
    if (r == 0) {
        r = disk_find(from_base, from, &n, &from_dir, &from_name);
    }
    if (r < 0) {
        return r;
    }
    r = disk_find(to_base, to, &there, &to_dir, &to_name);
    if (r < 0 && (r != -ENOENT || to_dir == NULL)) {
        return r;
    }
    if (there != NULL && (flags & RENAME_NOREPLACE) != 0) {
        return -EEXIST;
    }
    r = have_trouble();
    if (r < 0) {
        return r;
    }
    maybe_lose_power(OP_file_rename, SIM_KIND(CRASH_IN_TRANSACTION));
    if (there != n) {
        disk_move_name(from_dir, from_name, to_dir, to_name);
        sim_trace("rename %s to %s", from, to);
    }
    return 0;
}

WRAP(int, rename)(const char *from, const char *to)
{
    sim_step();
    return (int)sim_result_of(do_renameat2(AT_FDCWD, from, AT_FDCWD, to, 0));
}

WRAP(int, renameat)(int from_fd, const char *from, int to_fd, const char *to)
{
    sim_step();
    return (int)sim_result_of(do_renameat2(from_fd, from, to_fd, to, 0));
}

WRAP(int, renameat2)(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    sim_step();
    return (int)sim_result_of(do_renameat2(from_fd, from, to_fd, to, flags));
}

WRAP(int, linkat)(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    (void)from_fd;
    (void)from;
    (void)to_fd;
    (void)to;
    (void)flags;
    sim_step();
    return (int)sim_result_of(-EOPNOTSUPP);
}

static int path_stat(int dir_fd, const char *path, struct stat *out)
{
    struct disk_node *base = NULL;
    struct disk_node *n = NULL;
    int r = base_of(dir_fd, path, &base);

    if (r == 0) {
        r = disk_find(base, path, &n, NULL, NULL);
    }
    return r < 0 ? r : node_stat(n, out);
}

WRAP(int, stat)(const char *path, struct stat *out)
{
    sim_step();
    return (int)sim_result_of(path_stat(AT_FDCWD, path, out));
}

WRAP(int, lstat)(const char *path, struct stat *out)
{
    return WRAPPED(stat)(path, out);
}

WRAP(int, fstatat)(int dir_fd, const char *path, struct stat *out, int flags)
{
    (void)flags;
    sim_step();
    return (int)sim_result_of(path_stat(dir_fd, path, out));
}

WRAP(int, access)(const char *path, int mode)
{
    struct stat unused;

    (void)mode;
    return WRAPPED(stat)(path, &unused);
}

WRAP(int, faccessat)(int dir_fd, const char *path, int mode, int flags)
{
    struct stat unused;

    (void)mode;
    (void)flags;
    sim_step();
    return (int)sim_result_of(path_stat(dir_fd, path, &unused));
}

WRAP(int, fchmod)(int fd, mode_t mode)
{
    struct open_file *o = disk_get(fd);

    sim_step();
    if (o == NULL) {
        return (int)sim_result_of(-EBADF);
    }
    o->node->mode = (o->node->mode & S_IFMT) | (mode & 07777);
    return 0;
}

WRAP(int, chmod)(const char *path, mode_t mode)
{
    (void)mode;
    struct stat unused;

    return WRAPPED(stat)(path, &unused);
}

/* ---- Directories ---- */

/* The names as they were when it was opened: what is removed meanwhile moves no others. */
struct directory {
    struct disk_entry *entries;
    unsigned count;
    int fd;
    unsigned next;
    struct dirent entry;
};

WRAP(DIR *, fdopendir)(int fd)
{
    struct open_file *o = disk_get(fd);

    sim_step();
    if (o == NULL || !S_ISDIR(o->node->mode)) {
        errno = o == NULL ? EBADF : ENOTDIR;
        return NULL;
    }
    struct directory *d = sim_calloc(1, sizeof(*d));

    d->fd = fd;
    d->count = o->node->names.count;
    d->entries = sim_calloc(d->count + 1, sizeof(*d->entries));
    for (unsigned i = 0; i < d->count; i++) {
        d->entries[i].name = disk_copy_text(o->node->names.entries[i].name);
        d->entries[i].node = o->node->names.entries[i].node;
    }
    return (DIR *)d;
}

WRAP(DIR *, opendir)(const char *path)
{
    int fd = WRAPPED(open)(path, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : WRAPPED(fdopendir)(fd);

    return d;
}

WRAP(struct dirent *, readdir)(DIR *dir)
{
    struct directory *d = (struct directory *)dir;

    sim_step();
    if (d->next >= d->count) {
        return NULL;
    }
    const struct disk_entry *e = &d->entries[d->next++];

    d->entry.d_ino = e->node->inode;
    d->entry.d_type = S_ISDIR(e->node->mode) ? DT_DIR : DT_REG;
    (void)snprintf(d->entry.d_name, sizeof(d->entry.d_name), "%s", e->name);
    return &d->entry;
}

WRAP(int, dirfd)(DIR *dir)
{
    return ((struct directory *)dir)->fd;
}

WRAP(int, closedir)(DIR *dir)
{
    struct directory *d = (struct directory *)dir;
    int fd = d->fd;

    for (unsigned i = 0; i < d->count; i++) {
        sim_free(d->entries[i].name);
    }
    sim_free(d->entries);
    sim_free(d);
    return close(fd);
}
