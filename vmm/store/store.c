/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a store in a local directory (drupe/store.h). */
#include "drupe/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "error.h"
#include "store/store_internal.h"

/* ---- Opening ---- */

static int open_directory(int parent_fd, const char *name)
{
    if (mkdirat(parent_fd, name, 0700) < 0 && errno != EEXIST) {
        return -1;
    }
    return openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What a writer that died left: nobody holds its lock. */
static void sweep(struct drupe_store *s)
{
    int fd = openat(s->incoming_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e = NULL;

    if (d == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    while ((e = readdir(d)) != NULL) {
        int file = e->d_name[0] == '.'
                       ? -1
                       : openat(s->incoming_fd, e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (file < 0) {
            continue;
        }
        if (flock(file, LOCK_EX | LOCK_NB) == 0) {
            (void)unlinkat(s->incoming_fd, e->d_name, 0);
        }
        (void)close(file);
    }
    (void)closedir(d);
}

static void close_fd(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

void drupe_store_close(drupe_store_t *store)
{
    if (store != NULL) {
        close_fd(store->packages_fd);
        close_fd(store->blobs_fd);
        close_fd(store->incoming_fd);
        free(store->path);
        free(store);
    }
}

static drupe_vm_err_t open_directories(struct drupe_store *s, struct drupe_error *err)
{
    int root = open_directory(AT_FDCWD, s->path);

    if (root >= 0) {
        s->packages_fd = open_directory(root, "packages");
        s->blobs_fd = s->packages_fd < 0 ? -1 : open_directory(root, "blobs");
        s->incoming_fd = s->blobs_fd < 0 ? -1 : open_directory(root, "incoming");
    }
    if (s->incoming_fd < 0) {
        drupe_vm_err_t code =
            errno == EMFILE || errno == ENFILE ? DRUPE_NO_MEMORY : DRUPE_STORE_FAILED;
        drupe_vm_err_t r = error_set(err, code, errno, "open the store %s", s->path);

        close_fd(root);
        return r;
    }
    /* The three names survive a loss of power before anything is in them. */
    if (fsync(root) < 0) {
        drupe_vm_err_t r = error_set(err, DRUPE_STORE_FAILED, errno, "sync the store %s", s->path);

        close_fd(root);
        return r;
    }
    close_fd(root);
    return DRUPE_OK;
}

drupe_vm_err_t drupe_store_open(const char *path, const struct drupe_store_options *options,
                                drupe_store_t **out, struct drupe_error *err)
{
    struct drupe_store *s = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (options != NULL && options->struct_size != sizeof(*options)) {
        return error_field(err, "struct_size", "store options of %zu bytes, not %zu",
                           options->struct_size, sizeof(*options));
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open the store");
    }
    s->packages_fd = -1;
    s->blobs_fd = -1;
    s->incoming_fd = -1;
    s->package_size_max = options == NULL || options->package_size_max == 0
                              ? DRUPE_PACKAGE_SIZE_MAX
                              : min_of(options->package_size_max, DRUPE_PACKAGE_SIZE_MAX);
    s->timeout_ms = options == NULL ? 0 : options->timeout_ms;
    s->path = strdup(path);
    r = s->path == NULL ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "open the store")
                        : open_directories(s, err);
    if (r != DRUPE_OK) {
        drupe_store_close(s);
        return r;
    }
    sweep(s);
    *out = s;
    return DRUPE_OK;
}

/* ---- Upload ---- */

/* A file to be read from start to end; its size is that of now. */
static drupe_vm_err_t open_source(const char *path, int *fd, uint64_t *size,
                                  struct drupe_error *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        drupe_vm_err_t code = errno == ENOENT                      ? DRUPE_NOT_FOUND
                              : errno == EMFILE || errno == ENFILE ? DRUPE_NO_MEMORY
                                                                   : DRUPE_NO_ACCESS;

        return error_set(err, code, errno, "open %s", path);
    }
    if (fstat(*fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        (void)close(*fd);
        *fd = -1;
        return error_set(err, DRUPE_NO_ACCESS, 0, "%s is no file", path);
    }
    *size = (uint64_t)st.st_size;
    return DRUPE_OK;
}

static void head_hash(const struct package_header *h, const char *metadata,
                      uint8_t digest[SHA256_SIZE])
{
    struct sha256 sha;

    sha256_init(&sha);
    sha256_add(&sha, h, offsetof(struct package_header, head_sha256));
    sha256_add(&sha, metadata, h->metadata_size);
    sha256_end(&sha, digest);
}

struct upload {
    const drupe_package_t *package;
    char *metadata;
    size_t metadata_size;
    int blob_fd;
    uint64_t blob_size;
};

static drupe_vm_err_t write_parts(const struct upload *u, struct transfer *t, int fd,
                                  struct drupe_error *err)
{
    struct package_header h = {
        .magic = PACKAGE_MAGIC,
        .version = PACKAGE_VERSION,
        .metadata_size = u->metadata_size,
        .app_size = u->package->app_state_size,
        .blob_size = u->blob_size,
    };
    uint64_t at = sizeof(h);
    int e = store_write_all(fd, u->metadata, u->metadata_size, at);
    drupe_vm_err_t r = DRUPE_OK;

    at += h.metadata_size;
    sha256(h.app_size == 0 ? "" : u->package->app_state, h.app_size, h.app_sha256);
    if (e == 0) {
        e = store_write_all(fd, u->package->app_state, h.app_size, at);
    }
    at += h.app_size;
    if (e < 0) {
        return error_set(err, DRUPE_STORE_FAILED, -e, "write package %s", u->package->id);
    }
    r = store_copy(t, u->blob_fd, 0, fd, at, h.blob_size, h.blob_sha256, err);
    if (r != DRUPE_OK) {
        return r;
    }
    head_hash(&h, u->metadata, h.head_sha256);
    e = store_write_all(fd, &h, sizeof(h), 0);
    return e == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_STORE_FAILED, -e, "write package %s", u->package->id);
}

static drupe_vm_err_t upload_into(struct drupe_store *s, const struct upload *u,
                                  struct drupe_error *err)
{
    struct transfer t = transfer_begin(s, "upload");
    struct incoming in;
    uint64_t size = sizeof(struct package_header) + u->metadata_size + u->package->app_state_size;
    drupe_vm_err_t r = DRUPE_OK;

    if (!checked_add(size, u->blob_size, &size) || size > s->package_size_max) {
        return error_set(err, DRUPE_STORE_TOO_LARGE, 0, "package %s is larger than %llu bytes",
                         u->package->id, (unsigned long long)s->package_size_max);
    }
    r = incoming_begin(s, u->package->id, &in, err);
    if (r != DRUPE_OK) {
        return r;
    }
    r = write_parts(u, &t, in.fd, err);
    if (r == DRUPE_OK) {
        r = incoming_commit(s, &in, s->packages_fd, u->package->id, err);
    }
    incoming_end(s, &in);
    return r;
}

drupe_vm_err_t drupe_store_upload(drupe_store_t *store, const drupe_package_t *package,
                                  struct drupe_error *err)
{
    struct upload u = { .package = package, .blob_fd = -1 };
    drupe_vm_err_t r = package_check(store, package, err);

    if (r != DRUPE_OK) {
        return r;
    }
    u.metadata = metadata_write(package, &u.metadata_size);
    if (u.metadata == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "upload %s", package->id);
    }
    if (package->blob_path != NULL) {
        r = open_source(package->blob_path, &u.blob_fd, &u.blob_size, err);
    }
    if (r == DRUPE_OK) {
        r = upload_into(store, &u, err);
    }
    close_fd(u.blob_fd);
    free(u.metadata);
    return r;
}

/* ---- Download ---- */

static drupe_vm_err_t damaged(const char *id, const char *part, struct drupe_error *err)
{
    return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "package %s: its %s is damaged", id, part);
}

static drupe_vm_err_t open_stored(int directory_fd, const char *id, int *fd, uint64_t *size,
                                  struct drupe_error *err)
{
    struct stat st;
    drupe_vm_err_t r = store_check_id("id", id, err);

    if (r != DRUPE_OK) {
        return r;
    }
    *fd = openat(directory_fd, id, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0) {
        drupe_vm_err_t code = errno == ENOENT                      ? DRUPE_STORE_NOT_FOUND
                              : errno == EMFILE || errno == ENFILE ? DRUPE_NO_MEMORY
                                                                   : DRUPE_STORE_FAILED;

        return error_set(err, code, errno, "open %s in the store", id);
    }
    if (fstat(*fd, &st) < 0) {
        r = error_set(err, DRUPE_STORE_FAILED, errno, "look at %s in the store", id);
        (void)close(*fd);
        *fd = -1;
        return r;
    }
    *size = (uint64_t)st.st_size;
    return DRUPE_OK;
}

static drupe_vm_err_t read_failed(const char *id, int e, struct drupe_error *err)
{
    return e == -ENODATA ? damaged(id, "end", err)
                         : error_set(err, DRUPE_STORE_FAILED, -e, "read package %s", id);
}

static drupe_vm_err_t check_header(const char *id, const struct package_header *h, uint64_t size,
                                   struct drupe_error *err)
{
    uint64_t total = sizeof(*h);

    if (h->magic != PACKAGE_MAGIC) {
        return damaged(id, "beginning", err);
    }
    if (h->version != PACKAGE_VERSION) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "package %s has version %u, known is %u", id,
                         h->version, PACKAGE_VERSION);
    }
    if (h->metadata_size > METADATA_SIZE_MAX || h->app_size > DRUPE_APP_STATE_SIZE_MAX ||
        !checked_add(total, h->metadata_size, &total) || !checked_add(total, h->app_size, &total) ||
        !checked_add(total, h->blob_size, &total) || total != size) {
        return damaged(id, "size", err);
    }
    return DRUPE_OK;
}

