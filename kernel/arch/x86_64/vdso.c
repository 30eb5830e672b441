/* SPDX-License-Identifier: Apache-2.0 */
/* The vDSO's image in the kernel and its data page. */

#include <stdatomic.h>

#include <arch/internal.h>
#include <arch/layout.h>
#include <arch/ops.h>
#include <core/log.h>
#include <vdso/vdso_data.h>

extern char vdso_start[], vdso_end[];

static union {
    struct vdso_data data;
    uint8_t page[4096];
} ALIGNED(4096) vdso_page;

static struct vdso_image image;
static _Atomic bool is_forbidden;

void vdso_init(void)
{
    image.code = arch_virt_to_phys(vdso_start);
    image.code_size = (uint64_t)(vdso_end - vdso_start);
    image.data = arch_virt_to_phys(&vdso_page);
}

const struct vdso_image *arch_vdso(void)
{
    return &image;
}

void arch_vdso_update(uint64_t counter_base, uint64_t monotonic_base_ns,
                      uint64_t realtime_offset_ns, uint32_t mult, uint32_t shift)
{
    struct vdso_data *d = &vdso_page.data;
    uint32_t sequence = atomic_load_explicit(&d->sequence, memory_order_relaxed);

    atomic_store_explicit(&d->sequence, sequence + 1, memory_order_relaxed);
    /* Release: readers that see any of the new values see the odd sequence as well. */
    atomic_thread_fence(memory_order_release);
    d->counter_base = counter_base;
    d->monotonic_base_ns = monotonic_base_ns;
    d->realtime_offset_ns = realtime_offset_ns;
    d->mult = mult;
    d->shift = shift;
    d->has_counter = !atomic_load_explicit(&is_forbidden, memory_order_relaxed);
    atomic_store_explicit(&d->sequence, sequence + 2, memory_order_release);
}

paddr_t arch_vdso_generation(uint32_t now)
{
    vdso_page.data.generation = now;
    return arch_virt_to_phys(&vdso_page.data.generation);
}

void arch_vdso_know_generation(uint32_t generation)
{
    vdso_page.data.generation_known = generation;
}

/* One store: readers in the middle of a round see it or finish with the value they have. */
void vdso_forbid_counter(void)
{
    atomic_store_explicit(&is_forbidden, true, memory_order_relaxed);
    vdso_page.data.has_counter = 0;
}
