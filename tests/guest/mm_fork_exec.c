// SPDX-License-Identifier: Apache-2.0
/* Copy on write, exec with its argument vectors, scripts, limits, auxiliary vector. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char self[256];
static int bss[20000];
static int data[3000] = { 1, 2, 3 };

static int run(const char *path, char *const argv[], char *const envp[])
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        execve(path, argv, envp);
        printf("execve: %s\n", strerror(errno));
        _exit(99);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int show(int argc, char **argv, char **envp)
{
    int count = 0;
    size_t bytes = 0;

    for (int i = 0; argv[i]; i++) {
        bool is_path = strchr(argv[i], '/') != NULL && strncmp(argv[i], "/tmp/script", 11) != 0;

        if (is_path || strlen(argv[i]) < 40) {
            printf("  argv[%d]=%s\n", i, is_path ? "(path)" : argv[i]);
        }
        bytes += is_path ? 0 : strlen(argv[i]); /* where the program lies differs */
    }
    while (envp[count]) {
        if (strlen(envp[count]) < 40) {
            printf("  env %s\n", envp[count]);
        }
        count++;
    }
    printf("  argc %d, env %d\n", argc, count);
    return (int)(bytes % 251);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0) {
        printf("%s: %s\n", path, strerror(errno));
    }
    close(fd);
}

static void test_cow(void)
{
    int status;

    for (int i = 0; i < 20000; i++) {
        bss[i] = i;
    }
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();

        if (child == 0) {
            int bad = 0;

            for (int i = 0; i < 20000; i++) {
                bad += bss[i] != i + round;
                bss[i] = -1;
            }
            data[0] = 77;
            _exit(bad != 0);
        }
        waitpid(child, &status, 0);
        for (int i = 0; i < 20000; i++) {
            bss[i]++;
        }
        printf("cow %d: %d %d\n", round, status, data[0]);
    }
}

static void *writer(void *arg)
{
    volatile int *stop = arg;

    while (!*stop) {
        for (int i = 0; i < 20000; i += 512) {
            __atomic_fetch_add(&bss[i], 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

/* Forks while other threads write the same pages: no increment may be lost. */
static void test_fork_while_writing(void)
{
    volatile int stop = 0;
    pthread_t thread[2];
    int failed = 0;

    for (int i = 0; i < 2; i++) {
        pthread_create(&thread[i], NULL, writer, (void *)&stop);
    }
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            bss[1] = 5;
            _exit(bss[1] == 5 ? 0 : 1);
        }
        waitpid(child, &status, 0);
        failed += status != 0;
    }
    stop = 1;
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
    }
    printf("fork while writing: %d failed\n", failed);
}

static void test_exec(void)
{
    char *const argv[] = { "zero", "one", "", "three words here", NULL };
    char *const envp[] = { "A=1", "SHOW=1", NULL };
    char *const none[] = { NULL };

    printf("exec: %d\n", run(self, argv, envp));
    printf("missing: %d\n", run("/nowhere", argv, envp));
    printf("directory: %d\n", run("/tmp", argv, envp));
    write_file("/tmp/plain", "#!/bin/x\n", 0600);
    printf("not executable: %d\n", run("/tmp/plain", argv, envp));
    write_file("/tmp/garbage", "hello\n", 0700);
    printf("no program: %d\n", run("/tmp/garbage", argv, envp));
    write_file("/tmp/empty", "", 0700);
    printf("empty: %d\n", run("/tmp/empty", argv, none));
}

static void test_scripts(void)
{
    char *const argv[] = { "zero", "one", "two", NULL };
    char *const envp[] = { "SHOW=1", NULL };
    char text[400];

    snprintf(text, sizeof(text), "#! %s  an argument \nrest", self);
    write_file("/tmp/script", text, 0700);
    printf("script: %d\n", run("/tmp/script", argv, envp));
    write_file("/tmp/script2", "#!/tmp/script x\n", 0700);
    printf("script of a script: %d\n", run("/tmp/script2", argv, envp));
    write_file("/tmp/loop", "#!/tmp/loop\n", 0700);
    printf("loop: %d\n", run("/tmp/loop", argv, envp));
    write_file("/tmp/lost", "#!/nowhere/at/all\n", 0700);
    printf("lost: %d\n", run("/tmp/lost", argv, envp));
}

static void test_limits(void)
{
    static char big[140000];
    static char *many[3001];
    char *argv[] = { "zero", big, NULL };
    char *const envp[] = { "SHOW=1", NULL };

    memset(big, 'b', 131071);
    printf("131071 bytes: %d\n", run(self, argv, envp));
    big[131071] = 'b';
    printf("131072 bytes: %d\n", run(self, argv, envp));
    big[1000] = '\0';
    for (int i = 0; i < 3000; i++) {
        many[i] = big;
    }
    printf("3000 of 1000: %d\n", run(self, many, envp));
    many[2000] = NULL;
    printf("2000 of 1000: %d\n", run(self, many, envp));
}

static void test_auxv(void)
{
    const unsigned char *random = (const unsigned char *)getauxval(AT_RANDOM);
    int sum = 0;

    for (int i = 0; i < 16; i++) {
        sum |= random[i];
    }
    printf("auxv: page %lu clock %lu phent %lu secure %lu random %d platform %s uid %d\n",
           getauxval(AT_PAGESZ), getauxval(AT_CLKTCK), getauxval(AT_PHENT), getauxval(AT_SECURE),
           sum != 0, (const char *)getauxval(AT_PLATFORM), getauxval(AT_UID) == getuid());
    const Elf64_Phdr *phdr = (const Elf64_Phdr *)getauxval(AT_PHDR);
    int loads = 0;

    for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
        loads += phdr[i].p_type == PT_LOAD;
    }
    printf("loads %d, vdso %d\n", loads > 0,
           memcmp((const void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, SELFMAG) == 0);
    printf("execfn %d\n", strcmp((const char *)getauxval(AT_EXECFN), self) == 0);
}

int main(int argc, char **argv, char **envp)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    if (getenv("SHOW")) {
        return show(argc, argv, envp);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    self[n > 0 ? n : 0] = '\0';
    test_cow();
    test_fork_while_writing();
    test_exec();
    test_scripts();
    test_limits();
    test_auxv();
    return 0;
}
