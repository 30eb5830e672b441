/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A diff names its base by an id that no other snapshot has, by the hash of its memory, and by the
 * path where it was. Only the id and the hash count; the path is where the search begins. A
 * recorded path is as hostile as the rest of the file: what is found there is read, and believed if
 * it has the id.
 */
#include "snapshot/bases.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "error.h"

#define FOLDER_ENTRIES_MAX 10000u

/* One base that is looked for. */
struct search {
    const struct snapshot_file *diff;
    const char *recorded; /* where it was; "": not known */
    char found[DRUPE_PATH_SIZE_MAX];
    int fd;                               /* -1: not found */
    char other_path[DRUPE_PATH_SIZE_MAX]; /* what is in its place; "": nothing */
    char other_id[SNAPSHOT_ID_SIZE];
};

static bool is_wanted(const struct search *s, const char *id)
{
    return strcmp(id, s->diff->state.header->base_id) == 0;
}

/* True when it is the base; s->fd is then open. `is_expected`: what else is there is "another". */
static bool try_path(struct search *s, const char *path, bool is_expected)
{
    char id[SNAPSHOT_ID_SIZE];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && snapshot_peek_id(fd, id) == 0) {
        if (is_wanted(s, id)) {
            s->fd = fd;
            (void)fmt_snprintf(s->found, sizeof(s->found), "%s", path);
            return true;
        }
        if (is_expected && s->other_path[0] == '\0') {
            (void)fmt_snprintf(s->other_path, sizeof(s->other_path), "%s", path);
            memcpy(s->other_id, id, sizeof(id));
        }
    }
    (void)close(fd);
    return false;
}

/* "": the diff's path is not known. */
static void folder_of_diff(const struct search *s, char *folder, size_t size)
{
    const char *slash = strrchr(s->diff->name, '/');

    if (!s->diff->has_path) {
        folder[0] = '\0';
    } else if (slash == NULL) {
        (void)fmt_snprintf(folder, size, "./");
    } else {
        (void)fmt_snprintf(folder, size, "%.*s", (int)(slash - s->diff->name) + 1, s->diff->name);
    }
}

/* Any snapshot in the folder may be it. What else is there is only opened if it is a plain file. */
static bool try_folder(struct search *s, const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e = NULL;
    bool is_found = false;

    for (unsigned i = 0; d != NULL && !is_found && i < FOLDER_ENTRIES_MAX; i++) {
        char path[DRUPE_PATH_SIZE_MAX];
        struct stat st;

        e = readdir(d);
        if (e == NULL) {
            break;
        }
        if (fmt_snprintf(path, sizeof(path), "%s%s", folder, e->d_name) < sizeof(path) &&
            lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            is_found = try_path(s, path, false);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return is_found;
}

static bool search_paths(struct search *s)
{
    const char *slash = strrchr(s->recorded, '/');
    const char *name = slash == NULL ? s->recorded : slash + 1;
    char folder[DRUPE_PATH_SIZE_MAX];
    char beside[DRUPE_PATH_SIZE_MAX];

    if (s->recorded[0] != '\0' && try_path(s, s->recorded, true)) {
        return true;
    }
    folder_of_diff(s, folder, sizeof(folder));
    if (folder[0] == '\0') {
        return false;
    }
    return (name[0] != '\0' &&
            fmt_snprintf(beside, sizeof(beside), "%s%s", folder, name) < sizeof(beside) &&
            try_path(s, beside, true)) ||
           try_folder(s, folder);
}

static bool search_fds(struct search *s, const int *fds, unsigned count)
{
    char id[SNAPSHOT_ID_SIZE];

    for (unsigned i = 0; i < count; i++) {
        if (snapshot_peek_id(fds[i], id) == 0 && is_wanted(s, id)) {
            s->fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
            (void)fmt_snprintf(s->found, sizeof(s->found), "%s", s->recorded);
            return s->fd >= 0;
        }
    }
    return false;
}

static drupe_vm_err_t not_found(const struct search *s, struct drupe_error *err)
{
    const char *id = s->diff->state.header->base_id;

    if (s->other_path[0] != '\0') {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                         "snapshot %s builds on the one with id %s; %s is another one now (%s)",
                         s->diff->name, id, s->other_path, s->other_id);
    }
    if (s->recorded[0] == '\0') {
        return error_set(err, DRUPE_NOT_FOUND, 0,
                         "snapshot %s builds on the one with id %s, which is not beside it",
                         s->diff->name, id);
    }
    return error_set(err, DRUPE_NOT_FOUND, 0,
                     "snapshot %s builds on %s (id %s), which is neither there nor beside it",
                     s->diff->name, s->recorded, id);
}

/* It has the id; is it as it was? */
static drupe_vm_err_t check_base(const struct snapshot_file *f, struct drupe_error *err)
{
    static const uint8_t unknown[32];
    const uint8_t *wanted = f->config->base.sha256;

    if (f->base->state.header->ram_size != f->state.header->ram_size) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0,
                         "snapshot %s: its base has another memory size", f->name);
    }
    if (memcmp(wanted, unknown, sizeof(unknown)) != 0 &&
        memcmp(wanted, f->base->memory_sha256, sizeof(f->base->memory_sha256)) != 0) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                         "snapshot %s builds on %s, whose memory is not what it was then", f->name,
                         f->base->name);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t open_base(struct snapshot_file *f,
                                const struct drupe_restore_options *options,
                                struct drupe_error *err)
{
    struct search s = { .diff = f,
                        .recorded = snapshot_config_string(f->config, f->config->base.path_offset),
                        .fd = -1 };
    struct drupe_restore_options base = { .struct_size = sizeof(base), .memory_fd = -1 };
    drupe_vm_err_t r = DRUPE_OK;

