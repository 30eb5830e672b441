/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: a program with its three pipes (or its terminal), or a file being read.
 *
 * Output is read only when it can be passed on: the host has given credit and the connection's
 * backlog is short. Otherwise the descriptor is not watched, the pipe fills, and the program waits.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define READ_SIZE   ((size_t)32 << 10)
#define WINDOW_STEP (AGENT_WINDOW_START / 4)
#define MS          UINT64_C(1000000)

static struct list streams = LIST_INIT(streams);
static unsigned count;
static int null_fd = -1;

/* Header and payload in one piece, so that a read goes out with one call. */
static uint8_t frame[AGENT_HEADER_SIZE + READ_SIZE];

struct stream *stream_find(struct connection *c, unsigned id)
{
    struct stream *s = NULL;

    list_for_each_entry(s, &c->streams, link) {
        if (s->id == id) {
            return s;
        }
    }
    return NULL;
}

unsigned stream_count(void)
{
    return count;
}

struct stream *stream_create(struct connection *c, enum stream_kind kind, unsigned id)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->connection = c;
    s->kind = kind;
    s->id = id;
    s->credit = AGENT_WINDOW_START;
    s->file = -1;
    s->in.fd = s->out.source.fd = s->err.source.fd = -1;
    s->out.stream = s->err.stream = s;
    s->out.type = AGENT_STDOUT;
    s->err.type = AGENT_STDERR;
    backlog_init(&s->in_backlog);
    backlog_init(&s->out.captured);
    backlog_init(&s->err.captured);
    list_push_back(&c->streams, &s->link);
    list_push_back(&streams, &s->all);
    count++;
    return s;
}

void stream_free(struct stream *s)
{
    source_close(&s->in);
    source_close(&s->out.source);
    source_close(&s->err.source);
    backlog_clear(&s->in_backlog);
    backlog_clear(&s->out.captured);
    backlog_clear(&s->err.captured);
    if (s->file >= 0) {
        (void)close(s->file);
    }
    list_remove(&s->link);
    list_remove(&s->all);
    free(s);
    count--;
}

/* --- the end of a program --------------------------------------------------------------------- */

static int code_of(int status)
{
    return WIFSIGNALED(status) ? AGENT_CODE_SIGNALED + WTERMSIG(status) : WEXITSTATUS(status);
}

static void send_exit(struct stream *s, int code, int signal)
{
    uint8_t payload[sizeof(struct agent_exit)];
    uint32_t flags = (s->out.is_cut ? (uint32_t)AGENT_EXIT_STDOUT_CUT : 0) |
                     (s->err.is_cut ? (uint32_t)AGENT_EXIT_STDERR_CUT : 0) |
                     (s->is_timed_out ? (uint32_t)AGENT_EXIT_TIMED_OUT : 0);

    store_be32(payload, (uint32_t)code);
    store_be32(payload + 4, (uint32_t)signal);
    store_be64(payload + 8, (now_ns() - s->started_ns) / 1000);
    store_be32(payload + 16, flags);
    connection_frame(s->connection, AGENT_EXIT, 0, s->id, payload, sizeof(payload));
}

/* It has ended and all its output is on its way. */
static bool finish_if_done(struct stream *s)
{
    if (!s->is_reaped || !s->out.is_at_end || !s->err.is_at_end) {
        return false;
    }
    if (s->connection != NULL && s->connection->protocol == PROTOCOL_1) {
        protocol1_exit(s, code_of(s->status));
    } else if (s->connection != NULL) {
        send_exit(s, code_of(s->status), WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0);
    }
    stream_free(s);
    return true;
}

/* --- output ----------------------------------------------------------------------------------- */

/* Bytes that may be read now: as the host's credit, the limit and the backlog allow. What is over
 * the limit is read and dropped. */
static size_t room_of(const struct stream *s, const struct output *o)
{
    uint64_t left = s->output_max == 0 ? UINT64_MAX : s->output_max - o->total;

    if (s->connection == NULL || left == 0 || s->connection->protocol == PROTOCOL_1) {
        return READ_SIZE;
    }
    if (s->connection->is_ending || s->connection->out.size >= OUT_HIGH) {
        return 0;
    }
    return (size_t)min_of(min_of(s->credit, left), (uint64_t)READ_SIZE);
}

