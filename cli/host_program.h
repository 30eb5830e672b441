/* SPDX-License-Identifier: Apache-2.0 */
/* A program of the host, with what it needs, as a root image. */
#pragma once

#include <base/compiler.h>

struct image_tree;

/*
 * The image that runs `program` (a path, or a name looked up in PATH), from the cache or made now.
 * *image_out is the image's path and *argv0_out the program's path in the guest; the caller frees
 * both. Returns 0 or an exit status after printing the error.
 */
int host_image(const char *program, char **image_out, char **argv0_out) MUST_CHECK;

/*
 * Add the program at host_path to the tree as guest_path, and its interpreter and libraries at
 * their own paths, where the tree does not have them yet. `verb` begins the messages.
 */
int host_program_add(struct image_tree *t, const char *verb, const char *host_path,
                     const char *guest_path) MUST_CHECK;
