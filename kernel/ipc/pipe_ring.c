// SPDX-License-Identifier: Apache-2.0
#include <ipc/pipe_ring.h>

#include <core/string.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <syscall/uio.h>

int pipe_ring_init(struct pipe_ring *r, uint32_t slots)
{
    assert(is_power_of_two(slots) && slots <= PIPE_PAGES_MAX);
    *r = (struct pipe_ring){ .slots = slots };
    r->pages = kmalloc_array(slots, sizeof(struct page *), GFP_ZERO);
    return r->pages ? 0 : -ENOMEM;
}

void pipe_ring_deinit(struct pipe_ring *r)
{
    for (uint32_t i = 0; i < r->slots; i++) {
        if (r->pages[i]) {
            page_put(r->pages[i]);
        }
    }
    kfree(r->pages);
    r->pages = NULL;
}

static struct page **slot_at(const struct pipe_ring *r, uint64_t position)
{
    return &r->pages[(position >> PAGE_SHIFT) & (r->slots - 1)];
}

/*
 * A full ring that is not page-aligned has its first and its last bytes in one page: the last ones
 * get a page of their own.
 */
static int split_shared_page(const struct pipe_ring *r, struct page **out)
{
    struct page *p = page_alloc(0, GFP_USER);

    if (!p) {
        return -ENOMEM;
    }
    memcpy(page_address(p), page_address(*slot_at(r, r->read_at)), r->write_at & (PAGE_SIZE - 1));
    *out = p;
    return 0;
}

int pipe_ring_resize(struct pipe_ring *r, uint32_t slots)
{
    uint64_t first = r->read_at >> PAGE_SHIFT;
    uint64_t pages = ((r->write_at + PAGE_SIZE - 1) >> PAGE_SHIFT) - first;
    struct pipe_ring new;
    int err;

    if (pipe_ring_used(r) == 0) {
        pages = 0;
    }
    if (pages > slots) {
        return -EBUSY;
    }
    err = pipe_ring_init(&new, slots);
    if (err < 0) {
        return err;
    }
    if (pages > r->slots && split_shared_page(r, &new.pages[--pages]) < 0) {
        pipe_ring_deinit(&new);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < pages; i++) {
        struct page **from = slot_at(r, (first + i) << PAGE_SHIFT);

        new.pages[i] = *from;
        *from = NULL;
    }
    new.read_at = pages ? r->read_at &(PAGE_SIZE - 1) : 0;
    new.write_at = new.read_at + pipe_ring_used(r);
    pipe_ring_deinit(r);
    *r = new;
    return 0;
}

/* Empty: begin again at 0 with the page that is left, if any. */
static void rewind_empty(struct pipe_ring *r)
{
    struct page **last = slot_at(r, r->read_at);
    struct page *p = *last;

    *last = NULL;
    if (r->pages[0]) {
        assert(!p);
        p = r->pages[0];
    }
    r->pages[0] = p;
    r->read_at = 0;
    r->write_at = 0;
}

static void consume(struct pipe_ring *r, uint64_t size)
{
    uint64_t before = r->read_at;

    r->read_at += size;
    if (r->read_at == r->write_at && (r->read_at & (PAGE_SIZE - 1))) {
        rewind_empty(r);
        return;
    }
    if ((before ^ r->read_at) >> PAGE_SHIFT) { /* left the page */
        struct page **done = slot_at(r, before);

        if ((r->write_at - 1) >> PAGE_SHIFT == (before >> PAGE_SHIFT) + r->slots) {
            return; /* the ring was full: the writer is in this page, too */
        }
        if (r->read_at == r->write_at) {
            struct page *p = *done;

            *done = NULL;
            r->pages[0] = p;
            r->read_at = 0;
            r->write_at = 0;
        } else {
            page_put(*done);
            *done = NULL;
        }
    }
}

ssize_t pipe_ring_read(struct pipe_ring *r, struct uio *u)
{
    ssize_t done = 0;

    while (pipe_ring_used(r) > 0 && u->remaining > 0) {
        uint64_t at = r->read_at & (PAGE_SIZE - 1);
        uint64_t size = min_of(pipe_ring_used(r), PAGE_SIZE - at);
        ssize_t n;

        size = min_of(size, (uint64_t)u->remaining);
        n = uio_copy_out(u, (char *)page_address(*slot_at(r, r->read_at)) + at, size);
        if (n <= 0) {
            return done ? done : n;
        }
        consume(r, (uint64_t)n);
        done += n;
        if ((uint64_t)n < size) {
            break; /* a fault follows: the next call will say so */
        }
    }
    return done;
}

ssize_t pipe_ring_write(struct pipe_ring *r, struct uio *u)
{
    ssize_t done = 0;

    while (pipe_ring_free(r) > 0 && u->remaining > 0) {
        uint64_t at = r->write_at & (PAGE_SIZE - 1);
        uint64_t size = min_of(pipe_ring_free(r), PAGE_SIZE - at);
        struct page **slot = slot_at(r, r->write_at);
        ssize_t n;

        size = min_of(size, (uint64_t)u->remaining);
        if (!*slot) {
            *slot = page_alloc(0, GFP_USER);
            if (!*slot) {
                return done ? done : -ENOMEM;
            }
        }
        n = uio_copy_in(u, (char *)page_address(*slot) + at, size);
        if (n <= 0) {
            return done ? done : n;
        }
        r->write_at += (uint64_t)n;
        done += n;
        if ((uint64_t)n < size) {
            break;
        }
    }
    return done;
}
