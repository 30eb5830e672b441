/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng: one request at boot, stirred into the generator when it arrives. Nobody waits for it.
 * A loader that gives boot arguments has put entropy into them: then the device is left alone.
 */

#include <abi/boot.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/random.h>
#include <drivers/virtio.h>
#include <drivers/worker.h>

#define SEED_SIZE 64u

/* The device writes here; the direct map needs memory of the allocator or the image, and this is
 * the latter. */
static uint8_t seed[SEED_SIZE];

static uint32_t seed_size;
static struct work work;

/* The generator is not for interrupts. */
static void stir(struct work *w)
{
    (void)w;
    random_add(seed, seed_size);
}

static void ready(struct virtqueue *q)
{
    if (virtqueue_take(q, &seed_size)) {
        work_queue(&work);
    }
}

static int probe(struct virtio_device *d)
{
    const struct virtio_segment segment = { seed, sizeof(seed) };
    struct virtqueue *q;
    struct boot_args args;
    int err;

    if (boot_args_header(&args)) {
        return 0;
    }
    err = virtio_negotiate(d, 0);
    work_init(&work, stir);
    if (err == 0) {
        err = virtqueue_create(d, 0, 1, ready, &q);
    }
    if (err == 0) {
        err = virtio_start(d);
    }
    if (err == 0) {
        err = virtqueue_add(q, &segment, 0, 1, seed);
    }
    if (err == 0) {
        virtqueue_kick(q);
    }
    return err;
}

const struct virtio_driver virtio_rng_driver = { .id = 4, .name = "virtio-rng", .probe = probe };
