/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drupe pool: many inputs through clones of one template, several at a time, each in a machine of
 * its own with a monitor of its own: a jailed process that stood ready (drupe/shell.h) and ends
 * with its machine. This process, which is not jailed, runs no guest: it feeds inputs, collects
 * outputs and looks on.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <drupe/jail.h>
#include <drupe/pool.h>
#include <drupe/shell.h>

#include <base/clock.h>

#include "cli.h"
#include "jail_limits.h"
#include "options.h"
#include "run_internal.h"
#include "template.h"
#include "thaw.h"

#define RETRIES_DEFAULT 2
#define TIMEOUT_DEFAULT 60
#define WARM_DEFAULT    4
#define INPUT_SIZE_MAX  ((size_t)64 << 20)
#define OUTPUT_SIZE_MAX ((size_t)16 << 20)
#define THREADS_PER_VM  8u /* beside its vCPUs */
#define MAKERS_MAX      4u
#define SHELL_WAIT_MS   30000u

/* The ends of a clone's streams that are ours; found again by its VM. */
struct streams {
    drupe_vm_t *vm;
    int input;
    int output;
};

struct pool {
    struct thaw thaw;
    struct job job;
    const struct run_options *options;
    drupe_shells_t *shells; /* NULL: the machines are in this process */
    uint64_t timeout_s;
    pthread_mutex_t lock; /* of the next two */
    struct streams *streams;
    size_t stream_count;
};

/* One line of input and what became of it. */
struct work {
    struct pool *pool;
    const char *text;
    size_t size;
    struct buffer output;
    int status; /* exit status of the program; -1: none */
    unsigned tries;
    struct drupe_error error;
    bool is_done;
};

/* ---- Clones ---- */

static void keep_streams(struct pool *p, const struct streams *s)
{
    (void)pthread_mutex_lock(&p->lock);
    p->streams = alloc_resized(p->streams, p->stream_count + 1, sizeof(*p->streams));
    p->streams[p->stream_count++] = *s;
    (void)pthread_mutex_unlock(&p->lock);
}