/* Header and metadata, verified. */
static drupe_vm_err_t read_head(const char *id, int fd, uint64_t size, struct package_header *h,
                                drupe_package_t **out, struct drupe_error *err)
{
    uint8_t digest[SHA256_SIZE];
    char *metadata = NULL;
    int e = store_read_all(fd, h, sizeof(*h), 0);
    drupe_vm_err_t r = e < 0 ? read_failed(id, e, err) : check_header(id, h, size, err);

    if (r != DRUPE_OK) {
        return r;
    }
    metadata = malloc(h->metadata_size + 1);
    if (metadata == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "read package %s", id);
    }
    e = store_read_all(fd, metadata, h->metadata_size, sizeof(*h));
    if (e < 0) {
        r = read_failed(id, e, err);
    } else {
        head_hash(h, metadata, digest);
        r = memcmp(digest, h->head_sha256, sizeof(digest)) != 0
                ? damaged(id, "header", err)
                : metadata_read(id, metadata, h->metadata_size, out, err);
    }
    free(metadata);
    if (r == DRUPE_OK) {
        assert(*out != NULL);
        (*out)->size = size;
        (*out)->blob_size = h->blob_size;
    }
    return r;
}

static drupe_vm_err_t read_app(const char *id, int fd, const struct package_header *h,
                               drupe_package_t *p, struct drupe_error *err)
{
    uint8_t digest[SHA256_SIZE];
    void *app = NULL;
    int e = 0;

    if (h->app_size == 0) {
        return DRUPE_OK;
    }
    app = malloc(h->app_size);
    if (app == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "read package %s", id);
    }
    p->app_state = app; /* freed with the package */
    p->app_state_size = h->app_size;
    e = store_read_all(fd, app, h->app_size, sizeof(*h) + h->metadata_size);
    if (e < 0) {
        return read_failed(id, e, err);
    }
    sha256(app, h->app_size, digest);
    return memcmp(digest, h->app_sha256, sizeof(digest)) == 0
               ? DRUPE_OK
               : damaged(id, "application state", err);
}

