/* SPDX-License-Identifier: Apache-2.0 */
/* What a program in the monitor's place tries; each returns 0 when it got through, else -errno. */
#pragma once

#include <base/compiler.h>

/* What the attempts find in the jail; filled by the starter. */
struct surroundings {
    int starter_pid;      /* of a process outside */
    int host_root_fd;     /* an open directory that should not be there: "/" of the host */
    int file_fd;          /* a file on the host, for RLIMIT_FSIZE */
    int shm_key;          /* a System V segment outside */
    char socket_name[32]; /* an abstract socket that listens outside, without its first NUL */
};

typedef int (*attempt_fn)(const struct surroundings *s);

struct attempt {
    const char *what;
    attempt_fn fn;
    bool needs_landlock;
    bool needs_root; /* walls that an ordinary user's jail doesn't have */
};

extern const struct attempt attempts[];
extern const unsigned attempt_count;

/* A forbidden system call, with arguments that would do harm. */
struct forbidden {
    const char *what;
    long number;
    unsigned long args[5];
};

extern const struct forbidden forbidden_calls[];
extern const unsigned forbidden_count;
