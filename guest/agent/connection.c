/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the host: bytes in and out, frames, and who handles them. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"

#define IN_START  4096u
#define CHUNK_MIN 4096u

static struct list connections = LIST_INIT(connections);
static unsigned count;

/* The last connection that went, with its buffer: most of them come one after the other, and memory
 * that is given back and asked for again costs system calls and page faults. */
static struct connection *idle;

unsigned connection_count(void)
{
    return count;
}

/* --- backlogs --------------------------------------------------------------------------------- */

void backlog_init(struct backlog *b)
{
    list_init(&b->chunks);
    b->size = 0;
}

void backlog_clear(struct backlog *b)
{
    while (!list_is_empty(&b->chunks)) {
        struct chunk *k = list_first(&b->chunks, struct chunk, link);

        list_remove(&k->link);
        free(k);
    }
    b->size = 0;
}

bool backlog_add(struct backlog *b, const void *bytes, size_t size)
{
    struct chunk *k = NULL;

    if (size == 0) {
        return true;
    }
    k = malloc(sizeof(*k) + size);
    if (k == NULL) {
        return false;
    }
    *k = (struct chunk){ .size = size };
    memcpy(k->bytes, bytes, size);
    list_push_back(&b->chunks, &k->link);
    b->size += size;
    return true;
}

ssize_t backlog_flush(struct backlog *b, int fd)
{
    ssize_t total = 0;

    while (!list_is_empty(&b->chunks)) {
        struct chunk *k = list_first(&b->chunks, struct chunk, link);
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what was freed has left the ring
        ssize_t n = write(fd, k->bytes + k->offset, k->size - k->offset);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR ? total : -1;
        }
        total += n;
        k->offset += (size_t)n;
        b->size -= (size_t)n;
        if (k->offset == k->size) {
            list_remove(&k->link);
            free(k);
        }
    }
    return total;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void connection_close(struct connection *c)
{
    while (!list_is_empty(&c->streams)) {
        stream_lost(list_first(&c->streams, struct stream, link));
    }
    source_close(&c->source);
    backlog_clear(&c->out);
    list_remove(&c->link);
    count--;
    if (idle == NULL && c->in_room == IN_START + 1) {
        idle = c;
        return;
    }
    free(c->in);
    free(c);
}

static struct connection *connection_alloc(void)
{
    struct connection *c = idle;
    uint8_t *in = NULL;

