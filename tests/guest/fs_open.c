// SPDX-License-Identifier: Apache-2.0
/* open(2) and descriptors: flags, errors, offsets, dup, close_range, O_TMPFILE, openat2. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *name_of(int error)
{
    return error ? strerrorname_np(error) : "ok";
}

/* Prints the outcome; gives the descriptor back. */
static int try_open(const char *what, const char *path, int flags, int mode)
{
    int fd = open(path, flags, mode);

    printf("%s: %s\n", what, name_of(fd < 0 ? errno : 0));
    return fd;
}

static void close_if(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void flags(void)
{
    struct stat s;
    int fd;

    umask(027);
    fd = try_open("create", "f", O_CREAT | O_EXCL | O_RDWR, 0666);
    fstat(fd, &s);
    printf("mode %o size %ld nlink %lu\n", s.st_mode, (long)s.st_size, (unsigned long)s.st_nlink);
    printf("write %zd\n", write(fd, "0123456789", 10));
    close_if(try_open("create again", "f", O_CREAT | O_EXCL | O_RDWR, 0666));
    close_if(try_open("directory flag on a file", "f", O_RDONLY | O_DIRECTORY, 0));
    mkdir("d", 0700);
    close_if(try_open("write a directory", "d", O_WRONLY, 0));
    close_if(try_open("create over a directory", "d", O_CREAT | O_RDONLY, 0600));
    symlink("f", "l");
    symlink("nowhere", "dangling");
    symlink("loop", "loop");
    close_if(try_open("nofollow", "l", O_RDONLY | O_NOFOLLOW, 0));
    close_if(try_open("follow", "l", O_RDONLY, 0));
    close_if(try_open("loop", "loop", O_RDONLY, 0));
    close_if(try_open("create through a link", "dangling", O_CREAT | O_WRONLY, 0600));
    printf("made %s\n", name_of(access("nowhere", F_OK) ? errno : 0));
    close_if(try_open("exclusive link", "l", O_CREAT | O_EXCL | O_WRONLY, 0600));
    close_if(try_open("file as directory", "f/x", O_RDONLY, 0));
    close_if(try_open("empty name", "", O_RDONLY, 0));
    printf("flags %o\n", fcntl(fd, F_GETFL) & ~O_LARGEFILE);
    fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK | O_CREAT);
    printf("flags %o\n", fcntl(fd, F_GETFL) & ~O_LARGEFILE);
    lseek(fd, 0, SEEK_SET);
    printf("append %zd at %ld\n", write(fd, "ab", 2), (long)lseek(fd, 0, SEEK_CUR));
    close(fd);
    fd = open("f", O_PATH);
    printf("path: read %s", read(fd, &s, 1) < 0 ? name_of(errno) : "?");
    printf(" fstat %s\n", name_of(fstat(fd, &s) ? errno : 0));
    close(fd);
}

static void devices(void)
{
    static const char *const names[] = { "/dev/null", "/dev/zero", "/dev/full" };

    for (unsigned i = 0; i < 3; i++) {
        int fd = open(names[i], O_RDWR);

        printf("%s: set %ld", names[i], (long)lseek(fd, 100, SEEK_SET));
        printf(" end %ld", (long)lseek(fd, -5, SEEK_END));
        printf(" current %ld\n", (long)lseek(fd, 0, SEEK_CUR));
        close(fd);
    }
}

static void offsets(void)
{
    char buf[32] = { 0 };
    struct iovec v[2] = { { buf, 3 }, { buf + 8, 4 } };
    int fd = open("f", O_RDWR);
    int copy = dup(fd);
    int p[2];

    printf("read %zd", read(fd, buf, 4));
    printf(" shared offset %ld\n", (long)lseek(copy, 0, SEEK_CUR));
    printf("pread %zd keeps %ld\n", pread(fd, buf, 2, 1), (long)lseek(fd, 0, SEEK_CUR));
    printf("readv %zd %.3s|%.4s\n", readv(fd, v, 2), buf, buf + 8);
    printf("pread at -1: %s\n", name_of(pread(fd, buf, 1, -1) < 0 ? errno : 0));
    printf("seek before 0: %s\n", name_of(lseek(fd, -5, SEEK_SET) < 0 ? errno : 0));
    printf("seek odd: %s\n", name_of(lseek(fd, 0, 99) < 0 ? errno : 0));
    printf("seek past end %ld read %zd\n", (long)lseek(fd, 100, SEEK_SET), read(fd, buf, 1));
    pipe(p);
    printf("seek a pipe: %s\n", name_of(lseek(p[0], 0, SEEK_CUR) < 0 ? errno : 0));
    printf("pread a pipe: %s\n", name_of(pread(p[0], buf, 1, 0) < 0 ? errno : 0));
    printf("read a write end: %s\n", name_of(read(p[1], buf, 1) < 0 ? errno : 0));
    close(p[0]);
    close(p[1]);
    printf("read closed: %s\n", name_of(read(p[0], buf, 1) < 0 ? errno : 0));
    printf("bad buffer: %s\n", name_of(pread(fd, (void *)8, 1, 0) < 0 ? errno : 0));
    printf("fcntl closed: %s\n", name_of(fcntl(p[0], F_GETFD) < 0 ? errno : 0));
    close(fd);
    close(copy);
}

