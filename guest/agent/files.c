/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, LIST, STAT: each opens a stream for one answer. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"

#define READ_SIZE     ((size_t)32 << 10)
#define ENTRIES_SIZE  ((size_t)32 << 10)
#define ENTRIES_TOTAL ((size_t)16 << 20) /* of one listing; it waits in memory to be sent */

static void refuse_errno(struct connection *c, unsigned id, int error)
{
    connection_error(c, id, AGENT_ERROR_ERRNO + (unsigned)error, strerror(error));
}

/* A path of a payload, terminated, into `to`; false: it is no path, which was told. */
static bool take_path(struct connection *c, unsigned id, const uint8_t *bytes, size_t size,
                      char to[AGENT_PATH_MAX + 1])
{
    if (size == 0 || size > AGENT_PATH_MAX || memchr(bytes, '\0', size) != NULL) {
        connection_error(c, id, AGENT_ERROR_REQUEST, "a path has 1 to 4095 bytes and no NUL");
        return false;
    }
    memcpy(to, bytes, size);
    to[size] = '\0';
    return true;
}

static bool has_header(struct connection *c, unsigned id, size_t size, size_t header)
{
    if (size < header) {
        connection_error(c, id, AGENT_ERROR_REQUEST, "a request that is too short");
        return false;
    }
    return true;
}

/* --- READ ------------------------------------------------------------------------------------- */

void stream_read_more(struct stream *s)
{
    static uint8_t buf[READ_SIZE];
    struct connection *c = s->connection;

    while (s->left > 0) {
        size_t size = (size_t)min_of(min_of(s->credit, s->left), (uint64_t)sizeof(buf));
        ssize_t n = 0;

        if (size == 0 || c->is_ending || c->out.size >= OUT_HIGH) {
            return; /* WINDOW, or room in the connection, brings us back */
        }
        n = read(s->file, buf, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno != EAGAIN) {
            refuse_errno(c, s->id, errno);
            stream_free(s);
            return;
        }
        if (n <= 0) {
            break;
        }
        s->credit -= (uint64_t)n;
        s->left -= (uint64_t)n;
        connection_frame(c, AGENT_DATA, 0, s->id, buf, (size_t)n);
    }
    connection_frame(c, AGENT_DATA, AGENT_END, s->id, NULL, 0);
    stream_free(s);
}

void files_read(struct connection *c, unsigned id, const uint8_t *payload, size_t size)
{
    char path[AGENT_PATH_MAX + 1];
    struct stream *s = NULL;
    uint64_t offset = 0;
    uint64_t want = 0;
    int fd = -1;

    if (!has_header(c, id, size, sizeof(struct agent_read)) ||
        !take_path(c, id, payload + sizeof(struct agent_read), size - sizeof(struct agent_read),
                   path)) {
        return;
    }
    offset = load_be64(payload);
    want = load_be64(payload + 8);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || (offset > 0 && (offset > INT64_MAX || lseek(fd, (off_t)offset, SEEK_SET) < 0))) {
        refuse_errno(c, id, fd >= 0 && offset > INT64_MAX ? EINVAL : errno);
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    s = stream_create(c, STREAM_READ, id);
    if (s == NULL) {
        (void)close(fd);
        connection_error(c, id, AGENT_ERROR_NO_MEMORY, "no memory for a stream");
        return;
    }
    s->file = fd;
    s->left = want == 0 ? UINT64_MAX : want;
    stream_read_more(s);
}

/* --- WRITE ------------------------------------------------------------------------------------ */

static int write_all(int fd, const uint8_t *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : ENOSPC;
        }
        bytes += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* 0 or errno. */
static int write_file(const char *path, const uint8_t *header, const uint8_t *bytes, size_t size)
{
    uint64_t offset = load_be64(header);
    mode_t mode = load_be32(header + 8) & 07777;
    unsigned flags = load_be16(header + 12);
    int error = 0;
    int fd = -1;

    if (offset > INT64_MAX - size) {
        return EFBIG;
    }
    fd = open(path,
              O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY |
                  ((flags & AGENT_WRITE_CREATE) != 0 ? O_CREAT : 0),
              mode);
    if (fd < 0) {
        return errno;
    }
    if ((flags & AGENT_WRITE_TRUNCATE) != 0 && ftruncate(fd, (off_t)offset) < 0) {
        error = errno;
    }
    error = error != 0 ? error : write_all(fd, bytes, size, offset);
    if (error == 0 && (flags & AGENT_WRITE_CHMOD) != 0 && fchmod(fd, mode) < 0) {
        error = errno;
    }
    if (close(fd) < 0 && error == 0) {
        error = errno;
    }
    return error;
}

