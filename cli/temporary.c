/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is left behind: temporary files of an interrupted program, and directories of a killed
 * one. */

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

static char doomed_path[PATH_MAX];
static volatile sig_atomic_t is_doomed;

static void remove_and_end(int signo)
{
    if (is_doomed) {
        (void)unlink(doomed_path);
    }
    /* The handler is reset (SA_RESETHAND): this ends the program as the signal would have. */
    (void)raise(signo);
}

void remove_on_signal(const char *path)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = path ? remove_and_end : SIG_DFL,
                                .sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };

    is_doomed = 0;
    if (path && strlen(path) < sizeof(doomed_path)) {
        memcpy(doomed_path, path, strlen(path) + 1);
        is_doomed = 1;
    }
    for (size_t i = 0; i < array_size(signals); i++) {
        struct sigaction old;

        /* A signal that our caller ignores stays ignored. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) {
            (void)sigaction(signals[i], &action, NULL);
        }
    }
}

void remove_stale(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e = NULL;

    while (d && (e = readdir(d)) != NULL) {
        const char *dash = strrchr(e->d_name, '-');
        long pid = dash ? strtol(dash + 1, NULL, 10) : 0;

        if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH) {
            CLEANUP_FREE char *path = path_join(dir, e->d_name);

            tree_remove(path);
        }
    }
    if (d) {
        (void)closedir(d);
    }
}
