/* SPDX-License-Identifier: Apache-2.0 */
/* What file system calls look like on x86-64 and nowhere else. */
#pragma once

#include <base/compiler.h>

#define O_DIRECT    00040000u
#define O_LARGEFILE 00100000u
#define O_DIRECTORY 00200000u
#define O_NOFOLLOW  00400000u

/* struct stat of the system call. */
struct abi_stat {
    uint64_t dev;
    uint64_t ino;
    uint64_t nlink;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t pad0;
    uint64_t rdev;
    int64_t size;
    int64_t block_size;
    int64_t blocks;
    int64_t atime_sec;
    uint64_t atime_nsec;
    int64_t mtime_sec;
    uint64_t mtime_nsec;
    int64_t ctime_sec;
    uint64_t ctime_nsec;
    int64_t unused[3];
};

_Static_assert(sizeof(struct abi_stat) == 144, "struct stat is ABI");
_Static_assert(offsetof(struct abi_stat, size) == 48, "struct stat is ABI");
