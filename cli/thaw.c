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

void thaw_job(const struct thaw *t, const char *root, struct job *j)
{
    const struct drupe_snapshot_description *d = &t->description;

    if (root || d->root_path[0]) {
        j->image = text_copy(root ? root : d->root_path);
    }
    strings_add(&j->argv, d->argv0[0] ? d->argv0 : "(restored)");
    j->kernel_args = text_copy(d->cmdline_extra);
    j->cwd = text_copy("/");
    j->vcpus = d->vcpus;
    j->memory_mib = d->memory_mib;
}

void thaw_config(const struct thaw *t, drupe_vm_config_t *cfg)
{
    cfg->root_mode = t->description.root_mode;
    cfg->stdio = t->description.stdio;
    cfg->argv = NULL; /* it runs already */
}
