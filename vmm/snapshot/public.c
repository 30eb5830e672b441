/* SPDX-License-Identifier: Apache-2.0 */
/* What a snapshot says about itself, for whoever makes a VM to restore it into. */
#include <string.h>

#include <base/fmt.h>

#include "error.h"
#include "snapshot/container.h"
#include "snapshot/describe.h"

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

static drupe_vm_err_t describe_folders(const struct snapshot_file *f,
                                       struct drupe_snapshot_description *out,
                                       struct drupe_error *err)
{
    while (out->share_count < DRUPE_SHARES_MAX &&
           state_find(&f->state, SNAPSHOT_SHARE, out->share_count, NULL, NULL) != NULL) {
        struct drupe_snapshot_share *share = &out->shares[out->share_count];
        struct described_share from;

        if (!described_share(&f->state, out->share_count, &from)) {
            return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "shared folder %u is damaged",
                             out->share_count);
        }
        (void)fmt_snprintf(share->host_path, sizeof(share->host_path), "%s", from.host_path);
        (void)fmt_snprintf(share->tag, sizeof(share->tag), "%s", from.tag);
        (void)fmt_snprintf(share->guest_path, sizeof(share->guest_path), "%s", from.guest_path);
        share->is_read_only = from.is_read_only;
        out->share_count++;
    }
    return DRUPE_OK;
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
    r = describe_folders(f, out, err);
    snapshot_close(f);
    return r;
}
