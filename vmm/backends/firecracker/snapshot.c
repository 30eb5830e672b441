/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots are Firecracker's own two files: state and memory. It writes them under other names,
 * which are given up for the right ones when both are whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "backends/firecracker/firecracker.h"
#include "error.h"

#define PATH_SIZE (DRUPE_PATH_SIZE_MAX + 1u)

struct two_files {
    char state[PATH_SIZE];
    char memory[PATH_SIZE];
    char new_state[PATH_SIZE + 16];
    char new_memory[PATH_SIZE + 16];
};

/* The child stands where we stood when it was started. */
static int make_absolute(const char *path, char out[PATH_SIZE])
{
    char here[PATH_SIZE] = "";

    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL) {
        return -errno;
    }
    return fmt_snprintf(out, PATH_SIZE, "%s%s%s", here, path[0] == '/' ? "" : "/", path) < PATH_SIZE
               ? 0
               : -ENAMETOOLONG;
}

static drupe_vm_err_t name_files(struct two_files *f, const char *state, const char *memory,
                                 drupe_vm_err_t code, struct drupe_error *err)
{
    int r = 0;

    if (state == NULL || memory == NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "Firecracker's snapshots are two files: path and memory_path");
    }
    r = make_absolute(state, f->state);
    if (r == 0) {
        r = make_absolute(memory, f->memory);
    }
    (void)fmt_snprintf(f->new_state, sizeof(f->new_state), "%s.%d.new", f->state, (int)getpid());
    (void)fmt_snprintf(f->new_memory, sizeof(f->new_memory), "%s.%d.new", f->memory, (int)getpid());
    return r == 0 ? DRUPE_OK : error_set(err, code, -r, "name the snapshot's files");
}

static int sync_file(const char *path, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st = { 0 };
    int r = fd < 0 || fstat(fd, &st) < 0 || fsync(fd) < 0 ? -errno : 0;

    if (r == 0) {
        *size = (uint64_t)st.st_size;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return r;
}

static int sync_directory(const char *file)
{
    char path[PATH_SIZE];
    uint64_t unused = 0;

    (void)fmt_snprintf(path, sizeof(path), "%s", file);
    return sync_file(dirname(path), &unused);
}

/* The memory first: a state file under its name has a memory file under its. */
static drupe_vm_err_t publish(const struct two_files *f, struct drupe_snapshot_info *info,
                              struct drupe_error *err)
{
    uint64_t state_size = 0;
    uint64_t memory_size = 0;
    int r = sync_file(f->new_state, &state_size);

    if (r == 0) {
        r = sync_file(f->new_memory, &memory_size);
    }
    if (r == 0 && (rename(f->new_memory, f->memory) < 0 || rename(f->new_state, f->state) < 0)) {
        r = -errno;
    }
    if (r == 0) {
        r = sync_directory(f->memory);
    }
    if (r == 0) {
        r = sync_directory(f->state);
    }
    if (r < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "complete the snapshot %.120s", f->state);
    }
    info->memory_bytes = memory_size;
    info->size = state_size + memory_size;
    return DRUPE_OK;
}

static drupe_vm_err_t write_files(struct fc_machine *m, const struct two_files *f, bool is_diff,
                                  struct drupe_error *err)
{
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "snapshot_type", is_diff ? "Diff" : "Full");
    fc_json_string(&m->json, "snapshot_path", f->new_state);
    fc_json_string(&m->json, "mem_file_path", f->new_memory);
    fc_json_close(&m->json);
    return fc_send(m, "PUT", "/snapshot/create", FC_SNAPSHOT_TIMEOUT_MS, DRUPE_SNAPSHOT_FAILED,
                   err);
}

static drupe_vm_err_t snapshot_paused(struct fc_machine *m, const struct two_files *f,
                                      const struct drupe_snapshot_options *options,
                                      struct drupe_snapshot_info *info, struct drupe_error *err)
{
    drupe_vm_err_t r = write_files(m, f, options->kind == DRUPE_SNAPSHOT_DIFF, err);

    if (r == DRUPE_OK) {
        r = publish(f, info, err);
    }
    if (r != DRUPE_OK) {
        (void)unlink(f->new_state);
        (void)unlink(f->new_memory);
    }
    return r;
}

drupe_vm_err_t fc_snapshot(void *machine, bool is_paused,
                           const struct drupe_snapshot_options *options,
                           struct drupe_snapshot_info *info, struct drupe_error *err)
{
    struct fc_machine *m = machine;
    struct two_files f;
    uint64_t began_ns = clock_ns();
    drupe_vm_err_t r = DRUPE_OK;

    memset(info, 0, sizeof(*info));
    if (options->is_live) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "a live snapshot: not supported on the firecracker backend");
    }
    r = name_files(&f, options->path, options->memory_path, DRUPE_SNAPSHOT_FAILED, err);
    if (r != DRUPE_OK) {
        return r;
    }
    (void)pthread_mutex_lock(&m->http_lock);
    if (!is_paused) {
        r = fc_set_paused(m, true, DRUPE_SNAPSHOT_FAILED, err);
    }
    if (r == DRUPE_OK) {
        r = snapshot_paused(m, &f, options, info, err);
        if (!is_paused) {
            drupe_vm_err_t resumed =
                fc_set_paused(m, false, DRUPE_SNAPSHOT_FAILED, r == DRUPE_OK ? err : NULL);

            info->stopped_ns = clock_ns() - began_ns;
            r = r == DRUPE_OK ? resumed : r;
        }
    }
    (void)pthread_mutex_unlock(&m->http_lock);
    info->took_ns = clock_ns() - began_ns;
    return r;
}

drupe_vm_err_t fc_load(struct fc_machine *m, const struct drupe_restore_options *options,
                       struct drupe_error *err)
{
    struct two_files f;
    drupe_vm_err_t r =
        name_files(&f, options->path, options->memory_path, DRUPE_RESTORE_FAILED, err);

    if (r != DRUPE_OK) {
        return r;
    }
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "snapshot_path", f.state);
    fc_json_open(&m->json, "mem_backend");
    fc_json_string(&m->json, "backend_type", "File");
    fc_json_string(&m->json, "backend_path", f.memory);
    fc_json_close(&m->json);
    fc_json_bool(&m->json, "track_dirty_pages", m->config->is_dirty_tracked);
    fc_json_bool(&m->json, "resume_vm", false);
    if (m->config->vsock_path != NULL) {
        (void)unlink(m->config->vsock_path); /* as at a start */
        fc_json_open(&m->json, "vsock_override");
        fc_json_string(&m->json, "uds_path", m->config->vsock_path);
        fc_json_close(&m->json);
    }
    fc_json_close(&m->json);
    return fc_send(m, "PUT", "/snapshot/load", FC_SNAPSHOT_TIMEOUT_MS, DRUPE_RESTORE_FAILED, err);
}
