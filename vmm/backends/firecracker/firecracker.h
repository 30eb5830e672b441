/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Firecracker backend: the user's own binary as a child process, told over its API socket what
 * to do. Files reach it as descriptors of fixed numbers, named /proc/self/fd/N, so that it opens
 * what the configuration opened, and a snapshot finds the disks of whoever loads it.
 *
 * What Firecracker doesn't tell: its guest's status. Our kernel prints it on the serial line as its
 * last words, where the console's splitter (console.c) picks it up. Internal to this folder.
 */
#pragma once

#include "backends/backend.h"
#include "backends/child.h"
#include "backends/firecracker/http.h"
#include "backends/firecracker/json.h"
#include "config.h"
#include "log.h"

#define FC_DIRECTORY_SIZE_MAX 80u
#define FC_SOCKET_SIZE_MAX    100u
#define FC_PREFIX_SIZE        15u /* "[    0.123456] " */
#define FC_LINE_SIZE_MAX      256u

/* Descriptors as the child sees them. */
enum fc_fd {
    FC_FD_KERNEL = 10,
    FC_FD_INITRD,
    FC_FD_ROOT,
    FC_FD_DISK, /* and DRUPE_DISKS_MAX - 1 more */
    FC_FD_END = FC_FD_DISK + DRUPE_DISKS_MAX,
};

#define FC_FDS ((unsigned)FC_FD_END - (unsigned)FC_FD_KERNEL)

/* The serial line, split into our kernel's lines and everything else. */
struct fc_console {
    const struct config *config;
    bool is_our_kernel;
    bool is_translated; /* the terminal's "\r\n" is "\n" for a stream */
    char line[FC_LINE_SIZE_MAX];
    size_t used;                 /* of line, while it may be or is a kernel's */
    bool is_kernels;             /* the line's prefix is whole */
    bool is_inside;              /* of a line that isn't the kernel's */
    bool has_return;             /* a '\r' is held back */
    char last[FC_LINE_SIZE_MAX]; /* the kernel's last line, without prefix */
};

void fc_console_init(struct fc_console *c, const struct config *config, bool is_our_kernel);
void fc_console_take(struct fc_console *c, const uint8_t *bytes, size_t size);
/* The machine has ended by itself: what its last words say. */
void fc_console_outcome(const struct fc_console *c, struct drupe_vm_outcome *out);

struct fc_machine {
    const struct config *config;
    struct log log;
    struct child child;
    struct fc_console console;
    bool is_our_kernel;
    int fds[FC_FDS]; /* the child's, ours >= 100; -1: none */
    char directory[FC_DIRECTORY_SIZE_MAX];
    char socket_path[FC_SOCKET_SIZE_MAX];
    pthread_mutex_t http_lock;
    struct fc_http http; /* under http_lock, like json */
    struct fc_json json;
};

/* Files, directory, process, and its first answer. Undone by destroy whatever it returns. */
drupe_vm_err_t fc_spawn(struct fc_machine *m, struct drupe_error *err) MUST_CHECK;
/* One request with the machine's json as its body. */
drupe_vm_err_t fc_send(struct fc_machine *m, const char *method, const char *path,
                       unsigned timeout_ms, drupe_vm_err_t code,
                       struct drupe_error *err) MUST_CHECK;
/* Everything up to InstanceStart. */
drupe_vm_err_t fc_configure(struct fc_machine *m, struct drupe_error *err) MUST_CHECK;
drupe_vm_err_t fc_set_paused(struct fc_machine *m, bool is_paused, drupe_vm_err_t code,
                             struct drupe_error *err) MUST_CHECK;

/* process.c */
extern const struct child_ops fc_child_ops;

#define FC_API_TIMEOUT_MS      5000u
#define FC_SNAPSHOT_TIMEOUT_MS 300000u

/* snapshot.c: as backend.h's. */
drupe_vm_err_t fc_snapshot(void *machine, bool is_paused,
                           const struct drupe_snapshot_options *options,
                           struct drupe_snapshot_info *info, struct drupe_error *err);
/* Into a process that has been told nothing. */
drupe_vm_err_t fc_load(struct fc_machine *m, const struct drupe_restore_options *options,
                       struct drupe_error *err) MUST_CHECK;
