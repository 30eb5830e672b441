/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated machine's snapshot: gathered from this machine, but written, read and checked by
 * the library's own container code (vmm/snapshot).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "error.h"
#include "fault.h"
#include "machine_internal.h"
#include "snapshot/bases.h"
#include "snapshot/describe.h"
#include "snapshot/memory.h"
#include "snapshot/output.h"

#define STATE_RECORD 0x53u /* version of this machine's records: no other backend reads them */

/* The host that a machine runs on; scenarios change it to restore elsewhere. */
static struct sim_host host = { .arch = SNAPSHOT_X86_64, .cpu_features = 0xff };

struct sim_host *sim_host(void)
{
    return &host;
}

struct vm_record {
    uint64_t cpu_features; /* that the guest may use */
    uint64_t reserved;
};

struct vcpu_record {
    uint64_t regs[SIM_REGS];
};

struct job {
    struct sim_machine *m;
    const struct drupe_snapshot_options *options;
    struct state_writer state;
    struct snapshot_file_id root;
    struct page_set pages;
    struct memory_runs runs;
    struct output file;
    struct output memory; /* fd -1: in `file` */
    uint8_t *moment;      /* live: memory as it was; NULL: where it is */
    bool has_taken_dirty;
    char *metadata;
    size_t metadata_size;
    struct snapshot_header header;
    char id[SNAPSHOT_ID_SIZE];
};

static drupe_vm_err_t no_memory(struct drupe_error *err)
{
    return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "take a snapshot");
}

static uint64_t wall_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static drupe_vm_err_t make_id(struct job *j, struct drupe_error *err)
{
    uint64_t random[2];

    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "make the snapshot's id");
    }
    (void)fmt_snprintf(j->id, sizeof(j->id), "%016llx%016llx", (unsigned long long)random[0],
                       (unsigned long long)random[1]);
    return DRUPE_OK;
}

static bool is_diff(const struct job *j)
{
    return j->options->kind == DRUPE_SNAPSHOT_DIFF;
}

static const uint8_t *memory_of(const struct job *j)
{
    return j->moment != NULL ? j->moment : j->m->memory;
}

/* ---- Taking one ---- */

static bool add_records(struct job *j)
{
    struct vm_record *vm =
        state_add(&j->state, SNAPSHOT_VM, 0, STATE_RECORD, sizeof(struct vm_record));

    if (vm != NULL) {
        vm->cpu_features = host.cpu_features;
    }
    for (unsigned i = 0; i < j->m->vcpu_count; i++) {
        struct vcpu_record *v =
            state_add(&j->state, SNAPSHOT_VCPU, i, STATE_RECORD, sizeof(struct vcpu_record));

        if (v != NULL) {
            memcpy(v->regs, j->m->vcpus[i].regs, sizeof(v->regs));
        }
    }
    const struct snapshot_place base = { .path = j->m->base_path };

    return describe_config(&j->state, j->m->config, &j->root, is_diff(j) ? &base : NULL);
}

/* From now on pages written belong to the next snapshot; put_back_dirty() undoes it. */
static void choose_pages(struct job *j)
{
    struct sim_machine *m = j->m;

    for (uint64_t p = 0; p < j->pages.pages; p++) {
        if (is_diff(j) ? m->is_dirty[p] : m->is_touched[p]) {
            page_set_add(&j->pages, p, 1);
        }
        m->is_dirty[p] = false;
    }
    j->has_taken_dirty = true;
}

static void put_back_dirty(struct job *j)
{
    for (uint64_t p = 0; p < j->pages.pages; p++) {
        j->m->is_dirty[p] |= page_set_has(&j->pages, p);
    }
}

/* A live snapshot: the guest goes on, this stays. */
static bool keep_moment(struct job *j)
{
    size_t size = j->m->config->memory_size;

    if (!j->options->is_live) {
        return true;
    }
    j->moment = calloc(1, size);
    if (j->moment == NULL) {
        return false;
    }
    for (uint64_t p = page_set_next(&j->pages, 0); p < j->pages.pages;
         p = page_set_next(&j->pages, p + 1)) {
        memcpy(j->moment + p * SIM_PAGE, j->m->memory + p * SIM_PAGE, SIM_PAGE);
    }
    return true;
}

