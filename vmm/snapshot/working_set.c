/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/working_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/assert.h>

#include "error.h"
#include "snapshot/output.h"

#define PAGE       ((uint64_t)SNAPSHOT_PAGE_SIZE)
#define COPY_CHUNK (1u << 20)
/* No more is brought in at once, so that a table which names all of a large RAM holds nobody up. */
#define BRING_PAGES_MAX (UINT64_C(256) << 20 >> 12)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

/* ---- Finding ---- */

/* Pages that only stand beside others in the file, which no run names, are not worth a look. */
static bool make_runs(struct memory_runs *out, const struct page_set *own,
                      const struct page_set *read, const struct page_set *stored)
{
    for (uint64_t page = 0; page < own->pages; page++) {
        bool is_own = page_set_has(own, page);

        if ((is_own || (page_set_has(read, page) && page_set_has(stored, page))) &&
            !memory_runs_add(out, page, is_own ? SNAPSHOT_RUN_WRITTEN : SNAPSHOT_RUN_READ)) {
            memory_runs_deinit(out);
            return false;
        }
    }
    return true;
}

int working_set_find(struct memory_runs *out, const struct snapshot_file *f, const uint8_t *ram)
{
    const uint64_t pages = f->state.header->ram_size / PAGE;
    struct page_set sets[3] = { { .words = NULL } }; /* own, read, stored */
    int r = 0;

    *out = (struct memory_runs){ .items = NULL };
    for (size_t i = 0; r == 0 && i < array_size(sets); i++) {
        r = page_set_init(&sets[i], pages) ? 0 : -ENOMEM;
    }
    if (r == 0) {
        r = page_sets_add_touched(&sets[0], &sets[1], ram) ? 0 : -ENOTSUP;
    }
    if (r == 0) {
        page_set_add_runs(&sets[2], f);
        r = make_runs(out, &sets[0], &sets[1], &sets[2]) ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < array_size(sets); i++) {
        page_set_deinit(&sets[i]);
    }
    return r;
}

/* ---- Writing ---- */

struct copy {
    const struct snapshot_file *from;
    struct output to;
    struct state_writer state;
    struct snapshot_header header;
    struct page_set first; /* pages that are written before the others */
    uint8_t *chunk;        /* COPY_CHUNK */
};

static bool copy_state(struct copy *c, const struct memory_runs *set)
{
    const struct snapshot_state *was = c->from->state.header;
    struct snapshot_state *header = NULL;
    struct snapshot_record record;
    const void *payload = NULL;
    void *p = NULL;
    size_t at = 0;

    while (state_next(&c->from->state, &at, &record, &payload)) {
        if (record.kind == SNAPSHOT_WORKING_SET) {
            continue;
        }
        p = state_add(&c->state, (enum snapshot_kind)record.kind, record.index, record.version,
                      record.size);
        if (p != NULL) {
            memcpy(p, payload, record.size);
        }
    }
    p = state_add(&c->state, SNAPSHOT_WORKING_SET, 0, 1, set->count * sizeof(*set->items));
    if (p != NULL && set->count > 0) {
        memcpy(p, set->items, set->count * sizeof(*set->items));
    }
    header = state_finish(&c->state, 0);
    if (header == NULL) {
        return false;
    }
    header->arch = was->arch;
    header->flags = was->flags;
    header->vcpus = was->vcpus;
    header->ram_size = was->ram_size;
    header->created_ms = was->created_ms;
    memcpy(header->id, was->id, sizeof(header->id));
    memcpy(header->base_id, was->base_id, sizeof(header->base_id));
    return true;
}

static int copy_pages(struct copy *c, uint64_t memory_at, uint64_t page, uint64_t count)
{
    uint64_t at = page * PAGE;
    uint64_t end = at + count * PAGE;
    int r = 0;

    for (; r == 0 && at < end; at += COPY_CHUNK) {
        size_t size = (size_t)min_of((uint64_t)COPY_CHUNK, end - at);

        r = snapshot_read(c->from, at, c->chunk, size);
        if (r == 0) {
            r = write_all(c->to.fd, c->chunk, size, memory_at + at);
        }
    }
    return r;
}

/* The pages of the data runs that are among the first, or those that are not. */
static int copy_memory(struct copy *c, uint64_t memory_at, bool is_first)
{
    const struct snapshot_file *f = c->from;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < f->run_count; i++) {
        uint64_t page = f->runs[i].page;
        uint64_t end = f->runs[i].kind == SNAPSHOT_RUN_DATA ? page + f->runs[i].count : page;

        while (r == 0 && page < end) {
            uint64_t count = 1;
            bool is_wanted = page_set_has(&c->first, page) == is_first;

            while (page + count < end &&
                   (page_set_has(&c->first, page + count) == is_first) == is_wanted) {
                count++;
            }
            r = is_wanted ? copy_pages(c, memory_at, page, count) : 0;
            page += count;
        }
    }
    return r;
}

