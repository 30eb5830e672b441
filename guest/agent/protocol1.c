/* SPDX-License-Identifier: Apache-2.0 */
/* Protocol 1 (docs/agent.md): JSON messages, one request at a time, for old peers. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "json.h"

/* --- answers ---------------------------------------------------------------------------------- */

/* A message that grows; `has_failed` when memory ran out. */
struct text {
    char *bytes;
    size_t size;
    size_t room;
    bool has_failed;
};

static void add(struct text *t, const char *bytes, size_t size)
{
    if (t->has_failed || size == 0) {
        return;
    }
    if (t->room - t->size < size) {
        size_t room = (t->room + size) * 2;
        char *more = realloc(t->bytes, room);

        if (more == NULL) {
            t->has_failed = true;
            return;
        }
        t->bytes = more;
        t->room = room;
    }
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
}

static void add_text(struct text *t, const char *s)
{
    add(t, s, strlen(s));
}

/* Length of the UTF-8 sequence at p, at most `size` bytes of it; 0: it is none. */
static size_t utf8_length(const uint8_t *p, size_t size)
{
    size_t length = p[0] < 0x80                   ? 1
                    : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                    : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                    : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                  : 0;

    if (length == 0 || length > size) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0; /* too long a form, a surrogate, or beyond the last character */
    }
    return length;
}

/* As a JSON string's inside; what is no UTF-8 becomes U+FFFD. */
static void add_escaped(struct text *t, const uint8_t *p, size_t size)
{
    char escape[8];

    while (size > 0) {
        size_t length = utf8_length(p, size);

        if (length == 0) {
            add_text(t, "\xef\xbf\xbd");
            length = 1;
        } else if (*p == '"' || *p == '\\') {
            escape[0] = '\\';
            escape[1] = (char)*p;
            add(t, escape, 2);
        } else if (*p < 0x20) {
            (void)snprintf(escape, sizeof(escape), "\\u%04x", *p);
            add(t, escape, 6);
        } else {
            add(t, (const char *)p, length);
        }
        p += length;
        size -= length;
    }
}

static void add_member(struct text *t, const char *name, const void *bytes, size_t size)
{
    add_text(t, ",\"");
    add_text(t, name);
    add_text(t, "\":\"");
    add_escaped(t, bytes, size);
    add_text(t, "\"");
}

static void begin(struct text *t, const char *type)
{
    *t = (struct text){ 0 };
    add(t, "\0\0\0\0", 4); /* its length comes there */
    add_text(t, "{\"type\":\"");
    add_text(t, type);
    add_text(t, "\"");
}

static void finish(struct connection *c, struct text *t)
{
    add_text(t, "}");
    if (t->has_failed) {
        connection_fail(c, AGENT_ERROR_NO_MEMORY, "no memory");
    } else {
        store_be32(t->bytes, (uint32_t)(t->size - 4));
        connection_send(c, t->bytes, t->size);
    }
    free(t->bytes);
}

static void answer(struct connection *c, const char *type)
{
    struct text t;

    begin(&t, type);
    finish(c, &t);
}

static void refuse(struct connection *c, const char *why)
{
    struct text t;

    begin(&t, "error");
    add_member(&t, "message", why, strlen(why));
    finish(c, &t);
}

/* --- exec ------------------------------------------------------------------------------------- */

static void add_captured(struct text *t, const char *name, const struct backlog *b)
{
    /* In one piece: a character may lie across two reads. */
    struct text whole = { 0 };
    const struct chunk *k = NULL;

    list_for_each_entry(k, &b->chunks, link) {
        add(&whole, (const char *)k->bytes, k->size);
    }
    add_member(t, name, whole.bytes, whole.size);
    t->has_failed = t->has_failed || whole.has_failed;
    free(whole.bytes);
}

void protocol1_exit(struct stream *s, int code)
{
    char number[48];
    struct text t;

    begin(&t, "exec_result");
    (void)snprintf(number, sizeof(number), ",\"exit_code\":%d", code);
    add_text(&t, number);
    add_captured(&t, "stdout", &s->out.captured);
    add_captured(&t, "stderr", &s->err.captured);
    finish(s->connection, &t);
}