static void fill_state_header(struct job *j, struct snapshot_state *header)
{
    header->arch = host.arch;
    header->vcpus = j->m->vcpu_count;
    header->ram_size = j->m->config->memory_size;
    header->created_ms = wall_ms();
    memcpy(header->id, j->id, sizeof(header->id));
    if (is_diff(j)) {
        header->flags = SNAPSHOT_IS_DIFF;
        memcpy(header->base_id, j->m->base_id, sizeof(header->base_id));
    }
}

/* While the machine stands still. */
static drupe_vm_err_t gather(struct job *j, struct drupe_error *err)
{
    struct sim_machine *m = j->m;
    uint64_t pages = m->config->memory_size / SIM_PAGE;
    const struct config *c = m->config;
    int e = c->root.fd < 0 ? 0 : file_identify(c->root.fd, true, &j->root);

    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "read root image %s", c->root.path);
    }
    if (!add_records(j) || !page_set_init(&j->pages, pages)) {
        return no_memory(err);
    }
    choose_pages(j);
    return keep_moment(j) ? DRUPE_OK : no_memory(err);
}

static drupe_vm_err_t finish_state(struct job *j, struct drupe_error *err)
{
    struct snapshot_state *header = NULL;
    void *runs = NULL;
    size_t size = 0;

    if (!memory_runs_make(&j->runs, &j->pages, memory_of(j), is_diff(j))) {
        return no_memory(err);
    }
    size = j->runs.count * sizeof(struct snapshot_run);
    runs = state_add(&j->state, SNAPSHOT_RUNS, 0, 1, size);
    if (runs != NULL && size > 0) {
        memcpy(runs, j->runs.items, size);
    }
    header = state_finish(&j->state, 0);
    if (header == NULL) {
        return no_memory(err);
    }
    fill_state_header(j, header);
    j->metadata = describe_metadata(&j->state, "", 1000000, j->runs.data_pages * SIM_PAGE,
                                    sizeof(struct snapshot_header), 0, &j->metadata_size);
    return j->metadata == NULL ? no_memory(err) : DRUPE_OK;
}

static int write_parts(struct job *j)
{
    struct snapshot_header *h = &j->header;
    bool is_apart = j->memory.fd >= 0;
    uint64_t ram_size = j->m->config->memory_size;
    uint64_t at = sizeof(*h) + j->metadata_size + j->state.size;
    uint64_t memory_at = is_apart ? 0 : at;
    int memory_fd = is_apart ? j->memory.fd : j->file.fd;
    struct sha256 sha;
    int r = write_all(j->file.fd, j->metadata, j->metadata_size, sizeof(*h));

    if (r == 0) {
        r = write_all(j->file.fd, j->state.bytes, j->state.size, sizeof(*h) + j->metadata_size);
    }
    if (r == 0 && ftruncate(memory_fd, (off_t)(memory_at + ram_size)) < 0) {
        r = -errno;
    }
    sha256_init(&sha);
    if (r == 0) {
        r = memory_write(&j->runs, memory_of(j), memory_fd, memory_at, &sha);
    }
    h->v1.magic = SNAPSHOT_MAGIC;
    h->v1.version = 2;
    h->v1.metadata_size = j->metadata_size;
    h->v1.state_size = j->state.size;
    h->v1.memory_size = is_apart ? 0 : ram_size;
    h->flags = is_apart ? SNAPSHOT_MEMORY_ELSEWHERE : 0;
    sha256(j->metadata, j->metadata_size, h->metadata_sha256);
    sha256(j->state.bytes, j->state.size, h->state_sha256);
    sha256_end(&sha, h->memory_sha256);
    return r == 0 ? write_all(j->file.fd, h, sizeof(*h), 0) : r;
}

