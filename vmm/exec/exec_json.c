/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/exec_json.h"

#include <stdlib.h>
#include <string.h>

#include <base/fmt.h>

#include "drupe/agent.h"

void json_text_add(struct json_text *t, const void *bytes, size_t size)
{
    if (t->has_failed) {
        return;
    }
    if (t->room - t->size < size) {
        size_t room = (t->size + size) * 2 + 256;
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

static void add(struct json_text *t, const char *s)
{
    json_text_add(t, s, strlen(s));
}

static void add_string(struct json_text *t, const char *s, size_t size)
{
    add(t, "\"");
    while (size > 0) {
        size_t plain = 0;
        char escape[8];

        while (plain < size && (unsigned char)s[plain] >= 0x20 && s[plain] != '"' &&
               s[plain] != '\\') {
            plain++;
        }
        json_text_add(t, s, plain);
        if (plain < size) {
            (void)fmt_snprintf(escape, sizeof(escape), "\\u%04x", (unsigned char)s[plain]);
            add(t, escape);
            plain++;
        }
        s += plain;
        size -= plain;
    }
    add(t, "\"");
}

static void add_argv(struct json_text *t, const char *const *argv)
{
    add(t, "{\"argv\":[");
    for (size_t i = 0; argv[i] != NULL; i++) {
        add(t, i > 0 ? "," : "");
        add_string(t, argv[i], strlen(argv[i]));
    }
    add(t, "]");
}

static void add_env(struct json_text *t, const char *const *env)
{
    add(t, ",\"env\":{");
    for (size_t i = 0; env != NULL && env[i] != NULL; i++) {
        const char *equals = strchr(env[i], '='); /* looked for by the caller */

        add(t, i > 0 ? "," : "");
        add_string(t, env[i], (size_t)(equals - env[i]));
        add(t, ":");
        add_string(t, equals + 1, strlen(equals + 1));
    }
    add(t, "}");
}

static void add_number(struct json_text *t, const char *name, uint64_t n)
{
    char text[64];

    (void)fmt_snprintf(text, sizeof(text), ",\"%s\":%llu", name, (unsigned long long)n);
    add(t, text);
}

bool exec_json(const struct drupe_exec_options *o, struct json_text *out)
{
    char text[64];

    add_argv(out, o->argv);
    add_env(out, o->env);
    if (o->cwd != NULL) {
        add(out, ",\"cwd\":");
        add_string(out, o->cwd, strlen(o->cwd));
    }
    if (o->uid != 0 || o->gid != 0) {
        add_number(out, "uid", o->uid);
        add_number(out, "gid", o->gid);
    }
    if (o->timeout_ms == DRUPE_EXEC_TIMEOUT_NEVER) {
        add(out, ",\"timeout_ms\":null");
    } else {
        add_number(out, "timeout_ms", o->timeout_ms);
    }
    add_number(out, "max_output_bytes", o->max_output_bytes);
    if (o->want_stdin) {
        add(out, ",\"want_stdin\":true");
    }
    if (o->has_tty) {
        (void)fmt_snprintf(text, sizeof(text), ",\"tty\":{\"rows\":%u,\"cols\":%u}", o->tty_rows,
                           o->tty_cols);
        add(out, text);
    }
    add(out, "}");
    return !out->has_failed;
}
