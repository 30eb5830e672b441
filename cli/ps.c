/* SPDX-License-Identifier: Apache-2.0 */
/* drupe ps: the machines that run in the background, and those that did. */

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api_client.h"
#include "cli.h"
#include "options.h"
#include "vm_dir.h"
#include "vm_stats.h"

#define COMMAND_WIDTH 40

struct row {
    const struct vm_record *record;
    struct vm_stats stats; /* of a living one that answers */
    bool has_stats;
    struct vm_end end; /* of a dead one */
    bool has_end;
};

static void fill(struct row *row, const struct vm_record *r)
{
    *row = (struct row){ .record = r };
    if (r->is_alive) {
        row->has_stats = vm_stats_get(r, &row->stats) == 0;
    } else {
        row->has_end = vm_end_read(r, &row->end) == 0;
    }
}

static const char *state_of(const struct row *row)
{
    if (row->has_stats) {
        return row->stats.state;
    }
    if (row->record->is_alive) {
        return "SILENT"; /* the process is there and does not answer */
    }
    return row->has_end ? row->end.kind : "killed";
}

static char *command_of(const struct vm_record *r)
{
    CLEANUP_BUFFER b = { 0 };

    for (size_t i = 0; i < r->argv.count; i++) {
        buffer_format(&b, "%s%s", i > 0 ? " " : "", r->argv.items[i]);
    }
    for (size_t i = 0; i < b.size; i++) {
        if ((unsigned char)b.data[i] < 0x20 || b.data[i] == 0x7f) {
            b.data[i] = '?';
        }
    }
    if (b.size > COMMAND_WIDTH) {
        return text_format("%.*s...", COMMAND_WIDTH - 3, b.data);
    }
    return text_copy(b.data ? b.data : "");
}

static char *age_of(int64_t since_ms)
{
    int64_t s = max_of((int64_t)time(NULL) - since_ms / 1000, (int64_t)0);

    if (s < 60) {
        return text_format("%" PRId64 "s", s);
    }
    if (s < 3600) {
        return text_format("%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    }
    if (s < 86400) {
        return text_format("%" PRId64 "h%02" PRId64 "m", s / 3600, s % 3600 / 60);
    }
    return text_format("%" PRId64 "d%02" PRId64 "h", s / 86400, s % 86400 / 3600);
}

static void print_row(const struct row *row)
{
    const struct vm_record *r = row->record;
    CLEANUP_FREE char *command = command_of(r);
    CLEANUP_FREE char *age = age_of(r->created_ms);
    CLEANUP_FREE char *memory =
        row->has_stats
            ? text_format("%" PRIu64 "/%uM", row->stats.memory_resident >> 20, r->memory_mib)
            : text_format("-/%uM", r->memory_mib);
    CLEANUP_FREE char *state = row->has_end && strcmp(row->end.kind, "exit") == 0
                                   ? text_format("exit %d", row->end.status)
                                   : text_copy(state_of(row));

    (void)printf("%-12s  %-12s  %-10s  %-7s  %-10s  %4u  %s\n", r->id, r->name[0] ? r->name : "-",
                 state, age, memory, r->vcpus, command);
}

static void print_json(const struct row *row)
{
    const struct vm_record *r = row->record;
    json_t *argv = json_array();

    for (size_t i = 0; i < r->argv.count; i++) {
        (void)json_array_append_new(argv, json_string(r->argv.items[i]));
    }
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:I, s:i, s:i, s:i, s:b}", "id", r->id, "name",
                  r->name, "state", state_of(row), "backend", r->backend, "image", r->image, "argv",
                  argv, "created_ms", (json_int_t)r->created_ms, "pid", (int)r->pid, "memory_mib",
                  (int)r->memory_mib, "vcpus", (int)r->vcpus, "alive", r->is_alive);

    if (all && row->has_end) {
        (void)json_object_set_new(all, "status", json_integer(row->end.status));
    }
    if (all && row->has_stats) {
        (void)json_object_set_new(all, "memory_resident",
                                  json_integer((json_int_t)row->stats.memory_resident));
    }
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;

    (void)printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(all);
}

static int run_ps(int argc, char **argv)
{
    bool is_all = false;
    bool is_quiet = false;
    bool is_json = false;
    const struct option_spec specs[] = {
        { .name = "all", .letter = 'a', .kind = OPTION_FLAG, .out = &is_all },
        { .name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .out = &is_quiet },
        { .name = "json", .kind = OPTION_FLAG, .out = &is_json },
    };
    struct operands operands;
    struct vm_record *all = NULL;
    size_t count = 0;
    int status = options_of_verb(&verb_ps, specs, array_size(specs), argc, argv, &operands);

    if (status >= 0) {
        return status;
    }
    if (operands.first < argc) {
        return complain(STATUS_USAGE, "ps: takes no arguments; see drupe ps --help");
    }
    int err = vm_list(&all, &count);

    if (err < 0) {
        return vm_dir_complain("ps", -err);
    }
    if (!is_quiet && !is_json) {
        (void)printf("%-12s  %-12s  %-10s  %-7s  %-10s  %4s  %s\n", "ID", "NAME", "STATE", "AGE",
                     "MEMORY", "CPUS", "COMMAND");
    }
    for (size_t i = 0; i < count; i++) {
        if (is_all || all[i].is_alive) {
            struct row row;

            if (is_quiet) {
                (void)printf("%s\n", all[i].id);
            } else {
                fill(&row, &all[i]);
                is_json ? print_json(&row) : print_row(&row);
            }
        }
        vm_record_free(&all[i]);
    }
    free(all);
    return 0;
}

const struct verb verb_ps = {
    .name = "ps",
    .summary = "list machines",
    .help = "usage: drupe ps [OPTIONS]\n\n"
            "Lists the machines that run in the background (drupe run -d, restore, clone).\n\n"
            "options:\n"
            "  -a, --all    also those that have ended, until drupe rm removes them\n"
            "  -q, --quiet  ids only\n"
            "      --json   one JSON object a line\n",
    .run = run_ps,
};
