/* SPDX-License-Identifier: Apache-2.0 */
/* PUT /logger and PUT /metrics. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"

void put_logger(struct api_call *call)
{
    struct logger *l = &call->api->logger;
    struct named_file file = { .fd = -1 };
    enum logger_level level = l->level;
    bool shows_level = l->shows_level;
    bool shows_origin = l->shows_origin;
    const char *path = NULL;
    const char *level_text = NULL;
    const char *module = NULL;
    char *module_copy = NULL;
    const struct body_field fields[] = {
        FIELD("log_path", BODY_TEXT, BODY_OPTIONAL, &path),
        FIELD("level", BODY_TEXT, BODY_OPTIONAL, &level_text),
        FIELD("show_level", BODY_FLAG, BODY_OPTIONAL, &shows_level),
        FIELD("show_log_origin", BODY_FLAG, BODY_OPTIONAL, &shows_origin),
        FIELD("module", BODY_TEXT, BODY_OPTIONAL, &module),
    };
    int r = 0;

    if (!call_read(call, fields, array_size(fields))) {
        return;
    }
    if (level_text != NULL && !logger_parse_level(level_text, &level)) {
        struct body_detail d;

        body_refuse(&d,
                    "unknown variant `%.64s`, expected one of `Off`, `Error`, `Warning`, `Warn`, "
                    "`Info`, `Debug`, `Trace`",
                    level_text);
        reply_bad_body(call, &d);
        return;
    }
    if (refuse_after_start(call)) {
        return;
    }
    module_copy = module == NULL ? NULL : strdup(module);
    r = module != NULL && module_copy == NULL ? -ENOMEM : 0;
    if (r == 0 && path != NULL) {
        r = call_open(call, path, O_RDWR | O_CREAT | O_APPEND, &file);
    }
    if (r == 0 && path != NULL) {
        r = logger_set_sink(l, path, file.fd);
    }
    if (r < 0) {
        free(module_copy);
        named_file_deinit(&file);
        reply_fault(call, "Logger error: Failed to open target file: %s (os error %d)",
                    strerror(-r), -r);
        return;
    }
    free(file.path); /* the logger has the descriptor and a copy */
    (void)pthread_mutex_lock(&l->lock);
    l->level = level;
    l->shows_level = shows_level;
    l->shows_origin = shows_origin;
    if (module != NULL) {
        free(l->module);
        l->module = module_copy;
    }
    (void)pthread_mutex_unlock(&l->lock);
}

void put_metrics(struct api_call *call)
{
    struct metrics *m = &call->api->metrics;
    struct named_file file = { .fd = -1 };
    struct body_detail d;
    const char *path = NULL;
    bool emits_id = false;
    json_t *properties = NULL;
    const struct body_field fields[] = {
        FIELD("metrics_path", BODY_TEXT, BODY_REQUIRED, &path),
        FIELD("emit_id", BODY_FLAG, BODY_DEFAULT, &emits_id),
        FIELD("properties", BODY_OBJECT, BODY_OPTIONAL, &properties),
    };
    int r = 0;

    if (!body_read(call->body, fields, array_size(fields), BODY_UNKNOWN_IGNORED, &d)) {
        reply_bad_body(call, &d);
        return;
    }
    for (void *at = json_object_iter(properties); at != NULL;
         at = json_object_iter_next(properties, at)) {
        if (!json_is_string(json_object_iter_value(at))) {
            body_refuse(&d, "invalid type: expected a string for property `%.64s`",
                        json_object_iter_key(at));
            reply_bad_body(call, &d);
            return;
        }
    }
    if (refuse_after_start(call)) {
        return;
    }
    if (m->fd >= 0) {
        reply_fault(call, "Metrics error: Cannot initialize the metrics system due to bad user "
                          "input: Reinitialization of metrics not allowed.");
        return;
    }
    r = call_open(call, path, O_RDWR | O_CREAT | O_APPEND, &file);
    if (r < 0) {
        reply_fault(call,
                    "Metrics error: Cannot initialize the metrics system due to bad user input: "
                    "%s (os error %d)",
                    strerror(-r), -r);
        return;
    }
    m->fd = file.fd;
    m->path = file.path;
    m->emits_id = emits_id;
    m->properties = json_incref(properties);
}