/* Into an open file; the hash decides afterwards. */
static drupe_vm_err_t read_blob_into(struct drupe_store *s, const char *id, int fd,
                                     const struct package_header *h, int to,
                                     struct drupe_error *err)
{
    struct transfer t = transfer_begin(s, "download");
    uint8_t digest[SHA256_SIZE];
    drupe_vm_err_t r = store_copy(&t, fd, sizeof(*h) + h->metadata_size + h->app_size, to, 0,
                                  h->blob_size, digest, err);

    if (r == DRUPE_OK && memcmp(digest, h->blob_sha256, sizeof(digest)) != 0) {
        r = damaged(id, "blob", err);
    }
    return r;
}

static drupe_vm_err_t read_blob(struct drupe_store *s, const char *id, int fd,
                                const struct package_header *h, const char *path,
                                struct drupe_error *err)
{
    struct outgoing out;
    drupe_vm_err_t r = outgoing_begin(path, &out, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = read_blob_into(s, id, fd, h, out.fd, err);
    if (r == DRUPE_OK) {
        r = outgoing_commit(&out, err);
    }
    outgoing_end(&out);
    return r;
}

static drupe_vm_err_t check_target(const drupe_package_t *p, struct drupe_restore_target *target,
                                   struct drupe_error *err)
{
    const char *here = arch_canonical(target->arch);

