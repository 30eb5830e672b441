/* SPDX-License-Identifier: Apache-2.0 */
/* Paths out of user memory: one page each, from the page allocator's per-CPU list. */
#include <fs/vfs.h>
#include <mm/page.h>
#include <syscall/uaccess.h>

static_assert(PATH_MAX <= PAGE_SIZE, "a path fits in a page");

int name_get(const char __user *from, char **out)
{
    struct page *p = page_alloc(0, GFP_KERNEL);
    char *name;
    ssize_t n;

    if (!p) {
        return -ENOMEM;
    }
    name = page_address(p);
    n = strncpy_from_user(name, from, PATH_MAX);
    if (n < 0) {
        page_put(p);
        return (int)n;
    }
    *out = name;
    return 0;
}

void name_put(char *name)
{
    page_put(page_of_phys(virt_to_phys(name)));
}
