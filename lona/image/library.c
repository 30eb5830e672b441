/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled library as part of a program: mapped, and read only as far as it is used. */
#include "library.h"

#ifndef LONA_IMAGE
#error "LONA_IMAGE names the file that lona-boot wrote"
#endif

__asm__(".section .rodata,\"a\"\n"
        ".balign 16\n"
        ".globl lona_library_image\n"
        "lona_library_image:\n"
        ".incbin \"" LONA_IMAGE "\"\n"
        "1:\n"
        ".balign 8\n"
        ".globl lona_library_size\n"
        "lona_library_size:\n"
        ".quad 1b - lona_library_image\n"
        ".previous\n");
