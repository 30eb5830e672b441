/* SPDX-License-Identifier: Apache-2.0 */
/* COM1 as a two-way line: 16550 registers (National Semiconductor PC16550D, table II). */

#include <arch/ops.h>
#include <arch/serial.h>
#include <x86.h>

#define COM1     0x3f8
#define COM1_IRQ 4

enum {
    UART_DATA = COM1 + 0,
    UART_IER = COM1 + 1,
    UART_MCR = COM1 + 4,
    UART_LSR = COM1 + 5,
};

#define IER_RECEIVED  0x01
#define MCR_DTR_RTS   0x03
#define MCR_OUT2      0x08 /* connects the interrupt line on a PC */
#define LSR_DATA      0x01
#define LSR_THR_EMPTY 0x20
#define POLL_MAX      100000u

static bool is_present(void)
{
    return port_read8(UART_LSR) != 0xff;
}

void serial_write_raw(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size && is_present(); i++) {
        for (unsigned n = 0; n < POLL_MAX && !(port_read8(UART_LSR) & LSR_THR_EMPTY); n++) {
            cpu_relax();
        }
        port_write8(UART_DATA, bytes[i]);
    }
}

int serial_read(void)
{
    uint8_t status = port_read8(UART_LSR);

    return status != 0xff && (status & LSR_DATA) ? port_read8(UART_DATA) : -1;
}

int serial_start_input(void (*fn)(void *arg), void *arg)
{
    int err;

    if (!is_present()) {
        return -ENODEV;
    }
    err = irq_request(COM1_IRQ, fn, arg);
    if (err == 0) {
        port_write8(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
        port_write8(UART_IER, IER_RECEIVED);
    }
    return err;
}
