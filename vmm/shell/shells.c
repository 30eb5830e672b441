/* SPDX-License-Identifier: Apache-2.0 */
/* A set of shells: making them ahead, handing them out (drupe/shell.h). */
#include "drupe/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "shell/shell_internal.h"
#include "vm_internal.h"

#define REST_NS         (200u * NS_PER_MS) /* after a shell that could not be made */
#define ANSWER_MS       20000              /* a shell that says nothing for so long is stuck */
#define STACK_SIZE      (256u << 10)
#define IDS_FIRST       UINT32_C(0x70010000) /* above those of single jails */
#define IDS_PER_STARTER DRUPE_SHELLS_MAX

bool shell_wait_locked(struct drupe_shells *shells, uint64_t deadline_ns)
{
    const struct timespec until = clock_timespec(deadline_ns);

    if (deadline_ns == CLOCK_NEVER) {
        (void)pthread_cond_wait(&shells->changed, &shells->lock);
        return true;
    }
    return pthread_cond_timedwait(&shells->changed, &shells->lock, &until) != ETIMEDOUT;
}

/* ---- Making one ---- */

/* The jail of this place, or one from before that is ready again. */
static drupe_vm_err_t get_jail(struct shell *s, struct drupe_error *err)
{
    struct drupe_jail_config cfg = s->shells->jail;
    char id[DRUPE_JAIL_ID_SIZE_MAX + 1];

    if (s->jail != NULL) {
        return DRUPE_OK;
    }
    (void)fmt_snprintf(id, sizeof(id), "%s-%u", s->shells->prefix, s->number);
    cfg.id = id;
    cfg.directory = NULL;
    cfg.is_daemon = true;
    cfg.is_reusable = true;
    cfg.uid = 0;
    cfg.gid = 0;
    if (geteuid() == 0) {
        cfg.uid = IDS_FIRST + ((uint32_t)getpid() & 0xffffu) * IDS_PER_STARTER + s->number;
        cfg.gid = cfg.uid;
    }
    return drupe_jail_prepare(&cfg, &s->jail, err);
}

static drupe_vm_err_t spawn(struct shell *s, int theirs, struct drupe_error *err)
{
    struct drupe_shells *shells = s->shells;
    struct shell_start start = { .vm = shells->shape,
                                 .restore = shells->has_restore ? &shells->restore : NULL,
                                 .fd = theirs };
    const int fds[] = { theirs, shells->restore.fd, shells->restore.memory_fd };
    int keep[array_size(fds)];
    size_t count = 0;
    pid_t pid = -1;

    for (size_t i = 0; i < array_size(fds); i++) {
        if (fds[i] >= 0) {
            keep[count++] = fds[i];
        }
    }
    return drupe_jail_spawn(s->jail, shells->shape, keep, count, shell_process, &start, &pid, err);
}

/* Without the lock; the place is ours by its phase. */
static drupe_vm_err_t make(struct shell *s, struct drupe_error *err)
{
    int ends[2];
    drupe_vm_err_t r = get_jail(s, err);

    if (r != DRUPE_OK) {
        return r;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        return error_set(err, DRUPE_NO_MEMORY, errno, "make a shell's socket");
    }
    s->fd = ends[0];
    atomic_store(&s->is_killed, false);
    r = spawn(s, ends[1], err);
    (void)close(ends[1]);
    return r == DRUPE_OK ? shell_hear(s, SHELL_READY, err) : r;
}

static void end_process(struct shell *s)
{
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    s->fd = -1;
    if (s->jail != NULL && drupe_jail_reset(s->jail, NULL) != DRUPE_OK) {
        drupe_jail_destroy(s->jail); /* an ordinary user's is made anew */
        s->jail = NULL;
    }
}

void shell_release(struct shell *s)
{
    struct drupe_shells *shells = s->shells;

    end_process(s);
    (void)pthread_mutex_lock(&shells->lock);
    s->phase = SHELL_PHASE_EMPTY;
    (void)pthread_cond_broadcast(&shells->changed);
    (void)pthread_mutex_unlock(&shells->lock);
}

