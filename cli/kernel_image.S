/* SPDX-License-Identifier: Apache-2.0 */
/* The guest kernel as read-only data; an empty range when none was built. Page-aligned, so that it can be mapped. */
    .section .rodata.kernel_image, "a"
    .balign 4096
    .globl drupe_kernel_image
    .globl drupe_kernel_image_end
    .hidden drupe_kernel_image
    .hidden drupe_kernel_image_end
drupe_kernel_image:
#ifdef KERNEL_IMAGE
    .incbin KERNEL_IMAGE
#endif
drupe_kernel_image_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
