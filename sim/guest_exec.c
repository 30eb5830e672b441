/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest's programs, and EXEC's request read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"

#define READ_SIZE (64u << 10)

/* ---- The request: JSON as a host writes it ---- */

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool is_bad;
};

static int peek(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t')) {
        r->at++;
    }
    return r->at < r->end ? *r->at : -1;
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != c) {
        return false;
    }
    r->at++;
    return true;
}

static unsigned take_hex(struct reader *r)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 4 && r->at < r->end; i++) {
        unsigned c = *r->at++;

        n = n * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n;
}

static unsigned take_escape(struct reader *r)
{
    unsigned c = r->at < r->end ? *r->at++ : 0;

    switch (c) {
    case 'u':
        return take_hex(r) & 0xff; /* bytes pass as they are: only controls are written so */
    case 'n':
        return '\n';
    case 't':
        return '\t';
    default:
        return c;
    }
}

/* sim_free(); NULL when it is none. */
static char *take_string(struct reader *r)
{
    char *text = NULL;
    size_t size = 0;

    if (!take(r, '"')) {
        r->is_bad = true;
        return NULL;
    }
    text = sim_calloc(1, (size_t)(r->end - r->at) + 1);
    while (r->at < r->end && *r->at != '"') {
        unsigned c = *r->at++;

        text[size++] = (char)(c == '\\' ? take_escape(r) : c);
    }
    r->is_bad = r->is_bad || !take(r, '"');
    return sim_grow(text, size + 1);
}

static void take_strings(struct reader *r, char **out, unsigned *count)
{
    r->is_bad = r->is_bad || !take(r, '[');
    while (!r->is_bad && peek(r) != ']') {
        char *s = take_string(r);

        if (s == NULL || *count == GUEST_ARGS_MAX) {
            r->is_bad = true;
            sim_free(s);
        } else {
            out[(*count)++] = s;
        }
        (void)take(r, ',');
    }
    r->is_bad = r->is_bad || !take(r, ']');
}

static void take_pairs(struct reader *r, char **out, unsigned *count)
{
    r->is_bad = r->is_bad || !take(r, '{');
    while (!r->is_bad && peek(r) != '}') {
        char *name = take_string(r);
        char *value = take(r, ':') ? take_string(r) : NULL;

        if (name == NULL || value == NULL || *count == GUEST_ARGS_MAX) {
            r->is_bad = true;
        } else {
            size_t size = strlen(name) + strlen(value) + 2;

            out[*count] = sim_calloc(1, size);
            (void)snprintf(out[(*count)++], size, "%s=%s", name, value);
        }
        sim_free(name);
        sim_free(value);
        (void)take(r, ',');
    }
    r->is_bad = r->is_bad || !take(r, '}');
}

/* A number, true, false, null. */
static uint64_t take_scalar(struct reader *r)
{
    char text[24] = "";
    size_t n = 0;

    (void)peek(r);
    while (r->at < r->end && n < sizeof(text) - 1 &&
           ((*r->at >= '0' && *r->at <= '9') || (*r->at >= 'a' && *r->at <= 'z'))) {
        text[n++] = (char)*r->at++;
    }
    r->is_bad = r->is_bad || n == 0;
    return strcmp(text, "true") == 0 ? 1 : strtoull(text, NULL, 10);
}

static void take_field(struct process *p, struct reader *r, const char *name)
{
    if (strcmp(name, "argv") == 0) {
        take_strings(r, p->argv, &p->argc);
    } else if (strcmp(name, "env") == 0) {
        take_pairs(r, p->env, &p->env_count);
    } else if (strcmp(name, "timeout_ms") == 0) {
        p->timeout_ms = take_scalar(r);
    } else if (strcmp(name, "max_output_bytes") == 0) {
        p->max_output = take_scalar(r);
    } else if (strcmp(name, "want_stdin") == 0) {
        p->wants_stdin = take_scalar(r) != 0;
    } else if (peek(r) == '"') {
        sim_free(take_string(r));
    } else {
        (void)take_scalar(r);
    }
}

bool process_parse(struct process *p, const uint8_t *json, size_t size)
{
    struct reader r = { .at = json, .end = json + size };

    r.is_bad = !take(&r, '{');
    while (!r.is_bad && peek(&r) != '}') {
        char *name = take_string(&r);

        r.is_bad = r.is_bad || !take(&r, ':');
        if (!r.is_bad) {
            take_field(p, &r, name);
        }
        sim_free(name);
        (void)take(&r, ',');
    }
    return !r.is_bad && p->argc > 0;
}

void process_free(struct process *p)
{
    for (unsigned i = 0; i < p->argc; i++) {
        sim_free(p->argv[i]);
    }
    for (unsigned i = 0; i < p->env_count; i++) {
        sim_free(p->env[i]);
    }
    sim_free(p->input);
    sim_free(p);
}

/* ---- The programs ---- */

static struct sim_machine *machine_of(const struct process *p)
{
    return p->connection->agent->machine;
}

static bool print_text(struct process *p, const char *text)
{
    return process_print(p, false, text, strlen(text));
}

static unsigned number(const struct process *p, unsigned index)
{
    return index < p->argc ? (unsigned)strtoul(p->argv[index], NULL, 10) : 0;
}

static int run_echo(struct process *p)
{
    for (unsigned i = 1; i < p->argc; i++) {
        if (!(i == 1 || print_text(p, " ")) || !print_text(p, p->argv[i])) {
            return 1;
        }
    }
    return print_text(p, "\n") ? 0 : 1;
}

