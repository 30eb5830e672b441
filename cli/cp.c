/* SPDX-License-Identifier: Apache-2.0 */
/* drupe cp: files and folders into a running machine and out of it. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <drupe/agent.h>

#include "cli.h"
#include "options.h"
#include "vm_agent.h"
#include "vm_dir.h"

#define CHUNK_SIZE (256u << 10)
#define DEPTH_MAX  64u

/* Give up with the library's text. */
static int refuse(const char *path, const struct drupe_error *err)
{
    size_t size = strlen(path);

    /* It names the path by itself when the agent refused that one. */
    if (strncmp(err->text, path, size) == 0 && err->text[size] == ':') {
        return complain(STATUS_FAILED, "cp: %s", err->text);
    }
    return complain(STATUS_FAILED, "cp: %s: %s", path,
                    err->text[0] ? err->text : drupe_vm_err_name(err->code));
}

/* ---- Into the guest ---- */

static int push(drupe_agent_t *a, const char *from, const char *to, unsigned depth);

static int push_file(drupe_agent_t *a, const char *from, const char *to, mode_t mode)
{
    CLEANUP_FD fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP_FREE char *chunk = alloc_zeroed(1, CHUNK_SIZE);
    unsigned flags =
        (unsigned)DRUPE_WRITE_CREATE | (unsigned)DRUPE_WRITE_TRUNCATE | (unsigned)DRUPE_WRITE_CHMOD;
    struct drupe_error err;
    uint64_t at = 0;

    if (fd < 0) {
        return complain(STATUS_FAILED, "cp: %s: %s", from, strerror(errno));
    }
    for (;;) {
        ssize_t n = read(fd, chunk, CHUNK_SIZE);

        if (n < 0) {
            return complain(STATUS_FAILED, "cp: %s: %s", from, strerror(errno));
        }
        /* The first write also makes an empty file. */
        if ((n > 0 || at == 0) &&
            drupe_agent_write(a, to, flags, mode & 07777, at, chunk, (size_t)n, &err) != DRUPE_OK) {
            return refuse(to, &err);
        }
        if (n == 0) {
            return 0;
        }
        flags = 0;
        at += (uint64_t)n;
    }
}

static int push_link(drupe_agent_t *a, const char *from, const char *to)
{
    char target[PATH_MAX];
    struct drupe_error err;
    ssize_t n = readlink(from, target, sizeof(target) - 1);

    if (n < 0) {
        return complain(STATUS_FAILED, "cp: %s: %s", from, strerror(errno));
    }
    target[n] = '\0';
    return drupe_agent_make_link(a, to, target, &err) == DRUPE_OK ? 0 : refuse(to, &err);
}

static int push_folder(drupe_agent_t *a, const char *from, const char *to, mode_t mode,
                       unsigned depth)
{
    struct drupe_error err;
    const struct dirent *e = NULL;
    DIR *d = opendir(from);
    int status = 0;

    if (!d) {
        return complain(STATUS_FAILED, "cp: %s: %s", from, strerror(errno));
    }
    if (drupe_agent_make_directory(a, to, mode & 07777, &err) != DRUPE_OK) {
        status = refuse(to, &err);
    }
    while (status == 0 && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            CLEANUP_FREE char *child = path_join(from, e->d_name);
            CLEANUP_FREE char *child_to = path_join(to, e->d_name);

            status = push(a, child, child_to, depth + 1);
        }
    }
    (void)closedir(d);
    return status;
}

static int push(drupe_agent_t *a, const char *from, const char *to, unsigned depth)
{
    struct stat st;

    if (depth > DEPTH_MAX) {
        return complain(STATUS_FAILED, "cp: %s: more than %u folders deep", from, DEPTH_MAX);
    }
    if (lstat(from, &st) < 0) {
        return complain(STATUS_FAILED, "cp: %s: %s", from, strerror(errno));
    }
    if (S_ISREG(st.st_mode)) {
        return push_file(a, from, to, st.st_mode);
    }
    if (S_ISDIR(st.st_mode)) {
        return push_folder(a, from, to, st.st_mode, depth);
    }
    if (S_ISLNK(st.st_mode)) {
        return push_link(a, from, to);
    }
    return complain(STATUS_FAILED, "cp: %s: neither a file nor a folder nor a link", from);
}