static void end_output(struct stream *s, struct output *o)
{
    o->is_at_end = true;
    source_close(&o->source);
    if (s->connection != NULL && s->connection->protocol == PROTOCOL_2) {
        connection_frame(s->connection, o->type, AGENT_END, s->id, NULL, 0);
    }
}

/* `size` bytes stand in frame behind its header. */
static void pass_on(struct stream *s, struct output *o, size_t size)
{
    uint64_t left = s->output_max == 0 ? UINT64_MAX : s->output_max - o->total;
    size_t keep = (size_t)min_of((uint64_t)size, left);

    o->is_cut = o->is_cut || keep < size;
    o->total += keep;
    if (keep == 0 || s->connection == NULL) {
        return;
    }
    if (s->connection->protocol == PROTOCOL_1) {
        o->is_cut = !backlog_add(&o->captured, frame + AGENT_HEADER_SIZE, keep) || o->is_cut;
        return;
    }
    s->credit -= keep;
    store_be32(frame, (uint32_t)(AGENT_LENGTH_MIN + keep));
    frame[4] = (uint8_t)o->type;
    frame[5] = 0;
    store_be16(frame + 6, (uint16_t)s->id);
    connection_send(s->connection, frame, AGENT_HEADER_SIZE + keep);
}

/* Move what there is. Whether to go on when a write would wait is the watch's to say. */
static void pump(struct stream *s, struct output *o)
{
    for (unsigned rounds = 0; !o->is_at_end && rounds < 8; rounds++) {
        size_t room = room_of(s, o);
        ssize_t n = 0;

        if (room == 0) {
            source_watch(&o->source, 0);
            return;
        }
        n = read(o->source.fd, frame + AGENT_HEADER_SIZE, room);
        if (n > 0) {
            pass_on(s, o, (size_t)n);
            rounds = s->is_reaped ? 0 : rounds; /* nothing else will bring us back for the rest */
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN && !s->is_reaped) {
            break;
        } else {
            /* The end (EIO: of a terminal); or nothing more, and the program is gone. */
            end_output(s, o);
        }
    }
    source_watch(&o->source, EPOLLIN);
}

static void on_output(struct source *source, uint32_t events)
{
    struct output *o = container_of(source, struct output, source);
    struct stream *s = o->stream;

    (void)events;
    pump(s, o);
    (void)finish_if_done(s);
}

/* --- input ------------------------------------------------------------------------------------ */

static void grant(struct stream *s, size_t size)
{
    uint8_t payload[4];

    s->in_used += (uint32_t)size;
    if (s->in_used >= WINDOW_STEP && s->connection != NULL &&
        s->connection->protocol == PROTOCOL_2) {
        store_be32(payload, s->in_used);
        s->in_used = 0;
        connection_frame(s->connection, AGENT_WINDOW, 0, s->id, payload, sizeof(payload));
    }
}

/* Nobody reads any more: what is kept and what comes is dropped, so that the host goes on. */
static void end_input(struct stream *s)
{
    size_t dropped = s->in_backlog.size;

    source_close(&s->in);
    backlog_clear(&s->in_backlog);
    grant(s, dropped);
}

static void push_input(struct stream *s)
{
    ssize_t n = backlog_flush(&s->in_backlog, s->in.fd);

    if (n < 0) {
        end_input(s);
        return;
    }
    grant(s, (size_t)n);
    if (s->in_backlog.size == 0 && s->in_ends) {
        end_input(s);
        return;
    }
    /* A hang-up of the reader is news even when nothing is to be written: it shows at the write. */
    source_watch(&s->in, s->in_backlog.size > 0 ? (uint32_t)EPOLLOUT : 0);
}

static void on_input(struct source *source, uint32_t events)
{
    (void)events;
    push_input(container_of(source, struct stream, in));
}

/* ^D on an empty line is how a terminal's input ends. */
static void end_terminal_input(struct stream *s)
{
    static const char eot = 4;

    if (s->is_tty && !s->in_ends && !backlog_add(&s->in_backlog, &eot, 1)) {
        end_input(s);
    }
}

