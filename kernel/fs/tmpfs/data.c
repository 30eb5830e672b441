/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File data of tmpfs. A page is, in this order: in the page cache; in the image below, as a frame
 * that is given out as it is for reading and copied for writing; or a hole. So a file is never
 * copied as a whole.
 *
 * write_lock orders writers, truncation and hole punching; page faults take no lock but the
 * mapping's, so they look at the size again after they entered a page.
 */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/tmpfs/tmpfs.h>
#include <mm/mm.h>
#include <proc/process.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <mm/reclaim.h>

static uint64_t size_of(const struct tmpfs_node *n)
{
    return __atomic_load_n(&n->inode.size, __ATOMIC_ACQUIRE);
}

static void set_size(struct tmpfs_node *n, uint64_t size)
{
    /* release: pairs with the acquire in size_of(); the bytes are there before the size says so. */
    __atomic_store_n(&n->inode.size, size, __ATOMIC_RELEASE);
}

static bool has_room(const struct tmpfs *fs, uint64_t pages)
{
    return pages <= fs->pages_max &&
           __atomic_load_n(&fs->pages_used, __ATOMIC_RELAXED) <= fs->pages_max - pages;
}

void tmpfs_recharge(struct tmpfs_node *n)
{
    struct tmpfs *fs = n->fs;
    /* What was only read from the image can be read again: it takes no room. */
    bool is_clean = n->is_from_image && !n->is_pinned && n->inode.nlink > 0;
    uint64_t count = is_clean ? 0 : n->inode.mapping.page_count;

    spin_lock(&fs->lock);
    fs->pages_used += count - n->pages_charged;
    n->pages_charged = count;
    spin_unlock(&fs->lock);
}

/* Whole frames of the image that are page `index` and those behind it; 0: none. */
static uint64_t image_run(const struct tmpfs_node *n, uint64_t index, paddr_t *first)
{
    uint64_t whole = n->lower_size >> PAGE_SHIFT;
    uint64_t run;

    if (!n->has_lower || index << PAGE_SHIFT >= n->lower_size) {
        return 0;
    }
    /* The page with the end counts only while the file still ends there: zeros follow in it. */
    if ((n->lower_size & ~PAGE_MASK) && n->lower_size == n->lower.size &&
        size_of(n) <= n->lower_size) {
        whole++;
    }
    if (index >= whole) {
        return 0;
    }
    run = erofs_frames(&n->fs->lower, &n->lower, index, first);
    return min_of(run, whole - index);
}

/* Old contents of page `index` from byte `from` on: the image's bytes, then zeros. */
static int fill_page(struct tmpfs_node *n, uint64_t index, char *page, size_t from)
{
    uint64_t start = (index << PAGE_SHIFT) + from;
    size_t size = PAGE_SIZE - from;
    size_t have = 0;

    if (n->has_lower && start < n->lower_size) {
        int err;

        have = (size_t)min_of((uint64_t)size, n->lower_size - start);
        err = erofs_read(&n->fs->lower, &n->lower, start, page + from, have);
        if (err < 0) {
            return err;
        }
    }
    if (have < size) {
        memset(page + from + have, 0, size - have);
    }
    return 0;
}

/* Enter a page that was not there. On 0 the caller keeps his reference. */
static int enter_page(struct tmpfs_node *n, uint64_t index, struct page *p)
{
    struct mapping *m = &n->inode.mapping;
    int err = mapping_insert(m, index, p);

    if (err < 0) {
        return err;
    }
    tmpfs_recharge(n);
    if (!list_is_empty(&m->vmas)) {
        mm_unmap_mapping(m, index, 1); /* programs that saw the image's frame or a hole */
    }
    return 0;
}

static struct page *new_page(struct tmpfs_node *n, bool takes_room, bool clear, int *err)
{
    struct page *p;