static int make_directory(const char *path, const uint8_t *header)
{
    mode_t mode = load_be32(header + 8) & 07777;
    struct stat st;

    if (mkdir(path, mode) < 0 && (errno != EEXIST || stat(path, &st) < 0 || !S_ISDIR(st.st_mode))) {
        return errno;
    }
    if ((load_be16(header + 12) & AGENT_WRITE_CHMOD) != 0 && chmod(path, mode) < 0) {
        return errno;
    }
    return 0;
}

static int make_link(const char *path, const uint8_t *bytes, size_t size)
{
    char target[AGENT_PATH_MAX + 1];

    if (size == 0 || size > AGENT_PATH_MAX || memchr(bytes, '\0', size) != NULL) {
        return EINVAL;
    }
    memcpy(target, bytes, size);
    target[size] = '\0';
    return symlink(target, path) < 0 ? errno : 0;
}

void files_write(struct connection *c, unsigned id, const uint8_t *payload, size_t size)
{
    const size_t header = sizeof(struct agent_write);
    char path[AGENT_PATH_MAX + 1];
    const uint8_t *bytes = NULL;
    size_t path_size = 0;
    unsigned flags = 0;
    int error = 0;

    if (!has_header(c, id, size, header)) {
        return;
    }
    flags = load_be16(payload + 12);
    path_size = load_be16(payload + 14);
    if (!has_header(c, id, size - header, path_size) ||
        !take_path(c, id, payload + header, path_size, path)) {
        return;
    }
    bytes = payload + header + path_size;
    size -= header + path_size;
    if ((flags & AGENT_WRITE_DIRECTORY) != 0) {
        error = make_directory(path, payload);
    } else if ((flags & AGENT_WRITE_SYMLINK) != 0) {
        error = make_link(path, bytes, size);
    } else {
        error = write_file(path, payload, bytes, size);
    }
    if (error != 0) {
        refuse_errno(c, id, error);
    } else {
        connection_frame(c, AGENT_OK, 0, id, NULL, 0);
    }
}

/* --- LIST, STAT ------------------------------------------------------------------------------- */

static uint64_t mtime_of(const struct stat *st)
{
    return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* One entry at `to`; its size. */
static size_t put_entry(uint8_t *to, int directory, const char *name)
{
    size_t name_size = strlen(name);
    struct stat st = { 0 };

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        st = (struct stat){ 0 };
    }
    store_be64(to, (uint64_t)st.st_size);
    store_be64(to + 8, mtime_of(&st));
    store_be32(to + 16, st.st_mode);
    store_be16(to + 20, 0);
    store_be16(to + 22, (uint16_t)name_size);
    // NOLINTNEXTLINE(bugprone-not-null-terminated-result): counted, not terminated
    memcpy(to + sizeof(struct agent_entry), name, name_size);
    return sizeof(struct agent_entry) + name_size;
}

static void list(struct connection *c, unsigned id, DIR *d)
{
    static uint8_t buf[ENTRIES_SIZE];
    struct dirent *e = NULL;
    size_t size = 0;
    size_t total = 0;

    errno = 0;
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (size + sizeof(struct agent_entry) + sizeof(e->d_name) > sizeof(buf)) {
            connection_frame(c, AGENT_ENTRIES, 0, id, buf, size);
            total += size;
            size = 0;
        }
        if (total > ENTRIES_TOTAL) {
            refuse_errno(c, id, EFBIG);
            return;
        }
        size += put_entry(buf + size, dirfd(d), e->d_name);
        errno = 0;
    }
    if (errno != 0) {
        refuse_errno(c, id, errno);
        return;
    }
    connection_frame(c, AGENT_ENTRIES, AGENT_END, id, buf, size);
}

void files_list(struct connection *c, unsigned id, const uint8_t *payload, size_t size)
{
    char path[AGENT_PATH_MAX + 1];
    DIR *d = NULL;

    if (!take_path(c, id, payload, size, path)) {
        return;
    }
    d = opendir(path);
    if (d == NULL) {
        refuse_errno(c, id, errno);
        return;
    }
    list(c, id, d);
    (void)closedir(d);
}

void files_stat(struct connection *c, unsigned id, const uint8_t *payload, size_t size)
{
    uint8_t answer[sizeof(struct agent_stat)];
    char path[AGENT_PATH_MAX + 1];
    struct stat st;

    if (!take_path(c, id, payload, size, path)) {
        return;
    }
    if (lstat(path, &st) < 0) {
        refuse_errno(c, id, errno);
        return;
    }
    store_be64(answer, (uint64_t)st.st_size);
    store_be64(answer + 8, mtime_of(&st));
    store_be64(answer + 16, st.st_ino);
    store_be32(answer + 24, st.st_mode);
    store_be32(answer + 28, st.st_uid);
    store_be32(answer + 32, st.st_gid);
    store_be32(answer + 36, (uint32_t)st.st_nlink);
    connection_frame(c, AGENT_OK, 0, id, answer, sizeof(answer));
}
