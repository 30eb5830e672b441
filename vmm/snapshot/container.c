/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>
#include <base/sha256.h>

#include "error.h"
#include "snapshot/bases.h"

#define METADATA_SIZE_MAX (1u << 20)
#define STATE_SIZE_MAX    (64u << 20)
#define RAM_SIZE_MAX      ((uint64_t)DRUPE_MEMORY_MIB_MAX << 20)
#define VERIFY_CHUNK      (1u << 20)

static drupe_vm_err_t corrupted(const struct snapshot_file *f, const char *why,
                                struct drupe_error *err)
{
    return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "snapshot %s: %s", f->name, why);
}

/* All of it, or -errno; -ENODATA when the file ends before. */
static int read_all(int fd, void *to, size_t size, uint64_t offset)
{
    uint8_t *at = to;

    while (size > 0) {
        ssize_t n = pread(fd, at, size, (off_t)offset);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -ENODATA;
        }
        at += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* ---- Opening ---- */

static drupe_vm_err_t open_path(const char *path, int *fd, struct drupe_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        return error_set(err, errno == ENOENT ? DRUPE_NOT_FOUND : DRUPE_NO_ACCESS, errno,
                         "open snapshot %s", path);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t open_or_dup(const char *path, int from, int *fd, struct drupe_error *err)
{
    if (path != NULL) {
        return open_path(path, fd, err);
    }
    *fd = fcntl(from, F_DUPFD_CLOEXEC, 0);
    return *fd >= 0 ? DRUPE_OK
                    : error_set(err, DRUPE_NO_ACCESS, errno, "take the snapshot's descriptor");
}

static drupe_vm_err_t regular_size(const struct snapshot_file *f, int fd, uint64_t *size,
                                   struct drupe_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return error_set(err, DRUPE_NO_ACCESS, 0, "snapshot %s is no regular file", f->name);
    }
    *size = (uint64_t)st.st_size;
    return DRUPE_OK;
}

struct parts {
    struct snapshot_header header;
    uint64_t header_size;
    uint64_t file_size;
};

static bool has_reserved_bits(const struct snapshot_header *h)
{
    uint32_t all = h->flags & ~(uint32_t)SNAPSHOT_MEMORY_ELSEWHERE;

    for (size_t i = 0; i < sizeof(h->reserved) / sizeof(h->reserved[0]); i++) {
        all |= h->reserved[i];
    }
    return all != 0;
}

static drupe_vm_err_t read_header(struct snapshot_file *f, struct parts *p, struct drupe_error *err)
{
    const struct snapshot_header_1 *h = &p->header.v1;
    drupe_vm_err_t r = regular_size(f, f->fd, &p->file_size, err);
    uint64_t total = 0;

    if (r != DRUPE_OK) {
        return r;
    }
    if (read_all(f->fd, &p->header.v1, sizeof(p->header.v1), 0) < 0) {
        return corrupted(f, "shorter than its header", err);
    }
    if (h->magic != SNAPSHOT_MAGIC) {
        return corrupted(f, "not a snapshot", err);
    }
    if (h->version < 1 || h->version > 2) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0,
                         "snapshot %s: container version %u; this program reads 1 and 2", f->name,
                         h->version);
    }
    p->header_size = h->version == 1 ? sizeof(p->header.v1) : sizeof(p->header);
    if (h->version == 2 && read_all(f->fd, &p->header, sizeof(p->header), 0) < 0) {
        return corrupted(f, "shorter than its header", err);
    }
    if (h->version == 2 && has_reserved_bits(&p->header)) {
        return corrupted(f, "its header says what this program does not know", err);
    }
    if (h->metadata_size > METADATA_SIZE_MAX || h->state_size > STATE_SIZE_MAX ||
        !checked_add(p->header_size + h->metadata_size + h->state_size, h->memory_size, &total) ||
        total != p->file_size) {
        return corrupted(f, "its parts and its size do not agree", err);
    }
    f->version = h->version;
    f->flags = h->version == 2 ? p->header.flags : 0;
    return DRUPE_OK;
}

static drupe_vm_err_t check_hash(const struct snapshot_file *f, const void *bytes, size_t size,
                                 const uint8_t wanted[32], const char *why, struct drupe_error *err)
{
    uint8_t digest[SHA256_SIZE];

    if (f->version == 1) {
        return DRUPE_OK;
    }
    sha256(bytes, size, digest);
    return memcmp(digest, wanted, sizeof(digest)) == 0 ? DRUPE_OK : corrupted(f, why, err);
}

