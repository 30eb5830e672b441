// SPDX-License-Identifier: Apache-2.0
/* File data: sparse files, truncation under a mapping, memfd seals, copies between descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static sigjmp_buf jump;

static void on_bus(int signo)
{
    siglongjmp(jump, signo);
}

static const char *outcome(long result)
{
    return result < 0 ? strerrorname_np(errno) : "ok";
}

static void sparse(void)
{
    struct stat s;
    char buf[8];
    int fd = open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600);

    pwrite(fd, "end", 3, 1 << 20);
    fstat(fd, &s);
    printf("size %ld sparse %d\n", (long)s.st_size, s.st_blocks < 64);
    printf("hole reads %d\n", pread(fd, buf, 4, 5000) == 4 && memcmp(buf, "\0\0\0\0", 4) == 0);
    printf("data at %ld", (long)lseek(fd, 0, SEEK_DATA));
    printf(" hole at %ld", (long)lseek(fd, 0, SEEK_HOLE));
    printf(" hole behind %ld", (long)lseek(fd, 1 << 20, SEEK_HOLE));
    printf(" past %s\n", outcome(lseek(fd, 2 << 20, SEEK_DATA)));
    printf("punch %s",
           outcome(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 2)));
    pread(fd, buf, 3, 1 << 20);
    printf(" %d%d%c\n", buf[0], buf[1], buf[2]);
    printf("allocate %s", outcome(fallocate(fd, 0, 2 << 20, 10)));
    fstat(fd, &s);
    printf(" %ld\n", (long)s.st_size);
    printf("bad length %s\n", outcome(fallocate(fd, 0, 0, 0)));
    printf("truncate negative %s\n", outcome(ftruncate(fd, -1)));
    ftruncate(fd, 1 << 20);
    ftruncate(fd, (1 << 20) + 3);
    pread(fd, buf, 3, 1 << 20);
    printf("zeros again %d%d%d\n", buf[0], buf[1], buf[2]);
    close(fd);
}

static void mapped(void)
{
    char buf[8] = { 0 };
    int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
    volatile char *shared;
    volatile char *private;

    signal(SIGBUS, on_bus);
    ftruncate(fd, 8192);
    shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    private = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    shared[0] = 'm';
    pread(fd, buf, 1, 0);
    printf("store seen by read %c", buf[0]);
    pwrite(fd, "w", 1, 1);
    printf(" write seen by load %c", shared[1]);
    printf(" private %c", private[1]);
    private[1] = 'p';
    pread(fd, buf, 2, 0);
    printf(" kept private %c\n", buf[1]);
    ftruncate(fd, 4096);
    if (sigsetjmp(jump, 1) == 0) {
        shared[4096] = 1;
        printf("no fault\n");
    } else {
        printf("bus error behind the end\n");
    }
    unlink("mapped");
    printf("still mapped %c\n", shared[0]);
    ftruncate(fd, 8192);
    printf("grown reads %d\n", shared[4096]);
    close(fd);
    printf("after close %c\n", shared[0]);
}

static void seals(void)
{
    int fd = memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    char link[64];
    char text[64] = { 0 };

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    readlink(link, text, sizeof(text) - 1);
    printf("memfd %s seals %d cloexec %d\n", text, fcntl(fd, F_GET_SEALS), fcntl(fd, F_GETFD));
    write(fd, "0123456789", 10);
    printf("shrink seal %s", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)));
    printf(" shrink %s", outcome(ftruncate(fd, 5)));
    printf(" grow %s\n", outcome(ftruncate(fd, 20)));
    printf("grow seal %s", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW)));
    printf(" grow %s", outcome(ftruncate(fd, 30)));
    printf(" write behind %s\n", outcome(pwrite(fd, "x", 1, 25)));
    printf("write seal %s", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)));
    printf(" write %s", outcome(pwrite(fd, "x", 1, 0)));
    printf(" map %s\n", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED
                            ? strerrorname_np(errno)
                            : "ok");
    printf("seal seal %s", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL)));
    printf(" more %s\n", outcome(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)));
    close(fd);
    fd = memfd_create("plain", 0);
    printf("sealed from birth %d %s\n", fcntl(fd, F_GET_SEALS), outcome(fcntl(fd, F_ADD_SEALS, 1)));
    close(fd);
}

static void copies(void)
{
    static char big[100000];
    off_t offset = 10;
    loff_t from = 0;
    loff_t to = 5;
    char buf[16] = { 0 };
    int p[2];
    int in = open("in", O_RDWR | O_CREAT | O_TRUNC, 0600);
    int out = open("out", O_RDWR | O_CREAT | O_TRUNC, 0600);

    for (size_t i = 0; i < sizeof(big); i++) {
        big[i] = (char)('a' + i % 26);
    }
    write(in, big, sizeof(big));
    lseek(in, 3, SEEK_SET);
    printf("sendfile %zd offset %ld input %ld\n", sendfile(out, in, &offset, 20000), (long)offset,
           (long)lseek(in, 0, SEEK_CUR));
    printf("sendfile moving %zd input %ld\n", sendfile(out, in, NULL, 7),
           (long)lseek(in, 0, SEEK_CUR));
    printf("copy %zd %ld %ld\n", copy_file_range(in, &from, out, &to, 90000, 0), (long)from,
           (long)to);
    pread(out, buf, 10, 3);
    printf("bytes %.10s\n", buf);
    printf("overlap %s\n", outcome(copy_file_range(in, &from, in, &(loff_t){ from + 1 }, 10, 0)));
    pipe(p);
    from = 26;
    printf("splice in %zd", splice(in, &from, p[1], NULL, 4, 0));
    printf(" %ld", (long)from);
    to = 0;
    printf(" out %zd", splice(p[0], NULL, out, &to, 100, 0));
    pread(out, buf, 4, 0);
    printf(" %.4s\n", buf);
    printf("splice files %s\n", outcome(splice(in, NULL, out, NULL, 1, 0)));
    printf("sendfile from a pipe %s\n", outcome(sendfile(out, p[0], NULL, 1)));
    printf("sendfile to a pipe %zd\n", sendfile(p[1], in, &offset, 100));
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    sparse();
    mapped();
    seals();
    copies();
    unlink("sparse");
    unlink("in");
    unlink("out");
    return 0;
}