static drupe_vm_err_t open_outputs(struct job *j, struct drupe_error *err)
{
    const struct drupe_snapshot_options *o = j->options;
    drupe_vm_err_t r = output_begin(&j->file, o->path, o->fd, err);

    if (r != DRUPE_OK) {
        j->file.fd = -1;
        return r;
    }
    if (o->memory_path != NULL || o->memory_fd >= 0) {
        r = output_begin(&j->memory, o->memory_path, o->memory_fd, err);
        if (r != DRUPE_OK) {
            j->memory.fd = -1;
        }
    }
    return r;
}

static drupe_vm_err_t write_out(struct job *j, struct drupe_error *err)
{
    drupe_vm_err_t r = open_outputs(j, err);
    int e = r == DRUPE_OK ? write_parts(j) : 0;

    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "write the snapshot");
    }
    if (r == DRUPE_OK && j->memory.fd >= 0) {
        r = output_commit(&j->memory, err);
    }
    return r == DRUPE_OK ? output_commit(&j->file, err) : r;
}

static void clean_up(struct job *j)
{
    output_end(&j->file);
    output_end(&j->memory);
    free(j->metadata);
    free(j->moment);
    memory_runs_deinit(&j->runs);
    page_set_deinit(&j->pages);
    state_writer_deinit(&j->state);
}

static void become_base(struct job *j)
{
    struct sim_machine *m = j->m;

    free(m->base_path);
    m->base_path = j->options->path == NULL ? NULL : strdup(j->options->path);
    memcpy(m->base_id, j->id, sizeof(j->id));
}

/* The guest stands still for all of it, or (live) until its memory is put aside. */
static drupe_vm_err_t take(struct job *j, bool is_paused, struct drupe_error *err)
{
    bool is_live = j->options->is_live;
    drupe_vm_err_t r = DRUPE_OK;

    sim_agent_reset(j->m);
    r = gather(j, err);
    if (is_live && !is_paused) {
        sim_machine_unpark(j->m);
    }
    if (r == DRUPE_OK) {
        r = finish_state(j, err);
    }
    if (r == DRUPE_OK) {
        r = write_out(j, err);
    }
    if (r == DRUPE_OK) {
        become_base(j);
    } else if (j->has_taken_dirty) {
        put_back_dirty(j);
    }
    if (!is_live && !is_paused) {
        sim_machine_unpark(j->m);
    }
    return r;
}

static drupe_vm_err_t injected(struct drupe_error *err)
{
    switch (sim_fault_draw(OP_vm_snapshot, SIM_KIND(SNAPSHOT_FAIL) | SIM_KIND(SNAPSHOT_TOO_LARGE),
                           NULL)) {
    case FAULT_SNAPSHOT_FAIL:
        return error_set(err, DRUPE_SNAPSHOT_FAILED, EIO, "snapshot: a device does not rest");
    case FAULT_SNAPSHOT_TOO_LARGE:
        return error_set(err, DRUPE_SNAPSHOT_TOO_LARGE, 0, "the state is larger than it may be");
    default: /* none other was asked for */
        return DRUPE_OK;
    }
}

drupe_vm_err_t sim_machine_snapshot(void *machine, bool is_paused,
                                    const struct drupe_snapshot_options *options,
                                    struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct sim_machine *m = machine;
    struct job j = { .m = m, .options = options, .file.fd = -1, .memory.fd = -1 };
    drupe_vm_err_t r = DRUPE_OK;

    if (is_diff(&j) && m->base_id[0] == '\0') {
        return error_field(err, "kind", "there is no snapshot before it");
    }
    if (is_diff(&j) && bases_would_lose(options->path, m->base_path)) {
        return error_field(err, "path", "it is what the snapshot builds on");
    }
    r = injected(err);
    if (r == DRUPE_OK) {
        r = make_id(&j, err);
    }
    if (r == DRUPE_OK && !is_paused) {
        r = sim_machine_park(m, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    state_writer_init(&j.state);
    r = take(&j, is_paused, err);
    if (r == DRUPE_OK) {
        memset(info, 0, sizeof(*info));
        memcpy(info->id, j.id, sizeof(j.id));
        info->memory_bytes = j.runs.data_pages * SIM_PAGE;
        info->size = info->memory_bytes + sizeof(j.header) + j.metadata_size + j.state.size;
    }
    clean_up(&j);
    return r;
}

/* ---- Restoring ---- */

static drupe_vm_err_t check_host(const struct snapshot_file *f, struct drupe_error *err)
{
    const struct vm_record *vm = NULL;
    uint32_t version = 0;
    size_t size = 0;

    if (f->state.header->arch != host.arch) {
        return error_set(err, DRUPE_ARCH_MISMATCH, 0,
                         "the snapshot is of another architecture than this host");
    }
    vm = state_find(&f->state, SNAPSHOT_VM, 0, &version, &size);
    if (vm == NULL || version != STATE_RECORD || size != sizeof(*vm)) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "the snapshot has no machine state");
    }
    if ((vm->cpu_features & ~host.cpu_features) != 0) {
        return error_set(err, DRUPE_ARCH_MISMATCH, 0, "the CPU here lacks features 0x%llx",
                         (unsigned long long)(vm->cpu_features & ~host.cpu_features));
    }
    return DRUPE_OK;
}

