// SPDX-License-Identifier: Apache-2.0
/* Advisory locks: POSIX ranges, deadlock, release at any close; OFD locks; flock. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *outcome(int result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static int lock(int fd, int cmd, int type, long start, long size)
{
    struct flock l = {
        .l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = size
    };

    return fcntl(fd, cmd, &l);
}

/* What another process sees of the range. */
static void probe(const char *what, const char *name, int type, long start, long size)
{
    fflush(stdout);
    if (fork() == 0) {
        struct flock l = { .l_type = (short)type, .l_start = start, .l_len = size };
        int fd = open(name, O_RDWR);

        fcntl(fd, F_GETLK, &l);
        printf("%s: type %d", what, l.l_type);
        if (l.l_type != F_UNLCK) {
            printf(" start %ld size %ld owner %d", (long)l.l_start, (long)l.l_len,
                   l.l_pid == getppid());
        }
        printf(" set %s\n", outcome(lock(fd, F_SETLK, type, start, size)));
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
}

static void posix_ranges(void)
{
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    int other;

    printf("write lock %s\n", outcome(lock(fd, F_SETLK, F_WRLCK, 10, 10)));
    probe("inside", "file", F_RDLCK, 15, 1);
    probe("outside", "file", F_WRLCK, 20, 5);
    lock(fd, F_SETLK, F_UNLCK, 13, 3);
    probe("hole", "file", F_WRLCK, 13, 3);
    probe("left part", "file", F_WRLCK, 0, 13);
    probe("right part", "file", F_WRLCK, 16, 0);
    lock(fd, F_SETLK, F_RDLCK, 0, 0);
    probe("readers", "file", F_RDLCK, 5, 1);
    probe("writer", "file", F_WRLCK, 5, 1);
    other = open("file", O_RDONLY);
    printf("write lock on a reader's descriptor %s\n",
           outcome(lock(other, F_SETLK, F_WRLCK, 0, 1)));
    close(other); /* any close of the file gives all locks up */
    probe("after a close", "file", F_WRLCK, 0, 0);
    printf("bad whence %s\n", outcome(fcntl(fd, F_SETLK, &(struct flock){ .l_whence = 9 })));
    printf("negative start %s\n", outcome(lock(fd, F_SETLK, F_RDLCK, -1, 1)));
    close(fd);
}

static void deadlock(void)
{
    int up[2];
    int fd = open("file", O_RDWR);
    char c = 0;

    pipe(up);
    lock(fd, F_SETLK, F_WRLCK, 0, 1);
    fflush(stdout);
    if (fork() == 0) {
        int mine = open("file", O_RDWR);

        lock(mine, F_SETLK, F_WRLCK, 1, 1);
        write(up[1], "x", 1);
        lock(mine, F_SETLKW, F_WRLCK, 0, 1); /* waits for the parent */
        _exit(0);
    }
    read(up[0], &c, 1);
    usleep(200000);
    printf("circle %s\n", outcome(lock(fd, F_SETLKW, F_WRLCK, 1, 1)));
    lock(fd, F_SETLK, F_UNLCK, 0, 1);
    wait(NULL);
    close(fd);
}

static void waiting(void)
{
    int fd = open("file", O_RDWR);

    lock(fd, F_SETLK, F_WRLCK, 0, 0);
    fflush(stdout);
    if (fork() == 0) {
        int mine = open("file", O_RDWR);

        printf("waited %s\n", outcome(lock(mine, F_SETLKW, F_WRLCK, 0, 0)));
        fflush(stdout);
        _exit(0);
    }
    usleep(100000);
    printf("about to unlock\n");
    fflush(stdout);
    lock(fd, F_SETLK, F_UNLCK, 0, 0);
    wait(NULL);
    close(fd);
}

static void descriptions(void)
{
    int a = open("file", O_RDWR);
    int b = open("file", O_RDWR);
    int c = dup(a);

    printf("ofd %s", outcome(lock(a, F_OFD_SETLK, F_WRLCK, 0, 5)));
    printf(" other %s", outcome(lock(b, F_OFD_SETLK, F_WRLCK, 0, 5)));
    printf(" dup %s", outcome(lock(c, F_OFD_SETLK, F_WRLCK, 0, 9)));
    printf(" posix %s\n", outcome(lock(b, F_SETLK, F_RDLCK, 0, 1)));
    close(a);
    printf("one dup left %s", outcome(lock(b, F_OFD_SETLK, F_WRLCK, 0, 5)));
    close(c);
    printf(" none %s\n", outcome(lock(b, F_OFD_SETLK, F_WRLCK, 0, 5)));
    close(b);

    a = open("file", O_RDONLY);
    b = open("file", O_RDONLY);
    printf("flock %s", outcome(flock(a, LOCK_EX)));
    printf(" other %s", outcome(flock(b, LOCK_EX | LOCK_NB)));
    printf(" shared %s", outcome(flock(a, LOCK_SH)));
    printf(" both %s", outcome(flock(b, LOCK_SH | LOCK_NB)));
    printf(" upgrade %s", outcome(flock(b, LOCK_EX | LOCK_NB)));
    close(a);
    printf(" alone %s", outcome(flock(b, LOCK_EX | LOCK_NB)));
    printf(" nonsense %s\n", outcome(flock(b, 77)));
    close(b);
    printf("closed %s\n", outcome(flock(b, LOCK_SH)));
}

static int waited_for;

static void *wait_for_lock(void *arg)
{
    (void)arg;
    printf("waiter %s\n", outcome(lock(waited_for, F_SETLKW, F_WRLCK, 0, 0)));
    return NULL;
}

/* A lock that is granted after its descriptor was closed is gone with it. */
static void closed_while_waiting(void)
{
    pthread_t thread;
    char c = 0;
    int up[2];

    pipe(up);
    waited_for = open("file", O_RDWR);
    fflush(stdout);
    if (fork() == 0) {
        int mine = open("file", O_RDWR);

        lock(mine, F_SETLK, F_WRLCK, 0, 0);
        write(up[1], "x", 1);
        usleep(300000);
        _exit(0);
    }
    read(up[0], &c, 1);
    pthread_create(&thread, NULL, wait_for_lock, NULL);
    usleep(100000);
    close(waited_for);
    pthread_join(thread, NULL);
    wait(NULL);
    probe("after that", "file", F_WRLCK, 0, 0);
}

int main(void)
{
    posix_ranges();
    waiting();
    deadlock();
    descriptions();
    closed_while_waiting();
    unlink("file");
    return 0;
}