static drupe_vm_err_t read_parts(struct snapshot_file *f, const struct parts *p,
                                 struct drupe_error *err)
{
    size_t metadata_size = (size_t)p->header.v1.metadata_size;
    size_t state_size = (size_t)p->header.v1.state_size;
    const char *why = "";
    drupe_vm_err_t r = DRUPE_OK;

    f->metadata_size = metadata_size;
    f->metadata = calloc(1, metadata_size + 1);
    f->state_bytes = aligned_alloc(64, align_up(state_size + 1, (size_t)64));
    if (f->metadata == NULL || f->state_bytes == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "read snapshot %s", f->name);
    }
    if (read_all(f->fd, f->metadata, metadata_size, p->header_size) < 0 ||
        read_all(f->fd, f->state_bytes, state_size, p->header_size + metadata_size) < 0) {
        return corrupted(f, "cannot be read", err);
    }
    r = check_hash(f, f->metadata, metadata_size, p->header.metadata_sha256,
                   "the metadata is damaged (its hash differs)", err);
    if (r == DRUPE_OK) {
        r = check_hash(f, f->state_bytes, state_size, p->header.state_sha256,
                       "the state is damaged (its hash differs)", err);
    }
    if (r == DRUPE_OK && !state_open(&f->state, f->state_bytes, state_size, &why)) {
        r = corrupted(f, why, err);
    }
    return r;
}

/* ---- What the state says ---- */

static bool runs_fit(const struct snapshot_run *runs, uint32_t count, uint64_t pages,
                     enum snapshot_run_kind first, enum snapshot_run_kind last)
{
    uint64_t next = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (runs[i].page < next || runs[i].count == 0 || runs[i].kind < (uint32_t)first ||
            runs[i].kind > (uint32_t)last || !range_fits(runs[i].page, runs[i].count, pages)) {
            return false;
        }
        next = runs[i].page + runs[i].count;
    }
    return true;
}

