/* SPDX-License-Identifier: Apache-2.0 */
/* Random inserts and removals; the tree stays sorted, complete and balanced after each. */

#include <test.h>

#include <stdlib.h>

#include <base/rbtree.h>

#define KEYS 200

struct thing {
    struct rb_node node;
    unsigned key;
    bool is_in;
};

static void insert(struct rb_root *root, struct thing *t)
{
    struct rb_node **link = &root->node;
    struct rb_node *parent = NULL;

    while (*link) {
        parent = *link;
        link = t->key < rb_entry(parent, struct thing, node)->key ? &parent->left : &parent->right;
    }
    rb_link(&t->node, parent, link);
    rb_insert_fixup(root, &t->node);
    t->is_in = true;
}

static void check(const struct rb_root *root, const struct thing *things)
{
    const struct rb_node *n = rb_first(root);

    assert_true(rb_check(root) >= 0);
    for (unsigned i = 0; i < KEYS; i++) {
        if (things[i].is_in) {
            assert_ptr_equal(n, &things[i].node);
            n = rb_next(n);
        }
    }
    assert_null(n);
}

static void random_operations(void **state)
{
    static struct thing things[KEYS];
    struct rb_root root = { NULL };
    unsigned seed = 1;

    (void)state;
    for (unsigned i = 0; i < KEYS; i++) {
        things[i].key = i;
    }
    for (int step = 0; step < 4000; step++) {
        struct thing *t = &things[(unsigned)rand_r(&seed) % KEYS];

        if (t->is_in) {
            rb_remove(&root, &t->node);
            t->is_in = false;
        } else {
            insert(&root, t);
        }
        check(&root, things);
    }
}

static void walks_backwards(void **state)
{
    struct thing things[3] = { { .key = 1 }, { .key = 2 }, { .key = 3 } };
    struct rb_root root = { NULL };

    (void)state;
    assert_null(rb_first(&root));
    assert_null(rb_last(&root));
    for (int i = 0; i < 3; i++) {
        insert(&root, &things[i]);
    }
    assert_ptr_equal(rb_last(&root), &things[2].node);
    assert_ptr_equal(rb_prev(&things[2].node), &things[1].node);
    assert_null(rb_prev(&things[0].node));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(walks_backwards),
    };

    return cmocka_run_group_tests_name("base/rbtree", tests, NULL, NULL);
}
