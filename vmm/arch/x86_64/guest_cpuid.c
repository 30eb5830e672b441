/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology: one package of `count` cores with one thread each. Leaves: Intel SDM volume 2A (CPUID),
 * AMD APM volume 3 appendix E.
 */
#include "arch/x86_64/guest_cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "arch/x86_64/cpuid_modify.h"
#include "arch/x86_64/probe.h"
#include "config.h"
#include "error.h"

#define ENTRIES_MAX CPUID_ENTRIES_MAX

#define LEAF_VENDOR         0x0u
#define LEAF_FEATURES       0x1u
#define LEAF_CACHE_INTEL    0x4u
#define LEAF_TOPOLOGY       0xbu
#define LEAF_TOPOLOGY_V2    0x1fu
#define LEAF_AMD_SIZES      0x80000008u
#define LEAF_AMD_CACHE      0x8000001du
#define LEAF_AMD_TOPOLOGY   0x8000001eu
#define LEAF_AMD_TOPOLOGY_2 0x80000026u

#define FEATURE_X2APIC       (1u << 21)
#define FEATURE_TSC_DEADLINE (1u << 24)
#define FEATURE_HYPERVISOR   (1u << 31)
#define FEATURE_HTT          (1u << 28)

#define LEVEL_SMT  1u
#define LEVEL_CORE 2u

#define TOPOLOGY_LEVELS 3u

static unsigned log2_ceil(unsigned n)
{
    unsigned bits = 0;

    while ((1u << bits) < n) {
        bits++;
    }
    return bits;
}

static void set_topology_level(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
    e->edx = index;
    e->ecx = e->index;
    if (e->index == 0) {
        e->eax = 0;
        e->ebx = 1;
        e->ecx |= LEVEL_SMT << 8;
    } else if (e->index == 1) {
        e->eax = log2_ceil(count);
        e->ebx = count;
        e->ecx |= LEVEL_CORE << 8;
    } else {
        e->eax = 0;
        e->ebx = 0;
    }
}

/* The last-level cache is shared by all, the others are each core's own. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *e, unsigned count)
{
    unsigned level = (e->eax >> 5) & 7u;
    unsigned sharing = level >= 3 ? count - 1 : 0;

    e->eax = (e->eax & 0x3fffu) | (sharing << 14);
}

static void adapt_entry(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count,
                        bool has_deadline)
{
    switch (e->function) {
    case LEAF_FEATURES:
        e->ebx = (e->ebx & 0xffffu) | (count << 16) | (index << 24);
        e->ecx |= FEATURE_HYPERVISOR | (has_deadline ? FEATURE_TSC_DEADLINE : 0);
        e->edx = count > 1 ? e->edx | FEATURE_HTT : e->edx & ~FEATURE_HTT;
        break;
    case LEAF_CACHE_INTEL:
        set_cache_sharing(e, count);
        if ((e->eax & 0x1fu) != 0) {
            e->eax |= (count - 1) << 26;
        }
        break;
    case LEAF_TOPOLOGY:
    case LEAF_TOPOLOGY_V2:
        set_topology_level(e, index, count);
        break;
    case LEAF_AMD_SIZES:
        e->ecx = (e->ecx & ~0xf0ffu) | (count - 1) | (log2_ceil(count) << 12);
        break;
    case LEAF_AMD_CACHE:
        set_cache_sharing(e, count);
        break;
    case LEAF_AMD_TOPOLOGY:
        e->eax = index;
        e->ebx = index;
        e->ecx = 0;
        break;
    case LEAF_AMD_TOPOLOGY_2:
        e->eax = 0;
        e->ebx = 0;
        e->ecx = e->index;
        e->edx = index;
        break;
    default:
        break;
    }
}

/*
 * What KVM offers, less what doesn't work, and what the probe said: the same for every vCPU of the
 * process and its children. Asking KVM takes 0.3 ms, so it is asked once.
 */
static struct kvm_cpuid2 *host_table;
static const struct probe_result *host_probe;
static pthread_mutex_t host_table_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t table_size(uint32_t entries)
{
    return sizeof(struct kvm_cpuid2) + entries * sizeof(struct kvm_cpuid_entry2);
}

