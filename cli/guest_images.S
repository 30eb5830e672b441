/* SPDX-License-Identifier: Apache-2.0 */
/* What guests run, as read-only data of this program: the kernel and the agent. An empty range when one was not
 * built. Page-aligned, so that it can be mapped. */
    .macro image name
    .balign 4096
    .globl drupe_\name\()_image
    .globl drupe_\name\()_image_end
    .hidden drupe_\name\()_image
    .hidden drupe_\name\()_image_end
drupe_\name\()_image:
    .endm

    .section .rodata.guest_images, "a"
    image kernel
#ifdef KERNEL_IMAGE
    .incbin KERNEL_IMAGE
#endif
drupe_kernel_image_end:
    image agent
#ifdef AGENT_IMAGE
    .incbin AGENT_IMAGE
#endif
drupe_agent_image_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
