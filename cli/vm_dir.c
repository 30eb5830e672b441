/* SPDX-License-Identifier: Apache-2.0 */
#include "vm_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <drupe/jail.h>

#include "cli.h"

#define JSON_SIZE_MAX ((size_t)1 << 20)
#define NAME_SIZE_MAX 64u
#define ID_TRIES      8

void vm_record_free(struct vm_record *r)
{
    free(r->dir);
    free(r->id);
    free(r->name);
    free(r->backend);
    free(r->image);
    strings_free(&r->argv);
    *r = (struct vm_record){ 0 };
}

char *vm_path(const struct vm_record *r, const char *name)
{
    return path_join(r->dir, name);
}

/* ---- The base directory ---- */

static char *base_path(void)
{
    const char *given = getenv("DRUPE_RUN_DIR");
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (given && *given) {
        return text_copy(given);
    }
    if (geteuid() == 0) {
        return text_copy("/run/drupe");
    }
    if (runtime && *runtime) {
        return path_join(runtime, "drupe");
    }
    return text_format("/tmp/drupe-%u/run", (unsigned)geteuid());
}

/* Sockets that command machines stand in it: nobody else may own or enter it. */
static int check_base(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        return -errno;
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
        return -EPERM;
    }
    return 0;
}

char *vm_dir_base(void)
{
    char *path = base_path();
    int r = dirs_make(path, 0700);

    if (r == 0) {
        r = check_base(path);
    }
    if (r < 0) {
        free(path);
        errno = -r;
        return NULL;
    }
    return path;
}

int vm_dir_complain(const char *verb, int os_errno)
{
    CLEANUP_FREE char *path = base_path();

    return complain(STATUS_FAILED, "%s: the run directory %s: %s", verb, path,
                    os_errno == EPERM
                        ? "it must be yours and closed to others: chmod 700, or set DRUPE_RUN_DIR"
                        : strerror(os_errno));
}

void vm_sweep(void)
{
    CLEANUP_FREE char *base = vm_dir_base();

    if (base) {
        (void)drupe_jail_sweep(base);
    }
}

/* ---- Processes ---- */

/* Field 22 of /proc/<pid>/stat; 0 when there is no such process or it is a zombie. */
static uint64_t process_start(pid_t pid)
{
    CLEANUP_FREE char *path = text_format("/proc/%d/stat", (int)pid);
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[1024];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* The name in parentheses may hold anything; the last one closes it. */
    const char *rest = strrchr(text, ')');

    if (!rest || rest[1] != ' ' || rest[2] == 'Z' || rest[2] == 'X') {
        return 0;
    }
    /* Of the fields after the name the state is the first, the start the 20th. */
    for (unsigned i = 0; i < 20 && rest; i++) {
        rest = strchr(rest + 1, ' ');
    }
    return rest ? strtoull(rest, NULL, 10) : 0;
}

/* ---- vm.json ---- */

int vm_record_write(struct vm_record *r, pid_t pid)
{
    CLEANUP_FREE char *path = vm_path(r, "vm.json");
    json_t *argv = json_array();
    json_t *all = NULL;
    char *text = NULL;
    int err = -ENOMEM;

    r->pid = pid;
    r->start_ticks = process_start(r->pid);
    for (size_t i = 0; i < r->argv.count; i++) {
        /* Arguments may be any bytes; JSON text is UTF-8. */
        json_t *item = json_string(r->argv.items[i]);

        (void)json_array_append_new(argv, item ? item : json_string("?"));
    }
    all = json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:i, s:I}", "id", r->id, "name",
                    r->name, "backend", r->backend, "image", r->image, "argv", argv, "created_ms",
                    (json_int_t)r->created_ms, "memory_mib", (int)r->memory_mib, "vcpus",
                    (int)r->vcpus, "pid", (int)r->pid, "start_ticks", (json_int_t)r->start_ticks);
    if (all) {
        text = json_dumps(all, JSON_INDENT(2));
    }
    if (text) {
        err = file_replace(path, text, strlen(text), 0600);
    }
    free(text);
    json_decref(all);
    return err;
}

static json_t *json_file(const char *dir, const char *name, int *err)
{
    CLEANUP_FREE char *path = path_join(dir, name);
    CLEANUP_BUFFER bytes = { 0 };
    json_t *all = NULL;

    *err = file_read(path, JSON_SIZE_MAX, &bytes);
    if (*err < 0) {
        return NULL;
    }
    all = json_loadb(bytes.data ? bytes.data : "", bytes.size, JSON_REJECT_DUPLICATES, NULL);
    *err = all ? 0 : -EINVAL;
    return all;
}

int vm_record_read(const char *dir, struct vm_record *out)
{
    struct vm_record r = { 0 };
    const char *id = NULL;
    const char *name = NULL;
    const char *backend = NULL;
    const char *image = NULL;
    json_t *argv = NULL;
    json_int_t created = 0;
    json_int_t start = 0;
    json_t *item = NULL;
    size_t i = 0;
    int memory = 0;
    int vcpus = 0;
    int pid = 0;
    int err = 0;
    json_t *all = json_file(dir, "vm.json", &err);

    if (!all) {
        return err;
    }
    if (json_unpack(all, "{s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:i, s:I}", "id", &id, "name",
                    &name, "backend", &backend, "image", &image, "argv", &argv, "created_ms",
                    &created, "memory_mib", &memory, "vcpus", &vcpus, "pid", &pid, "start_ticks",
                    &start) < 0 ||
        pid <= 0 || memory < 0 || vcpus < 0) {
        json_decref(all);
        return -EINVAL;
    }
    r.dir = text_copy(dir);
    r.id = text_copy(id);
    r.name = text_copy(name);
    r.backend = text_copy(backend);
    r.image = text_copy(image);
    json_array_foreach(argv, i, item)
    {
        strings_add(&r.argv, json_is_string(item) ? json_string_value(item) : "?");
    }
    r.created_ms = (int64_t)created;
    r.memory_mib = (unsigned)memory;
    r.vcpus = (unsigned)vcpus;
    r.pid = (pid_t)pid;
    r.start_ticks = (uint64_t)start;
    r.is_alive = process_start(r.pid) == r.start_ticks && r.start_ticks != 0;
    json_decref(all);
    *out = r;
    return 0;
}

