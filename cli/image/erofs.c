/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EROFS writer. First everything gets its place (plan_*), then blocks are written front to back
 * in one pass: superblock and inodes, then directories that are too large to lie beside their
 * inode, then files.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sha256.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/checked.h>

#include "../files.h"
#include "erofs.h"

#define SUPER_OFFSET       1024u
#define SUPER_SIZE         128u
#define SUPER_MAGIC        UINT32_C(0xE0F5E1E2)
#define COMPAT_SB_CHECKSUM 1u

#define SLOT_SIZE                                                                                  \
    32u /* inodes are numbered in these; a compact inode is one, an extended one two */
#define INODE_SIZE          32u
#define INODE_EXTENDED_SIZE 64u
#define FORMAT_EXTENDED     1u
#define LAYOUT_PLAIN        (0u << 1)
#define LAYOUT_INLINE       (2u << 1)

#define DIRENT_SIZE 12u

static const uint8_t fixed_uuid[16] = { 'd',  'r', 'u', 'p', 'e', ' ', 0x40, 'i',
                                        0x80, 'm', 'a', 'g', 'e', ' ', 'v',  '1' };

struct writer {
    struct image_tree *tree;
    int fd;
    struct buffer meta; /* blocks 0...: superblock, inodes and what lies beside them */
    uint64_t inodes;
    uint64_t next_block;
    SHA2_CTX sha;
    const struct image_node *culprit;
};

/* ---- CRC-32C, as the kernel computes it for the superblock: seed ~0, no inversion at the end
 * ----- */

static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t size)
{
    while (size-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (UINT32_C(0x82F63B78) & (0u - (crc & 1)));
        }
    }
    return crc;
}

/* ---- Directories -------------------------------------------------------------------------------
 */

/* The entries of a directory in the order of names, "." and ".." among them. */
struct entry_iterator {
    const struct image_node *dir;
    size_t next_child;
    unsigned dots; /* how many of "." and ".." are out */
};

struct entry {
    const char *name;
    const struct image_node *node;
};

static bool entry_next(struct entry_iterator *it, struct entry *out)
{
    static const char *const dots[] = { ".", ".." };
    const struct image_node *child =
        it->next_child < it->dir->child_count ? it->dir->children[it->next_child] : NULL;

    if (it->dots < 2 && (!child || strcmp(dots[it->dots], child->name) < 0)) {
        out->name = dots[it->dots];
        out->node = it->dots == 0 ? it->dir : it->dir->parent;
        it->dots++;
        return true;
    }
    if (!child) {
        return false;
    }
    out->name = child->name;
    out->node = child->link ? child->link : child;
    it->next_child++;
    return true;
}

static uint8_t entry_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 1;
    case S_IFDIR:
        return 2;
    case S_IFCHR:
        return 3;
    case S_IFBLK:
        return 4;
    case S_IFIFO:
        return 5;
    case S_IFSOCK:
        return 6;
    case S_IFLNK:
        return 7;
    default:
        return 0;
    }
}

/* One block: the records, then the names; the first record's name offset tells how many there are.
 */
static size_t format_dir_block(const struct entry *entries, size_t count, uint8_t *block)
{
    size_t name_at = count * DIRENT_SIZE;

    for (size_t i = 0; i < count; i++) {
        uint8_t *record = block + i * DIRENT_SIZE;
        size_t size = strlen(entries[i].name);

        store_le64(record, entries[i].node->nid);
        store_le16(record + 8, (uint16_t)name_at);
        record[10] = entry_type(entries[i].node->mode);
        record[11] = 0;
        memcpy(block + name_at, entries[i].name, size);
        name_at += size;
    }
    assert(name_at <= EROFS_BLOCK_SIZE);
    return name_at;
}

/*
 * Append the directory's blocks to `out`, all but the last one padded. Sizes do not depend on the
 * inode numbers, so the plan may call this before they are known.
 */
