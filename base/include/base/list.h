/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive doubly linked circular list. The head is a node like the others; an unlinked node
 * points to itself, so list_is_linked() tells and list_remove() may be called twice.
 */
#pragma once

#include <base/compiler.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define LIST_INIT(name)                                                                            \
    {                                                                                              \
        &(name), &(name)                                                                           \
    }

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_between(struct list *node, struct list *prev, struct list *next)
{
    node->prev = prev;
    node->next = next;
    prev->next = node;
    next->prev = node;
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_between(node, head, head->next);
}

static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_between(node, head->prev, head);
}

static inline void list_insert_before(struct list *place, struct list *node)
{
    list_insert_between(node, place->prev, place);
}

static inline void list_remove(struct list *node)
{
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyser does not follow rings */
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Move all of *from to the end of *to; *from is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (!list_is_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
#define list_last(head, type, member)  list_entry((head)->prev, type, member)

/* The next entry after `e`, or NULL at the end. */
#define list_next(head, e, member)                                                                 \
    ((e)->member.next == (head) ? NULL : list_entry((e)->member.next, __typeof__(*(e)), member))

#define list_for_each_entry(e, head, member)                                                       \
    for ((e) = list_first(head, __typeof__(*(e)), member); &(e)->member != (head);                 \
         (e) = list_first(&(e)->member, __typeof__(*(e)), member))

/* `e` may be removed (and freed) inside the loop; `tmp` holds the next one. */
#define list_for_each_entry_safe(e, tmp, head, member)                                             \
    for ((e) = list_first(head, __typeof__(*(e)), member),                                         \
        (tmp) = list_first(&(e)->member, __typeof__(*(e)), member);                                \
         &(e)->member != (head);                                                                   \
         (e) = (tmp), (tmp) = list_first(&(tmp)->member, __typeof__(*(tmp)), member))
