/* SPDX-License-Identifier: Apache-2.0 */
/* drupe logs: the end of a console log, the project's or a machine's. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"
#include "options.h"
#include "project.h"
#include "vm_dir.h"

#define CHUNK_SIZE 65536

/* Where the last `lines` lines begin. */
static off_t find_tail(int fd, off_t size, uint64_t lines)
{
    char chunk[CHUNK_SIZE];
    off_t end = size;

    while (end > 0) {
        off_t start = end > CHUNK_SIZE ? end - CHUNK_SIZE : 0;
        ssize_t n = pread(fd, chunk, (size_t)(end - start), start);

        if (n <= 0) {
            return start;
        }
        for (ssize_t i = n - 1; i >= 0; i--) {
            /* The newline that ends the file ends no earlier line. */
            if (chunk[i] == '\n' && start + i != size - 1 && --lines == 0) {
                return start + i + 1;
            }
        }
        end = start;
    }
    return 0;
}

static int copy_rest(int fd, off_t *at)
{
    char chunk[CHUNK_SIZE];

    for (;;) {
        ssize_t n = pread(fd, chunk, sizeof(chunk), *at);

        if (n <= 0) {
            return n < 0 && errno != EINTR ? -errno : 0;
        }
        int err = fd_write_all(STDOUT_FILENO, chunk, (size_t)n);

        if (err < 0) {
            return err;
        }
        *at += n;
    }
}

/* drupe run holds a lock on the project's log while the machine runs; a machine in the background
 * has a record. */
static bool is_running(int fd, const struct vm_record *r)
{
    if (r->dir) {
        struct vm_record now = { 0 };
        bool is_alive = vm_record_read(r->dir, &now) == 0 && now.is_alive;

        vm_record_free(&now);
        return is_alive;
    }
    if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        return true;
    }
    (void)flock(fd, LOCK_UN);
    return false;
}

static int follow(int fd, off_t at, const char *path, const struct vm_record *r)
{
    CLEANUP_FD watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    char events[4096];

    if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY | IN_CLOSE_WRITE) < 0) {
        return -errno;
    }
    for (;;) {
        struct pollfd p = { watch, POLLIN, 0 };
        struct stat st;
        bool was_running = is_running(fd, r);
        int err = copy_rest(fd, &at);

        if (err < 0 || !was_running) {
            return err;
        }
        /* A run that starts anew empties the log. */
        if (fstat(fd, &st) == 0 && st.st_size < at) {
            at = 0;
        }
        (void)poll(&p, 1, 1000); /* the lock goes without an event when a run is killed */
        while (read(watch, events, sizeof(events)) > 0) {
        }
    }
}

static int run_logs(int argc, char **argv)
{
    bool follows = false;
    uint64_t lines = 50;
    const struct option_spec specs[] = {
        { .name = "follow", .letter = 'f', .kind = OPTION_FLAG, .out = &follows },
        { .name = "lines",
          .letter = 'n',
          .kind = OPTION_NUMBER,
          .out = &lines,
          .min = 1,
          .max = 1000000 },
        { .name = "tail", .kind = OPTION_NUMBER, .out = &lines, .min = 1, .max = 1000000 },
    };
    struct operands operands;
    struct stat st;
    CLEANUP_RECORD r = { 0 };
    int status = options_of_verb(&verb_logs, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 1 < argc) {
        return complain(STATUS_USAGE, "logs: takes one machine, or none for the project here");
    }
    if (operands.first < argc) {
        status = vm_find("logs", argv[operands.first], &r);
        if (status != 0) {
            return status;
        }
    }
    CLEANUP_FREE char *path = r.dir ? vm_path(&r, "console.log") : text_copy(PROJECT_LOG);
    CLEANUP_FD fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0) {
        return complain(STATUS_FAILED,
                        errno == ENOENT ? "logs: no %s here: drupe run writes it"
                                        : "logs: %s cannot be read",
                        path);
    }
    off_t at = find_tail(fd, st.st_size, lines);
    int err = copy_rest(fd, &at);

    if (err == 0 && follows) {
        err = follow(fd, at, path, &r);
    }
    return err < 0 && err != -EPIPE ? complain(STATUS_FAILED, "logs: %s", strerror(-err)) : 0;
}

const struct verb verb_logs = {
    .name = "logs",
    .summary = "show the end of a console log",
    .help =
        "usage: drupe logs [OPTIONS] [MACHINE]\n\n"
        "Prints the last lines of a background machine's console, or of logs/console.log, which "
        "drupe run\nwrites inside a project.\n\n"
        "options:\n"
        "  -f, --follow     go on printing until the machine ends\n"
        "  -n, --lines N    how many lines (default 50); also --tail\n\n"
        "example:\n"
        "  drupe logs --follow\n",
    .run = run_logs,
};
