/* SPDX-License-Identifier: Apache-2.0 */
/* From the settings to a VM. */
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "api.h"

#define CMDLINE_DEFAULT                                                                            \
    "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd "             \
    "swiotlb=noforce"
#define FD_PATH_SIZE 16u

/* What the configuration points to, for as long as drupe_vm_create() takes. */
struct vm_plan {
    drupe_vm_config_t cfg;
    struct drupe_disk disks[DRUPE_DISKS_MAX];
    struct drupe_net nets[DRUPE_NETS_MAX];
    char net_paths[DRUPE_NETS_MAX][FD_PATH_SIZE];
    struct drupe_metadata metadata;
    char *document;
    char disk_paths[DRUPE_DISKS_MAX][FD_PATH_SIZE];
    char kernel_path[FD_PATH_SIZE];
    char initrd_path[FD_PATH_SIZE];
    char cmdline[DRUPE_CMDLINE_SIZE_MAX + 1];
};

static const char *fd_path(char out[FD_PATH_SIZE], int fd)
{
    (void)fmt_snprintf(out, FD_PATH_SIZE, "fd:%d", fd);
    return out;
}

static void vm_log(void *ctx, enum drupe_log_level level, const char *text)
{
    static const enum logger_level levels[] = {
        [DRUPE_LOG_ERROR] = LOGGER_ERROR,
        [DRUPE_LOG_WARN] = LOGGER_WARN,
        [DRUPE_LOG_INFO] = LOGGER_INFO,
    };
    struct api *a = ctx;

    logger_write(&a->logger, levels[level], "drupe::vmm", __FILE__, __LINE__, "%s", text);
}

static void plan_disks(struct vm_plan *p, const struct settings *s)
{
    for (unsigned i = 0; i < s->drive_count; i++) {
        const struct drive_settings *d = &s->drives[i];

        p->disks[i] = (struct drupe_disk){
            .path = fd_path(p->disk_paths[i], d->file.fd),
            .is_read_only = d->is_read_only,
            .is_flush_ignored = d->cache_type == 0,
            .is_synchronous = d->io_engine == 0,
            .limit = d->limit,
        };
    }
    p->cfg.disks = p->disks;
    p->cfg.disk_count = s->drive_count;
}

static void plan_nets(struct vm_plan *p, const struct settings *s)
{
    for (unsigned i = 0; i < s->network_count; i++) {
        const struct network_settings *n = &s->networks[i];

        p->nets[i] = (struct drupe_net){
            .tap = fd_path(p->net_paths[i], n->tap.fd),
            .has_mac = n->has_mac,
            .has_metadata = n->has_metadata,
            .mtu = n->mtu,
            .rx_limit = n->rx_limit,
            .tx_limit = n->tx_limit,
        };
        memcpy(p->nets[i].mac, n->mac, sizeof(n->mac));
    }
    p->cfg.nets = p->nets;
    p->cfg.net_count = s->network_count;
}

/* False: out of memory. */
static bool plan_metadata(struct vm_plan *p, const struct api *a)
{
    const struct mmds_settings *m = &a->settings.mmds;

    if (!m->is_set) {
        return true;
    }
    p->document = mmds_text(a->mmds);
    if (p->document == NULL) {
        return false;
    }
    p->metadata = (struct drupe_metadata){
        .address = m->address,
        .is_token_needed = m->is_token_needed,
        .is_always_text = m->is_compatible,
        .document = p->document,
        .document_size = strlen(p->document),
    };
    p->cfg.metadata = &p->metadata;
    return true;
}

/* The client's line, with what follows from its configuration before any " -- ". False: too long.
 */
static bool plan_cmdline(struct vm_plan *p, const struct settings *s)
{
    const char *args = s->boot.args == NULL ? CMDLINE_DEFAULT : s->boot.args;
    const char *init = strstr(args, " -- ");
    size_t head = init == NULL ? strlen(args) : (size_t)(init - args);
    const struct drive_settings *root =
        s->drive_count > 0 && s->drives[0].is_root ? &s->drives[0] : NULL;
    char root_text[160] = "";
    size_t n = 0;

    if (root != NULL) {
        n = fmt_snprintf(root_text, sizeof(root_text), " root=%s%.100s %s",
                         root->partuuid == NULL ? "/dev/vda" : "PARTUUID=",
                         root->partuuid == NULL ? "" : root->partuuid,
                         root->is_read_only ? "ro" : "rw");
        assert(n < sizeof(root_text));
    }
    n = fmt_snprintf(p->cmdline, sizeof(p->cmdline), "%.*s%spci=off%s%s", (int)head, args,
                     head == 0 ? "" : " ", root_text, init == NULL ? "" : init);
    p->cfg.cmdline = p->cmdline;
    return n < sizeof(p->cmdline);
}

