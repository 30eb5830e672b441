/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packages by apt's own resolver, with a package state that is always empty: so what comes out
 * depends on the lists alone and not on what the host has installed. All that apt writes goes to
 * our cache
 * (<cache>/apt): its state, its lists when the host has none, the package files.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../cli.h"
#include "pack.h"

#define HOST_LISTS "/var/lib/apt/lists"

struct apt {
    char *dir;   /* <cache>/apt */
    char *lists; /* the lists in use */
    int lock_fd; /* one apt at a time in our cache */
    bool has_own_lists;
};

/* ---- Starting apt-get --------------------------------------------------------------------------
 */

static void apt_close(struct apt *a)
{
    free(a->dir);
    free(a->lists);
    cleanup_fd(&a->lock_fd);
}

#define CLEANUP_APT __attribute__((cleanup(apt_close))) struct apt

/* "<key>=<dir>/<name>" for -o. */
static void add_setting(struct strings *argv, const char *key, const char *value)
{
    strings_add(argv, "-o");
    strings_take(argv, text_format("%s=%s", key, value));
}

/* The common part of every command line; `archives` is the directory below ours for package files.
 */
static void start_arguments(const struct apt *a, const char *archives, struct strings *argv)
{
    CLEANUP_FREE char *status = path_join(a->dir, "status");
    CLEANUP_FREE char *cache = path_join(a->dir, archives);

    strings_add(argv, "apt-get");
    strings_add(argv, "-qq");
    strings_add(argv, "-y");
    strings_add(argv, "--no-install-recommends");
    add_setting(argv, "Dir::State", a->dir);
    add_setting(argv, "Dir::State::status", status);
    add_setting(argv, "Dir::State::lists", a->lists);
    add_setting(argv, "Dir::Cache", a->dir);
    add_setting(argv, "Dir::Cache::archives", cache);
    add_setting(argv, "Dir::Log", a->dir);
    add_setting(argv, "Acquire::ForceHash", "sha256");
    add_setting(argv, "Acquire::Languages", "none");
    /* The cache belongs to the caller alone, so apt's own unprivileged user could not write there.
     */
    add_setting(argv, "APT::Sandbox::User", "root");
    /* Automatic clean-up and hooks of the host's configuration have no business here. */
    add_setting(argv, "APT::Clean-Installed", "false");
    strings_add(argv, "-o");
    strings_add(argv, "#clear=APT::Update::Post-Invoke-Success");
}

/* The first line of apt's errors that begins with "E:", without it; "" when there is none. */
static char *first_error(const struct buffer *errors)
{
    const char *text = errors->data ? errors->data : "";
    const char *e = strncmp(text, "E: ", 3) == 0 ? text : strstr(text, "\nE: ");

    if (!e) {
        return text_copy("");
    }
    e += *e == '\n' ? 4 : 3;
    return text_copy_sized(e, strcspn(e, "\n"));
}

static void show_status(const char *line)
{
    /* "dlstatus:<n>:<percent>:<text>" */
    const char *percent = strncmp(line, "dlstatus:", 9) == 0 ? strchr(line + 9, ':') : NULL;

    if (percent) {
        progress("downloading %.*s%%", (int)min_of(strcspn(percent + 1, ":."), (size_t)3),
                 percent + 1);
    }
}

/* 0, or the exit status of apt-get, or a negative errno; *why is its first error. */
static int run_apt(const struct strings *argv, struct buffer *output, char **why)
{
    CLEANUP_BUFFER errors = { 0 };
    CLEANUP_BUFFER ignored = { 0 };
    struct command c = { .argv = (const char *const *)argv->items, .on_line = show_status };
    int status = command_run(&c, output ? output : &ignored, &errors);

    free(*why);
    *why = status < 0 ? text_copy(strerror(-status)) : first_error(&errors);
    return status;
}

/* ---- Lists -------------------------------------------------------------------------------------
 */

static bool has_lists(const char *dir)
{
    DIR *d = opendir(dir);
    bool is_found = false;
    const struct dirent *e = NULL;

    if (!d) {
        return false;
    }
    while (!is_found && (e = readdir(d)) != NULL) {
        is_found = strstr(e->d_name, "_Packages") != NULL;
    }
    (void)closedir(d);
    return is_found;
}

static int update_own_lists(struct apt *a)
{
    CLEANUP_STRINGS argv = { 0 };
    CLEANUP_FREE char *why = NULL;

    free(a->lists);
    a->lists = path_join(a->dir, "lists");
    a->has_own_lists = true;
    progress("fetching package lists");
    start_arguments(a, "archives", &argv);
    add_setting(&argv, "APT::Status-Fd", "1");
    strings_add(&argv, "update");
    int status = run_apt(&argv, NULL, &why);

    progress_end();
    if (status != 0 || !has_lists(a->lists)) {
        return complain(STATUS_FAILED, "pack: apt-get update failed: %s",
                        *why ? why : "no package source is configured; see /etc/apt/sources.list");
    }
    return 0;
}

