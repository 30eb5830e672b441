/* SPDX-License-Identifier: Apache-2.0 */
/* Handing out a shell: what is said to it until it is a VM of its user's (drupe/shell.h). */
#include "drupe/shell.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <base/assert.h>
#include <base/clock.h>

#include "error.h"
#include "shell/shell_internal.h"
#include "vm_internal.h"

#define ANSWER_MS 20000 /* a shell that says nothing for so long is stuck */

/* ---- Words ---- */

bool shell_send(const struct shell *s, const struct shell_request *r, const int *fds,
                unsigned count)
{
    struct iovec iov = { (void *)(uintptr_t)r, sizeof(*r) };
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(SHELL_FDS_MAX * sizeof(int))];
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n = 0;

    assert(count <= SHELL_FDS_MAX);
    if (count > 0) {
        memset(control, 0, sizeof(control));
        m.msg_control = control;
        m.msg_controllen = CMSG_SPACE(count * sizeof(int));

        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    do {
        n = sendmsg(s->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(*r);
}

static bool receive(const struct shell *s, struct shell_answer *a)
{
    struct pollfd p = { .fd = s->fd, .events = POLLIN };
    ssize_t n = 0;
    int ready = 0;

    do {
        ready = poll(&p, 1, ANSWER_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready != 1) {
        return false;
    }
    n = recv(s->fd, a, sizeof(*a), MSG_DONTWAIT);
    if (n != (ssize_t)sizeof(*a)) {
        return false;
    }
    a->error.field[sizeof(a->error.field) - 1] = '\0';
    a->error.text[sizeof(a->error.text) - 1] = '\0';
    return true;
}

drupe_vm_err_t shell_hear(const struct shell *s, enum shell_answer_kind kind,
                          struct drupe_error *err)
{
    struct shell_answer a;

    if (!receive(s, &a) || a.kind != kind) {
        return error_set(err, DRUPE_JAIL_FAILED, 0,
                         "a jailed monitor died while it was made; a forbidden system call ends it "
                         "so");
    }
    if (a.code != DRUPE_OK && err != NULL) {
        *err = a.error;
    }
    return a.code;
}

/* ---- Handing out ---- */

static uint64_t deadline_after(uint32_t timeout_ms)
{
    return timeout_ms == DRUPE_WAIT_FOREVER ? CLOCK_NEVER : clock_ns() + timeout_ms * NS_PER_MS;
}

/* Wait until `count` are ready. Failures that come meanwhile end the wait: the next would too. */
static drupe_vm_err_t wait_ready_locked(struct drupe_shells *shells, unsigned count,
                                        uint32_t timeout_ms, struct drupe_error *err)
{
    const uint64_t deadline_ns = deadline_after(timeout_ms);
    const uint64_t failures = shells->failures;

    while (shell_count_locked(shells, SHELL_PHASE_READY) < count) {
        if (shells->failures > failures + 1) {
            if (err != NULL) {
                *err = shells->last_failure;
            }
            return shells->last_failure.code;
        }
        if (!shell_wait_locked(shells, deadline_ns) &&
            shell_count_locked(shells, SHELL_PHASE_READY) < count) {
            return error_set(err, DRUPE_POOL_TIMEOUT, 0, "%u of %u shells are ready after %u ms",
                             shell_count_locked(shells, SHELL_PHASE_READY), count, timeout_ms);
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_shells_wait(drupe_shells_t *shells, unsigned count, uint32_t timeout_ms,
                                 struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (count > shells->ready) {
        return error_field(err, "count", "%u shells; %u are kept ready", count, shells->ready);
    }
    (void)pthread_mutex_lock(&shells->lock);
    r = wait_ready_locked(shells, count, timeout_ms, err);
    (void)pthread_mutex_unlock(&shells->lock);
    return r;
}

static drupe_vm_err_t take_ready(struct drupe_shells *shells, uint32_t timeout_ms,
                                 struct shell **out, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    (void)pthread_mutex_lock(&shells->lock);
    r = wait_ready_locked(shells, 1, timeout_ms, err);
    if (r == DRUPE_OK) {
        *out = shell_find_locked(shells, SHELL_PHASE_READY);
        (*out)->phase = SHELL_PHASE_USED;
        (*out)->has_ended = false;
        (*out)->stats_asked = 0;
        (*out)->stats_told = 0;
        (void)pthread_cond_broadcast(&shells->changed); /* the makers fill up behind it */
    }
    (void)pthread_mutex_unlock(&shells->lock);
    return r;
}

static drupe_vm_err_t load(const struct shell *s, const struct drupe_restore_options *options,
                           struct drupe_error *err)
{
    struct drupe_restore_options open;
    struct shell_request r = { .kind = SHELL_LOAD,
                               .a = (options->is_clone ? SHELL_LOAD_CLONE : 0) |
                                    (options->is_memory_trusted ? SHELL_LOAD_TRUSTED : 0) };
    drupe_vm_err_t code = shell_open_restore(&open, options, err);
    const int fds[] = { open.fd, open.memory_fd };

    if (code == DRUPE_OK && open.fd < 0) {
        code = error_field(err, "path", "a snapshot comes from a path or from an open file");
    }
    if (code == DRUPE_OK) {
        code = shell_send(s, &r, fds, open.memory_fd >= 0 ? 2 : 1)
                   ? shell_hear(s, SHELL_LOADED, err)
                   : error_set(err, DRUPE_CRASHED, 0, "the shell died");
    }
    shell_close_restore(&open);
    return code;
}

static drupe_vm_err_t give_streams(const struct shell *s, const struct drupe_vm_streams *streams,
                                   struct drupe_error *err)
{
    const int given[SHELL_STREAM_COUNT] = { streams->host_stdin, streams->host_stdout,
                                            streams->host_stderr, streams->serial_log };
    struct shell_request r = { .kind = SHELL_STREAMS };
    int fds[SHELL_STREAM_COUNT];
    unsigned count = 0;

    for (unsigned i = 0; i < SHELL_STREAM_COUNT; i++) {
        if (given[i] >= 0) {
            r.a |= 1u << i;
            fds[count++] = given[i];
        }
    }
    return shell_send(s, &r, fds, count)
               ? DRUPE_OK
               : error_set(err, errno == EBADF ? DRUPE_CONFIG_INVALID : DRUPE_CRASHED, errno,
                           "give a shell its streams");
}

/* Commit point at the end: the VM and the watcher know each other. */
static drupe_vm_err_t become_vm(struct shell *s, drupe_vm_t **out, struct drupe_error *err)
{
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = vm_wrap(&backend_shell, s, &vm, err);
    int e = 0;

    if (r != DRUPE_OK) {
        return r;
    }
    s->events = (struct backend_events){ .ctx = vm, .ended = vm_machine_ended };
    *out = vm;
    e = shell_watch(s);
    if (e < 0) {
        *out = NULL;
        vm_unwrap(vm);
        return error_set(err, DRUPE_NO_MEMORY, -e, "watch a shell");
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_shells_take(drupe_shells_t *shells,
                                 const struct drupe_restore_options *restore,
                                 const struct drupe_vm_streams *streams, uint32_t timeout_ms,
                                 drupe_vm_t **out, struct drupe_error *err)
{
    struct shell *s = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if ((restore == NULL) != shells->has_restore) {
        return error_field(err, "restore", "these shells %s",
                           shells->has_restore ? "have a snapshot already" : "need a snapshot");
    }
    r = take_ready(shells, timeout_ms, &s, err);
    if (r == DRUPE_OK && restore != NULL) {
        r = load(s, restore, err);
    }
    if (r == DRUPE_OK) {
        r = give_streams(s, streams, err);
    }
    if (r == DRUPE_OK) {
        r = become_vm(s, out, err);
    }
    if (r != DRUPE_OK && s != NULL) {
        shell_release(s);
    }
    return r;
}