/*
 * KVM offers the topology leaves with their first level alone, which means "no topology": the level
 * of the cores is ours to add, and an empty one that ends the list.
 */
static void add_topology_levels(struct kvm_cpuid2 *t, uint32_t leaf)
{
    unsigned present = 0;

    for (uint32_t i = 0; i < t->nent; i++) {
        present += t->entries[i].function == leaf;
    }
    for (unsigned level = present; present > 0 && level < TOPOLOGY_LEVELS && t->nent < ENTRIES_MAX;
         level++) {
        t->entries[t->nent++] = (struct kvm_cpuid_entry2){
            .function = leaf,
            .index = level,
            .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        };
    }
}

static struct kvm_cpuid2 *ask_host(int kvm_fd)
{
    struct kvm_cpuid2 *t = calloc(1, table_size(ENTRIES_MAX));

    if (t == NULL) {
        return NULL;
    }
    t->nent = ENTRIES_MAX;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, t) < 0) {
        free(t);
        return NULL;
    }
    host_probe = probe_host(kvm_fd, t);
    probe_mask_cpuid(host_probe, t);
    add_topology_levels(t, LEAF_TOPOLOGY);
    add_topology_levels(t, LEAF_TOPOLOGY_V2);
    return t;
}

static const struct kvm_cpuid2 *get_host_table(int kvm_fd)
{
    (void)pthread_mutex_lock(&host_table_lock);
    if (host_table == NULL) {
        host_table = ask_host(kvm_fd);
    }
    (void)pthread_mutex_unlock(&host_table_lock);
    return host_table;
}

void arch_host_prepare(int kvm_fd)
{
    (void)get_host_table(kvm_fd); /* without memory for it: tried again at start, and told then */
}

void arch_host_describe(int kvm_fd, bool *is_ring0_emulated, char *masked, size_t size)
{
    const struct probe_result *p = get_host_table(kvm_fd) == NULL ? NULL : host_probe;

    masked[0] = '\0';
    *is_ring0_emulated = p != NULL && p->is_ring0_emulated;
    if (p != NULL) {
        probe_describe(p, masked, size);
    }
}

struct kvm_cpuid2 *cpuid_make(int kvm_fd, unsigned index, unsigned count)
{
    const struct kvm_cpuid2 *host = get_host_table(kvm_fd);
    bool has_deadline = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    struct kvm_cpuid2 *t = host == NULL ? NULL : malloc(table_size(host->nent));

    if (t == NULL) {
        return NULL;
    }
    memcpy(t, host, table_size(host->nent));
    for (uint32_t i = 0; i < t->nent; i++) {
        adapt_entry(&t->entries[i], index, count, has_deadline);
    }
    return t;
}

drupe_vm_err_t cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned count,
                         const struct config *config, struct drupe_error *err)
{
    const struct drupe_cpuid_modifier *missing = NULL;
    struct kvm_cpuid2 *t = cpuid_make(kvm_fd, index, count);
    drupe_vm_err_t r = DRUPE_OK;

    if (t == NULL) {
        return error_set(err, errno == ENOMEM ? DRUPE_NO_MEMORY : DRUPE_INTERNAL, errno,
                         "make the CPUID table");
    }
    missing = cpuid_modify(t, config->cpuid, config->cpuid_count);
    if (missing != NULL) {
        r = error_field(err, "cpuid", "the host's CPUID has no leaf 0x%x.%u to modify",
                        missing->leaf, missing->subleaf);
    } else if (ioctl(vcpu_fd, KVM_SET_CPUID2, t) < 0) {
        r = error_set(err, DRUPE_INTERNAL, errno, "set the CPUID of vCPU %u", index);
    }
    free(t);
    return r;
}

/* ---- Snapshots ---- */

