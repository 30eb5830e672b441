/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queues of virtio-vsock; see the header. Received packets stay in the pages that the device
 * wrote them to and go to their socket without a copy; a fresh page takes each one's place.
 */

#include <core/string.h>
#include <drivers/virtio.h>
#include <drivers/virtio_vsock.h>
#include <fs/dev.h>
#include <fs/file.h>
#include <ipc/poll.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <sched/wait.h>
#include <syscall/uaccess.h>

#define RX_BUFFERS 16u
#define EVENTS     2u
#define PAGE_TOKEN ((uintptr_t)1) /* set in a token of the send queue: it is a page */

enum {
    QUEUE_RX,
    QUEUE_TX,
    QUEUE_EVENT,
};

static struct {
    struct virtio_device *device; /* NULL: none */
    struct mutex start_lock;
    bool is_started;
    uint32_t cid;
    struct virtqueue *rx, *tx, *event;
    struct wait_queue senders; /* that found the ring full */
    uint32_t events[EVENTS];   /* the device writes here */
    _Atomic uint32_t missing;  /* receive buffers that there was no memory for */
} vsock;

bool vsock_device_exists(void)
{
    return vsock.device != NULL;
}

uint32_t vsock_device_cid(void)
{
    return vsock.cid;
}

/* --- receiving
 * --------------------------------------------------------------------------------- */

static int post(struct page *p)
{
    const struct virtio_segment segment = { page_address(p), PAGE_SIZE };

    return virtqueue_add(vsock.rx, &segment, 0, 1, p);
}

/* A buffer for the one that was kept, or for one that is missing since. */
static void post_fresh(void)
{
    struct page *p = page_alloc(0, GFP_ATOMIC);

    if (p && post(p) < 0) {
        page_put(p);
        p = NULL;
    }
    if (!p) {
        atomic_fetch_add_explicit(&vsock.missing, 1, memory_order_relaxed);
    }
}

static void event_ready(struct virtqueue *q)
{
    uint32_t *event;
    uint32_t size;

    while ((event = virtqueue_take(q, &size)) != NULL) {
        const struct virtio_segment segment = { event, sizeof(*event) };

        if (size == sizeof(*event) && *event == 0) {
            vsock.cid = virtio_config32(vsock.device, 0);
            vsock_transport_reset();
        }
        if (virtqueue_add(q, &segment, 0, 1, event) == 0) { /* else the queue is broken */
            virtqueue_kick(q);
        }
    }
}

static void rx_ready(struct virtqueue *q)
{
    struct page *p;
    uint32_t size;
    bool any = false;

    while ((p = virtqueue_take(q, &size)) != NULL) {
        any = true;
        /* A reset of the transport came before what the host sends after it, a new connection say.
         */
        event_ready(vsock.event);
        if (size >= sizeof(struct vsock_header) && vsock_receive(p, size)) {
            post_fresh();
        } else if (post(p) < 0) {
            page_put(p);
        }
    }
    if (any) {
        if (atomic_load_explicit(&vsock.missing, memory_order_relaxed) > 0) {
            atomic_fetch_sub_explicit(&vsock.missing, 1, memory_order_relaxed);
            post_fresh();
        }
        virtqueue_kick(q);
    }
}

/* --- sending
 * ------------------------------------------------------------------------------------- */

static void tx_ready(struct virtqueue *q)
{
    (void)q;
    wake_all(&vsock.senders, POLLOUT);
}

static void free_token(void *token)
{
    uintptr_t bits = (uintptr_t)token;

    if (bits & PAGE_TOKEN) {
        page_put((struct page *)(bits & ~PAGE_TOKEN)); /* NOLINT(performance-no-int-to-ptr) */
    } else {
        kfree(token);
    }
}

static void reclaim(void)
{
    void *token;
    uint32_t written;

    while ((token = virtqueue_take(vsock.tx, &written)) != NULL) {
        free_token(token);
    }
}

/* Takes the token on success. */
static int send(const struct virtio_segment *segment, void *token, bool may_sleep)
{
    struct waiter w;
    int err;

    reclaim();
    err = virtqueue_add(vsock.tx, segment, 1, 0, token);
    if (err == -ENOSPC && may_sleep) {
        /* The host takes packets off whatever it does with them: the wait is short. */
        wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
        wait_add(&vsock.senders, &w, 0);
        while ((err = virtqueue_add(vsock.tx, segment, 1, 0, token)) == -ENOSPC) {
            virtqueue_kick(vsock.tx);
            if (!virtqueue_interrupts(vsock.tx, true)) {
                wait_sleep_surely(&w);
            }
            reclaim();
        }
        wait_end(&w);
        (void)virtqueue_interrupts(vsock.tx, false);
    }
    if (err == 0) {
        virtqueue_kick(vsock.tx);
    }
    return err;
}

