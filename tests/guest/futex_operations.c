/* SPDX-License-Identifier: Apache-2.0 */
/* Futexes: errors, both timeouts, keys across processes, requeue then timing out, wake-op, robust
 * lists. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long futex(void *word, int op, unsigned value, const void *timeout, void *word2,
                  unsigned value3)
{
    long r = syscall(SYS_futex, word, op, value, timeout, word2, value3);

    return r < 0 ? -errno : r;
}

static long ms_since(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

static const char *about(long ms, long want)
{
    return ms >= want - 1 && ms < want + 150 ? "on time" : ms < want ? "early" : "late";
}

static struct timespec in_ms(clockid_t clock, long ms)
{
    struct timespec t;

    clock_gettime(clock, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void timeouts(void)
{
    uint32_t word = 1;
    struct timespec start;
    struct timespec t = { 0, 60000000 };
    long r;

    clock_gettime(CLOCK_MONOTONIC, &start);
    r = futex(&word, FUTEX_WAIT, 1, &t, NULL, 0);
    printf("WAIT relative: %ld %s\n", r, about(ms_since(&start), 60));
    clock_gettime(CLOCK_MONOTONIC, &start);
    t = in_ms(CLOCK_MONOTONIC, 60);
    r = futex(&word, FUTEX_WAIT_BITSET, 1, &t, NULL, ~0u);
    printf("WAIT_BITSET absolute: %ld %s\n", r, about(ms_since(&start), 60));
    clock_gettime(CLOCK_MONOTONIC, &start);
    t = in_ms(CLOCK_REALTIME, 60);
    r = futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &t, NULL, ~0u);
    printf("WAIT_BITSET realtime: %ld %s\n", r, about(ms_since(&start), 60));
    t = (struct timespec){ 1, 0 };
    printf("absolute past: %ld\n", futex(&word, FUTEX_WAIT_BITSET, 1, &t, NULL, ~0u));
    t = (struct timespec){ 0, 1000000000 };
    printf("bad nanoseconds: %ld\n", futex(&word, FUTEX_WAIT, 1, &t, NULL, 0));
}

static void errors(void)
{
    uint32_t word = 5;

    printf("value differs: %ld\n", futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0));
    printf("unaligned: %ld\n", futex((char *)&word + 1, FUTEX_WAIT, 5, NULL, NULL, 0));
    printf("unmapped wait: %ld\n", futex((void *)4096, FUTEX_WAIT, 5, NULL, NULL, 0));
    printf("private wake of unmapped: %ld\n",
           futex((void *)4096, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    printf("kernel address: %ld\n",
           futex((void *)0xffffffff80000000, FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
    printf("no bits: %ld\n", futex(&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0));
    printf("unknown operation: %ld\n", futex(&word, 99, 5, NULL, NULL, 0));
    printf("nobody to wake: %ld\n", futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));
}

/* The same virtual address in two processes: private memory must not meet, shared must. */
static void isolation(void)
{
    static _Atomic uint32_t private_word;
    _Atomic uint32_t *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec t = { 0, 150000000 };
    pid_t pid;
    int status;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        long r = futex(&private_word, FUTEX_WAIT, 0, &t, NULL, 0);

        _exit(r == -ETIMEDOUT ? 1 : 2);
    }
    usleep(50000);
    printf("private word of another process woken: %ld\n",
           futex(&private_word, FUTEX_WAKE, 1, NULL, NULL, 0));
    waitpid(pid, &status, 0);
    printf("its wait %s\n", WEXITSTATUS(status) == 1 ? "timed out" : "was woken");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        t.tv_nsec = 900000000;
        _exit(futex((void *)shared, FUTEX_WAIT, 0, &t, NULL, 0) == 0 ? 1 : 2);
    }
    long woken = 0;

    while (woken == 0) {
        usleep(2000);
        woken = futex((void *)shared, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    waitpid(pid, &status, 0);
    printf("shared word: woken %ld, wait %d\n", woken, WEXITSTATUS(status));
}

static uint32_t from, to;
static _Atomic int waiting, timed_out, woken_up;

static void *wait_on_from(void *arg)
{
    struct timespec t = { 0, 250000000 };

    atomic_fetch_add(&waiting, 1);
    long r = futex(&from, FUTEX_WAIT_PRIVATE, 0, arg ? &t : NULL, NULL, 0);

    atomic_fetch_add(r == 0 ? &woken_up : &timed_out, 1);
    return NULL;
}

static void requeue(void)
{
    pthread_t t[6];

    for (long i = 0; i < 6; i++) {
        pthread_create(&t[i], NULL, wait_on_from, (void *)(i % 2));
    }
    while (waiting < 6) {
        usleep(1000);
    }
    usleep(50000);
    printf("cmp differs: %ld\n", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)100, &to, 7));
    printf("requeue: %ld\n", futex(&from, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)100, &to, 0));
    usleep(20000);
    printf("woken by it: %d, left at the old word: %ld\n", woken_up,
           futex(&from, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
    usleep(350000); /* those with a deadline leave from where they were moved to */
    int late = timed_out;

    printf("left by time: %s\n", late == 2 || late == 3 ? "yes" : "no");
    printf("rest woken: %s\n",
           futex(&to, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0) == 5 - late ? "yes" : "no");
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
    }
    printf("all back: %d\n", woken_up + timed_out);
}

static void wake_op(void)
{
    uint32_t a = 0;
    uint32_t b = 6;

    printf("wake_op: %ld ", futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b,
                                  FUTEX_OP(FUTEX_OP_ADD, 4, FUTEX_OP_CMP_EQ, 6)));
    printf("b %u\n", b);
    futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ANDN, 2, FUTEX_OP_CMP_GT, 0));
    printf("andn: b %u\n", b);
    futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b,
          FUTEX_OP(FUTEX_OP_OR | FUTEX_OP_OPARG_SHIFT, 5, FUTEX_OP_CMP_LT, 0));
    printf("or shifted: b %u\n", b);
    printf("bad operation: %ld\n", futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b, 6u << 28));
    printf("unmapped: %ld\n", futex(&a, FUTEX_WAKE_OP, 1, (void *)1, (void *)4096,
                                    FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0)));
}

static pthread_mutex_t *robust;

static void *take_and_die(void *arg)
{
    pthread_mutex_lock(robust);
    return arg;
}

static void robust_lists(void)
{
    pthread_mutexattr_t attr;
    pthread_t t;
    pid_t pid;

    robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(robust, &attr);
    pthread_create(&t, NULL, take_and_die, NULL);
    pthread_join(t, NULL);
    printf("owner thread gone: %s\n", strerror(pthread_mutex_lock(robust)));
    pthread_mutex_consistent(robust);
    pthread_mutex_unlock(robust);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(robust);
        usleep(100000);
        kill(getpid(), SIGKILL);
    }
    usleep(50000);
    printf("owner killed while we wait: %s\n", strerror(pthread_mutex_lock(robust)));
    waitpid(pid, NULL, 0);
}

int main(void)
{
    errors();
    timeouts();
    isolation();
    requeue();
    wake_op();
    robust_lists();
    return 0;
}
