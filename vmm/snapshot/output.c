/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/fmt.h>

#include "error.h"

#define TRIES 16

static drupe_vm_err_t open_temporary(struct output *o, const char *path, struct drupe_error *err)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t random = 0;

        if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
            break;
        }
        (void)fmt_snprintf(o->temporary, sizeof(o->temporary), "%s.%08x.part", path, random);
        o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (o->fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    return o->fd >= 0 ? DRUPE_OK
                      : error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "create %s", o->temporary);
}

drupe_vm_err_t output_begin(struct output *o, const char *path, int fd, struct drupe_error *err)
{
    memset(o, 0, sizeof(*o));
    if (path == NULL) {
        o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (o->fd < 0 || ftruncate(o->fd, 0) < 0) {
            drupe_vm_err_t r = error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "empty the file");

            output_end(o);
            return r;
        }
        return DRUPE_OK;
    }
    o->fd = -1;
    if (strlen(path) >= sizeof(o->path)) {
        return error_field(err, "path", "a path of more than %u bytes", DRUPE_PATH_SIZE_MAX - 1);
    }
    memcpy(o->path, path, strlen(path) + 1);
    return open_temporary(o, path, err);
}

static int sync_folder(const char *path)
{
    char folder[DRUPE_PATH_SIZE_MAX];
    char *slash = NULL;
    int r = 0;
    int fd = -1;

    memcpy(folder, path, strlen(path) + 1);
    slash = strrchr(folder, '/');
    if (slash == NULL) {
        memcpy(folder, ".", 2);
    } else {
        slash[slash == folder] = '\0';
    }
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    r = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
    (void)close(fd);
    return r;
}

drupe_vm_err_t output_commit(struct output *o, struct drupe_error *err)
{
    bool is_new = o->path[0] != '\0' && access(o->path, F_OK) < 0;
    int r = 0;

    if (fsync(o->fd) < 0 && errno != EINVAL) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "write the snapshot to its disk");
    }
    if (o->path[0] == '\0') {
        o->is_renamed = true;
        return DRUPE_OK;
    }
    if (rename(o->temporary, o->path) < 0) {
        return error_set(err, DRUPE_SNAPSHOT_FAILED, errno, "rename to %s", o->path);
    }
    o->is_renamed = true;
    r = sync_folder(o->path);
    if (r < 0 && is_new) {
        (void)unlink(o->path); /* the name may not last: no file, as the answer says */
    }
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_SNAPSHOT_FAILED, -r, "write the folder of %s to its disk",
                              o->path);
}

void output_end(struct output *o)
{
    if (o->fd < 0) {
        return;
    }
    if (!o->is_renamed && o->path[0] == '\0') {
        (void)!ftruncate(o->fd, 0); /* nothing half written passes for a snapshot */
    } else if (!o->is_renamed) {
        (void)unlink(o->temporary);
    }
    (void)close(o->fd);
    o->fd = -1;
}
