/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints of our own, under /drupe: what clients of Firecracker's interface do not know. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/clock.h>

#include "api.h"

#define SIGNAL_TERM  15
#define SIGNAL_MAX   64
#define GRACE_MS_MAX UINT64_C(86400000)

void api_changed(const struct api *a, enum drupe_control_event event)
{
    if (a->options.changed != NULL) {
        a->options.changed(a->options.changed_ctx, event);
    }
}

/* ---- GET /drupe/stats ---- */

static json_t *exits_json(const struct drupe_vm_stats *st, json_int_t *total)
{
    static const char *const names[DRUPE_EXIT_REASONS] = {
        [DRUPE_EXIT_IO] = "io",
        [DRUPE_EXIT_MMIO] = "mmio",
        [DRUPE_EXIT_HLT] = "hlt",
        [DRUPE_EXIT_INTR] = "intr",
        [DRUPE_EXIT_SHUTDOWN] = "shutdown",
        [DRUPE_EXIT_INTERNAL] = "internal",
        [DRUPE_EXIT_OTHER] = "other",
    };
    json_t *all = json_object();

    *total = 0;
    for (unsigned i = 0; i < DRUPE_EXIT_REASONS; i++) {
        *total += (json_int_t)st->exits[i];
        if (json_object_set_new(all, names[i], json_integer((json_int_t)st->exits[i])) < 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static void get_stats(struct api_call *call)
{
    struct drupe_vm_stats st;
    struct drupe_error err;
    json_int_t exits_total = 0;
    uint64_t vcpu_time_ns = 0;
    json_t *exits = NULL;
    drupe_vm_t *vm = call->api->vm;

    if (drupe_vm_stats(vm, &st, &err) != DRUPE_OK) {
        reply_fault(call, "%s", err.text);
        return;
    }
    for (unsigned i = 0; i < st.vcpu_count; i++) {
        vcpu_time_ns += st.vcpu_time_ns[i];
    }
    exits = exits_json(&st, &exits_total);
    reply_json(call,
               json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:I, s:o}", "vm_id", drupe_vm_id(vm),
                         "state", drupe_vm_state_name(drupe_vm_state(vm)), "uptime_ns",
                         (json_int_t)st.uptime_ns, "start_ns", (json_int_t)st.start_ns,
                         "memory_resident", (json_int_t)st.memory_resident, "vcpu_count",
                         (int)st.vcpu_count, "vcpu_time_ns", (json_int_t)vcpu_time_ns,
                         "exits_total", exits_total, "exits", exits));
}

/* ---- GET /drupe/snapshot: what the next incremental one would build on ---- */

static void get_last_snapshot(struct api_call *call)
{
    struct drupe_snapshot_last last;
    struct drupe_error err;

    if (drupe_vm_snapshot_last(call->api->vm, &last, &err) != DRUPE_OK) {
        reply_fault(call, "%s", err.text);
        return;
    }
    reply_json(call, json_pack("{s:b, s:s, s:s}", "track_dirty_pages", last.is_dirty_tracked, "id",
                               last.id, "path", last.path));
}

/* ---- PUT /drupe/stop, /drupe/signal ---- */

/* Answered at once; the control loop ends what is still there after the grace. */
static void put_stop(struct api_call *call)
{
    struct api *a = call->api;
    struct drupe_error err;
    uint64_t grace_ms = 0;
    const struct body_field fields[] = {
        FIELD("grace_ms", BODY_NUMBER, BODY_REQUIRED, &grace_ms, .max = GRACE_MS_MAX),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return;
    }
    /* A workload that is paused, or cannot be told, has no use for a grace. */
    if (grace_ms > 0 && drupe_vm_signal(a->vm, SIGNAL_TERM, &err) == DRUPE_OK) {
        a->kill_ns = clock_ns() + grace_ms * NS_PER_MS;
        api_changed(a, DRUPE_CONTROL_STOPPING);
    } else if (drupe_vm_stop(a->vm, 0, &err) != DRUPE_OK) {
        reply_fault(call, "%s", err.text);
    }
}

static void put_signal(struct api_call *call)
{
    struct drupe_error err;
    uint64_t signo = 0;
    const struct body_field fields[] = {
        FIELD("signal", BODY_NUMBER, BODY_REQUIRED, &signo, .max = SIGNAL_MAX),
    };

    if (call_read(call, fields, array_size(fields)) &&
        drupe_vm_signal(call->api->vm, (int)signo, &err) != DRUPE_OK) {
        reply_fault(call, "%s", err.text);
    }
}

/* ---- PUT /drupe/snapshot: one file, of a VM that runs or is paused ---- */

struct own_snapshot {
    const char *path;
    const char *name; /* of a descriptor, like the base's */
    unsigned kind;    /* 1: diff */
    bool is_live;
    bool is_aside;
    const char *base; /* NULL: not named */
    const char *base_name;
};

/* "fd:N" is taken from the request; any other path is the library's to open. */
static bool take_place(struct api_call *call, const char *path, int flags, struct named_file *out)
{
    int r = 0;

    if (path != NULL && strncmp(path, "fd:", 3) == 0) {
        r = call_open(call, path, flags, out);
    }
    if (r < 0) {
        reply_fault(call, "snapshot: %s: %s", path, strerror(-r));
    }
    return r == 0;
}

static void write_snapshot(struct api_call *call, const struct own_snapshot *o,
                           const struct named_file *file, const struct named_file *base_file)
{
    struct drupe_error err;
    struct drupe_snapshot_info info;
    const struct drupe_snapshot_base base = { .path = base_file->fd >= 0 ? NULL : o->base,
                                              .fd = base_file->fd,
                                              .name = o->base_name };
    const struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .kind = o->kind == 1 ? DRUPE_SNAPSHOT_DIFF : DRUPE_SNAPSHOT_FULL,
        .is_live = o->is_live,
        .path = file->fd >= 0 ? NULL : o->path,
        .fd = file->fd,
        .name = o->name,
        .memory_fd = -1,
        .base = o->base == NULL ? NULL : &base,
        .is_aside = o->is_aside,
    };

    if (drupe_vm_snapshot(call->api->vm, &options, &info, &err) != DRUPE_OK) {
        reply_fault(call, "%s", err.text);
        return;
    }
    api_changed(call->api, DRUPE_CONTROL_SNAPSHOT);
    reply_json(call,
               json_pack("{s:s, s:I, s:I, s:I, s:I}", "id", info.id, "size", (json_int_t)info.size,
                         "memory_bytes", (json_int_t)info.memory_bytes, "stopped_ns",
                         (json_int_t)info.stopped_ns, "took_ns", (json_int_t)info.took_ns));
}

