/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS images (Linux' Documentation/filesystems/erofs.rst), uncompressed: the root file system
 * that the monitor maps into the guest. Every regular file begins on a 4 KiB block, so that the
 * guest can map and execute it in place; directories and symbolic links lie beside their inodes
 * where they fit.
 *
 * The bytes are a function of the tree alone: fixed times and UUID, inodes and data in the order of
 * the sorted names. That is why we write the image ourselves: mkfs.erofs 1.5 lays files out in the
 * order in which the host's directory lists them, which differs from machine to machine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <base/compiler.h>

#include "tree.h"

#define EROFS_BLOCK_SIZE  4096u
#define EROFS_DIGEST_SIZE 32u
#define EROFS_FIXED_TIME_S                                                                         \
    315532800u /* 1980-01-01: every file's time; ZIP cannot say an earlier one */

struct erofs_summary {
    uint64_t size; /* bytes, a multiple of the block size */
    uint64_t inodes;
    uint8_t digest[EROFS_DIGEST_SIZE]; /* SHA-256 of the image */
};

/*
 * Write the image to fd from its current place. Returns 0 or a negative errno: -EFBIG (more than
 * 16 TiB), -EMLINK, -EAGAIN (a host file changed meanwhile), or of writing. On failure *culprit is
 * the node that could not be read, or NULL.
 */
int erofs_write(struct image_tree *t, int fd, struct erofs_summary *out,
                const struct image_node **culprit) MUST_CHECK;

/*
 * Look whether the file can be one of our images: the superblock's magic, block size, checksum
 * (if it has one), its length, a directory for a root. Returns NULL, or what is wrong as a text
 * that fits behind "FILE: ". What lies deeper is checked by the guest's kernel when it is used.
 */
const char *erofs_check(int fd);
