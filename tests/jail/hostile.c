/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile program in the monitor's place: the same jail, the same filters, each attempt in a jail
 * of its own. What the walls behind seccomp hold is tried without filters; the filters are tried
 * call by call for each kind of thread. TAP on standard output, one line an attempt.
 *
 *   jail_hostile       as root or an ordinary user
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <drupe/jail.h>

#include "attempts.h"
#include "hostile.h"

#define FILE_SIZE_MAX 65536u
#define MIB           ((size_t)1 << 20)

static unsigned line_count;
static unsigned failed_count;

void say(bool is_ok, const char *format, ...)
{
    va_list args;

    line_count++;
    failed_count += is_ok ? 0 : 1;
    (void)printf("%sok %u - ", is_ok ? "" : "not ", line_count);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)printf("\n");
}

void skip(const char *what, const char *why)
{
    line_count++;
    (void)printf("ok %u - %s # SKIP %s\n", line_count, what, why);
}

/* ---- One jail ---- */

struct trial {
    struct drupe_jail_config cfg;
    char id[32];
    int (*run)(void *ctx);
    void *ctx;
    const int *keep;
    size_t keep_count;
};

static void trial_init(struct trial *t, int (*run)(void *ctx), void *ctx)
{
    static unsigned number;

    memset(t, 0, sizeof(*t));
    drupe_jail_config_init(&t->cfg);
    (void)snprintf(t->id, sizeof(t->id), "test-%d-%u", (int)getpid(), number++);
    t->cfg.id = t->id;
    t->cfg.shares_netns = true;
    t->run = run;
    t->ctx = ctx;
}

/* The jailed program's wait status, or -1 with a line that says why it could not be jailed. */
static int trial_run(struct trial *t)
{
    struct drupe_error err = { .code = DRUPE_OK };
    drupe_jail_t *jail = NULL;
    pid_t pid = -1;
    int status = -1;

    if (drupe_jail_prepare(&t->cfg, &jail, &err) == DRUPE_OK &&
        drupe_jail_spawn(jail, NULL, t->keep, t->keep_count, t->run, t->ctx, &pid, &err) ==
            DRUPE_OK) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    } else {
        (void)printf("# %s\n", err.text);
    }
    drupe_jail_destroy(jail);
    return status;
}

/* ---- The walls behind the filters ---- */

struct
try {
    const struct attempt *attempt;
    struct surroundings around;
};

static int run_attempt(void *ctx)
{
    const struct try *t = ctx;
    const int r = t->attempt->fn(&t->around);

    return r == 0 ? GOT_THROUGH : -r;
}

static void try_walls(const struct surroundings *around)
{
    struct drupe_jail_report report;
    const int keep[] = { around->host_root_fd, around->file_fd };

    drupe_jail_probe(&report);
    for (unsigned i = 0; i < attempt_count; i++) {
        struct try one = { &attempts[i], *around };
        struct trial t;

        if (attempts[i].needs_landlock && report.landlock_version == 0) {
            skip(attempts[i].what, "no Landlock in this kernel");
            continue;
        }
        if (attempts[i].needs_root && !report.is_root) {
            skip(attempts[i].what, "an ordinary user's jail has a waiter there");
            continue;
        }
        trial_init(&t, run_attempt, &one);
        t.cfg.filter = DRUPE_JAIL_FILTER_NONE;
        t.cfg.file_size_max = FILE_SIZE_MAX;
        t.keep = keep;
        t.keep_count = array_size(keep);

        const int status = trial_run(&t);
        const bool is_refused = WIFEXITED(status) && status >= 0 &&
                                WEXITSTATUS(status) != GOT_THROUGH && WEXITSTATUS(status) != 0 &&
                                strerrorname_np(WEXITSTATUS(status)) != NULL;

        say(is_refused, "%s: refused with %s", attempts[i].what,
            is_refused ? strerrorname_np(WEXITSTATUS(status)) : "nothing");
    }
}

/* ---- The filters ---- */

struct call {
    const struct forbidden *forbidden;
    enum drupe_jail_thread kind;
};

