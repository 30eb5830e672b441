/* SPDX-License-Identifier: Apache-2.0 */
/* Wait statuses: exits, signals, stops and continuations, by wait4 and waitid, with rusage. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void show(const char *what, int status)
{
    printf("%s: ", what);
    if (WIFEXITED(status)) {
        printf("exited %d\n", WEXITSTATUS(status));
    } else if (WIFSIGNALED(status)) {
        printf("killed %d\n", WTERMSIG(status));
    } else if (WIFSTOPPED(status)) {
        printf("stopped %d\n", WSTOPSIG(status));
    } else if (WIFCONTINUED(status)) {
        printf("continued\n");
    }
    fflush(stdout);
}

static pid_t child_that_pauses(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        setpgid(0, 0); /* a group of its own, which we can continue: SIGTSTP works */
        for (;;) {
            pause();
        }
    }
    setpgid(pid, pid);
    return pid;
}

int main(void)
{
    static const int codes[] = { 0, 1, 77, 255, 256 };
    const int signals[] = { SIGKILL, SIGTERM, SIGUSR1, SIGALRM, SIGPIPE, SIGRTMIN, SIGRTMAX };
    struct rusage usage;
    siginfo_t info;
    int status;
    pid_t pid;

    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        pid = fork();
        if (pid == 0) {
            _exit(codes[i]);
        }
        memset(&usage, 0xff, sizeof(usage));
        printf("same pid %d ", wait4(pid, &status, 0, &usage) == pid);
        printf("usage sane %d ", usage.ru_utime.tv_sec >= 0 && usage.ru_utime.tv_sec < 60);
        show("exit", status);
    }
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        pid = child_that_pauses();
        kill(pid, signals[i]);
        waitpid(pid, &status, 0);
        show("signal", status);
    }
    pid = child_that_pauses();
    printf("nohang: %d\n", waitpid(pid, &status, WNOHANG));
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    show("stop", status);
    printf("reported once: %d\n", waitpid(pid, &status, WUNTRACED | WNOHANG));
    kill(pid, SIGCONT);
    waitpid(pid, &status, WCONTINUED);
    show("cont", status);
    kill(pid, SIGTSTP);
    memset(&info, 0, sizeof(info));
    printf("waitid stop: %d ", waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT));
    printf("code %d status %d\n", info.si_code, info.si_status);
    waitid(P_PID, (id_t)pid, &info, WSTOPPED);
    printf("again: code %d status %d pid %d\n", info.si_code, info.si_status, info.si_pid == pid);
    kill(pid, SIGKILL); /* ends a stopped process, too */
    waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
    printf("peek: signo %d code %d status %d\n", info.si_signo, info.si_code, info.si_status);
    waitid(P_PGID, (id_t)pid, &info, WEXITED);
    printf("reap: signo %d code %d status %d\n", info.si_signo, info.si_code, info.si_status);
    printf("none: %d", waitpid(-1, &status, 0));
    printf(" errno %d\n", errno);
    printf("waitid nohang: %d\n",
           waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == -1 && errno == ECHILD);
    printf("bad options: %d\n", waitpid(-1, &status, 0x1000) == -1 && errno == EINVAL);
    signal(SIGCHLD, SIG_IGN);
    pid = fork();
    if (pid == 0) {
        _exit(3);
    }
    printf("ignored children: %d", waitpid(pid, &status, 0));
    printf(" errno %d\n", errno);
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("children used %d\n", usage.ru_utime.tv_sec < 60 && usage.ru_maxrss > 0);
    return 9;
}