    if (here == NULL) {
        return error_field(err, "arch", "arch must be x86_64 or aarch64");
    }
    if (p->kind != DRUPE_PACKAGE_CHECKPOINT && strcmp(p->arch, here) != 0) {
        return error_set(err, DRUPE_ARCH_MISMATCH, 0, "package %s is of %s, here is %s", p->id,
                         p->arch, here);
    }
    return drupe_image_version_check(p->image_version, target->image_version,
                                     &target->is_patch_different, err);
}

static drupe_vm_err_t read_package(struct drupe_store *s, const char *id, int fd, uint64_t size,
                                   const struct download *d, drupe_package_t **out,
                                   struct drupe_error *err)
{
    struct package_header h;
    drupe_package_t *p = NULL;
    drupe_vm_err_t r = read_head(id, fd, size, &h, &p, err);

    if (r == DRUPE_OK && d->target != NULL) {
        r = check_target(p, d->target, err);
    }
    if (r == DRUPE_OK) {
        r = read_app(id, fd, &h, p, err);
    }
    if (r == DRUPE_OK && d->blob_fd >= 0 && h.blob_size > 0) {
        r = read_blob_into(s, id, fd, &h, d->blob_fd, err);
    } else if (r == DRUPE_OK && d->blob_path != NULL && h.blob_size > 0) {
        p->blob_path = strdup(d->blob_path);
        r = p->blob_path == NULL ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "read package %s", id)
                                 : read_blob(s, id, fd, &h, d->blob_path, err);
    }
    if (r != DRUPE_OK) {
        drupe_package_free(p);
        return r;
    }
    *out = p;
    return DRUPE_OK;
}

drupe_vm_err_t store_download(struct drupe_store *s, const char *id, const struct download *d,
                              drupe_package_t **out, struct drupe_error *err)
{
    int fd = -1;
    uint64_t size = 0;
    drupe_vm_err_t r = open_stored(s->packages_fd, id, &fd, &size, err);

    if (r == DRUPE_OK) {
        r = read_package(s, id, fd, size, d, out, err);
        (void)close(fd);
    }
    return r;
}

drupe_vm_err_t drupe_store_download(drupe_store_t *store, const char *id, const char *blob_path,
                                    drupe_package_t **out, struct drupe_error *err)
{
    struct download d = { .blob_path = blob_path, .blob_fd = -1 };

    return store_download(store, id, &d, out, err);
}

drupe_vm_err_t drupe_store_download_for_restore(drupe_store_t *store, const char *id,
                                                struct drupe_restore_target *target,
                                                const char *blob_path, drupe_package_t **out,
                                                struct drupe_error *err)
{
    struct download d = { .target = target, .blob_path = blob_path, .blob_fd = -1 };

    return store_download(store, id, &d, out, err);
}

/* ---- Delete and list ---- */

