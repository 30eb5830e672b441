/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile driver: the input is a program of register writes, ring edits and kicks against one of
 * the virtio devices. Most inputs begin with a proper initialisation, since random bytes would
 * seldom find it. Invariants: no sanitizer report, no assertion, read-only memory stays as it was,
 * the loop comes to rest.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/assert.h>

#include "devices/virtio_blk.h"
#include "devices/virtio_console.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"

#define RAM_SIZE   (128u << 10)
#define ROM_GPA    0x40000000u
#define ROM_SIZE   4096u
#define QUEUE_AREA ((size_t)4096) /* of each queue: descriptors, avail at 2048, used at 2816 */
#define DATA_GPA   (64u << 10)
#define WATCHES    24u
#define DEVICES    5u
#define NETWORK    4u /* its index; sockets stand for its tap */

int LLVMFuzzerInitialize(const int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct watch {
    int fd;
    uint32_t events;
    device_fd_fn fn;
    void *device;
};

static struct {
    uint8_t *ram;
    uint8_t *rom;
    struct gmem gmem;
    struct device_host host;
    struct watch watches[WATCHES];
    struct virtio_console *console;
    struct io_window windows[DEVICES];
    int tap[2]; /* the device's end, and ours */
    int in[2];
    int out[2];
    uint16_t avail_idx[VIRTIO_QUEUES_MAX];
} world;

/* The input, read byte by byte; zeros at its end. */
struct input {
    const uint8_t *at;
    size_t left;
};

static uint64_t take(struct input *in, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size && in->left > 0; i++) {
        value |= (uint64_t)*in->at++ << (8 * i);
        in->left--;
    }
    return value;
}

static void on_irq(void *ctx, unsigned irq)
{
    (void)ctx;
    (void)irq;
}

static void on_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    (void)ctx;
    (void)level;
    (void)device;
    (void)text;
}

static void on_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    (void)kind;
    (void)status;
}

static int on_watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct watch *place = NULL;

    (void)ctx;
    for (unsigned i = 0; i < WATCHES; i++) {
        struct watch *w = &world.watches[i];

        if (w->events != 0 && w->fd == fd) {
            place = w;
            break;
        }
        if (w->events == 0) {
            place = w;
        }
    }
    assert(place != NULL);
    *place = (struct watch){ .fd = fd, .events = events, .fn = fn, .device = device };
    return 0;
}

static bool loop_once(void)
{
    struct watch watches[WATCHES];
    struct pollfd fds[WATCHES];

    memcpy(watches, world.watches, sizeof(watches));
    for (unsigned i = 0; i < WATCHES; i++) {
        fds[i].fd = watches[i].events != 0 ? watches[i].fd : -1;
        fds[i].events = (short)watches[i].events;
        fds[i].revents = 0;
    }
    if (poll(fds, WATCHES, 0) <= 0) {
        return false;
    }
    for (unsigned i = 0; i < WATCHES; i++) {
        if (fds[i].revents != 0) {
            watches[i].fn(watches[i].device, fds[i].fd, (uint16_t)fds[i].revents);
        }
    }
    return true;
}

static void reg(const struct io_window *w, uint64_t offset, uint32_t value)
{
    w->write(w->device, offset, 4, value);
}

static void set_gpa(const struct io_window *w, uint64_t offset, uint64_t gpa)
{
    reg(w, offset, (uint32_t)gpa);
    reg(w, offset + 4, (uint32_t)(gpa >> 32));
}

