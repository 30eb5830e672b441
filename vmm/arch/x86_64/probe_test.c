/* SPDX-License-Identifier: Apache-2.0 */
/* The probe's cache file in hostile states, and what a result does to a CPUID table. */
#include "test.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86_64/probe_cache.h"

static void test_format(void **state)
{
    struct probe_cache_key key = { "0123456789abcdef" };
    struct probe_cache_key other = { "0123456789abcdee" };
    struct probe_result p = { .works = 0x00c0ffee, .is_ring0_emulated = true, .is_valid = true };
    struct probe_result q;
    char line[96];
    char broken[97];
    size_t size = probe_cache_format(&key, &p, line, sizeof(line));

    (void)state;
    assert_string_equal(line, "drupe-probe-1 0123456789abcdef 00c0ffee e\n");
    assert_true(probe_cache_parse(&key, line, size, &q));
    assert_int_equal(q.works, p.works);
    assert_true(q.is_ring0_emulated && q.is_valid);
    assert_false(probe_cache_parse(&other, line, size, &q));
    for (size_t n = 0; n < size; n++) {
        assert_false(probe_cache_parse(&key, line, n, &q));
        memcpy(broken, line, size);
        broken[n] = (char)(broken[n] ^ 0x40);
        assert_false(probe_cache_parse(&key, broken, size, &q));
    }
    memcpy(broken, line, size);
    broken[size] = ' ';
    assert_false(probe_cache_parse(&key, broken, size + 1, &q));
}

static void test_file(void **state)
{
    struct probe_cache_key key = { "0123456789abcdef" };
    struct probe_result p = { .works = 5, .is_valid = true };
    struct probe_result q;
    char home[] = "/tmp/drupe-probe-XXXXXX";
    char path[128];

    (void)state;
    assert_non_null(mkdtemp(home));
    assert_int_equal(setenv("XDG_CACHE_HOME", home, 1), 0);
    (void)snprintf(path, sizeof(path), "%s/drupe/probe", home);
    assert_false(probe_cache_load(&key, &q));
    probe_cache_store(&key, &p);
    assert_true(probe_cache_load(&key, &q));
    assert_int_equal(q.works, 5);
    assert_int_equal(chmod(path, 0666), 0); /* anybody could have written it */
    assert_false(probe_cache_load(&key, &q));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_false(probe_cache_load(&key, &q));
    probe_cache_store(&key, &p); /* replaces the link, doesn't follow it */
    assert_true(probe_cache_load(&key, &q));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not hang */
    assert_false(probe_cache_load(&key, &q));
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof(path), "%s/drupe", home);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(home), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0);
    assert_int_equal(unsetenv("HOME"), 0);
    probe_cache_store(&key, &p);
    assert_false(probe_cache_load(&key, &q));
}

static void test_mask(void **state)
{
    struct probe_result all = { .works = UINT32_MAX, .is_valid = true };
    struct probe_result none = { .works = 0, .is_valid = true };
    struct kvm_cpuid2 *t = calloc(1, sizeof(*t) + 2 * sizeof(t->entries[0]));
    char text[256];

    (void)state;
    assert_non_null(t);
    t->nent = 2;
    t->entries[0].function = 1;
    t->entries[0].ecx = UINT32_MAX;
    t->entries[1].function = 7;
    t->entries[1].index = 1;
    t->entries[1].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    t->entries[1].ebx = UINT32_MAX;
    probe_mask_cpuid(&all, t);
    assert_true(t->entries[0].ecx == UINT32_MAX);
    probe_mask_cpuid(&none, t);
    assert_int_equal(t->entries[0].ecx & (1u << 26), 0); /* XSAVE */
    assert_int_equal(t->entries[0].ecx & (1u << 28), 0); /* and AVX with it */
    assert_int_equal(t->entries[0].ecx & (1u << 23), 0); /* POPCNT */
    assert_true((t->entries[0].ecx & (1u << 20)) != 0);  /* SSE4.2 stays */
    assert_true(t->entries[1].ebx == UINT32_MAX);        /* another subleaf */
    probe_describe(&none, text, sizeof(text));
    assert_non_null(strstr(text, "xsave rdtscp"));
    probe_describe(&all, text, sizeof(text));
    assert_string_equal(text, "");
    probe_describe(&none, text, 8);
    assert_true(strlen(text) < 8);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_mask),
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
