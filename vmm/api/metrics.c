/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "observe.h"

#define US_PER_S  UINT64_C(1000000)
#define NS_PER_US 1000
#define NS_PER_MS 1000000

static const char *const endpoint_names[METRIC_ENDPOINTS] = {
    [METRIC_INSTANCE_INFO] = "instance_info",
    [METRIC_MACHINE_CFG] = "machine_cfg",
    [METRIC_MMDS] = "mmds",
    [METRIC_VMM_VERSION] = "vmm_version",
    [METRIC_ACTIONS] = "actions",
    [METRIC_BOOT_SOURCE] = "boot_source",
    [METRIC_DRIVE] = "drive",
    [METRIC_LOGGER] = "logger",
    [METRIC_METRICS] = "metrics",
    [METRIC_NETWORK] = "network",
    [METRIC_BALLOON] = "balloon",
    [METRIC_PMEM] = "pmem",
    [METRIC_VSOCK] = "vsock",
    [METRIC_SERIAL] = "serial",
    [METRIC_CPU_CFG] = "cpu_cfg",
    [METRIC_HOTPLUG_MEMORY] = "hotplug_memory",
    [METRIC_OTHER] = "other",
};

static const char *const api_names[METRIC_APIS] = {
    [METRIC_GET] = "get_api_requests",
    [METRIC_PUT] = "put_api_requests",
    [METRIC_PATCH] = "patch_api_requests",
};

static const char *const latency_names[LATENCIES] = {
    [LATENCY_FULL_CREATE_SNAPSHOT] = "full_create_snapshot",
    [LATENCY_DIFF_CREATE_SNAPSHOT] = "diff_create_snapshot",
    [LATENCY_LOAD_SNAPSHOT] = "load_snapshot",
    [LATENCY_PAUSE_VM] = "pause_vm",
    [LATENCY_RESUME_VM] = "resume_vm",
};

void metrics_init(struct metrics *m, const char *instance_id)
{
    memset(m, 0, sizeof(*m));
    m->fd = -1;
    m->instance_id = instance_id;
}

void metrics_deinit(struct metrics *m)
{
    if (m->fd >= 0) {
        (void)close(m->fd);
    }
    free(m->path);
    json_decref(m->properties);
}

void metrics_count(struct metrics *m, enum metric_api api, enum metric_endpoint endpoint,
                   bool has_failed)
{
    m->counts[api][endpoint]++;
    m->fails[api][endpoint] += has_failed;
}

/* ---- One line. Every helper is harmless with NULL, so that only the end looks for it. ---- */

static void set(json_t *o, const char *name, uint64_t value)
{
    (void)json_object_set_new(o, name, json_integer((json_int_t)value));
}

static json_t *section(json_t *line, const char *name)
{
    json_t *o = json_object();

    return json_object_set_new(line, name, o) < 0 ? NULL : o; /* which has then freed it */
}

static void set_requests(struct metrics *m, json_t *line)
{
    char name[40];

    for (unsigned api = 0; api < METRIC_APIS; api++) {
        json_t *o = section(line, api_names[api]);

        for (unsigned e = 0; e < METRIC_ENDPOINTS; e++) {
            size_t n = strlen(endpoint_names[e]);

            memcpy(name, endpoint_names[e], n);
            memcpy(name + n, "_count", sizeof("_count"));
            set(o, name, m->counts[api][e]);
            memcpy(name + n, "_fails", sizeof("_fails"));
            set(o, name, m->fails[api][e]);
        }
    }
}

static void set_latencies(const struct metrics *m, json_t *line)
{
    json_t *o = section(line, "latencies_us");
    char name[40] = "vmm_";

    for (unsigned i = 0; i < LATENCIES; i++) {
        memcpy(name + 4, latency_names[i], strlen(latency_names[i]) + 1);
        set(o, latency_names[i], m->latency_us[i]);
        set(o, name, m->vmm_latency_us[i]);
    }
}

