/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File data. read and write go to the server each time: large ones between the file and the
 * program's own pages, small ones through a page of ours. What is mapped lies in the page cache and
 * is read 16 pages at once.
 */
#include <core/string.h>
#include <fs/attr.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/file.h>
#include <fs/p9/p9.h>
#include <mm/mm.h>
#include <mm/reclaim.h>
#include <mm/slab.h>
#include <proc/process.h>
#include <proc/signal.h>
#include <sched/task.h>

#define QID_SIZE    13u
#define OPEN_FLAGS  (O_ACCMODE | O_APPEND | O_DIRECTORY | O_LARGEFILE | O_SYNC)
#define CHUNK_ORDER 4u
#define CHUNK_MAX   (PAGE_SIZE << CHUNK_ORDER)
#define DIRECT_MIN  2048u
#define CLUSTER     P9_DATA_SEGMENTS_MAX

static uint32_t fid_of(const struct file *f)
{
    return (uint32_t)(uintptr_t)f->private;
}

static uint64_t size_of(const struct inode *i)
{
    return __atomic_load_n(&i->size, __ATOMIC_ACQUIRE);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int clone_fid(struct p9_session *s, uint32_t fid, uint32_t made)
{
    struct p9_call *c = p9_begin(s, P9_TWALK, 10, 2);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid);
    p9_put32(&c->put, made);
    p9_put16(&c->put, 0);
    err = p9_run_making_fid(s, c);
    p9_end(c);
    return err;
}

int p9_open_fid(struct p9_session *s, uint32_t fid, uint32_t flags, uint32_t *out)
{
    uint32_t made = p9_new_fid(s);
    struct p9_call *c = p9_begin(s, s->has_extensions ? P9_TOPENNEW : P9_TLOPEN, 12, QID_SIZE + 4);
    int err = c ? 0 : -ENOMEM;

    if (err < 0) {
        return err;
    }
    if (s->has_extensions) {
        p9_put32(&c->put, fid);
    } else {
        err = clone_fid(s, fid, made);
    }
    if (err == 0) {
        p9_put32(&c->put, made);
        p9_put32(&c->put, flags & OPEN_FLAGS);
        err = p9_run_making_fid(s, c);
        if (err < 0 && !s->has_extensions) {
            p9_clunk(s, made);
        }
    }
    p9_end(c);
    *out = made;
    return err;
}

void p9_check_pages(struct p9_node *n)
{
    struct inode *i = &n->inode;

    if (n->pages_mtime.sec == i->mtime.sec && n->pages_mtime.nsec == i->mtime.nsec &&
        n->pages_size == i->size) {
        return;
    }
    if (i->mapping.page_count > 0) {
        mapping_drop(&i->mapping, 0, UINT64_MAX);
    }
    n->pages_mtime = i->mtime;
    n->pages_size = i->size;
}

static int p9_open(struct inode *inode, struct file *f)
{
    struct p9_node *n = p9_node_of(inode);
    unsigned flags = atomic_load_explicit(&f->flags, memory_order_relaxed);
    uint32_t fid = P9_FID_NONE;
    int err = 0;

    if (!(flags & (O_APPEND | O_SYNC))) {
        fid = atomic_exchange_explicit(&n->fresh_fid, P9_FID_NONE, memory_order_acq_rel);
    }
    if (fid == P9_FID_NONE) {
        err = p9_open_fid(n->fs->session, n->fid, flags, &fid);
    }
    if (err < 0) {
        return err;
    }
    f->private = (void *)(uintptr_t)fid;
    if (inode->mapping.page_count > 0) {
        p9_refresh_old(n);
        p9_check_pages(n);
    }
    return 0;
}

static void p9_release(struct file *f)
{
    p9_clunk(p9_node_of(f->inode)->fs->session, fid_of(f));
}

/* --- transfers -------------------------------------------------------------------------------- */

/* Read into segments. Bytes that came, or -errno. */
static ssize_t read_into(struct p9_session *s, uint32_t fid, uint64_t offset,
                         const struct virtio_segment *segments, unsigned count, uint32_t size)
{
    struct p9_call *c = p9_begin(s, P9_TREAD, 16, 4);
    ssize_t n;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid);
    p9_put64(&c->put, offset);
    p9_put32(&c->put, size);
    c->message.data = segments;
    c->message.data_count = count;
    c->message.is_data_in = true;
    n = p9_run(s, c);
    if (n == 0) {
        uint32_t got = p9_get32(&c->get);

        /* More than was asked for, or than was written: a lie. */
        n = c->get.is_short || got > size || got > c->message.written - P9_HEADER_SIZE - 4u
                ? -EIO
                : (ssize_t)got;
    }
    p9_end(c);
    return n;
}