static void format_dir(const struct image_node *dir, struct buffer *out)
{
    struct entry entries[EROFS_BLOCK_SIZE / (DIRENT_SIZE + 1)];
    struct entry_iterator it = { .dir = dir };
    struct entry e = { 0 };
    uint8_t block[EROFS_BLOCK_SIZE];
    size_t count = 0;
    size_t used = 0;

    while (entry_next(&it, &e)) {
        size_t size = DIRENT_SIZE + strlen(e.name);

        if (used + size > EROFS_BLOCK_SIZE) {
            memset(block, 0, sizeof(block));
            (void)format_dir_block(entries, count, block);
            buffer_add(out, block, sizeof(block));
            count = 0;
            used = 0;
        }
        assert(count < array_size(entries));
        entries[count++] = e;
        used += size;
    }
    memset(block, 0, sizeof(block));
    buffer_add(out, block, format_dir_block(entries, count, block));
}

/* ---- The plan ----------------------------------------------------------------------------------
 */

static void count_links(struct image_node *n)
{
    n->link_count = S_ISDIR(n->mode) ? 2 : 1;
    for (size_t i = 0; i < n->child_count; i++) {
        count_links(n->children[i]);
        n->link_count += S_ISDIR(n->children[i]->mode);
    }
}

static void count_hard_links(struct image_node *n)
{
    if (n->link) {
        n->link->link_count++;
    }
    for (size_t i = 0; i < n->child_count; i++) {
        count_hard_links(n->children[i]);
    }
}

/* Bytes that lie beside the inode when the node's last block is kept there. */
static uint32_t tail_size(const struct image_node *n)
{
    return (uint32_t)(n->size % EROFS_BLOCK_SIZE);
}

/* Give one inode its slot: it and its tail must lie in one block. */
static int plan_inode(struct writer *w, struct image_node *n, uint64_t *offset)
{
    if (S_ISDIR(n->mode)) {
        CLEANUP_BUFFER entries = { 0 };

        format_dir(n, &entries);
        n->size = entries.size;
    }
    n->is_extended = n->size > UINT32_MAX || n->uid > UINT16_MAX || n->gid > UINT16_MAX ||
                     n->link_count > UINT16_MAX;
    uint32_t inode_size = n->is_extended ? INODE_EXTENDED_SIZE : INODE_SIZE;
    uint32_t tail = S_ISREG(n->mode) ? 0 : tail_size(n);

    n->is_inline = tail > 0 && tail <= EROFS_BLOCK_SIZE - inode_size;
    uint32_t size = inode_size + (n->is_inline ? tail : 0);

    if (*offset % EROFS_BLOCK_SIZE + size > EROFS_BLOCK_SIZE) {
        *offset = align_up(*offset, (uint64_t)EROFS_BLOCK_SIZE);
    }
    n->nid = *offset / SLOT_SIZE;
    *offset = align_up(*offset + size, (uint64_t)SLOT_SIZE);
    w->inodes++;
    return 0;
}

static int plan_inodes(struct writer *w, struct image_node *n, uint64_t *offset)
{
    int err = n->link ? 0 : plan_inode(w, n, offset);

    for (size_t i = 0; i < n->child_count && err == 0; i++) {
        err = plan_inodes(w, n->children[i], offset);
    }
    return err;
}

static uint64_t data_blocks(const struct image_node *n)
{
    return n->is_inline ? n->size / EROFS_BLOCK_SIZE
                        : div_ceil(n->size, (uint64_t)EROFS_BLOCK_SIZE);
}

static bool has_data(const struct image_node *n)
{
    return !n->link && (S_ISREG(n->mode) || S_ISDIR(n->mode) || S_ISLNK(n->mode));
}

/* Directories and links come first: they are what the first look-ups read. */
static int plan_data(struct writer *w, struct image_node *n, bool is_for_files)
{
    if (has_data(n) && (bool)S_ISREG(n->mode) == is_for_files) {
        uint64_t blocks = data_blocks(n);

        if (blocks > UINT32_MAX - w->next_block) {
            return -EFBIG;
        }
        n->block = blocks ? (uint32_t)w->next_block : 0;
        w->next_block += blocks;
    }
    int err = 0;

    for (size_t i = 0; i < n->child_count && err == 0; i++) {
        err = plan_data(w, n->children[i], is_for_files);
    }
    return err;
}

/* ---- Inodes and superblock ---------------------------------------------------------------------
 */

