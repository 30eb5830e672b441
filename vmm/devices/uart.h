/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A serial port. Output goes to a sink; input is a queue that the monitor fills (the signal
 * line of include/abi/boot.h). Transmission takes no time: the transmitter is always empty.
 */
#pragma once

#include <pthread.h>

#include "devices/device.h"

#define UART_INPUT_MAX  64u
#define UART_OUTPUT_MAX 128u

struct snapshot_uart;

struct uart {
    const struct device_host *host;
    unsigned irq;
    int out_fd; /* borrowed; -1: output is dropped */
    int in_fd;  /* borrowed; -1: none */
    pthread_mutex_t lock;
    /* under lock */
    uint8_t ier;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t scratch;
    uint8_t fcr;
    uint16_t divisor;
    bool is_thr_empty_pending; /* the interrupt "transmitter empty" was not taken yet */
    bool has_overrun;
    uint8_t input[UART_INPUT_MAX];
    unsigned input_head;
    unsigned input_count;
    uint8_t output[UART_OUTPUT_MAX]; /* a line is gathered, so that a log gets whole lines */
    unsigned output_count;
    uint64_t output_total;
    bool has_output_failed;
    bool is_input_held; /* in_fd is not watched: the queue is full */
};

void uart_init(struct uart *u, const struct device_host *host, unsigned irq, int out_fd);
/* Writes out what is gathered, and frees. */
void uart_deinit(struct uart *u);

/* Its output goes to `out_fd` (borrowed, -1: nowhere) from now on, what is gathered as well. */
void uart_set_output(struct uart *u, int out_fd);

/*
 * Bytes of `fd` (borrowed until deinit) arrive on the line as the guest makes room for them. 0 or
 * -errno. Once.
 */
int uart_listen(struct uart *u, int fd);

/* io_window accessors; offset 0..7. */
uint64_t uart_read(void *device, uint64_t offset, unsigned size);
void uart_write(void *device, uint64_t offset, unsigned size, uint64_t value);

/* A byte arrives on the line. False when the queue is full (the guest doesn't read). Any thread. */
bool uart_receive(struct uart *u, uint8_t byte);
/* Into and out of a snapshot. load: hostile; false for what no port can be, with nothing changed.
 */
void uart_save(struct uart *u, struct snapshot_uart *out);
bool uart_load(struct uart *u, const struct snapshot_uart *in);
/* Write out what is gathered. Any thread. */
void uart_flush(struct uart *u);
