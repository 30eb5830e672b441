/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shell and its starter say to each other, over a socket pair that keeps messages apart. The
 * starter's word is trusted; a shell has run a guest, so its answers are numbers and text that are
 * looked at before use, and no descriptor is taken from it.
 *
 * LOAD is answered by LOADED, STATS by STATS; the others are not answered. READY is the first
 * answer, ENDED the last.
 */
#pragma once

#include "drupe/vm.h"

enum shell_request_kind {
    SHELL_LOAD,    /* a: SHELL_LOAD_*; descriptors: the snapshot, its memory file */
    SHELL_STREAMS, /* a: bit n says that stream n of drupe_vm_streams is among the descriptors */
    SHELL_RESUME,
    SHELL_SIGNAL, /* a: number */
    SHELL_RESIZE, /* a: rows, b: columns */
    SHELL_STATS,
};

#define SHELL_LOAD_CLONE   1u
#define SHELL_LOAD_TRUSTED 2u
#define SHELL_STREAM_COUNT 4u
#define SHELL_FDS_MAX      SHELL_STREAM_COUNT

struct shell_request {
    uint32_t kind;
    uint32_t a;
    uint32_t b;
};

enum shell_answer_kind {
    SHELL_READY,
    SHELL_LOADED,
    SHELL_STATED,
    SHELL_ENDED,
};

struct shell_answer {
    uint32_t kind;
    drupe_vm_err_t code; /* READY, LOADED */

    union {
        struct drupe_error error;
        struct drupe_vm_stats stats;
        struct drupe_vm_outcome outcome;
    };
};
