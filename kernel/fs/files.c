/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor tables (contract in files.h). Slots and both bit maps are one block of memory; a
 * reserved descriptor has its bit set and an empty slot.
 *
 * Cost: fd_get about 25 instructions; a table that one task alone uses is read without its lock,
 * because only that task changes it (a second user needs a reference first).
 */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/files.h>
#include <fs/locks.h>
#include <fs/vfs.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

#define FIRST_CAPACITY 64u
#define CAPACITY_MAX   (1u << 20) /* fs.nr_open */

static struct slab_cache files_cache = SLAB_CACHE("files", struct files);

static size_t block_size(uint32_t capacity)
{
    return capacity * sizeof(struct file *) + (size_t)2 * (capacity / 8);
}

static void *block_alloc(size_t size)
{
    return size <= KMALLOC_MAX ? kmalloc(size, GFP_KERNEL) : vmalloc(size, GFP_KERNEL);
}

static void block_free(struct file **slots, uint32_t capacity)
{
    if (block_size(capacity) <= KMALLOC_MAX) {
        kfree(slots);
    } else {
        vfree(slots);
    }
}

/* Point the table at a cleared block. */
static void table_set_block(struct files *f, void *block, uint32_t capacity)
{
    memset(block, 0, block_size(capacity));
    f->slots = block;
    f->used = (uint64_t *)(void *)(f->slots + capacity);
    f->close_on_exec = f->used + capacity / 64;
    f->capacity = capacity;
}

static struct files *files_alloc(uint32_t capacity)
{
    struct files *f = slab_alloc(&files_cache, GFP_KERNEL);
    void *block = f ? block_alloc(block_size(capacity)) : NULL;

    if (!block) {
        slab_free(&files_cache, f);
        return NULL;
    }
    ref_init(&f->ref);
    spin_init(&f->lock, RANK_FILES);
    table_set_block(f, block, capacity);
    f->lowest_free = 0;
    return f;
}

struct files *files_create(void)
{
    return files_alloc(FIRST_CAPACITY);
}

/* One more than the highest used, rounded up to whole words. files->lock held or nobody else. */
static uint32_t used_extent(const struct files *f)
{
    uint32_t words = f->capacity / 64;

    while (words > 1 && f->used[words - 1] == 0) {
        words--;
    }
    return words * 64;
}

struct files *files_copy(struct files *from)
{
    uint32_t extent = FIRST_CAPACITY;

    for (;;) {
        struct files *to = files_alloc(extent);
        uint32_t needed;

        if (!to) {
            return NULL;
        }
        spin_lock(&from->lock);
        needed = used_extent(from);
        if (needed <= extent) {
            for (uint32_t word = 0; word < needed / 64; word++) {
                for (uint64_t bits = from->used[word]; bits; bits &= bits - 1) {
                    uint32_t fd = word * 64 + (uint32_t)__builtin_ctzll(bits);
                    struct file *f = from->slots[fd];

                    if (f) { /* a slot only reserved is not inherited */
                        to->slots[fd] = file_get(f);
                        to->used[word] |= UINT64_C(1) << (fd % 64);
                    }
                }
                to->close_on_exec[word] = from->close_on_exec[word] & to->used[word];
            }
            spin_unlock(&from->lock);
            return to;
        }
        spin_unlock(&from->lock);
        block_free(to->slots, to->capacity);
        slab_free(&files_cache, to);
        extent = needed; /* it has grown; a power of two is not needed here */
    }
}

static void file_close(struct files *owner, struct file *f)
{
    locks_release_posix(f, owner);
    if (f->ops->flush) {
        (void)f->ops->flush(f); /* close(2) reports it through fd_close() */
    }
    file_put(f);
}

void files_put(struct files *f)
{
    if (!ref_put(&f->ref)) {
        return;
    }
    for (uint32_t word = 0; word < f->capacity / 64; word++) {
        for (uint64_t bits = f->used[word]; bits; bits &= bits - 1) {
            struct file *file = f->slots[word * 64 + (uint32_t)__builtin_ctzll(bits)];

            if (file) {
                file_close(f, file);
            }
        }
    }
    block_free(f->slots, f->capacity);
    slab_free(&files_cache, f);
}

static bool is_shared(const struct files *f)
{
    return atomic_load_explicit(&f->ref.count, memory_order_relaxed) > 1;
}