void stream_stdin(struct stream *s, const void *bytes, size_t size, bool is_end)
{
    if (s->kind != STREAM_EXEC) {
        connection_fail(s->connection, AGENT_ERROR_PROTOCOL, "STDIN for no program");
        return;
    }
    if (s->in_ends || (s->in.fd < 0 && size > 0)) {
        grant(s, size);
        return;
    }
    if (s->connection->protocol == PROTOCOL_2 &&
        s->in_backlog.size + s->in_used + size > AGENT_WINDOW_START + 1) {
        connection_fail(s->connection, AGENT_ERROR_PROTOCOL, "STDIN beyond its credit");
        return;
    }
    if (!backlog_add(&s->in_backlog, bytes, size)) {
        connection_error(s->connection, s->id, AGENT_ERROR_NO_MEMORY, "no memory for STDIN");
        stream_lost(s);
        return;
    }
    if (is_end) {
        end_terminal_input(s);
        s->in_ends = !s->is_tty;
    }
    if (s->in.fd >= 0) {
        push_input(s);
    }
}

/* --- starting --------------------------------------------------------------------------------- */

/* A pipe; `inner` is the program's end and blocks. */
static bool make_pipe(int *ours, int *inner, bool is_input)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return false;
    }
    *ours = fds[is_input ? 1 : 0];
    *inner = fds[is_input ? 0 : 1];
    (void)fcntl(*ours, F_SETFL, O_NONBLOCK);
    return true;
}

