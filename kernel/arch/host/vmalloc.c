/* SPDX-License-Identifier: Apache-2.0 */
/* Large buffers and stacks of unit tests come from libc: there are no kernel page tables. */
#include <mm/slab.h>

#include <stdlib.h>
#include <string.h>

#include <host/host.h>

HOST_STAND_IN void *vmalloc(size_t size, unsigned gfp)
{
    void *p = size ? malloc(size) : NULL;

    if (p && (gfp & GFP_ZERO)) {
        memset(p, 0, size);
    }
    return p;
}

HOST_STAND_IN void vfree(void *p)
{
    free(p);
}

HOST_STAND_IN void *kstack_alloc(void)
{
    char *bottom = malloc(KSTACK_SIZE);

    /* cppcheck-suppress memleak ; kstack_free() frees it */
    return bottom ? bottom + KSTACK_SIZE : NULL;
}

HOST_STAND_IN void kstack_free(void *top)
{
    free((char *)top - KSTACK_SIZE);
}

HOST_STAND_IN unsigned kstack_reclaim(void)
{
    return 0;
}