int files_unshare(void)
{
    struct files *old = current->files;
    struct files *own;
    uint64_t flags;

    if (!is_shared(old)) {
        return 0;
    }
    own = files_copy(old);
    if (!own) {
        return -ENOMEM;
    }
    flags = spin_lock_irqsave(&current->process->signal_lock); /* /proc looks under it */
    current->files = own;
    spin_unlock_irqrestore(&current->process->signal_lock, flags);
    files_put(old);
    return 0;
}

/* Take descriptors [first, last] out; close_on_exec alone when `only_marked`. */
static void close_range_of(struct files *f, uint32_t first, uint32_t last, bool only_marked)
{
    for (uint32_t fd = first; fd <= last && fd < f->capacity;) {
        struct file *file = NULL;
        uint64_t bit;
        uint32_t word = fd / 64;
        uint64_t bits;

        spin_lock(&f->lock);
        bits = only_marked ? f->close_on_exec[word] & f->used[word] : f->used[word];
        bits &= UINT64_MAX << (fd % 64);
        if (!bits) {
            fd = (word + 1) * 64;
            spin_unlock(&f->lock);
            continue;
        }
        fd = word * 64 + (uint32_t)__builtin_ctzll(bits);
        bit = UINT64_C(1) << (fd % 64);
        if (fd <= last && f->slots[fd]) {
            file = f->slots[fd];
            f->slots[fd] = NULL;
            f->used[word] &= ~bit;
            f->close_on_exec[word] &= ~bit;
            f->lowest_free = min_of(f->lowest_free, fd);
        }
        spin_unlock(&f->lock);
        if (file) {
            file_close(f, file);
        }
        fd++;
    }
}

void files_close_on_exec(struct files *f)
{
    close_range_of(f, 0, UINT32_MAX - 1, true);
}

void files_close_range(struct files *f, uint32_t first, uint32_t last)
{
    close_range_of(f, first, last, false);
}

void files_mark_range(struct files *f, uint32_t first, uint32_t last)
{
    spin_lock(&f->lock);
    for (uint32_t fd = first; fd <= last && fd < f->capacity; fd++) {
        if (f->used[fd / 64] >> (fd % 64) & 1) {
            f->close_on_exec[fd / 64] |= UINT64_C(1) << (fd % 64);
        }
    }
    spin_unlock(&f->lock);
}

struct file *files_get(struct files *files, unsigned fd)
{
    struct file *f = NULL;

    if (!is_shared(files)) {
        f = fd < files->capacity ? files->slots[fd] : NULL;
        return f ? file_get(f) : NULL;
    }
    spin_lock(&files->lock);
    if (fd < files->capacity && files->slots[fd]) {
        f = file_get(files->slots[fd]);
    }
    spin_unlock(&files->lock);
    return f;
}

struct file *fd_get(int fd)
{
    return files_get(current->files, (unsigned)fd);
}

/* Twice the room, at least for `fd`. files->lock held on entry and return; gives it up meanwhile.
 */
static int grow_locked(struct files *f, uint32_t fd)
{
    uint32_t capacity = f->capacity;
    uint32_t old_capacity;
    struct file **old;
    const uint64_t *used;
    const uint64_t *marked;
    void *block;

    while (capacity <= fd) {
        capacity *= 2;
    }
    if (capacity > CAPACITY_MAX) {
        return -EMFILE;
    }
    spin_unlock(&f->lock);
    block = block_alloc(block_size(capacity));
    spin_lock(&f->lock);
    if (!block) {
        return -ENOMEM;
    }
    old = f->slots;
    old_capacity = f->capacity;
    used = f->used;
    marked = f->close_on_exec;
    if (old_capacity >= capacity) { /* somebody else was faster */
        spin_unlock(&f->lock);
        block_free(block, capacity);
        spin_lock(&f->lock);
        return 0;
    }
    table_set_block(f, block, capacity);
    memcpy(f->slots, old, old_capacity * sizeof(struct file *));
    memcpy(f->used, used, old_capacity / 8);
    memcpy(f->close_on_exec, marked, old_capacity / 8);
    spin_unlock(&f->lock);
    block_free(old, old_capacity);
    spin_lock(&f->lock);
    return 0;
}

/* The lowest free number >= from, or the table's capacity. */
static uint32_t find_free_locked(const struct files *f, uint32_t from)
{
    for (uint32_t fd = max_of(from, f->lowest_free); fd < f->capacity;) {
        uint64_t free = ~f->used[fd / 64] & (UINT64_MAX << (fd % 64));

        if (free) {
            return (fd & ~63u) + (uint32_t)__builtin_ctzll(free);
        }
        fd = (fd & ~63u) + 64;
    }
    return max_of(f->capacity, from);
}

