/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: one thread, one epoll loop. docs/agent.md says what it does; this header is what its
 * files share. Everything that a peer sends is hostile: lengths and counts are checked, memory is
 * bounded, and a request that makes no sense costs its sender the connection and nobody else.
 */
#pragma once

#include <sys/types.h>

#include <base/bytes.h>
#include <base/compiler.h>
#include <base/list.h>

#include <abi/agent.h>

#define BUILD_NAME "drupe-agent 1"

/* A connection that has so many bytes waiting takes no more output from its programs. */
#define OUT_HIGH ((size_t)256 << 10)

/* --- loop.c ----------------------------------------------------------------------------------- */

/* A descriptor that the loop watches; fn runs when `events` (EPOLL*) come. */
struct source {
    int fd; /* -1: none */
    bool is_watched;
    bool is_shared; /* another descriptor of ours is the same open file */
    uint32_t events;
    void (*fn)(struct source *s, uint32_t events);
};

void loop_init(void);
/* Watch for `wanted`, 0: not at all (also no hang-ups). */
void source_watch(struct source *s, uint32_t wanted);
void source_close(struct source *s);
_Noreturn void loop_run(void);
uint64_t now_ns(void);

/* --- connection.c ----------------------------------------------------------------------------- */

struct chunk {
    struct list link;
    size_t size;
    size_t offset; /* sent or written so far */
    uint8_t bytes[];
};

/* Bytes that wait for a descriptor to take them. */
struct backlog {
    struct list chunks;
    size_t size;
};

void backlog_init(struct backlog *b);
void backlog_clear(struct backlog *b);
/* False: no memory; nothing was added. */
bool backlog_add(struct backlog *b, const void *bytes, size_t size) MUST_CHECK;
/* Write what the descriptor takes. Bytes written; -1: it is broken. */
ssize_t backlog_flush(struct backlog *b, int fd);

enum protocol {
    PROTOCOL_UNKNOWN, /* the first bytes tell */
    PROTOCOL_1,
    PROTOCOL_2,
};

struct connection {
    struct source source;
    struct list link;
    enum protocol protocol;
    bool has_hello;
    bool is_ending; /* to be closed once its backlog is sent */
    uint8_t *in;    /* one frame being received */
    size_t in_size;
    size_t in_room;
    struct backlog out;
    struct list streams;
    size_t held_size;
    uint8_t held[512]; /* frames of this round of the loop, which go out with one call */
};

void connection_accept(struct source *s, uint32_t events);
unsigned connection_count(void);
/* Send what the connections hold back: at the end of each round. */
void connections_flush(void);
/* Bytes as they are; on lack of memory the connection ends. */
void connection_send(struct connection *c, const void *bytes, size_t size);
void connection_frame(struct connection *c, unsigned type, unsigned flags, unsigned stream,
                      const void *payload, size_t size);
void connection_error(struct connection *c, unsigned stream, unsigned code, const char *text);
/* A protocol error: ERROR on stream 0, then the end. */
void connection_fail(struct connection *c, unsigned code, const char *text);

/* --- stream.c --------------------------------------------------------------------------------- */

enum stream_kind {
    STREAM_EXEC,
    STREAM_READ,
};

struct output {
    struct source source;
    struct stream *stream;
    unsigned type;  /* AGENT_STDOUT or AGENT_STDERR */
    uint64_t total; /* bytes read of it */
    bool is_cut;
    bool is_at_end;
    struct backlog captured; /* protocol 1 */
};

struct stream {
    struct list link; /* in its connection */
    struct list all;
    struct connection *connection; /* NULL: lost; the program is being ended */
    enum stream_kind kind;
    unsigned id;
    uint64_t credit;

    /* EXEC */
    pid_t pid;
    bool is_reaped;
    bool is_tty;
    int status; /* as wait(2) */
    bool is_timed_out;
    uint64_t started_ns;
    uint64_t term_ns; /* when to send SIGTERM; 0: never */
    uint64_t kill_ns; /* and SIGKILL */
    uint64_t output_max;
    struct source in;
    struct backlog in_backlog;
    bool in_ends;     /* after the backlog */
    uint32_t in_used; /* bytes that the host may send again and does not know of */
    struct output out, err;

    /* READ */
    int file;
    uint64_t left;
};

struct exec_request {
    char **argv; /* NULL-terminated, as the next */
    char **env;
    const char *cwd;
    uint32_t uid, gid;
    uint64_t timeout_ms; /* 0: none */
    uint64_t output_max; /* 0: none */
    bool want_stdin;
    bool has_tty;
    uint16_t rows, cols;
};

struct stream *stream_find(struct connection *c, unsigned id);
unsigned stream_count(void);
struct stream *stream_create(struct connection *c, enum stream_kind kind, unsigned id);
/* Start the program. What goes wrong is told to the host. */
void stream_exec(struct connection *c, unsigned id, const struct exec_request *r);
void stream_stdin(struct stream *s, const void *bytes, size_t size, bool is_end);
void stream_window(struct stream *s, uint32_t credit);
void stream_resize(struct stream *s, unsigned rows, unsigned cols);
void stream_signal(struct stream *s, int signal);
void stream_lost(struct stream *s);
/* The connection has room again. */
void streams_resume(struct connection *c);
void stream_free(struct stream *s);
/* A child has ended. False: none of ours. */
bool streams_reaped(pid_t pid, int status);
/* Carry out what is due; returns when the next thing is, 0: never. */
uint64_t streams_due(uint64_t now);
void stream_read_more(struct stream *s);

/* --- spawn.c ---------------------------------------------------------------------------------- */

struct spawn {
    const struct exec_request *request;
    int fds[3];        /* what becomes 0, 1, 2; above 2 */
    bool has_terminal; /* fds[0] becomes the controlling terminal */
    /* Out, when spawn_program() fails: */
    int code;         /* 125, 126, 127 */
    int error;        /* errno */
    const char *what; /* was being done */
};

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Its pid, in a session and group of its own; -1. */
pid_t spawn_program(struct spawn *s);
/* A pair of a terminal: the master is non-blocking. False: errno. */
bool open_terminal(int *master, int *slave, unsigned rows, unsigned cols);
bool set_terminal_size(int fd, unsigned rows, unsigned cols);

/* --- request.c, files.c, protocol1.c -----------------------------------------------------------
 */

/* Understand EXEC's JSON, in place. NULL: done, and `vectors` is to be freed; else why not. */
struct exec_vectors {
    char **argv, **env;
};

const char *exec_parse(char *text, size_t size, struct exec_request *r, struct exec_vectors *v);
void exec_vectors_free(struct exec_vectors *v);

void files_read(struct connection *c, unsigned id, const uint8_t *payload, size_t size);
void files_write(struct connection *c, unsigned id, const uint8_t *payload, size_t size);
void files_list(struct connection *c, unsigned id, const uint8_t *payload, size_t size);
void files_stat(struct connection *c, unsigned id, const uint8_t *payload, size_t size);

/* One message; text[size] is free for a NUL. */
void protocol1_message(struct connection *c, char *text, size_t size);
/* An exec of protocol 1 has ended. */
void protocol1_exit(struct stream *s, int code);

/* --- init.c ----------------------------------------------------------------------------------- */

void init_start(char **argv); /* mounts and the workload, when this is process 1 */
bool init_reaped(pid_t pid, int status);
void init_signal(int signal); /* pass it on */
_Noreturn void machine_shutdown(unsigned mode);
