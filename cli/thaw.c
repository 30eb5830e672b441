/* SPDX-License-Identifier: Apache-2.0 */
#include "thaw.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* Takes both; `name` may be NULL. */
static int open_all(struct thaw *t, const char *verb, int fd, char *name)
{
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;

    memset(t, 0, sizeof(*t));
    t->name = name;
    t->restore.struct_size = sizeof(t->restore);
    t->restore.fd = fd;
    t->restore.name = name;
    t->restore.memory_fd = -1;
    r = drupe_snapshot_describe(&t->restore, &t->description, &err);
    if (r == DRUPE_OK && t->description.is_diff) {
        r = drupe_snapshot_open_bases(&t->restore, t->bases, &t->restore.base_count, &err);
        t->restore.base_fds = t->bases;
    }
    if (r != DRUPE_OK) {
        thaw_close(t);
        return refuse_vm(verb, &err);
    }
    return 0;
}

int thaw_open_fd(struct thaw *t, const char *verb, int fd)
{
    return open_all(t, verb, fd, NULL);
}

int thaw_open(struct thaw *t, const char *verb, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    t->restore.fd = -1;
    return fd < 0 ? complain(STATUS_FAILED, "%s: %s: %s", verb, path, strerror(errno))
                  : open_all(t, verb, fd, realpath(path, NULL));
}

void thaw_close(struct thaw *t)
{
    for (unsigned i = 0; i < t->restore.base_count; i++) {
        (void)close(t->bases[i]);
    }
    t->restore.base_count = 0;
    if (t->restore.fd >= 0) {
        (void)close(t->restore.fd);
    }
    t->restore.fd = -1;
    free(t->name);
    t->name = NULL;
}

size_t thaw_fds(const struct drupe_restore_options *restore, int fds[THAW_FDS_MAX])
{
    size_t count = 0;

    if (restore && restore->fd >= 0) {
        fds[count++] = restore->fd;
    }
    if (restore && restore->memory_fd >= 0) {
        fds[count++] = restore->memory_fd;
    }
    for (unsigned i = 0; restore && i < restore->base_count; i++) {
        fds[count++] = restore->base_fds[i];
    }
    return count;
}

/* ---- What lies outside the machine ---- */

static int take_disks(const struct thaw *t, const char *verb, const struct strings *disks,
                      struct job *j)
{
    const struct drupe_snapshot_description *d = &t->description;

    if (disks->count != 0 && disks->count != d->disk_count) {
        return complain(STATUS_USAGE, "%s: %zu --disk given; the snapshot has %u: give all or none",
                        verb, disks->count, d->disk_count);
    }
    for (unsigned i = 0; disks->count == 0 && i < d->disk_count; i++) {
        j->disks[j->disk_count++] = (struct drupe_disk){ .path = text_copy(d->disk_paths[i]),
                                                         .is_read_only = d->is_disk_read_only[i] };
    }
    return job_add_files(j, verb, disks);
}

static const struct drupe_share *find_share(const struct job *given, const char *guest_path)
{
    for (unsigned i = 0; i < given->share_count; i++) {
        if (strcmp(given->shares[i].guest_path, guest_path) == 0) {
            return &given->shares[i];
        }
    }
    return NULL;
}

static bool has_share(const struct drupe_snapshot_description *d, const char *guest_path)
{
    bool is_there = false;

    for (unsigned i = 0; i < d->share_count; i++) {
        is_there = is_there || strcmp(d->shares[i].guest_path, guest_path) == 0;
    }
    return is_there;
}

static int take_shares(const struct thaw *t, const char *verb, const struct run_options *o,
                       struct job *j)
{
    const struct drupe_snapshot_description *d = &t->description;
    CLEANUP_JOB given = { 0 };
    int status = job_share_volumes(&given, verb, &o->volumes);

    for (unsigned i = 0; status == 0 && i < given.share_count; i++) {
        if (!has_share(d, given.shares[i].guest_path)) {
            status = complain(STATUS_USAGE, "%s: the snapshot has no shared folder at %s", verb,
                              given.shares[i].guest_path);
        }
    }
    for (unsigned i = 0; status == 0 && i < d->share_count; i++) {
        const struct drupe_snapshot_share *was = &d->shares[i];
        const struct drupe_share *now = find_share(&given, was->guest_path);
        const bool is_new_root = o->root && strcmp(was->guest_path, "/") == 0;
        const char *host = is_new_root ? o->root : was->host_path;

        status = job_share(j, verb, now ? now->host_path : host, was->tag, was->guest_path,
                           now ? now->is_read_only : was->is_read_only);
    }
    return status;
}

int thaw_job(const struct thaw *t, const char *verb, const struct run_options *o, struct job *j)
{
    const struct drupe_snapshot_description *d = &t->description;
    int status = take_shares(t, verb, o, j);

    if (status == 0) {
        status = take_disks(t, verb, &o->disks, j);
    }
    if (status == 0) {
        status = job_add_nets(j, verb, &o->nets);
    }
    if (d->root_path[0] || (o->root && !has_share(d, "/"))) {
        j->image = text_copy(o->root ? o->root : d->root_path);
    }
    strings_add(&j->argv, d->argv0[0] ? d->argv0 : "(restored)");
    j->kernel_args = text_copy(d->cmdline_extra);
    j->cwd = text_copy("/");
    j->vcpus = d->vcpus;
    j->memory_mib = d->memory_mib;
    return status;
}

void thaw_config(const struct thaw *t, drupe_vm_config_t *cfg)
{
    cfg->root_mode = t->description.root_mode;
    cfg->stdio = t->description.stdio;
}
