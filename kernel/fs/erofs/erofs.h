/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading EROFS images: uncompressed files only (flat plain and flat inline layouts). An image is
 * either memory (a root image that the monitor mapped; its bytes are used where they lie) or a
 * block device (metadata through a page cache of its own).
 *
 * The image is untrusted: every offset and count is checked against the image's size before use;
 * what does not hold is -EUCLEAN with one log line. Nothing here changes an image. All functions
 * may sleep when the image is on a device.
 */
#pragma once

#include <base/bytes.h>
#include <core/string.h>
#include <core/types.h>
#include <mm/mapping.h>
#include <mm/reclaim.h>

struct block_device;

#define EROFS_MAGIC 0xe0f5e1e2u

struct erofs_image {
    const uint8_t *bytes; /* mapped image; NULL: device */
    paddr_t pa;           /* of bytes[0]; frames are given out only if it is page-aligned */
    bool has_frames;
    struct block_device *device;
    struct mapping cache;       /* device: pages of metadata */
    struct reclaimer reclaimer; /* gives them back; device only */
    uint64_t reclaim_cursor;
    uint64_t size;        /* bytes that exist */
    unsigned block_bits;  /* 9..12 */
    uint64_t meta_offset; /* of inode 0 */
    uint64_t root_nid;
    uint64_t inode_count; /* as the image says; for statfs only */
    uint64_t block_count;
    int64_t build_sec;
    uint32_t build_nsec;
    bool has_warned; /* log lines about one image are few */
};

struct erofs_inode {
    uint64_t nid;
    uint64_t size;
    uint64_t data;      /* offset in the image of the flat part */
    uint64_t tail;      /* offset of the inline tail */
    uint32_t tail_size; /* bytes in it, 0: none */
    uint32_t mode;
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev; /* as mkfs encodes it: Linux's new_encode_dev */
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    bool is_readable; /* false: compressed or chunked: its data answers -EOPNOTSUPP */
};

enum erofs_open_flags {
    EROFS_SKIP_CHECKSUM = 1u << 0, /* the monitor has checked the superblock's checksum */
};

/*
 * Look at the superblock. The caller has set bytes/pa or device, and size. 0, or -errno with *why
 * naming what is wrong, in words for the person who boots it.
 */
int erofs_open(struct erofs_image *image, unsigned flags, const char **why) MUST_CHECK;
void erofs_close(struct erofs_image *image);

int erofs_inode_read(struct erofs_image *image, uint64_t nid, struct erofs_inode *out) MUST_CHECK;

/* Find a name. 0 and *nid, or -ENOENT, -EUCLEAN, -EIO. */
int erofs_lookup(struct erofs_image *image, const struct erofs_inode *dir, const char *name,
                 size_t length, uint64_t *nid) MUST_CHECK;

struct erofs_dirent {
    uint64_t nid;
    const char *name; /* valid until the next call */
    uint32_t name_length;
    unsigned type; /* DT_* */
    uint64_t next; /* position to go on from */
};

/* An iteration over a directory; erofs_dir_end() gives back what it holds. */
struct erofs_dir {
    struct erofs_image *image;
    const struct erofs_inode *inode;
    const uint8_t *block;
    struct page *page;    /* counted, or NULL */
    uint64_t block_start; /* positions of the block's entries: from here, */
    uint64_t entries_end; /* to here */
    uint32_t block_size;
};

void erofs_dir_begin(struct erofs_dir *d, struct erofs_image *image,
                     const struct erofs_inode *inode);
void erofs_dir_end(struct erofs_dir *d);
/* Make the block of *pos, or the next one with an entry, the current one. 1, 0: no more, -errno. */
int erofs_dir_load(struct erofs_dir *d, uint64_t *pos) MUST_CHECK;
void erofs_dir_broken(const struct erofs_dir *d); /* says so, once */

#define EROFS_ENTRY_SIZE 12u

/* A block of entries as a listing goes through it. */
struct erofs_entries {
    const uint8_t *bytes;
    uint32_t end;  /* of the entries */
    uint32_t size; /* of the block */
};

static ALWAYS_INLINE struct erofs_entries erofs_dir_entries(const struct erofs_dir *d)
{
    return (struct erofs_entries){ .bytes = d->block,
                                   .end = (uint32_t)(d->entries_end - d->block_start),
                                   .size = d->block_size };
}

/*
 * The entry at offset `at` of a block, a multiple of the entries' size below `end`; all but
 * out->next. False: its name is broken. Inline: listing is a large part of some programs' start.
 */
static ALWAYS_INLINE bool erofs_entry_at(const struct erofs_entries *b, uint32_t at,
                                         struct erofs_dirent *out)
{
    /* EROFS counts types from 1 in the order of Linux's FT_*. */
    static const uint8_t types[256] = { 0, 8, 4, 2, 6, 1, 12, 10 };
    const uint8_t *entry = b->bytes + at;
    bool is_last = at + EROFS_ENTRY_SIZE == b->end;
    uint32_t start = load_le16(entry + 8);
    uint32_t end = is_last ? b->size : load_le16(entry + EROFS_ENTRY_SIZE + 8);

    if (unlikely(start < b->end || start >= end || end > b->size)) {
        return false;
    }
    out->name = (const char *)b->bytes + start;
    out->name_length = is_last ? (uint32_t)strnlen(out->name, end - start) : end - start;
    out->nid = load_le64(entry);
    out->type = types[entry[10]];
    return likely(out->name_length - 1 <= 254);
}

/*
 * The entry at or after byte position `pos`, which may be anything ("." and ".." included). 1, 0 at
 * the end, -errno.
 */
static inline int erofs_dir_next(struct erofs_dir *d, uint64_t pos, struct erofs_dirent *out)
{
    if (pos < d->block_start || pos >= d->entries_end) {
        int n = erofs_dir_load(d, &pos);

        if (n <= 0) {
            return n;
        }
    }
    struct erofs_entries block = erofs_dir_entries(d);
    uint32_t at = (uint32_t)(pos - d->block_start) / EROFS_ENTRY_SIZE * EROFS_ENTRY_SIZE;

    if (!erofs_entry_at(&block, at, out)) {
        erofs_dir_broken(d);
        return -EUCLEAN;
    }
    out->next = d->block_start + at + EROFS_ENTRY_SIZE;
    return 1;
}

/* Bytes of a file: exactly `size` from `offset`, which must lie inside it. */
int erofs_read(struct erofs_image *image, const struct erofs_inode *inode, uint64_t offset,
               void *buf, size_t size) MUST_CHECK;

/* Pages from `index` on that lie as whole frames in a mapped image, contiguous; 0: none. */
uint64_t erofs_frames(const struct erofs_image *image, const struct erofs_inode *inode,
                      uint64_t index, paddr_t *first);

/* CRC-32C (Castagnoli), continued from `crc`, not inverted. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);
