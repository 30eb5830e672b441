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
    struct state_writer state;
    struct snapshot_file_id root;
    struct page_set pages;
    struct memory_runs runs;
    struct output file;
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
    return describe_config(&j->state, j->m->config, &j->root, NULL);
}

static drupe_vm_err_t gather(struct job *j, struct drupe_error *err)
{
    struct sim_machine *m = j->m;
    uint64_t pages = m->config->memory_size / SIM_PAGE;
    const struct config *c = m->config;
    struct snapshot_state *header = NULL;
    int e = c->root.fd < 0 ? 0 : file_identify(c->root.fd, true, &j->root);

    if (e < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "read root image %s", c->root.path);
    }
    if (!add_records(j) || !page_set_init(&j->pages, pages)) {
        return no_memory(err);
    }
    for (uint64_t p = 0; p < pages; p++) {
        if (m->is_touched[p]) {
            page_set_add(&j->pages, p, 1);
        }
    }
    if (!memory_runs_make(&j->runs, &j->pages, m->memory, false)) {
        return no_memory(err);
    }
    size_t size = j->runs.count * sizeof(struct snapshot_run);
    void *runs = state_add(&j->state, SNAPSHOT_RUNS, 0, 1, size);

    if (runs != NULL && size > 0) {
        memcpy(runs, j->runs.items, size);
    }
    header = state_finish(&j->state, 0);
    if (header == NULL) {
        return no_memory(err);
    }
    header->arch = host.arch;
    header->vcpus = m->vcpu_count;
    header->ram_size = c->memory_size;
    header->created_ms = wall_ms();
    memcpy(header->id, j->id, sizeof(header->id));
    j->metadata = describe_metadata(&j->state, "", 1000000, j->runs.data_pages * SIM_PAGE,
                                    sizeof(struct snapshot_header), 0, &j->metadata_size);
    return j->metadata == NULL ? no_memory(err) : DRUPE_OK;
}

static int write_parts(struct job *j)
{
    struct snapshot_header *h = &j->header;
    uint64_t at = sizeof(*h);
    struct sha256 sha;
    int r = write_all(j->file.fd, j->metadata, j->metadata_size, at);

    at += j->metadata_size;
    if (r == 0) {
        r = write_all(j->file.fd, j->state.bytes, j->state.size, at);
    }
    at += j->state.size;
    if (r == 0 && ftruncate(j->file.fd, (off_t)(at + j->m->config->memory_size)) < 0) {
        r = -errno;
    }
    sha256_init(&sha);
    if (r == 0) {
        r = memory_write(&j->runs, j->m->memory, j->file.fd, at, &sha);
    }
    h->v1.magic = SNAPSHOT_MAGIC;
    h->v1.version = 2;
    h->v1.metadata_size = j->metadata_size;
    h->v1.state_size = j->state.size;
    h->v1.memory_size = j->m->config->memory_size;
    sha256(j->metadata, j->metadata_size, h->metadata_sha256);
    sha256(j->state.bytes, j->state.size, h->state_sha256);
    sha256_end(&sha, h->memory_sha256);
    return r == 0 ? write_all(j->file.fd, h, sizeof(*h), 0) : r;
}

static drupe_vm_err_t write_out(struct job *j, const struct drupe_snapshot_options *options,
                                struct drupe_error *err)
{
    drupe_vm_err_t r = output_begin(&j->file, options->path, options->fd, err);
    int e = 0;

    if (r != DRUPE_OK) {
        j->file.fd = -1;
        return r;
    }
    e = write_parts(j);
    return e < 0 ? error_set(err, DRUPE_SNAPSHOT_FAILED, -e, "write the snapshot")
                 : output_commit(&j->file, err);
}

static void clean_up(struct job *j)
{
    output_end(&j->file);
    free(j->metadata);
    memory_runs_deinit(&j->runs);
    page_set_deinit(&j->pages);
    state_writer_deinit(&j->state);
}

static drupe_vm_err_t take(struct sim_machine *m, const struct drupe_snapshot_options *options,
                           struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct job j = { .m = m, .file.fd = -1 };
    drupe_vm_err_t r = DRUPE_OK;

    state_writer_init(&j.state);
    r = make_id(&j, err);
    if (r == DRUPE_OK) {
        r = gather(&j, err);
    }
    if (r == DRUPE_OK) {
        r = write_out(&j, options, err);
    }
    if (r == DRUPE_OK) {
        memset(info, 0, sizeof(*info));
        memcpy(info->id, j.id, sizeof(j.id));
        info->memory_bytes = j.runs.data_pages * SIM_PAGE;
        info->size = info->memory_bytes + sizeof(j.header) + j.metadata_size + j.state.size;
    }
    clean_up(&j);
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
    drupe_vm_err_t r = DRUPE_OK;

    if (options->is_live || options->kind != DRUPE_SNAPSHOT_FULL || options->memory_path != NULL ||
        options->memory_fd >= 0) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the simulated VM takes full snapshots only");
    }
    r = injected(err);
    if (r == DRUPE_OK && !is_paused) {
        r = sim_machine_park(m, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    sim_agent_reset(m);
    r = take(m, options, info, err);
    if (!is_paused) {
        sim_machine_unpark(m);
    }
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
