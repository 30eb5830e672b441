/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/status_port.h"

#include <string.h>

#include "abi/boot.h"
#include "abi/snapshot.h"

#define READ_MAGIC 0xe9u /* what a debug console answers, QEMU's included */

void status_port_init(struct status_port *d, const struct device_host *host)
{
    memset(d, 0, sizeof(*d));
    d->host = host;
    (void)pthread_mutex_init(&d->lock, NULL);
}

void status_port_deinit(struct status_port *d)
{
    (void)pthread_mutex_destroy(&d->lock);
}

void status_port_save(struct status_port *d, struct snapshot_status *out)
{
    (void)pthread_mutex_lock(&d->lock);
    memcpy(out->bytes, d->bytes, sizeof(out->bytes));
    out->count = d->count;
    (void)pthread_mutex_unlock(&d->lock);
}

bool status_port_load(struct status_port *d, const struct snapshot_status *in)
{
    if (in->count >= sizeof(d->bytes)) {
        return false;
    }
    (void)pthread_mutex_lock(&d->lock);
    memcpy(d->bytes, in->bytes, sizeof(d->bytes));
    d->count = in->count;
    (void)pthread_mutex_unlock(&d->lock);
    return true;
}

uint64_t status_port_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return READ_MAGIC;
}

static bool is_kind(uint8_t kind)
{
    return kind >= BOOT_STATUS_EXIT && kind <= BOOT_STATUS_REBOOT;
}

/* True when the four bytes are complete. */
static bool take_byte_locked(struct status_port *d, uint8_t byte)
{
    d->bytes[d->count++] = byte;
    if (d->bytes[0] != BOOT_STATUS_MAGIC || (d->count == 2 && !is_kind(byte))) {
        d->count = 0;
        return false;
    }
    if (d->count < sizeof(d->bytes)) {
        return false;
    }
    d->count = 0;
    return byte == 0;
}

void status_port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct status_port *d = device;
    uint8_t kind = 0;
    uint8_t status = 0;
    bool is_complete = false;

    (void)offset;
    if (size != 1) {
        return;
    }
    (void)pthread_mutex_lock(&d->lock);
    is_complete = take_byte_locked(d, (uint8_t)value);
    kind = d->bytes[1];
    status = d->bytes[2];
    (void)pthread_mutex_unlock(&d->lock);
    if (is_complete) {
        d->host->machine_end(d->host->ctx, kind, status);
    }
}