/* ---- Out of the guest: names and sizes are the guest's word, and it may lie ---- */

static int pull(drupe_agent_t *a, const char *from, const char *to, unsigned depth);

struct sink {
    int fd;
    int error; /* errno; 0: none */
};

static bool take_bytes(void *ctx, const void *bytes, size_t size)
{
    struct sink *s = ctx;

    s->error = -fd_write_all(s->fd, bytes, size);
    return s->error == 0;
}

static int pull_file(drupe_agent_t *a, const char *from, const char *to, mode_t mode)
{
    CLEANUP_FREE char *temporary = text_format("%s.tmp-%d", to, (int)getpid());
    CLEANUP_FD fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct sink sink = { .fd = fd };
    struct drupe_error err;
    int status = 0;

    if (fd < 0) {
        return complain(STATUS_FAILED, "cp: %s: %s", temporary, strerror(errno));
    }
    remove_on_signal(temporary);
    if (drupe_agent_read(a, from, 0, 0, take_bytes, &sink, &err) != DRUPE_OK) {
        status = refuse(from, &err);
    } else if (sink.error != 0 || fchmod(fd, mode & 0777) < 0 || rename(temporary, to) < 0) {
        status =
            complain(STATUS_FAILED, "cp: %s: %s", to, strerror(sink.error ? sink.error : errno));
    }
    if (status != 0) {
        (void)unlink(temporary);
    }
    remove_on_signal(NULL);
    return status;
}

static bool take_name(void *ctx, const char *name, const struct drupe_file_info *info)
{
    (void)info;
    strings_add(ctx, name);
    return true;
}

/* One component and not "..": a name that stays in its folder. */
static bool is_safe_name(const char *name)
{
    return *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/');
}

static int pull_folder(drupe_agent_t *a, const char *from, const char *to, unsigned depth)
{
    CLEANUP_STRINGS names = { 0 };
    struct drupe_error err;
    struct stat st;
    int status = 0;

    if (drupe_agent_list(a, from, take_name, &names, &err) != DRUPE_OK) {
        return refuse(from, &err);
    }
    /* An existing link is not followed: a guest cannot make us write through one it sent before. */
    if (mkdir(to, 0755) < 0 && (errno != EEXIST || lstat(to, &st) < 0 || !S_ISDIR(st.st_mode))) {
        return complain(STATUS_FAILED, "cp: %s: %s", to, strerror(EEXIST));
    }
    for (size_t i = 0; status == 0 && i < names.count; i++) {
        CLEANUP_FREE char *child = path_join(from, names.items[i]);
        CLEANUP_FREE char *child_to = path_join(to, names.items[i]);

        if (strcmp(names.items[i], ".") == 0 || strcmp(names.items[i], "..") == 0) {
            continue;
        }
        status = is_safe_name(names.items[i])
                     ? pull(a, child, child_to, depth + 1)
                     : complain(STATUS_FAILED, "cp: %s: the guest names a file \"%s\"", from,
                                names.items[i]);
    }
    return status;
}

static int pull(drupe_agent_t *a, const char *from, const char *to, unsigned depth)
{
    struct drupe_file_info info;
    struct drupe_error err;

    if (depth > DEPTH_MAX) {
        return complain(STATUS_FAILED, "cp: %s: more than %u folders deep", from, DEPTH_MAX);
    }
    if (drupe_agent_stat(a, from, &info, &err) != DRUPE_OK) {
        return refuse(from, &err);
    }
    if (S_ISREG(info.mode)) {
        return pull_file(a, from, to, info.mode);
    }
    if (S_ISDIR(info.mode)) {
        return pull_folder(a, from, to, depth);
    }
    if (S_ISLNK(info.mode) && depth > 0) {
        warn("cp: %s: a link; it is left out", from);
        return 0;
    }
    return complain(STATUS_FAILED, "cp: %s: neither a file nor a folder", from);
}

/* ---- The verb ---- */

