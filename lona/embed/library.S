/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled library as lona-boot wrote it, mapped with the program. */
        .section .rodata
        .balign 16
        .globl  lona_library_image
        .type   lona_library_image, @object
lona_library_image:
        .incbin LIBRARY_IMAGE
library_end:
        .size   lona_library_image, . - lona_library_image
        .balign 8
        .globl  lona_library_size
        .type   lona_library_size, @object
lona_library_size:
        .quad   library_end - lona_library_image
        .size   lona_library_size, 8
        .section .note.GNU-stack, "", @progbits