static int apt_open(struct apt *a)
{
    CLEANUP_FREE char *apt_get = program_find("apt-get");

    *a = (struct apt){ .lock_fd = -1 };
    if (!apt_get) {
        return complain(STATUS_HOST,
                        "pack: env.packages needs apt-get, which this host does not have; "
                        "use a Debian or Ubuntu host, or an image made on one with --root");
    }
    a->dir = cache_dir("apt");
    if (!a->dir) {
        return complain(STATUS_FAILED,
                        "pack: the cache directory cannot be made: %s; set DRUPE_CACHE",
                        strerror(errno));
    }
    static const char *const names[] = { "archives/partial", "none/partial", "lists/partial" };

    for (size_t i = 0; i < array_size(names); i++) {
        CLEANUP_FREE char *dir = path_join(a->dir, names[i]);
        int err = dirs_make(dir, 0700);

        if (err < 0) {
            return complain(STATUS_FAILED, "pack: %s: %s", dir, strerror(-err));
        }
    }
    CLEANUP_FREE char *status = path_join(a->dir, "status");
    CLEANUP_FREE char *lock = path_join(a->dir, "lock.drupe");
    int err = file_replace(status, "", 0, 0600);

    if (err < 0) {
        return complain(STATUS_FAILED, "pack: %s: %s", status, strerror(-err));
    }
    a->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (a->lock_fd < 0 || flock(a->lock_fd, LOCK_EX) < 0) {
        return complain(STATUS_FAILED, "pack: %s: %s", lock, strerror(errno));
    }
    a->lists = path_join(a->dir, "lists");
    a->has_own_lists = has_lists(a->lists);
    if (!a->has_own_lists && has_lists(HOST_LISTS)) {
        free(a->lists);
        a->lists = text_copy(HOST_LISTS);
        return 0;
    }
    return a->has_own_lists ? 0 : update_own_lists(a);
}

/* ---- What apt prints ----------------------------------------------------------------------------
 */

void packages_free(struct packages *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].name);
        free(p->items[i].version);
        free(p->items[i].architecture);
        free(p->items[i].path);
    }
    free(p->items);
    *p = (struct packages){ 0 };
}

/* A version's ":" stands in file names as %3a. */
static char *decode_version(const char *text, size_t size)
{
    char *out = text_copy_sized(text, size);
    char *escaped = strstr(out, "%3a");

    if (escaped) {
        *escaped = ':';
        memmove(escaped + 1, escaped + 3, strlen(escaped + 3) + 1);
    }
    return out;
}

static bool is_digest(const char *s)
{
    return strspn(s, "0123456789abcdef") >= DIGEST_TEXT_SIZE - 1;
}

/* "'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX" */
static bool parse_uri_line(const struct apt *a, const char *line, struct package *out)
{
    const char *file = line[0] == '\'' ? strstr(line, "' ") : NULL;

    if (!file) {
        return false;
    }
    file += 2;
    size_t size = strcspn(file, " ");
    const char *version = memchr(file, '_', size);
    const char *arch =
        version ? memchr(version + 1, '_', size - (size_t)(version + 1 - file)) : NULL;
    const char *digest = strstr(file + size, " SHA256:");

    if (!arch || !digest || !is_digest(digest + 8) || size < 5 || memchr(file, '/', size) ||
        strncmp(file + size - 4, ".deb", 4) != 0) {
        return false;
    }
    out->name = text_copy_sized(file, (size_t)(version - file));
    out->version = decode_version(version + 1, (size_t)(arch - version - 1));
    out->architecture = text_copy_sized(arch + 1, size - (size_t)(arch + 1 - file) - 4);
    CLEANUP_FREE char *name = text_copy_sized(file, size);

    out->path = text_format("%s/archives/%s", a->dir, name);
    memcpy(out->digest, digest + 8, DIGEST_TEXT_SIZE - 1);
    return true;
}

static int compare_packages(const void *a, const void *b)
{
    const struct package *x = a;
    const struct package *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : strcmp(x->architecture, y->architecture);
}

static int parse_uris(const struct apt *a, char *text, struct packages *out)
{
    char *state = NULL;

    for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        struct package p = { 0 };

        if (line[0] != '\'') {
            continue;
        }
        if (!parse_uri_line(a, line, &p)) {
            return complain(STATUS_FAILED, "pack: apt-get said something unexpected: %.200s", line);
        }
        out->items = alloc_resized(out->items, out->count + 1, sizeof(p));
        out->items[out->count++] = p;
    }
    if (out->count > 0) {
        qsort(out->items, out->count, sizeof(*out->items), compare_packages);
    }
    return 0;
}

