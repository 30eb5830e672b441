/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entropy device. getrandom(2) fills guest memory directly. A buffer gets FILL_BYTES_MAX at
 * most: the device may fill less than was asked (5.4.6), and up to 256 bytes the call can't be cut
 * short.
 */

#include "virtio_rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include <base/assert.h>

#define FILL_BYTES_MAX 256u

struct virtio_rng {
    struct virtio_device dev;
    struct virtqueue queue;
};

static const uint16_t queue_sizes[] = { 16 };

/* Fill the beginning of the chain. Bytes written. */
static uint32_t fill(const struct virtqueue *vq, const struct vq_chain *chain)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    size_t size;
    const unsigned count = vq_chain_iov(vq, chain, VQ_WRITABLE, 0, FILL_BYTES_MAX, iov, &size);
    uint32_t done = 0;

    for (unsigned i = 0; i < count; i++) {
        const ssize_t n = getrandom(iov[i].iov_base, iov[i].iov_len, 0);

        done += n > 0 ? (uint32_t)n : 0;
        if (n != (ssize_t)iov[i].iov_len) {
            break; /* used.len covers a beginning without gaps */
        }
    }
    assert(done <= FILL_BYTES_MAX);
    return done;
}

static void rng_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_rng *rng = container_of(dev, struct virtio_rng, dev);
    struct virtqueue *vq = &rng->queue;
    unsigned chains_left = vq->size;
    struct vq_chain chain;

    (void)thread;
    vq_kicks_off(vq);
    while (vq_take(vq, &chain) == 1 || (vq_kicks_on(vq) == 1 && vq_take(vq, &chain) == 1)) {
        if (chains_left-- == 0) {
            vq_untake(vq);
            virtio_queue_defer(dev, queue);
            break;
        }
        vq_complete(vq, chain.head, fill(vq, &chain));
    }
    virtio_queue_publish(dev, queue);
}

static const struct virtio_device_ops rng_ops = {
    .name = "virtio-rng",
    .device_id = VIRTIO_ID_RNG,
    .kick = rng_kick,
};

int virtio_rng_create(const struct device_host *host, unsigned irq, struct virtio_rng **out)
{
    struct virtio_rng *rng = calloc(1, sizeof(*rng));
    int err;

    if (rng == NULL) {
        return -ENOMEM;
    }
    err = virtio_device_init(&rng->dev, &(struct virtio_device_setup){
                                            .ops = &rng_ops,
                                            .host = host,
                                            .irq = irq,
                                            .queues = &rng->queue,
                                            .queue_sizes = queue_sizes,
                                            .queue_count = array_size(queue_sizes),
                                        });
    if (err < 0) {
        free(rng);
        return err;
    }
    *out = rng;
    return 0;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
    virtio_device_deinit(&rng->dev);
    free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->dev;
}