    if (options->base_fds != NULL ? !search_fds(&s, options->base_fds, options->base_count)
                                  : !search_paths(&s)) {
        return not_found(&s, err);
    }
    base.fd = s.fd;
    base.name = s.found[0] == '\0' ? NULL : s.found;
    r = snapshot_open_one(&base, &f->base, err);
    (void)close(s.fd);
    return r == DRUPE_OK ? check_base(f, err) : r;
}

drupe_vm_err_t bases_open(struct snapshot_file *f, const struct drupe_restore_options *options,
                          struct drupe_error *err)
{
    const char *name = f->name;
    drupe_vm_err_t r = DRUPE_OK;

    for (unsigned depth = 0; r == DRUPE_OK && snapshot_is_diff(f); depth++) {
        if (depth == DRUPE_SNAPSHOT_BASES_MAX) {
            return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0,
                             "snapshot %s: its chain of bases has more than %u links", name,
                             DRUPE_SNAPSHOT_BASES_MAX);
        }
        r = open_base(f, options, err);
        if (r == DRUPE_OK) {
            f = f->base;
            assert(f != NULL);
        }
    }
    return r;
}

bool bases_would_lose(const char *path, const char *base)
{
    struct stat ours;
    struct stat theirs;

    return path != NULL && base != NULL && stat(path, &ours) == 0 && stat(base, &theirs) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

drupe_vm_err_t drupe_snapshot_open_bases(const struct drupe_restore_options *options, int *fds,
                                         unsigned *count, struct drupe_error *err)
{
    struct snapshot_file *top = NULL;
    drupe_vm_err_t r = snapshot_open(options, &top, err);

    *count = 0;
    if (r != DRUPE_OK) {
        return r;
    }
    for (const struct snapshot_file *f = top->base; f != NULL; f = f->base) {
        fds[*count] = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
        if (fds[*count] < 0) {
            r = error_set(err, DRUPE_NO_MEMORY, errno, "open the bases of %s", top->name);
            break;
        }
        (*count)++;
    }
    while (r != DRUPE_OK && *count > 0) {
        (void)close(fds[--*count]);
    }
    snapshot_close(top);
    return r;
}
