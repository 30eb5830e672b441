/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz the reading of snapshots: the container as it comes, or the input as the state of one that
 * is otherwise right (version 1, which has no hashes in the way); then the devices' records of it.
 * Odd first byte: a container.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/ioapic.h"
#include "devices/status_port.h"
#include "devices/uart.h"
#include "devices/virtio_console.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_rng.h"
#include "snapshot/describe.h"
#include "snapshot/working_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_SIZE (UINT64_C(1) << 20)

static void irq_raise(void *ctx, unsigned irq)
{
    (void)ctx;
    (void)irq;
}

static int watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    (void)ctx;
    (void)fd;
    (void)events;
    (void)fn;
    (void)device;
    return 0;
}

static void say(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    (void)ctx;
    (void)level;
    (void)device;
    (void)text;
}

static void machine_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    (void)kind;
    (void)status;
}

static void load_virtio(struct virtio_device *dev, const struct state_reader *r, uint32_t slot)
{
    const struct virtio_device_ops *ops = dev->setup.ops;
    const char *why = NULL;
    uint32_t version = 0;
    size_t size = 0;
    const void *state = state_find(r, SNAPSHOT_VIRTIO, slot, NULL, &size);

    if (state == NULL || virtio_transport_load(dev, state, size, &why) < 0) {
        return;
    }
    state = state_find(r, SNAPSHOT_PRIVATE, slot, &version, &size);
    if (ops->load != NULL && state != NULL) {
        virtio_device_lock(dev);
        (void)ops->load(dev, version, state, size, &why);
        virtio_device_unlock(dev);
    }
    virtio_device_wake(dev);
    for (unsigned i = 0; i < virtio_mmio_queue_count(dev); i++) {
        virtio_mmio_kick(dev, i, VIRTIO_ON_LOOP);
    }
}

static void load_devices(const struct state_reader *r)
{
    static uint8_t ram[RAM_SIZE];
    const struct gmem gmem = { .regions = { { .size = RAM_SIZE, .hva = ram } }, .region_count = 1 };
    const struct device_host host = { .gmem = &gmem,
                                      .irq_raise = irq_raise,
                                      .watch = watch,
                                      .log = say,
                                      .machine_end = machine_end };
    struct virtio_console_setup setup = { .host = &host, .tee_fd = -1 };
    const void *state = state_find_sized(r, SNAPSHOT_UART, 0, sizeof(struct snapshot_uart));
    struct virtio_console *console = NULL;
    struct virtio_rng *rng = NULL;
    struct uart uart;

    memset(ram, 0, sizeof(ram));
    uart_init(&uart, &host, 4, -1);
    if (state != NULL && uart_load(&uart, state)) {
        (void)uart_read(&uart, 0, 8);
    }
    uart_deinit(&uart);
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        setup.ports[i] = (struct virtio_console_port_setup){ true, -1, -1 };
    }
    if (virtio_console_create(&setup, &console) == 0) {
        load_virtio(virtio_console_device(console), r, 0);
        virtio_console_destroy(console);
    }
    if (virtio_rng_create(&host, 5, &rng) == 0) {
        load_virtio(virtio_rng_device(rng), r, 1);
        virtio_rng_destroy(rng);
    }
}

/* The input as the state of a version 1 container. -1: it cannot be. */
static int wrap(const uint8_t *data, size_t size)
{
    struct snapshot_header_1 header = { .magic = SNAPSHOT_MAGIC, .version = 1, .state_size = size };
    struct snapshot_state state;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (size < sizeof(state) || fd < 0) {
        return fd;
    }
    memcpy(&state, data, sizeof(state));
    header.memory_size = state.ram_size;
    if (write(fd, &header, sizeof(header)) < 0 || write(fd, data, size) < 0 ||
        state.ram_size > RAM_SIZE ||
        ftruncate(fd, (off_t)(sizeof(header) + size + state.ram_size)) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int plain(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd >= 0 && write(fd, data, size) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void use_memory(const struct snapshot_file *f)
{
    size_t size = (size_t)f->state.header->ram_size;
    void *ram = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (ram == MAP_FAILED) {
        return;
    }
    if (memory_map(f, ram) == 0) {
        working_set_bring(f, ram);
    }
    (void)munmap(ram, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int no_bases[1]; /* none is looked for in the file system */
    struct drupe_restore_options options = { .struct_size = sizeof(options),
                                             .memory_fd = -1,
                                             .base_fds = no_bases };
    struct snapshot_file *f = NULL;
    struct config config = { .vcpus = 1, .memory_size = RAM_SIZE, .root.fd = -1 };
    struct drupe_error err;

    if (size == 0) {
        return 0;
    }
    options.fd = (data[0] & 1) != 0 ? plain(data + 1, size - 1) : wrap(data + 1, size - 1);
    if (options.fd < 0) {
        return 0;
    }
    if (snapshot_open(&options, &f, &err) == DRUPE_OK) {
        (void)!describe_check(f, &config, true, &err);
        if (f->state.header->ram_size <= RAM_SIZE && snapshot_verify_memory(f, &err) == DRUPE_OK) {
            load_devices(&f->state);
            use_memory(f);
        }
        snapshot_close(f);
    }
    (void)close(options.fd);
    return 0;
}
