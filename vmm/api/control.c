/* SPDX-License-Identifier: Apache-2.0 */
/* One loop over the clients, the VM's end, signals and the clock. */
#include "drupe/control.h"
#include "drupe/jail.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "api.h"

#define ID_DEFAULT         "anonymous-instance"
#define METRICS_INTERVAL_S 60

enum {
    POLL_SIGNAL,
    POLL_METRICS,
    POLL_VM,
    POLL_SERVER, /* and those behind it */
};

struct control {
    struct api api;
    struct server *server; /* NULL: no API */
    int signal_fd;
    int timer_fd;
    uint64_t timeout_ns; /* CLOCK_MONOTONIC; UINT64_MAX: none */
    bool is_signalled;
};

void drupe_control_options_init(struct drupe_control_options *options)
{
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
    options->id = ID_DEFAULT;
    options->listen_fd = -1;
    options->payload_size_max = HTTP_BODY_SIZE_DEFAULT;
    options->serial_in = -1;
    options->serial_out = -1;
}

static int failed(int status, struct drupe_error *err, int os_errno, const char *format, ...)
    PRINTF_LIKE(4, 5);

static int failed(int status, struct drupe_error *err, int os_errno, const char *format, ...)
{
    va_list args;

    if (err != NULL) {
        memset(err, 0, sizeof(*err));
        err->code = DRUPE_INTERNAL;
        err->os_errno = os_errno;
        va_start(args, format);
        (void)fmt_vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return status;
}

/* ---- Set-up ---- */

static bool is_instance_id(const char *id)
{
    size_t size = strlen(id);

    for (const char *c = id; *c != '\0'; c++) {
        bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');

        if (!is_letter && !(*c >= '0' && *c <= '9') && *c != '-') {
            return false;
        }
    }
    return size >= 1 && size <= SETTINGS_ID_SIZE_MAX;
}

static int open_log(struct api *a, struct drupe_error *err)
{
    const struct drupe_control_options *o = &a->options;
    struct logger *l = &a->logger;
    int fd = -1;
    int r = 0;

    if (o->log_level != NULL && !logger_parse_level(o->log_level, &l->level)) {
        return failed(DRUPE_CONTROL_BAD_ARGUMENTS, err, 0,
                      "level \"%s\" is none of Off, Error, "
                      "Warning, Info, Debug, Trace",
                      o->log_level);
    }
    l->shows_level = o->shows_log_level;
    l->shows_origin = o->shows_log_origin;
    l->module = o->log_module == NULL ? NULL : strdup(o->log_module);
    if (o->log_path == NULL) {
        return DRUPE_CONTROL_OK;
    }
    fd = logger_open(o->log_path);
    r = fd < 0 ? fd : logger_set_sink(l, o->log_path, fd);
    if (r < 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return failed(DRUPE_CONTROL_FAILED, err, -r, "open log %s: %s", o->log_path, strerror(-r));
    }
    return DRUPE_CONTROL_OK;
}

static int open_metrics(struct api *a, struct drupe_error *err)
{
    const struct drupe_control_options *o = &a->options;

    a->metrics.start_time_us = o->start_time_us;
    a->metrics.start_time_cpu_us = o->start_time_cpu_us + o->parent_cpu_time_us;
    if (o->metrics_path == NULL) {
        return DRUPE_CONTROL_OK;
    }
    a->metrics.fd = logger_open(o->metrics_path);
    a->metrics.path = strdup(o->metrics_path);
    if (a->metrics.fd < 0 || a->metrics.path == NULL) {
        int e = a->metrics.fd < 0 ? -a->metrics.fd : ENOMEM;

        return failed(DRUPE_CONTROL_FAILED, err, e, "open metrics file %s: %s", o->metrics_path,
                      strerror(e));
    }
    return DRUPE_CONTROL_OK;
}

static int load_metadata(struct api *a, struct drupe_error *err)
{
    const struct drupe_control_options *o = &a->options;
    struct body_detail d;
    json_t *document = NULL;

    if (o->metadata_text == NULL) {
        return DRUPE_CONTROL_OK;
    }
    document = body_parse(o->metadata_text, o->metadata_size, &d);
    if (document == NULL) {
        return failed(DRUPE_CONTROL_FAILED, err, 0, "metadata: %s", d.text);
    }
    if (mmds_replace(a, document) < 0) {
        return failed(DRUPE_CONTROL_FAILED, err, 0, "metadata: larger than %zu bytes",
                      a->mmds_size_max);
    }
    return DRUPE_CONTROL_OK;
}

static int init_api(struct api *a, const struct drupe_control_options *o, struct drupe_error *err)
{
    int status = DRUPE_CONTROL_OK;

    a->options = *o;
    settings_init(&a->settings);
    logger_init(&a->logger, a->id);
    metrics_init(&a->metrics, a->id);
    a->mmds_size_max = o->mmds_size_max == 0 ? o->payload_size_max : o->mmds_size_max;
    a->vm = o->vm;
    a->kill_ns = UINT64_MAX;
    if (!is_instance_id(o->id)) {
        return failed(DRUPE_CONTROL_BAD_ARGUMENTS, err, 0,
                      "id \"%s\": letters, digits and hyphens, 1 to %u of them", o->id,
                      SETTINGS_ID_SIZE_MAX);
    }
    (void)fmt_snprintf(a->id, sizeof(a->id), "%s", o->id);
    status = open_log(a, err);
    if (status == DRUPE_CONTROL_OK) {
        status = open_metrics(a, err);
    }
    if (status == DRUPE_CONTROL_OK) {
        status = load_metadata(a, err);
    }
    return status;
}

static void deinit_api(struct api *a)
{
    if (a->owns_vm) {
        drupe_vm_destroy(a->vm);
    }
    settings_deinit(&a->settings);
    json_decref(a->mmds);
    json_decref(a->mmds_config);
    metrics_deinit(&a->metrics);
    logger_deinit(&a->logger);
}

static int open_events(struct control *c, struct drupe_error *err)
{
    const struct itimerspec every = { .it_interval = { .tv_sec = METRICS_INTERVAL_S },
                                      .it_value = { .tv_sec = METRICS_INTERVAL_S } };
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    c->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->signal_fd < 0 || c->timer_fd < 0 || timerfd_settime(c->timer_fd, 0, &every, NULL) < 0) {
        return failed(DRUPE_CONTROL_FAILED, err, errno, "make the event descriptors: %s",
                      strerror(errno));
    }
    return DRUPE_CONTROL_OK;
}

