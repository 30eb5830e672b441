/* SPDX-License-Identifier: Apache-2.0 */
/* What the next incremental snapshot of a machine builds on: its last one, or its origin. */
#include <stdlib.h>
#include <string.h>

#include <base/fmt.h>

#include "error.h"
#include "kvm/snapshot_job.h"
#include "snapshot/bases.h"

/* Whatever is not absolute needs the file system, which a jailed monitor does not have: a named
 * descriptor's path is absolute. */
static char *path_of(const char *path, const char *name)
{
    if (path == NULL) {
        return name == NULL ? NULL : strdup(name);
    }
    return path[0] == '/' ? strdup(path) : realpath(path, NULL);
}

/* The lock is held, or nobody else has the machine yet. */
static void set_base(struct machine *m, const char *id, const uint8_t sha256[32], char *path)
{
    memcpy(m->base_id, id, sizeof(m->base_id));
    memcpy(m->base_sha256, sha256, sizeof(m->base_sha256));
    free(m->base_path);
    m->base_path = path;
}

void machine_restored_from(struct machine *m, const struct snapshot_file *f)
{
    bool has_use = m->config->is_dirty_tracked && f->has_path;

    set_base(m, f->state.header->id, f->memory_sha256, has_use ? path_of(f->name, NULL) : NULL);
}

void machine_snapshot_last(void *machine, struct drupe_snapshot_last *out)
{
    struct machine *m = machine;

    (void)pthread_mutex_lock(&m->control);
    (void)fmt_snprintf(out->id, sizeof(out->id), "%s", m->base_id);
    (void)fmt_snprintf(out->path, sizeof(out->path), "%s",
                       m->base_path == NULL ? "" : m->base_path);
    (void)pthread_mutex_unlock(&m->control);
}

/* The caller says where it is: hold it against what the pages have been counted from. */
static drupe_vm_err_t check_named(struct snapshot_job *j, const struct drupe_snapshot_base *base,
                                  struct drupe_error *err)
{
    const struct machine *m = j->m;
    const struct drupe_restore_options options = { .struct_size = sizeof(options),
                                                   .path = base->path,
                                                   .fd = base->fd,
                                                   .name = base->name,
                                                   .memory_fd = -1 };
    struct snapshot_file *f = NULL;
    drupe_vm_err_t r = snapshot_open_one(&options, &f, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (strcmp(f->state.header->id, m->base_id) != 0) {
        r = error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                      "%s is snapshot %s; this machine's pages are counted from snapshot %s",
                      f->name, f->state.header->id, m->base_id);
    } else if (memcmp(f->memory_sha256, m->base_sha256, sizeof(m->base_sha256)) != 0) {
        r = error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                      "%s: its memory is not what it was when it was written", f->name);
    } else {
        j->base.path = path_of(base->path, base->name);
    }
    snapshot_close(f);
    return r;
}

drupe_vm_err_t job_find_base(struct snapshot_job *j, struct drupe_error *err)
{
    const struct machine *m = j->m;

    if (m->base_id[0] == '\0') {
        return error_field(err, "kind",
                           "an incremental snapshot builds on one before it, and there is none");
    }
    if (bases_would_lose(j->options->path, m->base_path)) {
        return error_field(err, "path", "%s is what the incremental snapshot builds on",
                           j->options->path);
    }
    memcpy(j->base.memory_sha256, m->base_sha256, sizeof(j->base.memory_sha256));
    if (j->options->base != NULL) {
        return check_named(j, j->options->base, err);
    }
    j->base.path = m->base_path == NULL ? NULL : strdup(m->base_path);
    return DRUPE_OK;
}

void job_become_base(const struct snapshot_job *j)
{
    struct machine *m = j->m;
    char *path = NULL;

    if (j->options->is_aside) {
        return;
    }
    path = path_of(j->options->path, j->options->name);
    (void)pthread_mutex_lock(&m->control);
    set_base(m, j->id, j->header.memory_sha256, path);
    (void)pthread_mutex_unlock(&m->control);
}
