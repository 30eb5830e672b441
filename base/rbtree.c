/* SPDX-License-Identifier: Apache-2.0 */
/* Red-black tree; see the header. Null leaves are black. */

#include <base/assert.h>
#include <base/rbtree.h>

static void replace_child(struct rb_root *root, struct rb_node *old, struct rb_node *new)
{
    struct rb_node *parent = old->parent;

    if (!parent) {
        root->node = new;
    } else if (parent->left == old) {
        parent->left = new;
    } else {
        parent->right = new;
    }
    if (new) {
        new->parent = parent;
    }
}

static void rotate_left(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *r = n->right;

    assert(r);
    replace_child(root, n, r);
    n->right = r->left;
    if (n->right) {
        n->right->parent = n;
    }
    r->left = n;
    n->parent = r;
}

static void rotate_right(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *l = n->left;

    assert(l);
    replace_child(root, n, l);
    n->left = l->right;
    if (n->left) {
        n->left->parent = n;
    }
    l->right = n;
    n->parent = l;
}

static bool is_red(const struct rb_node *n)
{
    return n && n->is_red;
}

void rb_insert_fixup(struct rb_root *root, struct rb_node *n)
{
    assert(n->is_red);
    while (is_red(n->parent)) {
        struct rb_node *parent = n->parent;
        struct rb_node *grand = parent->parent;
        bool parent_is_left = grand->left == parent;
        struct rb_node *uncle = parent_is_left ? grand->right : grand->left;

        if (is_red(uncle)) {
            parent->is_red = false;
            uncle->is_red = false;
            grand->is_red = true;
            n = grand;
            continue;
        }
        if (parent_is_left) {
            if (n == parent->right) {
                rotate_left(root, parent);
                parent = n;
            }
            rotate_right(root, grand);
        } else {
            if (n == parent->left) {
                rotate_right(root, parent);
                parent = n;
            }
            rotate_left(root, grand);
        }
        parent->is_red = false;
        grand->is_red = true;
        break;
    }
    root->node->is_red = false;
}

/* `n` (maybe NULL) under `parent` is one black short; push the debt up until it can be paid. */
static void remove_fixup(struct rb_root *root, struct rb_node *n, struct rb_node *parent)
{
    while (parent && !is_red(n)) {
        bool is_left = parent->left == n;
        struct rb_node *sibling = is_left ? parent->right : parent->left;

        assert(sibling);
        if (sibling->is_red) {
            sibling->is_red = false;
            parent->is_red = true;
            if (is_left) {
                rotate_left(root, parent);
                sibling = parent->right;
            } else {
                rotate_right(root, parent);
                sibling = parent->left;
            }
        }
        if (!is_red(sibling->left) && !is_red(sibling->right)) {
            sibling->is_red = true;
            n = parent;
            parent = n->parent;
            continue;
        }
        if (is_left) {
            if (!is_red(sibling->right)) {
                sibling->left->is_red = false;
                sibling->is_red = true;
                rotate_right(root, sibling);
                sibling = parent->right;
            }
            sibling->is_red = parent->is_red;
            sibling->right->is_red = false;
            parent->is_red = false;
            rotate_left(root, parent);
        } else {
            if (!is_red(sibling->left)) {
                sibling->right->is_red = false;
                sibling->is_red = true;
                rotate_left(root, sibling);
                sibling = parent->left;
            }
            sibling->is_red = parent->is_red;
            sibling->left->is_red = false;
            parent->is_red = false;
            rotate_right(root, parent);
        }
        return;
    }
    if (n) {
        n->is_red = false;
    }
}

void rb_remove(struct rb_root *root, struct rb_node *n)
{
    struct rb_node *child;
    struct rb_node *parent;
    bool removed_red;

    if (n->left && n->right) {
        struct rb_node *next = n->right;

        while (next->left) {
            next = next->left;
        }
        removed_red = next->is_red;
        child = next->right;
        parent = next->parent == n ? next : next->parent;
        if (next->parent != n) {
            replace_child(root, next, child);
            next->right = n->right;
            next->right->parent = next;
        }
        replace_child(root, n, next);
        next->left = n->left;
        next->left->parent = next;
        next->is_red = n->is_red;
    } else {
        child = n->left ? n->left : n->right;
        parent = n->parent;
        removed_red = n->is_red;
        replace_child(root, n, child);
    }
    if (!removed_red) {
        remove_fixup(root, child, parent);
    }
}

struct rb_node *rb_first(const struct rb_root *root)
{
    struct rb_node *n = root->node;

    while (n && n->left) {
        n = n->left;
    }
    return n;
}

struct rb_node *rb_last(const struct rb_root *root)
{
    struct rb_node *n = root->node;

    while (n && n->right) {
        n = n->right;
    }
    return n;
}

struct rb_node *rb_next(const struct rb_node *n)
{
    if (n->right) {
        n = n->right;
        while (n->left) {
            n = n->left;
        }
        return (struct rb_node *)n;
    }
    while (n->parent && n == n->parent->right) {
        n = n->parent;
    }
    return n->parent;
}

struct rb_node *rb_prev(const struct rb_node *n)
{
    if (n->left) {
        n = n->left;
        while (n->right) {
            n = n->right;
        }
        return (struct rb_node *)n;
    }
    while (n->parent && n == n->parent->left) {
        n = n->parent;
    }
    return n->parent;
}

static int black_height(const struct rb_node *n)
{
    int left;
    int right;

    if (!n) {
        return 0;
    }
    if (n->is_red && (is_red(n->left) || is_red(n->right))) {
        return -1;
    }
    if ((n->left && n->left->parent != n) || (n->right && n->right->parent != n)) {
        return -1;
    }
    left = black_height(n->left);
    right = black_height(n->right);
    return left < 0 || left != right ? -1 : left + !n->is_red;
}

int rb_check(const struct rb_root *root)
{
    return is_red(root->node) ? -1 : black_height(root->node);
}
