/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial line's input. With boot arguments it is the signal line (docs/boot.md): one byte, one
 * signal for the workload's group. Without, it is a terminal, as on a machine without a console
 * device.
 */

#include <arch/serial.h>
#include <core/log.h>
#include <drivers/drivers.h>
#include <drivers/serial.h>
#include <drivers/tty.h>
#include <drivers/worker.h>
#include <ipc/poll.h>
#include <proc/process.h>

static struct {
    struct tty tty;
    struct work work;
    bool is_signal_line;
} serial;

static int serial_write(struct tty *t, const uint8_t *bytes, size_t size, bool atomic, size_t *done)
{
    (void)t;
    (void)atomic; /* polled: never waits long */
    serial_write_raw(bytes, size);
    *done = size;
    return 0;
}

static uint32_t serial_poll_out(struct tty *t, struct file *f, struct poll_table *pt)
{
    (void)t;
    (void)f;
    (void)pt;
    return POLLOUT | POLLWRNORM;
}

static const struct tty_driver serial_driver = { .write = serial_write,
                                                 .poll_out = serial_poll_out };

static void run_work(struct work *w)
{
    int c;

    (void)w;
    while ((c = serial_read()) >= 0) {
        uint8_t byte = (uint8_t)c;

        if (!serial.is_signal_line) {
            tty_input(&serial.tty, &byte, 1);
        } else if (byte >= 1 && byte <= SIGNAL_MAX) {
            workload_signal(byte);
        }
    }
}

static void interrupt(void *arg)
{
    (void)arg;
    work_queue(&serial.work);
}

void serial_init(bool is_signal_line)
{
    int err;

    serial.is_signal_line = is_signal_line;
    tty_init(&serial.tty, "ttyS0", &serial_driver, NULL);
    work_init(&serial.work, run_work);
    err = serial_start_input(interrupt, NULL);
    if (err < 0 && err != -ENODEV) {
        log_warn("serial: no input (error %d)", -err);
    }
    work_queue(&serial.work); /* what came before the interrupt was on */
}

struct tty *serial_tty(void)
{
    return &serial.tty;
}
