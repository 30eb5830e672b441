/* SPDX-License-Identifier: Apache-2.0 */
/* One message and its answer. */
#include <core/string.h>
#include <fs/dentry.h>
#include <fs/p9/p9.h>
#include <mm/slab.h>

#define ERRNO_MAX     4095u
#define NAMES_AT_ONCE 128u

void p9_put_text(struct p9_put *p, const char *text, uint32_t size)
{
    p9_put16(p, (uint16_t)size);
    memcpy(p9_put_room(p, size), text, size);
}

struct p9_call *p9_begin(struct p9_session *s, uint8_t type, uint32_t out, uint32_t in)
{
    const uint32_t out_size = P9_HEADER_SIZE + out;
    /* An error must fit as well. */
    const uint32_t in_size = P9_HEADER_SIZE + max_of(in, 4u);
    struct p9_call *c = kmalloc(sizeof(*c) + out_size + in_size, GFP_KERNEL);

    if (!c) {
        return NULL;
    }
    memset(c, 0, sizeof(*c));
    c->type = type;
    /* One number long after another: never two of a kind under way. */
    c->tag =
        (uint16_t)(atomic_fetch_add_explicit(&s->next_tag, 1, memory_order_relaxed) % P9_TAG_NONE);
    if (type == P9_TVERSION) {
        c->tag = P9_TAG_NONE;
    }
    c->put = (struct p9_put){ .bytes = c->bytes, .limit = out_size };
    p9_put32(&c->put, 0);
    p9_put8(&c->put, type);
    p9_put16(&c->put, c->tag);
    c->message.out = c->bytes;
    c->message.in = c->bytes + out_size;
    c->message.in_size = in_size;
    return c;
}

static void seal(struct p9_call *c)
{
    uint32_t size = c->put.size;

    c->message.out_size = size;
    for (unsigned i = 0; !c->message.is_data_in && i < c->message.data_count; i++) {
        size += c->message.data[i].size;
    }
    store_le32(c->bytes, size);
}

int p9_run(struct p9_session *s, struct p9_call *c)
{
    struct p9_message *m = &c->message;
    uint32_t size;
    uint8_t type;
    uint16_t tag;
    int err;

    seal(c);
    err = p9_channel_call(s->channel, m);
    if (err < 0) {
        return err;
    }
    c->get = (struct p9_get){ .at = m->in, .left = min_of(m->written, m->in_size) };
    size = p9_get32(&c->get);
    type = p9_get8(&c->get);
    tag = p9_get16(&c->get);
    if (c->get.is_short || tag != c->tag || size > m->written) {
        return -EIO;
    }
    if (type == P9_RLERROR) {
        uint32_t code = p9_get32(&c->get);

        return code == 0 || code > ERRNO_MAX || c->get.is_short ? -EIO : -(int)code;
    }
    return type == c->type + 1 ? 0 : -EIO;
}

void p9_end(struct p9_call *c)
{
    kfree(c);
}

int p9_run_making_fid(struct p9_session *s, struct p9_call *c)
{
    int err = p9_run(s, c);

    for (unsigned i = 0; (err == -ENFILE || err == -EMFILE) && i < 3; i++) {
        if (dentry_shrink(NAMES_AT_ONCE) == 0) {
            break;
        }
        err = p9_run(s, c); /* the clunks went out before it */
    }
    return err;
}

uint32_t p9_new_fid(struct p9_session *s)
{
    uint32_t fid;

    do {
        fid = atomic_fetch_add_explicit(&s->next_fid, 1, memory_order_relaxed);
    } while (fid == P9_FID_NONE);
    return fid;
}

void p9_clunk(struct p9_session *s, uint32_t fid)
{
    struct p9_call *c;

    if (fid == P9_FID_NONE) {
        return;
    }
    c = p9_begin(s, P9_TCLUNK, 4, 0);
    if (!c) {
        return; /* the server keeps it until the session ends */
    }
    p9_put32(&c->put, fid);
    seal(c);
    p9_channel_post(s->channel, &c->message);
}
