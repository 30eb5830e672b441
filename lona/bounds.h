/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound of the VM on one page. */
#pragma once

enum {
    WORKERS_MAX = 64,
    SLICE_REDUCTIONS = 2000,   /* one turn of a process */
    PARAMS_MAX = 250,          /* of one function */
    FRAME_SLOTS_MAX = 32000,   /* of one function */
    SWITCH_ENTRIES_MAX = 4096, /* of one SWITCH */
    JUMP_WORDS_MAX = 32000,    /* reach of a 16-bit branch */
    STACK_WORDS_MAX = 1 << 26, /* of one process: 512 MiB */
    NESTED_RUNS_MAX = 64,      /* macro expansions inside one another */
    MACRO_REDUCTIONS = 10000000,
    READ_DEPTH_MAX = 1000, /* nesting of a text form */
    PRINT_DEPTH_MAX = 32,
    PRINT_LIST_MAX = 100,
    BIGNUM_LIMBS_MAX = 1 << 20, /* 8 MiB a number */
    SHIFT_MAX = 1 << 20,
    IDLE_SPIN_NS = 50000,
    PRIORITY_LOW_SKIP = 8, /* turns that a lower queue may be passed over */
};
