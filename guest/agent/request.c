/* SPDX-License-Identifier: Apache-2.0 */
/* EXEC's JSON (docs/agent.md). */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "json.h"

struct vector {
    char **items; /* count, and room for two more: an addition and the NULL */
    size_t count;
    size_t room;
};

static bool vector_add(struct vector *v, char *item)
{
    if (v->count + 2 >= v->room) {
        size_t room = v->room == 0 ? 16 : v->room * 2;
        char **more = realloc(v->items, room * sizeof(*more));

        if (more == NULL) {
            return false;
        }
        v->items = more;
        v->room = room;
    }
    v->items[v->count++] = item;
    v->items[v->count] = NULL;
    return true;
}

static void parse_argv(struct json *j, struct vector *v)
{
    json_array_begin(j);
    while (json_array_next(j)) {
        if (!vector_add(v, json_string(j, NULL))) {
            json_fail(j, "no memory");
        }
    }
    if (v->count == 0 || v->items[0][0] == '\0') {
        json_fail(j, "argv is empty");
    }
}

/* "NAME=value" in place: what stood between name and value leaves room for the '='. */
static void parse_env(struct json *j, struct vector *v)
{
    char *name = NULL;

    json_object_begin(j);
    while (json_object_next(j, &name)) {
        size_t name_size = strlen(name);
        size_t size = 0;
        char *value = json_string(j, &size);

        if (j->error != NULL) {
            return;
        }
        if (name_size == 0 || strchr(name, '=') != NULL || strlen(value) != size) {
            json_fail(j, "env: a name is empty or holds '=', or a value holds NUL");
            return;
        }
        name[name_size] = '=';
        memmove(name + name_size + 1, value, size + 1);
        if (v->count == AGENT_ENV_MAX || !vector_add(v, name)) {
            json_fail(j, v->count == AGENT_ENV_MAX ? "env has too many members" : "no memory");
        }
    }
}

/* Is the name of "NAME=value" set? */
static bool has_name(const struct vector *v, const char *assignment)
{
    size_t size = strcspn(assignment, "=") + 1;

    for (size_t i = 0; i < v->count; i++) {
        if (strncmp(v->items[i], assignment, size) == 0) {
            return true;
        }
    }
    return false;
}

static uint16_t parse_side(struct json *j)
{
    uint64_t n = json_number(j);

    if (n > UINT16_MAX) {
        json_fail(j, "tty: a side is too long");
    }
    return (uint16_t)n;
}

static void parse_tty(struct json *j, struct exec_request *r)
{
    char *key = NULL;

    r->has_tty = true;
    json_object_begin(j);
    while (json_object_next(j, &key)) {
        if (strcmp(key, "rows") == 0) {
            r->rows = parse_side(j);
        } else if (strcmp(key, "cols") == 0) {
            r->cols = parse_side(j);
        } else {
            json_fail(j, "tty: an unknown member");
        }
    }
}

static uint32_t parse_id(struct json *j)
{
    uint64_t n = json_number(j);

    if (n >= UINT32_MAX) {
        json_fail(j, "uid and gid are numbers below 2^32 - 1");
    }
    return (uint32_t)n;
}

static void parse_timeout(struct json *j, struct exec_request *r)
{
    if (json_null(j)) {
        r->timeout_ms = 0;
        return;
    }
    r->timeout_ms = json_number(j);
    if (r->timeout_ms == 0 || r->timeout_ms > AGENT_TIMEOUT_MS_MAX) {
        json_fail(j, "timeout_ms is not in 1 to 86400000");
    }
}

static void parse_member(struct json *j, const char *key, struct exec_request *r,
                         struct vector *argv, struct vector *env)
{
    if (strcmp(key, "argv") == 0) {
        parse_argv(j, argv);
    } else if (strcmp(key, "env") == 0) {
        parse_env(j, env);
    } else if (strcmp(key, "cwd") == 0) {
        r->cwd = json_string(j, NULL);
    } else if (strcmp(key, "uid") == 0) {
        r->uid = parse_id(j);
    } else if (strcmp(key, "gid") == 0) {
        r->gid = parse_id(j);
    } else if (strcmp(key, "timeout_ms") == 0) {
        parse_timeout(j, r);
    } else if (strcmp(key, "max_output_bytes") == 0) {
        r->output_max = json_number(j);
    } else if (strcmp(key, "want_stdin") == 0) {
        r->want_stdin = json_bool(j);
    } else if (strcmp(key, "tty") == 0) {
        parse_tty(j, r);
    } else {
        json_fail(j, "an unknown member");
    }
}

const char *exec_parse(char *text, size_t size, struct exec_request *r, struct exec_vectors *v)
{
    static char path[] = "PATH=" DEFAULT_PATH;
    struct vector argv = { 0 };
    struct vector env = { 0 };
    char *key = NULL;
    struct json j;

    *r = (struct exec_request){ .cwd = "/",
                                .timeout_ms = AGENT_TIMEOUT_MS_DEFAULT,
                                .output_max = AGENT_OUTPUT_MAX_DEFAULT };
    json_init(&j, text, size);
    json_object_begin(&j);
    while (json_object_next(&j, &key)) {
        parse_member(&j, key, r, &argv, &env);
    }
    if (json_end(&j) && argv.count == 0) {
        json_fail(&j, "argv is missing");
    }
    if (j.error == NULL && !has_name(&env, path) && !vector_add(&env, path)) {
        json_fail(&j, "no memory");
    }
    *v = (struct exec_vectors){ argv.items, env.items };
    r->argv = argv.items;
    r->env = env.items;
    if (j.error != NULL) {
        exec_vectors_free(v);
    }
    return j.error;
}

void exec_vectors_free(struct exec_vectors *v)
{
    free(v->argv);
    free(v->env);
    *v = (struct exec_vectors){ 0 };
}
