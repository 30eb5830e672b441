/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the monitor keeps it: validated, copied, files open. What the caller passed
 * is not looked at again after config_take(), the embedded kernel's bytes excepted.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct mmds_service;

struct config_file {
    char *path; /* NULL: none */
    int fd;     /* -1: none */
    uint64_t size;
    bool is_read_only;
    bool is_flush_ignored; /* a disk's, like the next three */
    bool is_synchronous;
    bool is_direct;
    struct drupe_rate_limit limit;
    uint64_t memory_size; /* not 0: no file, a disk in memory */
    uint64_t memory_max;
};

struct config_share {
    char *tag;
    char *host_path;  /* as given, for messages and snapshots */
    char *guest_path; /* NULL: not mounted */
    int fd;           /* O_PATH, a directory */
    bool is_read_only;
};

struct config_net {
    char *name; /* as the caller gave it */
    int fd;     /* an attached tap (tap.h) */
    bool has_mac;
    bool has_metadata;
    uint8_t mac[6]; /* made up without has_mac */
    uint16_t mtu;   /* 0: not told */
    struct drupe_rate_limit rx_limit;
    struct drupe_rate_limit tx_limit;
};

struct config_strings {
    char **items; /* count pointers and a NULL; the strings stand in one block behind them */
    size_t count;
    size_t bytes; /* sum of lengths with their NULs */
};

struct config {
    enum drupe_accel accel;
    unsigned vcpus;
    uint64_t memory_size; /* bytes */
    struct config_file kernel;
    const void *kernel_image;
    size_t kernel_image_size;
    char *cmdline_extra; /* never NULL */
    char *cmdline;       /* NULL: the default one */
    struct config_file initrd;
    struct config_file root;
    enum drupe_root_mode root_mode;
    struct config_file disks[DRUPE_DISKS_MAX];
    unsigned disk_count;
    struct config_share shares[DRUPE_SHARES_MAX];
    unsigned share_count;
    struct config_net nets[DRUPE_NETS_MAX];
    unsigned net_count;
    struct mmds_service *mmds; /* NULL: none */
    struct config_strings argv;
    struct config_strings env;
    char *cwd;      /* never NULL */
    char *hostname; /* never NULL */
    uint32_t uid;
    uint32_t gid;
    enum drupe_stdio stdio;
    int kvm_fd;         /* /dev/kvm, opened while paths can be; -1: at start */
    int userfaultfd_fd; /* /dev/userfaultfd, the same; -1: the host has none, or not for us */
    bool has_swap;      /* the host has, so that memory may be there and not resident */
    int host_stdin;
    int host_stdout;
    int host_stderr;
    int serial_log;
    int serial_in;
    bool has_boot_timer;
    struct drupe_cpuid_modifier *cpuid; /* NULL when cpuid_count is 0 */
    size_t cpuid_count;
    struct drupe_balloon balloon;
    struct drupe_rate_limit entropy_limit;
    unsigned tty_rows;
    unsigned tty_cols;
    bool is_quiet;
    drupe_log_fn log;
    void *log_ctx;
    unsigned boot_timeout_ms;
    char *vsock_path;    /* NULL: no device */
    int vsock_fd;        /* listens there */
    int vsock_broker_fd; /* to who connects for us; -1: we do it ourselves */
    uint32_t vsock_cid;
    const void *agent_image; /* NULL: none */
    size_t agent_image_size;
    bool is_dirty_tracked;
    char *firecracker_path; /* NULL until the backend has looked in PATH */
};

/* Validate *from and take what it names. On failure *out holds nothing to free. */
drupe_vm_err_t config_take(struct config *out, const drupe_vm_config_t *from,
                           struct drupe_error *err) MUST_CHECK;
void config_deinit(struct config *c);
/* Nothing in it, and nothing to free. */
void config_clear(struct config *c);

/* Disk `index` in the guest's order: the root, when it is a disk, is 0. NULL: there is none. */
struct config_file *config_disk(struct config *c, unsigned index);
/* Open one file as the configuration's are opened. On failure *out may hold a path to free. */
drupe_vm_err_t config_take_file(const char *what, const char *path, bool is_read_only,
                                struct config_file *out, struct drupe_error *err) MUST_CHECK;
/* The same for a disk's file (config_disk.c), past the page cache if wanted. */
drupe_vm_err_t config_take_disk(const char *path, bool is_read_only, bool is_direct,
                                struct config_file *out, struct drupe_error *err) MUST_CHECK;
/* Nobody else's to write as long as its descriptor, or a copy of it, is open. NO_ACCESS: it is. */
drupe_vm_err_t config_lock_disk(const char *what, const struct config_file *f,
                                struct drupe_error *err) MUST_CHECK;
bool config_is_same_file(const struct config_file *a, const struct config_file *b);
void config_file_deinit(struct config_file *f);

/* The shares' checks and descriptors (config_shares.c). */
drupe_vm_err_t config_check_shares(const drupe_vm_config_t *from,
                                   struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t config_take_shares(struct config *c, const drupe_vm_config_t *from,
                                  struct drupe_error *err) MUST_CHECK;
void config_clear_shares(struct config *c); /* no descriptor: before anything was taken */
void config_deinit_shares(struct config *c);

/* The same for network interfaces (config_net.c). */
drupe_vm_err_t config_check_nets(const drupe_vm_config_t *from, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t config_take_nets(struct config *c, const drupe_vm_config_t *from,
                                struct drupe_error *err) MUST_CHECK;
/* Any thread, also while the machine runs. */
drupe_vm_err_t config_set_metadata(struct config *c, const char *document, size_t size,
                                   struct drupe_error *err) MUST_CHECK;
void config_clear_nets(struct config *c);
void config_deinit_nets(struct config *c);

/* "fd:N" -> N; false for any other name. */
bool config_parse_fd(const char *path, int *out);

/* The words that tell the kernel what to mount where: root=9p:..., drupe.share=... */
struct cmdline;
void config_announce_shares(const struct config *c, struct cmdline *line);
/* The share that is the root, or NULL. */
const struct config_share *config_root_share(const struct config *c);
