/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes and fifos: capacity, atomic writes, ends, poll states, sizes, sleepers of both sides. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char block[70000];

static int events(int fd, short wanted)
{
    struct pollfd p = { .fd = fd, .events = wanted };

    poll(&p, 1, 0);
    return p.revents;
}

static void ends(void)
{
    int p[2];
    char c;

    printf("pipe2 bad flags: %d", pipe2(p, 0x40000000));
    printf(" errno %d\n", errno);
    printf("pipe: %d\n", pipe2(p, O_NONBLOCK));
    printf("flags: %o %o\n", fcntl(p[0], F_GETFL), fcntl(p[1], F_GETFL));
    printf("empty: read %zd", read(p[0], &c, 1));
    printf(" errno %d, poll %x %x\n", errno, events(p[0], POLLIN), events(p[1], POLLOUT));
    printf("wrong ends: %zd", read(p[1], &c, 1));
    printf(" %d,", errno);
    printf(" %zd", write(p[0], &c, 1));
    printf(" %d\n", errno);
    printf("seek: %ld", (long)lseek(p[0], 0, SEEK_CUR));
    printf(" errno %d\n", errno);
    printf("write 0: %zd read 0: %zd\n", write(p[1], "", 0), read(p[0], &c, 0));
    printf("write: %zd", write(p[1], "abc", 3));
    printf(" poll %x\n", events(p[0], POLLIN | POLLRDNORM));
    int n = 0;

    ioctl(p[0], FIONREAD, &n);
    printf("FIONREAD %d\n", n);
    close(p[1]);
    printf("writer gone: poll %x", events(p[0], POLLIN));
    printf(" read %zd", read(p[0], block, 10));
    printf(" then %zd", read(p[0], block, 10));
    printf(" poll %x\n", events(p[0], POLLIN));
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    if (pipe(p) == 0) {
        close(p[0]);
        printf("reader gone: write %zd", write(p[1], "x", 1));
        printf(" errno %d poll %x\n", errno, events(p[1], POLLOUT));
        close(p[1]);
    }
}

static void capacity(void)
{
    int p[2];
    long total = 0;
    ssize_t n;

    if (pipe2(p, O_NONBLOCK) < 0) {
        return;
    }
    printf("size %d\n", fcntl(p[1], F_GETPIPE_SZ));
    while ((n = write(p[1], block, 4096)) > 0) {
        total += n;
    }
    printf("holds %ld, then errno %d, poll %x\n", total, errno, events(p[1], POLLOUT));
    printf("read 4096: %zd", read(p[0], block, 4096));
    printf(" poll %x\n", events(p[1], POLLOUT));
    printf("write more than fits: %zd\n", write(p[1], block, sizeof(block)));
    printf("set size 8192: %d", fcntl(p[1], F_SETPIPE_SZ, 8192));
    printf(" errno %d\n", errno);
    printf("set size 131072: %d\n", fcntl(p[1], F_SETPIPE_SZ, 131072));
    printf("write: %zd\n", write(p[1], block, 65536));
    total = 0;
    while ((n = read(p[0], block, sizeof(block))) > 0) {
        total += n;
    }
    printf("read back %ld\n", total);
    printf("set size 1: %d\n", fcntl(p[1], F_SETPIPE_SZ, 1));
    close(p[0]);
    close(p[1]);
}

/* Two writers of 4096-byte blocks: none is torn. */
static void atomic_writes(void)
{
    int p[2];
    int torn = 0;
    long total = 0;

    if (pipe(p) < 0) {
        return;
    }
    fflush(stdout);
    for (int w = 0; w < 2; w++) {
        if (fork() == 0) {
            memset(block, 'a' + w, 4096);
            for (int i = 0; i < 100; i++) {
                if (write(p[1], block, 4096) != 4096) {
                    _exit(1);
                }
            }
            _exit(0);
        }
    }
    close(p[1]);
    for (;;) {
        size_t have = 0;
        ssize_t n = 0;

        while (have < 4096 && (n = read(p[0], block + have, 4096 - have)) > 0) {
            have += (size_t)n;
        }
        if (have == 0) {
            break;
        }
        for (size_t i = 1; i < have; i++) {
            torn += block[i] != block[0];
        }
        total += (long)have;
    }
    close(p[0]);
    while (wait(NULL) > 0) {
    }
    printf("two writers: %ld bytes, torn %d\n", total, torn);
}

static void blocked_sides(void)
{
    int p[2];
    int status;
    pid_t pid;

    if (pipe(p) < 0) {
        return;
    }
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(p[1]);
        char c;

        _exit(read(p[0], &c, 1) == 0 ? 4 : 5); /* the last writer goes while we sleep */
    }
    usleep(50000);
    close(p[1]);
    waitpid(pid, &status, 0);
    printf("reader asleep at the writer's end: %d\n", WEXITSTATUS(status));
    close(p[0]);
    if (pipe(p) < 0) {
        return;
    }
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        close(p[0]);
        for (;;) {
            if (write(p[1], block, sizeof(block)) < 0) {
                _exit(1);
            }
        }
    }
    close(p[1]);
    usleep(50000);
    close(p[0]);
    waitpid(pid, &status, 0);
    printf("writer asleep at the reader's end: signal %d\n",
           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void fifos(void)
{
    char name[64];
    char c = 0;
    int status;
    int fd;
    pid_t pid;

    snprintf(name, sizeof(name), "fifo.%d", getpid());
    printf("mkfifo %d\n", mkfifo(name, 0600));
    struct stat st;

    stat(name, &st);
    printf("is fifo %d\n", S_ISFIFO(st.st_mode));
    printf("open for writing, nobody reads: %d", open(name, O_WRONLY | O_NONBLOCK));
    printf(" errno %d\n", errno);
    fd = open(name, O_RDONLY | O_NONBLOCK);
    printf("open for reading %d, poll %x", fd >= 0, events(fd, POLLIN));
    printf(", read %zd\n", read(fd, &c, 1));
    close(fd);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        fd = open(name, O_WRONLY);
        _exit(write(fd, "z", 1) == 1 ? 6 : 7);
    }
    fd = open(name, O_RDONLY); /* meets the writer */
    printf("read %zd", read(fd, &c, 1));
    printf(" %c", c);
    waitpid(pid, &status, 0);
    printf(" writer %d, end %zd", WEXITSTATUS(status), read(fd, &c, 1));
    printf(", poll %x\n", events(fd, POLLIN));
    close(fd);
    fd = open(name, O_RDWR);
    printf("both ways: write %zd", write(fd, "q", 1));
    printf(" read %zd", read(fd, &c, 1));
    printf(" poll %x\n", events(fd, POLLIN | POLLOUT));
    close(fd);
    unlink(name);
}

int main(void)
{
    ends();
    capacity();
    atomic_writes();
    blocked_sides();
    fifos();
    return 0;
}
