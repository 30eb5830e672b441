/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EROFS images: whatever the bytes say, every file that can be reached is listed, looked up and
 * read without leaving the image, and the walk ends.
 */
#include <stddef.h>
#include <stdint.h>

#include <core/errno.h>
#include <fs/erofs/erofs.h>
#include <host/host.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEPTH_MAX 4u
#define BUDGET    400u /* entries visited in all */

static unsigned budget;

static void read_some(struct erofs_image *image, const struct erofs_inode *inode)
{
    static uint8_t buf[8192];
    uint64_t offsets[] = { 0, inode->size / 2, inode->size > 16 ? inode->size - 16 : 0 };

    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        uint64_t left = inode->size - offsets[i];
        paddr_t pa;

        if (erofs_read(image, inode, offsets[i], buf, left < sizeof(buf) ? left : sizeof(buf)) <
            0) {
            return;
        }
        uint64_t run = erofs_frames(image, inode, offsets[i] / 4096, &pa);

        /* Frames that are given out lie inside the image as a whole. */
        assert(run == 0 ||
               (pa - image->pa <= image->size && run <= (image->size - (pa - image->pa)) / 4096));
    }
}

static void visit(struct erofs_image *image, uint64_t nid, unsigned depth)
{
    struct erofs_inode inode;
    struct erofs_dirent entry;
    struct erofs_dir d;
    uint64_t pos = 0;
    uint64_t found;

    if (erofs_inode_read(image, nid, &inode) < 0) {
        return;
    }
    if ((inode.mode & 0170000u) != 0040000u) {
        read_some(image, &inode);
        return;
    }
    if (depth == DEPTH_MAX) {
        return;
    }
    erofs_dir_begin(&d, image, &inode);
    while (budget > 0 && erofs_dir_next(&d, pos, &entry) == 1) {
        budget--;
        assert(entry.next > pos); /* or a listing would never end */
        pos = entry.next;
        (void)!erofs_lookup(image, &inode, entry.name, entry.name_length, &found);
        visit(image, entry.nid, depth + 1);
    }
    erofs_dir_end(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct erofs_image image = { .bytes = data, .size = size };
    const char *why;

    if (erofs_open(&image, size % 2 ? 0 : EROFS_SKIP_CHECKSUM, &why) == 0) {
        budget = BUDGET;
        visit(&image, image.root_nid, 0);
        erofs_close(&image);
    }
    return 0;
}