static void format_inode(const struct image_node *n, uint8_t *p)
{
    uint32_t place = S_ISCHR(n->mode) || S_ISBLK(n->mode) ? n->device : n->block;
    uint16_t layout = n->is_inline ? LAYOUT_INLINE : LAYOUT_PLAIN;

    store_le16(p, (uint16_t)(layout | (n->is_extended ? FORMAT_EXTENDED : 0)));
    store_le16(p + 4, (uint16_t)n->mode);
    store_le32(p + 16, place);
    store_le32(p + 20, (uint32_t)n->nid); /* i_ino, for 32-bit stat only */
    if (n->is_extended) {
        store_le64(p + 8, n->size);
        store_le32(p + 24, n->uid);
        store_le32(p + 28, n->gid);
        store_le64(p + 32, EROFS_FIXED_TIME_S);
        store_le32(p + 44, n->link_count);
    } else {
        store_le16(p + 6, (uint16_t)n->link_count);
        store_le32(p + 8, (uint32_t)n->size);
        store_le16(p + 24, (uint16_t)n->uid);
        store_le16(p + 26, (uint16_t)n->gid);
    }
}

static void format_inodes(struct writer *w, const struct image_node *n)
{
    if (!n->link) {
        uint64_t offset = n->nid * SLOT_SIZE;
        uint32_t inode_size = n->is_extended ? INODE_EXTENDED_SIZE : INODE_SIZE;
        uint8_t *p = (uint8_t *)w->meta.data + offset;

        assert(range_fits(offset, inode_size + (n->is_inline ? tail_size(n) : 0), w->meta.size));
        format_inode(n, p);
        if (n->is_inline && S_ISDIR(n->mode)) {
            CLEANUP_BUFFER entries = { 0 };

            format_dir(n, &entries);
            memcpy(p + inode_size, entries.data + entries.size - tail_size(n), tail_size(n));
        } else if (n->is_inline) {
            memcpy(p + inode_size, n->bytes + n->size - tail_size(n), tail_size(n));
        }
    }
    for (size_t i = 0; i < n->child_count; i++) {
        format_inodes(w, n->children[i]);
    }
}

static void format_super(struct writer *w)
{
    uint8_t *block = (uint8_t *)w->meta.data;
    uint8_t *p = block + SUPER_OFFSET;

    store_le32(p, SUPER_MAGIC);
    store_le32(p + 8, COMPAT_SB_CHECKSUM);
    p[12] = 12; /* log2 of the block size */
    store_le16(p + 14, (uint16_t)w->tree->root.nid);
    store_le64(p + 16, w->inodes);
    store_le64(p + 24, EROFS_FIXED_TIME_S);
    store_le32(p + 36, (uint32_t)w->next_block);
    memcpy(p + 48, fixed_uuid, sizeof(fixed_uuid));
    store_le32(p + 4, crc32c(UINT32_MAX, p, EROFS_BLOCK_SIZE - SUPER_OFFSET));
}

/* ---- Writing -----------------------------------------------------------------------------------
 */

static int emit(struct writer *w, const void *bytes, size_t size)
{
    SHA256Update(&w->sha, bytes, size);
    return fd_write_all(w->fd, bytes, size);
}

static int emit_dir(struct writer *w, const struct image_node *n)
{
    CLEANUP_BUFFER entries = { 0 };
    static const char zeros[EROFS_BLOCK_SIZE];
    size_t size = (size_t)(data_blocks(n) * EROFS_BLOCK_SIZE);

    format_dir(n, &entries);
    if (entries.size < size) {
        buffer_add(&entries, zeros, size - entries.size);
    }
    return emit(w, entries.data, size);
}

static int emit_file(struct writer *w, const struct image_node *n)
{
    CLEANUP_FD host_fd = -1;
    char chunk[16 * EROFS_BLOCK_SIZE];
    uint64_t end = data_blocks(n) * EROFS_BLOCK_SIZE;

    for (uint64_t at = 0; at < end;) {
        size_t padded = (size_t)min_of(end - at, (uint64_t)sizeof(chunk));
        size_t size = (size_t)min_of(n->size - at, (uint64_t)padded);
        int err = tree_read(w->tree, n, &host_fd, at, chunk, size);

        if (err < 0) {
            w->culprit = n;
            return err;
        }
        memset(chunk + size, 0, padded - size);
        err = emit(w, chunk, padded);
        if (err < 0) {
            return err;
        }
        at += padded;
    }
    return 0;
}

