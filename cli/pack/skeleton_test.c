/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <string.h>

#include <base/bytes.h>

#include "pack.h"

static struct image_tree *make_tree(void)
{
    struct image_tree *t = tree_create();

    assert_int_equal(skeleton_add_dirs(t), 0);
    assert_int_equal(tree_add_bytes(t, "lib/x86_64-linux-gnu/libx.so.10", 0644, "x", 1), 0);
    assert_int_equal(tree_add_symlink(t, "lib/x86_64-linux-gnu/libx.so.9", "libx.so.10"), 0);
    assert_int_equal(tree_add_symlink(t, "lib/x86_64-linux-gnu/libgone.so.1", "nothing"), 0);
    assert_int_equal(tree_add_bytes(t, "usr/lib/libx.so.10", 0644, "second", 6), 0);
    assert_int_equal(tree_add_bytes(t, "usr/lib/liba.so", 0644, "a", 1), 0);
    assert_int_equal(tree_add_bytes(t, "usr/lib/readme", 0644, "r", 1), 0);
    return t;
}

static const char *text_at(const struct image_node *n, size_t field)
{
    uint32_t offset = load_le32(n->bytes + field);

    assert_true(offset < n->size);
    assert_non_null(memchr(n->bytes + offset, '\0', n->size - offset));
    return n->bytes + offset;
}

static void the_loaders_cache(void **state)
{
    static const char *const names[] = { "libx.so.10", "libx.so.9", "liba.so" };
    static const char *const paths[] = { "/lib/x86_64-linux-gnu/libx.so.10",
                                         "/lib/x86_64-linux-gnu/libx.so.9", "/lib/liba.so" };
    struct image_tree *t = make_tree();

    (void)state;
    assert_int_equal(skeleton_finish(t), 0);
    const struct image_node *n = tree_find(t, "etc/ld.so.cache", true);

    assert_non_null(n);
    assert_memory_equal(n->bytes, "glibc-ld.so.cache1.1", 20);
    assert_int_equal(load_le32(n->bytes + 20), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(load_le32(n->bytes + 48 + i * 24), 0x303);
        assert_string_equal(text_at(n, 48 + i * 24 + 4), names[i]);
        assert_string_equal(text_at(n, 48 + i * 24 + 8), paths[i]);
    }
    tree_destroy(t);
}

static void base_files_yield_to_packages(void **state)
{
    struct image_tree *t = tree_create();

    (void)state;
    assert_int_equal(skeleton_add_dirs(t), 0);
    assert_int_equal(tree_add_bytes(t, "etc/passwd", 0600, "own", 3), 0);
    assert_int_equal(skeleton_add_files(t), 0);
    assert_int_equal(tree_find(t, "etc/passwd", true)->size, 3);
    assert_non_null(tree_find(t, "etc/group", true));
    assert_int_equal(tree_find(t, "tmp", true)->mode & 07777, 01777);
    assert_ptr_equal(tree_find(t, "bin", true), tree_find(t, "usr/bin", true));
    tree_destroy(t);
}

static void a_shell_that_is_there_becomes_sh(void **state)
{
    struct image_tree *t = tree_create();

    (void)state;
    assert_int_equal(skeleton_add_dirs(t), 0);
    assert_int_equal(skeleton_finish(t), 0);
    assert_null(tree_find(t, "bin/sh", true));
    assert_int_equal(tree_add_bytes(t, "bin/dash", 0755, "x", 1), 0);
    assert_int_equal(skeleton_finish(t), 0);
    assert_ptr_equal(tree_find(t, "bin/sh", true), tree_find(t, "bin/dash", true));
    tree_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loaders_cache),
        cmocka_unit_test(base_files_yield_to_packages),
        cmocka_unit_test(a_shell_that_is_there_becomes_sh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
