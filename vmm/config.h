/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the monitor keeps it: validated, copied, files open. What the caller passed
 * is not looked at again after config_take(), the embedded kernel's bytes excepted.
 */
#pragma once

#include <base/compiler.h>

#include "drupe/vm.h"

struct config_file {
    char *path; /* NULL: none */
    int fd;     /* -1: none */
    uint64_t size;
    bool is_read_only;
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
    struct config_file root;
    enum drupe_root_mode root_mode;
    struct config_file disks[DRUPE_DISKS_MAX];
    unsigned disk_count;
    struct config_strings argv;
    struct config_strings env;
    char *cwd;      /* never NULL */
    char *hostname; /* never NULL */
    uint32_t uid;
    uint32_t gid;
    enum drupe_stdio stdio;
    int host_stdin;
    int host_stdout;
    int host_stderr;
    int serial_log;
    unsigned tty_rows;
    unsigned tty_cols;
    bool is_quiet;
    drupe_log_fn log;
    void *log_ctx;
    unsigned boot_timeout_ms;
    char *vsock_path; /* NULL: no device */
    int vsock_fd;     /* listens there */
    uint32_t vsock_cid;
    const void *agent_image; /* NULL: none */
    size_t agent_image_size;
    bool is_dirty_tracked;
};

/* Validate *from and take what it names. On failure *out holds nothing to free. */
drupe_vm_err_t config_take(struct config *out, const drupe_vm_config_t *from,
                           struct drupe_error *err) MUST_CHECK;
void config_deinit(struct config *c);
