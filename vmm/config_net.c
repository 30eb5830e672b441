/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration's network interfaces. A tap is attached here, while its name can be looked up
 * and the caller's rights hold; whoever has the descriptor needs neither.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "error.h"
#include "mmds/service.h"
#include "tap.h"

#define MAC_MULTICAST 0x01u
#define MAC_LOCAL     0x02u

static bool is_same_mac(const struct drupe_net *a, const struct drupe_net *b)
{
    return a->has_mac && b->has_mac && memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
}

static drupe_vm_err_t check_net(const struct drupe_net *n, struct drupe_error *err)
{
    size_t length = n->tap == NULL ? 0 : strnlen(n->tap, DRUPE_TAP_NAME_SIZE_MAX + 1);

    if (length == 0 || length > DRUPE_TAP_NAME_SIZE_MAX) {
        return error_field(err, "nets", "a tap's name must have 1 to %u bytes",
                           DRUPE_TAP_NAME_SIZE_MAX);
    }
    if (n->has_mac && (n->mac[0] & MAC_MULTICAST) != 0) {
        return error_field(err, "nets", "the MAC address for %s is a group's", n->tap);
    }
    if (n->mtu != 0 && n->mtu < DRUPE_MTU_MIN) {
        return error_field(err, "nets", "the MTU for %s is %u; allowed are %u to 65535", n->tap,
                           n->mtu, DRUPE_MTU_MIN);
    }
    return DRUPE_OK;
}

/* An address of the guest's own link (RFC 3927), but for those that are reserved there. */
static bool is_link_local(uint32_t address)
{
    return address >> 16 == 0xa9fe && (address >> 8 & 0xff) != 0 && (address >> 8 & 0xff) != 255;
}

static drupe_vm_err_t check_metadata(const drupe_vm_config_t *from, struct drupe_error *err)
{
    const struct drupe_metadata *m = from->metadata;

    for (size_t i = 0; i < from->net_count; i++) {
        if (from->nets[i].has_metadata && m == NULL) {
            return error_field(err, "metadata",
                               "interface %zu has a metadata service that is not "
                               "configured",
                               i);
        }
    }
    if (m != NULL && m->address != 0 && !is_link_local(m->address)) {
        return error_field(err, "metadata", "the metadata service's address is not link-local");
    }
    return DRUPE_OK;
}

drupe_vm_err_t config_check_nets(const drupe_vm_config_t *from, struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (from->net_count > DRUPE_NETS_MAX || (from->net_count != 0 && from->nets == NULL)) {
        return error_field(err, "nets", "%zu network interfaces; at most %u", from->net_count,
                           DRUPE_NETS_MAX);
    }
    for (size_t i = 0; r == DRUPE_OK && i < from->net_count; i++) {
        r = check_net(&from->nets[i], err);
        for (size_t j = 0; r == DRUPE_OK && j < i; j++) {
            if (is_same_mac(&from->nets[i], &from->nets[j])) {
                r = error_field(err, "nets", "%s and %s have the same MAC address",
                                from->nets[j].tap, from->nets[i].tap);
            }
        }
    }
    return r == DRUPE_OK ? check_metadata(from, err) : r;
}

int drupe_tap_open(const char *tap)
{
    int given = -1;

    return config_parse_fd(tap, &given) ? tap_adopt(given) : tap_attach(tap);
}

static drupe_vm_err_t attach_failed(const char *name, int os_errno, struct drupe_error *err)
{
    switch (os_errno) {
    case ENODEV:
        return error_set(err, DRUPE_NOT_FOUND, os_errno, "tap %s", name);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return error_set(err, DRUPE_NO_MEMORY, os_errno, "attach tap %s", name);
    default:
        return error_set(err, DRUPE_NO_ACCESS, os_errno, "attach tap %s", name);
    }
}

static drupe_vm_err_t take_net(struct config_net *out, const struct drupe_net *from,
                               struct drupe_error *err)
{
    out->name = strdup(from->tap);
    if (out->name == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    out->fd = drupe_tap_open(from->tap);
    if (out->fd < 0) {
        return attach_failed(from->tap, -out->fd, err);
    }
    out->has_mac = from->has_mac;
    out->has_metadata = from->has_metadata;
    out->mtu = from->mtu;
    out->rx_limit = from->rx_limit;
    out->tx_limit = from->tx_limit;
    memcpy(out->mac, from->mac, sizeof(out->mac));
    if (!from->has_mac) {
        if (getrandom(out->mac, sizeof(out->mac), 0) != (ssize_t)sizeof(out->mac)) {
            return error_set(err, DRUPE_INTERNAL, errno, "make up a MAC address");
        }
        out->mac[0] = (uint8_t)((out->mac[0] & ~MAC_MULTICAST) | MAC_LOCAL);
    }
    return DRUPE_OK;
}

static drupe_vm_err_t metadata_failed(int r, struct drupe_error *err)
{
    switch (r) {
    case 0:
        return DRUPE_OK;
    case -EINVAL:
        return error_field(err, "metadata", "the metadata document is no JSON text");
    case -ENOMEM:
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the metadata document");
    default:
        return error_set(err, DRUPE_INTERNAL, -r, "make the metadata service");
    }
}

drupe_vm_err_t config_set_metadata(struct config *c, const char *document, size_t size,
                                   struct drupe_error *err)
{
    if (c->mmds == NULL) {
        return error_set(err, DRUPE_UNSUPPORTED, 0, "the VM has no metadata service");
    }
    return metadata_failed(mmds_service_set(c->mmds, document, size), err);
}

drupe_vm_err_t config_take_nets(struct config *c, const drupe_vm_config_t *from,
                                struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    if (from->metadata != NULL) {
        r = metadata_failed(mmds_service_create(from->metadata, &c->mmds), err);
    }
    for (; r == DRUPE_OK && c->net_count < from->net_count; c->net_count++) {
        r = take_net(&c->nets[c->net_count], &from->nets[c->net_count], err);
    }
    return r;
}

void config_clear_nets(struct config *c)
{
    for (size_t i = 0; i < array_size(c->nets); i++) {
        c->nets[i].fd = -1;
    }
}

void config_deinit_nets(struct config *c)
{
    for (size_t i = 0; i < array_size(c->nets); i++) {
        if (c->nets[i].fd >= 0) {
            (void)close(c->nets[i].fd);
        }
        free(c->nets[i].name);
    }
    mmds_service_destroy(c->mmds);
}
