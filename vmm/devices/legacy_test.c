/* SPDX-License-Identifier: Apache-2.0 */
/* The devices at ports, and the IOAPIC: register by register, as a driver and as a hostile guest
 * uses them. */
#include "test.h"

#include <fcntl.h>
#include <stdbool.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "abi/boot.h"
#include "devices/boot_timer.h"
#include "devices/i8042.h"
#include "devices/ioapic.h"
#include "devices/status_port.h"
#include "devices/uart.h"

struct world {
    struct device_host host;
    unsigned irqs;
    unsigned last_irq;
    unsigned ends;
    unsigned end_kind;
    unsigned end_status;
    unsigned logs;
    unsigned msis;
    uint64_t msi_address;
    uint32_t msi_data;
};

static void world_irq(void *ctx, unsigned irq)
{
    struct world *w = ctx;

    w->irqs++;
    w->last_irq = irq;
}

static void world_end(void *ctx, unsigned kind, unsigned status)
{
    struct world *w = ctx;

    w->ends++;
    w->end_kind = kind;
    w->end_status = status;
}

static void world_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    struct world *w = ctx;

    (void)level;
    (void)device;
    (void)text;
    w->logs++;
}

static void world_msi(void *ctx, uint64_t address, uint32_t data)
{
    struct world *w = ctx;

    w->msis++;
    w->msi_address = address;
    w->msi_data = data;
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->host = (struct device_host){
        .ctx = w, .irq_raise = world_irq, .log = world_log, .machine_end = world_end
    };
}

static void test_uart_output(void **state)
{
    struct world w;
    struct uart u;
    int pipes[2];
    char text[256];

    (void)state;
    world_init(&w);
    assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
    uart_init(&u, &w.host, 4, pipes[1]);
    for (const char *c = "hello"; *c != '\0'; c++) {
        assert_int_equal(uart_read(&u, 5, 1) & 0x60, 0x60);
        uart_write(&u, 0, 1, (uint8_t)*c);
    }
    assert_int_equal(read(pipes[0], text, sizeof(text)), -1); /* a line is gathered */
    uart_write(&u, 0, 1, '\n');
    assert_int_equal(read(pipes[0], text, sizeof(text)), 6);
    for (unsigned i = 0; i < UART_OUTPUT_MAX; i++) {
        uart_write(&u, 0, 1, 'x');
    }
    assert_int_equal(read(pipes[0], text, sizeof(text)), UART_OUTPUT_MAX);
    uart_write(&u, 0, 1, 'y');
    uart_flush(&u);
    assert_int_equal(read(pipes[0], text, sizeof(text)), 1);
    assert_int_equal(w.irqs, 0);
    /* The reader goes away: one message, and the guest is not held up. */
    (void)close(pipes[0]);
    for (unsigned i = 0; i < 1000; i++) {
        uart_write(&u, 0, 1, '\n');
    }
    assert_int_equal(w.logs, 1);
    uart_deinit(&u);
    (void)close(pipes[1]);
}

static void test_uart_input(void **state)
{
    struct world w;
    struct uart u;

    (void)state;
    world_init(&w);
    uart_init(&u, &w.host, 4, -1);
    assert_true(uart_receive(&u, 15));
    assert_int_equal(w.irqs, 0); /* not enabled */
    uart_write(&u, 1, 1, 1);
    assert_int_equal(w.irqs, 1);
    assert_int_equal(w.last_irq, 4);
    assert_int_equal(uart_read(&u, 2, 1) & 0x0f, 4);
    assert_int_equal(uart_read(&u, 5, 1) & 1, 1);
    assert_int_equal(uart_read(&u, 0, 1), 15);
    assert_int_equal(uart_read(&u, 5, 1) & 1, 0);
    assert_int_equal(uart_read(&u, 2, 1) & 0x0f, 1);
    for (unsigned i = 0; i < UART_INPUT_MAX; i++) {
        assert_true(uart_receive(&u, (uint8_t)i));
    }
    assert_false(uart_receive(&u, 0));
    assert_int_equal(uart_read(&u, 5, 1) & 2, 2); /* overrun, cleared by reading */
    assert_int_equal(uart_read(&u, 5, 1) & 2, 0);
    for (unsigned i = 0; i < UART_INPUT_MAX; i++) {
        assert_int_equal(uart_read(&u, 0, 1), i);
    }
    assert_int_equal(uart_read(&u, 0, 1), 0);
    uart_deinit(&u);
}

