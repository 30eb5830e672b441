/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine that is a child process: started by a thread of its own (so that it can be told to die
 * with us), its output delivered, its end reported once the machine has been released.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include <base/compiler.h>

#include "backends/backend.h"
#include "log.h"

#define CHILD_NULL         (-1) /* /dev/null */
#define CHILD_PIPE         (-2) /* ours: a socket to its input, pipes from its output */
#define CHILD_MESSAGE_SIZE 160u
#define CHILD_STATUS_EXEC  127

struct child_ops {
    /* In the child, 0 to 2 in place, all signals unblocked. Other threads are gone: whatever they
     * held is held for ever. Does not return. */
    void (*run)(void *ctx);
    /* A piece of a piped standard output; its own thread. */
    void (*output)(void *ctx, const uint8_t *bytes, size_t size);
    /* What the end means; `wait_status` as of waitpid(2). Not asked when it was killed by us. */
    void (*outcome)(void *ctx, int wait_status, struct drupe_vm_outcome *out);
};

struct child {
    const struct child_ops *ops;
    void *ctx;
    struct backend_events events;
    const char *name; /* for messages */
    struct log *log;
    int std[3]; /* what the child gets: a descriptor (borrowed) or one of the words above */
    int in;     /* our end of a piped input; -1: none */
    int out;
    int messages;  /* from a piped standard error */
    int theirs[3]; /* the other ends, until the child has them */
    int wake_fd;

    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_forked; /* under lock, like the next four */
    bool is_gone;
    bool is_gate_open;
    bool is_released;
    int fork_errno;
    atomic_bool is_killed;

    pid_t pid; /* the thread's, like the rest; `message` is anyone's after is_gone */
    int pid_fd;
    int wait_status;
    char message[CHILD_MESSAGE_SIZE]; /* tail of its standard error */
    size_t message_size;
    bool is_message_whole;
};

/* Cannot fail; child_deinit() ends it. Then set std. */
void child_init(struct child *c, const struct child_ops *ops, void *ctx, const char *name,
                const struct backend_events *events, struct log *log);
/* Returns when the process exists. */
drupe_vm_err_t child_start(struct child *c, struct drupe_error *err) MUST_CHECK;
/* From now on its end is reported. */
void child_release(struct child *c);
void child_kill(struct child *c);
/* Whether it has ended and its output has been delivered. */
bool child_is_gone(struct child *c);
/* "<name> ended with status 1: <what it said>" */
void child_describe_end(const struct child *c, int wait_status, char *text, size_t size);
void child_deinit(struct child *c);