static void set_vcpu(struct metrics *m, json_t *line, const struct drupe_vm_stats *now)
{
    static const struct {
        const char *name;
        enum drupe_exit_reason reason;
    } exits[] = {
        { "exit_io", DRUPE_EXIT_IO },
        { "exit_mmio", DRUPE_EXIT_MMIO },
        { "exit_hlt", DRUPE_EXIT_HLT },
        { "exit_intr", DRUPE_EXIT_INTR },
        { "exit_shutdown", DRUPE_EXIT_SHUTDOWN },
        { "failures", DRUPE_EXIT_INTERNAL },
        { "exit_other", DRUPE_EXIT_OTHER },
    };

    json_t *o = section(line, "vcpu");
    json_t *vmm = section(line, "vmm");

    for (size_t i = 0; i < array_size(exits); i++) {
        uint64_t n = now->exits[exits[i].reason];

        set(o, exits[i].name, n - min_of(n, m->last.exits[exits[i].reason]));
    }
    set(vmm, "panic_count", 0);
    set(vmm, "memory_resident", now->memory_resident);
    set(vmm, "uptime_us", now->uptime_ns / NS_PER_US);
}

/* One section an interface, and "net" with their sum. */
static void set_nets(const struct metrics *m, json_t *line, const struct drupe_vm_stats *now)
{
#define COUNTER(name)                                                                              \
    {                                                                                              \
#name, offsetof(struct drupe_net_stats, name)                                              \
    }

    static const struct {
        const char *name;
        size_t offset;
    } counters[] = {
        COUNTER(rx_count),
        { "rx_packets_count", offsetof(struct drupe_net_stats, rx_packets) },
        { "rx_bytes_count", offsetof(struct drupe_net_stats, rx_bytes) },
        COUNTER(rx_fails),
        COUNTER(rx_queue_event_count),
        COUNTER(rx_tap_event_count),
        { "rx_event_rate_limiter_count",
          offsetof(struct drupe_net_stats, rx_rate_limiter_event_count) },
        COUNTER(rx_rate_limiter_throttled),
        COUNTER(no_rx_avail_buffer),
        COUNTER(tap_read_fails),
        COUNTER(tx_count),
        { "tx_packets_count", offsetof(struct drupe_net_stats, tx_packets) },
        { "tx_bytes_count", offsetof(struct drupe_net_stats, tx_bytes) },
        COUNTER(tx_fails),
        COUNTER(tx_malformed_frames),
        COUNTER(tx_queue_event_count),
        COUNTER(tx_rate_limiter_event_count),
        COUNTER(tx_rate_limiter_throttled),
        COUNTER(tx_spoofed_mac_count),
        COUNTER(tap_write_fails),
    };

#undef COUNTER
    json_t *sum = section(line, "net");
    json_t *own[DRUPE_NETS_MAX] = { NULL };
    char name[sizeof("net_") + SETTINGS_ID_SIZE_MAX];

    for (unsigned n = 0; n < now->net_count; n++) {
        if (m->net_ids[n] != NULL) {
            (void)fmt_snprintf(name, sizeof(name), "net_%s", m->net_ids[n]);
        } else {
            (void)fmt_snprintf(name, sizeof(name), "net_eth%u", n);
        }
        own[n] = section(line, name);
    }
    for (size_t i = 0; i < array_size(counters); i++) {
        uint64_t total = 0;

        for (unsigned n = 0; n < now->net_count; n++) {
            uint64_t after = 0;
            uint64_t before = 0;

            memcpy(&after, (const char *)&now->nets[n] + counters[i].offset, sizeof(after));
            memcpy(&before, (const char *)&m->last.nets[n] + counters[i].offset, sizeof(before));
            set(own[n], counters[i].name, after - min_of(after, before));
            total += after - min_of(after, before);
        }
        set(sum, counters[i].name, total);
    }
}

