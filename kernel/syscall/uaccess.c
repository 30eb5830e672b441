/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range check in front of the architecture's copy loops. A range that leaves user space is
 * refused before a byte moves; the copy itself ends where a page cannot be made accessible.
 */
#include <syscall/uaccess.h>

#include <arch/ops.h>
#include <mm/mm.h>

static inline bool is_user_range(const void __user *p, size_t size)
{
    return range_fits((uintptr_t)p, size, USER_MAX);
}

int copy_from_user(void *to, const void __user *from, size_t size)
{
    if (unlikely(!is_user_range(from, size))) {
        return -EFAULT;
    }
    return arch_copy_user(to, from, size) == 0 ? 0 : -EFAULT;
}

int copy_to_user(void __user *to, const void *from, size_t size)
{
    if (unlikely(!is_user_range(to, size))) {
        return -EFAULT;
    }
    return arch_copy_user(to, from, size) == 0 ? 0 : -EFAULT;
}

size_t copy_from_user_partial(void *to, const void __user *from, size_t size)
{
    return is_user_range(from, size) ? arch_copy_user(to, from, size) : size;
}

size_t copy_to_user_partial(void __user *to, const void *from, size_t size)
{
    return is_user_range(to, size) ? arch_copy_user(to, from, size) : size;
}

size_t clear_user(void __user *to, size_t size)
{
    return is_user_range(to, size) ? arch_clear_user(to, size) : size;
}

ssize_t strncpy_from_user(char *to, const char __user *from, size_t size)
{
    uintptr_t at = (uintptr_t)from;

    if (at >= USER_MAX) {
        return -EFAULT;
    }
    if (size > USER_MAX - at) { /* the string may end before user space does */
        ssize_t n = arch_strncpy_user(to, from, USER_MAX - at);

        return n == -ENAMETOOLONG ? -EFAULT : n;
    }
    return arch_strncpy_user(to, from, size);
}

int get_user32(uint32_t *value, const void __user *from)
{
    return copy_from_user(value, from, sizeof(*value));
}

int get_user64(uint64_t *value, const void __user *from)
{
    return copy_from_user(value, from, sizeof(*value));
}

int put_user32(uint32_t value, void __user *to)
{
    return copy_to_user(to, &value, sizeof(value));
}

int put_user64(uint64_t value, void __user *to)
{
    return copy_to_user(to, &value, sizeof(value));
}

int get_user32_nofault(uint32_t *value, const void __user *from)
{
    return is_user_range(from, sizeof(*value)) ? arch_load_user32(value, from) : -EFAULT;
}

int cmpxchg_user32_nofault(void __user *at, uint32_t expected, uint32_t desired, uint32_t *old)
{
    return is_user_range(at, sizeof(*old)) ? arch_cmpxchg_user32(at, expected, desired, old)
                                           : -EFAULT;
}