static int run_call(void *ctx)
{
    const struct call *c = ctx;
    const unsigned long *a = c->forbidden->args;
    struct drupe_error err;
    long r = 0;

    if (drupe_jail_confine(c->kind, &err) != DRUPE_OK) {
        return 1;
    }
    r = syscall(c->forbidden->number, a[0], a[1], a[2], a[3], a[4]);
    /* Without exit_group, which not every kind may call. */
    (void)syscall(SYS_exit, r < 0 ? errno : GOT_THROUGH);
    return 0;
}

/* True when the table lets this kind make the call whatever its arguments. */
static bool is_allowed(const char *what, enum drupe_jail_thread kind)
{
    struct drupe_jail_rule rule;

    for (unsigned i = 0; drupe_jail_rule(i, &rule); i++) {
        if (strcmp(rule.call, what) == 0 && rule.check[0] == '\0' &&
            (rule.threads & (1u << kind)) != 0) {
            return true;
        }
    }
    return false;
}

/* True when the table answers this call of this kind with that error instead of death. */
static bool is_answered(const char *what, enum drupe_jail_thread kind, int error)
{
    struct drupe_jail_rule rule;

    for (unsigned i = 0; drupe_jail_rule(i, &rule); i++) {
        if (strcmp(rule.call, what) == 0 && (rule.threads & (1u << kind)) != 0 &&
            strncmp(rule.check, "fails with ", 11) == 0 &&
            strcmp(rule.check + 11, strerrorname_np(error)) == 0) {
            return true;
        }
    }
    return false;
}

/* KVM_CREATE_VM and the like belong to threads that build machines. */
static bool builds_machines(const struct forbidden *f, enum drupe_jail_thread kind)
{
    const bool is_building = kind == DRUPE_JAIL_THREAD_SETUP || kind == DRUPE_JAIL_THREAD_API;

    return is_building && (strcmp(f->what, "ioctl KVM_CREATE_VM") == 0 ||
                           strcmp(f->what, "ioctl KVM_SET_USER_MEMORY_REGION") == 0);
}

static void try_call(const struct forbidden *f, enum drupe_jail_thread kind)
{
    struct call c = { f, kind };
    struct trial t;
    int status = 0;

    if (is_allowed(f->what, kind) || builds_machines(f, kind)) {
        return;
    }
    trial_init(&t, run_call, &c);
    status = trial_run(&t);
    if (WIFEXITED(status) && WEXITSTATUS(status) < GOT_THROUGH && WEXITSTATUS(status) != 0 &&
        is_answered(f->what, kind, WEXITSTATUS(status))) {
        say(true, "%s thread: %s: refused with %s", drupe_jail_thread_name(kind), f->what,
            strerrorname_np(WEXITSTATUS(status)));
        return;
    }
    say(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "%s thread: %s: refused with %s%s",
        drupe_jail_thread_name(kind), f->what, WIFSIGNALED(status) ? "SIG" : "",
        WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "nothing");
}

static int run_clone3(void *ctx)
{
    struct drupe_error err;

    (void)ctx;
    if (drupe_jail_confine(DRUPE_JAIL_THREAD_SETUP, &err) != DRUPE_OK) {
        return 1;
    }
    return syscall(SYS_clone3, NULL, 0) < 0 ? errno : GOT_THROUGH;
}

static int run_trapped(void *ctx)
{
    struct drupe_error err;

    (void)ctx;
    if (drupe_jail_confine(DRUPE_JAIL_THREAD_VCPU, &err) != DRUPE_OK) {
        return 1;
    }
    (void)syscall(SYS_getuid);
    return 0;
}

static void try_filters(void)
{
    struct trial t;
    int status = 0;

    for (unsigned kind = 0; kind < DRUPE_JAIL_THREADS; kind++) {
        for (unsigned i = 0; i < forbidden_count; i++) {
            try_call(&forbidden_calls[i], (enum drupe_jail_thread)kind);
        }
    }
    trial_init(&t, run_clone3, NULL);
    status = trial_run(&t);
    say(WIFEXITED(status) && WEXITSTATUS(status) == ENOSYS, "setup thread: clone3: refused with %s",
        "ENOSYS");

    const int text = memfd_create("stderr", 0);
    const int saved = dup(STDERR_FILENO);
    char line[128] = "";

    (void)dup2(text, STDERR_FILENO);
    trial_init(&t, run_trapped, NULL);
    t.cfg.filter = DRUPE_JAIL_FILTER_TRAP;
    status = trial_run(&t);
    (void)dup2(saved, STDERR_FILENO);
    (void)!pread(text, line, sizeof(line) - 1, 0);
    say(WIFEXITED(status) && WEXITSTATUS(status) == DRUPE_JAIL_SECCOMP_STATUS &&
            strstr(line, "thread=vcpu") != NULL && strstr(line, "name=getuid") != NULL,
        "trap mode: exit status 148 and a line with the call's name");
}