static void set_mmds(const struct metrics *m, json_t *line, const struct drupe_vm_stats *now)
{
    const struct drupe_metadata_stats *n = &now->metadata;
    const struct drupe_metadata_stats *last = &m->last.metadata;
    json_t *o = section(line, "mmds");

    set(o, "rx_count", n->rx_count - min_of(n->rx_count, last->rx_count));
    set(o, "rx_accepted", n->rx_accepted - min_of(n->rx_accepted, last->rx_accepted));
    set(o, "rx_accepted_err",
        n->rx_accepted_err - min_of(n->rx_accepted_err, last->rx_accepted_err));
    set(o, "rx_accepted_unusual",
        n->rx_accepted_unusual - min_of(n->rx_accepted_unusual, last->rx_accepted_unusual));
    set(o, "rx_no_token", n->rx_no_token - min_of(n->rx_no_token, last->rx_no_token));
    set(o, "rx_invalid_token",
        n->rx_invalid_token - min_of(n->rx_invalid_token, last->rx_invalid_token));
    set(o, "tx_count", n->tx_count - min_of(n->tx_count, last->tx_count));
    set(o, "tx_frames", n->tx_frames - min_of(n->tx_frames, last->tx_frames));
    set(o, "tx_bytes", n->tx_bytes - min_of(n->tx_bytes, last->tx_bytes));
    set(o, "tx_errors", n->tx_errors - min_of(n->tx_errors, last->tx_errors));
    set(o, "connections_created",
        n->connections_created - min_of(n->connections_created, last->connections_created));
    set(o, "connections_destroyed",
        n->connections_destroyed - min_of(n->connections_destroyed, last->connections_destroyed));
}

static json_t *make_line(struct metrics *m, const struct drupe_vm_stats *now, uint64_t lines_lost)
{
    json_t *line = json_object();
    json_t *o = NULL;
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    set(line, "utc_timestamp_ms", (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / NS_PER_MS);
    if (m->emits_id) {
        (void)json_object_set_new(line, "id", json_string(m->instance_id));
    }
    if (m->properties != NULL) {
        (void)json_object_set(line, "properties", m->properties);
    }
    o = section(line, "api_server");
    set(o, "process_startup_time_us", m->start_time_us);
    set(o, "process_startup_time_cpu_us", m->start_time_cpu_us);
    o = section(line, "deprecated_api");
    set(o, "deprecated_http_api_calls", m->deprecated_calls);
    set_requests(m, line);
    set_latencies(m, line);
    o = section(line, "logger");
    set(o, "missed_log_count", lines_lost);
    set(o, "missed_metrics_count", m->missed_lines);
    set_vcpu(m, line, now);
    set_nets(m, line, now);
    set_mmds(m, line, now);
    return line;
}

bool metrics_write(struct metrics *m, drupe_vm_t *vm, uint64_t log_lines_lost)
{
    struct drupe_vm_stats now = { 0 };
    json_t *line = NULL;
    char *text = NULL;
    size_t size = 0;
    bool is_written = false;

    if (m->fd < 0) {
        return false;
    }
    if (vm != NULL) {
        (void)!drupe_vm_stats(vm, &now, NULL); /* zeros before it has run */
    }
    line = make_line(m, &now, log_lines_lost);
    text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (text == NULL) {
        m->missed_lines++;
        return false;
    }
    size = strlen(text);
    text[size] = '\n'; /* in the NUL's place: one write, one line */
    is_written = write(m->fd, text, size + 1) == (ssize_t)(size + 1);
    free(text);
    m->missed_lines += !is_written;
    memset(m->counts, 0, sizeof(m->counts));
    memset(m->fails, 0, sizeof(m->fails));
    m->deprecated_calls = 0;
    m->last = now;
    return is_written;
}

json_t *metrics_json(const struct metrics *m)
{
    if (m->fd < 0) {
        return json_null();
    }
    return json_pack("{s:s, s:b, s:O?}", "metrics_path", m->path, "emit_id", (int)m->emits_id,
                     "properties", m->properties);
}
