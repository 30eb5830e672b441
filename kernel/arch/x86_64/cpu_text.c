/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/cpuinfo of x86-64, from CPUID. */
#include <arch/ops.h>
#include <base/fmt.h>
#include <core/string.h>
#include <fs/procfs/cpu_text.h>
#include <sched/cpu.h>

struct leaf {
    uint32_t a, b, c, d;
};

static struct leaf cpuid(uint32_t function, uint32_t index)
{
    struct leaf l;

    __asm__ volatile("cpuid"
                     : "=a"(l.a), "=b"(l.b), "=c"(l.c), "=d"(l.d)
                     : "a"(function), "c"(index));
    return l;
}

struct flag {
    uint8_t bit;
    const char *name;
};

static const struct flag flags_1d[] = {
    { 0, "fpu" },   { 4, "tsc" },  { 5, "msr" },   { 6, "pae" },      { 8, "cx8" },
    { 9, "apic" },  { 11, "sep" }, { 15, "cmov" }, { 19, "clflush" }, { 23, "mmx" },
    { 24, "fxsr" }, { 25, "sse" }, { 26, "sse2" }, { 28, "ht" },
};
static const struct flag flags_1c[] = {
    { 0, "pni" },     { 1, "pclmulqdq" }, { 9, "ssse3" },  { 12, "fma" },    { 13, "cx16" },
    { 19, "sse4_1" }, { 20, "sse4_2" },   { 22, "movbe" }, { 23, "popcnt" }, { 25, "aes" },
    { 26, "xsave" },  { 28, "avx" },      { 29, "f16c" },  { 30, "rdrand" }, { 31, "hypervisor" },
};
static const struct flag flags_7b[] = {
    { 0, "fsgsbase" }, { 3, "bmi1" },     { 5, "avx2" },    { 7, "smep" }, { 8, "bmi2" },
    { 9, "erms" },     { 16, "avx512f" }, { 18, "rdseed" }, { 19, "adx" }, { 20, "smap" },
};
static const struct flag flags_xd[] = {
    { 11, "syscall" }, { 20, "nx" }, { 26, "pdpe1gb" }, { 27, "rdtscp" }, { 29, "lm" },
};

struct out {
    char *buf;
    size_t size;
    size_t used;
};

static void print(struct out *o, const char *format, ...) PRINTF_LIKE(2, 3);

static void print(struct out *o, const char *format, ...)
{
    size_t room = o->used < o->size ? o->size - o->used : 0;
    va_list args;

    va_start(args, format);
    o->used += fmt_vsnprintf(room ? o->buf + o->used : NULL, room, format, args);
    va_end(args);
}

static void print_flags(struct out *o, uint32_t word, const struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (word >> flags[i].bit & 1) {
            print(o, " %s", flags[i].name);
        }
    }
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written through o.buf */
size_t arch_cpu_text(unsigned index, char *buf, size_t size)
{
    struct out o = { .buf = buf, .size = size };
    struct leaf zero = cpuid(0, 0);
    struct leaf one = cpuid(1, 0);
    struct leaf seven = zero.a >= 7 ? cpuid(7, 0) : (struct leaf){ 0 };
    struct leaf extended = cpuid(0x80000001, 0);
    uint32_t vendor[4] = { zero.b, zero.d, zero.c, 0 };
    uint32_t brand[13] = { 0 };
    uint32_t family = one.a >> 8 & 15;
    uint32_t model = one.a >> 4 & 15;

    if (family == 15) {
        family += one.a >> 20 & 0xff;
    }
    if (family >= 6) {
        model += (one.a >> 16 & 15) << 4;
    }
    if (cpuid(0x80000000, 0).a >= 0x80000004) {
        for (uint32_t i = 0; i < 3; i++) {
            struct leaf l = cpuid(0x80000002 + i, 0);

            memcpy(brand + (size_t)i * 4, &l, sizeof(l));
        }
    }
    print(&o, "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", index,
          (const char *)vendor, family, model);
    print(&o, "model name\t: %s\nstepping\t: %u\ncpu MHz\t\t: %lu.%03lu\n", (const char *)brand,
          one.a & 15, (unsigned long)(arch_counter_hz() / 1000000),
          (unsigned long)(arch_counter_hz() / 1000 % 1000));
    print(&o, "physical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\n", cpu_count,
          index, cpu_count);
    print(&o, "fpu\t\t: yes\nflags\t\t:");
    print_flags(&o, one.d, flags_1d, array_size(flags_1d));
    print_flags(&o, one.c, flags_1c, array_size(flags_1c));
    print_flags(&o, seven.b, flags_7b, array_size(flags_7b));
    print_flags(&o, extended.d, flags_xd, array_size(flags_xd));
    print(&o, "\nbogomips\t: %lu.00\naddress sizes\t: 40 bits physical, 48 bits virtual\n",
          (unsigned long)(arch_counter_hz() / 500000));
    return o.used;
}
