/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/x86_64/probe_table.h"

#include "arch/x86_64/probe.h"

#include <base/assert.h>

enum {
    XSAVE,
    RDTSCP,
    RDPID,
    CMPXCHG16B,
    POPCNT,
    BMI1,
    BMI2,
    LZCNT,
    MOVBE,
    ADX,
    INVPCID,
    PCID,
    FSGSBASE,
    SMAP,
    SMEP,
    UMIP,
    RDRAND,
    RDSEED,
    CLFLUSHOPT,
    CLWB,
    HUGE_PAGES,
    KVM_CLOCK,
    PROBES,
};

#define CR4_UMIP     (1u << 11)
#define CR4_FSGSBASE (1u << 16)
#define CR4_PCIDE    (1u << 17)
#define CR4_OSXSAVE  (1u << 18)
#define CR4_SMEP     (1u << 20)
#define CR4_SMAP     (1u << 21)

/* clang-format off */
const struct probe probes[] = {
    /* xor ecx,ecx; mov eax,3; xor edx,edx; xsetbv; xsave [rdi]; xrstor [rdi] */
    [XSAVE] = { "xsave", PROBE_PLAIN, CR4_OSXSAVE, 18, { 0x31, 0xc9, 0xb8, 3, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x01, 0xd1,
                                                         0x0f, 0xae, 0x27, 0x0f, 0xae, 0x2f } },
    [RDTSCP] = { "rdtscp", PROBE_PLAIN, 0, 3, { 0x0f, 0x01, 0xf9 } },
    [RDPID] = { "rdpid", PROBE_PLAIN, 0, 4, { 0xf3, 0x0f, 0xc7, 0xf8 } },
    [CMPXCHG16B] = { "cmpxchg16b", PROBE_PLAIN, 0, 4, { 0x48, 0x0f, 0xc7, 0x0f } },
    [POPCNT] = { "popcnt", PROBE_PLAIN, 0, 4, { 0xf3, 0x0f, 0xb8, 0xc0 } },
    [BMI1] = { "bmi1", PROBE_PLAIN, 0, 5, { 0xc4, 0xe2, 0x78, 0xf2, 0xc0 } },  /* andn eax,eax,eax */
    [BMI2] = { "bmi2", PROBE_PLAIN, 0, 5, { 0xc4, 0xe2, 0x79, 0xf7, 0xc0 } },  /* shlx eax,eax,eax */
    [LZCNT] = { "lzcnt", PROBE_PLAIN, 0, 4, { 0xf3, 0x0f, 0xbd, 0xc0 } },
    [MOVBE] = { "movbe", PROBE_PLAIN, 0, 4, { 0x0f, 0x38, 0xf0, 0x07 } },
    [ADX] = { "adx", PROBE_PLAIN, 0, 5, { 0x66, 0x0f, 0x38, 0xf6, 0xc0 } },    /* adcx eax,eax */
    /* mov eax,2; invpcid rax,[rdi] */
    [INVPCID] = { "invpcid", PROBE_PLAIN, 0, 10, { 0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x82, 0x07 } },
    [PCID] = { "pcid", PROBE_PLAIN, CR4_PCIDE, 0, { 0 } },
    /* rdfsbase rax; wrfsbase rax */
    [FSGSBASE] = { "fsgsbase", PROBE_PLAIN, CR4_FSGSBASE, 10, { 0xf3, 0x48, 0x0f, 0xae, 0xc0,
                                                                0xf3, 0x48, 0x0f, 0xae, 0xd0 } },
    [SMAP] = { "smap", PROBE_PLAIN, CR4_SMAP, 6, { 0x0f, 0x01, 0xcb, 0x0f, 0x01, 0xca } }, /* stac; clac */
    [SMEP] = { "smep", PROBE_PLAIN, CR4_SMEP, 0, { 0 } },
    [UMIP] = { "umip", PROBE_PLAIN, CR4_UMIP, 0, { 0 } },
    [RDRAND] = { "rdrand", PROBE_PLAIN, 0, 3, { 0x0f, 0xc7, 0xf0 } },
    [RDSEED] = { "rdseed", PROBE_PLAIN, 0, 3, { 0x0f, 0xc7, 0xf8 } },
    [CLFLUSHOPT] = { "clflushopt", PROBE_PLAIN, 0, 4, { 0x66, 0x0f, 0xae, 0x3f } },
    [CLWB] = { "clwb", PROBE_PLAIN, 0, 4, { 0x66, 0x0f, 0xae, 0x37 } },
    [HUGE_PAGES] = { "pdpe1gb", PROBE_HUGE_PAGE, 0, 1, { 0x90 } },
    /* mov ecx,0x4b564d01 (the clock's MSR); mov eax,edi; or eax,1; xor edx,edx; wrmsr */
    [KVM_CLOCK] = { "kvmclock", PROBE_CLOCK, 0, 14, { 0xb9, 0x01, 0x4d, 0x56, 0x4b, 0x89, 0xf8, 0x83, 0xc8, 0x01,
                                                      0x31, 0xd2, 0x0f, 0x30 } },
};