static void numbers(void)
{
    int a = open("f", O_RDONLY);
    int b = open("f", O_RDONLY);
    int c = open("f", O_RDONLY);

    close(b);
    printf("lowest again %d\n", open("f", O_RDONLY) == b);
    printf("dup2 %d", dup2(a, 50) == 50);
    printf(" dup3 same: %s", name_of(dup3(a, a, 0) < 0 ? errno : 0));
    printf(" dupfd %d", fcntl(a, F_DUPFD, 40));
    printf(" dupfd from -1: %s\n", name_of(fcntl(a, F_DUPFD, -1) < 0 ? errno : 0));
    printf("cloexec %d %d\n", fcntl(fcntl(a, F_DUPFD_CLOEXEC, 60), F_GETFD), fcntl(50, F_GETFD));
    printf("close_range %ld", syscall(SYS_close_range, 40, 70, 0));
    printf(" left %s\n", name_of(fcntl(50, F_GETFD) < 0 ? errno : 0));
    printf("close_range reversed: %s\n",
           name_of(syscall(SYS_close_range, 70, 40, 0) < 0 ? errno : 0));
    close(a);
    close(b);
    close(c);
}

static void unnamed(void)
{
    char name[64];
    char buf[8] = { 0 };
    struct stat s;
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);

    fstat(fd, &s);
    printf("tmpfile %s nlink %lu\n", name_of(fd < 0 ? errno : 0), (unsigned long)s.st_nlink);
    write(fd, "hidden", 6);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    printf("link %s\n",
           name_of(linkat(AT_FDCWD, name, AT_FDCWD, "t", AT_SYMLINK_FOLLOW) ? errno : 0));
    close(fd);
    fd = open("t", O_RDONLY);
    printf("read %zd %s\n", read(fd, buf, 7), buf);
    unlink("t");
    printf("after unlink %zd\n", pread(fd, buf, 7, 0));
    fstat(fd, &s);
    printf("nlink %lu\n", (unsigned long)s.st_nlink);
    close(fd);
    printf("tmpfile read-only: %s\n",
           name_of(open(".", O_TMPFILE | O_RDONLY, 0600) < 0 ? errno : 0));
}

static void resolve(const char *what, const char *path, unsigned long long how)
{
    struct open_how h = { .flags = O_RDONLY, .resolve = how };
    long fd = syscall(SYS_openat2, AT_FDCWD, path, &h, sizeof(h));

    printf("openat2 %s: %s\n", what, name_of(fd < 0 ? errno : 0));
    close_if((int)fd);
}

static void running(void)
{
    char name[256] = { 0 };

    readlink("/proc/self/exe", name, sizeof(name) - 1);
    printf("write what runs: %s\n", name_of(open(name, O_WRONLY) < 0 ? errno : 0));
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    mkdir("fs_open", 0700);
    if (chdir("fs_open") != 0) {
        return 1;
    }
    flags();
    devices();
    offsets();
    numbers();
    unnamed();
    running();
    resolve("plain", "f", 0);
    resolve("no links", "l", RESOLVE_NO_SYMLINKS);
    resolve("beneath", "../fs_open/f", RESOLVE_BENEATH);
    resolve("beneath absolute", "/", RESOLVE_BENEATH);
    resolve("in root", "../../f", RESOLVE_IN_ROOT);
    resolve("unknown bit", "f", 1ull << 40);
    return 0;
}
