/* SPDX-License-Identifier: Apache-2.0 */
/* drupe snapshot: a machine as a file, all of it or what it wrote since the last one. */

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api_client.h"
#include "cli.h"
#include "freeze.h"
#include "options.h"
#include "thaw.h"

static bool add(json_t *object, const char *key, const char *text)
{
    return text == NULL || json_object_set_new(object, key, json_string(text)) == 0;
}

/* The caller frees; NULL: a path that JSON cannot hold. */
static char *body_of(const struct freeze *f)
{
    json_t *body =
        json_pack("{s:s, s:s, s:b, s:b}", "path", "fd:0", "kind", f->base_fd >= 0 ? "diff" : "full",
                  "live", f->is_live, "aside", f->is_aside);
    bool is_complete =
        body && add(body, "name", f->name) &&
        (f->base_fd < 0 || (add(body, "base", "fd:1") && add(body, "base_name", f->base_name)));
    char *text = is_complete ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    return text;
}

int freeze(const struct freeze *f, const struct vm_record *r, int fd)
{
    CLEANUP_FREE char *body = body_of(f);
    const int fds[] = { fd, f->base_fd };
    struct api_request request = { .method = "PUT",
                                   .path = "/drupe/snapshot",
                                   .body = body,
                                   .fds = fds,
                                   .fd_count = f->base_fd >= 0 ? 2 : 1 };

    if (!body) {
        return complain(STATUS_FAILED, "%s: a path that is not UTF-8", f->verb);
    }
    return api_do(f->verb, r, &request, NULL);
}

/* ---- Writing ---- */

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? text_copy_sized(path, max_of((size_t)(slash - path), (size_t)1))
                 : text_copy(".");
}

static int sync_directory(const char *path)
{
    CLEANUP_FREE char *dir = folder_of(path);
    CLEANUP_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Complete under its name, or not there: whatever ends us, and when. */
static int freeze_to_path(const struct freeze *f, const struct vm_record *r, const char *path)
{
    CLEANUP_FREE char *temporary = text_format("%s.tmp-%d", path, (int)getpid());
    CLEANUP_FD fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int status = 0;

    if (fd < 0) {
        return complain(STATUS_FAILED, "%s: %s: %s", f->verb, path, strerror(errno));
    }
    remove_on_signal(temporary);
    status = freeze(f, r, fd);
    if (status == 0 && (fsync(fd) < 0 || rename(temporary, path) < 0)) {
        status = complain(STATUS_FAILED, "%s: %s: %s", f->verb, path, strerror(errno));
    } else if (status == 0) {
        (void)sync_directory(path); /* the file itself is safe; its name may be lost with power */
    }
    if (status != 0) {
        (void)unlink(temporary);
    }
    remove_on_signal(NULL);
    return status;
}

/* The absolute path of a file that need not be there; NULL: its folder is not. */
static char *absolute(const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP_FREE char *dir = folder_of(path);
    CLEANUP_FREE char *real = realpath(dir, NULL);

    return real ? path_join(real, slash ? slash + 1 : path) : NULL;
}

/* ---- What a diff builds on ---- */

/* The machine's last snapshot, as its monitor knows it. */
struct last {
    bool is_tracked;
    char id[64]; /* "": none */
    char path[DRUPE_PATH_SIZE_MAX];
};

static int ask_last(const struct vm_record *r, struct last *out)
{
    struct api_request request = { .method = "GET", .path = "/drupe/snapshot" };
    CLEANUP_BUFFER body = { 0 };
    const char *id = NULL;
    const char *path = NULL;
    int is_tracked = 0;
    int status = api_do("snapshot", r, &request, &body);

    if (status != 0) {
        return status;
    }
    json_t *all = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, NULL);

    if (json_unpack(all, "{s:b, s:s, s:s}", "track_dirty_pages", &is_tracked, "id", &id, "path",
                    &path) < 0) {
        status = complain(STATUS_FAILED, "snapshot: its monitor's answer makes no sense");
    } else {
        out->is_tracked = is_tracked != 0;
        (void)snprintf(out->id, sizeof(out->id), "%s", id);
        (void)snprintf(out->path, sizeof(out->path), "%s", path);
    }
    json_decref(all);
    return status;
}

/* Is the file that is about to be replaced one that the new one builds on? */
static bool is_in_chain(const struct thaw *chain, const char *path)
{
    int fds[THAW_FDS_MAX];
    size_t count = thaw_fds(&chain->restore, fds);
    struct stat target;
    struct stat st;

    if (stat(path, &target) < 0) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (fstat(fds[i], &st) == 0 && st.st_dev == target.st_dev && st.st_ino == target.st_ino) {
            return true;
        }
    }
    return false;
}