/* --- files ------------------------------------------------------------------------------------ */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct text *t, const uint8_t *p, size_t size)
{
    for (; size > 0; p += 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (size > 1 ? (uint32_t)p[1] << 8 : 0) |
                     (size > 2 ? (uint32_t)p[2] : 0);
        char out[4] = { base64[v >> 18], base64[v >> 12 & 63], base64[v >> 6 & 63],
                        base64[v & 63] };

        if (size < 3) {
            out[3] = '=';
        }
        if (size < 2) {
            out[2] = '=';
        }
        add(t, out, 4);
        size -= min_of(size, (size_t)3);
    }
}

/* In place; the size, or -1: it is no base64. */
static ssize_t decode_base64(char *text, size_t size)
{
    size_t out = 0;
    uint32_t v = 0;

    if (size % 4 != 0) {
        return -1;
    }
    for (size_t i = 0; i < size; i++) {
        const char *found = text[i] != '\0' ? strchr(base64, text[i]) : NULL;
        bool is_pad = text[i] == '=' && i + 2 >= size && (i + 1 == size || text[i + 1] == '=');

        if (found == NULL && !is_pad) {
            return -1;
        }
        v = v << 6 | (is_pad ? 0 : (uint32_t)(found - base64));
        if (i % 4 == 3) {
            size_t keep = text[i] != '=' ? 3 : text[i - 1] != '=' ? 2 : 1;
            const char bytes[3] = { (char)(v >> 16), (char)(v >> 8), (char)v };

            memcpy(text + out, bytes, keep); /* never ahead of what is read */
            out += keep;
            v = 0;
        }
    }
    return (ssize_t)out;
}

struct request {
    const char *type, *command, *path;
    char *contents, *in;
    size_t contents_size, in_size;
    struct exec_request exec;
    char *args[1024];
    char *env[AGENT_ENV_MAX + 8]; /* and PATH, facts about the CPU, NULL */
    size_t arg_count;
    size_t env_count;
};

#define FILE_MAX ((size_t)7 << 20) /* as base64 it fits a message */

