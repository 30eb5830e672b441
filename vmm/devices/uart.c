/* SPDX-License-Identifier: Apache-2.0 */
/* Registers: the PC16550D data sheet, table "summary of registers". Interrupts are edges: one per
 * new cause. */
#include "devices/uart.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <base/assert.h>

#include "abi/snapshot.h"

enum uart_register {
    REG_DATA = 0, /* divisor low with DLAB */
    REG_IER = 1,  /* divisor high with DLAB */
    REG_IIR = 2,  /* FCR when written */
    REG_LCR = 3,
    REG_MCR = 4,
    REG_LSR = 5,
    REG_MSR = 6,
    REG_SCRATCH = 7,
};

#define IER_RECEIVED    0x01u
#define IER_THR_EMPTY   0x02u
#define IER_LINE        0x04u
#define IER_MASK        0x0fu
#define IIR_NONE        0x01u
#define IIR_THR_EMPTY   0x02u
#define IIR_RECEIVED    0x04u
#define IIR_LINE        0x06u
#define IIR_FIFO        0xc0u
#define FCR_ENABLE      0x01u
#define FCR_CLEAR_INPUT 0x02u
#define LCR_DLAB        0x80u
#define MCR_LOOP        0x10u
#define MCR_OUT2        0x08u
#define LSR_DATA_READY  0x01u
#define LSR_OVERRUN     0x02u
#define LSR_THR_EMPTY   0x20u
#define LSR_IDLE        0x40u
#define MSR_LINE_UP     0xb0u /* CTS, DSR, DCD */

/* How long a full pipe may hold up a vCPU that prints; after that the text is lost. */
#define OUTPUT_WAIT_MS 1000

void uart_init(struct uart *u, const struct device_host *host, unsigned irq, int out_fd)
{
    memset(u, 0, sizeof(*u));
    u->host = host;
    u->irq = irq;
    u->out_fd = out_fd;
    u->in_fd = -1;
    u->divisor = 1;
    (void)pthread_mutex_init(&u->lock, NULL);
}

void uart_set_output(struct uart *u, int out_fd)
{
    (void)pthread_mutex_lock(&u->lock);
    u->out_fd = out_fd;
    u->has_output_failed = false;
    (void)pthread_mutex_unlock(&u->lock);
}

void uart_deinit(struct uart *u)
{
    if (u->in_fd >= 0) {
        (void)u->host->watch(u->host->ctx, u->in_fd, 0, NULL, u);
    }
    uart_flush(u);
    (void)pthread_mutex_destroy(&u->lock);
}

static bool wait_writable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    return poll(&p, 1, OUTPUT_WAIT_MS) > 0 && (p.revents & POLLOUT) != 0;
}

static void flush_locked(struct uart *u)
{
    unsigned done = 0;

    while (u->out_fd >= 0 && done < u->output_count && !u->has_output_failed) {
        ssize_t n = write(u->out_fd, u->output + done, u->output_count - done);

        if (n > 0) {
            done += (unsigned)n;
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n == 0 || errno != EAGAIN || !wait_writable(u->out_fd)) {
            u->has_output_failed = true;
            u->host->log(u->host->ctx, DEVICE_LOG_WARN, "uart",
                         "the serial log cannot be written any more");
        }
    }
    u->output_count = 0;
}

static void transmit_locked(struct uart *u, uint8_t byte)
{
    u->output_total++;
    u->output[u->output_count++] = byte;
    if (byte == '\n' || u->output_count == UART_OUTPUT_MAX) {
        flush_locked(u);
    }
}

static void put_input_locked(struct uart *u, uint8_t byte)
{
    if (u->input_count == UART_INPUT_MAX) {
        u->has_overrun = true;
        return;
    }
    u->input[(u->input_head + u->input_count) % UART_INPUT_MAX] = byte;
    u->input_count++;
}

static int watch_input(struct uart *u, uint32_t events);
static void raise_locked(struct uart *u);

/* Loop thread: bytes for the line, at most as many as there is room for. */
static void on_input(void *device, int fd, uint32_t events)
{
    struct uart *u = device;
    uint8_t bytes[UART_INPUT_MAX];
    ssize_t n = 0;

    (void)events;
    (void)pthread_mutex_lock(&u->lock);
    if (u->input_count < UART_INPUT_MAX) {
        n = read(fd, bytes, UART_INPUT_MAX - u->input_count);
        for (ssize_t i = 0; i < n; i++) {
            put_input_locked(u, bytes[i]);
        }
        raise_locked(u);
    }
    u->is_input_held = u->input_count == UART_INPUT_MAX;
    if (u->is_input_held || n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        (void)watch_input(u, 0); /* until there is room again, or for good at its end */
    }
    (void)pthread_mutex_unlock(&u->lock);
}

