/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/x86_64/probe.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <string.h>

#include <base/fmt.h>

#include "arch/x86_64/probe_cache.h"
#include "arch/x86_64/probe_table.h"

static struct probe_result remembered;
static bool is_remembered;
static pthread_mutex_t remembered_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct probe_result everything_works = { .works = UINT32_MAX };

const struct probe_result *probe_host(int kvm_fd, const struct kvm_cpuid2 *supported)
{
    const struct probe_result *found = &remembered;
    struct probe_cache_key key;

    (void)pthread_mutex_lock(&remembered_lock);
    if (!is_remembered) {
        probe_cache_key(&key);
        is_remembered = probe_cache_load(&key, &remembered);
    }
    if (!is_remembered && probe_run(kvm_fd, supported, &remembered) == 0) {
        is_remembered = true;
        probe_cache_store(&key, &remembered);
    }
    if (!is_remembered) {
        found = &everything_works;
    }
    (void)pthread_mutex_unlock(&remembered_lock);
    return found;
}

static uint32_t *cpuid_register(struct kvm_cpuid_entry2 *e, enum probe_register r)
{
    switch (r) {
    case PROBE_EAX:
        return &e->eax;
    case PROBE_EBX:
        return &e->ebx;
    case PROBE_ECX:
        return &e->ecx;
    case PROBE_EDX:
        return &e->edx;
    }
    return &e->eax;
}

static void mask_entry(const struct probe_result *p, struct kvm_cpuid_entry2 *e)
{
    for (size_t i = 0; i < probe_mask_count; i++) {
        const struct probe_mask *mask = &probe_masks[i];

        if ((p->works & (1u << mask->probe)) == 0 && e->function == mask->leaf &&
            ((e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || e->index == mask->subleaf)) {
            *cpuid_register(e, mask->reg) &= ~mask->bits;
        }
    }
}

void probe_mask_cpuid(const struct probe_result *p, struct kvm_cpuid2 *table)
{
    for (uint32_t i = 0; p->is_valid && i < table->nent; i++) {
        mask_entry(p, &table->entries[i]);
    }
}

void probe_describe(const struct probe_result *p, char *text, size_t size)
{
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; p->is_valid && i < probe_count && length < size; i++) {
        if ((p->works & (1u << i)) == 0) {
            length += fmt_snprintf(text + length, size - length, "%s%s", length == 0 ? "" : " ",
                                   probes[i].name);
        }
    }
}
