/* SPDX-License-Identifier: Apache-2.0 */
/* PUT /snapshot/create and PUT /snapshot/load. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "api.h"

/* ---- Create ---- */

struct create_body {
    unsigned type;
    const char *state_path;
    const char *memory_path;
    const char *version; /* what old clients still send; not looked at */
};

static json_t *host_config(const struct api *a)
{
    const struct settings *s = &a->settings;
    json_t *drives = json_array();
    json_t *version = NULL;

    for (unsigned i = 0; drives != NULL && i < s->drive_count; i++) {
        json_t *drive = settings_drive_json(&s->drives[i]);

        if (json_array_append_new(drives, drive) < 0) {
            json_decref(drives);
            return NULL;
        }
    }
    version = json_string(API_VERSION);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O?}", "api-version", version,
                     "machine-config", settings_machine_json(&s->machine), "drives", drives,
                     "network-interfaces", settings_networks_json(s), "vsock",
                     settings_vsock_json(&s->vsock), "balloon", settings_balloon_json(&s->balloon),
                     "entropy", settings_entropy_json(&s->entropy), "mmds-config", a->mmds_config);
}

/* The files of a request by name, or (fd:N) as they came. */
static bool open_target(struct api_call *call, const char *path, struct named_file *out)
{
    int r = 0;

    if (strncmp(path, "fd:", 3) != 0) {
        return true;
    }
    r = call_open(call, path, O_RDWR, out);
    if (r < 0) {
        reply_fault(call, "Create snapshot error: Cannot open the snapshot file: %s (os error %d)",
                    strerror(-r), -r);
    }
    return r == 0;
}

static int append_config(const struct api *a, const char *path, int fd)
{
    json_t *config = host_config(a);
    int own = fd >= 0 ? -1 : open(path, O_WRONLY | O_CLOEXEC);
    int r = -ENOMEM;

    if (fd < 0 && own < 0) {
        r = -errno;
    } else if (config != NULL) {
        r = snapshot_append_config(fd >= 0 ? fd : own, config);
    }
    if (own >= 0) {
        (void)close(own);
    }
    json_decref(config);
    return r;
}

static void create(struct api_call *call, const struct create_body *b,
                   const struct named_file *state, const struct named_file *memory)
{
    struct api *a = call->api;
    struct drupe_error err;
    struct drupe_snapshot_info info;
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options),
        .kind = b->type == 0 ? DRUPE_SNAPSHOT_FULL : DRUPE_SNAPSHOT_DIFF,
        .path = state->fd >= 0 ? NULL : b->state_path,
        .fd = state->fd,
        .memory_path = memory->fd >= 0 ? NULL : b->memory_path,
        .memory_fd = memory->fd,
    };
    int r = 0;

    if (drupe_vm_snapshot(a->vm, &options, &info, &err) != DRUPE_OK) {
        reply_fault(call, "Create snapshot error: %s", err.text);
        return;
    }
    a->metrics
        .latency_us[b->type == 0 ? LATENCY_FULL_CREATE_SNAPSHOT : LATENCY_DIFF_CREATE_SNAPSHOT] =
        info.took_ns / 1000;
    r = append_config(a, b->state_path, state->fd);
    if (r < 0) {
        reply_fault(call, "Create snapshot error: Cannot write the snapshot file: %s (os error %d)",
                    strerror(-r), -r);
    } else {
        api_changed(a, DRUPE_CONTROL_SNAPSHOT);
    }
}

static void put_create(struct api_call *call)
{
    static const char *const types[] = { "Full", "Diff", NULL };
    struct create_body b = { 0 };
    struct named_file state = { .fd = -1 };
    struct named_file memory = { .fd = -1 };
    const struct body_field fields[] = {
        FIELD("snapshot_type", BODY_CHOICE, BODY_DEFAULT, &b.type, .choices = types),
        FIELD("snapshot_path", BODY_TEXT, BODY_REQUIRED, &b.state_path),
        FIELD("mem_file_path", BODY_TEXT, BODY_REQUIRED, &b.memory_path),
        FIELD("version", BODY_TEXT, BODY_OPTIONAL, &b.version),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_before_start(call)) {
        return;
    }
    if (drupe_vm_state(call->api->vm) != DRUPE_VM_PAUSED) {
        reply_fault(call, "Create snapshot error: Cannot save the microVM state: Operation not "
                          "allowed: the microVM is not paused.");
        return;
    }
    if (open_target(call, b.state_path, &state) && open_target(call, b.memory_path, &memory)) {
        create(call, &b, &state, &memory);
    }
    named_file_deinit(&state);
    named_file_deinit(&memory);
}

/* ---- Load ---- */

