/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small kernel objects. Caches of one size with per-CPU magazines; kmalloc() picks among
 * power-of-two caches up to KMALLOC_MAX and whole pages above. Objects are not cleared unless
 * asked. NULL when out of memory: callers unwind.
 */
#pragma once

#include <core/types.h>
#include <mm/page.h>

#define KMALLOC_MAX 2048u

struct slab_cache {
    const char *name;
    uint32_t size;            /* bytes, as asked */
    uint32_t align;           /* power of two; 0: 8 */
    struct slab_state *state; /* the allocator's; built at first use */
};

#define SLAB_CACHE(label, type)                                                                    \
    {                                                                                              \
        .name = (label), .size = sizeof(type), .align = _Alignof(type)                             \
    }

void *slab_alloc(struct slab_cache *c, unsigned gfp) MUST_CHECK;
void slab_free(struct slab_cache *c, void *object); /* NULL is ignored */

void *kmalloc(size_t size, unsigned gfp) MUST_CHECK;
void kfree(const void *object); /* of kmalloc; NULL is ignored */

/* count * size with the overflow checked. */
void *kmalloc_array(size_t count, size_t size, unsigned gfp) MUST_CHECK;
char *kstrdup(const char *s, unsigned gfp) MUST_CHECK;

/* Virtually contiguous, page-granular: for large buffers, so that fragmentation never blocks them.
 */
void *vmalloc(size_t size, unsigned gfp) MUST_CHECK;
void vfree(void *p);

/* A kernel stack of KSTACK_SIZE with an unmapped guard page below; cached when freed. Returns its
 * top. */
#define KSTACK_SIZE (16u << 10)
void *kstack_alloc(void) MUST_CHECK;
void kstack_free(void *top);
