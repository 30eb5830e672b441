/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Page copies through the copy port: one request page a CPU, used with interrupts off. Whatever the
 * monitor did not do is done here, so a monitor that refuses costs time and nothing else.
 */
#include <mm/page_copy.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <core/string.h>
#include <mm/page.h>
#include <sched/task.h>

static struct boot_copy *requests[CPU_MAX]; /* NULL: not used yet, or no memory for it */

bool page_copy_is_cheap(void)
{
    return boot_info.copy_port != 0;
}

static void copy_here(const struct boot_copy_entry *e)
{
    if (e->from == BOOT_COPY_ZEROS) {
        memset(phys_to_virt(e->to), 0, PAGE_SIZE);
    } else {
        memcpy(phys_to_virt(e->to), phys_to_virt(e->from), PAGE_SIZE);
    }
}

/* This CPU's request page; interrupts off. */
static struct boot_copy *request_of_cpu(void)
{
    unsigned cpu = this_cpu()->index;

    if (unlikely(!requests[cpu])) {
        struct page *p = page_alloc(0, GFP_ATOMIC);

        requests[cpu] = p ? page_address(p) : NULL;
    }
    return requests[cpu];
}

/* Have the monitor do what the request page asks for; how many entries it did. */
static unsigned submit(struct boot_copy *r, unsigned count)
{
    r->count = count;
    r->done = 0;
    arch_copy_port_write(boot_info.copy_port, virt_to_phys(r) >> PAGE_SHIFT);
    return min_of(*(volatile uint32_t *)&r->done, count);
}

void page_copy(const struct boot_copy_entry *entries, unsigned count)
{
    unsigned done = 0;

    assert(count <= PAGE_COPY_MAX);
    if (boot_info.copy_port != 0 && count > 0) {
        uint64_t flags = irq_save();
        struct boot_copy *r = request_of_cpu();

        if (r) {
            for (unsigned i = 0; i < count; i++) {
                r->entries[i] = entries[i];
            }
            done = submit(r, count);
        }
        irq_restore(flags);
    }
    for (; done < count; done++) {
        copy_here(&entries[done]);
    }
}

void page_copy_run(paddr_t to, paddr_t from, unsigned count)
{
    unsigned done = 0;

    assert(count <= PAGE_COPY_MAX);
    if (boot_info.copy_port != 0 && count > 0) {
        uint64_t flags = irq_save();
        struct boot_copy *r = request_of_cpu();

        if (r) {
            for (unsigned i = 0; i < count; i++) {
                r->entries[i].from = from + i * PAGE_SIZE;
                r->entries[i].to = to + i * PAGE_SIZE;
            }
            done = submit(r, count);
        }
        irq_restore(flags);
    }
    for (; done < count; done++) {
        memcpy(phys_to_virt(to + done * PAGE_SIZE), phys_to_virt(from + done * PAGE_SIZE),
               PAGE_SIZE);
    }
}

void page_copy_one(paddr_t to, paddr_t from)
{
    const struct boot_copy_entry e = { .from = from, .to = to };

    page_copy(&e, 1);
}

void page_clear(paddr_t to, uint64_t count)
{
    struct boot_copy_entry entries[16];

    while (count > 0) {
        unsigned n = (unsigned)min_of(count, (uint64_t)array_size(entries));

        for (unsigned i = 0; i < n; i++) {
            entries[i] = (struct boot_copy_entry){ BOOT_COPY_ZEROS, to + i * PAGE_SIZE };
        }
        page_copy(entries, n);
        to += n * PAGE_SIZE;
        count -= n;
    }
}
