/* SPDX-License-Identifier: Apache-2.0 */
#include "thaw.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int thaw_open_fd(struct thaw *t, const char *verb, int fd)
{
    struct drupe_error err;

    memset(t, 0, sizeof(*t));
    t->restore.struct_size = sizeof(t->restore);
    t->restore.fd = fd;
    t->restore.memory_fd = -1;
    if (drupe_snapshot_describe(&t->restore, &t->description, &err) != DRUPE_OK) {
        thaw_close(t);
        return refuse_vm(verb, &err);
    }
    return 0;
}

int thaw_open(struct thaw *t, const char *verb, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    t->restore.fd = -1;
    return fd < 0 ? complain(STATUS_FAILED, "%s: %s: %s", verb, path, strerror(errno))
                  : thaw_open_fd(t, verb, fd);
}

void thaw_close(struct thaw *t)
{
    if (t->restore.fd >= 0) {
        (void)close(t->restore.fd);
    }
    t->restore.fd = -1;
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
