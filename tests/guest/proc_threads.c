/* SPDX-License-Identifier: Apache-2.0 */
/* Threads: mutexes, conditions, joins, a fault on a thread kills the group, exec from a thread,
 * exit of the first thread before the others. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int counter, turn;

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static void *ping(void *arg)
{
    int me = (int)(long)arg;

    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&mutex);
        while (turn != me) {
            pthread_cond_wait(&cond, &mutex);
        }
        turn = !me;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *sleeper(void *arg)
{
    for (;;) {
        pause();
    }
    return arg;
}

static void *faulter(void *arg)
{
    *(volatile int *)8 = 1;
    return arg;
}

static void *executor(void *arg)
{
    execl("/proc/self/exe", "proc_threads", "again", NULL);
    return arg;
}

static void *finisher(void *arg)
{
    usleep(50000);
    _exit(23);
    return arg;
}

static void *quiet(void *arg)
{
    usleep(30000);
    return arg;
}

static void in_child(const char *name, void *(*fn)(void *), int others)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        pthread_t t;

        for (int i = 0; i < others; i++) {
            pthread_create(&t, NULL, sleeper, NULL);
        }
        pthread_create(&t, NULL, fn, NULL);
        if (fn == finisher || fn == quiet) {
            pthread_exit(NULL);
        }
        for (;;) {
            pause();
        }
    }
    waitpid(pid, &status, 0);
    printf("%s: %s %d\n", name, WIFSIGNALED(status) ? "signal" : "exit",
           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    pthread_t t[8];
    void *result;
    long sum = 0;

    if (argc > 1) {
        printf("exec'ed from a thread: %s, gettid %s getpid\n", argv[1],
               gettid() == getpid() ? "is" : "is not");
        return 31;
    }
    for (long i = 0; i < 8; i++) {
        pthread_create(&t[i], NULL, count, (void *)i);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(t[i], &result);
        sum += (long)result;
    }
    printf("counter %d sum %ld\n", counter, sum);
    pthread_create(&t[0], NULL, ping, (void *)0);
    pthread_create(&t[1], NULL, ping, (void *)1);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    printf("ping pong done\n");
    fflush(stdout);
    in_child("fault with eight workers", faulter, 8);
    in_child("exec from a thread", executor, 4);
    in_child("first thread leaves, another exits the group", finisher, 0);
    in_child("first thread leaves, the last returns", quiet, 0);
    return 0;
}
