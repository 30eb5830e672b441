/* SPDX-License-Identifier: Apache-2.0 */
/* A polled virtqueue of the test guest: one buffer a chain. Programs of one CPU without interrupts.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* QEMU drops a control message that finds no buffer, and sends a burst of them for each port. */
#define QUEUE_SIZE 16u

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

struct queue {
    struct desc desc[QUEUE_SIZE] __attribute__((aligned(16)));

    struct {
        uint16_t flags;
        uint16_t index;
        uint16_t ring[QUEUE_SIZE];
    } avail __attribute__((aligned(4)));

    struct {
        uint16_t flags;
        uint16_t index;

        struct {
            uint32_t id;
            uint32_t len;
        } ring[QUEUE_SIZE];
    } used __attribute__((aligned(4)));

    uint64_t base; /* the device's registers */
    unsigned number;
    uint16_t seen;
};

static inline volatile uint32_t *guest_reg(uint64_t base, uint64_t offset)
{
    return (volatile uint32_t *)(base + offset);
}

static inline void queue_address(const struct queue *q, uint64_t offset, const void *p)
{
    *guest_reg(q->base, offset) = (uint32_t)(uint64_t)p;
    *guest_reg(q->base, offset + 4) = (uint32_t)((uint64_t)p >> 32);
}

static inline void queue_init(struct queue *q, uint64_t base, unsigned number)
{
    q->base = base;
    q->number = number;
    q->seen = 0;
    q->avail.index = 0;
    q->used.index = 0;
    *guest_reg(base, 0x30) = number;
    *guest_reg(base, 0x38) = QUEUE_SIZE;
    queue_address(q, 0x80, q->desc);
    queue_address(q, 0x90, &q->avail);
    queue_address(q, 0xa0, &q->used);
    *guest_reg(base, 0x44) = 1;
}

static inline void queue_put(struct queue *q, unsigned slot, const void *buffer, uint32_t size,
                             bool is_written)
{
    uint16_t index = q->avail.index;

    q->desc[slot] =
        (struct desc){ .addr = (uint64_t)buffer, .len = size, .flags = is_written ? 2 : 0 };
    q->avail.ring[index % QUEUE_SIZE] = (uint16_t)slot;
    __atomic_store_n(&q->avail.index, (uint16_t)(index + 1), __ATOMIC_SEQ_CST);
    *guest_reg(q->base, 0x50) = q->number;
}

static inline bool queue_has_used(const struct queue *q)
{
    return __atomic_load_n(&q->used.index, __ATOMIC_ACQUIRE) != q->seen;
}

static inline unsigned queue_take(struct queue *q, uint32_t *size)
{
    unsigned at = q->seen++ % QUEUE_SIZE;

    *size = q->used.ring[at].len;
    return q->used.ring[at].id % QUEUE_SIZE;
}

static inline void queue_send(struct queue *q, const void *buffer, uint32_t size)
{
    uint32_t done = 0;

    queue_put(q, 0, buffer, size, false);
    while (!queue_has_used(q)) {
        __asm__ volatile("pause");
    }
    (void)queue_take(q, &done);
}
