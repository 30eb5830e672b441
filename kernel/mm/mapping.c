/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page cache of one object: a radix tree of 64-way nodes, grown from the top when an index does
 * not fit, pruned when pages go. Nodes are allocated before the lock is taken.
 *
 * Who holds references on a cached page: the tree (one), each PTE (one), each lookup in flight.
 */
#include <mm/mapping.h>

#include <core/string.h>
#include <mm/mm.h>
#include <mm/reclaim.h>
#include <mm/slab.h>

#define NODE_SHIFT 6u
#define NODE_SLOTS (1u << NODE_SHIFT)
#define NODE_MASK  (NODE_SLOTS - 1u)
#define HEIGHT_MAX 9u /* 54 bits of page numbers */

struct node {
    uint32_t used;
    void *slots[NODE_SLOTS]; /* struct node, or struct page at the bottom */
};

static struct slab_cache node_cache = SLAB_CACHE("page_tree_node", struct node);
static struct slab_cache mapping_cache = SLAB_CACHE("mapping", struct mapping);

void mapping_init(struct mapping *m, const struct mapping_ops *ops, struct inode *inode)
{
    *m = (struct mapping){ .ops = ops, .inode = inode };
    spin_init(&m->lock, RANK_MAPPING);
    list_init(&m->vmas);
}

/* Pages that a tree of this height can index. */
static uint64_t tree_span(unsigned height)
{
    return UINT64_C(1) << (NODE_SHIFT * height);
}

static struct page *tree_find(const struct page_tree *t, uint64_t index)
{
    const struct node *n = t->root;

    if (!n || index >= tree_span(t->height)) {
        return NULL;
    }
    for (unsigned level = t->height; level > 1; level--) {
        n = n->slots[(index >> (NODE_SHIFT * (level - 1))) & NODE_MASK];
        if (!n) {
            return NULL;
        }
    }
    return n->slots[index & NODE_MASK];
}

/* Nodes for one insertion, allocated before the lock. */
struct stock {
    struct node *nodes[2 * HEIGHT_MAX];
    unsigned count;
};

static void stock_free(struct stock *s)
{
    while (s->count > 0) {
        slab_free(&node_cache, s->nodes[--s->count]);
    }
}

static int stock_fill(struct stock *s, unsigned count)
{
    assert(count <= array_size(s->nodes));
    while (s->count < count) {
        struct node *n = slab_alloc(&node_cache, GFP_KERNEL | GFP_ZERO);

        if (!n) {
            stock_free(s);
            return -ENOMEM;
        }
        s->nodes[s->count++] = n;
    }
    return 0;
}

static struct node *stock_take(struct stock *s)
{
    assert(s->count > 0);
    return s->nodes[--s->count];
}

/* How many nodes an insertion at `index` may need now. */
static unsigned nodes_needed(const struct page_tree *t, uint64_t index)
{
    unsigned height = max_of(t->height, 1u);
    unsigned grown = t->root ? 0 : 1;
    const struct node *n = t->root;

    while (index >= tree_span(height)) {
        height++;
        grown++;
    }
    if (grown > 0) {
        return grown + height; /* new tops, and a path below */
    }
    for (unsigned level = height; level > 1; level--) {
        n = n->slots[(index >> (NODE_SHIFT * (level - 1))) & NODE_MASK];
        if (!n) {
            return level - 1;
        }
    }
    return 0;
}

static void tree_insert(struct page_tree *t, uint64_t index, struct page *p, struct stock *s)
{
    if (!t->root) {
        t->root = stock_take(s);
        t->height = 1;
    }
    while (index >= tree_span(t->height)) {
        struct node *top = stock_take(s);

        top->slots[0] = t->root;
        top->used = 1;
        t->root = top;
        t->height++;
    }
    struct node *n = t->root;

    for (unsigned level = t->height; level > 1; level--) {
        void **slot = &n->slots[(index >> (NODE_SHIFT * (level - 1))) & NODE_MASK];

        if (!*slot) {
            *slot = stock_take(s);
            n->used++;
        }
        n = *slot;
    }
    assert(!n->slots[index & NODE_MASK]);
    n->slots[index & NODE_MASK] = p;
    n->used++;
}

