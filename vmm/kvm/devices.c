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
#include "devices/copy_port.h"
#include "devices/virtio_9p.h"
#include "devices/virtio_balloon.h"
#include "devices/page_disk.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_console.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"
#include "devices/virtio_vsock.h"
#include "error.h"
#include "layout.h"
#include "outcome.h"

#include "abi/boot.h"

struct machine_virtio {
    struct virtio_console *console;
    struct virtio_blk *disks[DRUPE_DISKS_MAX + 1];   /* the root may be one */
    struct page_disk *memories[DRUPE_DISKS_MAX + 1]; /* of those in memory; else NULL */
    unsigned disk_count;
    struct virtio_net *nets[DRUPE_NETS_MAX];
    unsigned net_count;
    struct virtio_9p *shares; /* all of them */
    struct virtio_rng *rng;
    struct virtio_balloon *balloon;
    struct virtio_vsock *vsock;
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
    struct drupe_vm_outcome o;

    outcome_from_status(&o, kind, status);
    machine_end(ctx, o.kind, o.status, "%s", o.text);
}

static int add_port_windows(struct machine *m)
{
    const struct io_window windows[] = {
        { LAYOUT_PORT_SERIAL, LAYOUT_PORT_SERIAL_SIZE, &m->uart, uart_read, uart_write },
        { LAYOUT_PORT_I8042, LAYOUT_PORT_I8042_SIZE, &m->i8042, i8042_read, i8042_write },
        { BOOT_STATUS_PORT, 1, &m->status_port, status_port_read, status_port_write },
        { BOOT_COPY_PORT, 4, &m->device_host, copy_port_read, copy_port_write },
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

    if (m->virtio->count == LAYOUT_VIRTIO_SLOTS) {
        return -ENOSPC; /* check_slots() looked before */
    }
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

static int add_disk(struct machine *m, const struct config_file *f)
{
    struct virtio_blk_setup setup = {
        .host = &m->device_host,
        .irq = next_irq(m),
        .fd = f->fd,
        .is_read_only = f->is_read_only,
        .is_flush_ignored = f->is_flush_ignored,
        .want_sync = f->is_synchronous,
        .queue_count = min_of(m->config->vcpus, VIRTIO_BLK_QUEUES_MAX),
        .limit = f->limit,
    };
    struct virtio_blk **disk = &m->virtio->disks[m->virtio->disk_count];
    struct page_disk **memory = &m->virtio->memories[m->virtio->disk_count];
    int r = f->memory_size == 0 ? 0 : page_disk_create(f->memory_size, f->memory_max, memory);

    if (r < 0) {
        return r;
    }
    setup.memory = *memory;
    setup.want_sync = setup.want_sync || f->memory_size != 0;
    r = virtio_blk_create(&setup, disk);
    if (r < 0) {
        if (*memory != NULL) {
            page_disk_destroy(*memory);
            *memory = NULL;
        }
        return r;
    }
    m->virtio->disk_count++;
    return add_virtio(m, virtio_blk_device(*disk));
}

static int add_disks(struct machine *m)
{
    const struct config *c = m->config;
    int r = 0;

    if (c->root.fd >= 0 && c->root_mode != DRUPE_ROOT_MAPPED) {
        r = add_disk(m, &c->root);
    }
    for (unsigned i = 0; r == 0 && i < c->disk_count; i++) {
        r = add_disk(m, &c->disks[i]);
    }
    return r;
}

static int add_nets(struct machine *m)
{
    const struct config *c = m->config;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < c->net_count; i++) {
        struct virtio_net_setup setup = {
            .host = &m->device_host,
            .irq = next_irq(m),
            .fd = c->nets[i].fd,
            .is_mac_kept = c->nets[i].has_mac,
            .mtu = c->nets[i].mtu,
            .mmds = c->nets[i].has_metadata ? c->mmds : NULL,
            .rx_limit = c->nets[i].rx_limit,
            .tx_limit = c->nets[i].tx_limit,
        };

        memcpy(setup.mac, c->nets[i].mac, sizeof(setup.mac));
        r = virtio_net_create(&setup, &m->virtio->nets[i]);
        if (r == 0) {
            m->virtio->net_count++;
            r = add_virtio(m, virtio_net_device(m->virtio->nets[i]));
        }
    }
    return r;
}

static int add_shares(struct machine *m)
{
    const struct config *c = m->config;
    struct p9_share_setup shares[DRUPE_SHARES_MAX];
    struct virtio_9p_setup setup = {
        .host = &m->device_host,
        .irq = next_irq(m),
        .shares = shares,
        .share_count = c->share_count,
        .proc_fd = -1,
    };
    int r;

    if (c->share_count == 0) {
        return 0;
    }
    for (unsigned i = 0; i < c->share_count; i++) {
        shares[i] = (struct p9_share_setup){ .tag = c->shares[i].tag,
                                             .root_fd = c->shares[i].fd,
                                             .is_read_only = c->shares[i].is_read_only };
    }
    r = virtio_9p_create(&setup, &m->virtio->shares);
    return r < 0 ? r : add_virtio(m, virtio_9p_device(m->virtio->shares));
}

static int add_balloon(struct machine *m)
{
    const struct virtio_balloon_setup setup = {
        .host = &m->device_host,
        .irq = next_irq(m),
        .config = m->config->balloon,
    };
    int r = 0;

    if (!m->config->balloon.is_present) {
        return 0;
    }
    r = virtio_balloon_create(&setup, &m->virtio->balloon);
    return r < 0 ? r : add_virtio(m, virtio_balloon_device(m->virtio->balloon));
}

static int add_rng(struct machine *m)
{
    int r = virtio_rng_create(&m->device_host, next_irq(m), &m->virtio->rng);

    return r < 0 ? r : add_virtio(m, virtio_rng_device(m->virtio->rng));
}

static int add_vsock(struct machine *m)
{
    const struct config *c = m->config;
    struct virtio_vsock_setup setup = {
        .host = &m->device_host,
        .irq = next_irq(m),
        .guest_cid = c->vsock_cid,
        .listen_fd = c->vsock_fd,
        .path = c->vsock_path,
        .broker_fd = c->vsock_broker_fd,
    };
    int r = 0;

    if (c->vsock_path == NULL) {
        return 0;
    }
    r = virtio_vsock_create(&setup, &m->virtio->vsock);
    return r < 0 ? r : add_virtio(m, virtio_vsock_device(m->virtio->vsock));
}

static drupe_vm_err_t failed(int r, const char *what, struct drupe_error *err)
{
    drupe_vm_err_t code =
        r == -ENOMEM || r == -EMFILE || r == -ENFILE ? DRUPE_NO_MEMORY : DRUPE_INTERNAL;
    return r == 0 ? DRUPE_OK : error_set(err, code, -r, "make %s", what);
}

/* Each virtio device takes a slot with an interrupt line of its own. */
static drupe_vm_err_t check_slots(const struct config *c, struct drupe_error *err)
{
    const unsigned wanted = (c->stdio != DRUPE_STDIO_NONE) + c->disk_count + c->net_count +
                            (c->root.fd >= 0 && c->root_mode != DRUPE_ROOT_MAPPED) +
                            (c->share_count > 0) + (c->vsock_path != NULL) + c->balloon.is_present +
                            1;

    if (wanted > LAYOUT_VIRTIO_SLOTS) {
        return error_field(err, "disks", "a VM has at most %u virtio devices; this one has %u",
                           LAYOUT_VIRTIO_SLOTS, wanted);
    }
    return DRUPE_OK;
}

drupe_vm_err_t machine_devices_init(struct machine *m, struct drupe_error *err)
{
    struct io_window ioapic = { LAYOUT_IOAPIC, LAYOUT_IOAPIC_SIZE, &m->ioapic, ioapic_read,
                                ioapic_write };
    struct io_window timer = { LAYOUT_BOOT_TIMER, LAYOUT_BOOT_TIMER_SIZE, &m->boot_timer,
                               boot_timer_read, boot_timer_write };
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
    boot_timer_init(&m->boot_timer, &m->device_host);
    i8042_init(&m->i8042, &m->device_host, LAYOUT_IRQ_KEYBOARD);
    status_port_init(&m->status_port, &m->device_host);
    m->has_legacy = true;
    m->virtio = calloc(1, sizeof(*m->virtio));
    if (m->virtio == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the devices");
    }
    r = check_slots(m->config, err);
    if (r != DRUPE_OK) {
        return r;
    }
    r = failed(add_port_windows(m), "the port devices", err);
    if (r == DRUPE_OK) {
        r = failed(bus_add(&m->mmio, &ioapic), "the IOAPIC", err);
    }
    if (r == DRUPE_OK && m->config->has_boot_timer) {
        r = failed(bus_add(&m->mmio, &timer), "the boot timer", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_console(m), "the console", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_disks(m), "the disks", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_nets(m), "the network interfaces", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_shares(m), "the shared folders", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_rng(m), "the entropy device", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_balloon(m), "the balloon", err);
    }
    if (r == DRUPE_OK) {
        r = failed(add_vsock(m), "the socket device", err);
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
        for (unsigned i = 0; i < m->virtio->disk_count; i++) {
            virtio_blk_destroy(m->virtio->disks[i]);
            if (m->virtio->memories[i] != NULL) {
                page_disk_destroy(m->virtio->memories[i]);
            }
        }
        for (unsigned i = 0; i < m->virtio->net_count; i++) {
            virtio_net_destroy(m->virtio->nets[i]);
        }
        if (m->virtio->shares != NULL) {
            virtio_9p_destroy(m->virtio->shares);
        }
        if (m->virtio->rng != NULL) {
            virtio_rng_destroy(m->virtio->rng);
        }
        if (m->virtio->balloon != NULL) {
            virtio_balloon_destroy(m->virtio->balloon);
        }
        if (m->virtio->vsock != NULL) {
            virtio_vsock_destroy(m->virtio->vsock);
        }
        free(m->virtio);
        m->virtio = NULL;
    }
    if (m->has_legacy) {
        uart_deinit(&m->uart);
        i8042_deinit(&m->i8042);
        status_port_deinit(&m->status_port);
        m->has_legacy = false;
    }
}

void machine_hang_up_vsock(struct machine *m)
{
    if (m->virtio->vsock != NULL) {
        virtio_vsock_hang_up(m->virtio->vsock);
    }
}

void machine_reset_vsock(struct machine *m)
{
    if (m->virtio->vsock != NULL) {
        virtio_vsock_set_cid(m->virtio->vsock, m->config->vsock_cid);
        virtio_vsock_reset(m->virtio->vsock);
    }
}

drupe_vm_err_t machine_update_disk(struct machine *m, unsigned index, int fd,
                                   const struct drupe_rate_limit *limit, struct drupe_error *err)
{
    assert(index < m->virtio->disk_count);
    return failed(virtio_blk_update(m->virtio->disks[index], fd, limit), "the disk's change", err);
}

void machine_update_net(struct machine *m, unsigned index, const struct drupe_rate_limit *rx,
                        const struct drupe_rate_limit *tx)
{
    assert(index < m->virtio->net_count);
    virtio_net_update(m->virtio->nets[index], rx, tx);
}

void machine_net_stats(const struct machine *m, struct drupe_vm_stats *out)
{
    out->net_count = m->virtio->net_count;
    for (unsigned i = 0; i < m->virtio->net_count; i++) {
        virtio_net_stats(m->virtio->nets[i], &out->nets[i]);
        virtio_net_add_mmds_stats(m->virtio->nets[i], &out->metadata);
    }
}

struct virtio_balloon *machine_balloon(const struct machine *m)
{
    return m->virtio->balloon;
}

void machine_devices_quiesce(struct machine *m)
{
    for (unsigned i = 0; i < m->virtio->disk_count; i++) {
        virtio_blk_quiesce(m->virtio->disks[i]);
    }
    if (m->virtio->shares != NULL) {
        virtio_9p_quiesce(m->virtio->shares);
    }
}

static void save_private(struct virtio_device *dev, unsigned slot, struct state_writer *w)
{
    const struct virtio_device_ops *ops = dev->setup.ops;
    void *own = NULL;

    virtio_device_lock(dev);
    own = state_add(w, SNAPSHOT_PRIVATE, slot, ops->state_version,
                    ops->state_size != NULL ? ops->state_size(dev) : ops->state_size_max);
    if (own != NULL) {
        state_trim(w, ops->save(dev, own));
    }
    virtio_device_unlock(dev);
}

void machine_devices_save(struct machine *m, struct state_writer *w)
{
    struct snapshot_uart *uart = state_add(w, SNAPSHOT_UART, 0, 1, sizeof(*uart));

    if (uart != NULL) {
        uart_save(&m->uart, uart);
    }
    struct snapshot_status *status = state_add(w, SNAPSHOT_STATUS, 0, 1, sizeof(*status));

    if (status != NULL) {
        status_port_save(&m->status_port, status);
    }
    for (unsigned i = 0; i < m->virtio->count; i++) {
        struct virtio_device *dev = m->virtio->slots[i];
        const struct virtio_device_ops *ops = dev->setup.ops;
        void *transport = state_add(w, SNAPSHOT_VIRTIO, i, 1, virtio_transport_size(dev));

        if (transport != NULL) {
            virtio_transport_save(dev, transport);
        }
        if (ops->save != NULL) {
            save_private(dev, i, w);
        }
    }
}

static drupe_vm_err_t no_such_device(struct drupe_error *err, unsigned slot, const char *name,
                                     const char *why)
{
    return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "device %u (%s) is not the snapshot's: %s", slot,
                     name, why);
}

