/* SPDX-License-Identifier: Apache-2.0 */
/* The guest kernel inside libkrun.so.1; an empty range when none was built. Page-aligned, so that it can be mapped. */
    .section .rodata.kernel_image, "a"
    .balign 4096
    .globl krun_kernel_image
    .globl krun_kernel_image_end
    .hidden krun_kernel_image
    .hidden krun_kernel_image_end
krun_kernel_image:
#ifdef KERNEL_IMAGE
    .incbin KERNEL_IMAGE
#endif
krun_kernel_image_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