/* Take the page at `index` out; nodes that became empty are freed. */
static struct page *tree_remove(struct page_tree *t, uint64_t index)
{
    struct node *path[HEIGHT_MAX + 1];
    struct node *n = t->root;

    if (!n || index >= tree_span(t->height)) {
        return NULL;
    }
    for (unsigned level = t->height; level > 1; level--) {
        path[level] = n;
        n = n->slots[(index >> (NODE_SHIFT * (level - 1))) & NODE_MASK];
        if (!n) {
            return NULL;
        }
    }
    path[1] = n;
    struct page *p = n->slots[index & NODE_MASK];

    if (!p) {
        return NULL;
    }
    for (unsigned level = 1; level <= t->height; level++) {
        n = path[level];
        n->slots[(index >> (NODE_SHIFT * (level - 1))) & NODE_MASK] = NULL;
        if (--n->used > 0) {
            return p;
        }
        slab_free(&node_cache, n);
    }
    t->root = NULL;
    t->height = 0;
    return p;
}

/* First index >= from that holds a page, below this node; UINT64_MAX: none. */
static uint64_t node_next(const struct node *n, unsigned level, uint64_t base, uint64_t from)
{
    uint64_t step = tree_span(level - 1);
    uint64_t slot = from > base ? (from - base) / step : 0;

    for (; slot < NODE_SLOTS; slot++) {
        if (!n->slots[slot]) {
            continue;
        }
        if (level == 1) {
            return base + slot;
        }
        uint64_t found = node_next(n->slots[slot], level - 1, base + slot * step, from);

        if (found != UINT64_MAX) {
            return found;
        }
    }
    return UINT64_MAX;
}

static uint64_t tree_next(const struct page_tree *t, uint64_t from)
{
    if (!t->root || from >= tree_span(t->height)) {
        return UINT64_MAX;
    }
    return node_next(t->root, t->height, 0, from);
}

/* --- the mapping ------------------------------------------------------------------------------ */

struct page *mapping_lookup(struct mapping *m, uint64_t index)
{
    spin_lock(&m->lock);
    struct page *p = tree_find(&m->pages, index);

    if (p) {
        page_get(p); /* inside the lock that removal takes: it cannot be freed meanwhile */
    }
    spin_unlock(&m->lock);
    return p;
}

int mapping_insert(struct mapping *m, uint64_t index, struct page *p)
{
    struct stock stock = { .count = 0 };

    if (index >= tree_span(HEIGHT_MAX)) {
        return -EFBIG;
    }
    spin_lock(&m->lock);
    for (;;) {
        if (tree_find(&m->pages, index)) {
            spin_unlock(&m->lock);
            stock_free(&stock);
            return -EEXIST;
        }
        unsigned needed = nodes_needed(&m->pages, index);

        if (needed <= stock.count) {
            break;
        }
        spin_unlock(&m->lock);
        if (stock_fill(&stock, needed) < 0) {
            return -ENOMEM;
        }
        spin_lock(&m->lock);
    }
    page_get(p);
    p->mapping = m;
    p->index = index;
    p->flags |= PAGE_CACHE;
    tree_insert(&m->pages, index, p, &stock);
    m->page_count++;
    spin_unlock(&m->lock);
    stock_free(&stock);
    return 0;
}