static drupe_vm_err_t load_virtio(struct machine *m, unsigned slot, const struct state_reader *r,
                                  struct drupe_error *err)
{
    struct virtio_device *dev = m->virtio->slots[slot];
    const struct virtio_device_ops *ops = dev->setup.ops;
    uint32_t version = 0;
    size_t size = 0;
    const char *why = "the snapshot has none there";
    const void *state = state_find(r, SNAPSHOT_VIRTIO, slot, &version, &size);
    int e = -EINVAL;

    if (state != NULL && version == 1) {
        e = virtio_transport_load(dev, state, size, &why);
    }
    if (e < 0) {
        return no_such_device(err, slot, ops->name, why);
    }
    state = state_find(r, SNAPSHOT_PRIVATE, slot, &version, &size);
    if ((state == NULL) != (ops->load == NULL)) {
        return no_such_device(err, slot, ops->name, "its state is of another version");
    }
    if (state != NULL) {
        virtio_device_lock(dev);
        e = ops->load(dev, version, state, size, &why);
        virtio_device_unlock(dev);
    }
    if (e < 0) {
        return no_such_device(err, slot, ops->name, why);
    }
    virtio_device_wake(dev);
    return DRUPE_OK;
}

drupe_vm_err_t machine_devices_load(struct machine *m, const struct state_reader *r,
                                    struct drupe_error *err)
{
    const struct snapshot_uart *uart = state_find_sized(r, SNAPSHOT_UART, 0, sizeof(*uart));
    const struct snapshot_status *status = state_find_sized(r, SNAPSHOT_STATUS, 0, sizeof(*status));
    const struct snapshot_ioapic *ioapic = state_find_sized(r, SNAPSHOT_IOAPIC, 0, sizeof(*ioapic));
    drupe_vm_err_t code = DRUPE_OK;

