/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of 9P2000.L: numbers of messages, and two cursors that read and write their fields.
 * Everything is little-endian and unaligned. A cursor that ran out stays out: fields read as zero,
 * and the caller asks once at the end.
 */
#pragma once

#include <base/compiler.h>

enum p9_type {
    P9_RLERROR = 7,
    P9_TSTATFS = 8,
    P9_TLOPEN = 12,
    P9_TLCREATE = 14,
    P9_TSYMLINK = 16,
    P9_TMKNOD = 18,
    P9_TRENAME = 20,
    P9_TREADLINK = 22,
    P9_TGETATTR = 24,
    P9_TSETATTR = 26,
    P9_TXATTRWALK = 30,
    P9_TXATTRCREATE = 32,
    P9_TREADDIR = 40,
    P9_TFSYNC = 50,
    P9_TLOCK = 52,
    P9_TGETLOCK = 54,
    P9_TLINK = 70,
    P9_TMKDIR = 72,
    P9_TRENAMEAT = 74,
    P9_TUNLINKAT = 76,
    P9_TVERSION = 100,
    P9_TAUTH = 102,
    P9_TATTACH = 104,
    P9_TFLUSH = 108,
    P9_TWALK = 110,
    P9_TREAD = 116,
    P9_TWRITE = 118,
    P9_TCLUNK = 120,
    P9_TREMOVE = 122,
    /* Ours, after version "9P2000.L.drupe": see docs/shares.md. */
    P9_TLOOKUP = 230,
    P9_TOPENNEW = 232,
};

#define P9_HEADER_SIZE       7u                     /* size, type, tag */
#define P9_READ_HEADER_SIZE  (P9_HEADER_SIZE + 4u)  /* Rread: and count; data follows */
#define P9_WRITE_HEADER_SIZE (P9_HEADER_SIZE + 16u) /* Twrite: and fid, offset, count */
#define P9_ERROR_SIZE        (P9_HEADER_SIZE + 4u)
#define P9_QID_SIZE          13u
#define P9_NAME_MAX          255u
#define P9_WALK_MAX          16u
#define P9_FID_NONE          UINT32_MAX

/* Fields of a message that came in. Strings are borrowed from it and not terminated. */
struct p9_in {
    const uint8_t *at;
    size_t left;
    bool is_short; /* a field lay beyond the end */
};

struct p9_text {
    const char *bytes;
    uint16_t size;
};

uint8_t p9_get8(struct p9_in *in);
uint16_t p9_get16(struct p9_in *in);
uint32_t p9_get32(struct p9_in *in);
uint64_t p9_get64(struct p9_in *in);
struct p9_text p9_get_text(struct p9_in *in);

/* A reply under construction. */
struct p9_out {
    uint8_t *bytes;
    size_t size;
    size_t limit;
    bool is_full; /* a field did not fit */
};

struct p9_qid {
    uint8_t type;
    uint32_t version;
    uint64_t path;
};

void p9_put8(struct p9_out *out, uint8_t value);
void p9_put16(struct p9_out *out, uint16_t value);
void p9_put32(struct p9_out *out, uint32_t value);
void p9_put64(struct p9_out *out, uint64_t value);
void p9_put_bytes(struct p9_out *out, const void *bytes, size_t size);
void p9_put_text(struct p9_out *out, const char *text, size_t size); /* size <= UINT16_MAX */
void p9_put_qid(struct p9_out *out, const struct p9_qid *qid);
