/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>

#include <base/assert.h>
#include <base/fmt.h>

#include "abi/boot.h"
#include "arch/arch.h"
#include "backends/qemu/qemu.h"
#include "boot/cmdline.h"
#include "error.h"

#define VIRTIO_BASE UINT64_C(0xfeb00000)
#define VIRTIO_SIZE UINT64_C(512)
/* With ACPI the lines behind the ISA bus's; without, what that bus has free. */
#define VIRTIO_IRQ_BASE_ACPI 16u
#define VIRTIO_IRQ_BASE_ISA  5u

#define MACHINE      "microvm,ioapic2=off,pcie=off,x-option-roms=off,auto-kernel-cmdline=off"
#define MACHINE_OURS MACHINE ",acpi=on,pic=off,pit=off,rtc=off"
/* Memory that another process maps: it serves the socket device. */
#define MEMORY_SHARED ",memory-backend=ram"
/* Linux measures its clocks with the PIT, which it only looks at without this kind of ACPI. */
#define MACHINE_PLAIN MACHINE ",acpi=off,pic=on,pit=on,rtc=on"
/* With it, Linux is told how fast its counter is, and measures the rest with that. */
#define MACHINE_ACPI    MACHINE ",acpi=on,pic=off,pit=off,rtc=on"
#define CMDLINE_DEFAULT "console=ttyS0 reboot=t panic=0"

struct builder {
    struct qemu_args *args;
    const struct config *config;
    struct cmdline cmdline;
    enum qemu_guest guest;
    unsigned slots;
    bool has_memory_disk;
};

static void add(struct qemu_args *a, const char *format, ...) PRINTF_LIKE(2, 3);

static void add(struct qemu_args *a, const char *format, ...)
{
    size_t room = sizeof(a->text) - a->used;
    size_t n = 0;
    va_list list;

    va_start(list, format);
    n = fmt_vsnprintf(a->text + a->used, room, format, list);
    va_end(list);
    if (n >= room || a->count == QEMU_ARGS_MAX) {
        a->has_overflowed = true;
        return;
    }
    a->argv[a->count++] = a->text + a->used;
    a->used += n + 1;
}

/* The next virtio-mmio transport, announced to a kernel that looks there. */
static unsigned take_slot(struct builder *b)
{
    unsigned irq_base = b->guest == QEMU_GUEST_PLAIN ? VIRTIO_IRQ_BASE_ISA : VIRTIO_IRQ_BASE_ACPI;
    unsigned slot = b->slots++;

    if (b->guest == QEMU_GUEST_ACPI) {
        return slot;
    }
    cmdline_add(&b->cmdline, "virtio_mmio.device=%u@0x%llx:%u", (unsigned)VIRTIO_SIZE,
                (unsigned long long)(VIRTIO_BASE + slot * VIRTIO_SIZE), irq_base + slot);
    return slot;
}

/* A descriptor of ours under a name that QEMU's chardevs open. */
static void add_fd(struct qemu_args *a, enum qemu_fd fd)
{
    add(a, "-add-fd");
    add(a, "fd=%d,set=%d", (int)fd, (int)fd);
}

/* "append", since QEMU would otherwise truncate, which a pipe refuses. */
static void add_output(struct qemu_args *a, const char *id, enum qemu_fd out)
{
    add_fd(a, out);
    add(a, "-chardev");
    add(a, "file,id=%s,path=/dev/fdset/%d,append=on", id, (int)out);
}

static void add_socket(struct qemu_args *a, const char *id, enum qemu_fd fd)
{
    add(a, "-chardev");
    add(a, "socket,id=%s,fd=%d", id, (int)fd);
}

static void add_console(struct builder *b)
{
    struct qemu_args *a = b->args;

    if (b->config->stdio == DRUPE_STDIO_NONE) {
        return;
    }
    add(a, "-device");
    add(a, "virtio-serial-device,max_ports=4,bus=virtio-mmio-bus.%u", take_slot(b));
    if (b->config->stdio == DRUPE_STDIO_TTY) {
        add_socket(a, "tty", QEMU_FD_STDIN);
        add(a, "-device");
        add(a, "virtconsole,chardev=tty,nr=%d", BOOT_CONSOLE_PORT_TTY);
        return;
    }
    add_output(a, "out", QEMU_FD_STDOUT);
    add(a, "-device");
    add(a, "virtserialport,chardev=out,nr=%d,name=stdio", BOOT_CONSOLE_PORT_STDIO);
    add_output(a, "err", QEMU_FD_STDERR);
    add(a, "-device");
    add(a, "virtserialport,chardev=err,nr=%d,name=stderr", BOOT_CONSOLE_PORT_STDERR);
    if (b->config->host_stdin >= 0) {
        add_socket(a, "in", QEMU_FD_STDIN);
        add(a, "-device");
        add(a, "virtserialport,chardev=in,nr=%d,name=stdin", BOOT_CONSOLE_PORT_STDIN);
    }
}