static void put_own_snapshot(struct api_call *call)
{
    static const char *const kinds[] = { "full", "diff", NULL };
    struct own_snapshot o = { .path = NULL };
    struct named_file file = { .fd = -1 };
    struct named_file base = { .fd = -1 };
    const struct body_field fields[] = {
        FIELD("path", BODY_TEXT, BODY_REQUIRED, &o.path),
        FIELD("name", BODY_TEXT, BODY_OPTIONAL, &o.name),
        FIELD("kind", BODY_CHOICE, BODY_DEFAULT, &o.kind, .choices = kinds),
        FIELD("live", BODY_FLAG, BODY_DEFAULT, &o.is_live),
        FIELD("aside", BODY_FLAG, BODY_DEFAULT, &o.is_aside),
        FIELD("base", BODY_TEXT, BODY_OPTIONAL, &o.base),
        FIELD("base_name", BODY_TEXT, BODY_OPTIONAL, &o.base_name),
    };

    if (call_read(call, fields, array_size(fields)) && take_place(call, o.path, O_RDWR, &file) &&
        take_place(call, o.base, O_RDONLY, &base)) {
        write_snapshot(call, &o, &file, &base);
    }
    named_file_deinit(&file);
    named_file_deinit(&base);
}

struct endpoint {
    const char *name;
    api_endpoint answer;
};

static void answer(struct api_call *call, const struct endpoint *endpoints, size_t count,
                   const char *method)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(call->tokens[1], endpoints[i].name) == 0) {
            if (!refuse_before_start(call)) {
                endpoints[i].answer(call);
            }
            return;
        }
    }
    reply_fault(call, "Invalid request method and/or path: %s drupe.", method);
}

void get_drupe(struct api_call *call)
{
    static const struct endpoint endpoints[] = { { "stats", get_stats },
                                                 { "snapshot", get_last_snapshot } };

    answer(call, endpoints, array_size(endpoints), "GET");
}

void put_drupe(struct api_call *call)
{
    static const struct endpoint endpoints[] = { { "stop", put_stop },
                                                 { "signal", put_signal },
                                                 { "snapshot", put_own_snapshot } };

    answer(call, endpoints, array_size(endpoints), "PUT");
}
