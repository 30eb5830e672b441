/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints for network interfaces. A tap is attached when it is named, as a drive is opened. */
#include "api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/fmt.h>

#define MAC_TEXT_SIZE 17u

struct network_body {
    const char *id;
    const char *device;
    const char *mac_text;
    uint64_t mtu;
    bool has_mtu;
    json_t *rx;
    json_t *tx;
    uint8_t mac[6];
    struct drupe_rate_limit rx_limit;
    struct drupe_rate_limit tx_limit;
};

static bool check_interface_id(struct api_call *call, const char *id)
{
    if (strcmp(id, call->tokens[1]) == 0) {
        return true;
    }
    reply_fault(call, "The id from the path [%.64s] does not match the id from the body [%.64s]!",
                call->tokens[1], id);
    return false;
}

static int hex_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "xx:xx:xx:xx:xx:xx" */
static bool parse_mac(const char *text, uint8_t out[6])
{
    if (strlen(text) != MAC_TEXT_SIZE) {
        return false;
    }
    for (unsigned i = 0; i < 6; i++) {
        const char *at = text + (size_t)i * 3;
        int high = hex_of(at[0]);
        int low = hex_of(at[1]);

        if (high < 0 || low < 0 || at[2] != (i == 5 ? '\0' : ':')) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool read_limits(struct api_call *call, struct network_body *b)
{
    struct body_detail d;

    if ((b->rx == NULL || read_rate_limit(b->rx, &b->rx_limit, &d)) &&
        (b->tx == NULL || read_rate_limit(b->tx, &b->tx_limit, &d))) {
        return true;
    }
    reply_bad_body(call, &d);
    return false;
}

static bool read_network(struct api_call *call, struct network_body *b)
{
    struct body_detail d;
    const struct body_field fields[] = {
        FIELD("iface_id", BODY_TEXT, BODY_REQUIRED, &b->id),
        FIELD("host_dev_name", BODY_TEXT, BODY_REQUIRED, &b->device),
        FIELD("guest_mac", BODY_TEXT, BODY_OPTIONAL, &b->mac_text),
        FIELD("mtu", BODY_NUMBER, BODY_OPTIONAL, &b->mtu, .is_present = &b->has_mtu,
              .max = UINT16_MAX),
        FIELD("rx_rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &b->rx),
        FIELD("tx_rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &b->tx),
    };

    if (!call_read(call, fields, array_size(fields)) || !read_limits(call, b)) {
        return false;
    }
    if (b->mac_text != NULL && !parse_mac(b->mac_text, b->mac)) {
        body_refuse(&d, "invalid value: string \"%.64s\", expected a MAC address", b->mac_text);
        reply_bad_body(call, &d);
        return false;
    }
    return check_interface_id(call, b->id);
}

static bool is_mac_used(const struct settings *s, const struct network_body *b)
{
    for (unsigned i = 0; i < s->network_count; i++) {
        const struct network_settings *n = &s->networks[i];

        if (b->mac_text != NULL && n->has_mac && strcmp(n->id, b->id) != 0 &&
            memcmp(n->mac, b->mac, sizeof(n->mac)) == 0) {
            return true;
        }
    }
    return false;
}

static bool check_network(struct api_call *call, const struct network_body *b)
{
    const struct settings *s = &call->api->settings;

    if (strlen(b->id) >= SETTINGS_ID_SIZE_MAX) {
        reply_fault(call, "Network config error: The interface id is longer than %u bytes.",
                    SETTINGS_ID_SIZE_MAX - 1);
        return false;
    }
    if (b->has_mtu && b->mtu < DRUPE_MTU_MIN) {
        reply_fault(call, "Network config error: Invalid MTU: %llu. It must be between %u and %u.",
                    (unsigned long long)b->mtu, DRUPE_MTU_MIN, UINT16_MAX);
        return false;
    }
    if (is_mac_used(s, b)) {
        reply_fault(call, "Network config error: The MAC address is already in use: %s",
                    b->mac_text);
        return false;
    }
    if (b->mac_text != NULL && (b->mac[0] & 1) != 0) {
        reply_fault(call, "Network config error: The MAC address is a group's: %s", b->mac_text);
        return false;
    }
    if (settings_network(&call->api->settings, b->id) == NULL &&
        s->network_count == DRUPE_NETS_MAX) {
        reply_fault(call, "Network config error: A VM has at most %u network interfaces.",
                    DRUPE_NETS_MAX);
        return false;
    }
    return true;
}

/* A name, or "fd:N" for the N-th descriptor of this request. 0 or -errno. */
static int open_tap(struct api_call *call, const char *device, struct named_file *out)
{
    char fd_path[16];
    int passed = -1;
    int fd = -1;

    if (strncmp(device, "fd:", 3) == 0) {
        passed = call_take_fd(call, device + 3);
        if (passed < 0) {
            return passed;
        }
        (void)fmt_snprintf(fd_path, sizeof(fd_path), "fd:%d", passed);
    }
    fd = drupe_tap_open(passed < 0 ? device : fd_path);
    if (passed >= 0) {
        (void)close(passed);
    }
    if (fd < 0) {
        return fd;
    }
    out->path = strdup(device);
    out->fd = fd;
    if (out->path == NULL) {
        named_file_deinit(out);
        return -ENOMEM;
    }
    return 0;
}

static struct network_settings *place_network(struct settings *s, const char *id)
{
    struct network_settings *n = settings_network(s, id);

    if (n == NULL) {
        assert(s->network_count < DRUPE_NETS_MAX);
        n = &s->networks[s->network_count++];
        *n = (struct network_settings){ .tap.fd = -1 };
        (void)fmt_snprintf(n->id, sizeof(n->id), "%s", id);
    }
    return n;
}

/* A tap has one user: the interface that is replaced keeps it when the name stays. */
static bool is_same_tap(const struct network_settings *old, const char *device)
{
    return old != NULL && strncmp(device, "fd:", 3) != 0 && strcmp(old->tap.path, device) == 0;
}

void put_network(struct api_call *call)
{
    struct settings *s = &call->api->settings;
    struct network_body b = { .id = "" };
    struct network_settings *n = NULL;
    struct named_file tap = { .fd = -1 };
    int r = 0;

    if (!call_check_id(call, call->tokens[1]) || !read_network(call, &b) ||
        refuse_after_start(call) || !check_network(call, &b)) {
        return;
    }
    if (!is_same_tap(settings_network(s, b.id), b.device)) {
        r = open_tap(call, b.device, &tap);
    }
    if (r < 0) {
        reply_fault(call,
                    "Network config error: Could not create the network device: Open tap device "
                    "failed: %s (os error %d). Invalid TUN/TAP Backend provided by %.64s.",
                    strerror(-r), -r, b.device);
        return;
    }
    n = place_network(s, b.id);
    if (tap.fd >= 0) {
        named_file_deinit(&n->tap);
        n->tap = tap;
    }
    n->has_mac = b.mac_text != NULL;
    memcpy(n->mac, b.mac, sizeof(n->mac));
    n->mtu = (uint16_t)b.mtu;
    n->rx_limit = b.rx_limit;
    n->tx_limit = b.tx_limit;
    s->is_boot_path = true;
}

void patch_network(struct api_call *call)
{
    struct settings *s = &call->api->settings;
    struct network_body b = { .id = "" };
    struct network_settings *n = NULL;
    struct drupe_error err;
    const struct body_field fields[] = {
        FIELD("iface_id", BODY_TEXT, BODY_REQUIRED, &b.id),
        FIELD("rx_rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &b.rx),
        FIELD("tx_rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &b.tx),
    };

    if (!call_check_id(call, call->tokens[1]) || !call_read(call, fields, array_size(fields)) ||
        !check_interface_id(call, b.id)) {
        return;
    }
    n = settings_network(s, b.id);
    if (n != NULL) { /* a bucket that the client leaves out stays */
        b.rx_limit = n->rx_limit;
        b.tx_limit = n->tx_limit;
    }
    if (!read_limits(call, &b) || refuse_before_start(call)) {
        return;
    }
    if (n == NULL) {
        reply_fault(call, "Device not found");
        return;
    }
    if (drupe_vm_update_net(call->api->vm, (unsigned)(n - s->networks),
                            b.rx == NULL ? NULL : &b.rx_limit, b.tx == NULL ? NULL : &b.tx_limit,
                            &err) != DRUPE_OK) {
        reply_fault(call, "Network config error: %s", err.text);
        return;
    }
    n->rx_limit = b.rx_limit;
    n->tx_limit = b.tx_limit;
}
