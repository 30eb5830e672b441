/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/i8042.h"

#define OFFSET_COMMAND 4u
#define COMMAND_RESET  0xfeu

void i8042_init(struct i8042 *d, const struct device_host *host)
{
    d->host = host;
}

uint64_t i8042_read(void *device, uint64_t offset, unsigned size)
{
    (void)device;
    (void)offset;
    (void)size;
    return 0; /* status: input buffer free, no output: ready for the reset, and no answer to a self
                 test */
}

void i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *d = device;

    if (offset == OFFSET_COMMAND && size == 1 && (uint8_t)value == COMMAND_RESET) {
        d->host->machine_end(d->host->ctx, 0, 0);
    }
}
