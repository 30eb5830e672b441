/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which instructions work in guest ring 0. KVM without hardware virtualization under it interprets
 * ring 0 and knows only part of what the CPU's CPUID announces; a guest that believes the CPUID
 * ends with an internal error. So each doubtful instruction is tried once in a tiny machine, and
 * the answers are kept in a file in the user's cache directory, keyed by kernel, KVM modules and
 * CPU.
 */
#pragma once

#include <base/compiler.h>

#define PROBES_MAX 32u

struct probe_result {
    uint32_t works;         /* bit per probe */
    bool is_ring0_emulated; /* a ring-0 instruction costs what an interpreter takes */
    bool is_valid;          /* probing itself succeeded; otherwise everything is taken to work */
};

struct kvm_cpuid2;

/*
 * What works on this host; probed or read from the cache once per process, then remembered.
 * `supported` is what KVM offers. Any thread. Takes some milliseconds the first time on a host.
 */
const struct probe_result *probe_host(int kvm_fd, const struct kvm_cpuid2 *supported);

/* Clear the features that do not work from a table. */
void probe_mask_cpuid(const struct probe_result *p, struct kvm_cpuid2 *table);

/* Names of what does not work, separated by spaces. */
void probe_describe(const struct probe_result *p, char *text, size_t size);

/* For tests and the cache: run all probes now, into *out. 0 or -errno. */
int probe_run(int kvm_fd, const struct kvm_cpuid2 *supported, struct probe_result *out) MUST_CHECK;