static int watch_input(struct uart *u, uint32_t events)
{
    return u->host->watch(u->host->ctx, u->in_fd, events, on_input, u);
}

int uart_listen(struct uart *u, int fd)
{
    u->in_fd = fd;
    return watch_input(u, EPOLLIN);
}

static uint8_t iir_locked(const struct uart *u)
{
    uint8_t fifo = (u->fcr & FCR_ENABLE) != 0 ? IIR_FIFO : 0;

    if ((u->ier & IER_LINE) != 0 && u->has_overrun) {
        return fifo | IIR_LINE;
    }
    if ((u->ier & IER_RECEIVED) != 0 && u->input_count > 0) {
        return fifo | IIR_RECEIVED;
    }
    if ((u->ier & IER_THR_EMPTY) != 0 && u->is_thr_empty_pending) {
        return fifo | IIR_THR_EMPTY;
    }
    return fifo | IIR_NONE;
}

static bool has_interrupt_locked(const struct uart *u)
{
    return (iir_locked(u) & IIR_NONE) == 0;
}

static void raise_locked(struct uart *u)
{
    if (has_interrupt_locked(u)) {
        u->host->irq_raise(u->host->ctx, u->irq);
    }
}

static uint8_t read_data_locked(struct uart *u)
{
    uint8_t byte = 0;

    if (u->input_count > 0) {
        byte = u->input[u->input_head];
        u->input_head = (u->input_head + 1) % UART_INPUT_MAX;
        u->input_count--;
        if (u->is_input_held && u->in_fd >= 0) {
            u->is_input_held = false;
            (void)watch_input(u, EPOLLIN);
        }
        raise_locked(u); /* more input is a new cause: an edge would otherwise be missed */
    }
    return byte;
}

static uint8_t read_iir_locked(struct uart *u)
{
    uint8_t iir = iir_locked(u);

    if ((iir & 0x0f) == IIR_THR_EMPTY) {
        u->is_thr_empty_pending = false; /* reading it is taking it */
    }
    return iir;
}

static uint8_t read_lsr_locked(struct uart *u)
{
    uint8_t lsr = LSR_THR_EMPTY | LSR_IDLE;

    if (u->input_count > 0) {
        lsr |= LSR_DATA_READY;
    }
    if (u->has_overrun) {
        lsr |= LSR_OVERRUN;
        u->has_overrun = false;
    }
    return lsr;
}

static uint8_t read_msr_locked(const struct uart *u)
{
    /* Looped back, the four outputs show up as the four inputs: how drivers tell a 16550. */
    if ((u->mcr & MCR_LOOP) != 0) {
        return (uint8_t)(((u->mcr & 0x01u) << 5) | ((u->mcr & 0x02u) << 3) |
                         ((u->mcr & 0x0cu) << 4));
    }
    return MSR_LINE_UP;
}

static uint8_t read_register_locked(struct uart *u, enum uart_register reg)
{
    bool is_dlab = (u->lcr & LCR_DLAB) != 0;

    switch (reg) {
    case REG_DATA:
        return is_dlab ? (uint8_t)u->divisor : read_data_locked(u);
    case REG_IER:
        return is_dlab ? (uint8_t)(u->divisor >> 8) : u->ier;
    case REG_IIR:
        return read_iir_locked(u);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        return read_lsr_locked(u);
    case REG_MSR:
        return read_msr_locked(u);
    case REG_SCRATCH:
        return u->scratch;
    }
    unreachable("register number has three bits");
}

static void write_data_locked(struct uart *u, uint8_t value)
{
    if ((u->lcr & LCR_DLAB) != 0) {
        u->divisor = (uint16_t)((u->divisor & 0xff00u) | value);
        return;
    }
    if ((u->mcr & MCR_LOOP) != 0) {
        put_input_locked(u, value);
    } else {
        transmit_locked(u, value);
    }
    u->is_thr_empty_pending = true;
    raise_locked(u);
}

