/* SPDX-License-Identifier: Apache-2.0 */
#include "arch/x86_64/cpuid_modify.h"

#include <base/assert.h>

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *t, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < t->nent; i++) {
        struct kvm_cpuid_entry2 *e = &t->entries[i];
        uint32_t index = (e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0 ? e->index : 0;

        if (e->function == leaf && index == subleaf) {
            return e;
        }
    }
    return NULL;
}

const struct drupe_cpuid_modifier *
cpuid_modify(struct kvm_cpuid2 *t, const struct drupe_cpuid_modifier *modifiers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct drupe_cpuid_modifier *m = &modifiers[i];
        struct kvm_cpuid_entry2 *e = find(t, m->leaf, m->subleaf);

        if (e == NULL) {
            return m;
        }
        uint32_t *registers[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

        assert(m->reg < array_size(registers)); /* the configuration was checked */
        *registers[m->reg] = (*registers[m->reg] & ~m->mask) | (m->set & m->mask);
    }
    return NULL;
}