/* One for all programs. */
static int open_null(void)
{
    if (null_fd < 0) {
        null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    return null_fd;
}

static bool make_pipes(struct stream *s, const struct exec_request *r, int inner[3])
{
    if (r->want_stdin) {
        if (!make_pipe(&s->in.fd, &inner[0], true)) {
            return false;
        }
    } else {
        inner[0] = open_null();
        if (inner[0] < 0) {
            return false;
        }
    }
    return make_pipe(&s->out.source.fd, &inner[1], false) &&
           make_pipe(&s->err.source.fd, &inner[2], false);
}

static bool make_terminal(struct stream *s, const struct exec_request *r, int inner[3])
{
    int master = -1;

    if (!open_terminal(&master, &inner[0], r->rows, r->cols)) {
        return false;
    }
    s->is_tty = true;
    s->out.source.fd = master;
    s->in.fd = fcntl(master, F_DUPFD_CLOEXEC, 3);
    s->in.is_shared = s->out.source.is_shared = true;
    inner[1] = inner[2] = inner[0];
    s->err.is_at_end = true;
    return s->in.fd >= 0;
}

static void close_inner(const int inner[3])
{
    for (int i = 0; i < 3; i++) {
        if (inner[i] >= 0 && inner[i] != null_fd && (i == 0 || inner[i] != inner[i - 1])) {
            (void)close(inner[i]);
        }
    }
}

/* The program did not start: standard error says why, EXIT the code. */
static void refuse(struct stream *s, const struct exec_request *r, const struct spawn *p)
{
    char text[512];
    int size = snprintf(text, sizeof(text), "drupe-agent: %s: %s: %s\n",
                        p->code == AGENT_CODE_SETUP && p->what[0] == 'e' ? r->cwd : r->argv[0],
                        p->what, strerror(p->error));

    size = min_of(size, (int)sizeof(text) - 1);
    if (s->connection->protocol == PROTOCOL_1) {
        s->err.is_cut = !backlog_add(&s->err.captured, text, (size_t)size);
        protocol1_exit(s, p->code);
    } else {
        connection_frame(s->connection, AGENT_STDOUT, AGENT_END, s->id, NULL, 0);
        connection_frame(s->connection, AGENT_STDERR, AGENT_END, s->id, text, (size_t)size);
        send_exit(s, p->code, 0);
    }
    stream_free(s);
}

static void started(struct stream *s, const struct exec_request *r)
{
    s->output_max = r->output_max;
    s->term_ns = r->timeout_ms == 0 ? 0 : s->started_ns + r->timeout_ms * MS;
    s->in.fn = on_input;
    s->out.source.fn = on_output;
    s->err.source.fn = on_output;
    source_watch(&s->out.source, EPOLLIN);
    source_watch(&s->err.source, EPOLLIN);
}

void stream_exec(struct connection *c, unsigned id, const struct exec_request *r)
{
    struct stream *s = stream_create(c, STREAM_EXEC, id);
    int inner[3] = { -1, -1, -1 };
    struct spawn p = { .request = r };
    bool is_ready = false;

    if (s == NULL) {
        connection_error(c, id, AGENT_ERROR_NO_MEMORY, "no memory for a stream");
        return;
    }
    s->started_ns = now_ns();
    is_ready = r->has_tty ? make_terminal(s, r, inner) : make_pipes(s, r, inner);
    if (is_ready) {
        memcpy(p.fds, inner, sizeof(p.fds));
        p.has_terminal = r->has_tty;
        s->pid = spawn_program(&p);
    } else {
        p.code = AGENT_CODE_SETUP;
        p.error = errno;
        p.what = r->has_tty ? "open a terminal" : "open its streams";
    }
    close_inner(inner);
    if (p.code != 0) {
        refuse(s, r, &p);
        return;
    }
    started(s, r);
}

/* --- what the host says ----------------------------------------------------------------------- */

void streams_resume(struct connection *c)
{
    struct stream *s = NULL;
    struct stream *next = NULL;

    list_for_each_entry_safe(s, next, &c->streams, link) {
        stream_window(s, 0);
    }
}

void stream_window(struct stream *s, uint32_t credit)
{
    s->credit += credit;
    if (s->credit > AGENT_WINDOW_MAX) {
        connection_fail(s->connection, AGENT_ERROR_PROTOCOL, "more credit than there may be");
        return;
    }
    if (s->kind == STREAM_READ) {
        stream_read_more(s);
        return;
    }
    if (!s->out.is_at_end) {
        pump(s, &s->out);
    }
    if (!s->err.is_at_end) {
        pump(s, &s->err);
    }
    (void)finish_if_done(s);
}

void stream_resize(struct stream *s, unsigned rows, unsigned cols)
{
    if (s->is_tty) {
        (void)set_terminal_size(s->in.fd >= 0 ? s->in.fd : s->out.source.fd, rows, cols);
    }
}

void stream_signal(struct stream *s, int signal)
{
    if (s->kind == STREAM_READ) { /* the host has read enough */
        connection_frame(s->connection, AGENT_DATA, AGENT_END, s->id, NULL, 0);
        stream_free(s);
    } else if (!s->is_reaped && signal > 0 && signal <= 64) {
        (void)kill(-s->pid, signal);
    }
}

void stream_lost(struct stream *s)
{
    list_remove(&s->link);
    s->connection = NULL;
    if (s->kind != STREAM_EXEC) {
        stream_free(s);
        return;
    }
    source_close(&s->in);
    end_output(s, &s->out);
    end_output(s, &s->err);
    if (finish_if_done(s)) {
        return;
    }
    (void)kill(-s->pid, SIGHUP);
    s->term_ns = 0;
    s->kill_ns = now_ns() + AGENT_KILL_AFTER_MS * MS;
}

/* --- what the machine says -------------------------------------------------------------------- */

bool streams_reaped(pid_t pid, int status)
{
    struct stream *s = NULL;

    list_for_each_entry(s, &streams, all) {
        if (s->kind == STREAM_EXEC && s->pid == pid && !s->is_reaped) {
            s->is_reaped = true;
            s->status = status;
            if (s->is_timed_out || s->connection == NULL) {
                (void)kill(-pid, SIGKILL); /* whoever is left of its group */
            }
            source_close(&s->in);
            /* What it wrote last is still in the pipes. */
            stream_window(s, 0);
            return true;
        }
    }
    return false;
}

static void due(struct stream *s, uint64_t now)
{
    if (s->term_ns != 0 && now >= s->term_ns) {
        s->is_timed_out = true;
        s->term_ns = 0;
        s->kill_ns = now + AGENT_KILL_AFTER_MS * MS;
        (void)kill(-s->pid, SIGTERM);
        (void)kill(-s->pid, SIGCONT); /* a stopped one does not see it otherwise */
    }
    if (s->kill_ns != 0 && now >= s->kill_ns) {
        s->kill_ns = 0;
        (void)kill(-s->pid, SIGKILL);
    }
}

uint64_t streams_due(uint64_t now)
{
    uint64_t first = 0;
    struct stream *s = NULL;

    list_for_each_entry(s, &streams, all) {
        uint64_t next = 0;

        if (s->kind != STREAM_EXEC || s->is_reaped) {
            continue;
        }
        due(s, now);
        next = s->term_ns != 0 ? s->term_ns : s->kill_ns;
        first = next != 0 && (first == 0 || next < first) ? next : first;
    }
    return first;
}
