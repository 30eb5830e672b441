/* SPDX-License-Identifier: Apache-2.0 */
/* Between verifier and linker: live maps that don't fit a safepoint word. */
#pragma once

#include "interp/code.h"

/*
 * Verification leaves safepoint words complete but for frames above SAFEPOINT_INLINE_SLOTS live
 * slots: those have SAFEPOINT_INDIRECT and the index of a big map in bits 62..32.
 */
struct big_maps {
    struct vm *vm;
    uint64_t *words; /* maps one after the other: count, then bits */
    size_t used, capacity;
    uint32_t *starts; /* by index */
    size_t count, starts_capacity;
    bool out_of_memory;
};

bool code_verify_maps(struct code_unit *u, struct code_error *error,
                      struct big_maps *maps) MUST_CHECK;
void big_maps_deinit(struct big_maps *m);