/* `base`: where the user says that it is; NULL: where the monitor does. On success *chain is owed
 * thaw_close(). */
static int open_base(const struct vm_record *r, const char *base, struct thaw *chain)
{
    const char *who = r->name[0] ? r->name : r->id;
    struct last last;
    int status = ask_last(r, &last);

    if (status != 0) {
        return status;
    }
    if (!last.is_tracked) {
        return complain(STATUS_FAILED,
                        "snapshot: %s does not record which pages it writes: it was started "
                        "without --track-dirty",
                        who);
    }
    if (!last.id[0]) {
        return complain(STATUS_FAILED,
                        "snapshot: %s: there is no snapshot of it yet that this one could build "
                        "on: take a full one first",
                        who);
    }
    if (!base && !last.path[0]) {
        return complain(STATUS_FAILED,
                        "snapshot: %s: its last snapshot (id %s) has no name that its monitor "
                        "knows: say with --base where it is, or take a full one",
                        who, last.id);
    }
    if (!base && access(last.path, R_OK) < 0) {
        return complain(STATUS_FAILED,
                        "snapshot: %s: its last snapshot, %s: %s; say with --base where it is, or "
                        "take a full one",
                        who, last.path, strerror(errno));
    }
    return thaw_open(chain, "snapshot", base ? base : last.path);
}

static int freeze_diff(struct freeze *f, const struct vm_record *r, const char *base,
                       const char *path)
{
    struct thaw chain;
    int status = open_base(r, base, &chain);

    if (status != 0) {
        return status;
    }
    if (is_in_chain(&chain, path)) {
        status = complain(STATUS_FAILED,
                          "snapshot: %s: the new snapshot would build on the one in this file: "
                          "give it a name of its own",
                          path);
    } else {
        f->base_fd = chain.restore.fd;
        f->base_name = chain.restore.name;
        status = freeze_to_path(f, r, path);
    }
    thaw_close(&chain);
    return status;
}

/* ---- The verb ---- */

static int run_snapshot(int argc, char **argv)
{
    struct freeze f = { .verb = "snapshot", .base_fd = -1 };
    const char *base = NULL;
    bool is_diff = false;
    const struct option_spec specs[] = {
        { .name = "live", .kind = OPTION_FLAG, .out = &f.is_live },
        { .name = "diff", .kind = OPTION_FLAG, .out = &is_diff },
        { .name = "base", .kind = OPTION_TEXT, .out = &base },
    };
    struct operands operands;
    CLEANUP_RECORD r = { 0 };
    int status = options_of_verb(&verb_snapshot, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 2 != argc) {
        return complain(STATUS_USAGE, "snapshot: give a machine and a file; see drupe snapshot "
                                      "--help");
    }
    const char *path = argv[operands.first + 1];
    struct stat st;

    if (!*path || (stat(path, &st) == 0 && !S_ISREG(st.st_mode))) {
        return complain(STATUS_USAGE,
                        "snapshot: \"%s\" is no file: give the name of a new one, or "
                        "of one to replace",
                        path);
    }
    CLEANUP_FREE char *name = absolute(path);

    status = vm_find("snapshot", argv[operands.first], &r);
    if (status != 0) {
        return status;
    }
    f.name = name;
    return is_diff || base ? freeze_diff(&f, &r, base, path) : freeze_to_path(&f, &r, path);
}

const struct verb verb_snapshot = {
    .name = "snapshot",
    .summary = "freeze a machine into a file",
    .help =
        "usage: drupe snapshot [OPTIONS] MACHINE FILE\n\n"
        "Memory, CPUs and devices in one file, complete or not there at all. The machine goes "
        "on, or stays\npaused if it was. Commands that drupe exec runs in it are interrupted.\n\n"
        "options:\n"
        "      --live  the machine stands still only for its CPUs and devices; memory is copied\n"
        "              behind its back\n"
        "      --diff  only the pages written since the last snapshot of the machine, or since "
        "its restore;\n"
        "              the machine must have been started with --track-dirty\n"
        "      --base FILE  with --diff: where that snapshot is, if it is not where it was "
        "written\n\n"
        "A diff is restored with all that it builds on: each file where it was, or in the diff's "
        "folder.\n\n"
        "example:\n"
        "  drupe run -d --name web --track-dirty --root dist/app.erofs -- /app/server\n"
        "  drupe snapshot web monday.snapshot\n"
        "  drupe snapshot --diff web tuesday.snapshot\n"
        "  drupe restore tuesday.snapshot\n",
    .run = run_snapshot,
};
