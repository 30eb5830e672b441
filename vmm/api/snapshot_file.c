/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot through the API is two files, state and memory. The monitor's part of the state says
 * nothing about the host's side (paths of drives and sockets), which a client expects to be found
 * again: it stands behind that part as JSON, then its size, then a magic.
 *
 *     <state, written by drupe_vm_snapshot()> <JSON> <u64 bytes of JSON, little-endian> "DRUPECFG"
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"

#define MAGIC           "DRUPECFG"
#define MAGIC_SIZE      8u
#define CONFIG_SIZE_MAX (1u << 20)
#define STATE_SIZE_MAX  (UINT64_C(64) << 20)

struct trailer {
    uint64_t config_size;
    char magic[MAGIC_SIZE];
};

_Static_assert(sizeof(struct trailer) == 16, "the trailer's layout is fixed");

static int write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

static int read_all(int fd, uint64_t offset, void *to, size_t size)
{
    char *at = to;

    while (size > 0) {
        ssize_t n = pread(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EBADMSG;
        }
        at += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return 0;
}

int snapshot_append_config(int fd, const json_t *config)
{
    char *text = json_dumps(config, JSON_COMPACT);
    struct trailer t = { .magic = { 'D', 'R', 'U', 'P', 'E', 'C', 'F', 'G' } };
    size_t size = 0;
    int r = 0;

    if (text == NULL) {
        return -ENOMEM;
    }
    size = strlen(text);
    t.config_size = htole64(size);
    if (size > CONFIG_SIZE_MAX) {
        r = -EFBIG;
    } else if (lseek(fd, 0, SEEK_END) < 0) {
        r = -errno;
    }
    if (r == 0) {
        r = write_all(fd, text, size);
    }
    if (r == 0) {
        r = write_all(fd, &t, sizeof(t));
    }
    if (r == 0 && fsync(fd) < 0) {
        r = -errno;
    }
    free(text);
    return r;
}

/* Where the JSON begins, and its size. */
static int find_config(int fd, uint64_t *at, uint64_t *size)
{
    struct stat st;
    struct trailer t;
    uint64_t end = 0;
    int r = 0;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(t)) {
        return -EBADMSG;
    }
    end = (uint64_t)st.st_size - sizeof(t);
    r = read_all(fd, end, &t, sizeof(t));
    if (r < 0) {
        return r;
    }
    *size = le64toh(t.config_size);
    if (memcmp(t.magic, MAGIC, MAGIC_SIZE) != 0 || *size > CONFIG_SIZE_MAX || *size > end ||
        end - *size > STATE_SIZE_MAX) {
        return -EBADMSG;
    }
    *at = end - *size;
    return 0;
}

static int copy_state(int fd, uint64_t size, int *out)
{
    int to = memfd_create("snapshot", MFD_CLOEXEC);
    char chunk[16384];
    int r = to < 0 ? -errno : 0;

    for (uint64_t at = 0; r == 0 && at < size;) {
        size_t n = (size_t)min_of(size - at, (uint64_t)sizeof(chunk));

        r = read_all(fd, at, chunk, n);
        if (r == 0) {
            r = write_all(to, chunk, n);
        }
        at += n;
    }
    if (r < 0 || lseek(to, 0, SEEK_SET) < 0) {
        if (to >= 0) {
            (void)close(to);
        }
        return r < 0 ? r : -EIO;
    }
    *out = to;
    return 0;
}

int snapshot_split(int fd, json_t **config, int *state_fd)
{
    struct body_detail d;
    uint64_t at = 0;
    uint64_t size = 0;
    char *text = NULL;
    json_t *parsed = NULL;
    int r = find_config(fd, &at, &size);

    if (r < 0) {
        return r;
    }
    text = malloc((size_t)size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    r = read_all(fd, at, text, (size_t)size);
    if (r == 0) {
        parsed = body_parse(text, (size_t)size, &d);
        r = json_is_object(parsed) ? 0 : -EBADMSG;
    }
    free(text);
    if (r == 0) {
        r = copy_state(fd, at, state_fd);
    }
    if (r < 0) {
        json_decref(parsed);
        return r;
    }
    *config = parsed;
    return 0;
}
