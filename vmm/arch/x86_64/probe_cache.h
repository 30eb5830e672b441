/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where probe results are kept: $XDG_CACHE_HOME/drupe/probe (or ~/.cache/drupe/probe), one line of
 * text. The file may be anybody's: it counts only if it is a regular file of ours that nobody else
 * may write, and parses exactly.
 */
#pragma once

#include <base/compiler.h>

#include "arch/x86_64/probe.h"

#define PROBE_KEY_SIZE 17u

struct probe_cache_key {
    char hex[PROBE_KEY_SIZE]; /* hash of kernel, KVM modules, CPU and the table's version */
};

void probe_cache_key(struct probe_cache_key *key);
bool probe_cache_load(const struct probe_cache_key *key, struct probe_result *out);
/* Failing to store is no error: the next start probes again. */
void probe_cache_store(const struct probe_cache_key *key, const struct probe_result *p);

/* The line's text and back, for the two above and for tests. */
size_t probe_cache_format(const struct probe_cache_key *key, const struct probe_result *p,
                          char *line, size_t size);
bool probe_cache_parse(const struct probe_cache_key *key, const char *line, size_t size,
                       struct probe_result *out);