/* Write from segments. Bytes that were taken, or -errno. */
static ssize_t write_from(struct p9_session *s, uint32_t fid, uint64_t offset,
                          const struct virtio_segment *segments, unsigned count, uint32_t size)
{
    struct p9_call *c = p9_begin(s, P9_TWRITE, 16, 4);
    ssize_t n;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid);
    p9_put64(&c->put, offset);
    p9_put32(&c->put, size);
    c->message.data = segments;
    c->message.data_count = count;
    n = p9_run(s, c);
    if (n == 0) {
        uint32_t done = p9_get32(&c->get);

        n = c->get.is_short || done > size ? -EIO : (ssize_t)done;
    }
    p9_end(c);
    return n;
}

/*
 * A large transfer goes between the file and the program's own pages: copying a page costs more
 * than finding it. *asked: how much was tried. -EAGAIN: not this way. To read so, the process has
 * one thread: another one could fork, and the pages would be written behind the copy's back.
 */
static ssize_t transfer_direct(struct file *f, struct uio *u, uint64_t at, uint64_t limit,
                               bool is_read, uint32_t *asked)
{
    struct p9_session *s = p9_node_of(f->inode)->fs->session;
    const struct process *process = current->process;
    struct virtio_segment segments[P9_DATA_SEGMENTS_MAX];
    struct mm_pin pins[P9_DATA_SEGMENTS_MAX];
    uint64_t addr;
    uint64_t piece = min_of((uint64_t)uio_piece(u, &addr), limit);
    unsigned room = (s->message_max - 64) >> PAGE_SHIFT;
    unsigned count;
    ssize_t n;

    if (piece < DIRECT_MIN || room == 0 || !process || !current->mm ||
        (is_read && process->thread_count != 1)) {
        return -EAGAIN;
    }
    count =
        mm_pin(current->mm, addr, (size_t)piece, is_read, pins, min_of(room, P9_DATA_SEGMENTS_MAX));
    *asked = 0;
    for (unsigned i = 0; i < count; i++) {
        segments[i] = (struct virtio_segment){ pins[i].at, pins[i].size };
        *asked += pins[i].size;
    }
    if (count == 0) {
        return -EAGAIN; /* copying finds out why */
    }
    n = is_read ? read_into(s, fid_of(f), at, segments, count, *asked)
                : write_from(s, fid_of(f), at, segments, count, *asked);
    mm_unpin(pins, count);
    if (n > 0) {
        uio_advance(u, (size_t)n);
    }
    return n;
}

/* Pages in a row for `want` bytes, or as many as there are. */
static struct page *chunk_alloc(const struct p9_session *s, uint64_t want, uint32_t *size)
{
    unsigned order = 0;
    struct page *p;

    while (order < CHUNK_ORDER && (PAGE_SIZE << order) < want &&
           (PAGE_SIZE << (order + 1)) + 64 <= s->message_max) {
        order++;
    }
    for (;;) {
        p = order > 0 ? page_alloc(order, GFP_USER) : page_alloc_reclaim(GFP_USER);
        if (p || order == 0) {
            break;
        }
        order--;
    }
    *size = (uint32_t)min_of(want, (uint64_t)PAGE_SIZE << order);
    return p;
}

/* The rest of a read, through pages of ours. */
static ssize_t read_copied(struct file *f, struct uio *u, int64_t *pos)
{
    struct p9_session *s = p9_node_of(f->inode)->fs->session;
    ssize_t done = 0;
    uint32_t room;
    struct page *chunk = chunk_alloc(s, u->remaining, &room);

    if (!chunk) {
        return -ENOMEM;
    }
    while (u->remaining > 0) {
        uint32_t want = (uint32_t)min_of((uint64_t)u->remaining, (uint64_t)room);
        const struct virtio_segment segment = { page_address(chunk), want };
        ssize_t n = read_into(s, fid_of(f), (uint64_t)*pos, &segment, 1, want);
        ssize_t copied = n > 0 ? uio_copy_out(u, page_address(chunk), (size_t)n) : n;

        if (copied <= 0) {
            done = done > 0 ? done : copied;
            break;
        }
        *pos += copied;
        done += copied;
        if (copied < (ssize_t)want) {
            break;
        }
    }
    page_put(chunk);
    return done;
}

