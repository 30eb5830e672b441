/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory written behind a running guest. The parts before it in the file have a place reserved,
 * since their sizes are known only afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "error.h"
#include "kvm/snapshot_job.h"
#include "layout.h"
#include "snapshot/describe.h"

#define PAGE             ((uint64_t)SNAPSHOT_PAGE_SIZE)
#define RUNS_MIN         1024u
#define RUNS_MAX         16384u
#define PAGES_A_RUN      16u
#define METADATA_NUMBERS 64u /* digits that are not known yet */

struct stream {
    struct snapshot_job *j;
    int fd;
    uint64_t offset; /* of RAM's first byte */
    uint32_t runs_max;
    struct sha256 sha;
};

static int read_as_it_was(void *ctx, gpa_t from, void *to, size_t size)
{
    struct snapshot_job *j = ctx;
    const struct machine *m = j->m;
    uint64_t high = from.raw - LAYOUT_4GIB;

    if (range_fits(from.raw, size, m->ram_low_size)) {
        return live_read(&j->live, from.raw, to, size);
    }
    if (from.raw >= LAYOUT_4GIB && range_fits(high, size, m->ram_size - m->ram_low_size)) {
        return live_read(&j->live, m->ram_low_size + high, to, size);
    }
    return -EFAULT;
}

/* The table of runs is full: the last one grows over what lies between, which is a hole, so zeros.
 */
static void bridge(struct stream *s, uint64_t page)
{
    static const uint8_t zeros[SNAPSHOT_PAGE_SIZE];
    struct snapshot_run *last = &s->j->runs.items[s->j->runs.count - 1];

    for (; last->page + last->count < page; last->count++) {
        sha256_add(&s->sha, zeros, sizeof(zeros));
    }
}

/* One page as it was. 0 or -errno; data is hashed here and written by the caller. */
static int add_page(struct stream *s, uint64_t page, const uint8_t *bytes, bool *is_data)
{
    struct memory_runs *runs = &s->j->runs;

    *is_data = !page_is_zero(bytes);
    if (!*is_data && !job_is_diff(s->j)) {
        return 0;
    }
    if (runs->count >= s->runs_max) {
        bridge(s, page);
    }
    if (*is_data) {
        sha256_add(&s->sha, bytes, PAGE);
    }
    return memory_runs_add(runs, page, *is_data ? SNAPSHOT_RUN_DATA : SNAPSHOT_RUN_ZERO) ? 0
                                                                                         : -ENOMEM;
}

/* Hash and write a piece: neighbours in one call. */
static int write_piece(struct stream *s, uint64_t first, unsigned count, uint64_t present,
                       const uint8_t *bytes)
{
    unsigned start = 0;
    unsigned length = 0;
    int r = 0;

    for (unsigned i = 0; r == 0 && i <= count; i++) {
        bool is_data = false;

        if (i < count && (present >> i & 1u) != 0 && page_set_has(&s->j->pages, first + i)) {
            r = add_page(s, first + i, bytes + i * PAGE, &is_data);
        }
        if (is_data) {
            start = length == 0 ? i : start;
            length++;
        } else if (length > 0 && r == 0) {
            r = write_all(s->fd, bytes + start * PAGE, length * PAGE,
                          s->offset + (first + start) * PAGE);
            length = 0;
        }
    }
    return r;
}

static int copy_memory(struct stream *s)
{
    uint8_t *bytes = malloc(LIVE_PIECE_PAGES * PAGE);
    int r = bytes == NULL ? -ENOMEM : 1;

    while (r > 0) {
        uint64_t present = 0;
        uint64_t first = 0;

        r = live_next(&s->j->live, &first, bytes, &present);
        if (r > 0 && present != 0) {
            int e = write_piece(s, first, (unsigned)r, present, bytes);

            r = e < 0 ? e : r;
        }
    }
    free(bytes);
    return r;
}

/* How much the parts before the memory may take. */
static drupe_vm_err_t reserve(struct snapshot_job *j, struct stream *s, size_t *metadata,
                              size_t *state, struct drupe_error *err)
{
    char *text = job_fill_state_header(j)
                     ? describe_metadata(&j->state, "", j->m->clock.tsc_khz, 0,
                                         sizeof(struct snapshot_header), 0, metadata)
                     : NULL;

    if (text == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "take a snapshot");
    }
    free(text);
    *metadata = align_up(sizeof(struct snapshot_header) + *metadata + METADATA_NUMBERS, PAGE) -
                sizeof(struct snapshot_header);
    s->runs_max = (uint32_t)min_of(max_of(j->m->ram_size / PAGE / PAGES_A_RUN, (uint64_t)RUNS_MIN),
                                   (uint64_t)RUNS_MAX);
    if (job_is_diff(j)) {
        s->runs_max = (uint32_t)(j->m->ram_size / PAGE); /* no page of the base may be covered */
    }
    *state = align_up(j->state.size + (s->runs_max + 2) * sizeof(struct snapshot_run), PAGE);
    return DRUPE_OK;
}

static void choose(struct snapshot_job *j)
{
    if (job_is_diff(j)) {
        page_set_add_set(&j->pages, &j->dirty);
    } else {
        page_set_add(&j->pages, 0, j->pages.pages);
    }
    machine_remove_free_pages(j->m, &j->pages, read_as_it_was, j);
}

drupe_vm_err_t job_write_live(struct snapshot_job *j, struct drupe_error *err)
{
    struct stream s = { .j = j };
    size_t metadata = 0;
    size_t state = 0;
    drupe_vm_err_t code = reserve(j, &s, &metadata, &state, err);
    int r = 0;

    if (code != DRUPE_OK) {
        return code;
    }
    choose(j);
    s.fd = job_has_memory_file(j) ? j->memory.fd : j->file.fd;
    s.offset = job_has_memory_file(j) ? 0 : sizeof(struct snapshot_header) + metadata + state;
    sha256_init(&s.sha);
    if (ftruncate(s.fd, (off_t)(s.offset + j->m->ram_size)) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = copy_memory(&s);
    }
    live_close(&j->live);
    if (r == 0) {
        code = job_finish_state(j, metadata, state, err);
    }
    if (r == 0 && code == DRUPE_OK) {
        assert(job_has_memory_file(j) ||
               sizeof(struct snapshot_header) + j->metadata_size + j->state.size == s.offset);
        r = job_write_parts(j, &s.sha);
    }
    if (r < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "write the snapshot");
    }
    return code;
}
