// SPDX-License-Identifier: Apache-2.0
/* /proc and /dev as programs use them; only what does not differ between machines is printed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *outcome(long result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

/* The line of a file that begins with `key`. */
static void line_of(const char *file, const char *key)
{
    char line[512];
    FILE *f = fopen(file, "r");

    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            printf("%s", line);
        }
    }
    if (f) {
        fclose(f);
    } else {
        printf("%s: %s\n", file, strerrorname_np(errno));
    }
}

static void *thread(void *arg)
{
    char name[64];
    struct stat s;

    (void)arg;
    snprintf(name, sizeof(name), "/proc/self/task/%d", gettid());
    printf("thread's directory %s", outcome(stat(name, &s)));
    printf(" listed as a process %s", outcome(access("/proc/thread-self/status", R_OK)));
    line_of("/proc/thread-self/status", "Threads");
    return NULL;
}

static void self(void)
{
    char text[256] = { 0 };
    char expected[256];
    pthread_t t;
    int fd;

    snprintf(expected, sizeof(expected), "%d", getpid());
    readlink("/proc/self", text, sizeof(text) - 1);
    printf("self is me %d\n", strcmp(text, expected) == 0);
    memset(text, 0, sizeof(text));
    readlink("/proc/self/exe", text, sizeof(text) - 1);
    printf("exe %s\n", strrchr(text, '/') ? strrchr(text, '/') : text);
    memset(text, 0, sizeof(text));
    readlink("/proc/self/root", text, sizeof(text) - 1);
    printf("root %s\n", text);
    line_of("/proc/self/comm", "");
    line_of("/proc/self/status", "Name");
    line_of("/proc/self/status", "State");
    line_of("/proc/self/status", "Uid");
    line_of("/proc/self/status", "SigBlk");
    printf("cwd is . %d\n", access("/proc/self/cwd/.", F_OK) == 0);
    fd = open("/proc/self/comm", O_WRONLY);
    printf("rename %zd\n", write(fd, "renamed", 7));
    close(fd);
    line_of("/proc/self/comm", "");
    pthread_create(&t, NULL, thread, NULL);
    pthread_join(t, NULL);
    printf("no such process %s\n", outcome(open("/proc/99999999/stat", O_RDONLY)));
    printf("no such file %s\n", outcome(open("/proc/self/nothing", O_RDONLY)));
    printf("create %s\n", outcome(open("/proc/self/new", O_CREAT | O_WRONLY, 0600)));
    printf("mkdir %s\n", outcome(mkdir("/proc/new", 0700)));
}

static void descriptors(void)
{
    char text[64] = { 0 };
    char name[64];
    unsigned count = 0;
    struct dirent *e;
    struct stat s;
    int p[2];
    DIR *d;

    pipe(p);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", p[0]);
    readlink(name, text, sizeof(text) - 1);
    printf("pipe %.6s", text);
    lstat(name, &s);
    printf(" link %d mode %o", S_ISLNK(s.st_mode), s.st_mode & 0777);
    stat(name, &s);
    printf(" behind it a fifo %d\n", S_ISFIFO(s.st_mode));
    snprintf(name, sizeof(name), "/dev/fd/%d", p[1]);
    int again = open(name, O_WRONLY);
    printf("opened again %s", outcome(again));
    write(again, "xyz", 3);
    memset(text, 0, sizeof(text));
    read(p[0], text, 5);
    printf(" %s\n", text);
    close(again);
    close(p[0]);
    close(p[1]);
    printf("closed %s\n", outcome(readlink(name, text, sizeof(text))));
    d = opendir("/proc/self/fd");
    while ((e = readdir(d)) != NULL) {
        count += e->d_name[0] != '.';
    }
    printf("open descriptors %u\n", count);
    closedir(d);
}

static void devices(void)
{
    char buf[16];
    struct stat s;
    int fd = open("/dev/null", O_RDWR);

    fstat(fd, &s);
    printf("null %u:%u %o read %zd write %zd\n", major(s.st_rdev), minor(s.st_rdev), s.st_mode,
           read(fd, buf, 4), write(fd, "x", 1));
    close(fd);
    fd = open("/dev/zero", O_RDONLY);
    memset(buf, 1, sizeof(buf));
    printf("zero %zd %d\n", read(fd, buf, 8), buf[7]);
    close(fd);
    fd = open("/dev/full", O_WRONLY);
    printf("full %s\n", outcome(write(fd, "x", 1)));
    close(fd);
    fd = open("/dev/urandom", O_RDONLY);
    printf("urandom %zd\n", read(fd, buf, 16));
    close(fd);
    printf("no device %s\n", outcome(open("/dev/nothing", O_RDONLY)));
}

static void sysctl(void)
{
    line_of("/proc/sys/kernel/ostype", "");
    line_of("/proc/sys/kernel/ngroups_max", "");
    line_of("/proc/sys/kernel/cap_last_cap", "");
    line_of("/proc/sys/fs/pipe-max-size", "");
    line_of("/proc/sys/fs/nr_open", "");
    printf("fixed boot id %d\n", access("/proc/sys/kernel/random/boot_id", R_OK) == 0);
    line_of("/proc/meminfo", "SwapTotal");
    line_of("/proc/filesystems", "nodev\tproc");
    printf("maps %d\n", access("/proc/self/maps", R_OK) == 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    close_range(3, ~0u, 0); /* whatever started us may have left some open */
    self();
    descriptors();
    devices();
    sysctl();
    return 0;
}
