/* SPDX-License-Identifier: Apache-2.0 */
/* From a configuration to requests. */
#include <unistd.h>

#include <base/clock.h>
#include <base/fmt.h>

#include "backends/firecracker/firecracker.h"
#include "boot/cmdline.h"
#include "error.h"

#define CMDLINE_OURS  "console=ttyS0 reboot=k panic=0"
#define FD_PATH_SIZE  32u
#define DRIVE_ID_SIZE 16u

drupe_vm_err_t fc_send(struct fc_machine *m, const char *method, const char *path,
                       unsigned timeout_ms, drupe_vm_err_t code, struct drupe_error *err)
{
    const struct fc_request r = { .method = method,
                                  .path = path,
                                  .body = m->json.text,
                                  .until_ns = clock_ns() + timeout_ms * NS_PER_MS,
                                  .code = code };

    if (m->json.has_overflowed) {
        return error_set(err, code, 0, "%s %s: the request is too long", method, path);
    }
    return fc_http_do(&m->http, &r, err);
}

static const char *fd_path(char out[FD_PATH_SIZE], unsigned fd)
{
    (void)fmt_snprintf(out, FD_PATH_SIZE, "/proc/self/fd/%u", fd);
    return out;
}

static drupe_vm_err_t put(struct fc_machine *m, const char *path, struct drupe_error *err)
{
    fc_json_close(&m->json);
    return fc_send(m, "PUT", path, FC_API_TIMEOUT_MS, DRUPE_BOOT_FAILED, err);
}

static drupe_vm_err_t set_machine(struct fc_machine *m, struct drupe_error *err)
{
    fc_json_begin(&m->json);
    fc_json_number(&m->json, "vcpu_count", m->config->vcpus);
    fc_json_number(&m->json, "mem_size_mib", m->config->memory_size >> 20);
    fc_json_bool(&m->json, "track_dirty_pages", m->config->is_dirty_tracked);
    return put(m, "/machine-config", err);
}

/* Firecracker adds root= and the devices; what a kernel prints last must be seen, so that ours is
 * not told to be quiet. */
static drupe_vm_err_t set_boot_source(struct fc_machine *m, struct drupe_error *err)
{
    const struct config *c = m->config;
    char path[FD_PATH_SIZE];
    struct cmdline line;

    cmdline_init(&line);
    cmdline_begin(&line, c->cmdline == NULL ? CMDLINE_OURS : c->cmdline);
    if (c->is_quiet && !m->is_our_kernel) {
        cmdline_add(&line, "quiet");
    }
    cmdline_end(&line, c->cmdline_extra);
    if (line.has_overflowed) {
        return error_field(err, "cmdline_extra",
                           "the command line is longer than %u bytes with our additions",
                           DRUPE_CMDLINE_SIZE_MAX);
    }
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "kernel_image_path", fd_path(path, FC_FD_KERNEL));
    if (m->fds[FC_FD_INITRD - FC_FD_KERNEL] >= 0) {
        fc_json_string(&m->json, "initrd_path", fd_path(path, FC_FD_INITRD));
    }
    fc_json_string(&m->json, "boot_args", line.text);
    return put(m, "/boot-source", err);
}

static void add_bucket(struct fc_json *j, const char *key, const struct drupe_token_bucket *b)
{
    if (b->size != 0 && b->refill_ms != 0) {
        fc_json_open(j, key);
        fc_json_number(j, "size", b->size);
        fc_json_number(j, "refill_time", b->refill_ms);
        fc_json_number(j, "one_time_burst", b->one_time_burst);
        fc_json_close(j);
    }
}

static drupe_vm_err_t add_drive(struct fc_machine *m, const struct config_file *f, const char *id,
                                unsigned fd, struct drupe_error *err)
{
    char at[FD_PATH_SIZE];
    char path[FD_PATH_SIZE];

    fc_json_begin(&m->json);
    fc_json_string(&m->json, "drive_id", id);
    fc_json_string(&m->json, "path_on_host", fd_path(at, fd));
    fc_json_bool(&m->json, "is_root_device", fd == FC_FD_ROOT);
    fc_json_bool(&m->json, "is_read_only", f->is_read_only);
    fc_json_string(&m->json, "cache_type", f->is_flush_ignored ? "Unsafe" : "Writeback");
    fc_json_open(&m->json, "rate_limiter");
    add_bucket(&m->json, "bandwidth", &f->limit.bandwidth);
    add_bucket(&m->json, "ops", &f->limit.ops);
    fc_json_close(&m->json);
    (void)fmt_snprintf(path, sizeof(path), "/drives/%s", id);
    return put(m, path, err);
}

static drupe_vm_err_t add_drives(struct fc_machine *m, struct drupe_error *err)
{
    const struct config *c = m->config;
    drupe_vm_err_t r = DRUPE_OK;

    if (c->root.fd >= 0) {
        r = add_drive(m, &c->root, "rootfs", FC_FD_ROOT, err);
    }
    for (unsigned i = 0; r == DRUPE_OK && i < c->disk_count; i++) {
        char id[DRIVE_ID_SIZE];

        (void)fmt_snprintf(id, sizeof(id), "disk%u", i);
        r = add_drive(m, &c->disks[i], id, (unsigned)FC_FD_DISK + i, err);
    }
    return r;
}

/* The configuration's socket has shown that the path is free; it is Firecracker's from now on. */
static drupe_vm_err_t add_vsock(struct fc_machine *m, struct drupe_error *err)
{
    (void)unlink(m->config->vsock_path);
    fc_json_begin(&m->json);
    fc_json_number(&m->json, "guest_cid", m->config->vsock_cid);
    fc_json_string(&m->json, "uds_path", m->config->vsock_path);
    return put(m, "/vsock", err);
}

drupe_vm_err_t fc_configure(struct fc_machine *m, struct drupe_error *err)
{
    drupe_vm_err_t r = set_machine(m, err);

    if (r == DRUPE_OK) {
        r = set_boot_source(m, err);
    }
    if (r == DRUPE_OK) {
        r = add_drives(m, err);
    }
    if (r == DRUPE_OK && m->config->vsock_path != NULL) {
        r = add_vsock(m, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "action_type", "InstanceStart");
    fc_json_close(&m->json);
    return fc_send(m, "PUT", "/actions", m->config->boot_timeout_ms, DRUPE_BOOT_FAILED, err);
}

drupe_vm_err_t fc_set_paused(struct fc_machine *m, bool is_paused, drupe_vm_err_t code,
                             struct drupe_error *err)
{
    fc_json_begin(&m->json);
    fc_json_string(&m->json, "state", is_paused ? "Paused" : "Resumed");
    fc_json_close(&m->json);
    return fc_send(m, "PATCH", "/vm", FC_API_TIMEOUT_MS, code, err);
}
