/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-9p: messages go out, answers come back; see the header.
 *
 * Most answers are there within microseconds, and an interrupt with two task switches costs more
 * than that, above all where ring 0 is interpreted. So a caller looks into the ring for a while
 * with the device's interrupt off, and sleeps only then.
 */

#include <stdatomic.h>

#include <arch/ops.h>
#include <core/log.h>
#include <core/string.h>
#include <drivers/virtio_9p.h>
#include <mm/slab.h>

#define F_MOUNT_TAG  UINT64_C(1)
#define CHANNELS_MAX 16u
#define SEGMENTS_MAX (2u + P9_DATA_SEGMENTS_MAX)
#define LOOKS_MAX    400u

static struct p9_channel *channels[CHANNELS_MAX];
static unsigned channel_count;

struct p9_channel *p9_channel_find(const char *tag)
{
    for (unsigned i = 0; i < channel_count; i++) {
        if (strcmp(channels[i]->tag, tag) == 0) {
            return channels[i];
        }
    }
    return NULL;
}

/* Interrupt: the answer to `m` is there. */
static void complete(struct p9_message *m)
{
    /*
     * release: the answer is visible before is_done. The sleeper frees m only after it has taken
     * the queue's lock in wait_end(), so this is done with it by then.
     */
    uint64_t flags = spin_lock_irqsave(&m->done.lock);
    struct wait_entry *e;
    struct wait_entry *next;

    atomic_store_explicit(&m->is_done, true, memory_order_release);
    list_for_each_entry_safe(e, next, &m->done.entries, node) {
        (void)e->wake(e, 0);
    }
    spin_unlock_irqrestore(&m->done.lock, flags);
}

/* Interrupts do not free memory: the next call does. */
static void discard(struct p9_channel *ch, struct p9_message *m)
{
    uint64_t flags = spin_lock_irqsave(&ch->lock);

    m->next_garbage = ch->garbage;
    ch->garbage = m;
    spin_unlock_irqrestore(&ch->lock, flags);
}

static void free_garbage(struct p9_channel *ch)
{
    struct p9_message *m;
    uint64_t flags;

    if (!__atomic_load_n(&ch->garbage, __ATOMIC_RELAXED)) {
        return;
    }
    flags = spin_lock_irqsave(&ch->lock);
    m = ch->garbage;
    ch->garbage = NULL;
    spin_unlock_irqrestore(&ch->lock, flags);
    while (m) {
        struct p9_message *next = m->next_garbage;

        kfree(m);
        m = next;
    }
}

/* Tokens of messages that nobody waits for carry this bit. */
#define POSTED 1u

/* Take all answers that are there. Any context. */
static void drain(struct p9_channel *ch)
{
    uint32_t written;
    bool any = false;
    void *token;

    while ((token = virtqueue_take(ch->queue, &written)) != NULL) {
        struct p9_message *m = (struct p9_message *)((uintptr_t)token & ~(uintptr_t)POSTED);

        any = true;
        m->written = written;
        if ((uintptr_t)token & POSTED) {
            discard(ch, m);
        } else {
            complete(m);
        }
    }
    if (any) {
        wake_all(&ch->room, 0);
    }
}

static void ready(struct virtqueue *q)
{
    struct p9_channel *ch = q->device->private;

    drain(ch);
    while (__atomic_load_n(&ch->sleepers, __ATOMIC_RELAXED) > 0 && virtqueue_interrupts(q, true)) {
        drain(ch);
    }
}

/* From here to sleeper_out() an answer interrupts. */
static void sleeper_in(struct p9_channel *ch)
{
    uint64_t flags = spin_lock_irqsave(&ch->lock);
    bool has_answers;

    ch->sleepers++;
    has_answers = virtqueue_interrupts(ch->queue, true);
    spin_unlock_irqrestore(&ch->lock, flags);
    if (has_answers) {
        drain(ch);
    }
}

static void sleeper_out(struct p9_channel *ch)
{
    uint64_t flags = spin_lock_irqsave(&ch->lock);

    if (--ch->sleepers == 0) {
        (void)virtqueue_interrupts(ch->queue, false);
    }
    spin_unlock_irqrestore(&ch->lock, flags);
}

