/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints for drives, and for the devices that are plugged and unplugged like them. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <base/assert.h>
#include <base/fmt.h>

bool call_check_id(struct api_call *call, const char *id)
{
    if (id[0] == '\0') {
        reply_fault(call, "The ID cannot be empty.");
        return false;
    }
    for (const char *c = id; *c != '\0'; c++) {
        bool is_letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');

        if (!is_letter && !(*c >= '0' && *c <= '9') && *c != '_') {
            reply_fault(call, "API Resource IDs can only contain alphanumeric characters and "
                              "underscores.");
            return false;
        }
    }
    return true;
}

static bool check_same_id(struct api_call *call, const char *id)
{
    if (strcmp(id, call->tokens[1]) == 0) {
        return true;
    }
    reply_fault(call, "The id from the path does not match the id from the body!");
    return false;
}

/* ---- PUT /drives/{id} ---- */

struct drive_body {
    const char *id;
    const char *path;
    const char *partuuid;
    const char *socket;
    bool is_root;
    bool is_read_only;
    bool has_discard;
    unsigned cache_type;
    unsigned io_engine;
    json_t *limiter;
    struct drupe_rate_limit limit;
};

static bool read_drive(struct api_call *call, struct drive_body *b)
{
    struct body_detail d;
    const struct body_field fields[] = {
        FIELD("drive_id", BODY_TEXT, BODY_REQUIRED, &b->id),
        FIELD("partuuid", BODY_TEXT, BODY_OPTIONAL, &b->partuuid),
        FIELD("is_root_device", BODY_FLAG, BODY_REQUIRED, &b->is_root),
        FIELD("cache_type", BODY_CHOICE, BODY_DEFAULT, &b->cache_type, .choices = cache_type_names),
        FIELD("is_read_only", BODY_FLAG, BODY_OPTIONAL, &b->is_read_only),
        FIELD("path_on_host", BODY_TEXT, BODY_OPTIONAL, &b->path),
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &b->limiter),
        FIELD("io_engine", BODY_CHOICE, BODY_OPTIONAL, &b->io_engine, .choices = io_engine_names),
        FIELD("socket", BODY_TEXT, BODY_OPTIONAL, &b->socket),
        FIELD("discard", BODY_FLAG, BODY_OPTIONAL, &b->has_discard),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return false;
    }
    if (b->limiter != NULL && !read_rate_limit(b->limiter, &b->limit, &d)) {
        reply_bad_body(call, &d);
        return false;
    }
    return check_same_id(call, b->id);
}

static bool check_drive(struct api_call *call, const struct drive_body *b)
{
    const struct settings *s = &call->api->settings;
    const struct drive_settings *old = settings_drive(&call->api->settings, b->id);

    if (b->socket != NULL) {
        reply_fault(call, "The requested operation is not supported: vhost-user drives");
        return false;
    }
    if (b->path == NULL) {
        reply_fault(call, "Drive config error: Invalid block device configuration.");
        return false;
    }
    if (strlen(b->id) >= SETTINGS_ID_SIZE_MAX) {
        reply_fault(call, "Drive config error: The drive id is longer than %u bytes.",
                    SETTINGS_ID_SIZE_MAX - 1);
        return false;
    }
    if (b->is_root && s->drive_count > 0 && s->drives[0].is_root && old != &s->drives[0]) {
        reply_fault(call, "Drive config error: A root block device already exists!");
        return false;
    }
    if (old == NULL && s->drive_count == DRUPE_DISKS_MAX) {
        reply_fault(call, "Drive config error: A VM has at most %u drives.", DRUPE_DISKS_MAX);
        return false;
    }
    return true;
}

static int open_drive(struct api_call *call, const char *path, bool is_read_only,
                      struct named_file *out)
{
    struct stat st;
    int r = call_open(call, path, is_read_only ? O_RDONLY : O_RDWR, out);