static ssize_t p9_read(struct file *f, struct uio *u, int64_t *pos)
{
    ssize_t done = 0;

    while (u->remaining > 0) {
        uint32_t asked = 0;
        ssize_t n = transfer_direct(f, u, (uint64_t)*pos, UINT64_MAX, true, &asked);

        if (n == -EAGAIN) {
            n = read_copied(f, u, pos);
            return n > 0 ? done + n : (done > 0 ? done : n);
        }
        if (n <= 0) {
            return done > 0 ? done : n;
        }
        *pos += n;
        done += n;
        if ((uint32_t)n < asked) {
            break; /* the end of the file */
        }
    }
    return done;
}

/* How much may be written at `at`: the process's file size limit. 0 with *err. */
static uint64_t allowed(uint64_t at, uint64_t want, int *err)
{
    uint64_t limit = limit_of(RLIMIT_FSIZE);

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

/* Bytes [at, at + size) of the file have changed at the server. */
static void note_written(struct p9_node *n, uint64_t at, uint64_t size)
{
    struct inode *i = &n->inode;

    if (i->mapping.page_count > 0) {
        mapping_drop(&i->mapping, at >> PAGE_SHIFT,
                     div_ceil(at + size, PAGE_SIZE) - (at >> PAGE_SHIFT));
    }
    if (at + size > size_of(i)) {
        __atomic_store_n(&i->size, at + size, __ATOMIC_RELEASE);
    }
    n->fetched_ns = 0; /* times and blocks are the server's */
}

/* At most one chunk, copied first. *chunk is made at the first need. */
static ssize_t write_copied(struct file *f, struct uio *u, uint64_t at, uint64_t want,
                            struct page **chunk, uint32_t *room)
{
    struct p9_session *s = p9_node_of(f->inode)->fs->session;
    ssize_t have;

    if (!*chunk) {
        *chunk = chunk_alloc(s, want, room);
    }
    if (!*chunk) {
        return -ENOMEM;
    }
    have = uio_copy_in(u, page_address(*chunk), (size_t)min_of(want, (uint64_t)*room));
    if (have <= 0) {
        return -EFAULT;
    }
    const struct virtio_segment segment = { page_address(*chunk), (uint32_t)have };

    return write_from(s, fid_of(f), at, &segment, 1, (uint32_t)have);
}

static ssize_t write_all(struct file *f, struct uio *u, uint64_t at, uint64_t want)
{
    struct p9_node *n = p9_node_of(f->inode);
    struct page *chunk = NULL;
    uint32_t room = 0;
    ssize_t done = 0;

    while (want > 0) {
        uint32_t asked = 0;
        size_t left = u->remaining;
        ssize_t part = transfer_direct(f, u, at, want, false, &asked);

        if (part == -EAGAIN) {
            part = write_copied(f, u, at, want, &chunk, &room);
            asked = (uint32_t)(left - u->remaining);
        }
        if (part <= 0) {
            done = done > 0 ? done : part;
            break;
        }
        note_written(n, at, (uint64_t)part);
        at += (uint64_t)part;
        want -= (uint64_t)part;
        done += part;
        if ((uint32_t)part < asked) {
            break;
        }
    }
    if (chunk) {
        page_put(chunk);
    }
    return done;
}

static ssize_t p9_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct inode *inode = f->inode;
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
        p9_refresh(inode); /* where it ends: the server appends by itself */
        at = size_of(inode);
    }
    want = allowed(at, want, &err);
    if (want > 0) {
        done = write_all(f, u, at, want);
    }
    if (done > 0) {
        *pos = (int64_t)(at + (uint64_t)done);
    }
    mutex_unlock(&inode->write_lock);
    return err < 0 ? err : done;
}

static int64_t p9_seek(struct file *f, int64_t offset, int whence)
{
    if (whence != SEEK_SET && whence != SEEK_CUR) {
        p9_refresh_old(p9_node_of(f->inode));
    }
    return seek_plain(f, offset, whence, (int64_t)size_of(f->inode));
}

static int p9_fsync(struct file *f, bool data_only)
{
    struct p9_session *s = p9_node_of(f->inode)->fs->session;
    struct p9_call *c = p9_begin(s, P9_TFSYNC, 8, 0);
    int err;

    if (!c) {
        return -ENOMEM;
    }
    p9_put32(&c->put, fid_of(f));
    p9_put32(&c->put, data_only);
    err = p9_run(s, c);
    p9_end(c);
    return err;
}

/* --- pages ------------------------------------------------------------------------------------ */

