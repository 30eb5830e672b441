/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints for the VM's life: what it is, start, pause, resume, snapshot, load. */
#include <string.h>

#include <base/clock.h>

#include "api.h"

static void count_latency(struct api *a, enum metric_latency kind, uint64_t began_ns)
{
    a->metrics.latency_us[kind] = (clock_ns() - began_ns) / NS_PER_US;
    a->metrics.vmm_latency_us[kind] = a->metrics.latency_us[kind];
}

/* ---- What it is ---- */

static const char *state_text(const struct api *a)
{
    if (a->vm == NULL) {
        return "Not started";
    }
    return drupe_vm_state(a->vm) == DRUPE_VM_PAUSED ? "Paused" : "Running";
}

void get_instance(struct api_call *call)
{
    reply_json(call, json_pack("{s:s, s:s, s:s, s:s}", "id", call->api->id, "state",
                               state_text(call->api), "vmm_version", API_VERSION, "app_name",
                               "Firecracker"));
}

void get_version(struct api_call *call)
{
    reply_json(call, json_pack("{s:s}", "firecracker_version", API_VERSION));
}

static json_t *drives_json(const struct settings *s)
{
    json_t *list = json_array();

    for (unsigned i = 0; list != NULL && i < s->drive_count; i++) {
        if (json_array_append_new(list, settings_drive_json(&s->drives[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *boot_json(const struct api *a)
{
    if (a->is_restored) {
        return json_pack("{s:s, s:n, s:n}", "kernel_image_path", "", "initrd_path", "boot_args");
    }
    return settings_boot_json(&a->settings.boot);
}

void get_vm_config(struct api_call *call)
{
    struct api *a = call->api;
    const struct settings *s = &a->settings;

    reply_json(call,
               json_pack("{s:o, s:o, s:o, s:O?, s:o, s:o, s:o, s:O?, s:o, s:o, s:o, s:[], s:n}",
                         "balloon", settings_balloon_json(&s->balloon), "drives", drives_json(s),
                         "boot-source", boot_json(a), "cpu-config", s->cpu_config, "logger",
                         logger_json(&a->logger), "machine-config",
                         settings_machine_json(&s->machine), "metrics", metrics_json(&a->metrics),
                         "mmds-config", a->mmds_config, "network-interfaces",
                         settings_networks_json(s), "vsock", settings_vsock_json(&s->vsock),
                         "entropy", settings_entropy_json(&s->entropy), "pmem", "memory-hotplug"));
}

/* ---- Actions ---- */

static void start_instance(struct api_call *call)
{
    struct drupe_error err;

    if (refuse_after_start(call)) {
        return;
    }
    if (!call->api->settings.boot.is_set) {
        reply_fault(call,
                    "Start microvm error: Cannot start microvm without kernel configuration.");
        return;
    }
    if (api_start(call->api, &err) != DRUPE_OK) {
        reply_fault(call, "Start microvm error: %s", err.text);
    }
}

static void flush_metrics(struct api_call *call)
{
    struct api *a = call->api;

    if (refuse_before_start(call)) {
        return;
    }
    if (a->metrics.fd < 0) {
        return; /* nothing to write to is nothing to do */
    }
    if (!metrics_write(&a->metrics, a->vm, a->logger.lines_lost)) {
        reply_fault(call, "Internal VMM error: The metrics could not be written.");
    }
}

static void press_keys(struct api_call *call)
{
    struct drupe_error err;

    if (!refuse_before_start(call) && drupe_vm_ctrl_alt_del(call->api->vm, &err) != DRUPE_OK) {
        reply_fault(call, "Internal VMM error: %s", err.text);
    }
}

void put_action(struct api_call *call)
{
    static const char *const names[] = { "FlushMetrics", "InstanceStart", "SendCtrlAltDel", NULL };
    static const api_endpoint actions[] = { flush_metrics, start_instance, press_keys };
    unsigned action = 0;
    const struct body_field fields[] = {
        FIELD("action_type", BODY_CHOICE, BODY_REQUIRED, &action, .choices = names),
    };

    if (call_read(call, fields, array_size(fields))) {
        actions[action](call);
    }
}

/* ---- PATCH /vm ---- */

void patch_vm(struct api_call *call)
{
    static const char *const names[] = { "Paused", "Resumed", NULL };
    struct api *a = call->api;
    struct drupe_error err;
    unsigned wanted = 0;
    uint64_t began_ns = clock_ns();
    drupe_vm_err_t r = DRUPE_OK;
    bool is_paused = false;
    const struct body_field fields[] = {
        FIELD("state", BODY_CHOICE, BODY_REQUIRED, &wanted, .choices = names),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_before_start(call)) {
        return;
    }
    is_paused = drupe_vm_state(a->vm) == DRUPE_VM_PAUSED;
    if (wanted == 0 && !is_paused) {
        r = drupe_vm_pause(a->vm, &err);
        count_latency(a, LATENCY_PAUSE_VM, began_ns);
    } else if (wanted == 1 && is_paused) {
        r = drupe_vm_resume(a->vm, &err);
        count_latency(a, LATENCY_RESUME_VM, began_ns);
    }
    if (r != DRUPE_OK) {
        reply_fault(call, "Internal VMM error: %s", err.text);
    } else if (is_paused != (wanted == 0)) {
        api_changed(a, wanted == 0 ? DRUPE_CONTROL_PAUSED : DRUPE_CONTROL_RESUMED);
    }
}
