/* SPDX-License-Identifier: Apache-2.0 */
#include <test.h>

#include <stdlib.h>

#include "arch/x86_64/cpuid_modify.h"

static void test_modify(void **state)
{
    static const struct kvm_cpuid_entry2 entries[] = {
        { .function = 1, .eax = 0x0f, .ecx = 0xff00 },
        { .function = 7, .index = 0, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 1 },
        { .function = 7, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .ebx = 2 },
    };
    static const struct drupe_cpuid_modifier modifiers[] = {
        { .leaf = 1, .reg = 2, .mask = 0x0ff0, .set = 0x00f0 },
        { .leaf = 7, .subleaf = 1, .reg = 1, .mask = 0xff, .set = 0x10 },
        { .leaf = 1, .reg = 3, .mask = 1, .set = UINT32_MAX }, /* only within the mask */
        { .leaf = 1, .subleaf = 1, .reg = 0, .mask = 1 },      /* there is no such leaf */
        { .leaf = 1, .reg = 0, .mask = UINT32_MAX },
    };
    struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + sizeof(entries));

    (void)state;
    assert_non_null(t);
    t->nent = array_size(entries);
    for (size_t i = 0; i < array_size(entries); i++) {
        t->entries[i] = entries[i];
    }
    assert_null(cpuid_modify(t, modifiers, 3));
    assert_int_equal(t->entries[0].eax, 0x0f);
    assert_int_equal(t->entries[0].ecx, 0xf0f0);
    assert_int_equal(t->entries[0].edx, 1);
    assert_int_equal(t->entries[1].ebx, 1);
    assert_int_equal(t->entries[2].ebx, 0x10);
    assert_ptr_equal(cpuid_modify(t, modifiers, array_size(modifiers)), &modifiers[3]);
    assert_int_equal(t->entries[0].eax, 0x0f);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_modify) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