    if (c == NULL) {
        return calloc(1, sizeof(*c));
    }
    idle = NULL;
    in = c->in;
    *c = (struct connection){ .in = in, .in_room = IN_START + 1 };
    return c;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void watch(struct connection *c)
{
    uint32_t in = c->is_ending ? 0 : (uint32_t)EPOLLIN;

    source_watch(&c->source, c->out.size > 0 ? in | EPOLLOUT : in != 0 ? in : EPOLLOUT);
}

/* The loop ends it: it may be in use further up. */
static void end_soon(struct connection *c)
{
    c->is_ending = true;
    watch(c);
}

static void send_now(struct connection *c, const void *bytes, size_t size)
{
    size_t done = 0;

    if (c->out.size == 0) {
        ssize_t n = send(c->source.fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

        done = n > 0 ? (size_t)n : 0;
    }
    if (done < size && !backlog_add(&c->out, (const uint8_t *)bytes + done, size - done)) {
        backlog_clear(&c->out);
        end_soon(c);
        return;
    }
    watch(c);
}

static void flush_held(struct connection *c)
{
    size_t size = c->held_size;

    c->held_size = 0;
    if (size > 0) {
        send_now(c, c->held, size);
    }
}

void connections_flush(void)
{
    struct connection *c = NULL;

    list_for_each_entry(c, &connections, link) {
        flush_held(c);
    }
}

void connection_send(struct connection *c, const void *bytes, size_t size)
{
    if (size > sizeof(c->held) - c->held_size) {
        flush_held(c);
    }
    if (size > sizeof(c->held)) {
        send_now(c, bytes, size);
        return;
    }
    memcpy(c->held + c->held_size, bytes, size);
    c->held_size += size;
}

void connection_frame(struct connection *c, unsigned type, unsigned flags, unsigned stream,
                      const void *payload, size_t size)
{
    uint8_t frame[AGENT_HEADER_SIZE + 512];
    uint8_t *whole =
        size <= sizeof(frame) - AGENT_HEADER_SIZE ? frame : malloc(AGENT_HEADER_SIZE + size);

    if (whole == NULL) {
        backlog_clear(&c->out);
        end_soon(c);
        return;
    }
    store_be32(whole, (uint32_t)(AGENT_LENGTH_MIN + size));
    whole[4] = (uint8_t)type;
    whole[5] = (uint8_t)flags;
    store_be16(whole + 6, (uint16_t)stream);
    if (size > 0) {
        memcpy(whole + AGENT_HEADER_SIZE, payload, size);
    }
    connection_send(c, whole, AGENT_HEADER_SIZE + size);
    if (whole != frame) {
        free(whole);
    }
}

void connection_error(struct connection *c, unsigned stream, unsigned code, const char *text)
{
    uint8_t payload[256];
    size_t size = strnlen(text, sizeof(payload) - 4);

    store_be32(payload, code);
    memcpy(payload + 4, text, size);
    connection_frame(c, AGENT_ERROR, 0, stream, payload, 4 + size);
}

void connection_fail(struct connection *c, unsigned code, const char *text)
{
    connection_error(c, 0, code, text);
    end_soon(c);
}

/* --- frames ----------------------------------------------------------------------------------- */

struct frame {
    unsigned type;
    unsigned flags;
    unsigned stream;
    uint8_t *payload; /* payload[size] may be written */
    size_t size;
};

static void on_hello(struct connection *c, const struct frame *f)
{
    static const char build[] = BUILD_NAME;
    uint8_t reply[sizeof(struct agent_hello) + sizeof(build) - 1];

    if (f->size < sizeof(struct agent_hello) || f->stream != 0 || c->has_hello) {
        connection_fail(c, AGENT_ERROR_PROTOCOL, "a wrong HELLO");
        return;
    }
    if (load_be16(f->payload) > AGENT_VERSION_MAX ||
        load_be16(f->payload + 2) < AGENT_VERSION_MIN) {
        connection_fail(c, AGENT_ERROR_VERSION, "no version in common");
        return;
    }
    c->has_hello = true;
    store_be16(reply, AGENT_VERSION_MIN);
    store_be16(reply + 2, AGENT_VERSION_MAX);
    store_be32(reply + 4, AGENT_CAN_EXEC | AGENT_CAN_FILES | AGENT_CAN_SHUTDOWN | AGENT_CAN_TTY |
                              AGENT_CAN_NODES);
    memcpy(reply + sizeof(struct agent_hello), build, sizeof(build) - 1);
    connection_frame(c, AGENT_HELLO, 0, 0, reply, sizeof(reply));
}

static void on_exec(struct connection *c, const struct frame *f)
{
    struct exec_request r;
    struct exec_vectors v;
    const char *why = NULL;

    f->payload[f->size] = '\0';
    why = exec_parse((char *)f->payload, f->size, &r, &v);
    if (why != NULL) {
        connection_error(c, f->stream, AGENT_ERROR_REQUEST, why);
        return;
    }
    stream_exec(c, f->stream, &r);
    exec_vectors_free(&v);
}

static void on_request(struct connection *c, const struct frame *f)
{
    if (f->stream == 0) {
        connection_fail(c, AGENT_ERROR_PROTOCOL, "stream 0 is the connection's own");
        return;
    }
    if (stream_find(c, f->stream) != NULL || stream_count() == AGENT_STREAMS_MAX) {
        connection_error(c, f->stream, AGENT_ERROR_BUSY, "too many streams, or this one is open");
        return;
    }
    switch (f->type) {
    case AGENT_EXEC:
        on_exec(c, f);
        break;
    case AGENT_READ:
        files_read(c, f->stream, f->payload, f->size);
        break;
    case AGENT_WRITE:
        files_write(c, f->stream, f->payload, f->size);
        break;
    case AGENT_LIST:
        files_list(c, f->stream, f->payload, f->size);
        break;
    case AGENT_STAT:
        files_stat(c, f->stream, f->payload, f->size);
        break;
    default: /* AGENT_SHUTDOWN */
        if (f->size != 4 || load_be32(f->payload) > AGENT_REBOOT) {
            connection_error(c, f->stream, AGENT_ERROR_REQUEST, "a wrong mode");
            break;
        }
        connection_frame(c, AGENT_OK, 0, f->stream, NULL, 0);
        connections_flush();
        machine_shutdown(load_be32(f->payload));
    }
}

/* Frames of an open stream. One that has ended meanwhile: the host could not know. */
static void on_stream(struct connection *c, const struct frame *f)
{
    struct stream *s = stream_find(c, f->stream);

    if (f->type != AGENT_STDIN && f->size != 4) {
        connection_fail(c, AGENT_ERROR_PROTOCOL, "a frame of a wrong size");
        return;
    }
    if (s == NULL) {
        return;
    }
    switch (f->type) {
    case AGENT_STDIN:
        stream_stdin(s, f->payload, f->size, (f->flags & AGENT_END) != 0);
        break;
    case AGENT_WINDOW:
        stream_window(s, load_be32(f->payload));
        break;
    case AGENT_KILL:
        stream_signal(s, (int)load_be32(f->payload));
        break;
    default: /* AGENT_RESIZE */
        stream_resize(s, load_be16(f->payload), load_be16(f->payload + 2));
        break;
    }
}

static void on_frame(struct connection *c, const struct frame *f)
{
    if (!c->has_hello && f->type != AGENT_HELLO) {
        connection_fail(c, AGENT_ERROR_PROTOCOL, "HELLO comes first");
        return;
    }
    switch (f->type) {
    case AGENT_HELLO:
        on_hello(c, f);
        break;
    case AGENT_EXEC:
    case AGENT_READ:
    case AGENT_WRITE:
    case AGENT_LIST:
    case AGENT_STAT:
    case AGENT_SHUTDOWN:
        on_request(c, f);
        break;
    case AGENT_STDIN:
    case AGENT_WINDOW:
    case AGENT_KILL:
    case AGENT_RESIZE:
        on_stream(c, f);
        break;
    case AGENT_PING:
        if (f->size == 8) {
            connection_frame(c, AGENT_PONG, 0, f->stream, f->payload, f->size);
            break;
        }
        connection_fail(c, AGENT_ERROR_PROTOCOL, "PING has 8 bytes");
        break;
    case AGENT_PONG:
    case AGENT_ERROR:
        break;
    default:
        connection_fail(c, AGENT_ERROR_PROTOCOL, "an unknown frame");
        break;
    }
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Bytes that a frame or message needs as a whole, as far as that can be told; 0: it is too long. */
static size_t frame_size(const struct connection *c)
{
    size_t limit = c->protocol == PROTOCOL_1 ? AGENT_V1_MESSAGE_MAX : AGENT_LENGTH_MAX;
    size_t length = 0;

    if (c->protocol == PROTOCOL_UNKNOWN || c->in_size < 4) {
        return 5; /* tells the protocol */
    }
    length = load_be32(c->in);
    if (length > limit || (c->protocol == PROTOCOL_2 && length < AGENT_LENGTH_MIN)) {
        return 0;
    }
    return 4 + length;
}

static void handle_one(struct connection *c, size_t size)
{
    if (c->protocol == PROTOCOL_1) {
        char saved = (char)c->in[size]; /* the NUL goes where the next message may begin */

        protocol1_message(c, (char *)c->in + 4, size - 4);
        c->in[size] = (uint8_t)saved;
    } else {
        uint8_t saved = c->in[size];
        const struct frame f = { c->in[4], c->in[5], load_be16(c->in + 6),
                                 c->in + AGENT_HEADER_SIZE, size - AGENT_HEADER_SIZE };

        on_frame(c, &f);
        c->in[size] = saved;
    }
}

/* Handle what is complete. */
static void handle(struct connection *c)
{
    while (!c->is_ending) {
        size_t size = frame_size(c);

        if (size == 0) {
            if (c->protocol == PROTOCOL_1) {
                static const char text[] = "{\"type\":\"error\",\"message\":\"request too large\"}";
                uint8_t length[4];

                store_be32(length, sizeof(text) - 1);
                connection_send(c, length, sizeof(length));
                connection_send(c, text, sizeof(text) - 1);
                end_soon(c);
            } else {
                connection_fail(c, AGENT_ERROR_PROTOCOL, "a frame of a wrong length");
            }
            return;
        }
        if (c->in_size < size) {
            return;
        }
        if (c->protocol == PROTOCOL_UNKNOWN) {
            c->protocol = c->in[4] == '{' ? PROTOCOL_1 : PROTOCOL_2;
            continue;
        }
        handle_one(c, size);
        c->in_size -= size;
        memmove(c->in, c->in + size, c->in_size);
    }
}

/* Room for the frame under way, one byte to spare; a buffer that was large once is given back. */
static bool make_room(struct connection *c)
{
    size_t want = max_of(frame_size(c), (size_t)IN_START) + 1;
    uint8_t *in = NULL;

    if (c->in != NULL && c->in_room >= want && (c->in_room == IN_START + 1 || c->in_size > 0)) {
        return true;
    }
    in = realloc(c->in, want);
    if (in == NULL) {
        return false;
    }
    c->in = in;
    c->in_room = want;
    return true;
}

static void receive(struct connection *c)
{
    ssize_t n = 0;

    if (!make_room(c)) {
        connection_close(c);
        return;
    }
    n = recv(c->source.fd, c->in + c->in_size, c->in_room - 1 - c->in_size, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            connection_close(c);
        }
        return;
    }
    c->in_size += (size_t)n;
    handle(c);
}

static void on_event(struct source *s, uint32_t events)
{
    struct connection *c = container_of(s, struct connection, source);

    if ((events & EPOLLOUT) != 0) {
        bool was_full = c->out.size >= OUT_HIGH;

        if (backlog_flush(&c->out, s->fd) < 0 || (c->is_ending && c->out.size == 0)) {
            connection_close(c);
            return;
        }
        if (was_full && c->out.size < OUT_HIGH) {
            streams_resume(c);
        }
        watch(c);
    }
    if (!c->is_ending && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive(c);
    } else if (c->is_ending && (events & (EPOLLHUP | EPOLLERR)) != 0) {
        connection_close(c);
    }
}

void connection_accept(struct source *s, uint32_t events)
{
    int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct connection *c = fd >= 0 && count < AGENT_CONNECTIONS_MAX ? connection_alloc() : NULL;

    (void)events;
    if (c == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    c->source = (struct source){ .fd = fd, .fn = on_event };
    backlog_init(&c->out);
    list_init(&c->streams);
    list_push_back(&connections, &c->link);
    count++;
    source_watch(&c->source, EPOLLIN);
}
