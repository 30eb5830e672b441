/* SPDX-License-Identifier: Apache-2.0 */

#include <test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/bytes.h>

#include "erofs.h"
#include "tree.h"

#include "../files.h"

static void paths_stay_inside(void **state)
{
    struct image_tree *t = tree_create();
    struct image_node *n = NULL;

    (void)state;
    assert_int_equal(tree_add_dir(t, "usr/bin", 0755), 0);
    assert_int_equal(tree_add_symlink(t, "bin", "usr/bin"), 0);
    assert_int_equal(tree_add_bytes(t, "bin/a", 0755, "x", 1), 0);
    n = tree_find(t, "/usr/bin/a", true);
    assert_non_null(n);
    char *path = tree_path(n);

    assert_string_equal(path, "/usr/bin/a");
    free(path);
    assert_int_equal(tree_add_bytes(t, "../../etc/b", 0644, "y", 1), 0);
    assert_non_null(tree_find(t, "etc/b", false));
    assert_int_equal(tree_add_symlink(t, "loop", "loop"), 0);
    assert_int_equal(tree_add_bytes(t, "loop/x", 0644, "", 0), -ELOOP);
    assert_int_equal(tree_add_bytes(t, "etc/b/c", 0644, "", 0), -ENOTDIR);
    assert_int_equal(tree_add_bytes(t, "etc", 0644, "", 0), -EISDIR);
    assert_int_equal(tree_add_bytes(t, "..", 0644, "", 0), -EINVAL);
    assert_int_equal(tree_add_bytes(t, "", 0644, "", 0), -EINVAL);
    assert_int_equal(tree_add_hard_link(t, "h", "nothing"), -ENOENT);
    assert_int_equal(tree_add_hard_link(t, "h", "etc"), -EISDIR);

    char name[300];

    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(tree_add_bytes(t, name, 0644, "", 0), -ENAMETOOLONG);
    tree_destroy(t);
}

/* A link chain that would nest for ever ends at the depth limit. */
static void depth_is_bounded(void **state)
{
    struct image_tree *t = tree_create();
    int err = 0;

    (void)state;
    assert_int_equal(tree_add_dir(t, "d", 0755), 0);
    assert_int_equal(tree_add_symlink(t, "deep", "d"), 0);
    for (unsigned i = 0; i < 2 * IMAGE_DEPTH_MAX && err == 0; i++) {
        char *target = text_format("d%u", i);

        err = tree_add_dir(t, "deep/x", 0755);
        free(target);
        if (err == 0) {
            char *path = tree_path(tree_find(t, "deep/x", true));

            err = strlen(path) < IMAGE_PATH_MAX ? tree_add_symlink(t, "deep", path) : -ENAMETOOLONG;
            free(path);
        }
    }
    assert_int_equal(err, -ENAMETOOLONG);
    tree_destroy(t);
}

static void links_survive_their_target(void **state)
{
    struct image_tree *t = tree_create();

    (void)state;
    assert_int_equal(tree_add_bytes(t, "a", 0644, "first", 5), 0);
    assert_int_equal(tree_add_hard_link(t, "b", "a"), 0);
    assert_int_equal(tree_add_hard_link(t, "c", "b"), 0);
    assert_ptr_equal(tree_find(t, "c", false), tree_find(t, "b", false));
    assert_int_equal(tree_add_bytes(t, "a", 0644, "second", 6), 0);
    assert_int_equal(tree_find(t, "b", false)->size, 5);
    assert_int_equal(tree_add_hard_link(t, "d", "c"), 0);
    tree_remove_path(t, "c");
    assert_null(tree_find(t, "c", false));
    assert_memory_equal(tree_find(t, "d", false)->bytes, "first", 5);
    tree_remove_path(t, "nothing/there");
    tree_destroy(t);
}

static int write_tree(struct image_tree *t, struct erofs_summary *out)
{
    const struct image_node *culprit = NULL;
    int fd = memfd_create("image", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(erofs_write(t, fd, out, &culprit), 0);
    return fd;
}

/* The same files, added in two orders. */
static struct image_tree *make_tree(bool is_reversed)
{
    struct image_tree *t = tree_create();

    for (unsigned i = 0; i < 600; i++) {
        unsigned number = is_reversed ? 599 - i : i;
        char *path = text_format("dir%u/a-file-with-a-longer-name-%u", number % 3, number);

        assert_int_equal(tree_add_bytes(t, path, 0644, path, strlen(path) * (number % 2)), 0);
        free(path);
    }
    assert_int_equal(tree_add_symlink(t, "link", "dir0"), 0);
    assert_int_equal(tree_add_device(t, "dev/null", S_IFCHR | 0666, 1, 3), 0);
    assert_int_equal(tree_add_hard_link(t, "zz", "dir0/a-file-with-a-longer-name-3"), 0);
    return t;
}

static void images_do_not_depend_on_order(void **state)
{
    struct image_tree *a = make_tree(false);
    struct image_tree *b = make_tree(true);
    struct erofs_summary first;
    struct erofs_summary second;
    int fd = write_tree(a, &first);
    int other = write_tree(b, &second);
    struct stat st;

    (void)state;
    assert_memory_equal(first.digest, second.digest, sizeof(first.digest));
    assert_int_equal(first.inodes, second.inodes);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, first.size);
    assert_null(erofs_check(fd));
    (void)close(fd);
    (void)close(other);
    tree_destroy(a);
    tree_destroy(b);
}

static void damaged_images_are_refused(void **state)
{
    struct image_tree *t = make_tree(false);
    struct erofs_summary summary;
    int fd = write_tree(t, &summary);
    uint8_t byte = 0;

    (void)state;
    assert_int_equal(pread(fd, &byte, 1, 1024 + 14), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 1024 + 14), 1);
    assert_non_null(strstr(erofs_check(fd), "checksum"));
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 1024 + 14), 1);
    assert_null(erofs_check(fd));
    assert_int_equal(ftruncate(fd, (off_t)summary.size - 1), 0);
    assert_non_null(strstr(erofs_check(fd), "truncated"));
    assert_int_equal(ftruncate(fd, 100), 0);
    assert_non_null(strstr(erofs_check(fd), "too short"));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_non_null(strstr(erofs_check(fd), "not an EROFS image"));
    (void)close(fd);
    tree_destroy(t);
}

static void a_changed_host_file_is_noticed(void **state)
{
    struct image_tree *t = tree_create();
    const struct image_node *culprit = NULL;
    struct erofs_summary summary;
    int fd = memfd_create("image", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(tree_add_host_file(t, "self", 0755, "/proc/self/exe", 1), 0);
    assert_int_equal(erofs_write(t, fd, &summary, &culprit), -EAGAIN);
    assert_non_null(culprit);
    (void)close(fd);
    tree_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_stay_inside),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(links_survive_their_target),
        cmocka_unit_test(images_do_not_depend_on_order),
        cmocka_unit_test(damaged_images_are_refused),
        cmocka_unit_test(a_changed_host_file_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
