/* SPDX-License-Identifier: Apache-2.0 */
/* The doubtful instructions, and which CPUID bits go when one doesn't work. */
#pragma once

#include <base/compiler.h>

#define PROBE_CODE_MAX 48u

enum probe_register {
    PROBE_EAX,
    PROBE_EBX,
    PROBE_ECX,
    PROBE_EDX,
};

enum probe_kind {
    PROBE_PLAIN,     /* run the code to its hlt */
    PROBE_HUGE_PAGE, /* the same, mapped by a 1 GiB page */
    PROBE_CLOCK,     /* and KVM has filled in the clock page */
};

struct probe {
    const char *name;
    enum probe_kind kind;
    uint32_t cr4; /* bits to set before: a CR4 that KVM refuses is a feature that doesn't work */
    uint8_t size; /* bytes of code; a hlt follows */
    uint8_t code[PROBE_CODE_MAX]; /* rdi: 4 KiB of zero bytes, 64-aligned */
};

struct probe_mask {
    uint8_t probe; /* index into probes */
    uint32_t leaf;
    uint32_t subleaf;
    enum probe_register reg;
    uint32_t bits;
};

/* Raise it with every change of the table: it invalidates what is cached. */
#define PROBE_TABLE_VERSION 1u

extern const struct probe probes[];
extern const size_t probe_count;
extern const struct probe_mask probe_masks[];
extern const size_t probe_mask_count;
