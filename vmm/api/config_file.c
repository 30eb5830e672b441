/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A configuration file: its sections are the bodies of PUT requests, and are carried out as such.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

#include "api.h"

#define CPU_CONFIG_SIZE_MAX (1u << 20)

/* One request that no client sent. False with *err filled when it is refused. */
static bool run_section(struct api *a, api_endpoint endpoint, const char *token, const char *id,
                        json_t *body, const char *section, struct drupe_error *err)
{
    struct http_request request = { .method = HTTP_PUT };
    struct server_reply reply = { .status = 204 };
    struct api_call call = { .api = a,
                             .method = HTTP_PUT,
                             .tokens = { token, id, "", "", "", "", "", "" },
                             .token_count = id[0] == '\0' ? 1 : 2,
                             .request = &request,
                             .body = body,
                             .reply = &reply };

    endpoint(&call);
    if (reply.status >= 400) {
        (void)fmt_snprintf(err->text, sizeof(err->text), "%s: %s", section,
                           reply.body == NULL ? "refused" : reply.body);
    }
    free(reply.body);
    return reply.status < 400;
}

static const char *id_of(const json_t *object, const char *key)
{
    const char *id = json_string_value(json_object_get(object, key));

    return id == NULL ? "" : id;
}

static bool run_list(struct api *a, api_endpoint endpoint, const char *token, const char *key,
                     json_t *list, struct drupe_error *err)
{
    if (!json_is_array(list)) {
        (void)fmt_snprintf(err->text, sizeof(err->text), "%s: not a list", token);
        return false;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *body = json_array_get(list, i);

        if (!run_section(a, endpoint, token, id_of(body, key), body, token, err)) {
            return false;
        }
    }
    return true;
}

/* The section may be the path of a file that holds it. */
static json_t *load_cpu_config(const json_t *section, struct drupe_error *err)
{
    json_error_t error;
    json_t *loaded = json_load_file(json_string_value(section), JSON_REJECT_DUPLICATES, &error);

    if (loaded == NULL) {
        (void)fmt_snprintf(err->text, sizeof(err->text), "cpu-config: %.128s: %.64s",
                           json_string_value(section), error.text);
    }
    return loaded;
}

static bool run_cpu_config(struct api *a, json_t *section, struct drupe_error *err)
{
    json_t *body = json_is_string(section) ? load_cpu_config(section, err) : json_incref(section);
    bool is_done =
        body != NULL && run_section(a, put_cpu_config, "cpu-config", "", body, "cpu-config", err);

    json_decref(body);
    return is_done;
}

/* In the order in which the sections depend on each other. */
static bool run_sections(struct api *a, const json_t *file, struct drupe_error *err)
{
    static const struct {
        const char *name;
        const char *token;
        const char *second;
        const char *list_key; /* NULL: one object */
        api_endpoint endpoint;
        bool is_required;
    } sections[] = {
        { "logger", "logger", "", NULL, put_logger, false },
        { "metrics", "metrics", "", NULL, put_metrics, false },
        { "boot-source", "boot-source", "", NULL, put_boot_source, true },
        { "machine-config", "machine-config", "", NULL, put_machine_config, false },
        { "drives", "drives", "", "drive_id", put_drive, true },
        { "network-interfaces", "network-interfaces", "", "iface_id", put_network, false },
        { "pmem", "pmem", "", "id", put_pmem, false },
        { "vsock", "vsock", "", NULL, put_vsock, false },
        { "balloon", "balloon", "", NULL, put_balloon, false },
        { "entropy", "entropy", "", NULL, put_entropy, false },
        { "serial", "serial", "", NULL, put_serial, false },
        { "memory-hotplug", "hotplug", "memory", NULL, put_hotplug, false },
        { "mmds-config", "mmds", "config", NULL, put_mmds, false },
    };

    for (size_t i = 0; i < array_size(sections); i++) {
        json_t *body = json_object_get(file, sections[i].name);

        if (body == NULL || json_is_null(body)) {
            if (sections[i].is_required) {
                (void)fmt_snprintf(err->text, sizeof(err->text), "missing field `%s`",
                                   sections[i].name);
                return false;
            }
            continue;
        }
        if (sections[i].list_key != NULL
                ? !run_list(a, sections[i].endpoint, sections[i].token, sections[i].list_key, body,
                            err)
                : !run_section(a, sections[i].endpoint, sections[i].token, sections[i].second, body,
                               sections[i].name, err)) {
            return false;
        }
    }
    return true;
}

bool api_take_sections(struct api *a, const json_t *sections, struct drupe_error *err)
{
    static const struct {
        const char *name;
        const char *list_key;
        api_endpoint endpoint;
        const char *second; /* of the path; NULL: none */
    } kept[] = {
        { "machine-config", NULL, put_machine_config, NULL },
        { "drives", "drive_id", put_drive, NULL },
        { "network-interfaces", "iface_id", put_network, NULL },
        { "mmds-config", NULL, put_mmds, "config" },
        { "vsock", NULL, put_vsock, NULL },
        { "balloon", NULL, put_balloon, NULL },
        { "entropy", NULL, put_entropy, NULL },
    };

    for (size_t i = 0; i < array_size(kept); i++) {
        json_t *body = json_object_get(sections, kept[i].name);

        if (body == NULL || json_is_null(body)) {
            continue;
        }
        if (kept[i].list_key != NULL
                ? !run_list(a, kept[i].endpoint, kept[i].name, kept[i].list_key, body, err)
                : !run_section(a, kept[i].endpoint, kept[i].name,
                               kept[i].second == NULL ? "" : kept[i].second, body, kept[i].name,
                               err)) {
            return false;
        }
    }
    return true;
}

drupe_vm_err_t api_apply_config(struct api *a, const char *text, size_t size,
                                struct drupe_error *err)
{
    struct body_detail d;
    json_t *file = body_parse(text, size, &d);
    json_t *cpu = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    memset(err, 0, sizeof(*err));
    err->code = DRUPE_CONFIG_INVALID;
    if (!json_is_object(file)) {
        (void)fmt_snprintf(err->text, sizeof(err->text), "configuration file: %s",
                           file == NULL ? d.text : "not an object");
        json_decref(file);
        return DRUPE_CONFIG_INVALID;
    }
    cpu = json_object_get(file, "cpu-config");
    if (!run_sections(a, file, err) ||
        (cpu != NULL && !json_is_null(cpu) && !run_cpu_config(a, cpu, err))) {
        r = DRUPE_CONFIG_INVALID;
    } else {
        r = api_start(a, err);
    }
    json_decref(file);
    return r;
}
