/* SPDX-License-Identifier: Apache-2.0 */
#include <core/identity.h>

#include <arch/ops.h>
#include <core/boot.h>
#include <core/log.h>
#include <mm/page.h>

static struct boot_identity nobody;
struct boot_identity *identity = &nobody;

void identity_init(void)
{
    paddr_t at = boot_info.identity;

    if (at == 0 || !is_aligned(at, PAGE_SIZE) || pt_direct_map(at, PAGE_SIZE, false) < 0) {
        return;
    }
    struct boot_identity *page = phys_to_virt(at);

    if (page->magic != BOOT_IDENTITY_MAGIC || page->version != BOOT_IDENTITY_VERSION) {
        log_warn("boot: no identity page at 0x%lx; ignored", at);
        return;
    }
    identity = page;
    page->pages = virt_to_phys(page_map);
    page->page_count = page_map_count();
    page->page_size = sizeof(struct page);
    page->flags_offset = offsetof(struct page, flags);
    page->flags_free = PAGE_FREE;
    page->order_offset = offsetof(struct page, order);
    page->generation_copy = arch_vdso_generation(page->generation);
    __atomic_store_n(&page->kernel_magic, BOOT_IDENTITY_KERNEL_MAGIC, __ATOMIC_RELEASE);
}
