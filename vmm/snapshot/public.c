/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot says about itself, for whoever makes a VM to restore it into. */
#include <string.h>

#include <base/fmt.h>

#include "error.h"
#include "snapshot/container.h"

static void copy_text(char *to, size_t size, const struct snapshot_config *c, uint32_t offset)
{
    (void)fmt_snprintf(to, size, "%s", snapshot_config_string(c, offset));
}

static void describe_disks(const struct snapshot_config *c, struct drupe_snapshot_description *out)
{
    out->disk_count = min_of(c->disk_count, DRUPE_DISKS_MAX);
    for (unsigned i = 0; i < out->disk_count; i++) {
        copy_text(out->disk_paths[i], sizeof(out->disk_paths[i]), c, c->disks[i].path_offset);
        out->is_disk_read_only[i] = c->disks[i].is_read_only != 0;
    }
}

drupe_vm_err_t drupe_snapshot_describe(const struct drupe_restore_options *options,
                                       struct drupe_snapshot_description *out,
                                       struct drupe_error *err)
{
    struct snapshot_file *f = NULL;
    const struct snapshot_config *c = NULL;
    drupe_vm_err_t r = snapshot_open_one(options, &f, err);

    if (r != DRUPE_OK) {
        return r;
    }
    c = f->config;
    memset(out, 0, sizeof(*out));
    (void)fmt_snprintf(out->id, sizeof(out->id), "%s", f->state.header->id);
    out->created_ms = f->state.header->created_ms;
    out->is_diff = snapshot_is_diff(f);
    out->vcpus = c->vcpus;
    out->memory_mib = c->memory_mib;
    out->root_mode = (enum drupe_root_mode)c->root_mode;
    out->stdio = (enum drupe_stdio)c->stdio;
    out->vsock_cid = c->vsock_cid;
    copy_text(out->root_path, sizeof(out->root_path), c, c->root.path_offset);
    copy_text(out->cmdline_extra, sizeof(out->cmdline_extra), c, c->cmdline_offset);
    if (out->is_diff) {
        (void)fmt_snprintf(out->base_id, sizeof(out->base_id), "%s", f->state.header->base_id);
        copy_text(out->base_path, sizeof(out->base_path), c, c->base.path_offset);
    }
    copy_text(out->argv0, sizeof(out->argv0), c, c->argv0_offset);
    describe_disks(c, out);
    snapshot_close(f);
    return DRUPE_OK;
}
