/* SPDX-License-Identifier: Apache-2.0 */
/* The superblock and the bytes behind it. Format: Documentation/filesystems/erofs.rst of Linux. */
#include <core/log.h>
#include <core/string.h>
#include <fs/dev.h>
#include <fs/erofs/erofs.h>
#include <fs/erofs/erofs_internal.h>
#include <mm/reclaim.h>

#define SUPER_OFFSET 1024u
#define SUPER_SIZE   128u

#define COMPAT_CHECKSUM 0x1u

#define INCOMPAT_ZERO_PADDING   0x01u
#define INCOMPAT_BIG_PCLUSTER   0x02u
#define INCOMPAT_CHUNKED_FILE   0x04u
#define INCOMPAT_ZTAILPACKING   0x10u
#define INCOMPAT_FRAGMENTS      0x20u
#define INCOMPAT_XATTR_PREFIXES 0x40u
/* These change single files only, and those files are refused when read. */
#define INCOMPAT_KNOWN                                                                             \
    (INCOMPAT_ZERO_PADDING | INCOMPAT_BIG_PCLUSTER | INCOMPAT_CHUNKED_FILE |                       \
     INCOMPAT_ZTAILPACKING | INCOMPAT_FRAGMENTS | INCOMPAT_XATTR_PREFIXES)

static int read_cached_page(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    struct erofs_image *image = m->private;
    uint64_t left = image->size - (index << PAGE_SHIFT);
    struct page *p;
    int err;

    (void)how;
    assert(index << PAGE_SHIFT < image->size);
    p = mapping_lookup(m, index);
    if (!p) {
        /* Above the reserve: a cache must not take what lets the machine go on. */
        p = page_alloc_reclaim(GFP_USER | (left < PAGE_SIZE ? GFP_ZERO : GFP_KERNEL));
        if (!p) {
            return -ENOMEM;
        }
        err = image->device->read(image->device, index << (PAGE_SHIFT - 9), page_address(p),
                                  (size_t)(min_of(left, PAGE_SIZE) >> 9));
        if (err == 0) {
            err = mapping_insert(m, index, p);
        }
        if (err == -EEXIST) { /* somebody read it meanwhile; ours is as good */
            err = 0;
        }
        if (err < 0) {
            page_put(p);
            return err;
        }
    }
    out->page = p;
    out->pa = page_to_phys(p);
    return 0;
}

static const struct mapping_ops cache_ops = { .get = read_cached_page };

int erofs_bytes(struct erofs_image *image, uint64_t offset, size_t size, struct erofs_view *out)
{
    struct frame frame;
    int err;

    out->page = NULL;
    if (!range_fits(offset, size, image->size)) {
        return erofs_broken(image, "offset outside the image");
    }
    if (image->bytes) {
        out->bytes = image->bytes + offset;
        return 0;
    }
    assert((offset & ~PAGE_MASK) + size <= PAGE_SIZE);
    err = read_cached_page(&image->cache, offset >> PAGE_SHIFT, MAPPING_READ, &frame);
    if (err < 0) {
        return err;
    }
    out->page = frame.page;
    out->bytes = (const uint8_t *)phys_to_virt(frame.pa) + (offset & ~PAGE_MASK);
    return 0;
}

void erofs_view_put(struct erofs_view *v)
{
    if (v->page) {
        page_put(v->page);
        v->page = NULL;
    }
}

int erofs_copy(struct erofs_image *image, uint64_t offset, void *buf, size_t size)
{
    uint8_t *to = buf;

    if (!range_fits(offset, size, image->size)) {
        return erofs_broken(image, "offset outside the image");
    }
    while (size > 0) {
        size_t n = image->bytes ? size : min_of(size, (size_t)(PAGE_SIZE - (offset & ~PAGE_MASK)));
        struct erofs_view v;
        int err = erofs_bytes(image, offset, n, &v);

        if (err < 0) {
            return err;
        }
        memcpy(to, v.bytes, n);
        erofs_view_put(&v);
        to += n;
        offset += n;
        size -= n;
    }
    return 0;
}

int erofs_broken(struct erofs_image *image, const char *what)
{
    if (!image->has_warned) {
        image->has_warned = true;
        log_warn("erofs: damaged image: %s", what);
    }
    return -EUCLEAN;
}

