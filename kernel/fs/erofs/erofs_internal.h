/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of erofs/: bytes of the image. */
#pragma once

#include <fs/erofs/erofs.h>

struct erofs_view {
    const uint8_t *bytes;
    struct page *page;
};

/* Bytes in place; on a device they must not cross a page. Checked against the image's size. */
int erofs_bytes(struct erofs_image *image, uint64_t offset, size_t size,
                struct erofs_view *out) MUST_CHECK;
void erofs_view_put(struct erofs_view *v);
int erofs_copy(struct erofs_image *image, uint64_t offset, void *buf, size_t size) MUST_CHECK;

/* Says once what is wrong; -EUCLEAN. */
int erofs_broken(struct erofs_image *image, const char *what);
