/* SPDX-License-Identifier: Apache-2.0 */
/* drupe events: what happened to machines, one line each, of one machine or of all. */

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "options.h"
#include "vm_dir.h"

#define EVENTS_SIZE_MAX ((size_t)64 << 20)

/* One machine's file, and how far it was read. */
struct source {
    char *dir;
    size_t at;
};

struct line {
    double time;
    char *text;
};

struct state {
    struct source *sources;
    size_t source_count;
    struct line *lines;
    size_t line_count;
    bool is_json;
    int watch; /* inotify; -1: not following */
};

static struct source *source_of(struct state *s, const char *dir)
{
    for (size_t i = 0; i < s->source_count; i++) {
        if (strcmp(s->sources[i].dir, dir) == 0) {
            return &s->sources[i];
        }
    }
    s->sources = alloc_resized(s->sources, s->source_count + 1, sizeof(*s->sources));
    s->sources[s->source_count] = (struct source){ .dir = text_copy(dir) };
    if (s->watch >= 0) {
        (void)inotify_add_watch(s->watch, dir, IN_CREATE | IN_MODIFY);
    }
    return &s->sources[s->source_count++];
}

static void take_line(struct state *s, const char *text, size_t size)
{
    json_t *e = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    double time = json_number_value(json_object_get(e, "time"));

    json_decref(e);
    if (!e) {
        return; /* a line cut by a crash */
    }
    s->lines = alloc_resized(s->lines, s->line_count + 1, sizeof(*s->lines));
    s->lines[s->line_count++] = (struct line){ time, text_copy_sized(text, size) };
}

/* The whole lines behind what was read before. */
static void read_source(struct state *s, struct source *source)
{
    CLEANUP_FREE char *path = path_join(source->dir, "events");
    CLEANUP_BUFFER all = { 0 };
    const char *end = NULL;

    if (file_read(path, EVENTS_SIZE_MAX, &all) < 0) {
        return;
    }
    while (source->at < all.size &&
           (end = memchr(all.data + source->at, '\n', all.size - source->at)) != NULL) {
        take_line(s, all.data + source->at, (size_t)(end - all.data) - source->at);
        source->at = (size_t)(end - all.data) + 1;
    }
}

static int by_time(const void *a, const void *b)
{
    const struct line *x = a;
    const struct line *y = b;

    return x->time < y->time ? -1 : x->time > y->time;
}

static void print_text(const char *text)
{
    json_t *e = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    double when = json_number_value(json_object_get(e, "time"));
    time_t seconds = (time_t)when;
    const char *id = json_string_value(json_object_get(e, "id"));
    const char *name = json_string_value(json_object_get(e, "name"));
    const char *event = json_string_value(json_object_get(e, "event"));
    const char *detail = json_string_value(json_object_get(e, "detail"));
    const json_t *status = json_object_get(e, "status");
    struct tm tm;
    char stamp[32];

    (void)localtime_r(&seconds, &tm);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)printf("%s.%03d  %s  %s%s%s", stamp, (int)((when - (double)seconds) * 1000),
                 id ? id : "?", event ? event : "?", name && *name ? "  " : "",
                 name && *name ? name : "");
    if (status) {
        (void)printf("  status %d", (int)json_integer_value(status));
    }
    (void)printf("%s%s\n", detail && *detail ? "  " : "", detail ? detail : "");
    json_decref(e);
}

static void print_lines(struct state *s)
{
    if (s->line_count > 0) {
        qsort(s->lines, s->line_count, sizeof(*s->lines), by_time);
    }
    for (size_t i = 0; i < s->line_count; i++) {
        if (s->is_json) {
            (void)puts(s->lines[i].text);
        } else {
            print_text(s->lines[i].text);
        }
        free(s->lines[i].text);
    }
    s->line_count = 0;
    (void)fflush(stdout);
}

/* All machines' files, those that are new included. */
static int look(struct state *s)
{
    struct vm_record *all = NULL;
    size_t count = 0;
    int err = vm_list(&all, &count);

    for (size_t i = 0; i < count; i++) {
        read_source(s, source_of(s, all[i].dir));
        vm_record_free(&all[i]);
    }
    free(all);
    return err;
}

static void wait_change(const struct state *s)
{
    struct pollfd p = { s->watch, POLLIN, 0 };
    char events[4096];

    (void)poll(&p, 1, 1000); /* vm.json may follow its directory later */
    while (read(s->watch, events, sizeof(events)) > 0) {
    }
}

static int follow_one(struct state *s, struct vm_record *r)
{
    for (;;) {
        struct vm_record now = { 0 };
        bool is_alive = vm_record_read(r->dir, &now) == 0 && now.is_alive;

        vm_record_free(&now);
        read_source(s, source_of(s, r->dir));
        print_lines(s);
        if (!is_alive || s->watch < 0) {
            return 0;
        }
        wait_change(s);
    }
}

static int follow_all(struct state *s)
{
    for (;;) {
        int err = look(s);

        print_lines(s);
        if (err < 0) {
            return vm_dir_complain("events", -err);
        }
        if (s->watch < 0 || ferror(stdout)) {
            return 0;
        }
        wait_change(s);
    }
}

static int run_events(int argc, char **argv)
{
    bool follows = false;
    struct state s = { .watch = -1 };
    const struct option_spec specs[] = {
        { .name = "follow", .letter = 'f', .kind = OPTION_FLAG, .out = &follows },
        { .name = "json", .kind = OPTION_FLAG, .out = &s.is_json },
    };
    struct operands operands;
    CLEANUP_RECORD r = { 0 };
    int status = options_of_verb(&verb_events, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first + 1 < argc) {
        return complain(STATUS_USAGE, "events: takes one machine, or none for all");
    }
    if (operands.first < argc) {
        status = vm_find("events", argv[operands.first], &r);
        if (status != 0) {
            return status;
        }
    }
    if (follows) {
        CLEANUP_FREE char *base = vm_dir_base();

        s.watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (s.watch < 0 || !base || inotify_add_watch(s.watch, base, IN_CREATE) < 0) {
            return complain(STATUS_FAILED, "events: inotify: %s", strerror(errno));
        }
    }
    status = r.dir ? follow_one(&s, &r) : follow_all(&s);
    for (size_t i = 0; i < s.source_count; i++) {
        free(s.sources[i].dir);
    }
    free(s.sources);
    free(s.lines);
    if (s.watch >= 0) {
        (void)close(s.watch);
    }
    return status;
}

const struct verb verb_events = {
    .name = "events",
    .summary = "show what happened to machines",
    .help =
        "usage: drupe events [OPTIONS] [MACHINE]\n\n"
        "starting, started, paused, resumed, snapshot, restoring, restored, stopping, ended; of "
        "all\nmachines that drupe rm has not removed, or of one.\n\n"
        "options:\n"
        "  -f, --follow  go on until the machine ends, or without end for all\n"
        "      --json    one JSON object a line, as the machine's monitor wrote it\n",
    .run = run_events,
};