    if (uart == NULL || status == NULL || ioapic == NULL || !uart_load(&m->uart, uart) ||
        !status_port_load(&m->status_port, status)) {
        return error_set(err, DRUPE_SNAPSHOT_CORRUPTED, 0, "the devices' state is damaged");
    }
    ioapic_load(&m->ioapic, ioapic);
    if (state_find(r, SNAPSHOT_VIRTIO, m->virtio->count, NULL, NULL) != NULL) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                         "the snapshot has more devices than the VM's %u", m->virtio->count);
    }
    for (unsigned i = 0; code == DRUPE_OK && i < m->virtio->count; i++) {
        code = load_virtio(m, i, r, err);
    }
    return code;
}

void machine_devices_set_streams(struct machine *m, const struct drupe_vm_streams *streams)
{
    struct virtio_console *console = m->virtio->console;

    uart_set_output(&m->uart, streams->serial_log);
    if (console == NULL) {
        return;
    }
    if (m->config->stdio == DRUPE_STDIO_TTY) {
        virtio_console_set_port(console, BOOT_CONSOLE_PORT_TTY, streams->host_stdin,
                                streams->host_stdout);
        return;
    }
    virtio_console_set_port(console, BOOT_CONSOLE_PORT_STDIO, streams->host_stdin,
                            streams->host_stdout);
    virtio_console_set_port(console, BOOT_CONSOLE_PORT_STDERR, -1, streams->host_stderr);
}

unsigned machine_virtio_count(const struct machine *m)
{
    return m->virtio->count;
}

bool machine_has_console(const struct machine *m)
{
    return m->virtio->console != NULL;
}

bool machine_is_drained(const struct machine *m)
{
    return m->virtio->console == NULL || virtio_console_is_drained(m->virtio->console);
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
