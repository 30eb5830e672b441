/* SPDX-License-Identifier: Apache-2.0 */
/* Programs in the guest. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "error.h"
#include "exec/channel.h"
#include "exec/exec_json.h"

#define SIGNAL_KILL     9
#define SIGNAL_MAX      64
#define STDIN_CHUNK_MAX ((size_t)64 << 10)
#define HOST_GRACE_MS   3000u /* past the program's own time */
#define ABANDON_CREDIT  ((size_t)1 << 20)

struct drupe_exec {
    struct channel_stream *stream;
    drupe_output_fn output;
    void *ctx;
    bool has_ended;
    bool stdin_ended;
    drupe_vm_err_t end; /* of the call that saw the end */
    struct drupe_error end_error;
    struct drupe_exec_result result;
};

void drupe_exec_options_init(struct drupe_exec_options *options)
{
    *options = (struct drupe_exec_options){ .struct_size = sizeof(*options),
                                            .timeout_ms = AGENT_TIMEOUT_MS_DEFAULT,
                                            .max_output_bytes = DRUPE_EXEC_OUTPUT_DEFAULT };
}

static drupe_vm_err_t check(const struct drupe_exec_options *o, struct drupe_error *err)
{
    size_t count = 0;

    if (o->struct_size != sizeof(*o)) {
        return error_field(err, "struct_size",
                           "the options were not made by drupe_exec_options_init()");
    }
    if (o->argv == NULL || o->argv[0] == NULL || o->argv[0][0] == '\0') {
        return error_field(err, "argv", "argv is empty");
    }
    if (o->timeout_ms == 0 ||
        (o->timeout_ms > DRUPE_EXEC_TIMEOUT_MS_MAX && o->timeout_ms != DRUPE_EXEC_TIMEOUT_NEVER)) {
        return error_field(err, "timeout_ms", "timeout_ms is %u; allowed are 1 to %u",
                           o->timeout_ms, DRUPE_EXEC_TIMEOUT_MS_MAX);
    }
    for (; o->env != NULL && o->env[count] != NULL; count++) {
        const char *equals = strchr(o->env[count], '=');

        if (equals == NULL || equals == o->env[count]) {
            return error_field(err, "env", "entry %zu of env is not NAME=value", count);
        }
        if (count == AGENT_ENV_MAX) {
            return error_field(err, "env", "env has more than %u entries", AGENT_ENV_MAX);
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_exec_start(drupe_agent_t *agent, const struct drupe_exec_options *options,
                                drupe_output_fn output, void *ctx, drupe_exec_t **out,
                                struct drupe_error *err)
{
    struct json_text text = { 0 };
    drupe_exec_t *e = NULL;
    drupe_vm_err_t r = check(options, err);

    if (r != DRUPE_OK) {
        return r;
    }
    e = calloc(1, sizeof(*e));
    if (e == NULL || !exec_json(options, &text)) {
        r = error_set(err, DRUPE_NO_MEMORY, ENOMEM, "exec %s", options->argv[0]);
    } else if (text.size > AGENT_PAYLOAD_MAX) {
        r = error_field(err, "argv", "arguments and environment of %zu bytes; a request has %u",
                        text.size, AGENT_PAYLOAD_MAX);
    } else {
        r = channel_stream_open(agent, &e->stream, err);
    }
    if (r == DRUPE_OK) {
        assert(e != NULL && e->stream != NULL);
        e->output = output;
        e->ctx = ctx;
        e->stdin_ended = !options->want_stdin && !options->has_tty;
        r = channel_send(agent, AGENT_EXEC, 0, e->stream->id, text.bytes, text.size, NULL, 0, err);
    }
    free(text.bytes);
    if (r != DRUPE_OK) {
        if (e != NULL && e->stream != NULL) {
            channel_stream_close(e->stream);
        }
        free(e);
        return r;
    }
    *out = e;
    return DRUPE_OK;
}

/* ---- What comes ---- */

static void on_exit_frame(drupe_exec_t *e, const struct received *f)
{
    uint32_t flags = 0;

    if (f->size < sizeof(struct agent_exit)) {
        e->end =
            error_set(&e->end_error, DRUPE_EXEC_FAILED, 0, "exec: the agent sent a wrong EXIT");
        return;
    }
    flags = load_be32(f->payload + 16);
    e->result = (struct drupe_exec_result){
        .exit_code = (int)(load_be32(f->payload) & 0xff),
        .signal = (int)(load_be32(f->payload + 4) & 0x7f),
        .duration_us = load_be64(f->payload + 8),
        .is_stdout_cut = (flags & AGENT_EXIT_STDOUT_CUT) != 0,
        .is_stderr_cut = (flags & AGENT_EXIT_STDERR_CUT) != 0,
        .is_timed_out = (flags & AGENT_EXIT_TIMED_OUT) != 0,
    };
    e->end = DRUPE_OK;
    if (e->result.is_timed_out) {
        e->end = error_set(&e->end_error, DRUPE_EXEC_TIMEOUT, 0,
                           "exec: the program ran out of its time and was ended");
    }
}

static void deliver(drupe_exec_t *e, const struct received *f)
{
    switch (f->type) {
    case AGENT_STDOUT:
    case AGENT_STDERR:
        if (f->size > 0) {
            e->output(e->ctx, f->type == AGENT_STDERR, f->payload, f->size);
            channel_grant(e->stream, f->size);
        }
        break;
    case AGENT_EXIT:
        e->has_ended = true;
        on_exit_frame(e, f);
        break;
    default:
        e->has_ended = true;
        e->end = channel_refused(f, "exec", &e->end_error);
        break;
    }
}

/* One frame, or (with wants_credit) room for more input. */
static drupe_vm_err_t step(drupe_exec_t *e, uint64_t deadline_ns, bool wants_credit,
                           struct drupe_error *err)
{
    struct received *f = NULL;
    drupe_vm_err_t r = channel_receive(e->stream, deadline_ns, wants_credit, &f, err);

    if (f != NULL) {
        deliver(e, f);
        free(f);
    }
    return r;
}

static drupe_vm_err_t wait_until(drupe_exec_t *e, uint64_t deadline_ns,
                                 struct drupe_exec_result *result, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    while (!e->has_ended && r == DRUPE_OK) {
        r = step(e, deadline_ns, false, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (e->end != DRUPE_OK && err != NULL) {
        *err = e->end_error;
    }
    if ((e->end == DRUPE_OK || e->end == DRUPE_EXEC_TIMEOUT) && result != NULL) {
        *result = e->result;
    }
    return e->end;
}

drupe_vm_err_t drupe_exec_wait(drupe_exec_t *exec, uint32_t timeout_ms,
                               struct drupe_exec_result *result, struct drupe_error *err)
{
    return wait_until(exec, channel_deadline(timeout_ms), result, err);
}

/* ---- What goes ---- */

/* Take credit for up to `size` bytes. */
static size_t take_credit(struct channel_stream *s, size_t size)
{
    (void)pthread_mutex_lock(&s->agent->lock);
    size = (size_t)min_of((uint64_t)size, s->credit);
    s->credit -= size;
    (void)pthread_mutex_unlock(&s->agent->lock);
    return size;
}

drupe_vm_err_t drupe_exec_write(drupe_exec_t *exec, const void *bytes, size_t size, size_t *taken,
                                struct drupe_error *err)
{
    const uint8_t *from = bytes;

    *taken = 0;
    if (exec->stdin_ended) {
        return error_set(err, DRUPE_BAD_STATE, 0, "exec: standard input is closed");
    }
    if (exec->has_ended) {
        *taken = size; /* nobody reads it any more */
        return DRUPE_OK;
    }
    while (*taken < size) {
        size_t n = take_credit(exec->stream, min_of(size - *taken, STDIN_CHUNK_MAX));
        drupe_vm_err_t r = DRUPE_OK;

        if (n == 0) {
            break;
        }
        r = channel_send(exec->stream->agent, AGENT_STDIN, 0, exec->stream->id, from + *taken, n,
                         NULL, 0, err);
        if (r != DRUPE_OK) {
            return r;
        }
        *taken += n;
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_exec_close_stdin(drupe_exec_t *exec, struct drupe_error *err)
{
    if (exec->stdin_ended || exec->has_ended) {
        return DRUPE_OK;
    }
    exec->stdin_ended = true;
    return channel_send(exec->stream->agent, AGENT_STDIN, AGENT_END, exec->stream->id, NULL, 0,
                        NULL, 0, err);
}

drupe_vm_err_t drupe_exec_kill(drupe_exec_t *exec, int signo, struct drupe_error *err)
{
    uint8_t payload[4];

    if (signo < 1 || signo > SIGNAL_MAX) {
        return error_field(err, "signo", "signal %d is not in 1 to %d", signo, SIGNAL_MAX);
    }
    store_be32(payload, (uint32_t)signo);
    return channel_send(exec->stream->agent, AGENT_KILL, 0, exec->stream->id, payload,
                        sizeof(payload), NULL, 0, err);
}

drupe_vm_err_t drupe_exec_resize(drupe_exec_t *exec, uint16_t rows, uint16_t cols,
                                 struct drupe_error *err)
{
    uint8_t payload[sizeof(struct agent_resize)];

    store_be16(payload, rows);
    store_be16(payload + 2, cols);
    return channel_send(exec->stream->agent, AGENT_RESIZE, 0, exec->stream->id, payload,
                        sizeof(payload), NULL, 0, err);
}

void drupe_exec_free(drupe_exec_t *exec)
{
    if (exec == NULL) {
        return;
    }
    if (!exec->has_ended && drupe_exec_kill(exec, SIGNAL_KILL, NULL) == DRUPE_OK) {
        /* What it still had in its pipes must not keep its stream open in the guest. */
        channel_grant(exec->stream, ABANDON_CREDIT);
    }
    channel_stream_close(exec->stream);
    free(exec);
}

/* ---- A whole run ---- */

struct capture {
    struct json_text parts[2]; /* stdout, stderr */
};

static void keep_output(void *ctx, bool is_stderr, const void *bytes, size_t size)
{
    struct capture *c = ctx;

    json_text_add(&c->parts[is_stderr ? 1 : 0], bytes, size);
}

/* Feed the input while there is credit, hand out what comes meanwhile. */
static drupe_vm_err_t feed(drupe_exec_t *e, const uint8_t *input, size_t size, uint64_t deadline_ns,
                           struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    while (r == DRUPE_OK && size > 0 && !e->has_ended) {
        size_t taken = 0;

        r = drupe_exec_write(e, input, size, &taken, err);
        input += taken;
        size -= taken;
        if (r == DRUPE_OK && size > 0) {
            r = step(e, deadline_ns, true, err);
        }
    }
    return r == DRUPE_OK ? drupe_exec_close_stdin(e, err) : r;
}

static drupe_vm_err_t hand_over(struct capture *c, const struct drupe_exec_result *result,
                                struct drupe_exec_output *out, struct drupe_error *err)
{
    json_text_add(&c->parts[0], "", 1);
    json_text_add(&c->parts[1], "", 1);
    if (c->parts[0].has_failed || c->parts[1].has_failed) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "keep the program's output");
    }
    *out = (struct drupe_exec_output){
        .result = *result,
        .stdout_bytes = c->parts[0].bytes,
        .stdout_size = c->parts[0].size - 1,
        .stderr_bytes = c->parts[1].bytes,
        .stderr_size = c->parts[1].size - 1,
    };
    *c = (struct capture){ 0 };
    return DRUPE_OK;
}

drupe_vm_err_t drupe_agent_exec(drupe_agent_t *agent, const struct drupe_exec_options *options,
                                const void *input, size_t input_size, struct drupe_exec_output *out,
                                struct drupe_error *err)
{
    struct drupe_exec_options o = *options;
    struct drupe_exec_result result = { .exit_code = -1 };
    struct capture c = { 0 };
    drupe_exec_t *e = NULL;
    uint64_t deadline_ns = 0;
    drupe_vm_err_t r = DRUPE_OK;

    o.want_stdin = input_size > 0;
    r = drupe_exec_start(agent, &o, keep_output, &c, &e, err);
    if (r != DRUPE_OK) {
        return r;
    }
    if (o.timeout_ms != DRUPE_EXEC_TIMEOUT_NEVER) {
        deadline_ns = channel_deadline(o.timeout_ms + HOST_GRACE_MS);
    }
    r = feed(e, input, input_size, deadline_ns, err);
    r = r == DRUPE_OK ? wait_until(e, deadline_ns, &result, err) : r;
    if (r == DRUPE_TIMEOUT) { /* the guest did not keep its promise */
        result.is_timed_out = true;
        r = error_set(err, DRUPE_EXEC_TIMEOUT, 0, "exec %s: no end within %u ms", o.argv[0],
                      o.timeout_ms + HOST_GRACE_MS);
    }
    drupe_exec_free(e);
    if (r == DRUPE_OK || r == DRUPE_EXEC_TIMEOUT) {
        drupe_vm_err_t kept = hand_over(&c, &result, out, err);

        r = kept == DRUPE_OK ? r : kept;
    }
    free(c.parts[0].bytes);
    free(c.parts[1].bytes);
    return r;
}

void drupe_exec_output_free(struct drupe_exec_output *out)
{
    free(out->stdout_bytes);
    free(out->stderr_bytes);
    *out = (struct drupe_exec_output){ 0 };
}