static void plan_kernel(struct vm_plan *p, const struct api *a)
{
    const struct boot_settings *b = &a->settings.boot;

    if (b->kernel.fd >= 0) {
        p->cfg.kernel_path = fd_path(p->kernel_path, b->kernel.fd);
    } else if (a->options.kernel_path != NULL) {
        p->cfg.kernel_path = a->options.kernel_path;
    } else {
        p->cfg.kernel_image = a->options.kernel_image;
        p->cfg.kernel_image_size = a->options.kernel_image_size;
    }
    if (b->initrd.fd >= 0) {
        p->cfg.initrd_path = fd_path(p->initrd_path, b->initrd.fd);
    }
}

static void plan_devices(struct vm_plan *p, const struct api *a)
{
    const struct settings *s = &a->settings;

    p->cfg.stdio = DRUPE_STDIO_NONE;
    if (s->serial.fd >= 0) {
        p->cfg.serial_log = s->serial.fd;
    } else {
        p->cfg.serial_log = a->options.serial_out;
        p->cfg.serial_in = a->options.serial_in;
    }
    p->cfg.has_boot_timer = a->options.has_boot_timer;
    p->cfg.entropy_limit = s->entropy.limit;
    if (s->vsock.is_set) {
        p->cfg.vsock_path = s->vsock.uds_path;
        p->cfg.vsock_cid = (uint32_t)s->vsock.guest_cid;
    }
    if (s->balloon.is_set) {
        p->cfg.balloon = (struct drupe_balloon){
            .is_present = true,
            .target_mib = (uint32_t)s->balloon.amount_mib,
            .is_deflated_on_oom = s->balloon.is_deflated_on_oom,
            .stats_interval_s = (uint32_t)s->balloon.stats_interval_s,
            .has_reporting = s->balloon.has_reporting,
        };
    }
}

drupe_vm_err_t api_create_vm(struct api *a, struct drupe_error *err)
{
    const struct settings *s = &a->settings;
    struct vm_plan *p = calloc(1, sizeof(*p));
    drupe_vm_err_t r = DRUPE_OK;

    if (p == NULL) {
        *err = (struct drupe_error){ .code = DRUPE_NO_MEMORY, .text = "out of memory" };
        return DRUPE_NO_MEMORY;
    }
    drupe_vm_config_init(&p->cfg);
    p->cfg.accel = a->options.accel;
    p->cfg.vcpus = (unsigned)s->machine.vcpu_count;
    p->cfg.memory_mib = (unsigned)s->machine.mem_size_mib;
    p->cfg.is_dirty_tracked = s->machine.is_dirty_tracked;
    p->cfg.cpuid = s->cpuid;
    p->cfg.cpuid_count = s->cpuid_count;
    p->cfg.log = vm_log;
    p->cfg.log_ctx = a;
    plan_kernel(p, a);
    plan_disks(p, s);
    plan_nets(p, s);
    plan_devices(p, a);
    for (unsigned i = 0; i < s->network_count; i++) {
        a->metrics.net_ids[i] = s->networks[i].id;
    }
    if (!plan_metadata(p, a)) {
        r = DRUPE_NO_MEMORY;
        *err = (struct drupe_error){ .code = r, .text = "out of memory" };
    } else if (plan_cmdline(p, s)) {
        r = drupe_vm_create(&p->cfg, &a->vm, err);
        a->owns_vm = r == DRUPE_OK;
    } else {
        r = DRUPE_CONFIG_INVALID;
        *err = (struct drupe_error){ .code = r, .text = "the kernel command line is too long" };
    }
    free(p->document);
    free(p);
    return r;
}

drupe_vm_err_t api_start(struct api *a, struct drupe_error *err)
{
    drupe_vm_err_t r = api_create_vm(a, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = drupe_vm_start(a->vm, err);
    if (r != DRUPE_OK) {
        drupe_vm_destroy(a->vm);
        a->vm = NULL;
        a->owns_vm = false;
    }
    return r;
}