/* Marks the number used. */
static int reserve_locked(struct files *f, uint32_t from, bool close_on_exec)
{
    uint64_t limit = limit_of(RLIMIT_NOFILE);

    for (;;) {
        uint32_t fd = find_free_locked(f, from);
        uint64_t bit = UINT64_C(1) << (fd % 64);
        int err;

        if (fd >= limit || fd >= CAPACITY_MAX) {
            return -EMFILE;
        }
        if (fd < f->capacity) {
            f->used[fd / 64] |= bit;
            if (close_on_exec) {
                f->close_on_exec[fd / 64] |= bit;
            } else {
                f->close_on_exec[fd / 64] &= ~bit;
            }
            if (from <= f->lowest_free) {
                f->lowest_free = fd + 1;
            }
            return (int)fd;
        }
        err = grow_locked(f, fd);
        if (err < 0) {
            return err;
        }
    }
}

int fd_install(struct file *f, unsigned from, bool close_on_exec)
{
    struct files *files = current->files;
    int fd;

    spin_lock(&files->lock);
    fd = reserve_locked(files, from, close_on_exec);
    if (fd >= 0) {
        files->slots[fd] = f;
    }
    spin_unlock(&files->lock);
    return fd;
}

int fd_reserve(unsigned from, bool close_on_exec)
{
    struct files *files = current->files;
    int fd;

    spin_lock(&files->lock);
    fd = reserve_locked(files, from, close_on_exec);
    spin_unlock(&files->lock);
    return fd;
}

void fd_publish(int fd, struct file *f)
{
    struct files *files = current->files;

    spin_lock(&files->lock);
    assert(!files->slots[fd]);
    files->slots[fd] = f;
    spin_unlock(&files->lock);
}

void fd_unreserve(int fd)
{
    struct files *files = current->files;
    uint64_t bit = UINT64_C(1) << ((unsigned)fd % 64);

    spin_lock(&files->lock);
    assert(!files->slots[fd]);
    files->used[(unsigned)fd / 64] &= ~bit;
    files->lowest_free = min_of(files->lowest_free, (uint32_t)fd);
    spin_unlock(&files->lock);
}

int fd_install_pair(struct file *take_files[2], bool close_on_exec, void __user *to)
{
    int32_t fds[2];
    int err;

    fds[0] = fd_reserve(0, close_on_exec);
    fds[1] = fds[0] < 0 ? fds[0] : fd_reserve(0, close_on_exec);
    err = fds[1] < 0 ? fds[1] : copy_to_user(to, fds, sizeof(fds));
    if (err < 0) {
        if (fds[1] >= 0) {
            fd_unreserve(fds[1]);
        }
        if (fds[0] >= 0) {
            fd_unreserve(fds[0]);
        }
        file_put(take_files[0]);
        file_put(take_files[1]);
        return err;
    }
    fd_publish(fds[0], take_files[0]);
    fd_publish(fds[1], take_files[1]);
    return 0;
}

int fd_close(int fd)
{
    struct files *files = current->files;
    uint32_t n = (uint32_t)fd;
    struct file *f = NULL;
    int err = 0;

    spin_lock(&files->lock);
    if (n < files->capacity && files->slots[n]) {
        uint64_t bit = UINT64_C(1) << (n % 64);

        f = files->slots[n];
        files->slots[n] = NULL;
        files->used[n / 64] &= ~bit;
        files->close_on_exec[n / 64] &= ~bit;
        files->lowest_free = min_of(files->lowest_free, n);
    }
    spin_unlock(&files->lock);
    if (!f) {
        return -EBADF;
    }
    locks_release_posix(f, files);
    if (f->ops->flush) {
        err = f->ops->flush(f);
    }
    file_put(f);
    return err;
}

