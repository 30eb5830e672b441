/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to its endpoint, and what endpoints share. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#define FAULT_SIZE_MAX 768u

/* ---- Answers ---- */

static void reply_text(struct server_reply *reply, unsigned status, char *text)
{
    free(reply->body);
    reply->status = text == NULL ? 400 : status;
    reply->body = text;
    reply->body_size = text == NULL ? 0 : strlen(text);
}

void reply_json(struct api_call *call, json_t *value)
{
    if (value == NULL) {
        reply_fault(call, "Internal VMM error: Out of memory.");
        return;
    }
    reply_text(call->reply, 200, json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY));
    json_decref(value);
}

void reply_fault(struct api_call *call, const char *format, ...)
{
    char text[FAULT_SIZE_MAX];
    json_t *fault = NULL;
    va_list args;

    va_start(args, format);
    (void)fmt_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fault = json_pack("{s:s}", "fault_message", text);
    if (fault == NULL) { /* the text was cut inside a character, or it quotes bytes that are none */
        for (char *c = text; *c != '\0'; c++) {
            if ((unsigned char)*c > '~') {
                *c = '?';
            }
        }
        fault = json_pack("{s:s}", "fault_message", text);
    }
    reply_text(call->reply, 400, fault == NULL ? NULL : json_dumps(fault, JSON_COMPACT));
    json_decref(fault);
    api_log(call->api, LOGGER_ERROR, "Received Error. Status code: 400 Bad Request. Message: %s",
            text);
}

void reply_bad_body(struct api_call *call, const struct body_detail *d)
{
    reply_fault(call, "An error occurred when deserializing the json body of a request: %s.",
                d->text);
}

bool refuse_after_start(struct api_call *call)
{
    if (call->api->vm == NULL) {
        return false;
    }
    reply_fault(call, "The requested operation is not supported after starting the microVM.");
    return true;
}

bool refuse_before_start(struct api_call *call)
{
    if (call->api->vm != NULL) {
        return false;
    }
    reply_fault(call, "The requested operation is not supported before starting the microVM.");
    return true;
}

/* ---- Bodies ---- */

bool call_read(struct api_call *call, const struct body_field *fields, size_t count)
{
    struct body_detail d;

    if (body_read(call->body, fields, count, BODY_UNKNOWN_REFUSED, &d)) {
        return true;
    }
    reply_bad_body(call, &d);
    return false;
}

bool read_token_bucket(const json_t *object, struct drupe_token_bucket *out, struct body_detail *d)
{
    struct drupe_token_bucket b = { 0 };
    const struct body_field fields[] = {
        FIELD("size", BODY_NUMBER, BODY_REQUIRED, &b.size, .max = UINT64_MAX),
        FIELD("one_time_burst", BODY_NUMBER, BODY_OPTIONAL, &b.one_time_burst, .max = UINT64_MAX),
        FIELD("refill_time", BODY_NUMBER, BODY_REQUIRED, &b.refill_ms, .max = UINT64_MAX),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_IGNORED, d)) {
        return false;
    }
    *out = b;
    return true;
}

bool read_rate_limit(const json_t *object, struct drupe_rate_limit *out, struct body_detail *d)
{
    struct drupe_rate_limit limit = *out;
    json_t *bandwidth = NULL;
    json_t *ops = NULL;
    const struct body_field fields[] = {
        FIELD("bandwidth", BODY_OBJECT, BODY_OPTIONAL, &bandwidth),
        FIELD("ops", BODY_OBJECT, BODY_OPTIONAL, &ops),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_REFUSED, d) ||
        (bandwidth != NULL && !read_token_bucket(bandwidth, &limit.bandwidth, d)) ||
        (ops != NULL && !read_token_bucket(ops, &limit.ops, d))) {
        return false;
    }
    *out = limit;
    return true;
}

