/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a program. The child shares the agent's memory until it executes (CLONE_VM, the parent
 * waits): no page is copied, and what goes wrong is simply written down. It runs on a stack of its
 * own and makes system calls only.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define NSIG_KERNEL 64

static char child_stack[16 << 10] ALIGNED(16);

static _Noreturn void give_up(struct spawn *s, int code, const char *what)
{
    s->code = code;
    s->error = errno;
    s->what = what;
    _exit(AGENT_CODE_ABSENT);
}

static const char *path_of(char *const *env)
{
    for (; *env != NULL; env++) {
        if (strncmp(*env, "PATH=", 5) == 0) {
            return *env + 5;
        }
    }
    return DEFAULT_PATH;
}

/* execvpe(3); errno is that of the most telling attempt. */
static void exec_by_path(char *const *argv, char *const *env)
{
    static char at[PATH_MAX];
    const char *name = argv[0];
    const char *p = path_of(env);
    size_t name_size = strlen(name);
    int seen = ENOENT;

    if (strchr(name, '/') != NULL) {
        (void)execve(name, argv, env);
        return;
    }
    for (;;) {
        size_t length = strcspn(p, ":");

        if (length + name_size + 2 <= sizeof(at)) {
            memcpy(at, p, length);
            at[length] = '/'; /* an empty element is "/": there is no current directory to trust */
            memcpy(at + length + 1, name, name_size + 1);
            (void)execve(at, argv, env);
            if (errno == EACCES) {
                seen = EACCES;
            } else if (errno != ENOENT && errno != ENOTDIR) {
                return;
            }
        }
        if (p[length] == '\0') {
            errno = seen;
            return;
        }
        p += length + 1;
    }
}

static void default_signals(void)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child(void *arg)
{
    struct spawn *s = arg;
    const struct exec_request *r = s->request;

    (void)setsid();
    if (s->has_terminal && ioctl(s->fds[0], TIOCSCTTY, 0) < 0) {
        give_up(s, AGENT_CODE_SETUP, "take the terminal");
    }
    for (int i = 0; i < 3; i++) {
        if (s->fds[i] != i && dup2(s->fds[i], i) < 0) {
            give_up(s, AGENT_CODE_SETUP, "set up the standard streams");
        }
    }
    (void)umask(022);
    if (strcmp(r->cwd, "/") != 0 && chdir(r->cwd) < 0) { /* the agent is there */
        give_up(s, AGENT_CODE_SETUP, "enter the working directory");
    }
    /* System calls and not libc's functions: those would tell other threads. */
    if ((r->uid != 0 || r->gid != 0) && (syscall(SYS_setgroups, 0, NULL) < 0 ||
                                         syscall(SYS_setresgid, r->gid, r->gid, r->gid) < 0 ||
                                         syscall(SYS_setresuid, r->uid, r->uid, r->uid) < 0)) {
        give_up(s, AGENT_CODE_SETUP, "change the user");
    }
    default_signals();
    exec_by_path(r->argv, r->env);
    give_up(s, errno == ENOENT || errno == ENOTDIR ? AGENT_CODE_ABSENT : AGENT_CODE_NO_EXEC,
            "execute the program");
}

pid_t spawn_program(struct spawn *s)
{
    pid_t pid = 0;

    s->code = 0;
    pid = clone(child, child_stack + sizeof(child_stack), CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    if (pid < 0) {
        s->code = AGENT_CODE_SETUP;
        s->error = errno;
        s->what = "start a process";
        return -1;
    }
    if (s->code != 0) { /* written by the child, which is gone */
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}

/* --- terminals -------------------------------------------------------------------------------- */

bool set_terminal_size(int fd, unsigned rows, unsigned cols)
{
    const struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

    return ioctl(fd, TIOCSWINSZ, &size) == 0;
}

bool open_terminal(int *master, int *slave, unsigned rows, unsigned cols)
{
    char name[32];
    int unlock = 0;
    unsigned number = 0;
    int saved = 0;

    *slave = -1;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (*master < 0) {
        return false;
    }
    if (ioctl(*master, TIOCSPTLCK, &unlock) == 0 &&
        syscall(SYS_ioctl, *master, TIOCGPTN, &number) == 0 &&
        set_terminal_size(*master, rows, cols)) {
        (void)snprintf(name, sizeof(name), "/dev/pts/%u", number);
        *slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    }
    if (*slave < 0) {
        saved = errno;
        (void)close(*master);
        *master = -1;
        errno = saved;
        return false;
    }
    return true;
}