    if (takes_room && !has_room(n->fs, 1)) {
        *err = -ENOSPC;
        return NULL;
    }
    p = page_alloc_reclaim(GFP_USER | (clear ? GFP_ZERO : 0u));
    *err = p ? 0 : -ENOMEM;
    return p;
}

static bool is_in_image(const struct tmpfs_node *n, uint64_t index)
{
    return n->has_lower && index << PAGE_SHIFT < n->lower_size;
}

static int get_page(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    struct tmpfs_node *n = tmpfs_node_of(m->inode);
    struct page *p;
    int err;

    for (;;) {
        if (index >= div_ceil(size_of(n), PAGE_SIZE)) {
            return -ERANGE;
        }
        p = m->page_count > 0 ? mapping_lookup(m, index) : NULL;
        if (p) {
            break;
        }
        out->page = NULL;
        if (!(how & MAPPING_WRITE)) {
            if (image_run(n, index, &out->pa) > 0) {
                return 0;
            }
            if (!is_in_image(n, index)) {
                return -ENODATA;
            }
        }
        if (how & MAPPING_RESIDENT) {
            return -EAGAIN;
        }
        if (how & MAPPING_WRITE) {
            tmpfs_changed(n);
        }
        p = new_page(n, (how & MAPPING_WRITE) != 0, !is_in_image(n, index), &err);
        if (!p) {
            return err;
        }
        if (is_in_image(n, index)) {
            err = fill_page(n, index, page_address(p), 0);
        }
        if (err == 0) {
            err = enter_page(n, index, p);
        }
        if (err == 0 && index >= div_ceil(size_of(n), PAGE_SIZE)) {
            mapping_drop(m, index, 1); /* truncated meanwhile */
            tmpfs_recharge(n);
            err = -ERANGE;
        }
        if (err == 0) {
            break;
        }
        page_put(p);
        if (err != -EEXIST) {
            return err;
        }
    }
    if (how & MAPPING_WRITE) {
        tmpfs_changed(n);
    }
    out->page = p;
    out->pa = page_to_phys(p);
    return 0;
}

static uint64_t direct_run(struct mapping *m, uint64_t index, paddr_t *first)
{
    uint64_t run = image_run(tmpfs_node_of(m->inode), index, first);

    if (run > 0 && m->page_count > 0) {
        uint64_t cached = mapping_next(m, index);

        run = min_of(run, cached - index);
    }
    return run;
}

const struct mapping_ops tmpfs_mapping_ops = { .get = get_page, .direct_run = direct_run };

/* --- size ------------------------------------------------------------------------------------- */

/* The rest of the page that `size` cuts reads as zero from now on. */
static int clear_tail(struct tmpfs_node *n, uint64_t size)
{
    struct mapping *m = &n->inode.mapping;
    uint64_t index = size >> PAGE_SHIFT;
    size_t offset = (size_t)(size & ~PAGE_MASK);
    struct page *p;

    if (offset == 0) {
        return 0;
    }
    p = mapping_lookup(m, index);
    if (p) {
        memset((char *)page_address(p) + offset, 0, PAGE_SIZE - offset);
        page_put(p);
    } else if (!list_is_empty(&m->vmas)) {
        mm_unmap_mapping(m, index, 1); /* the image's frame shows more than the file has */
    }
    return 0;
}

int tmpfs_resize(struct tmpfs_node *n, uint64_t size)
{
    uint64_t old = size_of(n);
    uint64_t first = div_ceil(size, PAGE_SIZE);

    if (size < old) {
        if (n->seals & F_SEAL_SHRINK) {
            return -EPERM;
        }
        set_size(n, size);
        n->lower_size = min_of(n->lower_size, size);
        mapping_drop(&n->inode.mapping, first, UINT64_MAX - first);
        tmpfs_recharge(n);
        tmpfs_changed(n);
        return clear_tail(n, size);
    }
    if (size > old) {
        if (n->seals & F_SEAL_GROW) {
            return -EPERM;
        }
        tmpfs_changed(n);
        set_size(n, size);
        if ((old & ~PAGE_MASK) && !list_is_empty(&n->inode.mapping.vmas)) {
            mm_unmap_mapping(&n->inode.mapping, old >> PAGE_SHIFT, 1);
        }
    }
    return 0;
}