/* Leaves: Intel SDM volume 2A, CPUID. With XSAVE goes all whose state only XSAVE saves. */
const struct probe_mask probe_masks[] = {
    /* XSAVE, AVX, FMA, F16C */
    { XSAVE, 0x1, 0, PROBE_ECX, (1u << 26) | (1u << 28) | (1u << 12) | (1u << 29) },
    /* AVX2, MPX, AVX512F DQ IFMA PF ER CD BW VL */
    { XSAVE, 0x7, 0, PROBE_EBX, (1u << 5) | (1u << 14) | (1u << 16) | (1u << 17) | (1u << 21) | (1u << 26) |
                                (1u << 27) | (1u << 28) | (1u << 30) | (1u << 31) },
    /* AVX512_VBMI, PKU, OSPKE, SHSTK, VBMI2, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ */
    { XSAVE, 0x7, 0, PROBE_ECX, (1u << 1) | (1u << 3) | (1u << 4) | (1u << 6) | (1u << 7) | (1u << 9) | (1u << 10) |
                                (1u << 11) | (1u << 12) | (1u << 14) },
    /* AVX512 4VNNIW 4FMAPS VP2INTERSECT, IBT, AMX, FP16 */
    { XSAVE, 0x7, 0, PROBE_EDX, (1u << 2) | (1u << 3) | (1u << 8) | (1u << 20) | (1u << 22) | (1u << 23) |
                                (1u << 24) | (1u << 25) },
    { XSAVE, 0x7, 1, PROBE_EAX, UINT32_MAX },
    { XSAVE, 0x7, 1, PROBE_EDX, UINT32_MAX },
    { XSAVE, 0xd, 0, PROBE_EAX, UINT32_MAX },
    { XSAVE, 0xd, 1, PROBE_EAX, UINT32_MAX },
    { XSAVE, 0x80000001, 0, PROBE_ECX, (1u << 11) | (1u << 15) | (1u << 16) }, /* XOP, LWP, FMA4 */
    { RDTSCP, 0x80000001, 0, PROBE_EDX, 1u << 27 },
    { RDPID, 0x7, 0, PROBE_ECX, 1u << 22 },
    { CMPXCHG16B, 0x1, 0, PROBE_ECX, 1u << 13 },
    { POPCNT, 0x1, 0, PROBE_ECX, 1u << 23 },
    { BMI1, 0x7, 0, PROBE_EBX, 1u << 3 },
    { BMI2, 0x7, 0, PROBE_EBX, 1u << 8 },
    { LZCNT, 0x80000001, 0, PROBE_ECX, 1u << 5 },
    { MOVBE, 0x1, 0, PROBE_ECX, 1u << 22 },
    { ADX, 0x7, 0, PROBE_EBX, 1u << 19 },
    { INVPCID, 0x7, 0, PROBE_EBX, 1u << 10 },
    { PCID, 0x1, 0, PROBE_ECX, 1u << 17 },
    { FSGSBASE, 0x7, 0, PROBE_EBX, 1u << 0 },
    { SMAP, 0x7, 0, PROBE_EBX, 1u << 20 },
    { SMEP, 0x7, 0, PROBE_EBX, 1u << 7 },
    { UMIP, 0x7, 0, PROBE_ECX, 1u << 2 },
    { RDRAND, 0x1, 0, PROBE_ECX, 1u << 30 },
    { RDSEED, 0x7, 0, PROBE_EBX, 1u << 18 },
    { CLFLUSHOPT, 0x7, 0, PROBE_EBX, 1u << 23 },
    { CLWB, 0x7, 0, PROBE_EBX, 1u << 24 },
    { HUGE_PAGES, 0x80000001, 0, PROBE_EDX, 1u << 26 },
    { KVM_CLOCK, 0x40000001, 0, PROBE_EAX, (1u << 0) | (1u << 3) | (1u << 24) },
};
/* clang-format on */

const size_t probe_count = array_size(probes);
const size_t probe_mask_count = array_size(probe_masks);

static_assert(array_size(probes) == PROBES, "each probe has its code");
static_assert(PROBES <= PROBES_MAX, "one bit each");
