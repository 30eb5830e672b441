/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive red-black tree (Cormen et al., Introduction to Algorithms, chapter 13). The caller
 * walks down to find the place, links the node there and calls rb_insert_fixup(); so comparison
 * stays in the caller and inlines.
 *
 *     struct rb_node **link = &root->node, *parent = NULL;
 *     while (*link) {
 *         parent = *link;
 *         link = key < rb_entry(parent, struct thing, node)->key ? &parent->left : &parent->right;
 *     }
 *     rb_link(&t->node, parent, link);
 *     rb_insert_fixup(root, &t->node);
 */
#pragma once

#include <base/compiler.h>

struct rb_node {
    struct rb_node *parent;
    struct rb_node *left;
    struct rb_node *right;
    bool is_red;
};

struct rb_root {
    struct rb_node *node;
};

#define rb_entry(ptr, type, member) container_of(ptr, type, member)

static inline void rb_link(struct rb_node *n, struct rb_node *parent, struct rb_node **link)
{
    n->parent = parent;
    n->left = NULL;
    n->right = NULL;
    n->is_red = true;
    *link = n;
}

void rb_insert_fixup(struct rb_root *root, struct rb_node *n);
void rb_remove(struct rb_root *root, struct rb_node *n);

/* In order; NULL at the ends. */
struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *n);
struct rb_node *rb_prev(const struct rb_node *n);

/* Checks order of colours and black heights; for tests. Returns the black height, -1 if broken. */
int rb_check(const struct rb_root *root);