/* What asked us to end has been obeyed: it does not end whom the caller serves next. */
static void close_events(const struct control *c)
{
    struct signalfd_siginfo info;
    ssize_t n = 1;

    if (c->signal_fd >= 0) {
        while (n > 0 || (n < 0 && errno == EINTR)) {
            n = read(c->signal_fd, &info, sizeof(info));
        }
        (void)close(c->signal_fd);
    }
    if (c->timer_fd >= 0) {
        (void)close(c->timer_fd);
    }
}

static int open_server(struct control *c, struct drupe_error *err)
{
    const struct drupe_control_options *o = &c->api.options;
    int r = 0;

    if (o->socket_path == NULL && o->listen_fd < 0) {
        return DRUPE_CONTROL_OK;
    }
    r = server_create(o->socket_path, o->listen_fd, o->payload_size_max, api_handle, &c->api,
                      &c->server);
    if (r == -EADDRINUSE) {
        return failed(DRUPE_CONTROL_FAILED, err, -r,
                      "Failed to open the API socket at: %s. Check that it is not already used.",
                      o->socket_path);
    }
    if (r < 0) {
        return failed(DRUPE_CONTROL_FAILED, err, -r, "open the API socket %s: %s",
                      o->socket_path == NULL ? "" : o->socket_path, strerror(-r));
    }
    return DRUPE_CONTROL_OK;
}

/* Answers that are under way are sent. */
static void close_server(struct control *c)
{
    if (c->server != NULL) {
        server_destroy(c->server);
        c->server = NULL;
    }
}

/* ---- The loop ---- */

static bool has_ended(const struct api *a)
{
    return a->vm != NULL && ((unsigned)drupe_vm_state(a->vm) & DRUPE_VM_ENDED) != 0;
}

/* Until the nearer of the two deadlines, rounded up so that the loop does not spin; -1: none. */
static int wait_ms(const struct control *c)
{
    uint64_t until = min_of(c->timeout_ns, c->api.kill_ns);
    return clock_poll_ms(until);
}

static void check_deadlines(struct control *c)
{
    struct api *a = &c->api;

    if (clock_ns() >= min_of(c->timeout_ns, a->kill_ns)) {
        c->timeout_ns = UINT64_MAX;
        a->kill_ns = UINT64_MAX;
        if (a->vm != NULL) {
            (void)!drupe_vm_stop(a->vm, 0, NULL); /* one that has ended meanwhile is as good */
        }
    }
}

