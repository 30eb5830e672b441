/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata store and the settings of its service, which the monitor runs (docs/network.md). */
#include "api.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_DEFAULT UINT32_C(0xa9fea9fe) /* 169.254.169.254 */

static size_t size_of(const json_t *document)
{
    return json_dumpb(document, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

char *mmds_text(const json_t *document)
{
    return document == NULL ? strdup("null")
                            : json_dumps(document, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
}

/* What the guest reads follows. False: it stays as it was. */
static bool tell_guest(struct api *a, const json_t *document, struct drupe_error *err)
{
    char *text = NULL;
    bool is_told = false;

    if (a->vm == NULL || !a->settings.mmds.is_set) {
        return true;
    }
    text = mmds_text(document);
    *err = (struct drupe_error){ .text = "Out of memory." };
    is_told = text != NULL && drupe_vm_set_metadata(a->vm, text, strlen(text), err) == DRUPE_OK;
    free(text);
    return is_told;
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
    struct drupe_error err;

    if (size_of(document) <= call->api->mmds_size_max && !tell_guest(call->api, document, &err)) {
        json_decref(document);
        reply_fault(call, "MMDS error: %s", err.text);
        return;
    }
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

    if (a->vm != NULL && !a->settings.mmds.is_set && is_missing(call)) {
        return;
    }
    reply_json(call,
               a->mmds == NULL || json_is_null(a->mmds) ? json_object() : json_incref(a->mmds));
}

static const char *const versions[] = { "V1", "V2", NULL };

struct config_body {
    unsigned version;
    const char *address_text;
    uint32_t address;
    bool is_compatible;
    json_t *interfaces;
};

/* 169.254.1.0 to 169.254.254.255 (RFC 3927). */
static bool is_link_local(uint32_t address)
{
    const uint32_t third = address >> 8 & 0xff;

    return address >> 16 == 0xa9fe && third != 0 && third != 0xff;
}

static bool read_config(struct api_call *call, struct config_body *b)
{
    struct body_detail d;
    struct in_addr address = { .s_addr = htonl(ADDRESS_DEFAULT) };
    const struct body_field fields[] = {
        FIELD("version", BODY_CHOICE, BODY_DEFAULT, &b->version, .choices = versions),
        FIELD("network_interfaces", BODY_ARRAY, BODY_REQUIRED, &b->interfaces),
        FIELD("ipv4_address", BODY_TEXT, BODY_OPTIONAL, &b->address_text),
        FIELD("imds_compat", BODY_FLAG, BODY_DEFAULT, &b->is_compatible),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return false;
    }
    if (b->address_text != NULL && inet_pton(AF_INET, b->address_text, &address) != 1) {
        body_refuse(&d, "invalid IPv4 address syntax");
        reply_bad_body(call, &d);
        return false;
    }
    for (size_t i = 0; i < json_array_size(b->interfaces); i++) {
        if (!json_is_string(json_array_get(b->interfaces, i))) {
            body_refuse(&d, "invalid type: expected a string for field `network_interfaces`");
            reply_bad_body(call, &d);
            return false;
        }
    }
    b->address = ntohl(address.s_addr);
    return true;
}

static bool check_config(struct api_call *call, const struct config_body *b)
{
    if (json_array_size(b->interfaces) == 0) {
        reply_fault(call, "MMMDS config error: The list of network interface IDs that allow "
                          "forwarding MMDS requests is empty.");
        return false;
    }
    for (size_t i = 0; i < json_array_size(b->interfaces); i++) {
        const char *id = json_string_value(json_array_get(b->interfaces, i));

        if (settings_network(&call->api->settings, id) == NULL) {
            reply_fault(call, "MMMDS config error: The list of network interface IDs provided "
                              "contains at least one ID that does not correspond to any existing "
                              "network interface.");
            return false;
        }
    }
    if (!is_link_local(b->address)) {
        reply_fault(call, "MMMDS config error: The MMDS IPv4 address is not link local.");
        return false;
    }
    return true;
}

static void put_mmds_config(struct api_call *call)
{
    struct api *a = call->api;
    struct settings *s = &a->settings;
    struct config_body b = { 0 };
    char address[INET_ADDRSTRLEN] = "";
    json_t *shown = NULL;
    struct in_addr in = { 0 };

    if (!read_config(call, &b) || refuse_after_start(call) || !check_config(call, &b)) {
        return;
    }
    in.s_addr = htonl(b.address);
    (void)inet_ntop(AF_INET, &in, address, sizeof(address));
    shown = json_pack("{s:s, s:O, s:s, s:b}", "version", versions[b.version], "network_interfaces",
                      b.interfaces, "ipv4_address", address, "imds_compat", (int)b.is_compatible);
    if (shown == NULL) {
        reply_fault(call, "MMMDS config error: Out of memory.");
        return;
    }
    json_decref(a->mmds_config);
    a->mmds_config = shown;
    s->mmds = (struct mmds_settings){ .is_set = true,
                                      .is_token_needed = b.version == 1,
                                      .is_compatible = b.is_compatible,
                                      .address = b.address };
    for (unsigned i = 0; i < s->network_count; i++) {
        s->networks[i].has_metadata = false;
    }
    for (size_t i = 0; i < json_array_size(b.interfaces); i++) {
        settings_network(s, json_string_value(json_array_get(b.interfaces, i)))->has_metadata =
            true;
    }
    s->is_boot_path = true;
    call->reply->is_deprecated = b.version == 0;
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
    if (call->api->vm != NULL && !call->api->settings.mmds.is_set && is_missing(call)) {
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