/* The checksum covers the superblock to the end of its block, with the checksum itself as zero. */
static int check_sum(struct erofs_image *image, uint32_t expected)
{
    uint64_t end = max_of(UINT64_C(1) << image->block_bits, (uint64_t)SUPER_OFFSET + SUPER_SIZE);
    static const uint8_t zero[4];
    uint64_t at = SUPER_OFFSET;
    uint32_t crc = UINT32_MAX;

    if ((UINT64_C(1) << image->block_bits) <= SUPER_OFFSET) {
        end = SUPER_OFFSET + (UINT64_C(1) << image->block_bits);
    }
    while (at < end) {
        size_t n = (size_t)(end - at);
        struct erofs_view v;
        int err;

        if (at == SUPER_OFFSET) {
            n = 4;
        } else if (at == SUPER_OFFSET + 4) {
            crc = crc32c(crc, zero, sizeof(zero));
            at += 4;
            continue;
        }
        err = erofs_bytes(image, at, n, &v);
        if (err < 0) {
            return err;
        }
        crc = crc32c(crc, v.bytes, n);
        erofs_view_put(&v);
        at += n;
    }
    return crc == expected ? 0 : -EUCLEAN;
}

static int read_super(struct erofs_image *image, unsigned flags, const char **why)
{
    uint8_t sb[SUPER_SIZE];
    uint32_t incompat;
    int err;

    if (image->size < SUPER_OFFSET + SUPER_SIZE) {
        *why = "the image is too small to be EROFS";
        return -EINVAL;
    }
    err = erofs_copy(image, SUPER_OFFSET, sb, sizeof(sb));
    if (err < 0) {
        *why = "the superblock cannot be read";
        return err;
    }
    if (load_le32(sb) != EROFS_MAGIC) {
        *why = "not an EROFS image (bad magic number)";
        return -EINVAL;
    }
    image->block_bits = sb[12];
    if (image->block_bits < 9 || image->block_bits > PAGE_SHIFT) {
        *why = "block size is not 512 to 4096 bytes";
        return -EINVAL;
    }
    incompat = load_le32(sb + 80);
    if (incompat & ~INCOMPAT_KNOWN) {
        *why = "the image needs a feature that is not supported (several devices, 48-bit layout)";
        return -EOPNOTSUPP;
    }
    if (sb[90] != 0) {
        *why = "directory blocks of more than one block are not supported";
        return -EOPNOTSUPP;
    }
    image->block_count = load_le32(sb + 36);
    if (image->block_count << image->block_bits > image->size) {
        *why = "the image is truncated";
        return -EUCLEAN;
    }
    if ((load_le32(sb + 8) & COMPAT_CHECKSUM) && !(flags & EROFS_SKIP_CHECKSUM) &&
        check_sum(image, load_le32(sb + 4)) < 0) {
        *why = "the superblock's checksum is wrong";
        return -EUCLEAN;
    }
    image->root_nid = load_le16(sb + 14);
    image->inode_count = load_le64(sb + 16);
    image->build_sec = (int64_t)load_le64(sb + 24);
    image->build_nsec = load_le32(sb + 32) % 1000000000u;
    image->meta_offset = (uint64_t)load_le32(sb + 40) << image->block_bits;
    return 0;
}

static size_t shrink_cache(struct reclaimer *r, size_t want)
{
    struct erofs_image *image = container_of(r, struct erofs_image, reclaimer);

    return mapping_shrink(&image->cache, want, &image->reclaim_cursor);
}

int erofs_open(struct erofs_image *image, unsigned flags, const char **why)
{
    struct erofs_inode root;
    int err;

    mapping_init(&image->cache, &cache_ops, NULL);
    image->cache.private = image;
    image->has_frames = image->bytes && is_aligned(image->pa, PAGE_SIZE);
    err = read_super(image, flags, why);
    if (err == 0) {
        err = erofs_inode_read(image, image->root_nid, &root);
        if (err < 0) {
            *why = "the root directory cannot be read";
        } else if ((root.mode & 0170000u) != 0040000u) {
            *why = "the root is not a directory";
            err = -EUCLEAN;
        }
    }
    if (err < 0) {
        mapping_drop(&image->cache, 0, UINT64_MAX);
    } else if (!image->bytes) {
        image->reclaimer.shrink = shrink_cache;
        reclaim_register(&image->reclaimer);
    }
    return err;
}

void erofs_close(struct erofs_image *image)
{
    if (image->reclaimer.shrink) {
        reclaim_unregister(&image->reclaimer);
    }
    mapping_drop(&image->cache, 0, UINT64_MAX);
}
