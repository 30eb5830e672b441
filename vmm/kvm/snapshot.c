/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's snapshot: gather the state while the machine stands still, write it all out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "kvm/snapshot_job.h"
#include "snapshot/describe.h"

static drupe_vm_err_t no_memory(struct drupe_error *err)
{
    return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "take a snapshot");
}

/* ---- What can be done before the guest stops ---- */

static drupe_vm_err_t check(const struct snapshot_job *j, struct drupe_error *err)
{
    for (unsigned i = 0; i < j->m->config->disk_count; i++) {
        if (j->m->config->disks[i].memory_size != 0) {
            return error_set(err, DRUPE_UNSUPPORTED, 0,
                             "a machine with a disk in memory: its content is not in a snapshot");
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t make_id(struct snapshot_job *j, struct drupe_error *err)
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

static drupe_vm_err_t prepare(struct snapshot_job *j, struct drupe_error *err)
{
    const struct config *c = j->m->config;
    bool is_constant = c->root_mode != DRUPE_ROOT_DISK_RW;
    drupe_vm_err_t r = make_id(j, err);
    int e = 0;

    if (r == DRUPE_OK && job_is_diff(j)) {
        r = job_find_base(j, err);
    }

    if (r == DRUPE_OK && c->root.fd >= 0) {
        e = file_identify(c->root.fd, is_constant, &j->root);
    }
    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "read root image %s", c->root.path);
    }
    state_writer_init(&j->state);
    j->created_ms = clock_ns_of(CLOCK_REALTIME) / NS_PER_MS;
    arch_state_prepare(j->m);
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

static drupe_vm_err_t gather(struct snapshot_job *j, struct drupe_error *err)
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
        (!describe_config(&j->state, m->config, &j->root, job_is_diff(j) ? &j->base : NULL) ||
         !describe_shares(&j->state, m->config))) {
        r = no_memory(err);
    }
    return r;
}

/* From now on pages written belong to the next snapshot. */
static drupe_vm_err_t take_dirty(struct snapshot_job *j, struct drupe_error *err)
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

static int read_guest(void *ctx, gpa_t from, void *to, size_t size)
{
    const struct machine *m = ctx;

    return gmem_read(&m->gmem, from, to, size);
}

static drupe_vm_err_t choose_pages(struct snapshot_job *j, struct drupe_error *err)
{
    struct machine *m = j->m;

    if (job_is_diff(j)) {
        page_set_add_set(&j->pages, &j->dirty);
    } else {
        page_set_add_private(&j->pages, m->ram, m->config->has_swap);
        page_set_add_runs(&j->pages, m->snapshot);
    }
    machine_remove_free_pages(m, &j->pages, read_guest, m);
    if (!memory_runs_make(&j->runs, &j->pages, m->ram, job_is_diff(j))) {
        return no_memory(err);
    }
    return DRUPE_OK;
}

bool job_fill_state_header(struct snapshot_job *j)
{
    const struct machine *m = j->m;
    struct snapshot_state *header = state_header(&j->state);

    if (header == NULL) {
        return false;
    }
    header->arch = arch_snapshot_id();
    header->vcpus = m->vcpu_count;
    header->ram_size = m->ram_size;
    header->created_ms = j->created_ms;
    memcpy(header->id, j->id, sizeof(header->id));
    if (job_is_diff(j)) {
        header->flags = SNAPSHOT_IS_DIFF;
        memcpy(header->base_id, m->base_id, sizeof(header->base_id));
    }
    return true;
}

drupe_vm_err_t job_finish_state(struct snapshot_job *j, size_t metadata_min, size_t state_min,
                                struct drupe_error *err)
{
    size_t size = j->runs.count * sizeof(struct snapshot_run);
    void *runs = state_add(&j->state, SNAPSHOT_RUNS, 0, 1, size);

    if (runs != NULL && size > 0) {
        memcpy(runs, j->runs.items, size);
    }
    if (!job_fill_state_header(j) || state_finish(&j->state, state_min) == NULL) {
        return no_memory(err);
    }
    j->metadata = describe_metadata(
        &j->state, "", j->m->clock.tsc_khz, j->runs.data_pages * SNAPSHOT_PAGE_SIZE,
        sizeof(struct snapshot_header), metadata_min, &j->metadata_size);
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

static void fill_header(struct snapshot_job *j, struct sha256 *memory)
{
    struct snapshot_header *h = &j->header;

    h->v1.magic = SNAPSHOT_MAGIC;
    h->v1.version = 2;
    h->v1.metadata_size = j->metadata_size;
    h->v1.state_size = j->state.size;
    h->v1.memory_size = job_has_memory_file(j) ? 0 : j->m->ram_size;
    h->flags = job_has_memory_file(j) ? SNAPSHOT_MEMORY_ELSEWHERE : 0;
    sha256(j->metadata, j->metadata_size, h->metadata_sha256);
    sha256(j->state.bytes, j->state.size, h->state_sha256);
    sha256_end(memory, h->memory_sha256);
}

int job_write_parts(struct snapshot_job *j, struct sha256 *memory)
{
    uint64_t at = sizeof(struct snapshot_header);
    int r = write_all(j->file.fd, j->metadata, j->metadata_size, at);

    at += j->metadata_size;
    if (r == 0) {
        r = write_all(j->file.fd, j->state.bytes, j->state.size, at);
    }
    at += j->state.size;
    fill_header(j, memory);
    j->size = at + j->runs.data_pages * SNAPSHOT_PAGE_SIZE;
    return r == 0 ? write_all(j->file.fd, &j->header, sizeof(j->header), 0) : r;
}

/* The guest stands still: its memory is written from where it is. */
static drupe_vm_err_t write_still(struct snapshot_job *j, struct drupe_error *err)
{
    drupe_vm_err_t code = choose_pages(j, err);
    uint64_t at = 0;
    struct sha256 sha;
    int fd = -1;
    int r = 0;

    if (code == DRUPE_OK) {
        code = job_finish_state(j, 0, 0, err);
    }
    if (code != DRUPE_OK) {
        return code;
    }
    fd = job_has_memory_file(j) ? j->memory.fd : j->file.fd;
    at = job_has_memory_file(j) ? 0
                                : sizeof(struct snapshot_header) + j->metadata_size + j->state.size;
    /* The size first: what nothing is written to is a hole. */
    r = ftruncate(fd, (off_t)(at + j->m->ram_size)) < 0 ? -errno : 0;
    sha256_init(&sha);
    if (r == 0) {
        r = memory_write(&j->runs, j->m->ram, fd, at, &sha);
    }
    if (r == 0) {
        r = job_write_parts(j, &sha);
    }
    return r == 0 ? DRUPE_OK : error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "write the snapshot");
}

