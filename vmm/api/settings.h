/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What clients have configured, as they see it in GET /vm/config. Nothing here touches a VM; files
 * are opened when they are named, so that a bad name is refused at once.
 */
#pragma once

#include <jansson.h>

#include <base/compiler.h>

#include "drupe/vm.h"

#define SETTINGS_ID_SIZE_MAX 64u

/* A file that a client named: its name for GET, its descriptor for the VM. */
struct named_file {
    char *path; /* NULL: none */
    int fd;     /* -1: none */
};

void named_file_deinit(struct named_file *f);

struct machine_settings {
    uint64_t vcpu_count;
    uint64_t mem_size_mib;
    bool is_smt;
    bool is_dirty_tracked;
    unsigned huge_pages;
    bool has_template;
    unsigned cpu_template;
};

extern const char *const huge_pages_names[];
extern const char *const cpu_template_names[];

#define CPU_TEMPLATE_NONE 6u

struct boot_settings {
    bool is_set;
    struct named_file kernel; /* path "drupe:kernel" and no descriptor: the monitor's own */
    struct named_file initrd;
    char *args; /* NULL: the default line */
};

struct drive_settings {
    char id[SETTINGS_ID_SIZE_MAX];
    struct named_file file;
    bool is_root;
    bool is_read_only;
    unsigned cache_type;
    unsigned io_engine;
    char *partuuid;
    struct drupe_rate_limit limit;
};

extern const char *const cache_type_names[];
extern const char *const io_engine_names[];

struct network_settings {
    char id[SETTINGS_ID_SIZE_MAX];
    struct named_file tap; /* path: the client's name for it */
    bool has_metadata;     /* the metadata service is reached here */
    bool has_mac;
    uint8_t mac[6];
    uint16_t mtu; /* 0: the guest is not told */
    struct drupe_rate_limit rx_limit;
    struct drupe_rate_limit tx_limit;
};

struct mmds_settings {
    bool is_set;
    bool is_token_needed; /* version 2 */
    bool is_compatible;   /* values as text, whatever a client accepts */
    uint32_t address;     /* in the host's order */
};

struct vsock_settings {
    bool is_set;
    uint64_t guest_cid;
    char *uds_path;
};

struct balloon_settings {
    bool is_set;
    uint64_t amount_mib;
    bool is_deflated_on_oom;
    uint64_t stats_interval_s;
    bool has_hinting;
    bool has_reporting;
};

struct entropy_settings {
    bool is_set;
    struct drupe_rate_limit limit;
};

struct settings {
    struct machine_settings machine;
    struct boot_settings boot;
    struct drive_settings drives[DRUPE_DISKS_MAX]; /* the root, if any, first */
    unsigned drive_count;
    struct network_settings networks[DRUPE_NETS_MAX];
    unsigned network_count;
    struct mmds_settings mmds;
    struct vsock_settings vsock;
    struct balloon_settings balloon;
    struct entropy_settings entropy;
    struct named_file serial;
    bool has_serial_limit;
    struct drupe_token_bucket serial_limit;
    json_t *cpu_config; /* NULL: none; the last body, owned */
    struct drupe_cpuid_modifier *cpuid;
    size_t cpuid_count;
    bool is_boot_path; /* something that a snapshot brings was configured */
};

void settings_init(struct settings *s);
void settings_deinit(struct settings *s);

/* Objects for GET; new references, NULL when memory ran out. */
json_t *settings_machine_json(const struct machine_settings *m);
json_t *settings_boot_json(const struct boot_settings *b);
json_t *settings_drive_json(const struct drive_settings *d);
/* All interfaces, as a list. */
json_t *settings_networks_json(const struct settings *s);
json_t *settings_vsock_json(const struct vsock_settings *v);
json_t *settings_balloon_json(const struct balloon_settings *b);
json_t *settings_entropy_json(const struct entropy_settings *e);

struct drive_settings *settings_drive(struct settings *s, const char *id);
struct network_settings *settings_network(struct settings *s, const char *id);
