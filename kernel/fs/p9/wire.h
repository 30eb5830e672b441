/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of 9P2000.L from the client's side: put fields into what goes out, get fields from what
 * came back. The server is not trusted: a field beyond the end reads as zero and is remembered.
 */
#pragma once

#include <core/types.h>

enum p9_type {
    P9_RLERROR = 7,
    P9_TSTATFS = 8,
    P9_TLOPEN = 12,
    P9_TLCREATE = 14,
    P9_TSYMLINK = 16,
    P9_TMKNOD = 18,
    P9_TREADLINK = 22,
    P9_TGETATTR = 24,
    P9_TSETATTR = 26,
    P9_TREADDIR = 40,
    P9_TFSYNC = 50,
    P9_TLINK = 70,
    P9_TMKDIR = 72,
    P9_TRENAMEAT = 74,
    P9_TUNLINKAT = 76,
    P9_TVERSION = 100,
    P9_TATTACH = 104,
    P9_TWALK = 110,
    P9_TREAD = 116,
    P9_TWRITE = 118,
    P9_TCLUNK = 120,
    /* Our monitor's, after version "9P2000.L.drupe" (docs/shares.md). */
    P9_TLOOKUP = 230,
    P9_TOPENNEW = 232,
};

#define P9_HEADER_SIZE 7u
#define P9_TAG_NONE    0xffffu
#define P9_FID_NONE    UINT32_MAX

/* Bytes going out: room was reckoned by the caller. */
struct p9_put {
    uint8_t *bytes;
    uint32_t size;
    uint32_t limit;
};

static inline uint8_t *p9_put_room(struct p9_put *p, uint32_t size)
{
    uint8_t *at = p->bytes + p->size;

    assert(size <= p->limit - p->size);
    p->size += size;
    return at;
}

static inline void p9_put8(struct p9_put *p, uint8_t v)
{
    *p9_put_room(p, 1) = v;
}

static inline void p9_put16(struct p9_put *p, uint16_t v)
{
    store_le16(p9_put_room(p, 2), v);
}

static inline void p9_put32(struct p9_put *p, uint32_t v)
{
    store_le32(p9_put_room(p, 4), v);
}

static inline void p9_put64(struct p9_put *p, uint64_t v)
{
    store_le64(p9_put_room(p, 8), v);
}

void p9_put_text(struct p9_put *p, const char *text, uint32_t size);

/* Bytes that came back. */
struct p9_get {
    const uint8_t *at;
    uint32_t left;
    bool is_short;
};

static inline const uint8_t *p9_get_bytes(struct p9_get *g, uint32_t size)
{
    const uint8_t *at = g->at;

    if (size > g->left) {
        g->is_short = true;
        g->left = 0;
        return NULL;
    }
    g->at += size;
    g->left -= size;
    return at;
}

static inline uint8_t p9_get8(struct p9_get *g)
{
    const uint8_t *at = p9_get_bytes(g, 1);

    return at ? *at : 0;
}

static inline uint16_t p9_get16(struct p9_get *g)
{
    const uint8_t *at = p9_get_bytes(g, 2);

    return at ? load_le16(at) : 0;
}

static inline uint32_t p9_get32(struct p9_get *g)
{
    const uint8_t *at = p9_get_bytes(g, 4);

    return at ? load_le32(at) : 0;
}

static inline uint64_t p9_get64(struct p9_get *g)
{
    const uint8_t *at = p9_get_bytes(g, 8);

    return at ? load_le64(at) : 0;
}
