/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's devices, where they stand, and how the guest hears of them. Only devices that the
 * configuration asks for exist: each costs the guest a probe.
 */
#include "kvm/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#include "boot/cmdline.h"
#include "devices/virtio_console.h"
#include "devices/virtio_mmio.h"
#include "error.h"
#include "layout.h"

#include "abi/boot.h"

struct machine_virtio {
    struct virtio_console *console;
    struct virtio_device *slots[LAYOUT_VIRTIO_SLOTS]; /* in order of their windows */
    unsigned count;
};

static uint64_t slot_gpa(unsigned slot)
{
    return LAYOUT_VIRTIO + slot * LAYOUT_VIRTIO_SIZE;
}

static unsigned next_irq(const struct machine *m)
{
    return LAYOUT_IRQ_VIRTIO + m->virtio->count;
}

static void host_irq_raise(void *ctx, unsigned irq)
{
    arch_irq_raise(ctx, irq);
}

static int host_watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct machine *m = ctx;

    return loop_watch(&m->loop, fd, events, fn, device);
}

static void host_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    static const enum drupe_log_level levels[] = {
        [DEVICE_LOG_ERROR] = DRUPE_LOG_ERROR,
        [DEVICE_LOG_WARN] = DRUPE_LOG_WARN,
        [DEVICE_LOG_INFO] = DRUPE_LOG_INFO,
    };
    struct machine *m = ctx;

    log_write(&m->log, levels[level], device, "text=\"%s\"", text);
}

static void host_machine_end(void *ctx, unsigned kind, unsigned status)
{
    struct machine *m = ctx;

    switch (kind) {
    case BOOT_STATUS_EXIT:
        machine_end(m, DRUPE_END_EXIT, (int)status, "the workload ended");
        return;
    case BOOT_STATUS_PANIC:
        machine_end(m, DRUPE_END_PANIC, (int)status, "the guest kernel panicked");
        return;
    case BOOT_STATUS_ERROR:
        machine_end(m, DRUPE_END_BOOT_ERROR, (int)status,
                    "the guest kernel could not start the workload");
        return;
    case BOOT_STATUS_REBOOT:
        machine_end(m, DRUPE_END_REBOOT, (int)status, "the workload asked for a restart");
        return;
    default:
        machine_end(m, DRUPE_END_RESET, 0, "the guest reset the machine without a status");
        return;
    }
}

static int add_port_windows(struct machine *m)
{
    const struct io_window windows[] = {
        { LAYOUT_PORT_SERIAL, LAYOUT_PORT_SERIAL_SIZE, &m->uart, uart_read, uart_write },
        { LAYOUT_PORT_I8042, LAYOUT_PORT_I8042_SIZE, &m->i8042, i8042_read, i8042_write },
        { BOOT_STATUS_PORT, 1, &m->status_port, status_port_read, status_port_write },
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < array_size(windows); i++) {
        r = bus_add(&m->pio, &windows[i]);
    }
    return r;
}

static int add_virtio(struct machine *m, struct virtio_device *device)
{
    struct io_window window = virtio_mmio_window(device, slot_gpa(m->virtio->count));

    assert(m->virtio->count < LAYOUT_VIRTIO_SLOTS);
    m->virtio->slots[m->virtio->count++] = device;
    return bus_add(&m->mmio, &window);
}

static int add_console(struct machine *m)
{
    const struct config *c = m->config;
    struct virtio_console_setup setup = {
        .host = &m->device_host,
        .irq = next_irq(m),
        .cols = (uint16_t)c->tty_cols,
        .rows = (uint16_t)c->tty_rows,
        .tee_fd = -1,
    };
    int r = 0;

    if (c->stdio == DRUPE_STDIO_NONE) {
        return 0;
    }
    if (c->stdio == DRUPE_STDIO_TTY) {
        setup.ports[BOOT_CONSOLE_PORT_TTY] =
            (struct virtio_console_port_setup){ true, c->host_stdin, c->host_stdout };
    } else {
        setup.ports[BOOT_CONSOLE_PORT_STDIO] =
            (struct virtio_console_port_setup){ true, c->host_stdin, c->host_stdout };
        setup.ports[BOOT_CONSOLE_PORT_STDERR] =
            (struct virtio_console_port_setup){ true, -1, c->host_stderr };
    }
    r = virtio_console_create(&setup, &m->virtio->console);
    return r < 0 ? r : add_virtio(m, virtio_console_device(m->virtio->console));
}

static drupe_vm_err_t failed(int r, const char *what, struct drupe_error *err)
{
    drupe_vm_err_t code =
        r == -ENOMEM || r == -EMFILE || r == -ENFILE ? DRUPE_NO_MEMORY : DRUPE_INTERNAL;

    return r == 0 ? DRUPE_OK : error_set(err, code, -r, "make %s", what);
}

drupe_vm_err_t machine_devices_init(struct machine *m, struct drupe_error *err)
{
    struct io_window ioapic = { LAYOUT_IOAPIC, LAYOUT_IOAPIC_SIZE, &m->ioapic, ioapic_read,
                                ioapic_write };
    drupe_vm_err_t r = DRUPE_OK;

    m->device_host = (struct device_host){
        .ctx = m,
        .gmem = &m->gmem,
        .irq_raise = host_irq_raise,
        .watch = host_watch,
        .log = host_log,
        .machine_end = host_machine_end,
    };
    bus_init(&m->pio, 0, 0);
    bus_init(&m->mmio, LAYOUT_VIRTIO, LAYOUT_VIRTIO_SIZE);
    uart_init(&m->uart, &m->device_host, LAYOUT_IRQ_SERIAL, m->config->serial_log);
    i8042_init(&m->i8042, &m->device_host);
    status_port_init(&m->status_port, &m->device_host);
    m->has_legacy = true;
    m->virtio = calloc(1, sizeof(*m->virtio));
    if (m->virtio == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the devices");
    }
    r = failed(add_port_windows(m), "the port devices", err);
    if (r == DRUPE_OK) {
        r = failed(bus_add(&m->mmio, &ioapic), "the IOAPIC", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_console(m), "the console", err);
    }
    bus_seal(&m->pio);
    bus_seal(&m->mmio);
    return r;
}

void machine_devices_deinit(struct machine *m)
{
    if (m->virtio != NULL) {
        if (m->virtio->console != NULL) {
            virtio_console_destroy(m->virtio->console);
        }
        free(m->virtio);
        m->virtio = NULL;
    }
    if (m->has_legacy) {
        uart_deinit(&m->uart);
        status_port_deinit(&m->status_port);
        m->has_legacy = false;
    }
}

bool machine_has_console(const struct machine *m)
{
    return m->virtio->console != NULL;
}

bool machine_resize_console(struct machine *m, unsigned rows, unsigned cols)
{
    if (m->virtio->console == NULL || m->config->stdio != DRUPE_STDIO_TTY) {
        return false;
    }
    virtio_console_resize(m->virtio->console, (uint16_t)cols, (uint16_t)rows);
    return true;
}

void machine_devices_announce(const struct machine *m, struct cmdline *c)
{
    for (unsigned i = 0; i < m->virtio->count; i++) {
        cmdline_add(c, "virtio_mmio.device=4K@0x%llx:%u", (unsigned long long)slot_gpa(i),
                    LAYOUT_IRQ_VIRTIO + i);
    }
}
