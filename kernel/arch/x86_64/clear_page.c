/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clearing pages. Where ring 0 is interpreted, each step of REP STOSQ costs about 1 us and moves
 * eight bytes; FXSAVE costs about 20 us and stores 416. So there a page is cleared with ten FXSAVEs
 * of an empty state, and the few words that such an image has set are overwritten: 0.25 ms instead
 * of 0.55. (MOVUPS costs 2 us: no gain.) The program's state is put aside meanwhile.
 *
 * An image is 512 bytes, of which the last 96 may be left alone or written; so images overlap
 * upwards, the last one ends with the page, and what it leaves is stored by hand.
 */
#include <arch/internal.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/string.h>
#include <mm/page.h>
#include <x86.h>

#define IMAGE_SIZE   512u
#define IMAGE_STORED 416u
#define IMAGE_LAST   (PAGE_SIZE - IMAGE_SIZE)

static enum {
    UNKNOWN,
    BY_STRING,
    BY_FXSAVE
} method;

/* All zero but for the control words that FXRSTOR wants. */
static const ALIGNED(16) uint8_t empty_state[IMAGE_SIZE] = { 0x7f, 0x03, [24] = 0x80, [25] = 0x1f };

/* Store an empty image and clear its control words: FCW, MXCSR and its mask. */
static ALWAYS_INLINE void clear_image(char *at)
{
    __asm__ volatile("fxsave64 (%0)\n\t"
                     "movq $0, (%0)\n\t"
                     "movq $0, 24(%0)"
                     :
                     : "r"(at)
                     : "memory");
}

static void clear_by_fxsave(char *page, size_t count)
{
    ALIGNED(16) uint8_t program[IMAGE_SIZE];
    uint64_t flags = irq_save(); /* nobody switches tasks while their registers are ours */

    __asm__ volatile("fxsave64 (%0)" : : "r"(program) : "memory");
    __asm__ volatile("fxrstor64 (%0)" : : "r"(empty_state) : "memory");
    for (char *end = page + count * PAGE_SIZE; page < end; page += PAGE_SIZE) {
        for (size_t at = 0; at < IMAGE_LAST; at += IMAGE_STORED) {
            clear_image(page + at);
        }
        clear_image(page + IMAGE_LAST);
        memset(page + IMAGE_LAST + IMAGE_STORED, 0, IMAGE_SIZE - IMAGE_STORED);
    }
    __asm__ volatile("fxrstor64 (%0)" : : "r"(program) : "memory");
    irq_restore(flags);
}

void arch_clear_pages(void *page, size_t count)
{
    if (unlikely(method == UNKNOWN)) {
        size_t length;

        /* The monitor names what does not work exactly where ring 0 is interpreted. With XSAVE
         * there is more state than an FXSAVE image holds. */
        method =
            boot_option("drupe.nocpu=", &length) && !cpu_features.has_xsave ? BY_FXSAVE : BY_STRING;
    }
    if (method == BY_FXSAVE) {
        clear_by_fxsave(page, count);
    } else {
        memset(page, 0, count * PAGE_SIZE);
    }
}
