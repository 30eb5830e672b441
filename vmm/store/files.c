/* SPDX-License-Identifier: Apache-2.0 */
/* How bytes get into the store and out of it: whole, hashed, in time, atomically. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/bytes.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "store/store_internal.h"

struct transfer transfer_begin(const struct drupe_store *s, const char *what)
{
    return (struct transfer){
        .deadline_ns = s->timeout_ms == 0 ? 0 : clock_ns() + s->timeout_ms * NS_PER_MS,
        .what = what,
    };
}

int store_write_all(int fd, const void *from, size_t size, uint64_t offset)
{
    const uint8_t *at = from;

    while (size > 0) {
        ssize_t n = pwrite(fd, at, size, (off_t)offset);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
        if (n > 0) {
            at += n;
            offset += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int store_read_all(int fd, void *to, size_t size, uint64_t offset)
{
    uint8_t *at = to;

    while (size > 0) {
        ssize_t n = pread(fd, at, size, (off_t)offset);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            return -ENODATA;
        }
        if (n > 0) {
            at += n;
            offset += (uint64_t)n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static drupe_vm_err_t copy_failed(const struct transfer *t, int r, const char *how,
                                  struct drupe_error *err)
{
    if (r == -ENODATA) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "%s: the file ends too early", t->what);
    }
    return error_set(err, DRUPE_STORE_FAILED, -r, "%s: %s", t->what, how);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* One piece: what is zero stays a hole, and only its absence is hashed. */
static drupe_vm_err_t copy_piece(struct transfer *t, int from, uint64_t from_offset, int to,
                                 uint64_t to_offset, uint64_t at, size_t n, struct sha256 *sha,
                                 uint8_t *piece, struct drupe_error *err)
{
    uint8_t place[8];
    int e = store_read_all(from, piece, n, from_offset + at);

    if (e < 0) {
        return copy_failed(t, e, "read", err);
    }
    if (is_zero(piece, n)) {
        return DRUPE_OK;
    }
    store_le64(place, at);
    sha256_add(sha, place, sizeof(place));
    sha256_add(sha, piece, n);
    e = store_write_all(to, piece, n, to_offset + at);
    return e < 0 ? copy_failed(t, e, "write", err) : DRUPE_OK;
}

drupe_vm_err_t store_copy(struct transfer *t, int from, uint64_t from_offset, int to,
                          uint64_t to_offset, uint64_t size, uint8_t digest[SHA256_SIZE],
                          struct drupe_error *err)
{
    uint8_t *piece = malloc(PIECE_SIZE);
    struct sha256 sha;
    drupe_vm_err_t r = DRUPE_OK;

    if (piece == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "%s", t->what);
    }
    if (ftruncate(to, (off_t)(to_offset + size)) < 0) {
        r = copy_failed(t, -errno, "make room", err);
    }
    sha256_init(&sha);
    for (uint64_t done = 0; r == DRUPE_OK && done < size;) {
        size_t n = (size_t)min_of(size - done, (uint64_t)PIECE_SIZE);

        r = copy_piece(t, from, from_offset, to, to_offset, done, n, &sha, piece, err);
        done += n;
        if (r == DRUPE_OK && t->deadline_ns != 0 && clock_ns() > t->deadline_ns) {
            r = error_set(err, DRUPE_STORE_TIMEOUT, 0,
                          "%s: %llu of %llu bytes when its time was up", t->what,
                          (unsigned long long)done, (unsigned long long)size);
        }
    }
    sha256_end(&sha, digest);
    free(piece);
    return r;
}

/* ---- Into the store ---- */

static int sync_file(int fd)
{
    int r = fsync(fd);

    return r < 0 ? -errno : 0;
}

drupe_vm_err_t incoming_begin(struct drupe_store *s, const char *id, struct incoming *in,
                              struct drupe_error *err)
{
    uint64_t chance = 0;

