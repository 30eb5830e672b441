/* SPDX-License-Identifier: Apache-2.0 */
/* Between the monitor's starter (background.c), its process (background_spawn.c) and what that does
 * (background_main.c). */
#pragma once

#include "background.h"

struct background_task {
    struct background *background;
    int starter_fd; /* the monitor's end of the pair */
};

/* A process that runs background_main(), jailed when the monitor says so. 0 or an exit status after
 * printing. */
int background_spawn(struct background_task *task, const char *verb, pid_t *pid) MUST_CHECK;

/* The process's whole life; a struct background_task. Its exit status. */
int background_main(void *arg);