static void write_ier_locked(struct uart *u, uint8_t value)
{
    if ((u->lcr & LCR_DLAB) != 0) {
        u->divisor = (uint16_t)((u->divisor & 0x00ffu) | (unsigned)(value << 8));
        return;
    }
    if ((value & IER_THR_EMPTY) != 0 && (u->ier & IER_THR_EMPTY) == 0) {
        u->is_thr_empty_pending = true; /* it is empty right now */
    }
    u->ier = value & IER_MASK;
    raise_locked(u);
}

static void write_register_locked(struct uart *u, enum uart_register reg, uint8_t value)
{
    switch (reg) {
    case REG_DATA:
        write_data_locked(u, value);
        return;
    case REG_IER:
        write_ier_locked(u, value);
        return;
    case REG_IIR:
        u->fcr = value;
        if ((value & FCR_CLEAR_INPUT) != 0) {
            u->input_count = 0;
        }
        return;
    case REG_LCR:
        u->lcr = value;
        return;
    case REG_MCR:
        u->mcr = value & 0x1f;
        return;
    case REG_LSR:
    case REG_MSR:
        return;
    case REG_SCRATCH:
        u->scratch = value;
        return;
    }
}

uint64_t uart_read(void *device, uint64_t offset, unsigned size)
{
    struct uart *u = device;
    uint64_t value = 0;

    (void)pthread_mutex_lock(&u->lock);
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)read_register_locked(u, (enum uart_register)((offset + i) & 7))
                 << (8 * i);
    }
    (void)pthread_mutex_unlock(&u->lock);
    return value;
}

void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart *u = device;

    (void)pthread_mutex_lock(&u->lock);
    for (unsigned i = 0; i < size; i++) {
        write_register_locked(u, (enum uart_register)((offset + i) & 7),
                              (uint8_t)(value >> (8 * i)));
    }
    (void)pthread_mutex_unlock(&u->lock);
}

bool uart_receive(struct uart *u, uint8_t byte)
{
    bool has_room = false;

    (void)pthread_mutex_lock(&u->lock);
    has_room = u->input_count < UART_INPUT_MAX;
    put_input_locked(u, byte);
    raise_locked(u);
    (void)pthread_mutex_unlock(&u->lock);
    return has_room;
}

void uart_save(struct uart *u, struct snapshot_uart *out)
{
    (void)pthread_mutex_lock(&u->lock);
    *out = (struct snapshot_uart){
        .ier = u->ier,
        .lcr = u->lcr,
        .mcr = u->mcr,
        .scratch = u->scratch,
        .fcr = u->fcr,
        .is_thr_empty_pending = u->is_thr_empty_pending,
        .has_overrun = u->has_overrun,
        .input_count = (uint8_t)u->input_count,
        .divisor = u->divisor,
        .output_count = (uint16_t)u->output_count,
    };
    for (unsigned i = 0; i < u->input_count; i++) {
        out->input[i] = u->input[(u->input_head + i) % UART_INPUT_MAX];
    }
    memcpy(out->output, u->output, u->output_count);
    (void)pthread_mutex_unlock(&u->lock);
}

bool uart_load(struct uart *u, const struct snapshot_uart *in)
{
    static_assert(sizeof(in->input) == UART_INPUT_MAX, "the queue's size is part of the format");
    static_assert(sizeof(in->output) == UART_OUTPUT_MAX, "the line's size is part of the format");
    if (in->input_count > UART_INPUT_MAX || in->output_count >= UART_OUTPUT_MAX) {
        return false;
    }
    (void)pthread_mutex_lock(&u->lock);
    u->ier = in->ier & IER_MASK;
    u->lcr = in->lcr;
    u->mcr = in->mcr & 0x1f;
    u->scratch = in->scratch;
    u->fcr = in->fcr;
    u->is_thr_empty_pending = in->is_thr_empty_pending != 0;
    u->has_overrun = in->has_overrun != 0;
    u->divisor = in->divisor;
    u->input_head = 0;
    u->input_count = in->input_count;
    memcpy(u->input, in->input, sizeof(u->input));
    u->output_count = in->output_count;
    memcpy(u->output, in->output, sizeof(u->output));
    (void)pthread_mutex_unlock(&u->lock);
    return true;
}

void uart_flush(struct uart *u)
{
    (void)pthread_mutex_lock(&u->lock);
    flush_locked(u);
    (void)pthread_mutex_unlock(&u->lock);
}