/* "MACHINE:PATH" gives PATH and sets *machine; a path of the host has a slash before any colon. */
static const char *guest_path(const char *text, char **machine)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');

    if (!colon || colon == text || (slash && slash < colon)) {
        return NULL;
    }
    *machine = text_copy_sized(text, (size_t)(colon - text));
    return colon + 1;
}

/* A target that is a folder, or ends in a slash, gets the source's name below it. */
static char *target_of(const char *to, bool is_folder, const char *from)
{
    size_t size = strlen(from);
    const char *end = from + size;

    while (end > from + 1 && end[-1] == '/') {
        end--;
    }
    const char *name = memrchr(from, '/', (size_t)(end - from));
    CLEANUP_FREE char *last =
        text_copy_sized(name ? name + 1 : from, (size_t)(end - (name ? name + 1 : from)));

    if (is_folder || (*to && to[strlen(to) - 1] == '/')) {
        return path_join(to, last);
    }
    return text_copy(to);
}

static int copy_in(drupe_agent_t *a, const char *from, const char *to)
{
    struct drupe_file_info info;
    bool is_folder = drupe_agent_stat(a, to, &info, NULL) == DRUPE_OK && S_ISDIR(info.mode);
    CLEANUP_FREE char *target = target_of(to, is_folder, from);

    return push(a, from, target, 0);
}

static int copy_out(drupe_agent_t *a, const char *from, const char *to)
{
    struct stat st;
    bool is_folder = stat(to, &st) == 0 && S_ISDIR(st.st_mode);
    CLEANUP_FREE char *target = target_of(to, is_folder, from);

    return pull(a, from, target, 0);
}

static int copy(const char *machine, bool is_in, const char *from, const char *to)
{
    CLEANUP_RECORD r = { 0 };
    drupe_agent_t *agent = NULL;
    int status = vm_find("cp", machine, &r);

    if (status != 0) {
        return status;
    }
    status = vm_agent_connect("cp", &r, &agent);
    if (status != 0) {
        return status;
    }
    status = is_in ? copy_in(agent, from, to) : copy_out(agent, from, to);
    drupe_agent_close(agent);
    return status;
}

static int run_cp(int argc, char **argv)
{
    struct operands operands;
    CLEANUP_FREE char *from_machine = NULL;
    CLEANUP_FREE char *to_machine = NULL;
    int status = options_of_verb(&verb_cp, NULL, 0, argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 2 != argc) {
        return complain(STATUS_USAGE, "cp: give a source and a target; see drupe cp --help");
    }
    const char *source = argv[operands.first];
    const char *target = argv[operands.first + 1];
    const char *from = guest_path(source, &from_machine);
    const char *to = guest_path(target, &to_machine);

    if ((from == NULL) == (to == NULL)) {
        return complain(STATUS_USAGE, "cp: one of the two must be MACHINE:PATH, the other a path "
                                      "of this host");
    }
    if (strcmp(source, "-") == 0 || strcmp(target, "-") == 0) {
        return complain(STATUS_USAGE,
                        "cp: -: a stream goes through drupe exec -i MACHINE -- cat; a "
                        "file of that name is ./-");
    }
    if (from && from[0] != '/') {
        return complain(STATUS_USAGE, "cp: %s: give an absolute path in the guest", source);
    }
    if (to && to[0] != '/') {
        return complain(STATUS_USAGE, "cp: %s: give an absolute path in the guest", target);
    }
    return to ? copy(to_machine, true, source, to) : copy(from_machine, false, from, target);
}

const struct verb verb_cp = {
    .name = "cp",
    .summary = "copy files into a running machine or out of it",
    .help = "usage: drupe cp PATH MACHINE:PATH\n"
            "       drupe cp MACHINE:PATH PATH\n\n"
            "Files and whole folders, with their modes. Into a folder that exists, or with a slash "
            "at the end, it\ngoes under its own name. Links go into a machine as links; out of "
            "one they are left out. A path\nof this host that holds a colon is written with a "
            "slash: ./a:b.\n\n"
            "examples:\n"
            "  drupe cp data.csv web:/tmp/\n"
            "  drupe cp web:/var/log ./logs\n",
    .run = run_cp,
};
