/* SPDX-License-Identifier: Apache-2.0 */
/* Run a program of the host and collect what it says. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/assert.h>

#include "files.h"

#define OUTPUT_SIZE_MAX ((size_t)16 << 20)

/* Keep reading past the limit, so that the program does not block; what is past it is dropped. */
static bool drain(struct pollfd *p, struct buffer *out)
{
    char chunk[16384];
    ssize_t n = read(p->fd, chunk, sizeof(chunk));

    assert(out != NULL);

    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n <= 0) {
        return false;
    }
    size_t room = OUTPUT_SIZE_MAX - min_of(out->size, OUTPUT_SIZE_MAX);

    buffer_add(out, chunk, min_of((size_t)n, room));
    return true;
}

/* Hand over the whole lines behind *done. */
static void report_lines(const struct command *c, const struct buffer *output, size_t *done)
{
    const char *end = NULL;

    while (c->on_line && output && output->data &&
           (end = memchr(output->data + *done, '\n', output->size - *done)) != NULL) {
        CLEANUP_FREE char *line =
            text_copy_sized(output->data + *done, (size_t)(end - output->data) - *done);

        c->on_line(line);
        *done = (size_t)(end - output->data) + 1;
    }
}

static void collect(const struct command *c, int output_fd, struct buffer *output, int errors_fd,
                    struct buffer *errors)
{
    size_t reported = 0;
    struct pollfd polls[2] = { { output_fd, POLLIN, 0 }, { errors_fd, POLLIN, 0 } };
    struct buffer *buffers[2] = { output, errors };

    while (polls[0].fd >= 0 || polls[1].fd >= 0) {
        if (poll(polls, 2, -1) < 0 && errno != EINTR) {
            return;
        }
        for (int i = 0; i < 2; i++) {
            if (polls[i].fd >= 0 && polls[i].revents && !drain(&polls[i], buffers[i])) {
                polls[i].fd = -1;
            }
        }
        report_lines(c, output, &reported);
    }
}

static int spawn_command(const struct command *c, const char *program, int output_fd, int errors_fd,
                         pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int err = posix_spawn_file_actions_init(&actions);

    if (err != 0) {
        return -err;
    }
    err = posix_spawnattr_init(&attributes);
    if (err != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return -err;
    }
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    if (c->stdin_fd > 0) {
        err = posix_spawn_file_actions_adddup2(&actions, c->stdin_fd, STDIN_FILENO);
    } else {
        err = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    }
    if (err == 0 && output_fd >= 0) {
        err = posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
    }
    if (err == 0 && errors_fd >= 0) {
        err = posix_spawn_file_actions_adddup2(&actions, errors_fd, STDERR_FILENO);
    }
    if (err == 0 && c->cwd) {
        err = posix_spawn_file_actions_addchdir_np(&actions, c->cwd);
    }
    if (err == 0) {
        err = posix_spawn(pid, program, &actions, &attributes, (char *const *)(uintptr_t)c->argv,
                          c->env ? (char *const *)(uintptr_t)c->env : environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return -err;
}

static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int command_run(const struct command *c, struct buffer *output, struct buffer *errors)
{
    CLEANUP_FREE char *program = program_find(c->argv[0]);
    int out_pipe[2] = { -1, -1 };
    int err_pipe[2] = { -1, -1 };
    pid_t pid = -1;
    int result = 0;

    if (c->argv[0][0] == '/') {
        free(program);
        program = text_copy(c->argv[0]);
    }
    if (!program) {
        return -ENOENT;
    }
    if ((output && pipe2(out_pipe, O_CLOEXEC) < 0) || (errors && pipe2(err_pipe, O_CLOEXEC) < 0)) {
        result = -errno;
    } else {
        result = spawn_command(c, program, out_pipe[1], err_pipe[1], &pid);
    }
    cleanup_fd(&out_pipe[1]);
    cleanup_fd(&err_pipe[1]);
    if (result == 0) {
        collect(c, out_pipe[0], output, err_pipe[0], errors);
        result = wait_for(pid);
    }
    cleanup_fd(&out_pipe[0]);
    cleanup_fd(&err_pipe[0]);
    return result;
}
