/* SPDX-License-Identifier: Apache-2.0 */
/* Words that every kernel file uses: addresses, user pointers, error numbers. */
#pragma once

#include <base/assert.h>
#include <base/bytes.h>
#include <base/checked.h>
#include <base/compiler.h>
#include <base/list.h>

#include <core/errno.h>

typedef uint64_t paddr_t; /* guest-physical */
typedef int64_t ssize_t;
typedef int64_t off64_t;
typedef int32_t pid_t;
typedef uint32_t uid_t;
typedef uint32_t gid_t;
typedef uint64_t dev_t; /* makedev() layout of Linux: see core/dev.h */

/*
 * A pointer into the current address space that a program gave us. Never dereferenced outside
 * syscall/uaccess; the attribute is for readers (and for sparse, if somebody runs it).
 */
#define __user

#define PAGE_SHIFT 12
#define PAGE_SIZE  (UINT64_C(1) << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define TIME_FOREVER  UINT64_MAX /* a deadline that never comes, ns */