/* The segments of a message: what the device reads, then what it writes. */
static unsigned lay_out(const struct p9_message *m, struct virtio_segment segments[SEGMENTS_MAX],
                        unsigned *out_count)
{
    unsigned count = 0;

    assert(m->data_count <= P9_DATA_SEGMENTS_MAX);
    segments[count++] = (struct virtio_segment){ m->out, m->out_size };
    for (unsigned i = 0; !m->is_data_in && i < m->data_count; i++) {
        segments[count++] = m->data[i];
    }
    *out_count = count;
    segments[count++] = (struct virtio_segment){ m->in, m->in_size };
    for (unsigned i = 0; m->is_data_in && i < m->data_count; i++) {
        segments[count++] = m->data[i];
    }
    return count;
}

static int add_waiting(struct p9_channel *ch, struct p9_message *m)
{
    struct virtio_segment segments[SEGMENTS_MAX];
    unsigned out;
    unsigned count = lay_out(m, segments, &out);
    struct waiter w;
    int err = virtqueue_add(ch->queue, segments, out, count - out, m);

    if (err != -ENOSPC) {
        return err;
    }
    wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
    wait_add(&ch->room, &w, 0);
    sleeper_in(ch);
    while ((err = virtqueue_add(ch->queue, segments, out, count - out, m)) == -ENOSPC) {
        wait_sleep_surely(&w);
    }
    sleeper_out(ch);
    wait_end(&w);
    return err;
}

/* acquire: pairs with the release in complete(); the answer is visible. */
static bool is_done(const struct p9_message *m)
{
    return atomic_load_explicit(&m->is_done, memory_order_acquire);
}

static bool look(struct p9_channel *ch, struct p9_message *m)
{
    for (unsigned i = 0; i < LOOKS_MAX; i++) {
        if (virtqueue_has_used(ch->queue)) {
            drain(ch);
        }
        if (is_done(m)) {
            /* Another CPU may be in complete() still, with this lock. */
            uint64_t flags = spin_lock_irqsave(&m->done.lock);

            spin_unlock_irqrestore(&m->done.lock, flags);
            return true;
        }
        cpu_relax();
    }
    return false;
}

static void sleep_until_done(struct p9_channel *ch, struct p9_message *m)
{
    struct waiter w;

    wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
    wait_add(&m->done, &w, 0);
    sleeper_in(ch);
    while (!is_done(m)) {
        wait_sleep_surely(&w);
    }
    sleeper_out(ch);
    wait_end(&w);
}

int p9_channel_call(struct p9_channel *ch, struct p9_message *m)
{
    int err;

    free_garbage(ch);
    m->written = 0;
    atomic_init(&m->is_done, false);
    wait_queue_init(&m->done);
    err = add_waiting(ch, m);
    if (err < 0) {
        return err;
    }
    virtqueue_kick(ch->queue);
    if (!look(ch, m)) {
        sleep_until_done(ch, m);
    }
    return 0;
}

void p9_channel_post(struct p9_channel *ch, struct p9_message *m)
{
    struct virtio_segment segments[SEGMENTS_MAX];
    unsigned out;
    unsigned count = lay_out(m, segments, &out);

    drain(ch);
    free_garbage(ch);
    if (virtqueue_add(ch->queue, segments, out, count - out, (char *)m + POSTED) < 0) {
        kfree(m);
        return;
    }
    virtqueue_kick(ch->queue);
}

static void read_tag(struct virtio_device *d, struct p9_channel *ch)
{
    unsigned size = virtio_config8(d, 0) | (unsigned)virtio_config8(d, 1) << 8;

    size = min_of(size, P9_TAG_MAX);
    for (unsigned i = 0; i < size; i++) {
        ch->tag[i] = (char)virtio_config8(d, 2 + i);
    }
}

static int probe(struct virtio_device *d)
{
    struct p9_channel *ch;
    int err = virtio_negotiate(d, F_MOUNT_TAG);

    if (err < 0) {
        return err;
    }
    if (!(d->features & F_MOUNT_TAG) || channel_count == CHANNELS_MAX) {
        return -ENODEV;
    }
    ch = kmalloc(sizeof(*ch), GFP_KERNEL);
    if (!ch) {
        return -ENOMEM;
    }
    memset(ch, 0, sizeof(*ch));
    wait_queue_init(&ch->room);
    spin_init(&ch->lock, RANK_FS_MISC);
    d->private = ch;
    err = virtqueue_create(d, 0, VIRTQUEUE_SIZE_MAX, ready, &ch->queue);
    if (err == 0) {
        err = virtio_start(d);
    }
    if (err < 0) {
        return err; /* the queue may be known to the device: ch stays */
    }
    (void)virtqueue_interrupts(ch->queue, false);
    read_tag(d, ch);
    channels[channel_count++] = ch;
    return 0;
}

const struct virtio_driver virtio_9p_driver = { .id = 9, .name = "virtio-9p", .probe = probe };