static void test_uart_registers(void **state)
{
    struct world w;
    struct uart u;

    (void)state;
    world_init(&w);
    uart_init(&u, &w.host, 4, -1);
    uart_write(&u, 3, 1, 0x83); /* DLAB */
    uart_write(&u, 0, 1, 0x34);
    uart_write(&u, 1, 1, 0x12);
    assert_int_equal(uart_read(&u, 0, 1), 0x34);
    assert_int_equal(uart_read(&u, 1, 1), 0x12);
    uart_write(&u, 3, 1, 0x03);
    assert_int_equal(uart_read(&u, 1, 1), 0);
    uart_write(&u, 7, 1, 0x5a);
    assert_int_equal(uart_read(&u, 7, 1), 0x5a);
    uart_write(&u, 1, 1, 2); /* "empty" is an interrupt when enabled, and after each byte */
    assert_int_equal(w.irqs, 1);
    assert_int_equal(uart_read(&u, 2, 1) & 0x0f, 2);
    assert_int_equal(uart_read(&u, 2, 1) & 0x0f, 1);
    uart_write(&u, 0, 1, 'x');
    assert_int_equal(w.irqs, 2);
    uart_write(&u, 4, 1, 0x1f); /* loop-back: outputs show as inputs, data comes back */
    assert_int_equal(uart_read(&u, 6, 1), 0xf0);
    uart_write(&u, 0, 1, 'z');
    assert_int_equal(uart_read(&u, 0, 1), 'z');
    uart_write(&u, 4, 1, 0);
    assert_int_equal(uart_read(&u, 6, 1), 0xb0);
    for (uint64_t offset = 0; offset < 8; offset++) { /* sizes that nobody uses are harmless */
        uart_write(&u, offset, 4, 0xffffffff);
        (void)uart_read(&u, offset, 4);
    }
    uart_deinit(&u);
}

static void test_boot_timer(void **state)
{
    struct world w;
    struct boot_timer t;

    (void)state;
    world_init(&w);
    boot_timer_init(&t, &w.host);
    boot_timer_write(&t, 0, 1, BOOT_TIMER_MAGIC); /* before the start */
    boot_timer_start(&t);
    boot_timer_write(&t, 0, 1, 122);
    boot_timer_write(&t, 1, 1, BOOT_TIMER_MAGIC);
    boot_timer_write(&t, 0, 4, BOOT_TIMER_MAGIC);
    assert_int_equal(w.logs, 0);
    boot_timer_write(&t, 0, 1, BOOT_TIMER_MAGIC);
    boot_timer_write(&t, 0, 1, BOOT_TIMER_MAGIC);
    assert_int_equal(w.logs, 1);
    assert_int_equal(boot_timer_read(&t, 0, 1), 0);
}

static void test_i8042(void **state)
{
    static const uint8_t chord[] = { 0x14, 0x11, 0xe0, 0x71 };
    struct world w;
    struct i8042 d;

    (void)state;
    world_init(&w);
    i8042_init(&d, &w.host, 1);
    assert_int_equal(i8042_read(&d, 4, 1), 0);
    i8042_write(&d, 4, 1, 0xaa);
    i8042_write(&d, 0, 1, 0xfe);
    assert_int_equal(w.ends, 0);
    i8042_write(&d, 4, 1, 0xfe);
    assert_int_equal(w.ends, 1);
    assert_int_equal(w.end_kind, 0);
    assert_int_equal(i8042_read(&d, 0, 1), 0);
    assert_true(i8042_ctrl_alt_del(&d));
    assert_false(i8042_ctrl_alt_del(&d));
    for (size_t i = 0; i < array_size(chord); i++) {
        assert_int_equal(i8042_read(&d, 4, 1), 1);
        assert_int_equal(i8042_read(&d, 0, 1), chord[i]);
    }
    assert_int_equal(i8042_read(&d, 4, 1), 0);
    assert_int_equal(w.irqs, 4);
    assert_int_equal(w.last_irq, 1);
    assert_true(i8042_ctrl_alt_del(&d));
    i8042_deinit(&d);
}

