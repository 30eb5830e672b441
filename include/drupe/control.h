/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API of one VM: Firecracker's REST interface on a Unix socket, over drupe/vm.h
 * (docs/control-api.md). A program of its own archive: link libdrupe_control besides libdrupe.
 *
 *     struct drupe_control_options options;
 *
 *     drupe_control_options_init(&options);
 *     options.socket_path = "/run/vm.sock";
 *     exit(drupe_control_run(&options, &err));
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <drupe/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Exit codes that clients know. */
#define DRUPE_CONTROL_OK            0
#define DRUPE_CONTROL_FAILED        1
#define DRUPE_CONTROL_BAD_CONFIG    152
#define DRUPE_CONTROL_BAD_ARGUMENTS 153

/* What a client brought about, for a log of it. */
enum drupe_control_event {
    DRUPE_CONTROL_PAUSED,
    DRUPE_CONTROL_RESUMED,
    DRUPE_CONTROL_SNAPSHOT,
    DRUPE_CONTROL_STOPPING, /* asked politely; the end follows */
};

/* All pointers are borrowed for the call of drupe_control_run(). */
struct drupe_control_options {
    size_t struct_size; /* set by init */
    const char *id;     /* "anonymous-instance"; letters, digits, hyphens, 1 to 64 */
    /* Where to listen: a path at which nothing exists, or (NULL) an open socket, or (-1) nowhere.
     */
    const char *socket_path;
    int listen_fd;
    size_t payload_size_max;   /* bytes of a request's body; 51200 */
    size_t mmds_size_max;      /* 0: as payload_size_max */
    const char *config_text;   /* a configuration file's JSON, carried out at once; NULL: none */
    size_t config_size;        /* bytes */
    const char *metadata_text; /* JSON for the metadata store; NULL: none */
    size_t metadata_size;      /* bytes */
    const char *log_path;      /* NULL: none; opened like a client's */
    const char *log_level;     /* NULL: "Info" */
    const char *log_module;    /* NULL: all */
    bool shows_log_level;
    bool shows_log_origin;
    const char *metrics_path;   /* NULL: none */
    uint64_t start_time_us;     /* of whoever started us, CLOCK_MONOTONIC; 0: unknown */
    uint64_t start_time_cpu_us; /* CPU time at that moment */
    uint64_t parent_cpu_time_us;
    bool has_boot_timer;
    enum drupe_accel accel;
    const void *kernel_image; /* what the kernel path "drupe:kernel" names; NULL: none */
    size_t kernel_image_size;
    const char *kernel_path; /* the same, as a file */
    int serial_in;           /* -1: none; the guest's serial line when PUT /serial says nothing */
    int serial_out;
    /* A VM that runs already: the API is for it, in its later phase. Stays the caller's. */
    drupe_vm_t *vm;
    uint64_t timeout_s; /* stop the VM when it has been served for so long; 0: never */
    /* NULL, or called on the serving thread after it happened. */
    void (*changed)(void *ctx, enum drupe_control_event event);
    void *changed_ctx;
};

DRUPE_API void drupe_control_options_init(struct drupe_control_options *options);

/*
 * Serve until the VM has ended, a load failed, or SIGINT, SIGTERM or SIGHUP came (all three are
 * blocked in the calling thread from then on; those that came meanwhile are taken). Returns the
 * process's exit code; *err (may be NULL) is filled when that is not 0. The socket's file is left
 * for the caller to remove.
 */
DRUPE_API DRUPE_MUST_CHECK int drupe_control_run(const struct drupe_control_options *options,
                                                 struct drupe_error *err);

#ifdef __cplusplus
}
#endif
