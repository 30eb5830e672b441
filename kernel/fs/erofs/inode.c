/* SPDX-License-Identifier: Apache-2.0 */
/* Inodes and file data. */
#include <core/log.h>
#include <core/string.h>
#include <fs/dev.h>
#include <fs/erofs/erofs_internal.h>

#define COMPACT_SIZE  32u
#define EXTENDED_SIZE 64u
#define SLOT_BITS     5 /* inode numbers count slots of 32 bytes */

enum layout {
    FLAT_PLAIN = 0,
    FLAT_INLINE = 2
};

/* Where the data lies, all checked: flat part, then maybe a tail behind the inode. */
static int place_data(struct erofs_image *image, struct erofs_inode *out, unsigned layout,
                      uint64_t behind_inode, uint32_t block)
{
    uint64_t block_size = UINT64_C(1) << image->block_bits;
    uint64_t flat = out->size;

    out->tail = 0;
    out->tail_size = 0;
    out->data = (uint64_t)block << image->block_bits;
    out->is_readable = layout == FLAT_PLAIN || layout == FLAT_INLINE;
    if (!out->is_readable) {
        return 0;
    }
    if (layout == FLAT_INLINE && out->size > 0) {
        uint64_t tail = out->size & (block_size - 1);

        tail = tail ? tail : block_size;
        flat = out->size - tail;
        if ((behind_inode & (block_size - 1)) + tail > block_size ||
            !range_fits(behind_inode, tail, image->size)) {
            return erofs_broken(image, "inline data crosses its block");
        }
        out->tail = behind_inode;
        out->tail_size = (uint32_t)tail;
    }
    if (flat > 0 && !range_fits(out->data, flat, image->size)) {
        return erofs_broken(image, "file data outside the image");
    }
    return 0;
}

/* The image is mapped read-only for everybody, or the bytes are a private copy: either way what is
 * looked at twice is the same. */
static int inode_bytes(struct erofs_image *image, uint64_t offset, uint8_t copy[EXTENDED_SIZE],
                       const uint8_t **raw)
{
    if (likely(image->bytes && range_fits(offset, EXTENDED_SIZE, image->size))) {
        *raw = image->bytes + offset;
        return 0;
    }
    *raw = copy;
    return erofs_copy(image, offset, copy, COMPACT_SIZE);
}

int erofs_inode_read(struct erofs_image *image, uint64_t nid, struct erofs_inode *out)
{
    uint8_t copy[EXTENDED_SIZE];
    const uint8_t *raw;
    uint64_t offset;
    uint64_t size = COMPACT_SIZE;
    uint32_t xattr_count;
    uint32_t format;
    uint32_t word;
    int err;

    if (nid > UINT64_MAX >> SLOT_BITS ||
        !checked_add(image->meta_offset, nid << SLOT_BITS, &offset)) {
        return erofs_broken(image, "inode number out of range");
    }
    err = inode_bytes(image, offset, copy, &raw);
    if (err < 0) {
        return err;
    }
    format = load_le16(raw);
    xattr_count = load_le16(raw + 2);
    out->nid = nid;
    out->mode = load_le16(raw + 4);
    if (format & 1) {
        size = EXTENDED_SIZE;
        if (raw == copy) {
            err = erofs_copy(image, offset, copy, EXTENDED_SIZE);
            if (err < 0) {
                return err;
            }
        }
        out->size = load_le64(raw + 8);
        word = load_le32(raw + 16);
        out->uid = load_le32(raw + 24);
        out->gid = load_le32(raw + 28);
        out->mtime_sec = (int64_t)load_le64(raw + 32);
        out->mtime_nsec = load_le32(raw + 40) % 1000000000u;
        out->nlink = load_le32(raw + 44);
    } else {
        out->nlink = load_le16(raw + 6);
        out->size = load_le32(raw + 8);
        word = load_le32(raw + 16);
        out->uid = load_le16(raw + 24);
        out->gid = load_le16(raw + 26);
        out->mtime_sec = image->build_sec;
        out->mtime_nsec = image->build_nsec;
    }
    if ((format >> 4) != 0) {
        return erofs_broken(image, "inode of an unknown version");
    }
    if (out->size > INT64_MAX) {
        return erofs_broken(image, "file size out of range");
    }
    out->rdev = 0;
    switch (out->mode & 0170000u) {
    case 0100000u: /* regular */
    case 0040000u: /* directory */
    case 0120000u: /* symbolic link */
        break;
    case 0020000u: /* devices, fifo, socket: no data */
    case 0060000u:
        out->rdev = word;
        __attribute__((fallthrough));
    case 0010000u:
    case 0140000u:
        out->size = 0;
        break;
    default:
        return erofs_broken(image, "inode of an unknown type");
    }
    if (xattr_count > 0) {
        size += 12u + (xattr_count - 1) * 4u;
    }
    return place_data(image, out, (format >> 1) & 7, offset + size, word);
}

int erofs_read(struct erofs_image *image, const struct erofs_inode *inode, uint64_t offset,
               void *buf, size_t size)
{
    uint64_t flat = inode->size - inode->tail_size;
    uint8_t *to = buf;
    size_t n;
    int err;

    if (!inode->is_readable) {
        if (!image->has_warned) {
            image->has_warned = true;
            log_warn("erofs: compressed and chunk-based files are not supported (inode %llu)",
                     (unsigned long long)inode->nid);
        }
        return -EOPNOTSUPP;
    }
    assert(range_fits(offset, size, inode->size));
    if (offset < flat && size > 0) {
        n = (size_t)min_of((uint64_t)size, flat - offset);
        if (!image->bytes && is_aligned((inode->data + offset) | n, 512u)) {
            /* Whole sectors of data go straight to their page, not through the metadata's cache. */
            err = image->device->read(image->device, (inode->data + offset) >> 9, to, n >> 9);
        } else {
            err = erofs_copy(image, inode->data + offset, to, n);
        }
        if (err < 0) {
            return err;
        }
        to += n;
        offset += n;
        size -= n;
    }
    return size > 0 ? erofs_copy(image, inode->tail + (offset - flat), to, size) : 0;
}

uint64_t erofs_frames(const struct erofs_image *image, const struct erofs_inode *inode,
                      uint64_t index, paddr_t *first)
{
    uint64_t flat = inode->size - inode->tail_size;
    uint64_t pages;

    if (!image->has_frames || !inode->is_readable || !is_aligned(inode->data, PAGE_SIZE)) {
        return 0;
    }
    /* The last page counts if the image goes on behind the file to the end of the frame. */
    pages = flat >> PAGE_SHIFT;
    if ((flat & ~PAGE_MASK) && inode->tail_size == 0 &&
        range_fits(inode->data, (pages + 1) << PAGE_SHIFT, image->size)) {
        pages++;
    }
    if (index >= pages) {
        return 0;
    }
    *first = image->pa + inode->data + (index << PAGE_SHIFT);
    return pages - index;
}
