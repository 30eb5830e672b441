/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the drivers and hands out the standard streams. */

#include <abi/boot.h>
#include <core/boot.h>
#include <drivers/drivers.h>
#include <drivers/pty.h>
#include <drivers/serial.h>
#include <drivers/tty.h>
#include <drivers/virtio.h>
#include <drivers/virtio_console.h>
#include <drivers/worker.h>
#include <fs/fcntl.h>

/* Linux's numbers (Documentation/admin-guide/devices.txt); console ports as virtio_console's own
 * major. */
#define TTY_MAJOR    4
#define TTYAUX_MAJOR 5
#define HVC_MAJOR    229
#define VPORT_MAJOR  247

static struct device_node nodes[] = {
    { .name = "tty", .dev = ((dev_t)TTYAUX_MAJOR << 8) | 0, .mode = 0666, .ops = &tty_current_ops },
    { .name = "console",
      .dev = ((dev_t)TTYAUX_MAJOR << 8) | 1,
      .mode = 0600,
      .ops = &tty_file_ops },
    { .name = "ptmx", .dev = ((dev_t)TTYAUX_MAJOR << 8) | 2, .mode = 0666, .ops = &ptmx_file_ops },
    { .name = "ttyS0", .dev = ((dev_t)TTY_MAJOR << 8) | 64, .mode = 0660, .ops = &tty_file_ops },
};

static struct device_node terminal_node = {
    .name = "hvc0",
    .dev = ((dev_t)HVC_MAJOR << 8) | 0,
    .mode = 0660,
    .ops = &tty_file_ops,
};

static struct device_node port_nodes[] = {
    { .name = "vport0p1",
      .dev = ((dev_t)VPORT_MAJOR << 8) | 1,
      .mode = 0660,
      .ops = &port_file_ops },
    { .name = "vport0p2",
      .dev = ((dev_t)VPORT_MAJOR << 8) | 2,
      .mode = 0660,
      .ops = &port_file_ops },
    { .name = "vport0p3",
      .dev = ((dev_t)VPORT_MAJOR << 8) | 3,
      .mode = 0660,
      .ops = &port_file_ops },
};

static struct tty *main_tty(void)
{
    return console_tty() ? console_tty() : serial_tty();
}

static bool has_boot_args(void)
{
    const uint64_t *magic = boot_info.ramdisk.size >= sizeof(struct boot_args)
                                ? phys_to_virt(boot_info.ramdisk.start)
                                : NULL;

    return magic && load_le64(magic) == BOOT_ARGS_MAGIC;
}

void drivers_init(void)
{
    worker_start();
    virtio_probe_all();
    serial_init(has_boot_args());
    nodes[1].private = main_tty();
    nodes[3].private = serial_tty();
    for (unsigned i = 0; i < array_size(nodes); i++) {
        device_register(&nodes[i]);
    }
    if (console_tty()) {
        terminal_node.private = console_tty();
        device_register(&terminal_node);
    }
    for (unsigned i = 0; i < array_size(port_nodes); i++) {
        port_nodes[i].private = console_port(i + 1);
        if (port_nodes[i].private) {
            device_register(&port_nodes[i]);
        }
    }
}

void console_set_window(uint16_t rows, uint16_t cols)
{
    tty_set_window(main_tty(), rows, cols);
}

void drivers_drain(void)
{
    console_drain();
}

/* One description thrice when `shared`, else one per path: to read, to write, to write. */
static int open_all(const char *const names[3], bool shared, struct file *files[3])
{
    static const unsigned modes[3] = { O_RDONLY, O_WRONLY, O_WRONLY };

    for (unsigned i = 0; i < 3; i++) {
        int err = 0;

        if (shared && i > 0) {
            files[i] = file_get(files[0]);
        } else {
            err = file_open(AT_FDCWD, names[i], shared ? O_RDWR : modes[i], 0, &files[i]);
        }
        if (err < 0) {
            while (i > 0) {
                file_put(files[--i]);
            }
            return err;
        }
    }
    return 0;
}

int stdio_open(uint32_t flags, struct file *files[3])
{
    static const char *const terminal[3] = { "/dev/console" };
    const char *const input = flags & BOOT_ARGS_STDIN_NONE    ? "/dev/null"
                              : flags & BOOT_ARGS_STDIN_SPLIT ? "/dev/vport0p3"
                                                              : "/dev/vport0p1";
    const char *const streams[3] = { input, "/dev/vport0p1", "/dev/vport0p2" };
    bool has_streams =
        console_port(BOOT_CONSOLE_PORT_STDIO) && console_port(BOOT_CONSOLE_PORT_STDERR);
    int err;

    if ((flags & BOOT_ARGS_STDIO_STREAM) && has_streams) {
        return open_all(streams, false, files);
    }
    err = open_all(terminal, true, files);
    if (err == 0) {
        tty_take_control(main_tty());
    }
    return err;
}
