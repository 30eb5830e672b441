/* SPDX-License-Identifier: Apache-2.0 */
/* The three tid flags of clone are independent; CLEARTID wakes also when the thread is killed by
 * exec or exit. */
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Atomic int parent_word, child_word, ran, seen_tid;

static int body(void *arg)
{
    (void)arg;
    atomic_store(&seen_tid, (int)syscall(SYS_gettid));
    atomic_store(&ran, child_word == seen_tid ? 2 : 1);
    while (atomic_load(&ran) != 3) {
        syscall(SYS_sched_yield);
    }
    return 0;
}

static void try_flags(const char *name, int flags)
{
    const int base =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int tid;
    int wakes = 0;

    parent_word = -1;
    child_word = -1;
    ran = 0;
    tid = clone(body, stack + 65536, base | flags, NULL, &parent_word, NULL, &child_word);
    while (atomic_load(&ran) == 0) {
        syscall(SYS_sched_yield);
    }
    printf("%s: parent word %s, child saw own word %s, tid %s", name,
           parent_word == tid  ? "tid"
           : parent_word == -1 ? "untouched"
                               : "?",
           ran == 2 ? "tid" : "other", seen_tid == tid ? "same" : "differs");
    int before = child_word;

    atomic_store(&ran, 3);
    if (flags & CLONE_CHILD_CLEARTID) {
        while (atomic_load(&child_word) != 0) {
            syscall(SYS_futex, &child_word, FUTEX_WAIT, before, NULL, NULL, 0);
            wakes++;
        }
        printf(", cleared\n");
    } else {
        while (syscall(SYS_tgkill, getpid(), tid, 0) == 0) {
            syscall(SYS_sched_yield);
        }
        printf(", word %s\n", child_word == -1 ? "untouched" : child_word == tid ? "tid" : "?");
    }
    munmap(stack, 65536);
}

int main(void)
{
    try_flags("none", 0);
    try_flags("parent", CLONE_PARENT_SETTID);
    try_flags("child", CLONE_CHILD_SETTID);
    try_flags("clear", CLONE_CHILD_CLEARTID);
    try_flags("parent+clear", CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID);
    try_flags("all", CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID);

    static const struct {
        const char *name;
        unsigned long flags;
    } bad[] = {
        { "sighand without vm", CLONE_SIGHAND },
        { "thread without sighand", CLONE_THREAD | CLONE_VM },
        { "thread with pidfd", CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_PIDFD },
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        long r = syscall(SYS_clone, bad[i].flags, 0, 0, 0, 0);

        if (r == 0) {
            _exit(0);
        }
        printf("%s: %s\n", bad[i].name, r < 0 ? "refused" : "done");
    }

    int pidfd = -1;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);

    if (pid == 0) {
        _exit(12);
    }
    siginfo_t info = { 0 };

    printf("waitid by pidfd: %d", waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
    printf(" status %d\n", info.si_status);
    return 0;
}
