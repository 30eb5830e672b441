/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's snapshot: gather the state while the machine stands still, write it all out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "error.h"
#include "kvm/machine.h"
#include "snapshot/describe.h"
#include "snapshot/memory.h"
#include "snapshot/output.h"

#define NS_PER_MS UINT64_C(1000000)

struct job {
    struct machine *m;
    const struct drupe_snapshot_options *options;
    struct state_writer state;
    struct snapshot_file_id root;
    struct page_set pages;
    bool has_taken_dirty; /* `dirty` are to be added again if this fails */
    struct page_set dirty;
    struct memory_runs runs;
    struct output file;
    struct output memory;
    char *metadata;
    size_t metadata_size;
    char id[SNAPSHOT_ID_SIZE];
    uint64_t memory_offset;
    uint64_t size; /* of all that was written */
    struct snapshot_header header;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static drupe_vm_err_t no_memory(struct drupe_error *err)
{
    return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "take a snapshot");
}

static bool is_diff(const struct job *j)
{
    return j->options->kind == DRUPE_SNAPSHOT_DIFF;
}

/* ---- What can be done before the guest stops ---- */

static drupe_vm_err_t check_base(const struct job *j, struct drupe_error *err)
{
    if (is_diff(j) && j->m->base_id[0] == '\0') {
        return error_field(err, "kind",
                           "an incremental snapshot builds on one before it, and there is none");
    }
    return DRUPE_OK;
}

/* What comes next builds on this one. */
static void become_base(struct job *j)
{
    struct machine *m = j->m;

    memcpy(m->base_id, j->id, sizeof(m->base_id));
    free(m->base_path);
    m->base_path = j->options->path != NULL ? realpath(j->options->path, NULL) : NULL;
}

static drupe_vm_err_t make_id(struct job *j, struct drupe_error *err)
{
    uint8_t random[16];
    size_t at = 0;

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "make the snapshot's id");
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        at += fmt_snprintf(j->id + at, sizeof(j->id) - at, "%02x", random[i]);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t prepare(struct job *j, struct drupe_error *err)
{
    const struct config *c = j->m->config;
    bool is_constant = c->root_mode != DRUPE_ROOT_DISK_RW;
    drupe_vm_err_t r = make_id(j, err);
    int e = 0;

    if (r == DRUPE_OK && c->root.fd >= 0) {
        e = file_identify(c->root.fd, is_constant, &j->root);
    }
    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "read root image %s", c->root.path);
    }
    state_writer_init(&j->state);
    if (r == DRUPE_OK && (!page_set_init(&j->pages, j->m->ram_size / SNAPSHOT_PAGE_SIZE) ||
                          !page_set_init(&j->dirty, j->m->ram_size / SNAPSHOT_PAGE_SIZE))) {
        r = no_memory(err);
    }
    if (r == DRUPE_OK) {
        r = output_begin(&j->file, j->options->path, j->options->fd, err);
    }
    if (r == DRUPE_OK && (j->options->memory_path != NULL || j->options->memory_fd >= 0)) {
        r = output_begin(&j->memory, j->options->memory_path, j->options->memory_fd, err);
    }
    return r;
}

/* ---- While it stands still ---- */

static drupe_vm_err_t gather(struct job *j, struct drupe_error *err)
{
    struct machine *m = j->m;
    struct snapshot_ioapic *ioapic = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&m->control);
    machine_reset_vsock(m);
    r = arch_state_save(m, &j->state, err);
    ioapic = state_add(&j->state, SNAPSHOT_IOAPIC, 0, 1, sizeof(*ioapic));
    if (ioapic != NULL) {
        ioapic_save(&m->ioapic, ioapic);
    }
    machine_devices_save(m, &j->state);
    (void)pthread_mutex_unlock(&m->control);
    if (r == DRUPE_OK &&
        !describe_config(&j->state, m->config, &j->root, is_diff(j) ? m->base_path : NULL)) {
        r = no_memory(err);
    }
    return r;
}

/* From now on pages written belong to the next snapshot. */
static drupe_vm_err_t take_dirty(struct job *j, struct drupe_error *err)
{
    struct machine *m = j->m;
    drupe_vm_err_t r = DRUPE_OK;

    if (m->dirty.words == NULL) {
        return DRUPE_OK;
    }
    r = machine_collect_dirty(m, err);
    if (r == DRUPE_OK) {
        page_set_move(&j->dirty, &m->dirty);
        j->has_taken_dirty = true;
    }
    return r;
}