/* Where the feature bits stand; a bit that is set promises something to the guest. */
static const struct feature_word {
    uint32_t leaf;
    uint32_t index;
    uint32_t eax, ebx, ecx, edx; /* masks */
} feature_words[] = {
    /* OSXSAVE follows CR4, the others are not the guest's to use; local APIC's and ours vary. */
    { 0x1, 0, 0, 0, ~(1u << 27 | FEATURE_TSC_DEADLINE | FEATURE_HYPERVISOR | FEATURE_X2APIC),
      ~FEATURE_HTT },
    { 0x7, 0, 0, UINT32_MAX, ~(1u << 4), UINT32_MAX }, /* OSPKE follows CR4 */
    { 0x7, 1, UINT32_MAX, 0, 0, UINT32_MAX },
    { 0xd, 0, UINT32_MAX, 0, 0, UINT32_MAX },
    { 0xd, 1, UINT32_MAX, 0, 0, 0 },
    { 0x80000001, 0, 0, 0, UINT32_MAX, UINT32_MAX },
    { 0x80000008, 0, 0, UINT32_MAX, 0, 0 },
};

static const struct kvm_cpuid_entry2 *find_entry(const struct kvm_cpuid_entry2 *entries,
                                                 uint32_t count, uint32_t leaf, uint32_t index)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_cpuid_entry2 *e = &entries[i];

        if (e->function == leaf &&
            ((e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || e->index == index)) {
            return e;
        }
    }
    return NULL;
}

static drupe_vm_err_t check_word(const struct feature_word *w,
                                 const struct kvm_cpuid_entry2 *wanted,
                                 const struct kvm_cpuid_entry2 *offered, struct drupe_error *err)
{
    const struct kvm_cpuid_entry2 none = { 0 };
    const struct kvm_cpuid_entry2 *h = offered != NULL ? offered : &none;
    uint32_t missing[4] = {
        wanted->eax & ~h->eax & w->eax,
        wanted->ebx & ~h->ebx & w->ebx,
        wanted->ecx & ~h->ecx & w->ecx,
        wanted->edx & ~h->edx & w->edx,
    };

    if ((missing[0] | missing[1] | missing[2] | missing[3]) == 0) {
        return DRUPE_OK;
    }
    return error_set(err, DRUPE_ARCH_MISMATCH, 0,
                     "the snapshot's CPU has features that this one lacks: leaf 0x%x.%u "
                     "eax=0x%x ebx=0x%x ecx=0x%x edx=0x%x",
                     w->leaf, w->index, missing[0], missing[1], missing[2], missing[3]);
}

static drupe_vm_err_t check_features(const struct kvm_cpuid2 *host,
                                     const struct kvm_cpuid_entry2 *entries, uint32_t count,
                                     struct drupe_error *err)
{
    const struct kvm_cpuid_entry2 *ours = find_entry(host->entries, host->nent, LEAF_VENDOR, 0);
    const struct kvm_cpuid_entry2 *theirs = find_entry(entries, count, LEAF_VENDOR, 0);
    drupe_vm_err_t r = DRUPE_OK;

    if (ours == NULL || theirs == NULL || ours->ebx != theirs->ebx || ours->ecx != theirs->ecx ||
        ours->edx != theirs->edx) {
        return error_set(err, DRUPE_ARCH_MISMATCH, 0,
                         "the snapshot was taken on another make of CPU");
    }
    for (size_t i = 0; r == DRUPE_OK && i < sizeof(feature_words) / sizeof(feature_words[0]); i++) {
        const struct feature_word *w = &feature_words[i];
        const struct kvm_cpuid_entry2 *wanted = find_entry(entries, count, w->leaf, w->index);

        if (wanted != NULL) {
            r = check_word(w, wanted, find_entry(host->entries, host->nent, w->leaf, w->index),
                           err);
        }
    }
    return r;
}

drupe_vm_err_t cpuid_restore(int kvm_fd, int vcpu_fd, unsigned index,
                             const struct kvm_cpuid_entry2 *entries, uint32_t count,
                             struct drupe_error *err)
{
    const struct kvm_cpuid2 *host = get_host_table(kvm_fd);
    struct kvm_cpuid2 *t = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (host == NULL) {
        return error_set(err, DRUPE_INTERNAL, errno, "ask KVM for its CPUID");
    }
    r = check_features(host, entries, count, err);
    if (r != DRUPE_OK) {
        return r;
    }
    t = calloc(1, table_size(count));
    if (t == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the CPUID table");
    }
    t->nent = count;
    memcpy(t->entries, entries, count * sizeof(*entries));
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, t) < 0) {
        r = error_set(err, DRUPE_ARCH_MISMATCH, errno, "set the CPUID of vCPU %u", index);
    }
    free(t);
    return r;
}