void mapping_drop(struct mapping *m, uint64_t first, uint64_t count)
{
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;

    /* PTEs first: afterwards nobody finds the pages through this object any more. */
    if (!list_is_empty(&m->vmas)) {
        mm_unmap_mapping(m, first, end - first);
    }
    for (uint64_t index = first; m->page_count > 0; index++) {
        spin_lock(&m->lock);
        index = tree_next(&m->pages, index);
        struct page *p = index < end ? tree_remove(&m->pages, index) : NULL;

        if (p) {
            m->page_count--;
            p->flags &= (uint16_t) ~(PAGE_CACHE | PAGE_DIRTY | PAGE_UPTODATE);
            p->mapping = NULL;
        }
        spin_unlock(&m->lock);
        if (!p) {
            break;
        }
        page_put(p);
    }
}

#define SHRINK_BATCH 32u

/* Some pages from *cursor on; the cursor is UINT64_MAX at the end. */
static unsigned shrink_some(struct mapping *m, size_t want, uint64_t *cursor)
{
    struct page *gone[SHRINK_BATCH];
    unsigned count = 0;

    spin_lock(&m->lock);
    for (unsigned looked = 0;
         looked < 4 * SHRINK_BATCH && count < min_of(want, (size_t)SHRINK_BATCH); looked++) {
        uint64_t index = tree_next(&m->pages, *cursor);

        *cursor = index;
        if (index == UINT64_MAX) {
            break;
        }
        const struct page *p = tree_find(&m->pages, index);

        (*cursor)++;
        /* The tree's reference is the only one, and new ones are taken under this lock. */
        if (atomic_load_explicit(&p->refcount, memory_order_acquire) == 1 &&
            !(p->flags & PAGE_DIRTY)) {
            gone[count] = tree_remove(&m->pages, index);
            gone[count]->flags &= (uint16_t) ~(PAGE_CACHE | PAGE_UPTODATE);
            gone[count]->mapping = NULL;
            count++;
            m->page_count--;
        }
    }
    spin_unlock(&m->lock);
    for (unsigned i = 0; i < count; i++) {
        page_put(gone[i]);
    }
    return count;
}

size_t mapping_shrink(struct mapping *m, size_t want, uint64_t *cursor)
{
    size_t gained = 0;

    /* Twice past the end: the whole tree was looked at. */
    for (unsigned rounds = 0; gained < want && rounds < 2;) {
        if (*cursor == UINT64_MAX) {
            *cursor = 0;
            rounds++;
        }
        gained += shrink_some(m, want - gained, cursor);
    }
    return gained;
}

uint64_t mapping_next(struct mapping *m, uint64_t from)
{
    spin_lock(&m->lock);
    uint64_t index = tree_next(&m->pages, from);

    spin_unlock(&m->lock);
    return index;
}

/* --- shared anonymous memory ------------------------------------------------------------------ */

static int mapping_get_zeroed(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    struct page *p = mapping_lookup(m, index);

    while (!p) {
        if (how & MAPPING_RESIDENT) {
            return -EAGAIN;
        }
        struct page *fresh = page_alloc_reclaim(GFP_USER | GFP_ZERO);

        if (!fresh) {
            return -ENOMEM;
        }
        int err = mapping_insert(m, index, fresh);

        if (err == 0) {
            fresh->flags |= PAGE_UPTODATE;
            p = fresh; /* our reference is the caller's now, the tree has its own */
            break;
        }
        page_put(fresh);
        if (err != -EEXIST) {
            return err;
        }
        p = mapping_lookup(m, index); /* somebody was faster */
    }
    *out = (struct frame){ .pa = page_to_phys(p), .page = p };
    return 0;
}

static const struct mapping_ops anon_ops = { .get = mapping_get_zeroed };

struct mapping *mapping_create_anon(void)
{
    struct mapping *m = slab_alloc(&mapping_cache, GFP_KERNEL);

    if (m) {
        mapping_init(m, &anon_ops, NULL);
    }
    return m;
}

void mapping_destroy(struct mapping *m)
{
    assert(list_is_empty(&m->vmas));
    mapping_drop(m, 0, UINT64_MAX);
    assert(m->page_count == 0 && !m->pages.root);
    slab_free(&mapping_cache, m);
}