/* Tokens a second; 0 is QEMU's word for no limit. */
static unsigned long long rate_of(const struct drupe_token_bucket *t)
{
    return t->refill_ms == 0
               ? 0
               : (unsigned long long)((unsigned __int128)t->size * 1000 / t->refill_ms);
}

static void add_disk(struct builder *b, const struct config_file *f, unsigned fd)
{
    unsigned slot = take_slot(b);

    add(b->args, "-drive");
    add(b->args,
        "if=none,id=disk%u,format=raw,file=/proc/self/fd/%u,readonly=%s,cache=%s,"
        "cache.direct=%s,"
        "throttling.bps-total=%llu,throttling.iops-total=%llu",
        slot, fd, f->is_read_only ? "on" : "off", f->is_flush_ignored ? "unsafe" : "writeback",
        f->is_direct ? "on" : "off", rate_of(&f->limit.bandwidth), rate_of(&f->limit.ops));
    add(b->args, "-device");
    add(b->args, "virtio-blk-device,drive=disk%u,bus=virtio-mmio-bus.%u", slot, slot);
}

/* "none" and not "passthrough": an owner that QEMU may not set is no error. */
static void add_share(struct builder *b, const struct config_share *share, unsigned fd)
{
    unsigned slot = take_slot(b);

    add(b->args, "-fsdev");
    add(b->args, "local,id=share%u,path=/proc/self/fd/%u,security_model=none,multidevs=remap%s",
        slot, fd, share->is_read_only ? ",readonly=on" : "");
    add(b->args, "-device");
    add(b->args, "virtio-9p-device,fsdev=share%u,mount_tag=%s,bus=virtio-mmio-bus.%u", slot,
        share->tag, slot);
}

static void add_vsock(struct builder *b)
{
    struct qemu_args *a = b->args;

    if (b->config->vsock_path == NULL) {
        return;
    }
    add_socket(a, "vsock", QEMU_FD_VSOCK);
    add(a, "-device");
    add(a, "vhost-user-vsock-device,chardev=vsock,bus=virtio-mmio-bus.%u", take_slot(b));
}

static void add_net(struct builder *b, const struct config_net *n, unsigned index)
{
    unsigned slot = take_slot(b);

    add(b->args, "-netdev");
    add(b->args, "tap,id=net%u,fd=%u", index, (unsigned)QEMU_FD_NET + index);
    add(b->args, "-device");
    if (n->mtu != 0) {
        add(b->args,
            "virtio-net-device,netdev=net%u,mac=%02x:%02x:%02x:%02x:%02x:%02x,host_mtu=%u,"
            "bus=virtio-mmio-bus.%u",
            index, n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5], n->mtu, slot);
    } else {
        add(b->args,
            "virtio-net-device,netdev=net%u,mac=%02x:%02x:%02x:%02x:%02x:%02x,"
            "bus=virtio-mmio-bus.%u",
            index, n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4], n->mac[5], slot);
    }
}

static void add_devices(struct builder *b)
{
    const struct config *c = b->config;
    unsigned slot = 0;

    add_console(b);
    if (c->root.fd >= 0) {
        add_disk(b, &c->root, QEMU_FD_ROOT);
        cmdline_add(&b->cmdline, "root=/dev/vda %s",
                    c->root_mode == DRUPE_ROOT_DISK_RW ? "rw" : "ro");
    }
    for (unsigned i = 0; i < c->disk_count; i++) {
        if (c->disks[i].memory_size != 0) {
            b->has_memory_disk = true;
            continue;
        }
        add_disk(b, &c->disks[i], (unsigned)QEMU_FD_DISK + i);
    }
    for (unsigned i = 0; i < c->net_count; i++) {
        add_net(b, &c->nets[i], i);
    }
    for (unsigned i = 0; i < c->share_count; i++) {
        add_share(b, &c->shares[i], (unsigned)QEMU_FD_SHARE + i);
    }
    config_announce_shares(c, &b->cmdline);
    slot = take_slot(b);
    add(b->args, "-device");
    add(b->args, "virtio-rng-device,bus=virtio-mmio-bus.%u", slot);
    add_vsock(b);
}

