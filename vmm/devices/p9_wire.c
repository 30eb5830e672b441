/* SPDX-License-Identifier: Apache-2.0 */
#include "p9_wire.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

/* `size` bytes of the message, or NULL. */
static const uint8_t *take(struct p9_in *in, size_t size)
{
    const uint8_t *at = in->at;

    if (in->is_short || size > in->left) {
        in->is_short = true;
        return NULL;
    }
    in->at += size;
    in->left -= size;
    return at;
}

uint8_t p9_get8(struct p9_in *in)
{
    const uint8_t *at = take(in, 1);

    return at != NULL ? *at : 0;
}

uint16_t p9_get16(struct p9_in *in)
{
    const uint8_t *at = take(in, 2);

    return at != NULL ? load_le16(at) : 0;
}

uint32_t p9_get32(struct p9_in *in)
{
    const uint8_t *at = take(in, 4);

    return at != NULL ? load_le32(at) : 0;
}

uint64_t p9_get64(struct p9_in *in)
{
    const uint8_t *at = take(in, 8);

    return at != NULL ? load_le64(at) : 0;
}

struct p9_text p9_get_text(struct p9_in *in)
{
    struct p9_text text = { .size = p9_get16(in) };

    text.bytes = (const char *)take(in, text.size);
    if (text.bytes == NULL) {
        text = (struct p9_text){ .bytes = "" };
    }
    return text;
}

static uint8_t *room(struct p9_out *out, size_t size)
{
    uint8_t *at = out->bytes + out->size;

    assert(out->size <= out->limit);
    if (out->is_full || size > out->limit - out->size) {
        out->is_full = true;
        return NULL;
    }
    out->size += size;
    return at;
}

void p9_put8(struct p9_out *out, uint8_t value)
{
    uint8_t *at = room(out, 1);

    if (at != NULL) {
        *at = value;
    }
}

void p9_put16(struct p9_out *out, uint16_t value)
{
    uint8_t *at = room(out, 2);

    if (at != NULL) {
        store_le16(at, value);
    }
}

void p9_put32(struct p9_out *out, uint32_t value)
{
    uint8_t *at = room(out, 4);

    if (at != NULL) {
        store_le32(at, value);
    }
}

void p9_put64(struct p9_out *out, uint64_t value)
{
    uint8_t *at = room(out, 8);

    if (at != NULL) {
        store_le64(at, value);
    }
}

void p9_put_bytes(struct p9_out *out, const void *bytes, size_t size)
{
    uint8_t *at = room(out, size);

    if (at != NULL && size > 0) {
        memcpy(at, bytes, size);
    }
}

void p9_put_text(struct p9_out *out, const char *text, size_t size)
{
    assert(size <= UINT16_MAX);
    p9_put16(out, (uint16_t)size);
    p9_put_bytes(out, text, size);
}

void p9_put_qid(struct p9_out *out, const struct p9_qid *qid)
{
    p9_put8(out, qid->type);
    p9_put32(out, qid->version);
    p9_put64(out, qid->path);
}