    in->fd = -1;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance)) {
        return error_set(err, DRUPE_INTERNAL, errno, "get random bytes for a name");
    }
    (void)fmt_snprintf(in->name, sizeof(in->name), "%s.%016llx", id, (unsigned long long)chance);
    in->fd = openat(s->incoming_fd, in->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (in->fd < 0) {
        return error_set(err,
                         errno == EMFILE || errno == ENFILE ? DRUPE_NO_MEMORY : DRUPE_STORE_FAILED,
                         errno, "make a file in %s/incoming", s->path);
    }
    /* Held while we live: who opens the store takes an unlocked file for one left by the dead. */
    if (flock(in->fd, LOCK_EX | LOCK_NB) < 0) {
        drupe_vm_err_t r =
            error_set(err, DRUPE_STORE_FAILED, errno, "lock %s/incoming/%s", s->path, in->name);

        incoming_end(s, in);
        return r;
    }
    return DRUPE_OK;
}

drupe_vm_err_t incoming_commit(struct drupe_store *s, struct incoming *in, int directory_fd,
                               const char *id, struct drupe_error *err)
{
    int e = sync_file(in->fd);

    if (e < 0) {
        return error_set(err, DRUPE_STORE_FAILED, -e, "sync %s/incoming/%s", s->path, in->name);
    }
    /* The commit point: from here on others see it. */
    if (renameat2(s->incoming_fd, in->name, directory_fd, id, RENAME_NOREPLACE) < 0) {
        return error_set(err, DRUPE_STORE_FAILED, errno, "store %s", id);
    }
    in->name[0] = '\0';
    e = sync_file(directory_fd);
    if (e < 0) {
        /* It may not survive a loss of power: take it back, so that the answer is true. */
        (void)unlinkat(directory_fd, id, 0);
        return error_set(err, DRUPE_STORE_FAILED, -e, "sync the directory of %s", id);
    }
    return DRUPE_OK;
}

void incoming_end(struct drupe_store *s, struct incoming *in)
{
    if (in->fd >= 0) {
        if (in->name[0] != '\0') {
            (void)unlinkat(s->incoming_fd, in->name, 0);
        }
        (void)close(in->fd);
        in->fd = -1;
    }
}

/* ---- Out of the store ---- */

drupe_vm_err_t outgoing_begin(const char *path, struct outgoing *out, struct drupe_error *err)
{
    uint64_t chance = 0;

    out->fd = -1;
    out->path = path;
    if (getrandom(&chance, sizeof(chance), 0) != (ssize_t)sizeof(chance)) {
        return error_set(err, DRUPE_INTERNAL, errno, "get random bytes for a name");
    }
    if (fmt_snprintf(out->temporary, sizeof(out->temporary), "%s.%016llx", path,
                     (unsigned long long)chance) >= sizeof(out->temporary)) {
        return error_field(err, "blob_path", "blob_path is longer than %u bytes",
                           DRUPE_PATH_SIZE_MAX - 18);
    }
    out->fd = open(out->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out->fd < 0) {
        return error_set(err,
                         errno == EMFILE || errno == ENFILE ? DRUPE_NO_MEMORY : DRUPE_STORE_FAILED,
                         errno, "make %s", out->temporary);
    }
    return DRUPE_OK;
}

drupe_vm_err_t outgoing_commit(struct outgoing *out, struct drupe_error *err)
{
    int e = sync_file(out->fd);

    if (e < 0) {
        return error_set(err, DRUPE_STORE_FAILED, -e, "sync %s", out->temporary);
    }
    if (rename(out->temporary, out->path) < 0) {
        return error_set(err, DRUPE_STORE_FAILED, errno, "rename %s", out->temporary);
    }
    out->temporary[0] = '\0';
    return DRUPE_OK;
}

void outgoing_end(struct outgoing *out)
{
    if (out->fd >= 0) {
        if (out->temporary[0] != '\0') {
            (void)unlink(out->temporary);
        }
        (void)close(out->fd);
        out->fd = -1;
    }
}