static void add_machine(struct qemu_args *a, const struct config *c, enum qemu_guest guest)
{
    static const char *const machines[] = {
        [QEMU_GUEST_OURS] = MACHINE_OURS,
        [QEMU_GUEST_PLAIN] = MACHINE_PLAIN,
        [QEMU_GUEST_ACPI] = MACHINE_ACPI,
    };
    static const char *const fixed[] = {
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max,la57=off",
        "-global",
        "virtio-mmio.force-legacy=false",
    };

    for (size_t i = 0; i < array_size(fixed); i++) {
        add(a, "%s", fixed[i]);
    }
    if (c->vsock_path != NULL) {
        add(a, "-object");
        add(a, "memory-backend-memfd,id=ram,size=%lluM,share=on,seal=on",
            (unsigned long long)(c->memory_size >> 20));
    }
    add(a, "-M");
    add(a, "%s%s", machines[guest], c->vsock_path != NULL ? MEMORY_SHARED : "");
    add(a, "-m");
    add(a, "%lluM", (unsigned long long)(c->memory_size >> 20));
    add(a, "-smp");
    add(a, "%u", c->vcpus);
    add_socket(a, "serial", QEMU_FD_SERIAL);
    add(a, "-serial");
    add(a, "chardev:serial");
    add_socket(a, "qmp", QEMU_FD_MONITOR);
    add(a, "-mon");
    add(a, "chardev=qmp,mode=control");
    add_output(a, "status", QEMU_FD_STATUS);
    add(a, "-device");
    add(a, "isa-debugcon,iobase=0x%x,chardev=status", BOOT_STATUS_PORT);
}

drupe_vm_err_t qemu_args_make(struct qemu_args *a, const char *program, const struct config *c,
                              enum qemu_guest guest, struct drupe_error *err)
{
    struct builder b = {
        .args = a,
        .config = c,
        .guest = guest,
    };

    a->count = 0;
    a->used = 0;
    a->has_overflowed = false;
    cmdline_init(&b.cmdline);
    cmdline_begin(&b.cmdline, c->cmdline == NULL ? CMDLINE_DEFAULT : c->cmdline);
    if (guest == QEMU_GUEST_OURS) {
        cmdline_add(&b.cmdline, "drupe.status=0x%x", BOOT_STATUS_PORT);
    }
    if (guest == QEMU_GUEST_ACPI) {
        cmdline_add(&b.cmdline, "tsc_early_khz=%llu", (unsigned long long)arch_host_tsc_khz());
    }
    if (c->is_quiet) {
        cmdline_add(&b.cmdline, "quiet");
    }
    add(a, "%s", program);
    add_machine(a, c, guest);
    add_devices(&b);
    cmdline_end(&b.cmdline, c->cmdline_extra);
    if (b.has_memory_disk) {
        return error_set(err, DRUPE_UNSUPPORTED, 0,
                         "a disk in memory: not supported on the qemu "
                         "backend");
    }
    if (b.slots > QEMU_VIRTIO_SLOTS) {
        return error_field(err, "disks",
                           "with QEMU a VM has at most %u virtio devices; this one has %u",
                           QEMU_VIRTIO_SLOTS, b.slots);
    }
    add(a, "-kernel");
    add(a, "/proc/self/fd/%d", (int)QEMU_FD_KERNEL);
    if (guest == QEMU_GUEST_OURS || c->initrd.fd >= 0) {
        add(a, "-initrd");
        add(a, "/proc/self/fd/%d", (int)QEMU_FD_INITRD);
    }
    add(a, "-append");
    add(a, "%s", b.cmdline.text);
    a->argv[a->count] = NULL;
    if (b.cmdline.has_overflowed || a->has_overflowed) {
        return error_field(err, "cmdline_extra",
                           "the command line is longer than %u bytes with our additions",
                           DRUPE_CMDLINE_SIZE_MAX);
    }
    return DRUPE_OK;
}