/* What a good driver does, with the features of the input. */
static void initialise(const struct io_window *w, struct input *in)
{
    const uint32_t low = (uint32_t)take(in, 4);

    reg(w, VIRTIO_MMIO_STATUS, 0);
    reg(w, VIRTIO_MMIO_STATUS, 3);
    reg(w, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    reg(w, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg(w, VIRTIO_MMIO_DRIVER_FEATURES,
        low & (uint32_t)w->read(w->device, VIRTIO_MMIO_DEVICE_FEATURES, 4));
    reg(w, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    reg(w, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    reg(w, VIRTIO_MMIO_STATUS, 11);
    for (uint32_t i = 0; i < 8; i++) {
        reg(w, VIRTIO_MMIO_QUEUE_SEL, i);
        reg(w, VIRTIO_MMIO_QUEUE_NUM, (uint32_t)w->read(w->device, VIRTIO_MMIO_QUEUE_NUM_MAX, 4));
        set_gpa(w, VIRTIO_MMIO_QUEUE_DESC_LOW, i * QUEUE_AREA);
        set_gpa(w, VIRTIO_MMIO_QUEUE_AVAIL_LOW, i * QUEUE_AREA + 2048);
        set_gpa(w, VIRTIO_MMIO_QUEUE_USED_LOW, i * QUEUE_AREA + 2816);
        reg(w, VIRTIO_MMIO_QUEUE_READY, 1);
        world.avail_idx[i] = 0;
    }
    memset(world.ram, 0, 8 * QUEUE_AREA);
    reg(w, VIRTIO_MMIO_STATUS, 15);
}

static uint64_t interesting_address(struct input *in)
{
    const uint64_t choice = take(in, 1);

    switch (choice % 8) {
    case 0:
        return RAM_SIZE - take(in, 1);
    case 1:
        return ROM_GPA + take(in, 1);
    case 2:
        return UINT64_MAX - take(in, 1);
    case 3:
        return take(in, 8);
    case 4:
        return take(in, 2) % (8 * QUEUE_AREA); /* the rings themselves */
    default:
        return DATA_GPA + (choice / 8) * 512;
    }
}

static uint32_t interesting_size(struct input *in)
{
    static const uint32_t sizes[] = { 0, 1, 8, 16, 17, 32, 512, 513, 4096, UINT32_MAX, 24, 1024 };
    const uint64_t choice = take(in, 1);

    return choice < array_size(sizes) ? sizes[choice] : (uint32_t)choice * 16;
}

static void edit_descriptor(struct input *in, bool in_data)
{
    const uint64_t queue = take(in, 1) % 8;
    const uint64_t index = take(in, 1) % 128;
    struct vring_desc desc;

    desc.addr = interesting_address(in);
    desc.len = interesting_size(in);
    desc.flags = (uint16_t)(take(in, 1) & 7);
    desc.next = (uint16_t)take(in, 1);
    memcpy(world.ram + (in_data ? DATA_GPA + index * 16 : queue * QUEUE_AREA + index * 16), &desc,
           sizeof(desc));
}

/* Make `head` available on a queue; the index goes up as it should. */
static void push(const struct io_window *w, uint64_t queue, uint16_t head)
{
    uint8_t *avail = world.ram + queue * QUEUE_AREA + 2048;
    uint32_t size;

    reg(w, VIRTIO_MMIO_QUEUE_SEL, (uint32_t)queue);
    size = (uint32_t)w->read(w->device, VIRTIO_MMIO_QUEUE_NUM_MAX, 4);
    if (size == 0) {
        return;
    }
    memcpy(avail + 4 + 2 * (size_t)(world.avail_idx[queue] % size), &head, 2);
    world.avail_idx[queue]++;
    memcpy(avail + 2, &world.avail_idx[queue], 2);
}

/* The first bytes of a request as the block device or the console's control queue has them. */
static void write_header(struct input *in, uint64_t at)
{
    static const uint32_t types[] = { 0, 1, 4, 8, 11, 13, 2, 99 };

    struct {
        uint32_t first;
        uint32_t second;
        uint64_t third;
        uint64_t fourth;
        uint64_t fifth;
    } header = { 0 };

    const uint64_t choice = take(in, 1);

    if (choice % 2 == 0) {
        header.first = types[choice / 2 % 8];
        header.third = take(in, 1);
        header.fourth = take(in, 1); /* discard: sector, then count and flags */
        header.fifth = take(in, 1) | take(in, 1) << 32;
    } else {
        header.first = choice / 2 % 4;
        header.second = (uint32_t)(take(in, 1) % 9) | (uint32_t)(choice / 64) << 16;
    }
    memcpy(world.ram + at, &header, sizeof(header));
}

/*
 * A well-formed chain (header, data, status, each there or not), made available and kicked: what it
 * takes to reach the depths. The other steps then damage such chains.
 */
static void post_request(struct input *in, const struct io_window *w)
{
    static const uint32_t sizes[] = { 512, 1024, 16, 20, 64, 4096, 0x8000, 513 };
    const uint64_t queue = take(in, 1) % 8;
    const uint64_t shape = take(in, 1);
    const uint64_t choice = take(in, 1);
    const uint64_t first = choice % 4; /* leaves room in the smallest queue */
    const uint64_t at = DATA_GPA + choice * 64;
    struct vring_desc descs[3] = {
        { .addr = at, .len = (shape & 8) != 0 ? 8 : 16 },
        { .addr = DATA_GPA + 0x4000, .len = sizes[shape >> 5] },
        { .addr = at + 48, .len = 1, .flags = VRING_DESC_F_WRITE },
    };
    const uint64_t begin = (shape & 1) != 0 ? 1 : 0;
    const uint64_t end = (shape & 2) != 0 ? 2 : 3;

    write_header(in, at);
    if ((shape & 16) != 0) { /* a discard's segment follows the header */
        descs[1].addr = at + 16;
    }
    descs[1].flags = (shape & 4) != 0 ? VRING_DESC_F_WRITE : 0;
    for (uint64_t i = begin; i < end; i++) {
        if (i + 1 < end) {
            descs[i].flags |= VRING_DESC_F_NEXT;
            descs[i].next = (uint16_t)(first + i + 1);
        }
        memcpy(world.ram + queue * QUEUE_AREA + (first + i) * sizeof(descs[i]), &descs[i],
               sizeof(descs[i]));
    }
    push(w, queue, (uint16_t)(first + begin));
    reg(w, VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)queue);
}

static void host_side(struct input *in)
{
    static uint8_t bytes[4096];
    const uint64_t what = take(in, 1);

    switch (what % 5) {
    case 0:
        virtio_console_resize(world.console, (uint16_t)what, (uint16_t)take(in, 2));
        break;
    case 1:
        (void)!write(world.in[1], bytes, what);
        break;
    case 2:
        (void)!write(world.tap[1], bytes, what * 16);
        break;
    case 3:
        (void)!read(world.tap[1], bytes, sizeof(bytes));
        break;
    default:
        (void)!read(world.out[0], bytes, sizeof(bytes));
        break;
    }
}

static void step(struct input *in, const struct io_window *w)
{
    uint64_t at;

    switch (take(in, 1) % 16) {
    case 0:
        at = take(in, 1) * 4;
        reg(w, at, (uint32_t)take(in, 4));
        break;
    case 1:
        at = take(in, 3) % (RAM_SIZE - 8);
        {
            const uint64_t value = take(in, 8);

            memcpy(world.ram + at, &value, 8);
        }
        break;
    case 2:
    case 3:
        edit_descriptor(in, false);
        break;
    case 4:
        edit_descriptor(in, true);
        break;
    case 5:
    case 6:
        at = take(in, 1) % 8;
        push(w, at, (uint16_t)(take(in, 1) % 130));
        break;
    case 7:
    case 8:
        reg(w, VIRTIO_MMIO_QUEUE_NOTIFY, (uint32_t)take(in, 1) % 9);
        break;
    case 9:
        (void)loop_once();
        break;
    case 10:
        at = take(in, 2) % (VIRTIO_MMIO_WINDOW_SIZE - 8);
        (void)w->read(w->device, at, 1u << (at & 3));
        w->write(w->device, at, 1u << (at & 3), take(in, 8));
        break;
    case 11:
        host_side(in);
        break;
    default:
        post_request(in, w);
        break;
    }
}

/* No input finds what an earlier one left. */
static void drain_tap(void)
{
    uint8_t byte = 0;

    for (unsigned i = 0; i < array_size(world.tap); i++) {
        while (recv(world.tap[i], &byte, 1, 0) >= 0) {
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    const uint64_t choice = take(&in, 1);
    const bool is_net = (choice >= 192 && choice < 224) || choice >= 240;
    const struct io_window *w = &world.windows[is_net ? NETWORK : choice % NETWORK];
    unsigned rounds = 0;

    memset(world.ram, 0, RAM_SIZE);
    memset(world.avail_idx, 0, sizeof(world.avail_idx));
    if (choice < 224) {
        initialise(w, &in);
    }
    while (in.left > 0) {
        step(&in, w);
    }
    while (loop_once()) {
        rounds++;
        assert(rounds < 10000); /* input and output ends are finite, so must be the work */
    }
    reg(w, VIRTIO_MMIO_STATUS, 0);
    drain_tap();
    for (unsigned i = 0; i < ROM_SIZE; i++) {
        assert(world.rom[i] == 0x5a);
    }
    return 0;
}

static int disk(void)
{
    const int fd = memfd_create("disk", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, 64 << 10) < 0) {
        abort();
    }
    return fd;
}

static struct io_window new_disk(unsigned irq, bool want_sync)
{
    struct virtio_blk *blk = NULL;

    if (virtio_blk_create(
            &(struct virtio_blk_setup){
                .host = &world.host, .irq = irq, .fd = disk(), .want_sync = want_sync },
            &blk) < 0) {
        abort();
    }
    return virtio_mmio_window(virtio_blk_device(blk), 0);
}

static struct io_window new_net(unsigned irq)
{
    struct virtio_net *net = NULL;

    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, world.tap) < 0 ||
        virtio_net_create(
            &(struct virtio_net_setup){ .host = &world.host, .irq = irq, .fd = world.tap[0] },
            &net) < 0) {
        abort();
    }
    return virtio_mmio_window(virtio_net_device(net), 0);
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    struct virtio_rng *rng = NULL;
    struct virtio_console_setup setup = { .host = &world.host, .irq = 1, .tee_fd = -1 };

    (void)argc;
    (void)argv;
    world.ram = aligned_alloc(4096, RAM_SIZE);
    world.rom = aligned_alloc(4096, ROM_SIZE);
    if (world.ram == NULL || world.rom == NULL || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
        pipe2(world.in, O_NONBLOCK | O_CLOEXEC) < 0 ||
        pipe2(world.out, O_NONBLOCK | O_CLOEXEC) < 0) {
        abort();
    }
    memset(world.rom, 0x5a, ROM_SIZE);
    world.gmem.regions[0] = (struct gmem_region){ .gpa = 0, .size = RAM_SIZE, .hva = world.ram };
    world.gmem.regions[1] = (struct gmem_region){
        .gpa = ROM_GPA, .size = ROM_SIZE, .hva = world.rom, .is_read_only = true
    };
    world.gmem.region_count = 2;
    world.host = (struct device_host){
        .gmem = &world.gmem,
        .irq_raise = on_irq,
        .watch = on_watch,
        .log = on_log,
        .machine_end = on_end,
    };
    setup.ports[0] =
        (struct virtio_console_port_setup){ true, open("/dev/zero", O_RDONLY | O_CLOEXEC),
                                            open("/dev/null", O_WRONLY | O_CLOEXEC) };
    setup.ports[1] = (struct virtio_console_port_setup){ true, world.in[0], world.out[1] };
    setup.ports[2] = (struct virtio_console_port_setup){ true, -1, setup.ports[0].out_fd };
    if (virtio_console_create(&setup, &world.console) < 0 ||
        virtio_rng_create(&world.host, 2, &rng) < 0) {
        abort();
    }
    world.windows[0] = virtio_mmio_window(virtio_console_device(world.console), 0);
    world.windows[1] = virtio_mmio_window(virtio_rng_device(rng), 0);
    world.windows[2] = new_disk(3, true);
    world.windows[3] = new_disk(4, false);
    world.windows[NETWORK] = new_net(5);
    return 0;
}
