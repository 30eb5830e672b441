/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What getdents(2) gathers: entries in a page while the directory is locked, copied out after that.
 * Inline, for the file system whose listings are long; the others call the emit() that they are
 * given.
 */
#pragma once

#include <base/bytes.h>
#include <core/types.h>
#include <fs/vfs.h>

struct listing {
    struct dir_emit emit;
    uint8_t *page;
    size_t used;
    size_t room;       /* of the page, and of the program's buffer */
    uint64_t cookie;   /* to go on from */
    bool is_old;       /* getdents(2) of old: type at the end */
    bool is_too_small; /* not even one entry fits */
};

/* struct linux_dirent64 and linux_dirent: ino, offset of the next, length; then type and name. */
#define LISTING_HEADER 18u

/* Names are short: words, the last of which may overlap, cost less than a call. */
static ALWAYS_INLINE void listing_copy_name(uint8_t *to, const char *name, size_t length)
{
    if (likely(length >= 8)) {
        for (size_t i = 0; i + 8 < length; i += 8) {
            store_le64(to + i, load_le64(name + i));
        }
        store_le64(to + length - 8, load_le64(name + length - 8));
    } else {
        for (size_t i = 0; i < length; i++) {
            to[i] = (uint8_t)name[i];
        }
    }
}

/* One more entry; false: it does not fit. */
static ALWAYS_INLINE bool listing_add(struct listing *l, const char *name, size_t length,
                                      uint64_t ino, unsigned dtype, uint64_t cookie)
{
    size_t size = align_up(LISTING_HEADER + length + 2, 8);
    uint8_t *at = l->page + l->used;

    if (size > l->room - l->used) {
        l->is_too_small = l->used == 0;
        return false;
    }
    store_le64(at + size - 8, 0);
    store_le64(at, ino);
    store_le64(at + 8, cookie);
    store_le16(at + 16, (uint16_t)size);
    if (unlikely(l->is_old)) {
        listing_copy_name(at + 18, name, length);
        at[18 + length] = '\0';
        at[size - 1] = (uint8_t)dtype;
    } else {
        at[18] = (uint8_t)dtype;
        listing_copy_name(at + 19, name, length); /* the last word is zero already */
    }
    l->used += size;
    l->cookie = cookie;
    return true;
}

/* The emit() of a listing, as the others see it. */
bool listing_emit(struct dir_emit *e, const char *name, size_t length, uint64_t ino, unsigned dtype,
                  uint64_t cookie);