static int write_file(struct copy *c)
{
    const struct snapshot_file *f = c->from;
    bool has_memory = (f->flags & SNAPSHOT_MEMORY_ELSEWHERE) == 0;
    uint64_t state_at = sizeof(c->header) + f->metadata_size;
    uint64_t memory_at = state_at + c->state.size;
    int r = 0;

    c->header = (struct snapshot_header){
        .v1 = { .magic = SNAPSHOT_MAGIC,
                .version = 2,
                .metadata_size = f->metadata_size,
                .state_size = c->state.size,
                .memory_size = has_memory ? f->state.header->ram_size : 0 },
        .flags = f->flags,
    };
    sha256(f->metadata, f->metadata_size, c->header.metadata_sha256);
    sha256(c->state.bytes, c->state.size, c->header.state_sha256);
    memcpy(c->header.memory_sha256, f->memory_sha256, sizeof(f->memory_sha256));
    if (has_memory) {
        r = ftruncate(c->to.fd, (off_t)(memory_at + f->state.header->ram_size)) < 0 ? -errno : 0;
        if (r == 0) {
            r = copy_memory(c, memory_at, true);
        }
        if (r == 0 && fdatasync(c->to.fd) < 0 && errno != EINVAL) {
            r = -errno;
        }
        if (r == 0) {
            r = copy_memory(c, memory_at, false);
        }
    }
    if (r == 0) {
        r = write_all(c->to.fd, f->metadata, f->metadata_size, sizeof(c->header));
    }
    if (r == 0) {
        r = write_all(c->to.fd, c->state.bytes, c->state.size, state_at);
    }
    return r == 0 ? write_all(c->to.fd, &c->header, sizeof(c->header), 0) : r;
}

static drupe_vm_err_t write_copy(struct copy *c, const struct memory_runs *set, const char *path,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;
    int e = 0;

    c->chunk = malloc(COPY_CHUNK);
    if (c->chunk == NULL || !page_set_init(&c->first, c->from->state.header->ram_size / PAGE) ||
        !copy_state(c, set)) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "record a working set");
    }
    for (uint32_t i = 0; i < set->count; i++) {
        page_set_add(&c->first, set->items[i].page, set->items[i].count);
    }
    r = output_begin(&c->to, path, -1, err);
    if (r != DRUPE_OK) {
        return r;
    }
    e = write_file(c);
    r = e == 0 ? output_commit(&c->to, err)
               : error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "write %s", path);
    output_end(&c->to);
    return r;
}

drupe_vm_err_t working_set_write(const struct snapshot_file *f, const struct memory_runs *set,
                                 const char *path, struct drupe_error *err)
{
    struct copy c = { .from = f, .to.fd = -1 };
    drupe_vm_err_t r = DRUPE_OK;

    if (f->version != 2) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "snapshot %s is of a version that has no working set", f->name);
    }
    state_writer_init(&c.state);
    r = write_copy(&c, set, path, err);
    state_writer_deinit(&c.state);
    page_set_deinit(&c.first);
    free(c.chunk);
    return r;
}

/* ---- Bringing in ---- */

/* False: the host cannot, or it is enough. */
static bool bring_kind(const struct snapshot_file *f, uint8_t *ram, enum snapshot_run_kind kind,
                       uint64_t *pages_left)
{
    for (uint32_t i = 0; i < f->working_set_count; i++) {
        const struct snapshot_run *run = &f->working_set[i];
        bool is_written = kind == SNAPSHOT_RUN_WRITTEN;

        if (run->kind != (uint32_t)kind) {
            continue;
        }
        if (run->count > *pages_left ||
            madvise(ram + run->page * PAGE, run->count * PAGE,
                    is_written ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) < 0) {
            return false;
        }
        *pages_left -= run->count;
    }
    return true;
}

void working_set_bring(const struct snapshot_file *f, uint8_t *ram)
{
    uint64_t pages_left = BRING_PAGES_MAX;

    /* What is not in the page cache is asked for as a whole before the first is waited for. */
    for (uint32_t i = 0; i < f->working_set_count; i++) {
        const struct snapshot_run *run = &f->working_set[i];

        (void)madvise(ram + run->page * PAGE, run->count * PAGE, MADV_WILLNEED);
    }
    /* Those that are written first: a page is mapped with its neighbours, which then are unmapped
     * again to be copied. */
    if (bring_kind(f, ram, SNAPSHOT_RUN_WRITTEN, &pages_left)) {
        (void)bring_kind(f, ram, SNAPSHOT_RUN_READ, &pages_left);
    }
}