/* The fid that pages are read through; opened with the first mapping. */
static int open_page_fid(struct p9_node *n)
{
    uint32_t expected = P9_FID_NONE;
    uint32_t fid;
    int err;

    if (atomic_load_explicit(&n->page_fid, memory_order_acquire) != P9_FID_NONE) {
        return 0;
    }
    err = p9_open_fid(n->fs->session, n->fid, O_RDONLY, &fid);
    if (err == 0 && !atomic_compare_exchange_strong_explicit(
                        &n->page_fid, &expected, fid, memory_order_acq_rel, memory_order_acquire)) {
        p9_clunk(n->fs->session, fid);
    }
    return err;
}

static int p9_mmap(struct file *f, uint32_t vma_flags, struct mapping **mapping)
{
    struct p9_node *n = p9_node_of(f->inode);
    int err;

    if ((vma_flags & VMA_SHARED) && (vma_flags & VMA_MAYWRITE)) {
        return -ENODEV; /* nobody would carry the bytes back */
    }
    err = open_page_fid(n);
    if (err == 0) {
        p9_refresh_old(n);
        p9_check_pages(n);
        *mapping = &f->inode->mapping;
    }
    return err;
}

/* Pages from `index` on that are not cached yet, at most `count`. */
static unsigned alloc_pages(struct mapping *m, uint64_t index, unsigned count,
                            struct page *pages[CLUSTER])
{
    unsigned n = 0;

    while (n < count && (n == 0 || mapping_next(m, index + n) != index + n)) {
        pages[n] = n == 0 ? page_alloc_reclaim(GFP_USER) : page_alloc(0, GFP_USER);
        if (!pages[n]) {
            break;
        }
        n++;
    }
    return n;
}

/* Read a run of pages and enter what came. 0 or -errno; a page that exists already is fine. */
static int fill_pages(struct p9_node *n, uint64_t index, unsigned count)
{
    struct virtio_segment segments[CLUSTER];
    struct page *pages[CLUSTER];
    unsigned made = alloc_pages(&n->inode.mapping, index, count, pages);
    ssize_t got;
    int err = 0;

    if (made == 0) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < made; i++) {
        segments[i] = (struct virtio_segment){ page_address(pages[i]), PAGE_SIZE };
    }
    got = read_into(n->fs->session, atomic_load_explicit(&n->page_fid, memory_order_acquire),
                    index << PAGE_SHIFT, segments, made, made * (uint32_t)PAGE_SIZE);
    for (unsigned i = 0; i < made; i++) {
        size_t have = got > (ssize_t)(i * PAGE_SIZE)
                          ? min_of((size_t)got - i * PAGE_SIZE, (size_t)PAGE_SIZE)
                          : 0;

        if (got < 0 || (have == 0 && i > 0)) {
            page_put(pages[i]);
            continue;
        }
        memset((char *)page_address(pages[i]) + have, 0, PAGE_SIZE - have);
        err = mapping_insert(&n->inode.mapping, index + i, pages[i]);
        page_put(pages[i]); /* the cache has its own reference */
        if (i == 0 && err < 0 && err != -EEXIST) {
            got = err;
        }
    }
    return (int)min_of(got, (ssize_t)0);
}

static int get_page(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    struct p9_node *n = p9_node_of(m->inode);

    for (;;) {
        uint64_t pages = div_ceil(size_of(m->inode), PAGE_SIZE);
        uint64_t room = (n->fs->session->message_max - 64) >> PAGE_SHIFT;
        int err;

        if (index >= pages) {
            return -ERANGE;
        }
        out->page = m->page_count > 0 ? mapping_lookup(m, index) : NULL;
        if (out->page) {
            out->pa = page_to_phys(out->page);
            return 0;
        }
        if (how & MAPPING_RESIDENT) {
            return -EAGAIN;
        }
        if (atomic_load_explicit(&n->page_fid, memory_order_acquire) == P9_FID_NONE) {
            err = open_page_fid(n);
            if (err < 0) {
                return err;
            }
        }
        err = fill_pages(
            n, index,
            (unsigned)min_of(min_of(pages - index, (uint64_t)CLUSTER), max_of(room, UINT64_C(1))));
        if (err < 0) {
            return err == -ENOMEM ? err : -EIO;
        }
    }
}

const struct mapping_ops p9_mapping_ops = { .get = get_page };

const struct file_ops p9_file_ops = {
    .read = p9_read,
    .write = p9_write,
    .poll = page_poll,
    .seek = p9_seek,
    .mmap = p9_mmap,
    .open = p9_open,
    .release = p9_release,
    .fsync = p9_fsync,
};
