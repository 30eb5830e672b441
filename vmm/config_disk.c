/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration's disks: files that may be used past the host's page cache. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block_bounce.h"
#include "error.h"

#define FD_NAME_SIZE 32

/*
 * O_DIRECT belongs to an open file, not to a descriptor: the caller's of "fd:N" is left as it is,
 * and opened anew. Where nobody shows us our descriptors (in a jail), it is the jail's own copy.
 */
static int go_direct(struct config_file *f)
{
    char name[FD_NAME_SIZE];
    int flags = fcntl(f->fd, F_GETFL);
    int fd = -1;

    if (flags < 0) {
        return -errno;
    }
    if ((flags & O_DIRECT) != 0) {
        return 0;
    }
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", f->fd);
    fd = open(name,
              (f->is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_DIRECT);
    if (fd < 0 && errno != ENOENT) {
        return -errno;
    }
    if (fd < 0) {
        return fcntl(f->fd, F_SETFL, flags | O_DIRECT) < 0 ? -errno : 0;
    }
    (void)close(f->fd);
    f->fd = fd;
    return 0;
}

static drupe_vm_err_t take_direct(struct config_file *f, struct drupe_error *err)
{
    struct direct_alignment alignment = { 0 };
    int r = go_direct(f);

    if (r == 0) {
        r = direct_alignment_of(f->fd, &alignment);
    }
    if (r == -EINVAL || r == -EOPNOTSUPP) {
        return error_set(err, DRUPE_UNSUPPORTED, -r, "disk %s: its file system has no direct I/O",
                         f->path);
    }
    if (r < 0) {
        return error_set(err, DRUPE_NO_ACCESS, -r, "disk %s: direct I/O", f->path);
    }
    if ((f->size & (alignment.block - 1)) != 0) {
        return error_set(err, DRUPE_NO_ACCESS, 0,
                         "disk %s: direct I/O wants a size of whole blocks of %u bytes, not %llu",
                         f->path, alignment.block, (unsigned long long)f->size);
    }
    f->is_direct = true;
    return DRUPE_OK;
}

/*
 * One owner for a disk that is written. The lock belongs to the open file, so it passes on with the
 * descriptor, to a monitor in its jail too, and goes with the last of them. It is on the first byte
 * alone: QEMU's own are from byte 100 on. A file system without locks protects nobody.
 */
drupe_vm_err_t config_lock_disk(const char *what, const struct config_file *f,
                                struct drupe_error *err)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };

    if (f->is_read_only || fcntl(f->fd, F_OFD_SETLK, &lock) == 0 ||
        (errno != EAGAIN && errno != EACCES)) {
        return DRUPE_OK;
    }
    return error_set(err, DRUPE_NO_ACCESS, EBUSY,
                     "%s %s: another VM writes to it; this one needs a writable disk of its own",
                     what, f->path);
}

bool config_is_same_file(const struct config_file *a, const struct config_file *b)
{
    struct stat first;
    struct stat second;

    return fstat(a->fd, &first) == 0 && fstat(b->fd, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

drupe_vm_err_t config_take_disk(const char *path, bool is_read_only, bool is_direct,
                                struct config_file *out, struct drupe_error *err)
{
    drupe_vm_err_t r = config_take_file("disk", path, is_read_only, out, err);

    return r == DRUPE_OK && is_direct ? take_direct(out, err) : r;
}