/* ---- Limits of the cgroup ---- */

static int run_forks(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 64; i++) {
        const pid_t pid = fork();

        if (pid == 0) {
            (void)pause();
            _exit(0);
        }
        if (pid < 0) {
            return errno;
        }
    }
    return GOT_THROUGH;
}

static int run_eater(void *ctx)
{
    const size_t size = 256 * MIB;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)ctx;
    if (memory == MAP_FAILED) {
        return errno;
    }
    memset(memory, 1, size);
    return GOT_THROUGH;
}

static void try_limits(void)
{
    struct drupe_jail_report report;
    struct trial t;
    int status = 0;

    drupe_jail_probe(&report);
    if (strstr(report.cgroup_controllers, "pids") == NULL) {
        skip("fork beyond the limit of processes", "no pids controller for this user");
    } else {
        trial_init(&t, run_forks, NULL);
        t.cfg.filter = DRUPE_JAIL_FILTER_NONE;
        t.cfg.pids_max = 8;
        status = trial_run(&t);
        say(WIFEXITED(status) && WEXITSTATUS(status) == EAGAIN,
            "fork beyond the limit of processes: refused with %s",
            WIFEXITED(status) && WEXITSTATUS(status) < GOT_THROUGH
                ? strerrorname_np(WEXITSTATUS(status))
                : "nothing");
    }
    if (strstr(report.cgroup_controllers, "memory") == NULL) {
        skip("take more memory than the limit", "no memory controller for this user");
    } else {
        trial_init(&t, run_eater, NULL);
        t.cfg.filter = DRUPE_JAIL_FILTER_NONE;
        t.cfg.memory_max = 32 * MIB;
        status = trial_run(&t);
        say(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
            "take more memory than the limit: ended with SIG%s",
            WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "nothing");
    }
}

/* ---- Bad configurations ---- */

static int run_nothing(void *ctx)
{
    (void)ctx;
    return 0;
}