struct load_body {
    const char *state_path;
    const char *memory_path; /* or the socket of the client's page-fault handler */
    bool has_handler;
    bool is_dirty_tracked;
    bool is_resumed;
    bool is_deprecated;
    const char *vsock_path; /* NULL: the snapshot's */
    const json_t *networks; /* NULL, or a list of overrides */
};

static bool read_backend(struct api_call *call, const json_t *object, struct load_body *b)
{
    static const char *const types[] = { "File", "Uffd", NULL };
    struct body_detail d;
    unsigned type = 0;
    const struct body_field fields[] = {
        FIELD("backend_type", BODY_CHOICE, BODY_REQUIRED, &type, .choices = types),
        FIELD("backend_path", BODY_TEXT, BODY_REQUIRED, &b->memory_path),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_REFUSED, &d)) {
        reply_bad_body(call, &d);
        return false;
    }
    b->has_handler = type == 1;
    return true;
}

static bool read_vsock_override(struct api_call *call, const json_t *object, struct load_body *b)
{
    struct body_detail d;
    const struct body_field fields[] = {
        FIELD("uds_path", BODY_TEXT, BODY_REQUIRED, &b->vsock_path),
    };

    if (!body_read(object, fields, array_size(fields), BODY_UNKNOWN_IGNORED, &d)) {
        reply_bad_body(call, &d);
        return false;
    }
    return true;
}

static bool read_override(const json_t *object, const char **id, const char **device,
                          struct body_detail *d)
{
    const struct body_field fields[] = {
        FIELD("iface_id", BODY_TEXT, BODY_REQUIRED, id),
        FIELD("host_dev_name", BODY_TEXT, BODY_REQUIRED, device),
    };

    return body_read(object, fields, array_size(fields), BODY_UNKNOWN_IGNORED, d);
}

static bool check_overrides(struct api_call *call, const struct load_body *b)
{
    struct body_detail d;
    const char *id = NULL;
    const char *device = NULL;

    for (size_t i = 0; i < json_array_size(b->networks); i++) {
        if (!read_override(json_array_get(b->networks, i), &id, &device, &d)) {
            reply_bad_body(call, &d);
            return false;
        }
    }
    return true;
}

static bool read_load(struct api_call *call, struct load_body *b)
{
    static const char *const pages[] = { "Snapshot", "None", "Transparent", "2M", NULL };
    struct body_detail d;
    const char *old_memory_path = NULL;
    json_t *backend = NULL;
    json_t *network = NULL;
    json_t *vsock = NULL;
    bool has_diffs = false;
    bool has_had_diffs = false;
    bool is_clock_advanced = false;
    unsigned huge_pages = 0;
    const struct body_field fields[] = {
        FIELD("snapshot_path", BODY_TEXT, BODY_REQUIRED, &b->state_path),
        FIELD("mem_file_path", BODY_TEXT, BODY_OPTIONAL, &old_memory_path),
        FIELD("mem_backend", BODY_OBJECT, BODY_OPTIONAL, &backend),
        FIELD("enable_diff_snapshots", BODY_FLAG, BODY_DEFAULT, &has_diffs,
              .is_present = &has_had_diffs),
        FIELD("track_dirty_pages", BODY_FLAG, BODY_DEFAULT, &b->is_dirty_tracked),
        FIELD("resume_vm", BODY_FLAG, BODY_DEFAULT, &b->is_resumed),
        FIELD("network_overrides", BODY_ARRAY, BODY_DEFAULT, &network),
        FIELD("vsock_override", BODY_OBJECT, BODY_OPTIONAL, &vsock),
        FIELD("clock_realtime", BODY_FLAG, BODY_DEFAULT, &is_clock_advanced),
        FIELD("huge_pages", BODY_CHOICE, BODY_DEFAULT, &huge_pages, .choices = pages),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return false;
    }
    if ((old_memory_path == NULL) == (backend == NULL)) {
        body_refuse(&d, backend == NULL
                            ? "missing field: either `mem_backend` or `mem_file_path` is required"
                            : "too many fields: either `mem_backend` or `mem_file_path` "
                              "exclusively is required");
        reply_bad_body(call, &d);
        return false;
    }
    b->memory_path = old_memory_path;
    b->is_dirty_tracked = b->is_dirty_tracked || has_diffs;
    b->is_deprecated = old_memory_path != NULL || has_had_diffs;
    b->networks = network;
    if (huge_pages == 3) {
        reply_fault(call, "The requested operation is not supported: huge_pages 2M");
        return false;
    }
    return (backend == NULL || read_backend(call, backend, b)) &&
           (vsock == NULL || read_vsock_override(call, vsock, b)) && check_overrides(call, b);
}

