/* SPDX-License-Identifier: Apache-2.0 */
/* Paths out of user memory, one page each. */
#include <fs/vfs.h>
#include <mm/page.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

static_assert(PATH_MAX <= PAGE_SIZE, "a path fits in a page");

/* One page ready for each CPU: a system call with a path takes it and gives it back. */
static _Atomic(char *) spare[CPU_MAX];

int name_get(const char __user *from, char **out)
{
    /* acquire: pairs with the release in name_put() of whoever used the page before. */
    char *name = atomic_exchange_explicit(&spare[this_cpu()->index], NULL, memory_order_acquire);
    ssize_t n;

    if (unlikely(!name)) {
        struct page *p = page_alloc(0, GFP_KERNEL);

        if (!p) {
            return -ENOMEM;
        }
        name = page_address(p);
    }
    n = strncpy_from_user(name, from, PATH_MAX);
    if (n < 0) {
        name_put(name);
        return (int)n;
    }
    *out = name;
    return 0;
}

void name_put(char *name)
{
    char *none = NULL;

    if (!atomic_compare_exchange_strong_explicit(&spare[this_cpu()->index], &none, name,
                                                 memory_order_release, memory_order_relaxed)) {
        page_put(page_of_phys(virt_to_phys(name)));
    }
}
