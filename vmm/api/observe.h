/* SPDX-License-Identifier: Apache-2.0 */
/* The log and the metrics of a monitor, in Firecracker's formats. Log: any thread; metrics: one. */
#pragma once

#include <jansson.h>
#include <pthread.h>

#include <base/compiler.h>

#include "drupe/vm.h"
#include "settings.h"

enum logger_level {
    LOGGER_OFF,
    LOGGER_ERROR,
    LOGGER_WARN,
    LOGGER_INFO,
    LOGGER_DEBUG,
    LOGGER_TRACE,
};

struct logger {
    pthread_mutex_t lock;
    const char *instance_id;
    /* under lock */
    int fd; /* -1: standard output's place is taken by the guest, so: nowhere */
    bool owns_fd;
    char *path; /* for GET; NULL: none */
    enum logger_level level;
    bool shows_level;
    bool shows_origin;
    char *module; /* NULL: all */
    uint64_t lines_lost;
};

void logger_init(struct logger *l, const char *instance_id);
void logger_deinit(struct logger *l);
/* `level` in any case: "Error", "Warning", "Warn", "Info", "Debug", "Trace", "Off". */
bool logger_parse_level(const char *text, enum logger_level *out);
/* Takes `fd`; `path` is copied. */
int logger_set_sink(struct logger *l, const char *path, int fd) MUST_CHECK;
int logger_open(const char *path);
void logger_write(struct logger *l, enum logger_level level, const char *module, const char *file,
                  int line, const char *format, ...) PRINTF_LIKE(6, 7);
json_t *logger_json(struct logger *l);

#define api_log(a, level, ...)                                                                     \
    logger_write(&(a)->logger, (level), "drupe::api", __FILE__, __LINE__, __VA_ARGS__)

enum metric_api {
    METRIC_GET,
    METRIC_PUT,
    METRIC_PATCH,
    METRIC_APIS,
};

/* Request counters of one method, by endpoint. */
enum metric_endpoint {
    METRIC_INSTANCE_INFO,
    METRIC_MACHINE_CFG,
    METRIC_MMDS,
    METRIC_VMM_VERSION,
    METRIC_ACTIONS,
    METRIC_BOOT_SOURCE,
    METRIC_DRIVE,
    METRIC_LOGGER,
    METRIC_METRICS,
    METRIC_NETWORK,
    METRIC_BALLOON,
    METRIC_PMEM,
    METRIC_VSOCK,
    METRIC_SERIAL,
    METRIC_CPU_CFG,
    METRIC_HOTPLUG_MEMORY,
    METRIC_OTHER,
    METRIC_ENDPOINTS,
};

enum metric_latency {
    LATENCY_FULL_CREATE_SNAPSHOT,
    LATENCY_DIFF_CREATE_SNAPSHOT,
    LATENCY_LOAD_SNAPSHOT,
    LATENCY_PAUSE_VM,
    LATENCY_RESUME_VM,
    LATENCIES,
};

struct metrics {
    int fd; /* -1: not configured */
    char *path;
    const char *instance_id;
    bool emits_id;
    json_t *properties;                  /* NULL: none */
    const char *net_ids[DRUPE_NETS_MAX]; /* of the VM's interfaces; owned by the settings */
    uint64_t start_time_us;
    uint64_t start_time_cpu_us;
    uint64_t counts[METRIC_APIS][METRIC_ENDPOINTS];
    uint64_t fails[METRIC_APIS][METRIC_ENDPOINTS];
    uint64_t deprecated_calls;
    uint64_t missed_lines;
    uint64_t latency_us[LATENCIES];
    uint64_t vmm_latency_us[LATENCIES];
    struct drupe_vm_stats last; /* what the last line reported */
};

void metrics_init(struct metrics *m, const char *instance_id);
void metrics_deinit(struct metrics *m);
void metrics_count(struct metrics *m, enum metric_api api, enum metric_endpoint endpoint,
                   bool has_failed);
/* One line; counters start afresh. `vm` may be NULL. False when it could not be written. */
bool metrics_write(struct metrics *m, drupe_vm_t *vm, uint64_t log_lines_lost);
json_t *metrics_json(const struct metrics *m);
