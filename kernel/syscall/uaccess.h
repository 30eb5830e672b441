/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one door to a program's memory: the current task's address space. The range is checked
 * against USER_MAX, the copy runs with user access enabled (SMAP), a fault is served by mm_fault()
 * and ends in -EFAULT when that refuses. All may sleep; none may be called with a spinlock held,
 * except _nofault.
 */
#pragma once

#include <core/types.h>

/* 0 or -EFAULT; after a failure the destination is unspecified (kernel) or partly written (user).
 */
int copy_from_user(void *to, const void __user *from, size_t size) MUST_CHECK;
int copy_to_user(void __user *to, const void *from, size_t size) MUST_CHECK;

/* Bytes that could not be copied: for partial completion. */
size_t copy_from_user_partial(void *to, const void __user *from, size_t size) MUST_CHECK;
size_t copy_to_user_partial(void __user *to, const void *from, size_t size) MUST_CHECK;
size_t clear_user(void __user *to, size_t size) MUST_CHECK;

/*
 * A terminated string of at most size - 1 bytes: its length, -EFAULT, or -ENAMETOOLONG when it does
 * not end within size bytes.
 */
ssize_t strncpy_from_user(char *to, const char __user *from, size_t size) MUST_CHECK;

/* 32- and 64-bit words, naturally aligned or not. */
int get_user32(uint32_t *value, const void __user *from) MUST_CHECK;
int get_user64(uint64_t *value, const void __user *from) MUST_CHECK;
int put_user32(uint32_t value, void __user *to) MUST_CHECK;
int put_user64(uint64_t value, void __user *to) MUST_CHECK;

/*
 * Futex words, with page faults not served: 0, or -EFAULT meaning "drop your lock, touch it with
 * get_user32() and try again". cmpxchg: *old receives what was there; sequentially consistent.
 */
int get_user32_nofault(uint32_t *value, const void __user *from) MUST_CHECK;
int cmpxchg_user32_nofault(void __user *at, uint32_t expected, uint32_t desired,
                           uint32_t *old) MUST_CHECK;