int vsock_device_send(const struct vsock_header *h, bool may_sleep)
{
    struct vsock_header *copy = kmalloc(sizeof(*copy), may_sleep ? GFP_KERNEL : GFP_ATOMIC);
    const struct virtio_segment segment = { copy, sizeof(*copy) };
    int err;

    if (!copy) {
        return -ENOBUFS;
    }
    *copy = *h;
    copy->src_cid = vsock.cid;
    copy->type = VSOCK_TYPE_STREAM;
    err = send(&segment, copy, may_sleep);
    if (err < 0) {
        kfree(copy);
        err = -ENOBUFS;
    }
    return err;
}

int vsock_device_send_page(struct page *p, uint32_t size)
{
    const struct virtio_segment segment = { page_address(p), size };
    struct vsock_header *h = segment.buf;
    int err;

    h->src_cid = vsock.cid;
    h->type = VSOCK_TYPE_STREAM;
    err = send(&segment, (void *)((uintptr_t)p | PAGE_TOKEN), /* NOLINT */ true);
    if (err < 0) {
        page_put(p);
    }
    return err;
}

/* --- start
 * --------------------------------------------------------------------------------------- */

static int make_queues(struct virtio_device *d)
{
    int err = virtio_negotiate(d, 0);

    err = err ? err : virtqueue_create(d, QUEUE_RX, RX_BUFFERS, rx_ready, &vsock.rx);
    err = err ? err : virtqueue_create(d, QUEUE_TX, VIRTQUEUE_SIZE_MAX, tx_ready, &vsock.tx);
    err = err ? err : virtqueue_create(d, QUEUE_EVENT, EVENTS, event_ready, &vsock.event);
    if (err == 0) {
        vsock.cid = virtio_config32(d, 0);
        err = virtio_start(d);
    }
    return err;
}

static int start(void)
{
    int err = make_queues(vsock.device);

    if (err < 0) {
        return err == -ENOMEM ? err : -ENODEV;
    }
    (void)virtqueue_interrupts(vsock.tx, false);
    for (unsigned i = 0; i < RX_BUFFERS; i++) {
        post_fresh();
    }
    for (unsigned i = 0; i < EVENTS; i++) {
        const struct virtio_segment segment = { &vsock.events[i], sizeof(vsock.events[i]) };

        err = err ? err : virtqueue_add(vsock.event, &segment, 0, 1, &vsock.events[i]);
    }
    virtqueue_kick(vsock.rx);
    virtqueue_kick(vsock.event);
    return err;
}

int vsock_device_start(void)
{
    int err = 0;

    if (!vsock.device) {
        return -ENODEV;
    }
    mutex_lock(&vsock.start_lock);
    if (!vsock.is_started) {
        err = start();
        if (err < 0) {
            vsock.device = NULL; /* half made: it is not tried again */
        }
        vsock.is_started = err == 0;
    }
    mutex_unlock(&vsock.start_lock);
    return err;
}

/* --- /dev/vsock
 * ---------------------------------------------------------------------------------- */

#define IOCTL_VM_SOCKETS_GET_LOCAL_CID 0x7b9u
#define MISC_MAJOR                     10u
#define VSOCK_MINOR                    121u

static long node_ioctl(struct file *f, unsigned command, uint64_t arg)
{
    int err;

    (void)f;
    if (command != IOCTL_VM_SOCKETS_GET_LOCAL_CID) {
        return -ENOTTY;
    }
    err = vsock_device_start();
    return err < 0 ? err : put_user32(vsock.cid, (void __user *)(uintptr_t)arg);
}

static const struct file_ops node_ops = { .poll = page_poll, .ioctl = node_ioctl };

static struct device_node node = { .name = "vsock", .mode = 0666, .ops = &node_ops };

static int probe(struct virtio_device *d)
{
    if (vsock.device) {
        return -EBUSY;
    }
    mutex_init(&vsock.start_lock, RANK_NONE);
    wait_queue_init(&vsock.senders);
    vsock.device = d;
    node.dev = dev_make(MISC_MAJOR, VSOCK_MINOR);
    device_register(&node);
    return 0;
}

const struct virtio_driver virtio_vsock_driver = { .id = 19,
                                                   .name = "virtio-vsock",
                                                   .probe = probe };
