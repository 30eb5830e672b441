/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU's own generator, where CPUID announces it. */
#include <arch/ops.h>
#include <core/string.h>

#define CPUID_RDRAND (1u << 30)
#define TRIES        10 /* Intel's advice: it fails only when drained */

static bool has_rdrand(void)
{
    uint32_t eax = 1;
    uint32_t ebx;
    uint32_t ecx = 0;
    uint32_t edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (ecx & CPUID_RDRAND) != 0;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the assembly writes it */
static bool rdrand(uint64_t *value)
{
    for (int i = 0; i < TRIES; i++) {
        bool ok;

        __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(ok));
        if (ok) {
            return true;
        }
    }
    return false;
}

size_t arch_random(void *buf, size_t size)
{
    size_t done = 0;
    uint64_t value;

    if (!has_rdrand()) {
        return 0;
    }
    while (size - done >= sizeof(value) && rdrand(&value)) {
        memcpy((char *)buf + done, &value, sizeof(value));
        done += sizeof(value);
    }
    return done;
}
