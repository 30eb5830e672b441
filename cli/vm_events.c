/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's events: lines of JSON, appended, each in one write, so that two writers don't mix. */
#include "vm_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_SIZE_MAX ((size_t)64 << 20)

int vm_events_open(const struct vm_record *r)
{
    CLEANUP_FREE char *path = vm_path(r, "events");

    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Text that may hold any bytes, as a JSON string. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);

    return value ? value : json_string("(not UTF-8)");
}

static json_t *new_event(const struct vm_record *r, const char *event)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return json_pack("{s:f, s:s, s:s, s:s}", "time", (double)now.tv_sec + (double)now.tv_nsec / 1e9,
                     "id", r->id, "name", r->name, "event", event);
}

static void append(int fd, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(16)) : NULL;

    if (fd >= 0 && text) {
        CLEANUP_FREE char *line = text_format("%s\n", text);

        (void)!write(fd, line, strlen(line));
    }
    free(text);
    json_decref(event);
}

void vm_event(int events_fd, const struct vm_record *r, const char *event, const char *detail)
{
    json_t *e = new_event(r, event);

    if (e && detail) {
        (void)json_object_set_new(e, "detail", text_value(detail));
    }
    append(events_fd, e);
}

void vm_event_end(int events_fd, const struct vm_record *r, const struct vm_end *end)
{
    json_t *e = new_event(r, "ended");

    if (e) {
        (void)json_object_set_new(e, "kind", json_string(end->kind));
        (void)json_object_set_new(e, "status", json_integer(end->status));
        (void)json_object_set_new(e, "detail", text_value(end->text));
    }
    append(events_fd, e);
}

static int parse_end(const char *line, size_t size, struct vm_end *out)
{
    json_t *e = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    const char *event = NULL;
    const char *kind = NULL;
    const char *text = NULL;
    int status = 0;
    int err = -ENOENT;

    if (e &&
        json_unpack(e, "{s:s, s:s, s:i, s:s}", "event", &event, "kind", &kind, "status", &status,
                    "detail", &text) == 0 &&
        strcmp(event, "ended") == 0) {
        (void)snprintf(out->kind, sizeof(out->kind), "%s", kind);
        (void)snprintf(out->text, sizeof(out->text), "%s", text);
        out->status = status & 0xff;
        err = 0;
    }
    json_decref(e);
    return err;
}

int vm_end_read(const struct vm_record *r, struct vm_end *out)
{
    CLEANUP_FREE char *path = vm_path(r, "events");
    CLEANUP_BUFFER all = { 0 };
    int err = file_read(path, EVENTS_SIZE_MAX, &all);

    if (err < 0) {
        return err;
    }
    size_t end = all.size;

    while (end > 0 && all.data[end - 1] == '\n') {
        end--;
    }
    size_t start = end;

    while (start > 0 && all.data[start - 1] != '\n') {
        start--;
    }
    return parse_end(all.data ? all.data + start : "", end - start, out);
}
