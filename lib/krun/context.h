/* SPDX-License-Identifier: Apache-2.0 */
/* What libkrun's calls gather before krun_start_enter() makes a machine of it. */
#pragma once

#include <sys/types.h>

#include <base/compiler.h>

#include "drupe/vm.h"

#define KRUN_CONTEXTS_MAX 1024u
#define KRUN_PORTS_MAX    16u
#define KRUN_RLIMITS_MAX  16u

/* A NULL-terminated list of owned strings. */
struct krun_list {
    char **items; /* NULL: never set */
    size_t count;
};

struct krun_port {
    uint32_t port;
    char *path;
    bool is_listening; /* we listen at path for programs of the host */
};

struct krun_rlimit {
    unsigned resource;
    uint64_t soft;
    uint64_t hard;
};

struct krun_ctx {
    unsigned vcpus;
    unsigned ram_mib;
    char *root;
    char *program;
    struct krun_list argv; /* behind the program */
    struct krun_list env;
    char *workdir;
    char *console_output;
    char *kernel;
    char *cmdline;
    struct drupe_disk disks[DRUPE_DISKS_MAX]; /* paths owned */
    size_t disk_count;
    struct drupe_share shares[DRUPE_SHARES_MAX]; /* strings owned; [0] is left free for the root */
    size_t share_count;
    struct krun_port ports[KRUN_PORTS_MAX];
    size_t port_count;
    struct krun_rlimit rlimits[KRUN_RLIMITS_MAX];
    size_t rlimit_count;
    bool has_uid;
    bool has_gid;
    uid_t uid;
    gid_t gid;
    int shutdown_fd; /* -1: nobody asked */
};

/* The context out of the table, the caller's to krun_ctx_free(); NULL: there is none. */
struct krun_ctx *krun_ctx_take(uint32_t id);
void krun_ctx_free(struct krun_ctx *c);

/* ---- Messages (log.c) */

void krun_log(void *unused, enum drupe_log_level level, const char *text);

/* ---- Ports (ports.c) */

struct krun_ports;

/* Make what stands behind cfg->vsock_path; the path is the ports' until end. 0 or -errno. */
int krun_ports_begin(const struct krun_ctx *c, drupe_vm_config_t *cfg,
                     struct krun_ports **out) MUST_CHECK;
/* The machine is made: links and listeners. 0 or -errno. */
int krun_ports_open(struct krun_ports *p) MUST_CHECK;
/* Remove paths; NULL is fine. Threads go with the process. */
void krun_ports_end(struct krun_ports *p);
