/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two monitors of a pool, in jails as its shells have them: what one, taken over, can do to the
 * other; and what the next process in a jail finds of the one before.
 */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <drupe/jail.h>

#define FDS_MAX 4096

struct neighbour {
    int words;          /* tells its page's address, and is told to end */
    pid_t host_pid;     /* of the victim, as the host counts */
    uintptr_t secret;   /* where it is in the victim */
    struct stat socket; /* the victim's end */
    int shm_key;
};

static char secret[32] = "nothing yet";

/* The victim: has a secret, a System V segment, an abstract socket, and waits. */
static int run_victim(void *ctx)
{
    const struct neighbour *n = ctx;
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0drupe-neighbour" };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char byte = 'r';

    (void)snprintf(secret, sizeof(secret), "the neighbour's secret");
    (void)!shmget(n->shm_key, 4096, IPC_CREAT | 0666);
    (void)bind(fd, (const struct sockaddr *)&a, sizeof(a));
    (void)listen(fd, 1);
    if (write(n->words, &byte, 1) != 1) {
        return 1;
    }
    (void)!read(n->words, &byte, 1); /* until the end */
    return strcmp(secret, "the neighbour's secret") == 0 ? 0 : 2;
}

static int signal_it(const struct neighbour *n)
{
    return kill(n->host_pid, SIGKILL);
}

static int signal_all(const struct neighbour *n)
{
    (void)n;
    return kill(-1, SIGKILL); /* ESRCH: there is nobody */
}

/* Any number that could be its own in a namespace that both are in. */
static int signal_each(const struct neighbour *n)
{
    (void)n;
    for (pid_t pid = 2; pid < 40000; pid++) {
        if (kill(pid, 0) == 0 || errno != ESRCH) {
            return 0;
        }
    }
    errno = ESRCH;
    return -1;
}

static int open_it(const struct neighbour *n)
{
    return (int)syscall(SYS_pidfd_open, n->host_pid, 0);
}

static int trace_it(const struct neighbour *n)
{
    return (int)syscall(SYS_ptrace, PTRACE_ATTACH, n->host_pid, NULL, NULL);
}

static int read_it(const struct neighbour *n)
{
    char text[sizeof(secret)];
    struct iovec to = { text, sizeof(text) };
    struct iovec from = { (void *)n->secret, sizeof(text) };

    return (int)syscall(SYS_process_vm_readv, n->host_pid, &to, 1, &from, 1, 0);
}

static int write_it(const struct neighbour *n)
{
    char text[sizeof(secret)] = "taken over";
    struct iovec from = { text, sizeof(text) };
    struct iovec to = { (void *)n->secret, sizeof(text) };

    return (int)syscall(SYS_process_vm_writev, n->host_pid, &from, 1, &to, 1, 0);
}

static int look_it_up(const struct neighbour *n)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)n->host_pid);
    return open(path, O_RDWR);
}

static int use_its_segment(const struct neighbour *n)
{
    return shmget(n->shm_key, 4096, 0);
}

static int use_its_socket(const struct neighbour *n)
{
    const struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0drupe-neighbour" };
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)n;
    return connect(fd, (const struct sockaddr *)&a, sizeof(a));
}

/* A descriptor of it that came along, whatever its number. */
static int use_its_words(const struct neighbour *n)
{
    for (int fd = 0; fd < FDS_MAX; fd++) {
        struct stat st;

        if (fstat(fd, &st) == 0 && st.st_dev == n->socket.st_dev && st.st_ino == n->socket.st_ino) {
            return 0;
        }
    }
    errno = EBADF;
    return -1;
}

static int slow_it(const struct neighbour *n)
{
    return setpriority(PRIO_PROCESS, (id_t)n->host_pid, 19);
}

static int limit_it(const struct neighbour *n)
{
    const struct rlimit none = { 0, 0 };

    return prlimit(n->host_pid, RLIMIT_NOFILE, &none, NULL);
}

struct neighbourly {
    const char *what;
    int (*fn)(const struct neighbour *n);
};

static const struct neighbourly neighbourly_attempts[] = {
    { "signal the neighbour", signal_it },
    { "signal everybody", signal_all },
    { "find another process by its number", signal_each },
    { "open the neighbour's process", open_it },
    { "trace the neighbour", trace_it },
    { "read the neighbour's memory", read_it },
    { "write to the neighbour's memory", write_it },
    { "open the neighbour's memory in /proc", look_it_up },
    { "find the neighbour's shared memory segment", use_its_segment },
    { "connect to the neighbour's abstract socket", use_its_socket },
    { "use a descriptor of the neighbour's", use_its_words },
    { "slow the neighbour down", slow_it },
    { "limit the neighbour's files", limit_it },
};

