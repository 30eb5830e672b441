/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small kernel objects. Caches of one size with per-CPU magazines; kmalloc() picks among
 * power-of-two caches up to KMALLOC_MAX and whole pages above. Objects are not cleared unless
 * asked. NULL when out of memory: callers unwind. Any context; interrupt handlers use GFP_ATOMIC.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>
#include <mm/page.h>

#define KMALLOC_MAX 2048u

#define MAGAZINE_SIZE 14u

/* Free objects at hand for one CPU; its own with interrupts off. */
struct magazine {
    uint16_t count;
    uint16_t batch; /* taken when it was empty last: more each time, most caches never need many */
    void *objects[MAGAZINE_SIZE];
};

/* Static storage, made by SLAB_CACHE(); the fields after `per_slab` are the allocator's. */
struct slab_cache {
    const char *name;
    uint32_t size;   /* bytes, as asked; at most KMALLOC_MAX */
    uint32_t stride; /* from one object to the next */
    uint16_t per_slab;
    uint16_t id; /* 0: not set up yet */
    struct spinlock lock;
    uint32_t empty_slabs;
    struct list partial;
    struct magazine magazine;     /* of CPU 0 */
    struct magazine *others;      /* of CPU 1, 2, ...; NULL until one of them comes */
    _Atomic uint32_t slabs_count; /* frames in use by this cache */
};

/* Objects begin at multiples of 8 at least. */
#define SLAB_ALIGN(unit) ((size_t)((unit) > 8u ? (unit) : 8u))
#define SLAB_STRIDE(bytes, unit)                                                                   \
    (((size_t)(bytes) + SLAB_ALIGN(unit) - 1u) / SLAB_ALIGN(unit) * SLAB_ALIGN(unit))
#define SLAB_CACHE_OF(label, bytes, unit)                                                          \
    {                                                                                              \
        .name = (label), .size = (bytes), .stride = (uint32_t)SLAB_STRIDE(bytes, unit),            \
        .per_slab = (uint16_t)(PAGE_SIZE / SLAB_STRIDE(bytes, unit))                               \
    }
#define SLAB_CACHE(label, type) SLAB_CACHE_OF(label, sizeof(type), _Alignof(type))

void *slab_alloc(struct slab_cache *c, unsigned gfp) MUST_CHECK;
void slab_free(struct slab_cache *c, void *object); /* NULL is ignored */

void *kmalloc(size_t size, unsigned gfp) MUST_CHECK;
void kfree(const void *object); /* of kmalloc; NULL is ignored */

/* count * size with the overflow checked. */
void *kmalloc_array(size_t count, size_t size, unsigned gfp) MUST_CHECK;
char *kstrdup(const char *s, unsigned gfp) MUST_CHECK;

/* Virtually contiguous, page-granular: for large buffers, so that fragmentation never blocks them.
 * Not from interrupt handlers. */
void *vmalloc(size_t size, unsigned gfp) MUST_CHECK;
void vfree(void *p);

/* A kernel stack of KSTACK_SIZE with an unmapped guard page below; cached when freed, so that fork
 * and exit do not touch the kernel's page tables. Returns its top. Free: any context. */
#define KSTACK_SIZE (16u << 10)
void *kstack_alloc(void) MUST_CHECK;
void kstack_free(void *top);
/* Give cached stacks back; frames gained. Interrupts on, no spinlock held. */
unsigned kstack_reclaim(void);