static drupe_vm_err_t delete_from(int directory_fd, const char *id, struct drupe_error *err)
{
    drupe_vm_err_t r = store_check_id("id", id, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (unlinkat(directory_fd, id, 0) < 0) {
        return error_set(err, errno == ENOENT ? DRUPE_STORE_NOT_FOUND : DRUPE_STORE_FAILED, errno,
                         "delete %s from the store", id);
    }
    if (fsync(directory_fd) < 0) {
        return error_set(err, DRUPE_STORE_FAILED, errno, "sync the deletion of %s", id);
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_store_delete(drupe_store_t *store, const char *id, struct drupe_error *err)
{
    return delete_from(store->packages_fd, id, err);
}

void drupe_store_list_free(char **ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(ids[i]);
    }
    free(ids);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A package that cannot be read belongs to nobody; 1: it is the owner's. */
static bool is_owned_by(struct drupe_store *s, const char *id, const char *owner)
{
    struct package_header h;
    drupe_package_t *p = NULL;
    int fd = -1;
    uint64_t size = 0;
    bool is_owned = false;

    if (open_stored(s->packages_fd, id, &fd, &size, NULL) != DRUPE_OK) {
        return false;
    }
    if (read_head(id, fd, size, &h, &p, NULL) == DRUPE_OK) {
        assert(p != NULL);
        is_owned = strcmp(p->owner, owner) == 0;
        drupe_package_free(p);
    }
    (void)close(fd);
    return is_owned;
}

static bool add_id(char ***ids, size_t *count, const char *id)
{
    char **bigger = reallocarray(*ids, *count + 1, sizeof(char *));

    if (bigger == NULL) {
        return false;
    }
    *ids = bigger;
    bigger[*count] = strdup(id);
    if (bigger[*count] == NULL) {
        return false;
    }
    (*count)++;
    return true;
}

drupe_vm_err_t drupe_store_list(drupe_store_t *store, const char *owner, char ***ids, size_t *count,
                                struct drupe_error *err)
{
    int fd = openat(store->packages_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *e = NULL;
    char **found = NULL;
    size_t n = 0;
    bool is_complete = true;

    if (d == NULL) {
        drupe_vm_err_t r = error_set(err, errno == EMFILE ? DRUPE_NO_MEMORY : DRUPE_STORE_FAILED,
                                     errno, "list the store %s", store->path);

        close_fd(fd);
        return r;
    }
    while (is_complete && (e = readdir(d)) != NULL) {
        if (e->d_name[0] != '.' && n < DRUPE_STORE_LIST_COUNT_MAX &&
            (owner == NULL || is_owned_by(store, e->d_name, owner))) {
            is_complete = add_id(&found, &n, e->d_name);
        }
    }
    (void)closedir(d);
    if (!is_complete) {
        drupe_store_list_free(found, n);
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "list the store %s", store->path);
    }
    if (n > 0) {
        qsort(found, n, sizeof(found[0]), compare_ids);
    }
    *ids = found;
    *count = n;
    return DRUPE_OK;
}

/* ---- Blobs by themselves: the bytes and, behind them, their SHA-256 ---- */

static drupe_vm_err_t blob_into(struct drupe_store *s, const char *id, int from, uint64_t size,
                                struct drupe_error *err)
{
    struct transfer t = transfer_begin(s, "upload a blob");
    struct incoming in;
    uint8_t digest[SHA256_SIZE];
    drupe_vm_err_t r = DRUPE_OK;

    if (size > s->package_size_max) {
        return error_set(err, DRUPE_STORE_TOO_LARGE, 0, "blob %s is larger than %llu bytes", id,
                         (unsigned long long)s->package_size_max);
    }
    r = incoming_begin(s, id, &in, err);
    if (r != DRUPE_OK) {
        return r;
    }
    r = store_copy(&t, from, 0, in.fd, 0, size, digest, err);
    if (r == DRUPE_OK) {
        int e = store_write_all(in.fd, digest, sizeof(digest), size);

        r = e == 0 ? incoming_commit(s, &in, s->blobs_fd, id, err)
                   : error_set(err, DRUPE_STORE_FAILED, -e, "write blob %s", id);
    }
    incoming_end(s, &in);
    return r;
}

drupe_vm_err_t drupe_store_blob_upload(drupe_store_t *store, const char *id, const char *path,
                                       struct drupe_error *err)
{
    int from = -1;
    uint64_t size = 0;
    drupe_vm_err_t r = store_check_id("id", id, err);

    if (r == DRUPE_OK) {
        r = open_source(path, &from, &size, err);
    }
    if (r == DRUPE_OK) {
        r = blob_into(store, id, from, size, err);
    }
    close_fd(from);
    return r;
}

static drupe_vm_err_t blob_from(struct drupe_store *s, const char *id, int fd, uint64_t size,
                                const char *path, struct drupe_error *err)
{
    struct transfer t = transfer_begin(s, "download a blob");
    struct outgoing out;
    uint8_t digest[SHA256_SIZE];
    uint8_t stored[SHA256_SIZE];
    drupe_vm_err_t r = outgoing_begin(path, &out, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = store_copy(&t, fd, 0, out.fd, 0, size - SHA256_SIZE, digest, err);
    if (r == DRUPE_OK) {
        int e = store_read_all(fd, stored, sizeof(stored), size - SHA256_SIZE);

        if (e < 0) {
            r = read_failed(id, e, err);
        } else if (memcmp(stored, digest, sizeof(digest)) != 0) {
            r = damaged(id, "blob", err);
        }
    }
    if (r == DRUPE_OK) {
        r = outgoing_commit(&out, err);
    }
    outgoing_end(&out);
    return r;
}

drupe_vm_err_t drupe_store_blob_download(drupe_store_t *store, const char *id, const char *path,
                                         struct drupe_error *err)
{
    int fd = -1;
    uint64_t size = 0;
    drupe_vm_err_t r = open_stored(store->blobs_fd, id, &fd, &size, err);

    if (r == DRUPE_OK) {
        r = size < SHA256_SIZE ? damaged(id, "end", err)
                               : blob_from(store, id, fd, size, path, err);
        (void)close(fd);
    }
    return r;
}

drupe_vm_err_t drupe_store_blob_delete(drupe_store_t *store, const char *id,
                                       struct drupe_error *err)
{
    return delete_from(store->blobs_fd, id, err);
}