    if (r < 0) {
        return r;
    }
    if (fstat(out->fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
        named_file_deinit(out);
        return -ENOTBLK;
    }
    return 0;
}

static void refuse_file(struct api_call *call, const char *path, int err)
{
    reply_fault(call,
                "Drive config error: Unable to create the virtio block device: Virtio backend "
                "error: Error manipulating the backing file: %s (os error %d) %.256s",
                strerror(-err), -err, path);
}

/* The place of a drive in the list: its old one, or a new one; a root comes first. */
static struct drive_settings *place_drive(struct settings *s, const char *id, bool is_root)
{
    struct drive_settings *d = settings_drive(s, id);
    struct drive_settings kept;
    unsigned at = 0;

    if (d == NULL) {
        assert(s->drive_count < DRUPE_DISKS_MAX);
        d = &s->drives[s->drive_count++];
        d->file = (struct named_file){ .path = NULL, .fd = -1 };
        d->partuuid = NULL;
    }
    if (!is_root) {
        return d;
    }
    kept = *d;
    at = (unsigned)(d - s->drives);
    memmove(&s->drives[1], &s->drives[0], at * sizeof(s->drives[0]));
    s->drives[0] = kept;
    return &s->drives[0];
}

void put_drive(struct api_call *call)
{
    struct drive_body b = { .id = "" };
    struct named_file file = { .fd = -1 };
    struct drive_settings *drive = NULL;
    char *partuuid = NULL;
    int r = 0;

    if (!call_check_id(call, call->tokens[1]) || !read_drive(call, &b) ||
        refuse_after_start(call) || !check_drive(call, &b)) {
        return;
    }
    r = open_drive(call, b.path, b.is_read_only, &file);
    if (r == 0 && b.partuuid != NULL) {
        partuuid = strdup(b.partuuid);
        r = partuuid == NULL ? -ENOMEM : 0;
    }
    if (r < 0) {
        named_file_deinit(&file);
        refuse_file(call, b.path, r);
        return;
    }
    drive = place_drive(&call->api->settings, b.id, b.is_root);
    named_file_deinit(&drive->file);
    free(drive->partuuid);
    (void)fmt_snprintf(drive->id, sizeof(drive->id), "%s", b.id);
    drive->file = file;
    drive->partuuid = partuuid;
    drive->is_root = b.is_root;
    drive->is_read_only = b.is_read_only;
    drive->cache_type = b.cache_type;
    drive->io_engine = b.io_engine;
    drive->limit = b.limit;
    call->api->settings.is_boot_path = true;
}

/* ---- PATCH /drives/{id} ---- */

static void update_drive(struct api_call *call, struct drive_settings *drive, const char *path,
                         const struct drupe_rate_limit *limit)
{
    struct api *a = call->api;
    struct named_file file = { .fd = -1 };
    struct drupe_error err;
    char fd_path[32];
    struct drupe_disk_update update = { .limit = limit };
    int r = path == NULL ? 0 : open_drive(call, path, drive->is_read_only, &file);

    if (r < 0) {
        refuse_file(call, path, r);
        return;
    }
    if (path != NULL) {
        (void)fmt_snprintf(fd_path, sizeof(fd_path), "fd:%d", file.fd);
        update.path = fd_path;
    }
    if (drupe_vm_update_disk(a->vm, (unsigned)(drive - a->settings.drives), &update, &err) !=
        DRUPE_OK) {
        named_file_deinit(&file);
        reply_fault(call, "Drive config error: %s", err.text);
        return;
    }
    if (path != NULL) {
        named_file_deinit(&drive->file);
        drive->file = file;
    }
    if (limit != NULL) {
        drive->limit = *limit;
    }
}

void patch_drive(struct api_call *call)
{
    struct drive_settings *drive = NULL;
    struct drupe_rate_limit limit = { 0 };
    struct body_detail d;
    const char *id = "";
    const char *path = NULL;
    json_t *limiter = NULL;
    const struct body_field fields[] = {
        FIELD("drive_id", BODY_TEXT, BODY_REQUIRED, &id),
        FIELD("path_on_host", BODY_TEXT, BODY_OPTIONAL, &path),
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &limiter),
    };