static void test_status_port(void **state)
{
    static const struct {
        uint8_t bytes[8];
        unsigned size;
        unsigned ends;
        unsigned kind;
        unsigned status;
    } cases[] = {
        { { 0xd5, 1, 0, 0 }, 4, 1, BOOT_STATUS_EXIT, 0 },
        { { 0xd5, 2, 255, 0 }, 4, 1, BOOT_STATUS_PANIC, 255 },
        { { 'x', 0xd5, 1, 42, 0 }, 5, 1, BOOT_STATUS_EXIT, 42 },
        { { 0xd5, 0xd5, 4, 1, 0 }, 5, 0, 0, 0 }, /* a wrong kind starts over, its byte lost */
        { { 0xd5, 9, 1, 0 }, 4, 0, 0, 0 },
        { { 0xd5, 1, 1, 1 }, 4, 0, 0, 0 },
        { { 0xd5, 1, 1 }, 3, 0, 0, 0 },
        { { 0xd5, 0, 0xd5, 3, 7, 0 }, 6, 1, BOOT_STATUS_ERROR, 7 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        struct status_port d;

        world_init(&w);
        status_port_init(&d, &w.host);
        for (unsigned n = 0; n < cases[i].size; n++) {
            status_port_write(&d, 0, 4, 0xd5); /* wrong size: not seen */
            status_port_write(&d, 0, 1, cases[i].bytes[n]);
        }
        assert_int_equal(w.ends, cases[i].ends);
        assert_int_equal(w.end_kind, cases[i].kind);
        assert_int_equal(w.end_status, cases[i].status);
        status_port_deinit(&d);
    }
}

static void ioapic_set(struct ioapic *a, unsigned reg, uint32_t value)
{
    ioapic_write(a, 0, 4, reg);
    ioapic_write(a, 0x10, 4, value);
}

static uint64_t ioapic_get(struct ioapic *a, unsigned reg)
{
    ioapic_write(a, 0, 4, reg);
    return ioapic_read(a, 0x10, 4);
}

static void test_ioapic(void **state)
{
    struct world w;
    struct ioapic a;

    (void)state;
    world_init(&w);
    ioapic_init(&a, world_msi, &w);
    assert_int_equal(ioapic_get(&a, 1), 0x170011);
    assert_int_equal(ioapic_get(&a, 0x10), 0x10000);
    ioapic_raise(&a, 5); /* masked: kept */
    assert_int_equal(w.msis, 0);
    ioapic_set(&a, 0x1b, 0x02000000); /* line 5 to APIC 2 */
    assert_int_equal(w.msis, 0);
    ioapic_set(&a, 0x1a, 0x31);
    assert_int_equal(w.msis, 1);
    assert_int_equal(w.msi_address, 0xfee02000);
    assert_int_equal(w.msi_data, 0x31);
    ioapic_raise(&a, 5);
    assert_int_equal(w.msis, 2);
    ioapic_set(&a, 0x1a, 0x0932); /* lowest priority, logical */
    ioapic_raise(&a, 5);
    assert_int_equal(w.msi_address, 0xfee02004);
    assert_int_equal(w.msi_data, 0x132);
    ioapic_raise(&a, 24);
    ioapic_raise(&a, UINT32_MAX);
    assert_int_equal(w.msis, 3);
    /* Read-only bits and registers that don't exist. */
    ioapic_set(&a, 0x10, 0xffffffff);
    assert_int_equal(ioapic_get(&a, 0x10), 0x1afff);
    ioapic_set(&a, 0x40, 0xffffffff);
    assert_int_equal(ioapic_get(&a, 0x40), 0);
    assert_int_equal(ioapic_get(&a, 0xff), 0);
    ioapic_set(&a, 0, 0x0f000000);
    assert_int_equal(ioapic_get(&a, 0), 0x0f000000);
    ioapic_write(&a, 0x10, 2, 0);
    assert_int_equal(ioapic_read(&a, 0x10, 8), 0);
    ioapic_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uart_output),    cmocka_unit_test(test_uart_input),
        cmocka_unit_test(test_uart_registers), cmocka_unit_test(test_i8042),
        cmocka_unit_test(test_boot_timer),     cmocka_unit_test(test_status_port),
        cmocka_unit_test(test_ioapic),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("legacy_devices", tests, NULL, NULL);
}