static drupe_vm_err_t take_runs(struct snapshot_file *f, struct drupe_error *err)
{
    uint64_t pages = f->state.header->ram_size / SNAPSHOT_PAGE_SIZE;
    uint32_t version = 0;
    size_t size = 0;

    f->runs = state_find(&f->state, SNAPSHOT_RUNS, 0, &version, &size);
    f->run_count = (uint32_t)(size / sizeof(*f->runs));
    if (f->version == 1) {
        f->whole = (struct snapshot_run){ .count = (uint32_t)pages };
        f->runs = &f->whole;
        f->run_count = 1;
        return DRUPE_OK;
    }
    if (f->runs == NULL || version != 1 || size % sizeof(*f->runs) != 0 ||
        !runs_fit(f->runs, f->run_count, pages, SNAPSHOT_RUN_DATA, SNAPSHOT_RUN_ZERO)) {
        return corrupted(f, "the table of its pages is damaged", err);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t take_working_set(struct snapshot_file *f, struct drupe_error *err)
{
    uint64_t pages = f->state.header->ram_size / SNAPSHOT_PAGE_SIZE;
    uint32_t version = 0;
    size_t size = 0;

    f->working_set = state_find(&f->state, SNAPSHOT_WORKING_SET, 0, &version, &size);
    if (f->working_set == NULL) {
        return DRUPE_OK;
    }
    f->working_set_count = (uint32_t)(size / sizeof(*f->working_set));
    if (version != 1 || size % sizeof(*f->working_set) != 0 ||
        !runs_fit(f->working_set, f->working_set_count, pages, SNAPSHOT_RUN_READ,
                  SNAPSHOT_RUN_WRITTEN)) {
        return corrupted(f, "the table of its working set is damaged", err);
    }
    return DRUPE_OK;
}

const char *snapshot_config_string(const struct snapshot_config *c, uint32_t offset)
{
    return offset < c->strings_size ? (const char *)c + c->strings_offset + offset : "";
}

static drupe_vm_err_t take_config(struct snapshot_file *f, struct drupe_error *err)
{
    uint32_t version = 0;
    size_t size = 0;
    const struct snapshot_config *c = state_find(&f->state, SNAPSHOT_CONFIG, 0, &version, &size);

    if (c == NULL || version != 1 || size < sizeof(*c) || c->strings_offset < sizeof(*c) ||
        c->strings_size == 0 || !range_fits(c->strings_offset, c->strings_size, size) ||
        ((const char *)c)[c->strings_offset + c->strings_size - 1] != '\0' ||
        c->disk_count > SNAPSHOT_DISKS_MAX) {
        return corrupted(f, "its configuration is damaged", err);
    }
    f->config = c;
    return DRUPE_OK;
}

static drupe_vm_err_t check_memory(struct snapshot_file *f, const struct parts *p,
                                   const struct drupe_restore_options *options,
                                   struct drupe_error *err)
{
    uint64_t ram = 0;
    uint64_t size = 0;
    drupe_vm_err_t r = DRUPE_OK;

    assert(f->state.header != NULL);
    ram = f->state.header->ram_size;
    if (ram == 0 || ram > RAM_SIZE_MAX || !is_aligned(ram, (uint64_t)SNAPSHOT_PAGE_SIZE)) {
        return corrupted(f, "a guest cannot have so much memory", err);
    }
    memcpy(f->memory_sha256, p->header.memory_sha256, sizeof(f->memory_sha256));
    f->memory_offset = p->header_size + p->header.v1.metadata_size + p->header.v1.state_size;
    f->memory_fd = f->fd;
    if (options->memory_handler != NULL) {
        f->handler = strdup(options->memory_handler);
        if (f->version == 2 && (p->header.flags & SNAPSHOT_MEMORY_ELSEWHERE) != 0) {
            f->memory_offset = 0;
        }
        return f->handler != NULL
                   ? DRUPE_OK
                   : error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open snapshot %s", f->name);
    }
    if (f->version == 2 && (p->header.flags & SNAPSHOT_MEMORY_ELSEWHERE) != 0) {
        if (options->memory_path == NULL && options->memory_fd < 0) {
            return error_field(err, "memory_path", "snapshot %s has its memory in another file",
                               f->name);
        }
        r = open_or_dup(options->memory_path, options->memory_fd, &f->memory_fd, err);
        if (r == DRUPE_OK) {
            r = regular_size(f, f->memory_fd, &size, err);
        }
        f->memory_offset = 0;
        return r != DRUPE_OK || size == ram ? r
                                            : corrupted(f, "its memory file has another size", err);
    }
    if (p->header.v1.memory_size != ram ||
        (f->version == 2 && !is_aligned(f->memory_offset, (uint64_t)SNAPSHOT_PAGE_SIZE))) {
        return corrupted(f, "its memory has another size than the guest's", err);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t load(struct snapshot_file *f, const struct drupe_restore_options *options,
                           struct drupe_error *err)
{
    struct parts p = { .file_size = 0 };
    drupe_vm_err_t r = open_or_dup(options->path, options->fd, &f->fd, err);

    if (r == DRUPE_OK) {
        r = read_header(f, &p, err);
    }
    if (r == DRUPE_OK) {
        r = read_parts(f, &p, err);
    }
    if (r == DRUPE_OK) {
        r = check_memory(f, &p, options, err);
    }
    if (r == DRUPE_OK) {
        r = take_runs(f, err);
    }
    if (r == DRUPE_OK) {
        r = take_working_set(f, err);
    }
    return r == DRUPE_OK ? take_config(f, err) : r;
}

drupe_vm_err_t snapshot_open_one(const struct drupe_restore_options *options,
                                 struct snapshot_file **out, struct drupe_error *err)
{
    struct snapshot_file *f = calloc(1, sizeof(*f));
    const char *name = options->path != NULL ? options->path : options->name;
    drupe_vm_err_t r = DRUPE_OK;

    if (f == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open the snapshot");
    }
    f->fd = -1;
    f->memory_fd = -1;
    f->has_path = name != NULL;
    f->name = strdup(name != NULL ? name : "(descriptor)");
    r = f->name == NULL ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open the snapshot")
                        : load(f, options, err);
    if (r != DRUPE_OK) {
        snapshot_close(f);
        return r;
    }
    *out = f;
    return DRUPE_OK;
}

drupe_vm_err_t snapshot_open(const struct drupe_restore_options *options,
                             struct snapshot_file **out, struct drupe_error *err)
{
    struct snapshot_file *f = NULL;
    drupe_vm_err_t r = snapshot_open_one(options, &f, err);

    if (r == DRUPE_OK) {
        r = bases_open(f, options, err);
    }
    if (r != DRUPE_OK) {
        snapshot_close(f);
        return r;
    }
    *out = f;
    return DRUPE_OK;
}

bool snapshot_is_diff(const struct snapshot_file *f)
{
    return (f->state.header->flags & SNAPSHOT_IS_DIFF) != 0;
}

int snapshot_peek_id(int fd, char id[SNAPSHOT_ID_SIZE])
{
    struct snapshot_header_1 h;
    struct snapshot_state state;
    uint64_t at = 0;
    int r = read_all(fd, &h, sizeof(h), 0);

    if (r < 0) {
        return r;
    }
    if (h.magic != SNAPSHOT_MAGIC || h.version < 1 || h.version > 2 ||
        h.metadata_size > METADATA_SIZE_MAX) {
        return -EBADMSG;
    }
    at = (h.version == 1 ? sizeof(h) : sizeof(struct snapshot_header)) + h.metadata_size;
    r = read_all(fd, &state, sizeof(state), at);
    if (r < 0) {
        return r;
    }
    if (state.magic != SNAPSHOT_STATE_MAGIC || memchr(state.id, '\0', sizeof(state.id)) == NULL) {
        return -EBADMSG;
    }
    memcpy(id, state.id, sizeof(state.id));
    return 0;
}

void snapshot_close(struct snapshot_file *f)
{
    while (f != NULL) {
        struct snapshot_file *base = f->base;

        if (f->memory_fd >= 0 && f->memory_fd != f->fd) {
            (void)close(f->memory_fd);
        }
        if (f->fd >= 0) {
            (void)close(f->fd);
        }
        free(f->name);
        free(f->handler);
        free(f->metadata);
        free(f->state_bytes);
        free(f);
        f = base;
    }
}

/* ---- Memory ---- */

int snapshot_read(const struct snapshot_file *f, uint64_t offset, void *to, size_t size)
{
    return read_all(f->memory_fd, to, size, f->memory_offset + offset);
}

static int hash_run(const struct snapshot_file *f, const struct snapshot_run *run,
                    struct sha256 *sha, void *chunk)
{
    uint64_t at = run->page * SNAPSHOT_PAGE_SIZE;
    uint64_t end = at + (uint64_t)run->count * SNAPSHOT_PAGE_SIZE;

    for (; at < end; at += VERIFY_CHUNK) {
        size_t size = (size_t)min_of((uint64_t)VERIFY_CHUNK, end - at);
        int r = snapshot_read(f, at, chunk, size);

        if (r < 0) {
            return r;
        }
        sha256_add(sha, chunk, size);
    }
    return 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* What no run names may be mapped along with what stands beside it: it must be zero. */
static int check_gap(const struct snapshot_file *f, uint64_t from, uint64_t end, void *chunk)
{
    uint64_t at = f->memory_offset + from;

    end += f->memory_offset;
    while (at < end) {
        off_t data = lseek(f->memory_fd, (off_t)at, SEEK_DATA);
        size_t size = 0;
        int r = 0;

        if (data < 0 || (uint64_t)data >= end) {
            return data < 0 && errno != ENXIO ? -errno : 0;
        }
        at = max_of(at, (uint64_t)data);
        size = (size_t)min_of((uint64_t)VERIFY_CHUNK, end - at);
        r = read_all(f->memory_fd, chunk, size, at);
        if (r < 0 || !is_zero(chunk, size)) {
            return r < 0 ? r : -EILSEQ;
        }
        at += size;
    }
    return 0;
}

static int check_gaps(const struct snapshot_file *f, void *chunk)
{
    uint64_t at = 0;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < f->run_count; i++) {
        r = check_gap(f, at, f->runs[i].page * SNAPSHOT_PAGE_SIZE, chunk);
        at = (f->runs[i].page + f->runs[i].count) * SNAPSHOT_PAGE_SIZE;
    }
    return r == 0 ? check_gap(f, at, f->state.header->ram_size, chunk) : r;
}

static drupe_vm_err_t verify_one(const struct snapshot_file *f, void *chunk,
                                 struct drupe_error *err)
{
    uint8_t digest[SHA256_SIZE];
    struct sha256 sha;

    sha256_init(&sha);
    for (uint32_t i = 0; i < f->run_count; i++) {
        if (f->runs[i].kind == SNAPSHOT_RUN_DATA && hash_run(f, &f->runs[i], &sha, chunk) < 0) {
            return corrupted(f, "its memory cannot be read", err);
        }
    }
    sha256_end(&sha, digest);
    if (f->version != 1 && memcmp(digest, f->memory_sha256, sizeof(digest)) != 0) {
        return corrupted(f, "the memory is damaged (its hash differs)", err);
    }
    if (check_gaps(f, chunk) < 0) {
        return corrupted(f, "the memory is damaged (there is data where none should be)", err);
    }
    return DRUPE_OK;
}

drupe_vm_err_t snapshot_verify_memory(const struct snapshot_file *f, struct drupe_error *err)
{
    void *chunk = malloc(VERIFY_CHUNK);
    drupe_vm_err_t r = DRUPE_OK;

    if (chunk == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "verify snapshot %s", f->name);
    }
    for (; r == DRUPE_OK && f != NULL; f = f->base) {
        r = verify_one(f, chunk, err);
    }
    free(chunk);
    return r;
}