static bool override_vsock(json_t *config, const struct load_body *b, struct drupe_error *err)
{
    json_t *vsock = json_object_get(config, "vsock");

    if (b->vsock_path == NULL) {
        return true;
    }
    if (!json_is_object(vsock) ||
        json_object_set_new(vsock, "uds_path", json_string(b->vsock_path)) < 0) {
        (void)fmt_snprintf(err->text, sizeof(err->text), "the snapshot has no vsock device");
        return false;
    }
    return true;
}

/* The interface of the snapshot's configuration with this id; NULL: there is none. */
static json_t *find_interface(const json_t *config, const char *id)
{
    const json_t *list = json_object_get(config, "network-interfaces");

    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *here = json_array_get(list, i);
        const char *its = json_string_value(json_object_get(here, "iface_id"));

        if (its != NULL && strcmp(its, id) == 0) {
            return here;
        }
    }
    return NULL;
}

static bool override_networks(const json_t *config, const struct load_body *b,
                              struct drupe_error *err)
{
    struct body_detail d;
    const char *id = NULL;
    const char *device = NULL;

    for (size_t i = 0; i < json_array_size(b->networks); i++) {
        json_t *interface = NULL;

        if (!read_override(json_array_get(b->networks, i), &id, &device, &d)) {
            return false; /* check_overrides() saw it */
        }
        interface = find_interface(config, id);
        if (interface == NULL ||
            json_object_set_new(interface, "host_dev_name", json_string(device)) < 0) {
            (void)fmt_snprintf(err->text, sizeof(err->text), "Unknown Network Device: %.64s", id);
            return false;
        }
    }
    return true;
}

static bool load_machine(struct api *a, const struct load_body *b, json_t *config, int state_fd,
                         int memory_fd, struct drupe_error *err)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options),
        .fd = state_fd,
        .memory_path = memory_fd >= 0 || b->has_handler ? NULL : b->memory_path,
        .memory_fd = memory_fd,
        .memory_handler = b->has_handler ? b->memory_path : NULL,
    };

    if (!override_vsock(config, b, err) || !override_networks(config, b, err) ||
        !api_take_sections(a, config, err)) {
        return false;
    }
    a->settings.machine.is_dirty_tracked = b->is_dirty_tracked;
    a->settings.machine.is_smt = false;
    if (api_create_vm(a, err) != DRUPE_OK) {
        return false;
    }
    a->is_restored = true;
    return drupe_vm_restore(a->vm, &options, err) == DRUPE_OK &&
           (!b->is_resumed || drupe_vm_resume(a->vm, err) == DRUPE_OK);
}

static void load(struct api_call *call, const struct load_body *b)
{
    struct drupe_error err = { .code = DRUPE_RESTORE_FAILED };
    struct named_file state = { .fd = -1 };
    struct named_file memory = { .fd = -1 };
    json_t *config = NULL;
    int state_fd = -1;
    bool is_loaded = false;
    int r = call_open(call, b->state_path, O_RDONLY, &state);

    if (r == 0) {
        r = snapshot_split(state.fd, &config, &state_fd);
    }
    if (r == 0 && !b->has_handler && strncmp(b->memory_path, "fd:", 3) == 0) {
        r = call_open(call, b->memory_path, O_RDONLY, &memory);
    }
    if (r == 0) {
        is_loaded = load_machine(call->api, b, config, state_fd, memory.fd, &err);
    } else {
        (void)fmt_snprintf(err.text, sizeof(err.text), "Failed to load guest state from %.96s: %s",
                           b->state_path,
                           r == -EBADMSG ? "not a snapshot of this monitor's API" : strerror(-r));
    }
    if (!is_loaded) {
        call->api->must_exit = true;
        reply_fault(call, "Load snapshot error: Failed to restore from snapshot: %s", err.text);
    }
    if (state_fd >= 0) {
        (void)close(state_fd);
    }
    named_file_deinit(&state);
    named_file_deinit(&memory);
    json_decref(config);
}

static void put_load(struct api_call *call)
{
    struct load_body b = { 0 };

    if (!read_load(call, &b) || refuse_after_start(call)) {
        return;
    }
    if (call->api->settings.is_boot_path) {
        reply_fault(call, "Load snapshot error: Loading a microVM snapshot not allowed after "
                          "configuring boot-specific resources.");
        return;
    }
    call->reply->is_deprecated = b.is_deprecated;
    load(call, &b);
}

void put_snapshot(struct api_call *call)
{
    const char *what = call->tokens[1];

    if (strcmp(what, "create") == 0) {
        put_create(call);
    } else if (strcmp(what, "load") == 0) {
        put_load(call);
    } else if (call->token_count < 2) {
        reply_fault(call, "Missing snapshot operation type.");
    } else {
        reply_fault(call, "Invalid request method and/or path: PUT /snapshot/%.256s.", what);
    }
}
