/* SPDX-License-Identifier: Apache-2.0 */
/* What the CPU does at a memory access, for unit tests of the fault logic. */
#include <arch/ops.h>
#include <host/host.h>
#include <mm/mm.h>
#include <mm/page.h>

static bool is_legal(const struct pte *pte, unsigned access)
{
    return (!(access & FAULT_WRITE) || (pte->flags & PTE_USER_WRITE)) &&
           (!(access & FAULT_EXEC) || (pte->flags & PTE_USER_EXEC)) &&
           (pte->flags & (PTE_USER_READ | PTE_USER_EXEC));
}

void *host_touch(struct mm *mm, uint64_t addr, unsigned access, int *signal)
{
    struct pte pte;

    *signal = 0;
    for (unsigned tries = 0; tries < 8; tries++) {
        int code = 0;

        if (pt_lookup(mm->page_table, addr, &pte) && is_legal(&pte, access)) {
            return (char *)phys_to_virt(pte.pa) + (addr & ~PAGE_MASK);
        }
        if (mm_fault(mm, addr, access | FAULT_USER, signal, &code) != 0) {
            return NULL;
        }
    }
    unreachable("mm_fault() says retry and the access stays illegal");
}
