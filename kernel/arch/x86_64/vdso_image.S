/* SPDX-License-Identifier: Apache-2.0 */
/* The vDSO's ELF file, whole. */
#include <asm_offsets.h>

.section .vdso, "a", @progbits
    .incbin VDSO_FILE

.section .note.GNU-stack, "", @progbits
