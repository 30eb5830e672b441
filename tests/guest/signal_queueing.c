/* SPDX-License-Identifier: Apache-2.0 */
/* Pending signals: coalescing, real-time order and values, masks of threads, siginfo, sigqueue,
 * sigwaitinfo, blocked fatal signals, SA_RESETHAND, SA_NODEFER, signalfd, timers. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int depth, deepest, order[64], order_count;

static void note(int signo, siginfo_t *info, void *ctx)
{
    (void)ctx;
    order[order_count++] =
        signo * 1000 + (info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
}

static void nest(int signo)
{
    depth++;
    deepest = depth > deepest ? depth : deepest;
    if (depth < 3) {
        raise(signo);
    }
    depth--;
}

static void *take_signal(void *arg)
{
    sigset_t set;
    int signo = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigwait(&set, &signo);
    *(int *)arg = signo;
    return NULL;
}

static void child_status(const char *name, pid_t pid)
{
    int status;

    waitpid(pid, &status, 0);
    printf("%s: %s %d\n", name, WIFSIGNALED(status) ? "signal" : "exit",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    fflush(stdout);
}

int main(void)
{
    struct sigaction sa = { .sa_sigaction = note, .sa_flags = SA_SIGINFO };
    sigset_t all;
    sigset_t old;
    sigset_t pending;
    siginfo_t info;
    pid_t pid;

    sigfillset(&all);
    sigfillset(&sa.sa_mask);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGUSR2, &sa, NULL);
    sigaction(SIGRTMIN + 1, &sa, NULL);
    sigaction(SIGRTMIN + 2, &sa, NULL);
    sigprocmask(SIG_BLOCK, &all, &old);
    for (int i = 0; i < 3; i++) {
        kill(getpid(), SIGUSR1);
        sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = i });
        sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = i });
    }
    raise(SIGUSR2);
    sigpending(&pending);
    printf("pending: usr1 %d usr2 %d rt1 %d int %d\n", sigismember(&pending, SIGUSR1),
           sigismember(&pending, SIGUSR2), sigismember(&pending, SIGRTMIN + 1),
           sigismember(&pending, SIGINT));
    sigprocmask(SIG_SETMASK, &old, NULL);
    /* Handlers ran with all blocked: the frames were stacked, the last one built ran first; the
     * order in which they were taken is the reverse of the stacking only when not blocked. */
    printf("delivered %d:", order_count);
    for (int i = 0; i < order_count; i++) {
        printf(" %d", order[i]);
    }
    printf("\n");

    sigprocmask(SIG_BLOCK, &all, NULL);
    sigqueue(getpid(), SIGRTMIN + 5, (union sigval){ .sival_int = 55 });
    printf("sigwaitinfo: %d", sigwaitinfo(&all, &info) - SIGRTMIN);
    printf(" code %d value %d pid %d uid %d\n", info.si_code, info.si_value.sival_int,
           info.si_pid == getpid(), info.si_uid == getuid());
    printf("nothing: %d", sigtimedwait(&all, &info, &(struct timespec){ 0, 1000000 }));
    printf(" errno %d\n", errno);

    sigset_t usr1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    int fd = signalfd(-1, &usr1, SFD_NONBLOCK);
    struct signalfd_siginfo si;
    struct pollfd p = { .fd = fd, .events = POLLIN };

    printf("signalfd empty: %zd", read(fd, &si, sizeof(si)));
    printf(" errno %d poll %d\n", errno, poll(&p, 1, 0));
    kill(getpid(), SIGUSR1);
    printf("signalfd poll %d", poll(&p, 1, 0));
    printf(" read %zd", read(fd, &si, sizeof(si)));
    printf(" signo %u code %d pid %d\n", si.ssi_signo, si.ssi_code,
           si.ssi_pid == (unsigned)getpid());

    pthread_t t;
    int got = 0;

    pthread_create(&t, NULL, take_signal, &got);
    usleep(20000);
    kill(getpid(), SIGUSR2);
    pthread_join(t, NULL);
    printf("thread in sigwait took %d\n", got);
    sigprocmask(SIG_SETMASK, &old, NULL);

    struct sigaction plain = { .sa_handler = nest, .sa_flags = SA_NODEFER };

    sigaction(SIGUSR1, &plain, NULL);
    raise(SIGUSR1);
    printf("nodefer depth %d\n", deepest);
    fflush(stdout);

    pid = fork();
    if (pid == 0) {
        struct sigaction once = { .sa_handler = nest, .sa_flags = (int)SA_RESETHAND };

        depth = 10;
        sigaction(SIGUSR1, &once, NULL);
        raise(SIGUSR1);
        raise(SIGUSR1);
        _exit(1);
    }
    child_status("resethand", pid);
    pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_BLOCK, &all, NULL);
        abort();
    }
    child_status("abort with all blocked", pid);
    pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_BLOCK, &all, NULL);
        *(volatile int *)0 = 1;
        _exit(1);
    }
    child_status("fault with all blocked", pid);
    pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_IGN);
        *(volatile int *)0 = 1;
        _exit(1);
    }
    child_status("ignored fault", pid);

    struct itimerval it = { .it_value = { 0, 20000 }, .it_interval = { 0, 20000 } };

    sigprocmask(SIG_BLOCK, &all, NULL);
    setitimer(ITIMER_REAL, &it, NULL);
    for (int i = 0; i < 3; i++) {
        int signo = sigwaitinfo(&all, &info);

        printf("alarm %d code %d\n", signo == SIGALRM, info.si_code);
    }
    getitimer(ITIMER_REAL, &it);
    printf("interval %ld\n", (long)it.it_interval.tv_usec);
    memset(&it, 0, sizeof(it));
    setitimer(ITIMER_REAL, &it, NULL);

    timer_t id;
    struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
                           .sigev_signo = SIGRTMIN,
                           .sigev_value.sival_int = 5 };
    struct itimerspec spec = { .it_value = { 0, 10000000 }, .it_interval = { 0, 1000000 } };

    printf("timer_create %d\n", timer_create(CLOCK_MONOTONIC, &ev, &id));
    timer_settime(id, 0, &spec, NULL);
    usleep(60000);
    int signo = sigwaitinfo(&all, &info);

    printf("timer %d code %d value %d overrun %s\n", signo == SIGRTMIN, info.si_code,
           info.si_value.sival_int, timer_getoverrun(id) > 10 ? "many" : "few");
    printf("delete %d\n", timer_delete(id));
    printf("again %d errno %d\n", timer_delete(id), errno);
    return 0;
}