static int run_true(struct process *p)
{
    (void)p;
    return 0;
}

static int run_false(struct process *p)
{
    (void)p;
    return 1;
}

static int run_exit(struct process *p)
{
    return (int)(number(p, 1) & 0xff);
}

static int run_sleep(struct process *p)
{
    return process_sleep(p, number(p, 1)) ? 0 : 1;
}

/* Deaf to SIGTERM, as the worst program is. */
static int run_hang(struct process *p)
{
    p->ignores_term = true;
    return process_sleep(p, SIM_FOREVER) ? 0 : 1;
}

static int run_sum(struct process *p)
{
    char text[32];
    unsigned sum = 0;

    for (unsigned i = 1; i < p->argc; i++) {
        sum += number(p, i);
    }
    (void)snprintf(text, sizeof(text), "%u\n", sum);
    return print_text(p, text) ? 0 : 1;
}

static int run_count(struct process *p)
{
    struct sim_machine *m = machine_of(p);
    char text[32];

    (void)pthread_mutex_lock(&m->lock);
    (void)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)guest_count_up(m));
    (void)pthread_mutex_unlock(&m->lock);
    return print_text(p, text) ? 0 : 1;
}

static int run_write(struct process *p)
{
    struct sim_machine *m = machine_of(p);
    bool is_done = false;

    if (p->argc == 3) {
        (void)pthread_mutex_lock(&m->lock);
        is_done = guest_file_put(m, p->argv[1], p->argv[2], strlen(p->argv[2]));
        (void)pthread_mutex_unlock(&m->lock);
    }
    return is_done ? 0 : 1;
}

static int run_remove(struct process *p)
{
    struct sim_machine *m = machine_of(p);
    bool is_done = false;

    (void)pthread_mutex_lock(&m->lock);
    is_done = p->argc == 2 && guest_file_remove(m, p->argv[1]);
    (void)pthread_mutex_unlock(&m->lock);
    return is_done ? 0 : 1;
}

static int run_cat_file(struct process *p)
{
    struct sim_machine *m = machine_of(p);
    size_t size = 0;
    char *copy = NULL;

    (void)pthread_mutex_lock(&m->lock);
    const void *bytes = guest_file_get(m, p->argv[1], &size);

    if (bytes != NULL) {
        copy = memcpy(sim_calloc(1, size + 1), bytes, size);
    }
    (void)pthread_mutex_unlock(&m->lock);
    if (copy == NULL) {
        (void)process_print(p, true, "no such file\n", 13);
        return 1;
    }
    bool is_printed = process_print(p, false, copy, size);

    sim_free(copy);
    return is_printed ? 0 : 1;
}

static int run_cat(struct process *p)
{
    uint8_t *bytes = NULL;
    size_t got = 1;
    bool is_going = true;

    if (p->argc > 1) {
        return run_cat_file(p);
    }
    bytes = sim_calloc(1, READ_SIZE);
    while (is_going && got > 0) {
        is_going = process_read(p, bytes, READ_SIZE, &got) && process_print(p, false, bytes, got);
    }
    sim_free(bytes);
    return is_going ? 0 : 1;
}

static int run_ls(struct process *p)
{
    struct sim_machine *m = machine_of(p);
    char name[256];

    for (unsigned i = 0;; i++) {
        (void)pthread_mutex_lock(&m->lock);
        const char *at = guest_file_name(m, i);

        (void)snprintf(name, sizeof(name), "%s\n", at == NULL ? "" : at);
        (void)pthread_mutex_unlock(&m->lock);
        if (at == NULL) {
            return 0;
        }
        if (!print_text(p, name)) {
            return 1;
        }
    }
}

static int run_yes(struct process *p)
{
    char line[1024];
    unsigned left = number(p, 1);

    memset(line, 'y', sizeof(line));
    while (left > 0) {
        unsigned n = min_of(left, (unsigned)sizeof(line));

        if (!process_print(p, false, line, n)) {
            return 1;
        }
        left -= n;
    }
    return 0;
}

static int run_env(struct process *p)
{
    for (unsigned i = 0; i < p->env_count; i++) {
        if (!print_text(p, p->env[i]) || !print_text(p, "\n")) {
            return 1;
        }
    }
    return 0;
}

static int run_panic(struct process *p)
{
    sim_machine_end(machine_of(p), DRUPE_END_PANIC, 1, "the guest panicked by command");
    (void)process_sleep(p, SIM_FOREVER);
    return 1;
}

static int run_poweroff(struct process *p)
{
    sim_machine_end(machine_of(p), DRUPE_END_EXIT, 0, "");
    return 0;
}

int process_run(struct process *p)
{
    static const struct {
        const char *name;
        int (*run)(struct process *p);
    } programs[] = {
        { "echo", run_echo },         { "true", run_true },   { "false", run_false },
        { "exit", run_exit },         { "sleep", run_sleep }, { "hang", run_hang },
        { "sum", run_sum },           { "count", run_count }, { "write", run_write },
        { "rm", run_remove },         { "cat", run_cat },     { "ls", run_ls },
        { "yes", run_yes },           { "env", run_env },     { "panic", run_panic },
        { "poweroff", run_poweroff },
    };

    for (unsigned i = 0; i < array_size(programs); i++) {
        if (strcmp(p->argv[0], programs[i].name) == 0) {
            return programs[i].run(p);
        }
    }
    return AGENT_CODE_ABSENT;
}
