/* SPDX-License-Identifier: Apache-2.0 */
/* The empty library: for the program that compiles it, and for tests of the core. */
#include "library.h"

__attribute__((weak)) const uint8_t lona_library_image[1];
__attribute__((weak)) const size_t lona_library_size;
