/* SPDX-License-Identifier: Apache-2.0 */
/* Shared folders in the configuration: checked, opened, announced to the guest kernel. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>

#include "boot/cmdline.h"
#include "config.h"
#include "devices/virtio_9p.h"
#include "error.h"

static_assert(DRUPE_SHARES_MAX == P9_SHARES_MAX, "every share finds room in the device");
static_assert(DRUPE_TAG_SIZE_MAX == P9_TAG_MAX, "every tag fits");

/* Tags go through QEMU's option syntax and the kernel's command line. */
static bool is_tag_byte(char c)
{
    return isalnum((unsigned char)c) != 0 || c == '-' || c == '_' || c == '.';
}

static drupe_vm_err_t check_tag(const drupe_vm_config_t *from, size_t index,
                                struct drupe_error *err)
{
    const char *tag = from->shares[index].tag;
    const size_t size = tag == NULL ? 0 : strnlen(tag, DRUPE_TAG_SIZE_MAX + 1);

    if (size == 0 || size > DRUPE_TAG_SIZE_MAX) {
        return error_field(err, "shares.tag", "the tag of a share must have 1 to %u bytes",
                           DRUPE_TAG_SIZE_MAX);
    }
    for (size_t i = 0; i < size; i++) {
        if (!is_tag_byte(tag[i])) {
            return error_field(err, "shares.tag",
                               "a tag holds byte 0x%02x; allowed are letters, "
                               "digits, '-', '_' and '.'",
                               (unsigned char)tag[i]);
        }
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(from->shares[i].tag, tag) == 0) {
            return error_field(err, "shares.tag", "two shares have the tag %s", tag);
        }
    }
    return DRUPE_OK;
}

static drupe_vm_err_t check_guest_path(const char *path, struct drupe_error *err)
{
    size_t size;

    if (path == NULL) {
        return DRUPE_OK;
    }
    size = strnlen(path, DRUPE_PATH_SIZE_MAX + 1);
    if (path[0] != '/' || size > DRUPE_PATH_SIZE_MAX) {
        return error_field(err, "shares.guest_path",
                           "the guest path of a share must be absolute and at most %u bytes",
                           DRUPE_PATH_SIZE_MAX);
    }
    return DRUPE_OK;
}

static bool is_root(const char *guest_path)
{
    return guest_path != NULL && strspn(guest_path, "/") == strlen(guest_path);
}

drupe_vm_err_t config_check_shares(const drupe_vm_config_t *from, struct drupe_error *err)
{
    unsigned roots = from->root_path != NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (from->share_count > DRUPE_SHARES_MAX) {
        return error_field(err, "shares", "%zu shares; at most %u", from->share_count,
                           DRUPE_SHARES_MAX);
    }
    if (from->share_count != 0 && from->shares == NULL) {
        return error_field(err, "shares", "shares is NULL and share_count is not 0");
    }
    for (size_t i = 0; r == DRUPE_OK && i < from->share_count; i++) {
        const struct drupe_share *share = &from->shares[i];
        const size_t size =
            share->host_path == NULL ? 0 : strnlen(share->host_path, DRUPE_PATH_SIZE_MAX + 1);

        if (size == 0 || size > DRUPE_PATH_SIZE_MAX) {
            return error_field(err, "shares.host_path",
                               "the host path of a share must have 1 to %u bytes",
                               DRUPE_PATH_SIZE_MAX);
        }
        r = check_tag(from, i, err);
        if (r == DRUPE_OK) {
            r = check_guest_path(share->guest_path, err);
        }
        roots += is_root(share->guest_path);
    }
    if (r == DRUPE_OK && roots > 1) {
        r = error_field(err, "shares", "more than one root: %s",
                        from->root_path != NULL ? "root_path and a share at /"
                                                : "several shares at /");
    }
    return r;
}

static drupe_vm_err_t open_failed(const char *path, int os_errno, struct drupe_error *err)
{
    drupe_vm_err_t code = DRUPE_NO_ACCESS;

    if (os_errno == ENOENT || os_errno == ENOTDIR) {
        code = DRUPE_NOT_FOUND;
    } else if (os_errno == EMFILE || os_errno == ENFILE || os_errno == ENOMEM) {
        code = DRUPE_NO_MEMORY;
    }
    return error_set(err, code, os_errno, "open shared folder %s", path);
}

static drupe_vm_err_t take_share(const struct drupe_share *from, struct config_share *out,
                                 struct drupe_error *err)
{
    out->is_read_only = from->is_read_only;
    out->tag = strdup(from->tag);
    out->host_path = realpath(from->host_path, NULL);
    if (out->host_path == NULL && errno != ENOMEM) {
        return open_failed(from->host_path, errno, err);
    }
    out->guest_path = from->guest_path == NULL ? NULL : strdup(from->guest_path);
    if (out->tag == NULL || out->host_path == NULL ||
        (from->guest_path != NULL && out->guest_path == NULL)) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "copy the configuration");
    }
    out->fd = open(from->host_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return out->fd < 0 ? open_failed(from->host_path, errno, err) : DRUPE_OK;
}

drupe_vm_err_t config_take_shares(struct config *c, const drupe_vm_config_t *from,
                                  struct drupe_error *err)
{
    drupe_vm_err_t r = DRUPE_OK;

    for (; r == DRUPE_OK && c->share_count < from->share_count; c->share_count++) {
        r = take_share(&from->shares[c->share_count], &c->shares[c->share_count], err);
    }
    return r;
}

void config_clear_shares(struct config *c)
{
    for (size_t i = 0; i < array_size(c->shares); i++) {
        c->shares[i].fd = -1;
    }
}

void config_deinit_shares(struct config *c)
{
    for (size_t i = 0; i < array_size(c->shares); i++) {
        struct config_share *share = &c->shares[i];

        if (share->fd >= 0) {
            (void)close(share->fd);
        }
        free(share->tag);
        free(share->host_path);
        free(share->guest_path);
        *share = (struct config_share){ .fd = -1 };
    }
    c->share_count = 0;
}

const struct config_share *config_root_share(const struct config *c)
{
    for (unsigned i = 0; i < c->share_count; i++) {
        if (is_root(c->shares[i].guest_path)) {
            return &c->shares[i];
        }
    }
    return NULL;
}

/* A path as part of one word: bytes other than letters, digits and "/._-" as %XX. */
static void encode(const char *path, char *to, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;

    for (; *path != '\0' && n + 4 <= size; path++) {
        const unsigned char c = (unsigned char)*path;

        if (is_tag_byte((char)c) || c == '/') {
            to[n++] = (char)c;
        } else {
            to[n++] = '%';
            to[n++] = digits[c >> 4];
            to[n++] = digits[c & 15];
        }
    }
    to[n] = '\0';
    /* What did not fit overflows the command line in any case. */
}

void config_announce_shares(const struct config *c, struct cmdline *line)
{
    char path[DRUPE_CMDLINE_SIZE_MAX + 8];

    for (unsigned i = 0; i < c->share_count; i++) {
        const struct config_share *share = &c->shares[i];
        const char *mode = share->is_read_only ? "ro" : "rw";

        if (is_root(share->guest_path)) {
            cmdline_add(line, "root=9p:%s %s", share->tag, mode);
        } else if (share->guest_path != NULL) {
            encode(share->guest_path, path, sizeof(path));
            cmdline_add(line, "drupe.share=%s:%s:%s", share->tag, path, mode);
        }
    }
}