/* ---- Finding ---- */

static int by_creation(const void *a, const void *b)
{
    const struct vm_record *x = a;
    const struct vm_record *y = b;

    if (x->created_ms != y->created_ms) {
        return x->created_ms < y->created_ms ? -1 : 1;
    }
    return strcmp(x->id, y->id);
}

int vm_list(struct vm_record **out, size_t *count)
{
    CLEANUP_FREE char *base = vm_dir_base();
    DIR *d = base ? opendir(base) : NULL;
    const struct dirent *e = NULL;
    struct vm_record *all = NULL;
    size_t n = 0;

    if (!d) {
        return -errno;
    }
    while ((e = readdir(d)) != NULL) {
        CLEANUP_FREE char *dir = path_join(base, e->d_name);

        if (e->d_name[0] == '.') {
            continue;
        }
        all = alloc_resized(all, n + 1, sizeof(*all));
        if (vm_record_read(dir, &all[n]) == 0) {
            n++;
        }
    }
    (void)closedir(d);
    if (n > 0) {
        qsort(all, n, sizeof(*all), by_creation);
    }
    *out = all;
    *count = n;
    return 0;
}

static void free_list(struct vm_record *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        vm_record_free(&all[i]);
    }
    free(all);
}

/* How well `word` names r: 0 not at all; a living machine is meant before a dead one. */
static unsigned match(const struct vm_record *r, const char *word)
{
    unsigned alive = r->is_alive ? 1 : 0;

    if (strcmp(r->id, word) == 0) {
        return 6 + alive;
    }
    if (r->name[0] && strcmp(r->name, word) == 0) {
        return 4 + alive;
    }
    return strncmp(r->id, word, strlen(word)) == 0 ? 2 + alive : 0;
}

int vm_find(const char *verb, const char *word, struct vm_record *out)
{
    struct vm_record *all = NULL;
    size_t count = 0;
    size_t best = 0;
    unsigned best_score = 0;
    unsigned rivals = 0;
    int err = *word ? vm_list(&all, &count) : 0;

    if (err < 0) {
        return vm_dir_complain(verb, -err);
    }
    for (size_t i = 0; i < count; i++) {
        unsigned score = match(&all[i], word);

        if (score > best_score) {
            best = i;
            best_score = score;
            rivals = 0;
        } else if (score > 0 && score == best_score) {
            rivals++;
            best = i; /* of dead ones with one name the youngest is meant */
        }
    }
    if (best_score == 0 || (rivals > 0 && best_score < 4)) {
        free_list(all, count);
        return complain(STATUS_FAILED,
                        best_score == 0 ? "%s: no machine \"%s\"; drupe ps -a lists them"
                                        : "%s: \"%s\" begins more than one id; give more of it",
                        verb, word);
    }
    *out = all[best];
    all[best] = (struct vm_record){ 0 };
    free_list(all, count);
    return 0;
}

/* ---- Making ---- */

static bool is_name(const char *text)
{
    size_t size = strlen(text);

    for (size_t i = 0; i < size; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (i > 0 && (c == '-' || c == '_' || c == '.')))) {
            return false;
        }
    }
    return size <= NAME_SIZE_MAX;
}

static int check_name(const char *verb, const char *name)
{
    struct vm_record *all = NULL;
    size_t count = 0;
    bool is_taken = false;

    if (!is_name(name)) {
        return complain(STATUS_USAGE,
                        "%s: --name %s: a name is up to %u letters, digits, and - _ . behind the "
                        "first",
                        verb, name, NAME_SIZE_MAX);
    }
    if (vm_list(&all, &count) < 0) {
        return 0; /* creation will say why */
    }
    for (size_t i = 0; i < count; i++) {
        is_taken = is_taken || (all[i].is_alive && strcmp(all[i].name, name) == 0);
    }
    free_list(all, count);
    return is_taken ? complain(STATUS_FAILED, "%s: a running machine is called %s", verb, name) : 0;
}

int vm_dir_create(struct vm_record *r, const char *verb, const char *name)
{
    CLEANUP_FREE char *base = vm_dir_base();
    int status = name && *name ? check_name(verb, name) : 0;

    if (status != 0) {
        return status;
    }
    for (int i = 0; base && i < ID_TRIES; i++) {
        uint8_t bytes[VM_ID_SIZE / 2];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
            break;
        }
        r->id = text_format("%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                            bytes[4], bytes[5]);
        r->dir = path_join(base, r->id);
        if (mkdir(r->dir, 0700) == 0) {
            r->name = text_copy(name ? name : "");
            r->created_ms = (int64_t)(clock_ns_of(CLOCK_REALTIME) / NS_PER_MS);
            return 0;
        }
        free(r->id);
        free(r->dir);
        r->id = NULL;
        r->dir = NULL;
        if (errno != EEXIST) {
            break;
        }
    }
    return vm_dir_complain(verb, errno);
}