int tmpfs_setattr(struct inode *inode, const struct attr *a)
{
    struct tmpfs_node *n = tmpfs_node_of(inode);

    if (a->mask & ATTR_SIZE) {
        int err = S_ISREG(inode->mode) ? tmpfs_resize(n, a->size) : -EINVAL;

        if (err < 0) {
            return err;
        }
    }
    inode_apply_attr(inode, a);
    tmpfs_changed(n);
    return 0;
}

void tmpfs_refresh(struct inode *inode)
{
    struct tmpfs_node *n = tmpfs_node_of(inode);

    if (S_ISREG(inode->mode)) {
        inode->blocks = inode->mapping.page_count * (PAGE_SIZE / 512);
        if (n->has_lower && inode->mapping.page_count == 0) {
            inode->blocks = div_ceil(n->lower_size, 512);
        }
    } else if (S_ISDIR(inode->mode) && inode->size == 0) {
        inode->size = PAGE_SIZE;
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

/* How much of `want` may be written at `at`: limits and seals. 0 with *err. */
static uint64_t allowed(struct tmpfs_node *n, uint64_t at, uint64_t want, int *err)
{
    uint64_t limit = limit_of(RLIMIT_FSIZE);

    if (n->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
        *err = -EPERM;
        return 0;
    }
    if ((n->seals & F_SEAL_GROW) && at + want > size_of(n)) {
        *err = -EPERM;
        return 0;
    }
    if (at >= limit) {
        (void)signal_send_task(current, SIGXFSZ, NULL);
        *err = -EFBIG;
        return 0;
    }
    limit = min_of(limit, (uint64_t)INT64_MAX);
    if (at >= limit) {
        *err = -EFBIG;
        return 0;
    }
    return min_of(want, limit - at);
}

/* Up to one page at `at`; bytes written, or -errno. */
static ssize_t write_chunk(struct tmpfs_node *n, struct uio *u, uint64_t at, uint64_t want)
{
    struct mapping *m = &n->inode.mapping;
    uint64_t index = at >> PAGE_SHIFT;
    size_t offset = (size_t)(at & ~PAGE_MASK);
    size_t size = (size_t)min_of(want, PAGE_SIZE - offset);
    struct page *p = mapping_lookup(m, index);
    bool is_new = !p;
    ssize_t done;
    int err = 0;

    if (is_new) {
        /* What is overwritten as a whole needs neither old bytes nor zeros. */
        bool is_whole = size == PAGE_SIZE;
        bool in_image = is_in_image(n, index);

        p = new_page(n, true, !is_whole && !in_image, &err);
        if (p && !is_whole && in_image) {
            err = fill_page(n, index, page_address(p), 0);
        }
        if (err < 0) {
            if (p) {
                page_put(p);
            }
            return err;
        }
    }
    done = uio_copy_in(u, (char *)page_address(p) + offset, size);
    if (is_new && done > 0) {
        if (size == PAGE_SIZE && (size_t)done < size) {
            err = fill_page(n, index, page_address(p), (size_t)done);
        }
        if (err == 0) {
            err = enter_page(n, index, p);
        }
        if (err == -EEXIST) {
            /* A page fault entered one meanwhile: the bytes go there. */
            struct page *theirs = mapping_lookup(m, index);

            err = theirs ? 0 : -EIO;
            if (theirs) {
                memcpy((char *)page_address(theirs) + offset, (char *)page_address(p) + offset,
                       (size_t)done);
                page_put(theirs);
            }
        }
    }
    page_put(p);
    return err < 0 ? err : done;
}

static ssize_t tmpfs_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct inode *inode = f->inode;
    struct tmpfs_node *n = tmpfs_node_of(inode);
    uint64_t want = u->remaining;
    ssize_t done = 0;
    uint64_t at;
    int err = 0;

    if (want == 0) {
        return 0;
    }
    mutex_lock(&inode->write_lock);
    at = (uint64_t)*pos;
    if (atomic_load_explicit(&f->flags, memory_order_relaxed) & O_APPEND) {
        at = size_of(n);
    }
    want = allowed(n, at, want, &err);
    if (want > 0) {
        inode_drop_suid(inode);
        tmpfs_changed(n);
        if (at > size_of(n)) {
            err = tmpfs_resize(n, at);
        }
    }
    while (err == 0 && want > 0) {
        ssize_t part = write_chunk(n, u, at, want);

        if (part <= 0) {
            err = part < 0 ? (int)part : -EFAULT;
            break;
        }
        at += (uint64_t)part;
        want -= (uint64_t)part;
        done += part;
        if (at > size_of(n)) {
            set_size(n, at);
        }
    }
    if (done > 0) {
        inode_touch(inode, ATTR_MTIME | ATTR_CTIME);
        *pos = (int64_t)at;
    }
    mutex_unlock(&inode->write_lock);
    return done > 0 ? done : err;
}

/* --- holes ------------------------------------------------------------------------------------ */

static int punch(struct tmpfs_node *n, uint64_t offset, uint64_t end)
{
    struct mapping *m = &n->inode.mapping;
    uint64_t first = div_ceil(offset, PAGE_SIZE);
    uint64_t last = end >> PAGE_SHIFT;
    struct frame frame;
    int err;

    /* Pages of the image cannot go: zeros take their place. */
    for (uint64_t index = offset >> PAGE_SHIFT; index < div_ceil(end, PAGE_SIZE); index++) {
        uint64_t from = max_of(offset, index << PAGE_SHIFT);
        uint64_t to = min_of(end, (index + 1) << PAGE_SHIFT);

        if (!is_in_image(n, index)) {
            if (index >= first && index < last) {
                break; /* from here on whole pages of memory */
            }
            if (mapping_next(m, index) != index) {
                continue;
            }
        }
        err = get_page(m, index, MAPPING_WRITE, &frame);
        if (err < 0) {
            return err == -ERANGE ? 0 : err;
        }
        memset((char *)phys_to_virt(frame.pa) + (from & ~PAGE_MASK), 0, (size_t)(to - from));
        page_put(frame.page);
    }
    if (n->has_lower) {
        first = max_of(first, div_ceil(n->lower_size, PAGE_SIZE));
    }
    if (first < last) {
        mapping_drop(m, first, last - first);
    }
    if (end > last << PAGE_SHIFT && mapping_next(m, last) == last && !is_in_image(n, last) &&
        last >= first) {
        err = get_page(m, last, MAPPING_WRITE, &frame);
        if (err == 0) {
            memset(phys_to_virt(frame.pa), 0, (size_t)(end & ~PAGE_MASK));
            page_put(frame.page);
        }
    }
    tmpfs_recharge(n);
    return 0;
}

static int tmpfs_allocate(struct inode *inode, int mode, uint64_t offset, uint64_t size)
{
    struct tmpfs_node *n = tmpfs_node_of(inode);
    uint64_t end = offset + size; /* the caller checked the sum */
    struct frame frame;
    int err = 0;

    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)) {
        return -EOPNOTSUPP;
    }
    if (mode & FALLOC_FL_PUNCH_HOLE) {
        if (!(mode & FALLOC_FL_KEEP_SIZE)) {
            return -EOPNOTSUPP;
        }
        if (n->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
            return -EPERM;
        }
        end = min_of(end, size_of(n));
        err = offset < end ? punch(n, offset, end) : 0;
    } else {
        uint64_t old = size_of(n);
        uint64_t wanted = (mode & FALLOC_FL_KEEP_SIZE) ? min_of(end, old) : end;

        if (end > old && !(mode & FALLOC_FL_KEEP_SIZE) && (n->seals & F_SEAL_GROW)) {
            return -EPERM;
        }
        if (!has_room(n->fs, (size >> PAGE_SHIFT) + 1)) {
            return -ENOSPC;
        }
        if (wanted > old) {
            err = tmpfs_resize(n, wanted);
        }
        for (uint64_t index = offset >> PAGE_SHIFT; err == 0 && index < div_ceil(wanted, PAGE_SIZE);
             index++) {
            if (is_in_image(n, index)) {
                continue; /* there already */
            }
            err = get_page(&inode->mapping, index, MAPPING_WRITE, &frame);
            if (err == 0) {
                page_put(frame.page);
            }
        }
        if (err < 0 && wanted > old) {
            int undone = tmpfs_resize(n, old);

            assert(undone == 0 || (n->seals & F_SEAL_SHRINK));
        }
    }
    if (err == 0) {
        inode_touch(inode, ATTR_MTIME | ATTR_CTIME);
        tmpfs_changed(n);
    }
    return err;
}