unsigned shell_count_locked(const struct drupe_shells *shells, enum shell_phase phase)
{
    unsigned n = 0;

    for (unsigned i = 0; i < shells->place_count; i++) {
        n += shells->places[i]->phase == phase ? 1 : 0;
    }
    return n;
}

struct shell *shell_find_locked(const struct drupe_shells *shells, enum shell_phase phase)
{
    for (unsigned i = 0; i < shells->place_count; i++) {
        if (shells->places[i]->phase == phase) {
            return shells->places[i];
        }
    }
    return NULL;
}

/* An empty place, now ours; NULL: none is wanted, or there is no room. */
static struct shell *begin_locked(struct drupe_shells *shells)
{
    struct shell *s = NULL;

    if (shell_count_locked(shells, SHELL_PHASE_READY) +
            shell_count_locked(shells, SHELL_PHASE_MAKING) >=
        shells->ready) {
        return NULL;
    }
    s = shell_find_locked(shells, SHELL_PHASE_EMPTY);
    if (s == NULL && shells->place_count < shells->max) {
        s = calloc(1, sizeof(*s));
        if (s != NULL) {
            s->shells = shells;
            s->number = shells->place_count;
            s->fd = -1;
            shells->places[shells->place_count++] = s;
        }
    }
    if (s != NULL) {
        s->phase = SHELL_PHASE_MAKING;
    }
    return s;
}

static void make_one_locked(struct drupe_shells *shells, struct shell *s)
{
    struct drupe_error err;
    drupe_vm_err_t r = DRUPE_OK;

    memset(&err, 0, sizeof(err));
    (void)pthread_mutex_unlock(&shells->lock);
    r = make(s, &err);
    if (r != DRUPE_OK) {
        end_process(s);
    }
    (void)pthread_mutex_lock(&shells->lock);
    s->phase = r == DRUPE_OK ? SHELL_PHASE_READY : SHELL_PHASE_EMPTY;
    if (r != DRUPE_OK) {
        shells->failures++;
        shells->last_failure = err;
        shells->last_failure.code = r;
        shells->make_again_ns = clock_ns() + REST_NS;
    }
    (void)pthread_cond_broadcast(&shells->changed);
}

static void *maker_main(void *arg)
{
    struct drupe_shells *shells = arg;

    (void)pthread_mutex_lock(&shells->lock);
    while (!shells->is_ending) {
        struct shell *s = NULL;

        if (clock_ns() < shells->make_again_ns) {
            (void)shell_wait_locked(shells, shells->make_again_ns);
            continue;
        }
        s = begin_locked(shells);
        if (s == NULL) {
            (void)shell_wait_locked(shells, CLOCK_NEVER);
            continue;
        }
        make_one_locked(shells, s);
    }
    (void)pthread_mutex_unlock(&shells->lock);
    return NULL;
}

/* ---- The set ---- */

void drupe_shells_options_init(struct drupe_shells_options *options)
{
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
    options->ready = 4;
    options->max = 16;
    options->makers = 1;
}

