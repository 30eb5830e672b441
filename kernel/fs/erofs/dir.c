/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: blocks of entries sorted by name, over the whole directory as well as in each block.
 * A block begins with its entries; the first one's name offset tells how many there are; the names
 * follow without terminators, the last one ends with the block or at a NUL.
 */
#include <core/string.h>
#include <fs/erofs/erofs_internal.h>

struct block {
    struct erofs_view view;
    uint32_t size;  /* bytes of the directory in it */
    uint32_t count; /* entries */
};

struct text {
    const char *at;
    uint32_t length;
};

static int block_get(struct erofs_image *image, const struct erofs_inode *dir, uint64_t index,
                     struct block *out)
{
    uint64_t block_size = UINT64_C(1) << image->block_bits;
    uint64_t offset = index << image->block_bits;
    uint64_t flat = dir->size - dir->tail_size;
    uint32_t first_name;
    int err;

    assert(offset < dir->size);
    if (!dir->is_readable) {
        return -EOPNOTSUPP;
    }
    out->size = (uint32_t)min_of(block_size, dir->size - offset);
    err = erofs_bytes(image, offset < flat ? dir->data + offset : dir->tail + (offset - flat),
                      out->size, &out->view);
    if (err < 0) {
        return err;
    }
    first_name = out->size >= EROFS_ENTRY_SIZE ? load_le16(out->view.bytes + 8) : 0;
    if (first_name < EROFS_ENTRY_SIZE || first_name % EROFS_ENTRY_SIZE != 0 ||
        first_name > out->size) {
        erofs_view_put(&out->view);
        return erofs_broken(image, "directory block without entries");
    }
    out->count = first_name / EROFS_ENTRY_SIZE;
    return 0;
}

/* The n-th name of a block; false: it lies outside. */
static ALWAYS_INLINE bool name_at(const struct block *b, uint32_t n, struct text *out)
{
    const uint8_t *entry = b->view.bytes + (size_t)n * EROFS_ENTRY_SIZE;
    uint32_t start = load_le16(entry + 8);
    uint32_t end = n + 1 < b->count ? load_le16(entry + EROFS_ENTRY_SIZE + 8) : b->size;

    if (start < b->count * EROFS_ENTRY_SIZE || start >= end || end > b->size) {
        return false;
    }
    out->at = (const char *)b->view.bytes + start;
    out->length = end - start;
    if (n + 1 == b->count) {
        out->length = (uint32_t)strnlen(out->at, out->length);
    }
    return out->length > 0 && out->length <= 255;
}

/* Eight bytes at a time while both go on, and the names' ends one by one. */
static int compare(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t n = min_of(a_length, b_length);
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t x = load_be64(a + i);
        uint64_t y = load_be64(b + i);

        if (x != y) {
            return x < y ? -1 : 1;
        }
    }
    for (; i < n; i++) {
        if (a[i] != b[i]) {
            return (uint8_t)a[i] < (uint8_t)b[i] ? -1 : 1;
        }
    }
    return a_length == b_length ? 0 : (a_length < b_length ? -1 : 1);
}

/* The first bytes of a name as a number that sorts as they do; zeros follow a short one. */
static uint64_t key_of(const char *name, size_t length)
{
    uint64_t key = 0;

    if (length >= 8) {
        return load_be64(name);
    }
    for (size_t i = 0; i < length; i++) {
        key |= (uint64_t)(uint8_t)name[i] << (56 - 8 * i);
    }
    return key;
}

struct range {
    uint32_t low;
    uint32_t high;
};

/*
 * Narrow the search by the names' first eight bytes, where these decide; `r.low` to `r.high` are
 * the entries that may be the one. Ends at a middle that needs the full look: the block's last
 * entry, a name that begins alike, or one that is broken. A function of its own for its registers:
 * most of a lookup is here.
 */