static drupe_vm_err_t choose_pages(struct job *j, struct drupe_error *err)
{
    struct machine *m = j->m;
    drupe_vm_err_t r = take_dirty(j, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (is_diff(j)) {
        page_set_add_set(&j->pages, &j->dirty);
    } else {
        page_set_add_private(&j->pages, m->ram);
        page_set_add_runs(&j->pages, m->snapshot);
    }
    machine_remove_free_pages(m, &j->pages);
    if (!memory_runs_make(&j->runs, &j->pages, m->ram, is_diff(j))) {
        return no_memory(err);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t finish_state(struct job *j, struct drupe_error *err)
{
    struct machine *m = j->m;
    size_t size = j->runs.count * sizeof(struct snapshot_run);
    void *runs = state_add(&j->state, SNAPSHOT_RUNS, 0, 1, size);
    struct snapshot_state *header = NULL;

    if (runs != NULL) {
        memcpy(runs, j->runs.items, size);
    }
    header = state_finish(&j->state);
    if (header == NULL) {
        return no_memory(err);
    }
    header->arch = arch_snapshot_id();
    header->vcpus = m->vcpu_count;
    header->ram_size = m->ram_size;
    header->created_ms = now_ns(CLOCK_REALTIME) / NS_PER_MS;
    memcpy(header->id, j->id, sizeof(header->id));
    if (is_diff(j)) {
        header->flags = SNAPSHOT_IS_DIFF;
        memcpy(header->base_id, m->base_id, sizeof(header->base_id));
    }
    j->metadata =
        describe_metadata(&j->state, "", m->clock.tsc_khz, j->runs.data_pages * SNAPSHOT_PAGE_SIZE,
                          sizeof(struct snapshot_header), &j->metadata_size);
    if (j->metadata == NULL) {
        return no_memory(err);
    }
    if (j->metadata_size + j->state.size > SNAPSHOT_OVERHEAD_MAX) {
        return error_set(err, DRUPE_SNAPSHOT_TOO_LARGE, 0, "the snapshot's state takes %zu bytes",
                         j->metadata_size + j->state.size);
    }
    return DRUPE_OK;
}

/* ---- Writing ---- */

static bool is_memory_elsewhere(const struct job *j)
{
    return j->memory.fd >= 0;
}

static void fill_header(struct job *j, struct sha256 *memory)
{
    struct snapshot_header *h = &j->header;

    h->v1.magic = SNAPSHOT_MAGIC;
    h->v1.version = 2;
    h->v1.metadata_size = j->metadata_size;
    h->v1.state_size = j->state.size;
    h->v1.memory_size = is_memory_elsewhere(j) ? 0 : j->m->ram_size;
    h->flags = is_memory_elsewhere(j) ? SNAPSHOT_MEMORY_ELSEWHERE : 0;
    sha256(j->metadata, j->metadata_size, h->metadata_sha256);
    sha256(j->state.bytes, j->state.size, h->state_sha256);
    sha256_end(memory, h->memory_sha256);
}

static int write_parts(struct job *j)
{
    uint64_t at = sizeof(struct snapshot_header);
    int memory_fd = is_memory_elsewhere(j) ? j->memory.fd : j->file.fd;
    uint64_t memory_at = is_memory_elsewhere(j) ? 0 : at + j->metadata_size + j->state.size;
    struct sha256 sha;
    int r = write_all(j->file.fd, j->metadata, j->metadata_size, at);

    at += j->metadata_size;
    if (r == 0) {
        r = write_all(j->file.fd, j->state.bytes, j->state.size, at);
    }
    at += j->state.size;
    /* The size first: what nothing is written to is a hole. */
    if (r == 0 && ftruncate(memory_fd, (off_t)(memory_at + j->m->ram_size)) < 0) {
        r = -errno;
    }
    sha256_init(&sha);
    if (r == 0) {
        r = memory_write(&j->runs, j->m->ram, memory_fd, memory_at, &sha);
    }
    fill_header(j, &sha);
    j->size = at + j->runs.data_pages * SNAPSHOT_PAGE_SIZE;
    return r == 0 ? write_all(j->file.fd, &j->header, sizeof(j->header), 0) : r;
}

static drupe_vm_err_t write_out(struct job *j, struct drupe_error *err)
{
    int e = write_parts(j);
    drupe_vm_err_t r = DRUPE_OK;

    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "write the snapshot");
    }
    if (is_memory_elsewhere(j)) {
        r = output_commit(&j->memory, err);
    }
    return r == DRUPE_OK ? output_commit(&j->file, err) : r;
}

static void clean_up(struct job *j)
{
    output_end(&j->file);
    output_end(&j->memory);
    free(j->metadata);
    memory_runs_deinit(&j->runs);
    page_set_deinit(&j->pages);
    page_set_deinit(&j->dirty);
    state_writer_deinit(&j->state);
}

drupe_vm_err_t machine_snapshot(void *machine, bool is_paused,
                                const struct drupe_snapshot_options *options,
                                struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct machine *m = machine;
    struct job j = { .m = m, .options = options, .file.fd = -1, .memory.fd = -1 };
    uint64_t began_ns = now_ns(CLOCK_MONOTONIC);
    uint64_t stopped_ns = 0;
    bool has_paused = false;
    drupe_vm_err_t r = DRUPE_OK;

    if (options->is_live) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "a live snapshot is not built");
    }
    r = check_base(&j, err);
    if (r != DRUPE_OK) {
        return r;
    }
    if (m->config->share_count > 0) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "a machine with shared folders: what it has open there is the host's");
    }
    r = prepare(&j, err);
    if (r == DRUPE_OK && !is_paused) {
        stopped_ns = now_ns(CLOCK_MONOTONIC);
        r = machine_pause(m, err);
        has_paused = r == DRUPE_OK;
    }
    if (r == DRUPE_OK) {
        r = gather(&j, err);
    }
    if (r == DRUPE_OK) {
        r = choose_pages(&j, err);
    }
    if (r == DRUPE_OK) {
        r = finish_state(&j, err);
    }
    if (r == DRUPE_OK) {
        r = write_out(&j, err);
    }
    if (r == DRUPE_OK) {
        become_base(&j);
    } else if (j.has_taken_dirty) {
        page_set_add_set(&m->dirty, &j.dirty);
    }
    if (has_paused) {
        drupe_vm_err_t resumed = machine_resume(m, r == DRUPE_OK ? err : NULL);

        r = r == DRUPE_OK ? resumed : r;
        stopped_ns = now_ns(CLOCK_MONOTONIC) - stopped_ns;
    }
    if (r == DRUPE_OK) {
        *info = (struct drupe_snapshot_info){
            .size = j.size,
            .memory_bytes = j.runs.data_pages * SNAPSHOT_PAGE_SIZE,
            .stopped_ns = stopped_ns,
            .took_ns = now_ns(CLOCK_MONOTONIC) - began_ns,
        };
        memcpy(info->id, j.id, sizeof(j.id));
    }
    clean_up(&j);
    return r;
}
