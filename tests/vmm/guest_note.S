/* SPDX-License-Identifier: Apache-2.0 */
/* The note of a kernel that knows include/abi/boot.h: with it the monitor enters by the Linux protocol. */
    .section .note.drupe, "a", @note
    .long 6, 4, 1
    .asciz "Drupe"
    .balign 4
    .long 1