static drupe_vm_err_t commit(struct snapshot_job *j, struct drupe_error *err)
{
    drupe_vm_err_t r = job_has_memory_file(j) ? output_commit(&j->memory, err) : DRUPE_OK;

    return r == DRUPE_OK ? output_commit(&j->file, err) : r;
}

static void clean_up(struct snapshot_job *j)
{
    live_close(&j->live);
    machine_set_copying(j->m, false);
    output_end(&j->file);
    output_end(&j->memory);
    free(j->metadata);
    free(j->base.path);
    memory_runs_deinit(&j->runs);
    page_set_deinit(&j->pages);
    page_set_deinit(&j->dirty);
    state_writer_deinit(&j->state);
}

/* The guest goes on while its memory is copied. */
static drupe_vm_err_t open_live(struct snapshot_job *j, struct drupe_error *err)
{
    int r = live_open(&j->live, j->m->ram, j->m->ram_size / SNAPSHOT_PAGE_SIZE,
                      j->m->config->userfaultfd_fd, j->m->config->has_swap);

    if (r < 0) {
        return error_set(err, DRUPE_UNSUPPORTED, -r,
                         "a live snapshot needs write protection by userfaultfd, which this host "
                         "does not have, not for us, or not for this memory");
    }
    j->is_live = true;
    r = live_protect_ahead(&j->live);
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "protect the guest's memory");
}

/* This thread will serve who waits for a page, so it must not wait itself. */
static int protect_live(struct snapshot_job *j)
{
    uint64_t pages[2];
    unsigned count = machine_identity_pages(j->m, pages);
    int r = live_protect(&j->live);

    for (unsigned i = 0; r == 0 && i < count; i++) {
        r = live_let_write(&j->live, pages[i]);
    }
    return r;
}

/* All that needs the guest to stand still. */
static drupe_vm_err_t take(struct snapshot_job *j, struct drupe_error *err)
{
    drupe_vm_err_t r = gather(j, err);
    int e = 0;

    if (r == DRUPE_OK) {
        r = take_dirty(j, err);
    }
    if (r == DRUPE_OK && j->is_live) {
        machine_set_copying(j->m, true);
        e = protect_live(j);
        return e == 0 ? DRUPE_OK
                      : error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "protect the guest's memory");
    }
    return r == DRUPE_OK ? write_still(j, err) : r;
}

static drupe_vm_err_t take_and_resume(struct snapshot_job *j, bool is_paused, uint64_t *stopped_ns,
                                      struct drupe_error *err)
{
    uint64_t began_ns = clock_ns();
    drupe_vm_err_t r = is_paused ? DRUPE_OK : machine_pause(j->m, err);
    drupe_vm_err_t resumed = DRUPE_OK;

    *stopped_ns = 0;
    if (r != DRUPE_OK) {
        return r;
    }
    r = take(j, err);
    if (is_paused) {
        return r;
    }
    resumed = machine_resume(j->m, r == DRUPE_OK ? err : NULL);
    *stopped_ns = clock_ns() - began_ns;
    return r == DRUPE_OK ? resumed : r;
}

drupe_vm_err_t machine_snapshot(void *machine, bool is_paused,
                                const struct drupe_snapshot_options *options,
                                struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct machine *m = machine;
    struct snapshot_job j = { .m = m,
                              .options = options,
                              .file.fd = -1,
                              .memory.fd = -1,
                              .live.uffd = -1,
                              .live.pagemap_fd = -1,
                              .live.stop_fd = -1 };
    uint64_t began_ns = clock_ns();
    uint64_t stopped_ns = 0;
    drupe_vm_err_t r = check(&j, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = prepare(&j, err);
    if (r == DRUPE_OK && options->is_live && !is_paused) {
        r = open_live(&j, err);
    }
    if (r == DRUPE_OK) {
        r = take_and_resume(&j, is_paused, &stopped_ns, err);
    }
    if (r == DRUPE_OK && j.is_live) {
        r = job_write_live(&j, err);
    }
    if (r == DRUPE_OK) {
        r = commit(&j, err);
    }
    if (r == DRUPE_OK) {
        job_become_base(&j);
        *info = (struct drupe_snapshot_info){
            .size = j.size,
            .memory_bytes = j.runs.data_pages * SNAPSHOT_PAGE_SIZE,
            .stopped_ns = stopped_ns,
            .took_ns = clock_ns() - began_ns,
        };
        memcpy(info->id, j.id, sizeof(j.id));
    }
    if (j.has_taken_dirty && (r != DRUPE_OK || options->is_aside)) {
        page_set_add_set(&m->dirty, &j.dirty); /* the next diff's, still */
    }
    clean_up(&j);
    return r;
}