/* Ask which files would be fetched if none were there. */
static int print_uris(const struct apt *a, const struct strings *names, struct packages *out,
                      char **why)
{
    CLEANUP_STRINGS argv = { 0 };
    CLEANUP_BUFFER output = { 0 };

    start_arguments(a, "none", &argv);
    strings_add(&argv, "--print-uris");
    strings_add(&argv, "install");
    strings_add(&argv, "--");
    for (size_t i = 0; i < names->count; i++) {
        strings_add(&argv, names->items[i]);
    }
    int status = run_apt(&argv, &output, why);

    if (status != 0) {
        return STATUS_FAILED;
    }
    return output.data ? parse_uris(a, output.data, out) : 0;
}

/* ---- Files
 * ---------------------------------------------------------------------------------------- */

static bool is_in_cache(const struct package *p)
{
    char digest[DIGEST_TEXT_SIZE];

    return digest_file(p->path, digest) == 0 && strcmp(digest, p->digest) == 0;
}

/* Fetch NAME=VERSION... into the archive directory; their hashes are checked by the caller. */
static int download(const struct apt *a, const struct packages *p, const bool *is_there, char **why)
{
    CLEANUP_STRINGS argv = { 0 };
    CLEANUP_FREE char *archives = path_join(a->dir, "archives");
    CLEANUP_BUFFER errors = { 0 };
    CLEANUP_BUFFER output = { 0 };

    start_arguments(a, "archives", &argv);
    add_setting(&argv, "APT::Status-Fd", "1");
    strings_add(&argv, "download");
    strings_add(&argv, "--");
    for (size_t i = 0; i < p->count; i++) {
        const struct package *item = &p->items[i];

        if (!is_there[i]) {
            (void)unlink(item->path);
            strings_take(&argv,
                         text_format("%s:%s=%s", item->name, item->architecture, item->version));
        }
    }
    struct command c = { .argv = (const char *const *)argv.items,
                         .cwd = archives,
                         .on_line = show_status };
    int status = command_run(&c, &output, &errors);

    free(*why);
    *why = status < 0 ? text_copy(strerror(-status)) : first_error(&errors);
    return status == 0 ? 0 : STATUS_FAILED;
}

/* Make sure that every file is in the cache with the right hash. On failure *why says why not. */
static int fetch(const struct apt *a, const struct packages *p, char **why)
{
    CLEANUP_FREE bool *is_there = alloc_zeroed(p->count, sizeof(bool));
    size_t missing = 0;
    int status = 0;

    for (size_t i = 0; i < p->count; i++) {
        progress("checking packages %zu/%zu", i + 1, p->count);
        is_there[i] = is_in_cache(&p->items[i]);
        missing += !is_there[i];
    }
    if (missing > 0) {
        progress("downloading %zu packages", missing);
        status = download(a, p, is_there, why);
    }
    progress_end();
    for (size_t i = 0; i < p->count && status == 0; i++) {
        if (!is_there[i] && !is_in_cache(&p->items[i])) {
            free(*why);
            *why = text_format("%s %s does not have the expected SHA-256", p->items[i].name,
                               p->items[i].version);
            status = STATUS_FAILED;
        }
    }
    return status;
}

int apt_resolve(const struct strings *names, struct packages *out)
{
    CLEANUP_APT a = { .lock_fd = -1 };
    CLEANUP_FREE char *why = NULL;
    bool is_fresh = false;
    int status = apt_open(&a);

    if (status != 0) {
        return status;
    }
    /* Lists may be too old to know a package, or name files that are gone: then fetch new ones,
     * once. */
    for (;;) {
        progress("resolving %zu packages", names->count);
        status = print_uris(&a, names, out, &why);
        if (status == 0) {
            status = fetch(&a, out, &why);
        }
        progress_end();
        if (status == 0 || is_fresh) {
            break;
        }
        packages_free(out);
        status = update_own_lists(&a);
        if (status != 0) {
            return status;
        }
        is_fresh = true;
    }
    if (status != 0) {
        packages_free(out);
        return complain(status, "pack: env.packages: %s", why && *why ? why : "apt-get failed");
    }
    return 0;
}

int apt_fetch_locked(struct packages *locked)
{
    CLEANUP_APT a = { .lock_fd = -1 };
    CLEANUP_FREE char *why = NULL;
    int status = apt_open(&a);

    if (status != 0) {
        return status;
    }
    for (size_t i = 0; i < locked->count; i++) {
        struct package *p = &locked->items[i];
        const char *colon = strchr(p->version, ':');

        free(p->path);
        if (colon) {
            p->path =
                text_format("%s/archives/%s_%.*s%%3a%s_%s.deb", a.dir, p->name,
                            (int)(colon - p->version), p->version, colon + 1, p->architecture);
        } else {
            p->path = text_format("%s/archives/%s_%s_%s.deb", a.dir, p->name, p->version,
                                  p->architecture);
        }
    }
    status = fetch(&a, locked, &why);
    if (status != 0) {
        return complain(status, "pack: %s: %s; pack without --locked to resolve anew", LOCK_PATH,
                        why && *why ? why : "a package cannot be fetched");
    }
    return 0;
}
