/* SPDX-License-Identifier: Apache-2.0 */
/* The early console on COM1, polled; and the debug ports. The driver of the line's input is in
 * drivers/. */

#include <arch/console.h>
#include <arch/ops.h>
#include <core/boot.h>
#include <core/string.h>
#include <x86.h>

#define COM1      0x3f8
#define UART_DATA (COM1 + 0)
#define UART_FCR  (COM1 + 2)
#define UART_LCR  (COM1 + 3)
#define UART_LSR  (COM1 + 5)

#define LSR_THR_EMPTY 0x20
#define FIFO_SIZE     16
#define POLL_MAX      100000u

static enum {
    UART_UNKNOWN,
    UART_ABSENT,
    UART_READY
} uart;

static void uart_probe(void)
{
    size_t length;
    const char *name = boot_option("console=", &length);

    uart = UART_ABSENT;
    if (name && (length < 5 || memcmp(name, "ttyS0", 5) != 0)) {
        return;
    }
    if (port_read8(UART_LSR) == 0xff) { /* nobody answers */
        return;
    }
    port_write8(UART_LCR, 0x03); /* 8 bits, no parity; virtual ports have no speed */
    port_write8(UART_FCR, 0x07); /* FIFOs on and empty */
    uart = UART_READY;
}

static unsigned fifo_room;

static void uart_put(char c)
{
    if (fifo_room == 0) {
        for (unsigned n = 0; n < POLL_MAX && !(port_read8(UART_LSR) & LSR_THR_EMPTY); n++) {
            __asm__ volatile("pause");
        }
        fifo_room = FIFO_SIZE;
    }
    fifo_room--;
    port_write8(UART_DATA, (uint8_t)c);
}

void console_write(const char *text, size_t length)
{
    if (uart == UART_UNKNOWN) {
        uart_probe();
    }
    if (uart != UART_READY) {
        return;
    }
    fifo_room = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            uart_put('\r');
        }
        uart_put(text[i]);
    }
}

void arch_status_write(unsigned port, uint8_t byte)
{
    port_write8((uint16_t)port, byte);
}

void arch_copy_port_write(unsigned port, uint64_t frame)
{
    /* The monitor reads and writes memory before the instruction completes: nothing moves across
     * it. */
    __asm__ volatile("outl %0, %1" : : "a"((uint32_t)frame), "Nd"((uint16_t)port) : "memory");
}
