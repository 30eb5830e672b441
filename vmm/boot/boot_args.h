/* SPDX-License-Identifier: Apache-2.0 */
/* Building the boot arguments blob of include/abi/boot.h. */
#pragma once

#include <base/compiler.h>

struct config;

/* What the configuration doesn't know. */
struct boot_args_facts {
    uint64_t realtime_ns;
    uint64_t tsc_khz;
    uint8_t entropy[32];
    bool has_console;    /* a virtio console exists, so the streams can be its ports */
    bool is_stdin_split; /* standard input has a port of its own */
    bool has_agent;      /* boot_ramdisk_write() puts it behind the blob */
};

/* Fill in time and entropy. 0 or -errno. The caller wipes the entropy after use. */
int boot_args_facts_now(struct boot_args_facts *facts) MUST_CHECK;

/* Size of the blob, bytes, at most BOOT_ARGS_SIZE_MAX: config_take() saw to that. */
size_t boot_args_size(const struct config *c);

/*
 * The whole ramdisk: the blob, and behind it the agent if there is one (docs/boot.md). write fills
 * boot_ramdisk_size() bytes, zero before.
 */
size_t boot_ramdisk_size(const struct config *c);
void boot_ramdisk_write(const struct config *c, const struct boot_args_facts *facts, void *to);

/* Write the blob to `to`, which has boot_args_size() bytes. */
void boot_args_write(const struct config *c, const struct boot_args_facts *facts, void *to);
