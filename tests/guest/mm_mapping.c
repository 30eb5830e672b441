// SPDX-License-Identifier: Apache-2.0
/* mmap, munmap, mprotect, mremap, madvise, brk: what a program sees of them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul

static sigjmp_buf jump;
static int last_code;

static void on_fault(int signo, siginfo_t *info, void *context)
{
    (void)context;
    last_code = info->si_code;
    siglongjmp(jump, signo);
}

/* The byte there, or -signal. */
static int peek(volatile unsigned char *p)
{
    int signo = sigsetjmp(jump, 1);

    return signo ? -signo : *p;
}

static int poke(volatile unsigned char *p, unsigned char byte)
{
    int signo = sigsetjmp(jump, 1);

    if (signo == 0) {
        *p = byte;
    }
    return -signo;
}

static const char *error(const void *p)
{
    return p == MAP_FAILED ? strerror(errno) : "ok";
}

static void *anon(size_t size, int prot, int flags)
{
    return mmap(NULL, size, prot, MAP_ANONYMOUS | flags, -1, 0);
}

static void test_refusals(void)
{
    int fd = open("/tmp/mm_mapping", O_RDONLY | O_CREAT, 0600);
    char *p = anon(4 * PAGE, PROT_READ, MAP_PRIVATE);

    printf("length 0: %s\n", error(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    printf("no type: %s\n", error(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
    printf("bad fd: %s\n", error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0)));
    printf("odd offset: %s\n", error(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100)));
    printf("write-shared, read-only: %s\n",
           error(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)));
    printf("too large: %s\n",
           error(mmap(NULL, 1ul << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
    printf(
        "no replace: %s\n",
        error(mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
    printf("odd fixed: %s\n",
           error(mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
    printf("munmap odd: %d\n", munmap(p + 1, PAGE) ? errno : 0);
    printf("munmap 0: %d\n", munmap(p, 0) ? errno : 0);
    printf("munmap twice: %d %d\n", munmap(p, 4 * PAGE), munmap(p, 4 * PAGE));
    printf("mprotect hole: %d\n", mprotect(p, PAGE, PROT_READ) ? errno : 0);
    printf("madvise hole: %d\n", madvise(p, PAGE, MADV_DONTNEED) ? errno : 0);
    printf("madvise unknown: %d\n", madvise(p, 0, 77) ? errno : 0);
    close(fd);
    unlink("/tmp/mm_mapping");
}

static void test_partial_unmap(void)
{
    unsigned char *p = anon(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    memset(p, 1, 8 * PAGE);
    munmap(p + 3 * PAGE, PAGE);
    munmap(p, PAGE);
    munmap(p + 7 * PAGE, PAGE);
    printf("partial:");
    for (int i = 0; i < 8; i++) {
        printf(" %d", peek(p + i * PAGE));
    }
    printf(" code %d\n", last_code);
    munmap(p, 8 * PAGE); /* over holes */
    printf("gone: %d\n", peek(p + PAGE));
}

static void test_protect(void)
{
    unsigned char *p = anon(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    memset(p, 5, 4 * PAGE);
    mprotect(p + PAGE, PAGE, PROT_NONE);
    mprotect(p + 2 * PAGE, PAGE, PROT_READ);
    printf("protect: %d %d %d %d\n", peek(p), peek(p + PAGE), peek(p + 2 * PAGE),
           poke(p + 2 * PAGE, 1));
    printf("code %d\n", last_code);
    mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE);
    printf("back: %d %d %d\n", peek(p + PAGE), poke(p + PAGE, 6), peek(p + PAGE));
    int pair[2];

    if (pipe(pair) == 0) {
        mprotect(p, PAGE, PROT_NONE);
        printf("kernel writes to PROT_NONE: %zd %d\n", write(pair[1], "x", 1), 0);
        ssize_t n = read(pair[0], p, 1);

        printf("read: %zd %s\n", n, n < 0 ? strerror(errno) : "ok");
    }
    munmap(p, 4 * PAGE);
}

static void test_remap(void)
{
    unsigned char *p = anon(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    unsigned char *other = anon(16 * PAGE, PROT_READ, MAP_PRIVATE);

    p[0] = 1;
    p[3 * PAGE] = 4;
    unsigned char *q = mremap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other);

    printf("moved: %d %d %d %d\n", q == other, q[0], q[3 * PAGE], q[7 * PAGE]);
    printf("old: %d\n", peek(p));
    printf("shrunk: %d %d\n", mremap(q, 8 * PAGE, PAGE, 0) == q, peek(q + PAGE));
    printf("unmapped: %s\n", error(mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
    printf("new size 0: %s\n", error(mremap(q, PAGE, 0, 0)));
    printf("fixed without maymove: %s\n", error(mremap(q, PAGE, PAGE, MREMAP_FIXED, p)));
}

static void test_advice(void)
{
    unsigned char *p = anon(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    memset(p, 9, 4 * PAGE);
    pid_t child = fork();

    if (child == 0) {
        madvise(p, 2 * PAGE, MADV_DONTNEED);
        _exit(p[0] == 0 && p[2 * PAGE] == 9 ? 0 : 1);
    }
    int status;

    waitpid(child, &status, 0);
    printf("dontneed after fork: child %d, parent %d\n", status, p[0]);
    madvise(p, PAGE, MADV_WIPEONFORK);
    madvise(p + PAGE, PAGE, MADV_DONTFORK);
    child = fork();
    if (child == 0) {
        _exit(p[0] == 0 && peek(p + PAGE) == -SIGSEGV && p[2 * PAGE] == 9 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    printf("wipe and dont: child %d, parent %d %d\n", status, p[0], p[PAGE]);
    printf("populate: %d\n", madvise(p + 3 * PAGE, PAGE, MADV_POPULATE_WRITE));
    unsigned char vec[4];

    printf("mincore: %d %d\n", mincore(p, 4 * PAGE, vec), vec[3] & 1);
}

static void test_brk(void)
{
    char *start = sbrk(0);

    printf("sbrk: %d\n", sbrk(100000) == start);
    start[99999] = 7;
    printf("at the end: %d\n", start[99999]);
    sbrk(-50000);
    sbrk(50000);
    printf("zero again: %d\n", start[99999]);
    printf("beyond: %s\n", brk((void *)(1ul << 46)) < 0 ? strerror(errno) : "ok");
}

static void test_huge(void)
{
    unsigned char *p = anon(1ul << 40, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);

    printf("1 TiB: %s\n", error(p));
    mprotect(p + (1ul << 39), PAGE, PROT_READ | PROT_WRITE);
    printf("in it: %d %d\n", poke(p + (1ul << 39), 3), peek(p + (1ul << 39)));
    printf("around: %d\n", peek(p + (1ul << 39) + PAGE));
    printf("unmap: %d\n", munmap(p, 1ul << 40));
}

static void test_shared(void)
{
    volatile unsigned char *p = anon(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t child = fork();
    int status;

    if (child == 0) {
        p[0] = 77;
        p[PAGE] = 78;
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("shared: %d %d\n", p[0], p[PAGE]);
}

static void test_file(void)
{
    int fd = open("/tmp/mm_file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char buf[8] = "";

    if (ftruncate(fd, PAGE + 10) < 0 || pwrite(fd, "hello", 5, 0) != 5) {
        printf("file: %s\n", strerror(errno));
        return;
    }
    unsigned char *s = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *v = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    s[0] = 'J';
    v[1] = 'u';
    printf("read sees: %zd %.5s\n", pread(fd, buf, 5, 0), buf);
    printf("private: %.5s\n", v);
    printf("past the end: %d %d %d\n", peek(s + PAGE + 10), peek(s + 2 * PAGE), last_code);
    printf("write sees: %zd %d\n", pwrite(fd, "Z", 1, 4), s[4]);
    if (ftruncate(fd, 0) == 0) {
        printf("truncated: %d\n", peek(s));
    }
    unlink("/tmp/mm_file");
    munmap(s, 3 * PAGE);
    printf("msync: %d\n", msync(v, PAGE, MS_SYNC));
}

static unsigned deep(unsigned n)
{
    volatile char room[4000];

    room[0] = (char)n;
    return n == 0 ? 0 : deep(n - 1) + 1 + (room[0] == 0 ? 0 : 0);
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    setvbuf(stdout, NULL, _IONBF, 0);
    test_refusals();
    test_partial_unmap();
    test_protect();
    test_remap();
    test_advice();
    test_brk();
    test_huge();
    test_shared();
    test_file();
    printf("stack: %u\n", deep(1500));
    return 0;
}