/* They are the caller's from here on. */
static bool take_streams(struct pool *p, const drupe_vm_t *vm, struct streams *out)
{
    bool is_found = false;

    (void)pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->stream_count && !is_found; i++) {
        if (p->streams[i].vm == vm) {
            *out = p->streams[i];
            p->streams[i] = p->streams[--p->stream_count];
            is_found = true;
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
    return is_found;
}

static drupe_vm_err_t make_pipes(int input[2], int output[2], struct drupe_error *err)
{
    if (pipe2(input, O_CLOEXEC) == 0) {
        if (pipe2(output, O_CLOEXEC) == 0) {
            return DRUPE_OK;
        }
        (void)close(input[0]);
        (void)close(input[1]);
    }
    memset(err, 0, sizeof(*err));
    err->code = DRUPE_NO_MEMORY;
    err->os_errno = errno;
    (void)snprintf(err->text, sizeof(err->text), "pipe: %s", strerror(errno));
    return DRUPE_NO_MEMORY;
}

static drupe_vm_err_t clone_config(const struct pool *p, drupe_vm_config_t *cfg)
{
    if (job_config(&p->job, p->options, cfg) != 0) {
        return DRUPE_INTERNAL;
    }
    thaw_config(&p->thaw, cfg);
    return DRUPE_OK;
}

static drupe_vm_err_t clone_here(const struct pool *p, int input, int output, drupe_vm_t **out,
                                 struct drupe_error *err)
{
    drupe_vm_config_t cfg;
    drupe_vm_err_t r = clone_config(p, &cfg);

    cfg.host_stdin = input;
    cfg.host_stdout = output;
    return r == DRUPE_OK ? drupe_vm_create_from_snapshot(&cfg, &p->thaw.restore, out, err) : r;
}

static drupe_vm_err_t clone_in_shell(const struct pool *p, int input, int output, drupe_vm_t **out,
                                     struct drupe_error *err)
{
    const struct drupe_vm_streams streams = { input, output, -1, -1 };

    return drupe_shells_take(p->shells, NULL, &streams, SHELL_WAIT_MS, out, err);
}

/* A clone that stands where the template stood: PAUSED until its work comes. */
static drupe_vm_err_t make_clone(void *ctx, drupe_vm_t **out, struct drupe_error *err)
{
    struct pool *p = ctx;
    int input[2];
    int output[2];
    drupe_vm_err_t r = make_pipes(input, output, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = p->shells ? clone_in_shell(p, input[0], output[1], out, err)
                  : clone_here(p, input[0], output[1], out, err);
    (void)close(input[0]);
    (void)close(output[1]);
    if (r != DRUPE_OK) {
        (void)close(input[1]);
        (void)close(output[0]);
        return r;
    }
    keep_streams(p, &(struct streams){ *out, input[1], output[0] });
    return DRUPE_OK;
}

static bool is_ready(void *ctx, drupe_vm_t *vm)
{
    (void)ctx;
    return drupe_vm_state(vm) == DRUPE_VM_PAUSED;
}

/* ---- One piece of work ---- */

static drupe_vm_err_t fail(struct drupe_error *err, drupe_vm_err_t code, const char *text)
{
    memset(err, 0, sizeof(*err));
    err->code = code;
    (void)snprintf(err->text, sizeof(err->text), "%s", text);
    return code;
}

/* What the clone has printed by now. -EAGAIN: more may come; 0: there is no more; -EFBIG. */
static int take_output(struct work *w, const struct streams *s)
{
    char chunk[16384];

    for (;;) {
        ssize_t n = read(s->output, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        if (w->output.size + (size_t)n > OUTPUT_SIZE_MAX) {
            return -EFBIG;
        }
        buffer_add(&w->output, chunk, (size_t)n);
    }
}

static void feed(const struct work *w, struct streams *s, size_t *at)
{
    ssize_t n = write(s->input, w->text + *at, w->size - *at);

    *at += n > 0 ? (size_t)n : 0;
    if (*at == w->size || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        (void)close(s->input);
        s->input = -1;
    }
}

/* Feed the input and collect the output until the machine has ended. */
static drupe_vm_err_t pump(struct work *w, struct streams *s, const drupe_vm_t *vm,
                           struct drupe_error *err)
{
    uint64_t until = clock_ns() + w->pool->timeout_s * NS_PER_S;
    bool has_ended = false;
    size_t at = 0;

    (void)fcntl(s->input, F_SETFL, O_NONBLOCK);
    (void)fcntl(s->output, F_SETFL, O_NONBLOCK);
    while (!has_ended) {
        int left_ms = clock_poll_ms(until);
        struct pollfd polls[] = { { drupe_vm_event_fd(vm), POLLIN, 0 },
                                  { s->output, POLLIN, 0 },
                                  { s->input, POLLOUT, 0 } };

        if (left_ms == 0) {
            return fail(err, DRUPE_EXEC_TIMEOUT, "it ran out of time");
        }
        (void)poll(polls, array_size(polls), left_ms);
        has_ended = polls[0].revents != 0; /* its output has been written before */
        if (polls[2].revents) {
            feed(w, s, &at);
        }
        if (take_output(w, s) == -EFBIG) {
            return fail(err, DRUPE_EXEC_FAILED, "it printed more than 16 MiB");
        }
    }
    return DRUPE_OK;
}

/* A machine that dies is worth another try; a program that ends is an answer, whatever it is. */
static drupe_vm_err_t take_end(struct work *w, drupe_vm_t *vm, struct drupe_error *err)
{
    struct drupe_vm_outcome end;
    drupe_vm_err_t r = drupe_vm_outcome(vm, &end, err);

    if (r == DRUPE_OK && end.kind != DRUPE_END_EXIT) {
        return fail(err, DRUPE_CRASHED, end.text);
    }
    if (r == DRUPE_OK) {
        w->status = end.status;
    }
    return r;
}

static drupe_vm_err_t do_work(void *ctx, drupe_vm_t *vm, struct drupe_error *err)
{
    struct work *w = ctx;
    struct streams s;
    drupe_vm_err_t r = DRUPE_OK;

    w->output.size = 0;
    if (!take_streams(w->pool, vm, &s)) {
        return fail(err, DRUPE_INTERNAL, "a clone without streams");
    }
    r = drupe_vm_resume(vm, err);
    if (r == DRUPE_OK) {
        r = pump(w, &s, vm, err);
    }
    if (r == DRUPE_OK) {
        r = take_end(w, vm, err);
    }
    if (s.input >= 0) {
        (void)close(s.input);
    }
    if (s.output >= 0) {
        (void)close(s.output);
    }
    return r;
}

static void work_done(void *ctx, drupe_vm_err_t result, const struct drupe_error *err,
                      unsigned tries)
{
    struct work *w = ctx;

    w->tries = tries;
    if (result != DRUPE_OK) {
        w->error = *err;
        w->error.code = result;
    }
}

/* ---- Results, in the order of the input ---- */

static int print_result(size_t number, struct work *w)
{
    int status = 0;

    if (w->error.code != DRUPE_OK) {
        status =
            complain(STATUS_FAILED, "pool: line %zu: %s (tried %u times)", number,
                     w->error.text[0] ? w->error.text : drupe_vm_err_name(w->error.code), w->tries);
    } else if (w->output.size > 0) {
        (void)fwrite(w->output.data, 1, w->output.size, stdout);
    }
    if (w->error.code == DRUPE_OK && w->status != 0) {
        status = complain(STATUS_FAILED, "pool: line %zu: exit status %d", number, w->status);
    }
    buffer_free(&w->output);
    return status;
}

/* ---- The verb ---- */

/* Each line with its newline, as the clone will read it. */
static size_t split(struct pool *p, const struct buffer *input, struct work **out)
{
    struct work *all = NULL;
    size_t count = 0;
    size_t at = 0;

    while (at < input->size) {
        const char *end = memchr(input->data + at, '\n', input->size - at);
        size_t size = end ? (size_t)(end - input->data) + 1 - at : input->size - at;

        all = alloc_resized(all, count + 1, sizeof(*all));
        all[count++] =
            (struct work){ .pool = p, .text = input->data + at, .size = size, .status = -1 };
        at += size;
    }
    *out = all;
    return count;
}

static int read_input(struct buffer *out)
{
    char chunk[65536];
    ssize_t n = 0;

    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return complain(STATUS_FAILED, "pool: standard input: %s", strerror(errno));
        }
        if (out->size + (size_t)n > INPUT_SIZE_MAX) {
            return complain(STATUS_USAGE, "pool: more than 64 MiB of input");
        }
        buffer_add(out, chunk, (size_t)n);
    }
    return 0;
}

/* Whether this user can have jails at all; root who cannot hears why. */
static bool can_jail(void)
{
    struct drupe_jail_report report;

    if (geteuid() == 0) {
        return true;
    }
    drupe_jail_probe(&report);
    return report.has_user_namespace;
}

/* The shells begin to be made, `ready` of them. */
static int open_shells(struct pool *p, unsigned ready, unsigned max)
{
    struct drupe_shells_options options;
    struct drupe_jail_config jail;
    drupe_vm_config_t shape;
    struct drupe_error err;
    char id[DRUPE_SHELL_PREFIX_MAX];

    if (clone_config(p, &shape) != DRUPE_OK) {
        return STATUS_FAILED;
    }
    drupe_jail_config_init(&jail);
    (void)snprintf(id, sizeof(id), "pool-%d", (int)getpid());
    jail.id = id;
    jail.memory_max = monitor_memory_max(p->job.memory_mib);
    jail.pids_max = (uint32_t)p->job.vcpus + THREADS_PER_VM;
    jail.are_limits_optional = true;
    drupe_shells_options_init(&options);
    options.shape = &shape;
    options.restore = &p->thaw.restore;
    options.jail = &jail;
    options.ready = ready;
    options.max = max;
    options.makers = min_of((unsigned)max_of(get_nprocs(), 1), MAKERS_MAX);
    if (drupe_shells_create(&options, &p->shells, &err) != DRUPE_OK) {
        return refuse_vm("pool", &err);
    }
    (void)drupe_jail_sweep(NULL); /* what dead ones left; the shells are made meanwhile */
    return 0;
}

static int serve(struct pool *p, const struct drupe_pool_options *options, struct work *works,
                 size_t count)
{
    drupe_pool_t *pool = NULL;
    struct drupe_error err;
    int status = 0;

    if (drupe_pool_create(options, &pool, &err) != DRUPE_OK) {
        return refuse_vm("pool", &err);
    }
    for (size_t i = 0; i < count && status == 0; i++) {
        const struct drupe_pool_job job = {
            .owner = "pool", .ctx = &works[i], .run = do_work, .done = work_done
        };

        if (drupe_pool_submit(pool, &job, &err) != DRUPE_OK) {
            status = refuse_vm("pool", &err);
        }
    }
    while (drupe_pool_drain(pool, 1000, &err) == DRUPE_POOL_TIMEOUT) {
        struct drupe_pool_stats st;

        drupe_pool_stats(pool, &st);
        progress("pool: %zu of %zu lines, %u machines", count - st.queued - st.running, count,
                 st.in_use);
    }
    progress_end();
    drupe_pool_destroy(pool);
    drupe_shells_destroy(p->shells);
    for (size_t i = 0; i < count; i++) {
        int one = print_result(i + 1, &works[i]);

        status = status != 0 ? status : one;
    }
    free(p->streams);
    return status;
}

static int run_pool(int argc, char **argv)
{
    struct run_options o = { .accel = "auto" };
    struct drupe_pool_options options;
    struct pool p = { .options = &o, .timeout_s = TIMEOUT_DEFAULT };
    uint64_t jobs = (uint64_t)max_of(get_nprocs(), 1);
    uint64_t warm = WARM_DEFAULT;
    uint64_t retries = RETRIES_DEFAULT;
    bool has_no_jail = false;
    const struct option_spec specs[] = {
        { .name = "template", .kind = OPTION_TEXT, .out = &o.template_name },
        { .name = "jobs",
          .letter = 'j',
          .kind = OPTION_NUMBER,
          .out = &jobs,
          .min = 1,
          .max = DRUPE_POOL_CONCURRENCY_MAX },
        { .name = "warm", .kind = OPTION_NUMBER, .out = &warm, .max = DRUPE_POOL_MAX / 2 },
        { .name = "retries",
          .kind = OPTION_NUMBER,
          .out = &retries,
          .max = DRUPE_POOL_RETRIES_MAX },
        { .name = "timeout",
          .letter = 't',
          .kind = OPTION_NUMBER,
          .out = &p.timeout_s,
          .min = 1,
          .max = 86400 },
        { .name = "no-jail", .kind = OPTION_FLAG, .out = &has_no_jail },
    };
    struct operands operands;
    CLEANUP_BUFFER input = { 0 };
    struct work *works = NULL;
    size_t count = 0;
    int status = options_of_verb(&verb_pool, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (!o.template_name || operands.first < argc) {
        return complain(STATUS_USAGE, "pool: give --template NAME and lines on standard input");
    }
    CLEANUP_FREE char *path = template_path(o.template_name);

    status = read_input(&input);
    if (status == 0) {
        status = thaw_open(&p.thaw, "pool", path);
    }
    if (status != 0) {
        return status;
    }
    p.thaw.restore.is_clone = true;
    p.thaw.restore.is_memory_trusted = true;
    status = thaw_job(&p.thaw, "pool", &o, &p.job);
    if (status == 0 &&
        (p.thaw.description.stdio != DRUPE_STDIO_STREAM || p.thaw.description.vsock_cid != 0)) {
        status = complain(STATUS_USAGE,
                          "pool: --template %s: this is a background machine's; drupe template "
                          "create makes one",
                          o.template_name);
    }
    if (status == 0 && p.thaw.description.is_diff) {
        status =
            complain(STATUS_USAGE, "pool: template %s is an incremental snapshot; not supported",
                     o.template_name);
    }
    if (status == 0 && p.job.share_count + p.job.disk_count > 0) {
        status = complain(STATUS_USAGE,
                          "pool: template %s has shared folders or disks, which its "
                          "machines would share; not supported",
                          o.template_name);
    }
    if (status != 0) {
        thaw_close(&p.thaw);
        job_free(&p.job);
        return status;
    }
    (void)pthread_mutex_init(&p.lock, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    count = split(&p, &input, &works);
    drupe_pool_options_init(&options);
    options.concurrency = (unsigned)jobs;
    warm = min_of(warm, (uint64_t)count);
    options.warm = (unsigned)warm;
    options.max = (unsigned)(jobs + warm);
    options.retries = (unsigned)retries;
    options.ctx = &p;
    options.make = make_clone;
    options.is_healthy = is_ready;
    if (!has_no_jail && can_jail() && count > 0) {
        /* What stands ready is shells; the pool takes one when there is work for it. */
        options.warm = 0;
        status = open_shells(&p, (unsigned)max_of(warm, UINT64_C(1)), (unsigned)(jobs + warm) + 1);
    }
    if (status == 0) {
        status = serve(&p, &options, works, count);
    }
    free(works);
    job_free(&p.job);
    thaw_close(&p.thaw);
    return status;
}

const struct verb verb_pool = {
    .name = "pool",
    .summary = "run many inputs through clones of a template",
    .help = "usage: drupe pool --template NAME [OPTIONS] < LINES\n\n"
            "Each line of standard input goes to a clone of its own (drupe template), as its whole "
            "input. What the\nclones print comes out in the order of the lines. Clones stand ready "
            "ahead of their work. A machine\nthat dies is replaced and its line tried again; a "
            "program's exit status other than 0 is reported and\nmakes the status 1.\n\n"
            "options:\n"
            "  -j, --jobs N           so many at a time (default: the number of CPUs)\n"
            "      --warm N           clones kept ready (default 4)\n"
            "      --retries N        new tries after a failure (default 2)\n"
            "  -t, --timeout SECONDS  of one line (default 60)\n"
            "      --no-jail          all machines in this process, without jails\n\n"
            "example:\n"
            "  printf 'print(1)\\nprint(2)\\n' | drupe pool --template py\n",
    .run = run_pool,
};