static void run_once(struct control *c)
{
    struct pollfd polls[POLL_SERVER + SERVER_POLLS_MAX];
    struct api *a = &c->api;
    uint64_t count = 0;
    unsigned n = POLL_SERVER;

    polls[POLL_SIGNAL] = (struct pollfd){ .fd = c->signal_fd, .events = POLLIN };
    polls[POLL_METRICS] = (struct pollfd){ .fd = c->timer_fd, .events = POLLIN };
    polls[POLL_VM] =
        (struct pollfd){ .fd = a->vm == NULL ? -1 : drupe_vm_event_fd(a->vm), .events = POLLIN };
    if (c->server != NULL) {
        n += server_polls(c->server, polls + POLL_SERVER);
    }
    if (poll(polls, n, wait_ms(c)) < 0) {
        return; /* EINTR */
    }
    check_deadlines(c);
    if ((polls[POLL_SIGNAL].revents & POLLIN) != 0) {
        c->is_signalled = true;
    }
    if ((polls[POLL_METRICS].revents & POLLIN) != 0 &&
        read(c->timer_fd, &count, sizeof(count)) == (ssize_t)sizeof(count)) {
        (void)metrics_write(&a->metrics, a->vm, a->logger.lines_lost);
    }
    if (c->server != NULL) {
        server_run(c->server, polls + POLL_SERVER, n - POLL_SERVER);
    }
}

/* The guest's own end is success, whatever it left behind; the monitor's is not. */
static int end_status(struct api *a, struct drupe_error *err)
{
    struct drupe_vm_outcome o;

    if (a->must_exit) {
        return failed(DRUPE_CONTROL_FAILED, err, 0, "the snapshot could not be loaded");
    }
    if (!has_ended(a) || drupe_vm_outcome(a->vm, &o, NULL) != DRUPE_OK) {
        return DRUPE_CONTROL_OK;
    }
    api_log(a, LOGGER_INFO, "The microVM ended: kind=%d status=%d %s", (int)o.kind, o.status,
            o.text);
    if (o.kind == DRUPE_END_MONITOR) {
        return failed(DRUPE_CONTROL_FAILED, err, 0, "%s", o.text);
    }
    return DRUPE_CONTROL_OK;
}

static int serve(struct control *c, struct drupe_error *err)
{
    struct api *a = &c->api;

    api_log(a, LOGGER_INFO, "Running Firecracker v" API_VERSION " (drupe)");
    while (!c->is_signalled && !a->must_exit && !has_ended(a)) {
        run_once(c);
    }
    close_server(c);
    (void)metrics_write(&a->metrics, a->vm, a->logger.lines_lost);
    return end_status(a, err);
}

int drupe_control_run(const struct drupe_control_options *options, struct drupe_error *err)
{
    struct drupe_error own;
    struct control *c = NULL;
    int status = DRUPE_CONTROL_OK;

    if (options->struct_size != sizeof(*options)) {
        return failed(DRUPE_CONTROL_BAD_ARGUMENTS, err, 0,
                      "the options were not made by drupe_control_options_init()");
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return failed(DRUPE_CONTROL_FAILED, err, ENOMEM, "out of memory");
    }
    err = err == NULL ? &own : err;
    c->signal_fd = -1;
    c->timer_fd = -1;
    c->timeout_ns =
        options->timeout_s == 0 ? UINT64_MAX : clock_ns() + options->timeout_s * NS_PER_S;
    status = init_api(&c->api, options, err);
    if (status == DRUPE_CONTROL_OK) {
        status = open_events(c, err);
    }
    if (status == DRUPE_CONTROL_OK) {
        status = open_server(c, err);
    }
    /* From here on it acts on what others say. Nothing outside of a jail. */
    if (status == DRUPE_CONTROL_OK && drupe_jail_confine(DRUPE_JAIL_THREAD_API, err) != DRUPE_OK) {
        status = DRUPE_CONTROL_FAILED;
    }
    if (status == DRUPE_CONTROL_OK && options->config_text != NULL &&
        api_apply_config(&c->api, options->config_text, options->config_size, err) != DRUPE_OK) {
        status = DRUPE_CONTROL_BAD_CONFIG;
        api_log(&c->api, LOGGER_ERROR, "%s", err->text);
    } else if (status == DRUPE_CONTROL_OK) {
        status = serve(c, err);
    }
    close_server(c);
    deinit_api(&c->api);
    close_events(c);
    free(c);
    return status;
}
