/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "error.h"

#define THREAD_STACK_SIZE (64u << 10)
#define CHILD_FD_MIN      100
#define PIECE_SIZE        4096u

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

void child_init(struct child *c, const struct child_ops *ops, void *ctx, const char *name,
                const struct backend_events *events, struct log *log)
{
    memset(c, 0, sizeof(*c));
    c->ops = ops;
    c->ctx = ctx;
    c->name = name;
    c->events = *events;
    c->log = log;
    c->in = -1;
    c->out = -1;
    c->messages = -1;
    c->wake_fd = -1;
    c->pid_fd = -1;
    for (unsigned i = 0; i < array_size(c->std); i++) {
        c->std[i] = CHILD_NULL;
        c->theirs[i] = -1;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->changed, NULL);
}

/* ---- Descriptors ---- */

/* Out of the way of the numbers that they get in the child. Takes *fd. */
static int move_up(int *fd)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_FD_MIN);
    int r = high < 0 ? -errno : 0;

    (void)close(*fd);
    *fd = high;
    return r;
}

static int make_end(struct child *c, unsigned i)
{
    int *ours[] = { &c->in, &c->out, &c->messages };
    int ends[2];

    if (c->std[i] == CHILD_NULL) {
        c->theirs[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        return c->theirs[i] < 0 ? -errno : move_up(&c->theirs[i]);
    }
    if (c->std[i] != CHILD_PIPE) {
        c->theirs[i] = fcntl(c->std[i], F_DUPFD_CLOEXEC, CHILD_FD_MIN);
        return c->theirs[i] < 0 ? -errno : 0;
    }
    if (i == 0 ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0
               : pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    *ours[i] = ends[0];
    c->theirs[i] = ends[1];
    return move_up(&c->theirs[i]);
}

static int make_ends(struct child *c)
{
    int r = 0;

    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = c->wake_fd < 0 ? -errno : 0;
    for (unsigned i = 0; r == 0 && i < array_size(c->std); i++) {
        r = make_end(c, i);
    }
    return r;
}

/* ---- The child ---- */

_Noreturn static void run_child(struct child *c, pid_t parent)
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(CHILD_STATUS_EXEC); /* it died before we could ask */
    }
    /* A group of its own: Ctrl-C on the terminal is for the workload. */
    (void)setpgid(0, 0);
    for (int i = 0; i < (int)array_size(c->theirs); i++) {
        if (dup2(c->theirs[i], i) < 0) {
            _exit(CHILD_STATUS_EXEC);
        }
    }
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    c->ops->run(c->ctx);
    _exit(CHILD_STATUS_EXEC);
}

static void announce(struct child *c, int fork_errno)
{
    (void)pthread_mutex_lock(&c->lock);
    c->is_forked = fork_errno == 0;
    c->fork_errno = fork_errno;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
}

static bool fork_child(struct child *c)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    int e = errno;

    if (pid == 0) {
        run_child(c, parent);
    }
    for (unsigned i = 0; i < array_size(c->theirs); i++) {
        close_fd(&c->theirs[i]);
    }
    if (pid > 0) {
        c->pid = pid;
        c->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
        e = c->pid_fd < 0 ? errno : 0;
    }
    if (pid > 0 && e != 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    announce(c, e);
    return e == 0;
}

/* ---- Its output ---- */

/* The last line that it said, for the outcome's text. */
static void take_messages(struct child *c, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            if (c->message_size > 0) {
                log_write(c->log, DRUPE_LOG_WARN, c->name, "text=\"%s\"", c->message);
            }
            c->is_message_whole = true;
            continue;
        }
        if (c->is_message_whole) {
            c->message_size = 0;
            c->is_message_whole = false;
        }
        if (c->message_size + 1 < sizeof(c->message)) {
            bool is_plain = bytes[i] >= ' ' && bytes[i] < 0x7f;

            c->message[c->message_size] = '?';
            if (is_plain) {
                c->message[c->message_size] = (char)bytes[i];
            }
            c->message_size++;
            c->message[c->message_size] = '\0';
        }
    }
}

static void take(struct child *c, int *fd)
{
    uint8_t piece[PIECE_SIZE];
    ssize_t n = read(*fd, piece, sizeof(piece));

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (n <= 0) {
        close_fd(fd);
    } else if (fd == &c->messages) {
        take_messages(c, piece, (size_t)n);
    } else {
        c->ops->output(c->ctx, piece, (size_t)n);
    }
}