static drupe_vm_err_t check_options(const struct drupe_shells_options *o, struct drupe_error *err)
{
    if (o->struct_size != sizeof(*o)) {
        return error_field(err, "struct_size",
                           "the options were not made by drupe_shells_options_init()");
    }
    if (o->shape == NULL || o->jail == NULL || o->jail->id == NULL) {
        return error_field(err, "shape", "shells need a shape and a jail with an id");
    }
    if (strnlen(o->jail->id, DRUPE_SHELL_PREFIX_MAX + 1) > DRUPE_SHELL_PREFIX_MAX) {
        return error_field(err, "id", "the jail's id is longer than %u bytes",
                           DRUPE_SHELL_PREFIX_MAX);
    }
    if (o->max < 1 || o->max > DRUPE_SHELLS_MAX || o->ready > o->max) {
        return error_field(err, "max", "ready is %u, max %u; allowed are up to %u, ready <= max",
                           o->ready, o->max, DRUPE_SHELLS_MAX);
    }
    if (o->makers < 1 || o->makers > DRUPE_SHELLS_MAKERS) {
        return error_field(err, "makers", "makers is %u; allowed are 1 to %u", o->makers,
                           DRUPE_SHELLS_MAKERS);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t open_file(const char *path, int fd, int *out, struct drupe_error *err)
{
    *out = -1;
    if (path == NULL && fd < 0) {
        return DRUPE_OK;
    }
    *out = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return *out >= 0 ? DRUPE_OK
                     : error_set(err, errno == ENOENT ? DRUPE_NOT_FOUND : DRUPE_NO_ACCESS, errno,
                                 "open %s", path != NULL ? path : "the snapshot's descriptor");
}

drupe_vm_err_t shell_open_restore(struct drupe_restore_options *to,
                                  const struct drupe_restore_options *from, struct drupe_error *err)
{
    static const int no_bases[1]; /* none is looked for: a jail opens no files */
    drupe_vm_err_t r = DRUPE_OK;

    *to = (struct drupe_restore_options){
        .struct_size = sizeof(*to), .fd = -1, .memory_fd = -1, .base_fds = no_bases
    };
    if (from == NULL) {
        return DRUPE_OK;
    }
    if (from->struct_size != sizeof(*from)) {
        return error_field(err, "struct_size", "restore options of %zu bytes, not %zu",
                           from->struct_size, sizeof(*from));
    }
    if (from->base_count > 0) {
        return error_field(err, "base_fds",
                           "a shell takes a full snapshot, not an incremental one");
    }
    to->is_clone = from->is_clone;
    to->is_memory_trusted = from->is_memory_trusted;
    r = open_file(from->path, from->fd, &to->fd, err);
    return r == DRUPE_OK ? open_file(from->memory_path, from->memory_fd, &to->memory_fd, err) : r;
}

void shell_close_restore(const struct drupe_restore_options *o)
{
    if (o->fd >= 0) {
        (void)close(o->fd);
    }
    if (o->memory_fd >= 0) {
        (void)close(o->memory_fd);
    }
}

static char *copy_text(const char *text, bool *has_failed)
{
    char *copy = text == NULL ? NULL : strdup(text);

    *has_failed = *has_failed || (text != NULL && copy == NULL);
    return copy;
}

static drupe_vm_err_t take_jail(struct drupe_shells *shells, const struct drupe_jail_config *from,
                                struct drupe_error *err)
{
    bool has_failed = false;

    if (from->root != NULL) {
        return error_field(err, "root", "a shell's root is empty");
    }
    shells->jail = *from;
    shells->netns = copy_text(from->netns, &has_failed);
    shells->cpuset_cpus = copy_text(from->cpuset_cpus, &has_failed);
    shells->cpuset_mems = copy_text(from->cpuset_mems, &has_failed);
    shells->jail.netns = shells->netns;
    shells->jail.cpuset_cpus = shells->cpuset_cpus;
    shells->jail.cpuset_mems = shells->cpuset_mems;
    (void)fmt_snprintf(shells->prefix, sizeof(shells->prefix), "%s", from->id);
    return has_failed ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a set of shells") : DRUPE_OK;
}

static drupe_vm_err_t make_shape(struct drupe_shells *shells, const drupe_vm_config_t *shape,
                                 struct drupe_error *err)
{
    drupe_vm_config_t cfg = *shape;
    drupe_vm_err_t r = DRUPE_OK;

    cfg.host_stdin = -1;
    cfg.host_stdout = -1;
    cfg.host_stderr = -1;
    cfg.serial_log = -1;
    r = drupe_vm_create(&cfg, &shells->shape, err);
    if (r == DRUPE_OK && shells->shape->backend->make_ahead == NULL) {
        r = error_set(err, DRUPE_UNSUPPORTED, 0, "shells: not supported on the %s backend",
                      shells->shape->backend->name);
    }
    shells->vcpus = shape->vcpus;
    return r;
}

static int start_thread(pthread_t *thread, void *(*run)(void *), struct drupe_shells *shells)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    r = pthread_create(thread, &attr, run, shells);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static drupe_vm_err_t start_threads(struct drupe_shells *shells, unsigned makers,
                                    struct drupe_error *err)
{
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
    int r = 0;

    shells->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    shells->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shells->epoll_fd < 0 || shells->wake_fd < 0 ||
        epoll_ctl(shells->epoll_fd, EPOLL_CTL_ADD, shells->wake_fd, &e) < 0) {
        r = errno;
    }
    if (r == 0) {
        r = start_thread(&shells->watcher, shell_watcher_main, shells);
        shells->has_watcher = r == 0;
    }
    for (unsigned i = 0; r == 0 && i < makers; i++) {
        r = start_thread(&shells->makers[i], maker_main, shells);
        shells->maker_count += r == 0 ? 1 : 0;
    }
    return r == 0 ? DRUPE_OK
                  : error_set(err, DRUPE_NO_MEMORY, r,
                              "start the threads of a set of "
                              "shells");
}

static void init_locks(struct drupe_shells *shells)
{
    pthread_condattr_t attr;

    (void)pthread_mutex_init(&shells->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&shells->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
}

drupe_vm_err_t drupe_shells_create(const struct drupe_shells_options *options, drupe_shells_t **out,
                                   struct drupe_error *err)
{
    drupe_vm_err_t r = check_options(options, err);
    struct drupe_shells *shells = NULL;

    if (r != DRUPE_OK) {
        return r;
    }
    shells = calloc(1, sizeof(*shells));
    if (shells == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a set of shells");
    }
    init_locks(shells);
    shells->epoll_fd = -1;
    shells->wake_fd = -1;
    shells->ready = options->ready;
    shells->max = options->max;
    shells->restore.fd = -1;
    shells->restore.memory_fd = -1;
    shells->places = calloc(options->max, sizeof(struct shell *));
    r = shells->places == NULL ? error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make a set of shells")
                               : shell_open_restore(&shells->restore, options->restore, err);
    shells->has_restore = options->restore != NULL;
    if (r == DRUPE_OK) {
        r = take_jail(shells, options->jail, err);
    }
    if (r == DRUPE_OK) {
        r = make_shape(shells, options->shape, err);
    }
    if (r == DRUPE_OK) {
        r = start_threads(shells, options->makers, err);
    }
    if (r != DRUPE_OK) {
        drupe_shells_destroy(shells);
        return r;
    }
    *out = shells;
    return DRUPE_OK;
}

static void join_threads(struct drupe_shells *shells)
{
    const uint64_t one = 1;

    (void)pthread_mutex_lock(&shells->lock);
    shells->is_ending = true;
    (void)pthread_cond_broadcast(&shells->changed);
    (void)pthread_mutex_unlock(&shells->lock);
    for (unsigned i = 0; i < shells->maker_count; i++) {
        (void)pthread_join(shells->makers[i], NULL);
    }
    if (shells->has_watcher) {
        (void)!write(shells->wake_fd, &one, sizeof(one)); /* an empty counter takes it */
        (void)pthread_join(shells->watcher, NULL);
    }
}

void drupe_shells_destroy(drupe_shells_t *shells)
{
    const int fds[] = { shells == NULL ? -1 : shells->epoll_fd,
                        shells == NULL ? -1 : shells->wake_fd };

    if (shells == NULL) {
        return;
    }
    join_threads(shells);
    for (unsigned i = 0; i < shells->place_count; i++) {
        assert(shells->places[i]->phase != SHELL_PHASE_USED);
        if (shells->places[i]->fd >= 0) {
            (void)close(shells->places[i]->fd);
        }
        drupe_jail_destroy(shells->places[i]->jail);
        free(shells->places[i]);
    }
    free(shells->places);
    for (size_t i = 0; i < array_size(fds); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    shell_close_restore(&shells->restore);
    drupe_vm_destroy(shells->shape);
    free(shells->netns);
    free(shells->cpuset_cpus);
    free(shells->cpuset_mems);
    (void)pthread_cond_destroy(&shells->changed);
    (void)pthread_mutex_destroy(&shells->lock);
    free(shells);
}