/* dup2: put f (whose reference is taken on success) at exactly `fd`; what was there is closed. */
int files_replace(unsigned fd, struct file *f, bool close_on_exec)
{
    struct files *files = current->files;
    uint64_t bit = UINT64_C(1) << (fd % 64);
    struct file *old;
    int err = 0;

    if (fd >= limit_of(RLIMIT_NOFILE) || fd >= CAPACITY_MAX) {
        return -EBADF;
    }
    spin_lock(&files->lock);
    if (fd >= files->capacity) {
        err = grow_locked(files, fd);
    }
    if (err == 0 && !files->slots[fd] && (files->used[fd / 64] & bit)) {
        err = -EBUSY; /* open(2) of another thread is about to fill it */
    }
    if (err < 0) {
        spin_unlock(&files->lock);
        return err;
    }
    old = files->slots[fd];
    files->slots[fd] = f;
    files->used[fd / 64] |= bit;
    if (close_on_exec) {
        files->close_on_exec[fd / 64] |= bit;
    } else {
        files->close_on_exec[fd / 64] &= ~bit;
    }
    if (files->lowest_free == fd) {
        files->lowest_free = fd + 1;
    }
    spin_unlock(&files->lock);
    if (old) {
        file_close(files, old);
    }
    return (int)fd;
}

int files_get_flag(int fd)
{
    struct files *files = current->files;
    uint32_t n = (uint32_t)fd;
    int flag = -EBADF;

    spin_lock(&files->lock);
    if (n < files->capacity && files->slots[n]) {
        flag = (int)(files->close_on_exec[n / 64] >> (n % 64) & 1);
    }
    spin_unlock(&files->lock);
    return flag;
}

int files_set_flag(int fd, bool close_on_exec)
{
    struct files *files = current->files;
    uint32_t n = (uint32_t)fd;
    int err = -EBADF;

    spin_lock(&files->lock);
    if (n < files->capacity && files->slots[n]) {
        uint64_t bit = UINT64_C(1) << (n % 64);

        if (close_on_exec) {
            files->close_on_exec[n / 64] |= bit;
        } else {
            files->close_on_exec[n / 64] &= ~bit;
        }
        err = 0;
    }
    spin_unlock(&files->lock);
    return err;
}

int files_next(struct files *files, unsigned from)
{
    int found = -1;

    spin_lock(&files->lock);
    for (uint32_t fd = from; fd < files->capacity && found < 0; fd++) {
        if (files->slots[fd]) {
            found = (int)fd;
        }
    }
    spin_unlock(&files->lock);
    return found;
}

/* --- working directory, root, umask ----------------------------------------------------------- */

static struct slab_cache fs_context_cache = SLAB_CACHE("fs_context", struct fs_context);

struct fs_context *fs_context_create(void)
{
    struct fs_context *c = slab_alloc(&fs_context_cache, GFP_KERNEL);

    if (!c) {
        return NULL;
    }
    ref_init(&c->ref);
    atomic_store_explicit(&c->umask, 022, memory_order_relaxed);
    c->root.mount = root_mount;
    c->root.dentry = root_mount->root;
    path_get(&c->root);
    c->cwd = c->root;
    path_get(&c->cwd);
    return c;
}

struct fs_context *fs_context_copy(struct fs_context *from)
{
    struct fs_context *c = slab_alloc(&fs_context_cache, GFP_KERNEL);

    if (!c) {
        return NULL;
    }
    ref_init(&c->ref);
    atomic_store_explicit(&c->umask, atomic_load_explicit(&from->umask, memory_order_relaxed),
                          memory_order_relaxed);
    spin_lock(&dentry_lock);
    c->root = from->root;
    c->cwd = from->cwd;
    path_get(&c->root);
    path_get(&c->cwd);
    spin_unlock(&dentry_lock);
    return c;
}

struct fs_context *fs_context_get(struct fs_context *c)
{
    ref_get(&c->ref);
    return c;
}

void fs_context_put(struct fs_context *c)
{
    if (ref_put(&c->ref)) {
        path_put(&c->root);
        path_put(&c->cwd);
        slab_free(&fs_context_cache, c);
    }
}

static void copy_path(const struct path *from, struct path *out)
{
    spin_lock(&dentry_lock);
    *out = *from;
    path_get(out);
    spin_unlock(&dentry_lock);
}

void fs_root(struct path *out)
{
    copy_path(&current->fs->root, out);
}

void fs_cwd(struct path *out)
{
    copy_path(&current->fs->cwd, out);
}

static void replace_path(struct path *slot, const struct path *p)
{
    struct path old;

    path_get(p);
    spin_lock(&dentry_lock);
    old = *slot;
    *slot = *p;
    spin_unlock(&dentry_lock);
    path_put(&old);
}

void fs_set_cwd(const struct path *p)
{
    replace_path(&current->fs->cwd, p);
}

void fs_set_root(const struct path *p)
{
    replace_path(&current->fs->root, p);
}
