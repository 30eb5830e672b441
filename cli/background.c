/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starter and monitor speak over a socket pair: the starter says "go" once vm.json names the
 * process, the monitor answers with a drupe_error when the VM runs or cannot. A starter that dies
 * in between closes the pair, and the monitor ends.
 */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/unix_socket.h>

#include "cli.h"
#include "background_internal.h"
#include "run_internal.h"

void background_init(struct background *m)
{
    *m = (struct background){ .events_fd = -1, .api_fd = -1 };
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

void background_deinit(struct background *m, bool removes_directory)
{
    close_fd(&m->events_fd);
    close_fd(&m->api_fd);
    if (removes_directory && m->record.dir) {
        tree_remove(m->record.dir);
    }
    vm_record_free(&m->record);
}

/* ---- Opening ---- */

int background_open(struct background *m, const char *verb)
{
    CLEANUP_FREE char *path = vm_path(&m->record, "api.sock");

    m->api_fd = unix_listen(path, SOCK_NONBLOCK);
    if (m->api_fd < 0) {
        return complain(STATUS_FAILED, "%s: %s: %s", verb, path, strerror(-m->api_fd));
    }
    m->events_fd = vm_events_open(&m->record);
    if (m->events_fd < 0) {
        return complain(STATUS_FAILED, "%s: %s/events: %s", verb, m->record.dir, strerror(errno));
    }
    return 0;
}

void background_describe(struct background *m, const struct job *j)
{
    const char *id = drupe_vm_id(m->vm);
    struct vm_record *r = &m->record;

    r->backend = text_copy_sized(id, strcspn(id, "-"));
    r->image = text_copy(j->image ? j->image : "");
    for (size_t i = 0; i < j->argv.count; i++) {
        strings_add(&r->argv, j->argv.items[i]);
    }
    r->memory_mib = (unsigned)j->memory_mib;
    r->vcpus = (unsigned)j->vcpus;
}

/* ---- The starter's side ---- */

/* The monitor's answer; -errno when it died without one. */
static int receive_answer(int fd, struct drupe_error *answer)
{
    ssize_t n = 0;

    do {
        n = recv(fd, answer, sizeof(*answer), 0);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*answer)) {
        return n < 0 ? -errno : -ECONNRESET;
    }
    return 0;
}

static int handshake(struct background *m, const char *verb, pid_t pid, int fd)
{
    struct drupe_error answer = { 0 };
    char go = 1;
    int err = vm_record_write(&m->record, pid);

    if (err < 0) {
        return complain(STATUS_FAILED, "%s: %s/vm.json: %s", verb, m->record.dir, strerror(-err));
    }
    if (send(fd, &go, 1, MSG_NOSIGNAL) != 1 || receive_answer(fd, &answer) < 0) {
        return complain(STATUS_GUEST, "%s: the monitor died while it started the machine", verb);
    }
    return answer.code == DRUPE_OK ? 0 : refuse_vm(verb, &answer);
}

int background_start(struct background *m, const char *verb)
{
    int pair[2];
    pid_t pid = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return complain(STATUS_FAILED, "%s: socketpair: %s", verb, strerror(errno));
    }
    CLEANUP_FD ours = pair[0];
    struct background_task task = { .background = m, .starter_fd = pair[1] };
    int status = background_spawn(&task, verb, &pid);

    (void)close(pair[1]);
    if (status == 0) {
        status = handshake(m, verb, pid, ours);
        if (status != 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, NULL, 0);
        }
    }
    return status;
}