/* SEEK_DATA and SEEK_HOLE look at pages; the image's part is all data. */
static int64_t seek_sparse(struct tmpfs_node *n, uint64_t offset, bool wants_data)
{
    struct mapping *m = &n->inode.mapping;
    uint64_t size = size_of(n);
    uint64_t index = offset >> PAGE_SHIFT;

    if (offset >= size) {
        return -ENXIO;
    }
    if (wants_data) {
        if (is_in_image(n, index)) {
            return (int64_t)offset;
        }
        index = mapping_next(m, index);
        if (index >= div_ceil(size, PAGE_SIZE)) {
            return -ENXIO;
        }
        return (int64_t)max_of(offset, index << PAGE_SHIFT);
    }
    while (index < div_ceil(size, PAGE_SIZE) &&
           (is_in_image(n, index) || mapping_next(m, index) == index)) {
        index++;
    }
    return (int64_t)min_of(max_of(offset, index << PAGE_SHIFT), size);
}

static int64_t tmpfs_seek(struct file *f, int64_t offset, int whence)
{
    struct tmpfs_node *n = tmpfs_node_of(f->inode);

    if (whence == SEEK_DATA || whence == SEEK_HOLE) {
        int64_t at = offset < 0 ? -ENXIO : seek_sparse(n, (uint64_t)offset, whence == SEEK_DATA);

        if (at >= 0) {
            f->pos = at;
        }
        return at;
    }
    return seek_plain(f, offset, whence, (int64_t)size_of(n));
}

