/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ukernel.toml. The keys, their ranges and meaning: docs/man/ukernel.toml.5; the table in
 * manifest.c is the source of both the checks and the messages.
 */
#pragma once

#include <stdint.h>

#include <base/compiler.h>

#include "files.h"

#define MANIFEST_NAME     "ukernel.toml"
#define MANIFEST_SIZE_MAX ((size_t)1 << 20)

enum language {
    LANGUAGE_PYTHON,
    LANGUAGE_C,
    LANGUAGE_LINUX_ELF,
};

struct manifest {
    char *name;
    char *language_name;
    enum language language;
    char *entry; /* relative to the project, no "..", not absolute */

    char *env_base; /* "": none asked for */
    struct strings packages;
    bool has_packages; /* the key was given, even if empty */
    char *adapter;

    int64_t vcpus;
    int64_t memory_mib;
    int64_t timeout_s; /* 0: none */
    char *net;
    char *kernel_args;

    struct strings caps;
    bool has_caps;
    char *net_ip;
    char *net_gateway;
    char *net_mask;
    char *net_mac;
    int64_t limit_heap_mib; /* 0: none, like the next two */
    int64_t limit_tasks;
    int64_t limit_handles;
};

/*
 * Parse `text`; `file` names it in messages, `fallback_name` is the project's name when the
 * manifest gives none. Returns 0, or -1 with one line in error: "FILE:LINE: what is wrong". On
 * failure *out is empty. manifest_free() ends it in both cases.
 */
int manifest_parse(const char *file, const char *text, size_t size, const char *fallback_name,
                   struct manifest *out, char *error, size_t error_size) MUST_CHECK;

/*
 * Read ./ukernel.toml. Returns 0, or an exit status after printing the error: STATUS_USAGE for a
 * wrong manifest, STATUS_FAILED for one that is missing or cannot be read.
 */
int manifest_load(struct manifest *out) MUST_CHECK;

/* Does the current directory hold a manifest? */
bool manifest_is_here(void);

void manifest_free(struct manifest *m);

#define CLEANUP_MANIFEST __attribute__((cleanup(manifest_free))) struct manifest