/* Until the process has ended and its pipes are empty, or somebody kills it. */
static void pump(struct child *c)
{
    bool has_ended = false;

    while (!atomic_load(&c->is_killed)) {
        struct pollfd fds[] = { { c->out, POLLIN, 0 },
                                { c->messages, POLLIN, 0 },
                                { c->wake_fd, POLLIN, 0 },
                                { has_ended ? -1 : c->pid_fd, POLLIN, 0 } };
        /* A grandchild may hold a pipe open: after the end only what is there already counts. */
        int n = poll(fds, array_size(fds), has_ended ? 0 : -1);

        if ((n < 0 && errno != EINTR) || (n == 0 && has_ended)) {
            return;
        }
        if (n > 0 && fds[0].revents != 0) {
            take(c, &c->out);
        }
        if (n > 0 && fds[1].revents != 0) {
            take(c, &c->messages);
        }
        has_ended = has_ended || (n > 0 && fds[3].revents != 0);
    }
}

static void report(struct child *c)
{
    struct drupe_vm_outcome o;

    memset(&o, 0, sizeof(o));
    if (atomic_load(&c->is_killed)) {
        o.kind = DRUPE_END_STOPPED;
        (void)fmt_snprintf(o.text, sizeof(o.text), "stopped by request");
    } else {
        c->ops->outcome(c->ctx, c->wait_status, &o);
    }
    c->events.ended(c->events.ctx, &o);
}

static void *child_main(void *arg)
{
    struct child *c = arg;
    bool is_released = false;

    if (!fork_child(c)) {
        return NULL;
    }
    pump(c);
    (void)kill(c->pid, SIGKILL);
    while (waitpid(c->pid, &c->wait_status, 0) < 0 && errno == EINTR) {
    }
    (void)pthread_mutex_lock(&c->lock);
    c->is_gone = true;
    while (!c->is_gate_open) {
        (void)pthread_cond_wait(&c->changed, &c->lock);
    }
    is_released = c->is_released;
    (void)pthread_mutex_unlock(&c->lock);
    if (is_released) {
        report(c);
    }
    return NULL;
}

/* ---- From outside ---- */

static int start_thread(struct child *c)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    r = pthread_create(&c->thread, &attr, child_main, c);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    c->has_thread = r == 0;
    return -r;
}

drupe_vm_err_t child_start(struct child *c, struct drupe_error *err)
{
    int r = make_ends(c);

    assert(!c->has_thread);
    if (r == 0) {
        r = start_thread(c);
    }
    if (r < 0) {
        return error_set(err, DRUPE_NO_MEMORY, -r, "prepare %s's process", c->name);
    }
    (void)pthread_mutex_lock(&c->lock);
    while (!c->is_forked && c->fork_errno == 0) {
        (void)pthread_cond_wait(&c->changed, &c->lock);
    }
    r = c->fork_errno;
    (void)pthread_mutex_unlock(&c->lock);
    return r == 0 ? DRUPE_OK : error_set(err, DRUPE_NO_MEMORY, r, "start %s's process", c->name);
}

static void open_gate(struct child *c, bool is_released)
{
    (void)pthread_mutex_lock(&c->lock);
    c->is_gate_open = true;
    c->is_released = c->is_released || is_released;
    (void)pthread_cond_broadcast(&c->changed);
    (void)pthread_mutex_unlock(&c->lock);
}

void child_release(struct child *c)
{
    open_gate(c, true);
}

void child_kill(struct child *c)
{
    uint64_t one = 1;

    atomic_store(&c->is_killed, true);
    (void)!write(c->wake_fd, &one, sizeof(one)); /* a full counter wakes as well */
}

bool child_is_gone(struct child *c)
{
    bool is_gone = false;

    (void)pthread_mutex_lock(&c->lock);
    is_gone = c->is_gone;
    (void)pthread_mutex_unlock(&c->lock);
    return is_gone;
}

void child_describe_end(const struct child *c, int wait_status, char *text, size_t size)
{
    bool is_exit = WIFEXITED(wait_status);

    (void)fmt_snprintf(text, size, "%s ended with %s %d%s%s", c->name,
                       is_exit ? "status" : "signal",
                       is_exit ? WEXITSTATUS(wait_status) : WTERMSIG(wait_status),
                       c->message_size > 0 ? ": " : "", c->message);
}

void child_deinit(struct child *c)
{
    if (c->has_thread) {
        child_kill(c);
        open_gate(c, false);
        (void)pthread_join(c->thread, NULL);
    }
    for (unsigned i = 0; i < array_size(c->theirs); i++) {
        close_fd(&c->theirs[i]);
    }
    close_fd(&c->in);
    close_fd(&c->out);
    close_fd(&c->messages);
    close_fd(&c->wake_fd);
    close_fd(&c->pid_fd);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_mutex_destroy(&c->lock);
}