int call_take_fd(struct api_call *call, const char *digits)
{
    char *end = NULL;
    unsigned long n = strtoul(digits, &end, 10);
    int fd = -1;

    if (digits[0] < '0' || digits[0] > '9' || *end != '\0' || call->fds == NULL ||
        n >= call->fds->count || call->fds->fds[n] < 0) {
        return -EBADF;
    }
    fd = fcntl(call->fds->fds[n], F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? -errno : fd;
}

int call_open(struct api_call *call, const char *path, int flags, struct named_file *out)
{
    int fd = -1;
    char *copy = NULL;

    if (strncmp(path, "fd:", 3) == 0) {
        fd = call_take_fd(call, path + 3);
    } else {
        fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
        fd = fd < 0 ? -errno : fd;
    }
    if (fd < 0) {
        return fd;
    }
    copy = strdup(path);
    if (copy == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    out->path = copy;
    out->fd = fd;
    return 0;
}

/* ---- Routes ---- */

enum body_rule {
    NO_BODY,
    NEEDS_BODY,
    MAY_HAVE_BODY,
};

struct route {
    enum http_method method;
    const char *first;
    const char *second; /* NULL: not looked at */
    enum body_rule body;
    enum metric_endpoint metric;
    api_endpoint endpoint;
};

static const struct route routes[] = {
    { HTTP_GET, "", NULL, NO_BODY, METRIC_INSTANCE_INFO, get_instance },
    { HTTP_GET, "version", NULL, NO_BODY, METRIC_VMM_VERSION, get_version },
    { HTTP_GET, "vm", "config", NO_BODY, METRIC_OTHER, get_vm_config },
    { HTTP_GET, "machine-config", NULL, NO_BODY, METRIC_MACHINE_CFG, get_machine_config },
    { HTTP_GET, "balloon", NULL, NO_BODY, METRIC_BALLOON, get_balloon },
    { HTTP_GET, "mmds", NULL, NO_BODY, METRIC_MMDS, get_mmds },
    { HTTP_GET, "hotplug", "memory", NO_BODY, METRIC_HOTPLUG_MEMORY, get_hotplug },
    { HTTP_GET, "drupe", NULL, NO_BODY, METRIC_OTHER, get_drupe },
    { HTTP_PUT, "actions", NULL, NEEDS_BODY, METRIC_ACTIONS, put_action },
    { HTTP_PUT, "boot-source", NULL, NEEDS_BODY, METRIC_BOOT_SOURCE, put_boot_source },
    { HTTP_PUT, "machine-config", NULL, NEEDS_BODY, METRIC_MACHINE_CFG, put_machine_config },
    { HTTP_PUT, "cpu-config", NULL, NEEDS_BODY, METRIC_CPU_CFG, put_cpu_config },
    { HTTP_PUT, "drives", NULL, NEEDS_BODY, METRIC_DRIVE, put_drive },
    { HTTP_PUT, "pmem", NULL, NEEDS_BODY, METRIC_PMEM, put_pmem },
    { HTTP_PUT, "network-interfaces", NULL, NEEDS_BODY, METRIC_NETWORK, put_network },
    { HTTP_PUT, "vsock", NULL, NEEDS_BODY, METRIC_VSOCK, put_vsock },
    { HTTP_PUT, "balloon", NULL, NEEDS_BODY, METRIC_BALLOON, put_balloon },
    { HTTP_PUT, "entropy", NULL, NEEDS_BODY, METRIC_OTHER, put_entropy },
    { HTTP_PUT, "serial", NULL, NEEDS_BODY, METRIC_SERIAL, put_serial },
    { HTTP_PUT, "hotplug", "memory", NEEDS_BODY, METRIC_HOTPLUG_MEMORY, put_hotplug },
    { HTTP_PUT, "logger", NULL, NEEDS_BODY, METRIC_LOGGER, put_logger },
    { HTTP_PUT, "metrics", NULL, NEEDS_BODY, METRIC_METRICS, put_metrics },
    { HTTP_PUT, "mmds", NULL, NEEDS_BODY, METRIC_MMDS, put_mmds },
    { HTTP_PUT, "drupe", NULL, NEEDS_BODY, METRIC_OTHER, put_drupe },
    { HTTP_PUT, "snapshot", NULL, NEEDS_BODY, METRIC_OTHER, put_snapshot },
    { HTTP_PATCH, "vm", NULL, NEEDS_BODY, METRIC_OTHER, patch_vm },
    { HTTP_PATCH, "machine-config", NULL, NEEDS_BODY, METRIC_MACHINE_CFG, patch_machine_config },
    { HTTP_PATCH, "drives", NULL, NEEDS_BODY, METRIC_DRIVE, patch_drive },
    { HTTP_PATCH, "pmem", NULL, NEEDS_BODY, METRIC_PMEM, patch_pmem },
    { HTTP_PATCH, "network-interfaces", NULL, NEEDS_BODY, METRIC_NETWORK, patch_network },
    { HTTP_PATCH, "balloon", NULL, MAY_HAVE_BODY, METRIC_BALLOON, patch_balloon },
    { HTTP_PATCH, "hotplug", "memory", NEEDS_BODY, METRIC_HOTPLUG_MEMORY, patch_hotplug },
    { HTTP_PATCH, "mmds", NULL, NEEDS_BODY, METRIC_MMDS, patch_mmds },
    { HTTP_DELETE, "drives", NULL, NO_BODY, METRIC_DRIVE, delete_device },
    { HTTP_DELETE, "pmem", NULL, NO_BODY, METRIC_PMEM, delete_device },
    { HTTP_DELETE, "network-interfaces", NULL, NO_BODY, METRIC_NETWORK, delete_device },
};

static const struct route *find_route(const struct api_call *call)
{
    for (size_t i = 0; i < array_size(routes); i++) {
        const struct route *r = &routes[i];

        if (r->method == call->method && strcmp(r->first, call->tokens[0]) == 0 &&
            (r->second == NULL || strcmp(r->second, call->tokens[1]) == 0)) {
            return r;
        }
    }
    return NULL;
}

static void split_path(struct api_call *call)
{
    char *at = call->path;

    for (unsigned i = 0; i < API_TOKENS_MAX; i++) {
        call->tokens[i] = "";
    }
    memcpy(call->path, call->request->path, strlen(call->request->path) + 1);
    at += strspn(at, "/");
    while (call->token_count < API_TOKENS_MAX) {
        char *slash = strchr(at, '/');

        call->tokens[call->token_count++] = at;
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
        at = slash + 1;
    }
}

static void refuse_path(struct api_call *call)
{
    reply_fault(call, "Invalid request method and/or path: %s %s.", http_method_name(call->method),
                call->tokens[0]);
}

/* Whether there may be, or must be, a body is asked before what the path means. */
static bool refuse_body_rule(struct api_call *call, const struct route *r)
{
    bool has_body = call->request->body != NULL;
    bool may_lack = r != NULL && r->body != NEEDS_BODY;

    switch (call->method) {
    case HTTP_GET:
        if (has_body) {
            reply_fault(call, "GET request cannot have a body.");
        }
        return has_body;
    case HTTP_PUT:
    case HTTP_PATCH:
        if (!has_body && !may_lack) {
            reply_fault(call, "Empty %s request.", http_method_name(call->method));
            return true;
        }
        return false;
    case HTTP_DELETE:
        if (has_body) {
            reply_fault(call, "Empty Delete request.");
        }
        return has_body;
    }
    return false;
}

static void run_route(struct api_call *call, const struct route *r)
{
    struct body_detail d;

    if (refuse_body_rule(call, r)) {
        return;
    }
    if (r == NULL) {
        refuse_path(call);
        return;
    }
    if (call->request->body != NULL) {
        call->body = body_parse(call->request->body, call->request->body_size, &d);
        if (call->body == NULL) {
            reply_bad_body(call, &d);
            return;
        }
    }
    r->endpoint(call);
}

static void count_call(struct api *a, const struct api_call *call, const struct route *r)
{
    static const enum metric_api kinds[] = {
        [HTTP_GET] = METRIC_GET,
        [HTTP_PUT] = METRIC_PUT,
        [HTTP_PATCH] = METRIC_PATCH,
        [HTTP_DELETE] = METRIC_PATCH,
    };

    metrics_count(&a->metrics, kinds[call->method], r == NULL ? METRIC_OTHER : r->metric,
                  call->reply->status >= 400);
    if (call->reply->is_deprecated) {
        a->metrics.deprecated_calls++;
    }
}

void api_handle(void *ctx, const struct http_request *request, struct passed_fds *fds,
                struct server_reply *reply)
{
    struct api *a = ctx;
    struct api_call call = {
        .api = a, .method = request->method, .request = request, .fds = fds, .reply = reply
    };
    const struct route *r = NULL;

    split_path(&call);
    r = find_route(&call);
    api_log(a, LOGGER_INFO, "The API server received a %s request on \"%s\".",
            http_method_name(request->method), request->path);
    run_route(&call, r);
    count_call(a, &call, r);
    json_decref(call.body);
}