static int tmpfs_fsync(struct file *f, bool data_only)
{
    (void)f;
    (void)data_only;
    return 0; /* memory is all the storage there is */
}

/* A sealed file is not written through a mapping either. */
static int tmpfs_mmap(struct file *f, uint32_t vma_flags, struct mapping **mapping)
{
    const struct tmpfs_node *n = tmpfs_node_of(f->inode);

    if ((n->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) && (vma_flags & VMA_SHARED) &&
        (vma_flags & VMA_WRITE)) {
        return -EPERM;
    }
    *mapping = &f->inode->mapping;
    return 0;
}

const struct inode_ops tmpfs_file_ops_inode = {
    .setattr = tmpfs_setattr,
    .refresh = tmpfs_refresh,
    .allocate = tmpfs_allocate,
    .evict = tmpfs_evict,
    .free = tmpfs_free,
};

const struct inode_ops tmpfs_link_ops = {
    .setattr = tmpfs_setattr,
    .evict = tmpfs_evict,
    .free = tmpfs_free,
};

const struct inode_ops tmpfs_special_ops = {
    .setattr = tmpfs_setattr,
    .evict = tmpfs_evict,
    .free = tmpfs_free,
};

const struct file_ops tmpfs_file_ops = {
    .read = page_read,
    .write = tmpfs_write,
    .poll = page_poll,
    .seek = tmpfs_seek,
    .mmap = tmpfs_mmap,
    .fsync = tmpfs_fsync,
};