static void read_file(struct connection *c, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct text whole = { 0 };
    char buf[4096];
    struct text t;
    ssize_t n = fd < 0 ? -1 : 0;

    while (fd >= 0 && whole.size <= FILE_MAX && (n = read(fd, buf, sizeof(buf))) > 0) {
        add(&whole, buf, (size_t)n);
    }
    if (n < 0 || whole.size > FILE_MAX || whole.has_failed) {
        refuse(c, n < 0 ? strerror(errno) : "the file is too large");
    } else {
        begin(&t, "file_contents");
        add_text(&t, ",\"contents\":\"");
        add_base64(&t, (const uint8_t *)whole.bytes, whole.size);
        add_text(&t, "\"");
        finish(c, &t);
    }
    free(whole.bytes);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void write_file(struct connection *c, const struct request *r)
{
    ssize_t size = decode_base64(r->contents, r->contents_size);
    ssize_t done = 0;
    int fd = -1;

    if (size < 0) {
        refuse(c, "contents is not base64");
        return;
    }
    fd = open(r->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    while (fd >= 0 && done < size) {
        ssize_t n = write(fd, r->contents + done, (size_t)(size - done));

        if (n <= 0) {
            break;
        }
        done += n;
    }
    if (fd < 0 || done < size) {
        refuse(c, strerror(errno));
    } else {
        answer(c, "success");
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void list_directory(struct connection *c, const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e = NULL;
    bool is_first = true;
    struct text t;

    if (d == NULL) {
        refuse(c, strerror(errno));
        return;
    }
    begin(&t, "directory_listing");
    add_text(&t, ",\"files\":[");
    while (t.size < FILE_MAX && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            add_text(&t, is_first ? "\"" : ",\"");
            add_escaped(&t, (const uint8_t *)e->d_name, strlen(e->d_name));
            add_text(&t, "\"");
            is_first = false;
        }
    }
    add_text(&t, "]");
    (void)closedir(d);
    finish(c, &t);
}

/* --- requests --------------------------------------------------------------------------------- */

static void parse_args(struct json *j, struct request *r)
{
    json_array_begin(j);
    while (json_array_next(j)) {
        char *arg = json_string(j, NULL);

        if (r->arg_count + 2 >= array_size(r->args)) {
            json_fail(j, "too many arguments");
            return;
        }
        r->args[++r->arg_count] = arg; /* args[0] is the command */
    }
}

static void parse_env(struct json *j, struct request *r)
{
    char *name = NULL;

    json_object_begin(j);
    while (json_object_next(j, &name)) {
        size_t name_size = strlen(name);
        char *value = json_string(j, NULL);

        if (j->error != NULL || name_size == 0 || r->env_count == AGENT_ENV_MAX) {
            json_fail(j, "a wrong env");
            return;
        }
        name[name_size] = '='; /* quotes and colon left room for it */
        memmove(name + name_size + 1, value, strlen(value) + 1);
        r->env[r->env_count++] = name;
    }
}

static void parse_member(struct json *j, const char *key, struct request *r)
{
    if (json_peek(j) == 'n') {
        (void)json_null(j); /* as if it were missing */
    } else if (strcmp(key, "type") == 0) {
        r->type = json_string(j, NULL);
    } else if (strcmp(key, "command") == 0) {
        r->command = r->args[0] = json_string(j, NULL);
    } else if (strcmp(key, "path") == 0) {
        r->path = json_string(j, NULL);
    } else if (strcmp(key, "contents") == 0) {
        r->contents = json_string(j, &r->contents_size);
    } else if (strcmp(key, "stdin") == 0) {
        r->in = json_string(j, &r->in_size);
    } else if (strcmp(key, "cwd") == 0 || strcmp(key, "workdir") == 0) {
        r->exec.cwd = json_string(j, NULL);
    } else if (strcmp(key, "timeout_ms") == 0) {
        r->exec.timeout_ms = json_number(j);
    } else if (strcmp(key, "args") == 0) {
        parse_args(j, r);
    } else if (strcmp(key, "env") == 0) {
        parse_env(j, r);
    } else {
        json_skip(j); /* old peers send more than the protocol says */
    }
}

static void exec(struct connection *c, struct request *r)
{
    static char path[] = "PATH=" DEFAULT_PATH;
    struct exec_request *e = &r->exec;
    bool has_path = false;

    if (r->command == NULL || r->command[0] == '\0') {
        refuse(c, "the command is empty");
        return;
    }
    if (e->timeout_ms == 0 || e->timeout_ms > AGENT_TIMEOUT_MS_MAX) {
        refuse(c, "timeout_ms is not in 1 to 86400000");
        return;
    }
    for (size_t i = 0; i < r->env_count; i++) {
        has_path = has_path || strncmp(r->env[i], "PATH=", 5) == 0;
    }
    if (!has_path) {
        r->env[r->env_count++] = path;
    }
    e->argv = r->args;
    e->env = r->env;
    e->want_stdin = r->in_size > 0;
    stream_exec(c, 1, e);
    if (e->want_stdin && stream_find(c, 1) != NULL) {
        stream_stdin(stream_find(c, 1), r->in, r->in_size, true);
    }
}

static void dispatch(struct connection *c, struct request *r)
{
    if (r->type == NULL) {
        refuse(c, "type is missing");
    } else if (strcmp(r->type, "ping") == 0) {
        answer(c, "pong");
    } else if (strcmp(r->type, "exec") == 0) {
        exec(c, r);
    } else if (strcmp(r->type, "shutdown") == 0) {
        answer(c, "success");
        connections_flush();
        machine_shutdown(AGENT_POWER_OFF);
    } else if (r->path == NULL) {
        refuse(c, "path is missing, or the type is unknown");
    } else if (strcmp(r->type, "read_file") == 0) {
        read_file(c, r->path);
    } else if (strcmp(r->type, "write_file") == 0 && r->contents != NULL) {
        write_file(c, r);
    } else if (strcmp(r->type, "list_dir") == 0) {
        list_directory(c, r->path);
    } else {
        refuse(c, "an unknown type");
    }
}

void protocol1_message(struct connection *c, char *text, size_t size)
{
    struct request *r = NULL;
    char *key = NULL;
    struct json j;

    if (!list_is_empty(&c->streams)) {
        refuse(c, "one request at a time");
        return;
    }
    r = calloc(1, sizeof(*r));
    if (r == NULL) {
        connection_fail(c, AGENT_ERROR_NO_MEMORY, "no memory");
        return;
    }
    r->exec = (struct exec_request){ .cwd = "/",
                                     .timeout_ms = AGENT_TIMEOUT_MS_DEFAULT,
                                     .output_max = AGENT_V1_OUTPUT_MAX };
    json_init(&j, text, size);
    json_object_begin(&j);
    while (json_object_next(&j, &key)) {
        parse_member(&j, key, r);
    }
    if (json_end(&j)) {
        dispatch(c, r);
    } else {
        refuse(c, j.error);
    }
    free(r);
}