static int emit_data(struct writer *w, const struct image_node *n, bool is_for_files)
{
    int err = 0;

    if (has_data(n) && (bool)S_ISREG(n->mode) == is_for_files && data_blocks(n) > 0) {
        err = S_ISDIR(n->mode) ? emit_dir(w, n) : emit_file(w, n);
    }
    for (size_t i = 0; i < n->child_count && err == 0; i++) {
        err = emit_data(w, n->children[i], is_for_files);
    }
    return err;
}

static int plan(struct writer *w)
{
    struct image_node *root = &w->tree->root;
    uint64_t meta_size = SUPER_OFFSET + SUPER_SIZE;

    count_links(root);
    count_hard_links(root);
    int err = plan_inodes(w, root, &meta_size);

    if (err < 0) {
        return err;
    }
    w->next_block = div_ceil(meta_size, (uint64_t)EROFS_BLOCK_SIZE);
    w->meta.size = 0;
    for (uint64_t i = 0; i < w->next_block; i++) {
        static const char zeros[EROFS_BLOCK_SIZE];

        buffer_add(&w->meta, zeros, sizeof(zeros));
    }
    err = plan_data(w, root, false);
    return err < 0 ? err : plan_data(w, root, true);
}

int erofs_write(struct image_tree *t, int fd, struct erofs_summary *out,
                const struct image_node **culprit)
{
    struct writer w = { .tree = t, .fd = fd };
    int err = plan(&w);

    SHA256Init(&w.sha);
    if (err == 0) {
        format_inodes(&w, &t->root);
        format_super(&w);
        err = emit(&w, w.meta.data, w.meta.size);
    }
    if (err == 0) {
        err = emit_data(&w, &t->root, false);
    }
    if (err == 0) {
        err = emit_data(&w, &t->root, true);
    }
    buffer_free(&w.meta);
    *culprit = w.culprit;
    if (err < 0) {
        return err;
    }
    out->size = w.next_block * EROFS_BLOCK_SIZE;
    out->inodes = w.inodes;
    SHA256Final(out->digest, &w.sha);
    return 0;
}

/* ---- Checking ----------------------------------------------------------------------------------
 */

static const char *check_root(int fd, const uint8_t *super, uint64_t size)
{
    uint64_t offset = (uint64_t)load_le32(super + 40) * EROFS_BLOCK_SIZE +
                      (uint64_t)load_le16(super + 14) * SLOT_SIZE;
    uint8_t inode[INODE_SIZE];

    if (!range_fits(offset, sizeof(inode), size) ||
        pread(fd, inode, sizeof(inode), (off_t)offset) != (ssize_t)sizeof(inode)) {
        return "the image is truncated: its root directory lies behind its end";
    }
    return S_ISDIR(load_le16(inode + 4)) ? NULL
                                         : "the image is corrupted: its root is no directory";
}

const char *erofs_check(int fd)
{
    uint8_t block[EROFS_BLOCK_SIZE];
    uint8_t *super = block + SUPER_OFFSET;
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return "cannot be examined";
    }
    if (!S_ISREG(st.st_mode)) {
        return "not a regular file; give an EROFS image, for example one made by drupe pack";
    }
    if (pread(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block)) {
        return "too short for an EROFS image; drupe pack makes one";
    }
    if (load_le32(super) != SUPER_MAGIC) {
        return "not an EROFS image; drupe pack makes one";
    }
    if (super[12] != 12) {
        return "the image's block size is not 4096 bytes; drupe pack makes one that is";
    }
    if (load_le32(super + 8) & COMPAT_SB_CHECKSUM) {
        uint32_t sum = load_le32(super + 4);

        store_le32(super + 4, 0);
        if (crc32c(UINT32_MAX, super, EROFS_BLOCK_SIZE - SUPER_OFFSET) != sum) {
            return "the image is corrupted: wrong checksum; pack it again";
        }
    }
    if ((uint64_t)load_le32(super + 36) * EROFS_BLOCK_SIZE > (uint64_t)st.st_size) {
        return "the image is truncated; pack or copy it again";
    }
    return check_root(fd, super, (uint64_t)st.st_size);
}