static void try_configurations(void)
{
    static const char *const ids[] = {
        "",     "..",  "a/b",  "a b",
        "a\nb", "a_b", "/etc", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    static const char *const paths[] = { "relative", "/a/../etc", "/./x", "/x/.." };
    struct trial t;

    for (unsigned i = 0; i < array_size(ids); i++) {
        trial_init(&t, run_nothing, NULL);
        t.cfg.id = ids[i];
        say(trial_run(&t) < 0, "id %u of the hostile ones is refused", i + 1);
    }
    for (unsigned i = 0; i < array_size(paths); i++) {
        trial_init(&t, run_nothing, NULL);
        t.cfg.directory = paths[i];
        say(trial_run(&t) < 0, "directory %s is refused", paths[i]);
        trial_init(&t, run_nothing, NULL);
        t.cfg.root = paths[i];
        say(trial_run(&t) < 0, "root %s is refused", paths[i]);
    }
    trial_init(&t, run_nothing, NULL);
    t.cfg.netns = "/dev/null";
    say(trial_run(&t) < 0, "a network namespace that is none is refused");
    trial_init(&t, run_nothing, NULL);
    t.cfg.root = "/nonexistent/root";
    say(trial_run(&t) < 0, "a root that isn't there is refused");
    trial_init(&t, run_nothing, NULL);
    t.cfg.cpuset_cpus = "0; reboot";
    say(trial_run(&t) < 0, "a list of CPUs that is none is refused");
}

/* ---- Leftovers ---- */

/* The starter's part: it is killed somewhere on the way. */
static _Noreturn void run_starter(const char *base, const char *id)
{
    struct drupe_jail_config cfg;
    struct drupe_error err;
    drupe_jail_t *jail = NULL;
    char directory[256];
    pid_t pid = -1;

    drupe_jail_config_init(&cfg);
    (void)snprintf(directory, sizeof(directory), "%s/%s", base, id);
    (void)mkdir(directory, 0700);
    cfg.id = id;
    cfg.directory = directory;
    cfg.pids_max = 16;
    cfg.are_limits_optional = true;
    cfg.filter = DRUPE_JAIL_FILTER_NONE;
    if (drupe_jail_prepare(&cfg, &jail, &err) == DRUPE_OK &&
        drupe_jail_spawn(jail, NULL, NULL, 0, run_nothing, NULL, &pid, &err) == DRUPE_OK) {
        drupe_jail_destroy(jail);
    }
    _exit(0);
}

static bool is_there(const char *directory, const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static unsigned count_left(const char *base, const char *id)
{
    static const char *const groups[] = {
        "/sys/fs/cgroup/cpu/drupe",  "/sys/fs/cgroup/cpuset/drupe", "/sys/fs/cgroup/memory/drupe",
        "/sys/fs/cgroup/pids/drupe", "/sys/fs/cgroup/drupe",
    };
    unsigned count = is_there(base, id) ? 1 : 0;

    for (unsigned i = 0; i < array_size(groups); i++) {
        count += is_there(groups[i], id) ? 1 : 0;
    }
    return count;
}

#define KILLS 40

static void try_kills(void)
{
    char base[] = "/tmp/drupe-jail-test-XXXXXX";
    unsigned left = 0;
    unsigned found = 0;

    if (mkdtemp(base) == NULL) {
        say(false, "make a temporary directory");
        return;
    }
    for (int i = 0; i < KILLS; i++) {
        const struct timespec delay = { .tv_nsec = (long)i * 150000 };
        char id[32];
        pid_t pid = -1;

        (void)snprintf(id, sizeof(id), "kill-%d-%d", (int)getpid(), i);
        pid = fork();
        if (pid == 0) {
            run_starter(base, id);
        }
        (void)nanosleep(&delay, NULL);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        found += count_left(base, id) != 0 ? 1 : 0;
        /* A jailed process that the starter did not wait for may still be on its way out. */
        for (int look = 0; look < 500 && count_left(base, id) != 0; look++) {
            const struct timespec pause = { .tv_nsec = 10000000 };
            char directory[300];

            (void)drupe_jail_sweep(base);
            (void)snprintf(directory, sizeof(directory), "%s/%s", base, id);
            (void)rmdir(directory); /* the starter's own, empty now */
            if (count_left(base, id) != 0) {
                (void)nanosleep(&pause, NULL);
            }
        }
        left += count_left(base, id);
    }
    (void)rmdir(base);
    say(left == 0,
        "starters killed at %d moments: %u left something, after the sweep %u cgroups or "
        "directories are left",
        KILLS, found, left);
}

static void look_around(struct surroundings *s)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(s, 0, sizeof(*s));
    s->starter_pid = (int)getpid();
    s->host_root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->file_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    s->shm_key = 0x64720000 + (int)getpid() % 0x10000;
    (void)shmget(s->shm_key, 4096, IPC_CREAT | 0666);
    (void)snprintf(s->socket_name, sizeof(s->socket_name), "drupe-jail-test-%d", (int)getpid());
    memcpy(a.sun_path + 1, s->socket_name, strlen(s->socket_name));
    (void)bind(fd, (const struct sockaddr *)&a,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(s->socket_name)));
    (void)listen(fd, 1);
}

int main(void)
{
    struct surroundings around;
    struct drupe_jail_report report;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    drupe_jail_probe(&report);
    if (!report.is_root && !report.has_user_namespace) {
        (void)printf("ok 1 - jail # SKIP neither root nor user namespaces\n1..1\n");
        return 0;
    }
    look_around(&around);
    try_walls(&around);
    try_filters();
    try_limits();
    try_neighbours();
    try_configurations();
    try_kills();
    (void)shmctl(shmget(around.shm_key, 4096, 0), IPC_RMID, NULL);
    (void)printf("1..%u\n", line_count);
    return failed_count == 0 ? 0 : 1;
}