struct neighbour_try {
    const struct neighbourly *attempt;
    const struct neighbour *n;
};

static int run_neighbourly(void *ctx)
{
    const struct neighbour_try *t = ctx;

    return t->attempt->fn(t->n) < 0 ? errno : GOT_THROUGH;
}

static bool spawn_in(drupe_jail_t *jail, const int *keep, size_t keep_count, int (*run)(void *),
                     void *ctx, pid_t *pid)
{
    struct drupe_error err = { .code = DRUPE_OK };

    if (drupe_jail_spawn(jail, NULL, keep, keep_count, run, ctx, pid, &err) != DRUPE_OK) {
        (void)printf("# %s\n", err.text);
        return false;
    }
    return true;
}

/* As shells are: see vmm/shell/shells.c. Without filters, which would end every attempt. */
static drupe_jail_t *make_pool_jail(uint32_t uid)
{
    struct drupe_error err = { .code = DRUPE_OK };
    struct drupe_jail_config cfg;
    drupe_jail_t *jail = NULL;
    char id[48];

    drupe_jail_config_init(&cfg);
    (void)snprintf(id, sizeof(id), "neighbour-%d-%u", (int)getpid(), (unsigned)uid);
    cfg.id = id;
    cfg.is_daemon = true;
    cfg.is_reusable = true;
    cfg.uid = uid;
    cfg.gid = uid;
    cfg.filter = DRUPE_JAIL_FILTER_NONE;
    if (drupe_jail_prepare(&cfg, &jail, &err) != DRUPE_OK) {
        (void)printf("# %s\n", err.text);
        return NULL;
    }
    return jail;
}

/* Each in a process of its own, one after the other in one jail. */
static void try_neighbour(drupe_jail_t *jail, const struct neighbour *n, const char *where)
{
    for (size_t i = 0; i < array_size(neighbourly_attempts); i++) {
        struct neighbour_try one = { &neighbourly_attempts[i], n };
        pid_t pid = -1;
        int status = -1;
        const bool is_spawned = spawn_in(jail, NULL, 0, run_neighbourly, &one, &pid);

        while (is_spawned && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        const int code = is_spawned && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
        const bool is_refused = code != 0 && code != GOT_THROUGH && strerrorname_np(code) != NULL;

        say(is_refused, "%s%s: refused with %s", neighbourly_attempts[i].what, where,
            is_refused ? strerrorname_np(code) : "nothing");
        if (drupe_jail_reset(jail, NULL) != DRUPE_OK) {
            say(false, "a jail cannot be used again");
            return;
        }
    }
}

void try_neighbours(void)
{
    struct neighbour n = { .secret = (uintptr_t)secret, .shm_key = 0x6e620000 + (int)getpid() };
    drupe_jail_t *theirs = NULL;
    drupe_jail_t *ours = NULL;
    int ends[2];
    int status = -1;
    char byte = 0;

    if (geteuid() != 0) {
        skip("a pool's neighbours", "not root: jails are not used again");
        return;
    }
    theirs = make_pool_jail(0x70010001);
    ours = make_pool_jail(0x70010002);
    if (theirs == NULL || ours == NULL ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        say(false, "make two jails of a pool");
        return;
    }
    n.words = ends[1];
    (void)fstat(ends[1], &n.socket);
    if (!spawn_in(theirs, &ends[1], 1, run_victim, &n, &n.host_pid)) {
        say(false, "start a neighbour");
        return;
    }
    (void)close(ends[1]);
    say(read(ends[0], &byte, 1) == 1 && byte == 'r', "the neighbour has its secret");
    try_neighbour(ours, &n, "");
    say(kill(n.host_pid, 0) == 0, "the neighbour lives");
    (void)close(ends[0]);
    while (waitpid(n.host_pid, &status, 0) < 0 && errno == EINTR) {
    }
    say(WIFEXITED(status) && WEXITSTATUS(status) == 0, "and has its secret still");
    /* Who comes next in its jail is as far away. */
    if (drupe_jail_reset(theirs, NULL) == DRUPE_OK) {
        try_neighbour(theirs, &n, ", in the jail of one that ended");
    }
    drupe_jail_destroy(theirs);
    drupe_jail_destroy(ours);
}
