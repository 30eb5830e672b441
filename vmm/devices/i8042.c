/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/i8042.h"

#include <string.h>

#include <base/assert.h>

#define OFFSET_DATA    0u
#define OFFSET_COMMAND 4u
#define COMMAND_RESET  0xfeu
#define STATUS_OUTPUT  0x01u /* a byte waits at the data port */

/* Left Ctrl, left Alt, Delete: make codes of set 2. */
static const uint8_t chord[] = { 0x14, 0x11, 0xe0, 0x71 };

static_assert(sizeof(chord) <= I8042_KEYS_MAX, "the chord fits");

void i8042_init(struct i8042 *d, const struct device_host *host, unsigned irq)
{
    memset(d, 0, sizeof(*d));
    d->host = host;
    d->irq = irq;
    (void)pthread_mutex_init(&d->lock, NULL);
}

void i8042_deinit(struct i8042 *d)
{
    (void)pthread_mutex_destroy(&d->lock);
}

static uint8_t read_data_locked(struct i8042 *d)
{
    uint8_t byte = 0;

    if (d->count > 0) {
        byte = d->keys[d->head];
        d->head = (d->head + 1) % I8042_KEYS_MAX;
        d->count--;
        if (d->count > 0) {
            d->host->irq_raise(d->host->ctx, d->irq); /* one edge a byte */
        }
    }
    return byte;
}

/*
 * Status: input buffer free, and output only when keys were pressed: ready for the reset, and no
 * answer to a self test.
 */
uint64_t i8042_read(void *device, uint64_t offset, unsigned size)
{
    struct i8042 *d = device;
    uint64_t value = 0;

    if (size != 1 || (offset != OFFSET_DATA && offset != OFFSET_COMMAND)) {
        return 0;
    }
    (void)pthread_mutex_lock(&d->lock);
    if (offset == OFFSET_DATA) {
        value = read_data_locked(d);
    } else {
        value = d->count > 0 ? STATUS_OUTPUT : 0;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return value;
}

void i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *d = device;

    if (offset == OFFSET_COMMAND && size == 1 && (uint8_t)value == COMMAND_RESET) {
        d->host->machine_end(d->host->ctx, 0, 0);
    }
}

bool i8042_ctrl_alt_del(struct i8042 *d)
{
    bool is_free = false;

    (void)pthread_mutex_lock(&d->lock);
    is_free = d->count == 0;
    if (is_free) {
        memcpy(d->keys, chord, sizeof(chord));
        d->head = 0;
        d->count = sizeof(chord);
        d->host->irq_raise(d->host->ctx, d->irq);
    }
    (void)pthread_mutex_unlock(&d->lock);
    return is_free;
}
