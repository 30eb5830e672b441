/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/fmt.h>

const char *const huge_pages_names[] = { "None", "Transparent", "2M", NULL };
const char *const cpu_template_names[] = { "C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None", NULL };
const char *const cache_type_names[] = { "Unsafe", "Writeback", NULL };
const char *const io_engine_names[] = { "Sync", "Async", NULL };

#define VCPUS_DEFAULT      1u
#define MEMORY_MIB_DEFAULT 128u

void named_file_deinit(struct named_file *f)
{
    free(f->path);
    f->path = NULL;
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    f->fd = -1;
}

void settings_init(struct settings *s)
{
    memset(s, 0, sizeof(*s));
    s->machine.vcpu_count = VCPUS_DEFAULT;
    s->machine.mem_size_mib = MEMORY_MIB_DEFAULT;
    s->machine.cpu_template = CPU_TEMPLATE_NONE;
    s->boot.kernel.fd = -1;
    s->boot.initrd.fd = -1;
    s->serial.fd = -1;
    for (unsigned i = 0; i < DRUPE_DISKS_MAX; i++) {
        s->drives[i].file.fd = -1;
    }
}

void settings_deinit(struct settings *s)
{
    named_file_deinit(&s->boot.kernel);
    named_file_deinit(&s->boot.initrd);
    named_file_deinit(&s->serial);
    free(s->boot.args);
    for (unsigned i = 0; i < s->drive_count; i++) {
        named_file_deinit(&s->drives[i].file);
        free(s->drives[i].partuuid);
    }
    for (unsigned i = 0; i < s->network_count; i++) {
        named_file_deinit(&s->networks[i].tap);
    }
    free(s->vsock.uds_path);
    json_decref(s->cpu_config);
    free(s->cpuid);
    memset(s, 0, sizeof(*s));
}

struct drive_settings *settings_drive(struct settings *s, const char *id)
{
    for (unsigned i = 0; i < s->drive_count; i++) {
        if (strcmp(s->drives[i].id, id) == 0) {
            return &s->drives[i];
        }
    }
    return NULL;
}

struct network_settings *settings_network(struct settings *s, const char *id)
{
    for (unsigned i = 0; i < s->network_count; i++) {
        if (strcmp(s->networks[i].id, id) == 0) {
            return &s->networks[i];
        }
    }
    return NULL;
}

/* ---- Objects for GET ---- */

json_t *settings_machine_json(const struct machine_settings *m)
{
    json_t *o = json_pack("{s:I, s:I, s:b, s:b, s:s}", "vcpu_count", (json_int_t)m->vcpu_count,
                          "mem_size_mib", (json_int_t)m->mem_size_mib, "smt", (int)m->is_smt,
                          "track_dirty_pages", (int)m->is_dirty_tracked, "huge_pages",
                          huge_pages_names[m->huge_pages]);

    if (o != NULL && m->has_template &&
        json_object_set_new(o, "cpu_template", json_string(cpu_template_names[m->cpu_template])) <
            0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *settings_boot_json(const struct boot_settings *b)
{
    if (!b->is_set) {
        return json_null();
    }
    return json_pack("{s:s, s:s?, s:s?}", "kernel_image_path", b->kernel.path, "initrd_path",
                     b->initrd.path, "boot_args", b->args);
}

static json_t *bucket_json(const struct drupe_token_bucket *b)
{
    if (b->size == 0 || b->refill_ms == 0) {
        return json_null();
    }
    return json_pack("{s:I, s:I, s:I}", "size", (json_int_t)b->size, "one_time_burst",
                     (json_int_t)b->one_time_burst, "refill_time", (json_int_t)b->refill_ms);
}

static json_t *limit_json(const struct drupe_rate_limit *l)
{
    json_t *bandwidth = bucket_json(&l->bandwidth);
    json_t *ops = bucket_json(&l->ops);

    if (json_is_null(bandwidth) && json_is_null(ops)) {
        return json_null(); /* the singleton: nothing to release above */
    }
    return json_pack("{s:o, s:o}", "bandwidth", bandwidth, "ops", ops);
}

json_t *settings_drive_json(const struct drive_settings *d)
{
    return json_pack("{s:s, s:s?, s:b, s:s, s:b, s:s?, s:o, s:s, s:n}", "drive_id", d->id,
                     "partuuid", d->partuuid, "is_root_device", (int)d->is_root, "cache_type",
                     cache_type_names[d->cache_type], "is_read_only", (int)d->is_read_only,
                     "path_on_host", d->file.path, "rate_limiter", limit_json(&d->limit),
                     "io_engine", io_engine_names[d->io_engine], "socket");
}

static json_t *mac_json(const struct network_settings *n)
{
    char text[18];

    if (!n->has_mac) {
        return json_null();
    }
    (void)fmt_snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
                       n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
    return json_string(text);
}

static json_t *network_json(const struct network_settings *n)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "iface_id", n->id, "host_dev_name",
                     n->tap.path, "guest_mac", mac_json(n), "mtu",
                     n->mtu == 0 ? json_null() : json_integer(n->mtu), "rx_rate_limiter",
                     limit_json(&n->rx_limit), "tx_rate_limiter", limit_json(&n->tx_limit));
}

json_t *settings_networks_json(const struct settings *s)
{
    json_t *list = json_array();

    for (unsigned i = 0; list != NULL && i < s->network_count; i++) {
        if (json_array_append_new(list, network_json(&s->networks[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *settings_vsock_json(const struct vsock_settings *v)
{
    if (!v->is_set) {
        return json_null();
    }
    return json_pack("{s:I, s:s}", "guest_cid", (json_int_t)v->guest_cid, "uds_path", v->uds_path);
}

json_t *settings_balloon_json(const struct balloon_settings *b)
{
    if (!b->is_set) {
        return json_null();
    }
    return json_pack("{s:I, s:b, s:I, s:b, s:b}", "amount_mib", (json_int_t)b->amount_mib,
                     "deflate_on_oom", (int)b->is_deflated_on_oom, "stats_polling_interval_s",
                     (json_int_t)b->stats_interval_s, "free_page_hinting", (int)b->has_hinting,
                     "free_page_reporting", (int)b->has_reporting);
}

json_t *settings_entropy_json(const struct entropy_settings *e)
{
    return e->is_set ? json_pack("{s:o}", "rate_limiter", limit_json(&e->limit)) : json_null();
}