    if (!call_check_id(call, call->tokens[1]) || !call_read(call, fields, array_size(fields)) ||
        !check_same_id(call, id)) {
        return;
    }
    drive = settings_drive(&call->api->settings, id);
    if (drive != NULL) {
        limit = drive->limit;
    }
    if (limiter != NULL && !read_rate_limit(limiter, &limit, &d)) {
        reply_bad_body(call, &d);
        return;
    }
    if (refuse_before_start(call)) {
        return;
    }
    if (drive == NULL) {
        reply_fault(call, "Drive config error: Device not found");
        return;
    }
    if (path == NULL && limiter == NULL) {
        reply_fault(call, "Drive config error: Running method expected different backend.");
        return;
    }
    update_drive(call, drive, path, limiter == NULL ? NULL : &limit);
}

/* ---- What needs PCI, or devices that are not built ---- */

void delete_device(struct api_call *call)
{
    if (call_check_id(call, call->tokens[1]) && !refuse_before_start(call)) {
        reply_fault(call, "PCI is not enabled");
    }
}

static void refuse_device(struct api_call *call, const char *what)
{
    reply_fault(call, "The requested operation is not supported: %s", what);
}

void put_pmem(struct api_call *call)
{
    const char *id = "";
    const char *path = NULL;
    bool is_root = false;
    bool is_read_only = false;
    json_t *limiter = NULL;
    const struct body_field fields[] = {
        FIELD("id", BODY_TEXT, BODY_REQUIRED, &id),
        FIELD("path_on_host", BODY_TEXT, BODY_REQUIRED, &path),
        FIELD("root_device", BODY_FLAG, BODY_DEFAULT, &is_root),
        FIELD("read_only", BODY_FLAG, BODY_DEFAULT, &is_read_only),
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &limiter),
    };

    if (call_check_id(call, call->tokens[1]) && call_read(call, fields, array_size(fields)) &&
        check_same_id(call, id) && !refuse_after_start(call)) {
        refuse_device(call, "persistent-memory devices");
    }
}

void patch_pmem(struct api_call *call)
{
    const char *id = "";
    json_t *limiter = NULL;
    const struct body_field fields[] = {
        FIELD("id", BODY_TEXT, BODY_REQUIRED, &id),
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &limiter),
    };

    if (call_check_id(call, call->tokens[1]) && call_read(call, fields, array_size(fields)) &&
        check_same_id(call, id) && !refuse_before_start(call)) {
        reply_fault(call, "Device not found");
    }
}

void get_hotplug(struct api_call *call)
{
    if (!refuse_before_start(call)) {
        reply_fault(call, "Memory hotplug config error: Device not found");
    }
}

void put_hotplug(struct api_call *call)
{
    uint64_t total = 0;
    uint64_t slot = 0;
    uint64_t block = 0;
    const struct body_field fields[] = {
        FIELD("total_size_mib", BODY_NUMBER, BODY_REQUIRED, &total, .max = UINT32_MAX),
        FIELD("slot_size_mib", BODY_NUMBER, BODY_DEFAULT, &slot, .max = UINT32_MAX),
        FIELD("block_size_mib", BODY_NUMBER, BODY_DEFAULT, &block, .max = UINT32_MAX),
    };

    if (call_read(call, fields, array_size(fields)) && !refuse_after_start(call)) {
        refuse_device(call, "memory hotplug");
    }
}

void patch_hotplug(struct api_call *call)
{
    uint64_t requested = 0;
    const struct body_field fields[] = {
        FIELD("requested_size_mib", BODY_NUMBER, BODY_REQUIRED, &requested, .max = UINT32_MAX),
    };

    if (call_read(call, fields, array_size(fields)) && !refuse_before_start(call)) {
        reply_fault(call, "Memory hotplug update error: Device not found");
    }
}