static NEVER_INLINE struct range narrow(const struct block *b, uint64_t key, struct range r)
{
    const uint8_t *bytes = b->view.bytes;
    uint32_t size = b->size;
    uint32_t last = b->count - 1;

    while (r.low < r.high) {
        uint32_t mid = (r.low + r.high) / 2; /* at most 2 * 341 */
        const uint8_t *entry = bytes + (size_t)mid * EROFS_ENTRY_SIZE;
        uint32_t start = load_le16(entry + 8);

        if (mid >= last || start + 8 > size) {
            break;
        }
        uint64_t text = load_be64(bytes + start);
        uint64_t difference = text ^ key;
        uint32_t length = load_le16(entry + EROFS_ENTRY_SIZE + 8) - start;

        /* What follows a name that is shorter is the next one's. */
        if (difference == 0 || length > 255 ||
            (unsigned)__builtin_clzll(difference) >= 8 * length) {
            break;
        }
        if (key < text) {
            r.high = mid;
        } else {
            r.low = mid + 1;
        }
    }
    return r;
}

static int find_in_block(struct erofs_image *image, const struct block *b, const char *name,
                         size_t length, uint64_t *nid)
{
    uint64_t key = key_of(name, length);
    struct range r = narrow(b, key, (struct range){ 0, b->count });

    while (r.low < r.high) {
        uint32_t mid = (r.low + r.high) / 2;
        struct text t;
        int order;

        if (!name_at(b, mid, &t)) {
            return erofs_broken(image, "directory entry with a bad name");
        }
        order = compare(name, length, t.at, t.length);
        if (order == 0) {
            *nid = load_le64(b->view.bytes + (size_t)mid * EROFS_ENTRY_SIZE);
            return 0;
        }
        if (order < 0) {
            r.high = mid;
        } else {
            r.low = mid + 1;
        }
        r = narrow(b, key, r);
    }
    return -ENOENT;
}

int erofs_lookup(struct erofs_image *image, const struct erofs_inode *dir, const char *name,
                 size_t length, uint64_t *nid)
{
    uint64_t low = 0;
    uint64_t high = div_ceil(dir->size, UINT64_C(1) << image->block_bits);

    /* The last block whose first name is not above ours is the only one that may hold it. */
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        struct block b;
        struct text t;
        int err = block_get(image, dir, mid, &b);
        int order = 1;

        if (err < 0) {
            return err;
        }
        if (high - low > 1) { /* else it is this one or none */
            if (!name_at(&b, 0, &t)) {
                erofs_view_put(&b.view);
                return erofs_broken(image, "directory entry with a bad name");
            }
            order = compare(name, length, t.at, t.length);
        }
        if (order < 0) {
            high = mid;
            err = -ENOENT;
        } else {
            err = find_in_block(image, &b, name, length, nid);
            low = mid + 1;
        }
        erofs_view_put(&b.view);
        if (err != -ENOENT) {
            return err;
        }
    }
    return -ENOENT;
}

void erofs_dir_begin(struct erofs_dir *d, struct erofs_image *image,
                     const struct erofs_inode *inode)
{
    d->image = image;
    d->inode = inode;
    d->block = NULL;
    d->page = NULL;
    d->block_start = 0;
    d->entries_end = 0;
    d->block_size = 0;
}

void erofs_dir_end(struct erofs_dir *d)
{
    if (d->page) {
        page_put(d->page);
        d->page = NULL;
    }
    d->entries_end = 0; /* no position lies in the block */
}

int erofs_dir_load(struct erofs_dir *d, uint64_t *pos)
{
    unsigned bits = d->image->block_bits;

    while (*pos < d->inode->size) {
        uint64_t start = align_down(*pos, UINT64_C(1) << bits);
        struct block b;
        int err;

        erofs_dir_end(d);
        err = block_get(d->image, d->inode, *pos >> bits, &b);
        if (err < 0) {
            return err;
        }
        d->block = b.view.bytes;
        d->page = b.view.page;
        d->block_start = start;
        d->entries_end = start + (uint64_t)b.count * EROFS_ENTRY_SIZE;
        d->block_size = b.size;
        if (*pos < d->entries_end) {
            return 1;
        }
        *pos = start + (UINT64_C(1) << bits);
    }
    return 0;
}

void erofs_dir_broken(const struct erofs_dir *d)
{
    (void)erofs_broken(d->image, "directory entry with a bad name");
}
