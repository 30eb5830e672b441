/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata store. The document's side is complete; the guest's side needs a network interface
 * to listen on, and there is none, so that PUT /mmds/config finds no interface to be configured
 * for.
 */
#include "api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t size_of(const json_t *document)
{
    return json_dumpb(document, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

int mmds_replace(struct api *a, json_t *document)
{
    if (size_of(document) > a->mmds_size_max) {
        json_decref(document);
        return -EFBIG;
    }
    json_decref(a->mmds);
    a->mmds = document;
    return 0;
}

static void store(struct api_call *call, json_t *document)
{
    if (mmds_replace(call->api, document) < 0) {
        reply_fault(call, "MMDS limit exceeded error: The MMDS patch request doesn't fit.");
        call->reply->status = 413;
    }
}

static bool is_missing(struct api_call *call)
{
    if (call->api->mmds != NULL) {
        return false;
    }
    reply_fault(call, "MMDS error: The MMDS data store is not initialized.");
    return true;
}

void get_mmds(struct api_call *call)
{
    struct api *a = call->api;

    if (a->vm != NULL && is_missing(call)) {
        return;
    }
    reply_json(call,
               a->mmds == NULL || json_is_null(a->mmds) ? json_object() : json_incref(a->mmds));
}

static void put_mmds_config(struct api_call *call)
{
    static const char *const versions[] = { "V1", "V2", NULL };
    unsigned version = 0;
    const char *address = NULL;
    bool is_compatible = false;
    json_t *interfaces = NULL;
    const struct body_field fields[] = {
        FIELD("version", BODY_CHOICE, BODY_DEFAULT, &version, .choices = versions),
        FIELD("network_interfaces", BODY_ARRAY, BODY_REQUIRED, &interfaces),
        FIELD("ipv4_address", BODY_TEXT, BODY_OPTIONAL, &address),
        FIELD("imds_compat", BODY_FLAG, BODY_DEFAULT, &is_compatible),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_after_start(call)) {
        return;
    }
    if (json_array_size(interfaces) == 0) {
        reply_fault(call, "MMMDS config error: The list of network interface IDs that allow "
                          "forwarding MMDS requests is empty.");
    } else {
        reply_fault(call, "MMMDS config error: The list of network interface IDs provided contains "
                          "at least one ID that does not correspond to any existing network "
                          "interface.");
    }
    call->reply->is_deprecated = version == 0;
}

void put_mmds(struct api_call *call)
{
    if (call->token_count >= 2 && strcmp(call->tokens[1], "config") == 0) {
        put_mmds_config(call);
        return;
    }
    if (call->token_count >= 2) {
        reply_fault(call, "Unrecognized PUT request path `%.256s`.", call->tokens[1]);
        return;
    }
    if (call->api->vm != NULL && is_missing(call)) {
        return;
    }
    store(call, json_incref(call->body));
}

void patch_mmds(struct api_call *call)
{
    json_t *document = NULL;

    if (is_missing(call)) {
        return;
    }
    document = json_deep_copy(call->api->mmds);
    if (document == NULL || !body_merge_patch(&document, call->body)) {
        json_decref(document);
        reply_fault(call, "MMDS error: Out of memory.");
        return;
    }
    store(call, document);
}