static void mark_touched(struct sim_machine *m, const struct snapshot_file *f)
{
    if (f->base != NULL) {
        mark_touched(m, f->base);
    }
    for (uint32_t i = 0; i < f->run_count; i++) {
        for (uint32_t p = 0; p < f->runs[i].count; p++) {
            m->is_touched[f->runs[i].page + p] = true;
        }
    }
}

static drupe_vm_err_t load(struct sim_machine *m, const struct snapshot_file *f,
                           struct drupe_error *err)
{
    int e = 0;

    for (unsigned i = 0; i < m->vcpu_count; i++) {
        uint32_t version = 0;
        size_t size = 0;
        const struct vcpu_record *v = state_find(&f->state, SNAPSHOT_VCPU, i, &version, &size);

        if (v == NULL || version != STATE_RECORD || size != sizeof(*v)) {
            return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "the snapshot has no vCPU %u", i);
        }
        memcpy(m->vcpus[i].regs, v->regs, sizeof(v->regs));
    }
    e = memory_map(f, m->memory);
    if (e < 0) {
        return error_set(err, e == -ENOMEM ? DRUPE_NO_MEMORY : DRUPE_RESTORE_FAILED, -e,
                         "map the snapshot's memory");
    }
    mark_touched(m, f);
    memcpy(m->base_id, f->state.header->id, sizeof(m->base_id));
    m->base_path = f->name == NULL ? NULL : strdup(f->name); /* without it no diff has a base */
    return DRUPE_OK;
}

static drupe_vm_err_t check_all(const struct snapshot_file *f, const struct config *c,
                                const struct drupe_restore_options *options,
                                struct drupe_error *err)
{
    drupe_vm_err_t r = check_host(f, err);

    if (r == DRUPE_OK) {
        r = describe_check(f, c, options->is_clone, err);
    }
    if (r == DRUPE_OK && !options->is_memory_trusted) {
        r = snapshot_verify_memory(f, err);
    }
    return r;
}

drupe_vm_err_t sim_machine_restore(const struct config *c, const struct backend_events *events,
                                   const struct drupe_restore_options *options, void **out,
                                   struct drupe_error *err)
{
    struct snapshot_file *f = NULL;
    struct sim_machine *m = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (sim_fault_draw(OP_vm_restore, SIM_KIND(RESTORE_FAIL), NULL) != SIM_FAULT_NONE) {
        return error_set(err, DRUPE_RESTORE_FAILED, EIO, "restore: simulated failure");
    }
    r = snapshot_open(options, &f, err);
    if (r == DRUPE_OK) {
        r = check_all(f, c, options, err);
    }
    if (r == DRUPE_OK) {
        r = sim_machine_build(c, events, &m, err);
    }
    if (r == DRUPE_OK) {
        m->is_restored = true;
        m->is_booted = true;
        r = load(m, f, err);
    }
    snapshot_close(f);
    if (r != DRUPE_OK) {
        if (m != NULL) {
            backend_sim.destroy(m);
        }
        return r;
    }
    *out = m;
    return DRUPE_OK;
}
