/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console with several ports (Virtio 1.1, section 5.3): port 0 is a terminal, the others are
 * plain streams.
 *
 * Output costs one notification a write and no interrupt: buffers that the host has taken are freed
 * at the next write, and completion interrupts are asked for only when the ring is full. Input
 * interrupts wake readers of a stream, or the worker, which feeds the terminal and handles control
 * messages (they send signals).
 */

#include <stdatomic.h>

#include <abi/boot.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <drivers/drivers.h>
#include <drivers/tty.h>
#include <drivers/virtio.h>
#include <drivers/virtio_console.h>
#include <drivers/worker.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/signal.h>
#include <sched/task.h>
#include <syscall/uaccess.h>

#define F_SIZE      UINT64_C(1)
#define F_MULTIPORT UINT64_C(2)

#define RX_BUFFERS      2u
#define RX_BUFFER_SIZE  4096u
#define TX_CHUNK_MAX    4064u /* with its header a page */
#define TX_QUEUE_SIZE   32u
#define CONTROL_BUFFERS 16u
#define CONTROL_SIZE    64u

enum control_event {
    CONTROL_DEVICE_READY = 0,
    CONTROL_PORT_ADD = 1,
    CONTROL_PORT_REMOVE = 2,
    CONTROL_PORT_READY = 3,
    CONTROL_RESIZE = 5,
    CONTROL_PORT_OPEN = 6,
};

struct control {
    uint32_t port;
    uint16_t event;
    uint16_t value;
};

struct rx_buffer {
    uint8_t *bytes;
    uint32_t size;   /* received */
    uint32_t offset; /* read of it */
};

struct tx_buffer {
    uint64_t size;
    uint8_t bytes[];
};

struct port {
    unsigned number;
    struct virtqueue *rx; /* NULL: nothing to read */
    struct virtqueue *tx;
    struct mutex read_lock;
    struct rx_buffer buffers[RX_BUFFERS];
    struct rx_buffer *partial; /* partly read, under read_lock */
    _Atomic bool is_at_end;    /* the host closed its side: end of file once the ring is empty */
    _Atomic bool is_removed; /* nobody reads what we write any more: like a pipe without readers */
    struct wait_queue readers;
    struct wait_queue writers;
};

static struct console {
    struct virtio_device *device; /* NULL: none */
    struct port ports[CONSOLE_PORTS];
    unsigned port_count;
    struct virtqueue *control_rx, *control_tx;
    uint8_t *control_buffers;
    bool has_opened; /* the worker's: a port was opened since its input was last notified */
    struct work work;
    struct tty tty;
} console;

static struct port *port_of_queue(const struct virtqueue *q)
{
    /* Queues 0, 1: port 0; 2, 3: control; then two a port. */
    return &console.ports[q->index < 2 ? 0 : q->index / 2u - 1];
}

struct port *console_port(unsigned number)
{
    return console.device && number < console.port_count && console.ports[number].tx
               ? &console.ports[number]
               : NULL;
}

/* --- output
 * --------------------------------------------------------------------------------------- */

static void reclaim(struct port *p)
{
    struct tx_buffer *b;
    uint32_t written;

    while ((b = virtqueue_take(p->tx, &written)) != NULL) {
        kfree(b);
    }
}

static void tx_ready(struct virtqueue *q)
{
    wake_all(&port_of_queue(q)->writers, POLLOUT | POLLWRNORM);
}

/* Is there room for one more buffer? */
static bool has_room(struct port *p)
{
    reclaim(p);
    return p->tx->free_count > 0 || p->tx->is_broken;
}

static int wait_room(struct port *p, enum wait_kind kind)
{
    struct waiter w;
    int err = 0;

    wait_begin(&w, kind, TIME_FOREVER);
    wait_add(&p->writers, &w, 0);
    (void)virtqueue_interrupts(p->tx, true);
    while (!has_room(p) && (err = wait_sleep(&w)) == 0) {
        (void)virtqueue_interrupts(p->tx, true);
    }
    wait_end(&w);
    (void)virtqueue_interrupts(p->tx, false);
    return err;
}

/*
 * Queue a filled buffer. Its bytes were taken from the program already, so when another writer was
 * faster to the last free descriptor this one waits, whatever signals come. On failure the buffer
 * is freed.
 */
static int send(struct port *p, struct tx_buffer *b)
{
    const struct virtio_segment segment = { b->bytes, (uint32_t)b->size };
    int err;

    while ((err = virtqueue_add(p->tx, &segment, 1, 0, b)) == -ENOSPC) {
        int room;

        virtqueue_kick(p->tx);
        room = wait_room(p, WAIT_UNINTERRUPTIBLE);
        assert(room == 0);
    }
    if (err < 0) {
        kfree(b);
    }
    return err;
}

/*
 * Move the transfer out in chunks; one notification at the end, or before sleeping for room.
 * Returns bytes sent, or -errno when none were.
 */
static ssize_t port_send(struct port *p, struct uio *u, bool nonblock)
{
    ssize_t total = 0;
    int err = 0;

    while (u->remaining > 0) {
        size_t n = min_of(u->remaining, (size_t)TX_CHUNK_MAX);
        struct tx_buffer *b;
        ssize_t copied;

        if (!has_room(p)) {
            virtqueue_kick(p->tx);
            err = nonblock ? (has_room(p) ? 0 : -EAGAIN) : wait_room(p, WAIT_INTERRUPTIBLE);
            if (err < 0) {
                break;
            }
        }
        b = kmalloc(sizeof(*b) + n, GFP_KERNEL);
        if (!b) {
            err = -ENOMEM;
            break;
        }
        copied = uio_copy_in(u, b->bytes, n);
        if (copied <= 0) {
            kfree(b);
            err = copied < 0 ? (int)copied : -EFAULT;
            break;
        }
        b->size = (uint64_t)copied;
        err = send(p, b);
        if (err < 0) {
            break;
        }
        total += copied;
    }
    virtqueue_kick(p->tx);
    return total > 0 ? total : err;
}

void console_drain(void)
{
    for (unsigned i = 0; console.device && i < console.port_count; i++) {
        struct port *p = &console.ports[i];
        struct waiter w;

        if (!p->tx) {
            continue;
        }
        wait_begin(&w, WAIT_UNINTERRUPTIBLE, TIME_FOREVER);
        wait_add(&p->writers, &w, 0);
        reclaim(p);
        while (p->tx->free_count < p->tx->size && !p->tx->is_broken) {
            if (!virtqueue_interrupts(p->tx, true)) {
                wait_sleep_surely(&w);
            }
            reclaim(p);
        }
        wait_end(&w);
    }
}

/* --- input
 * ------------------------------------------------------------------------------------------ */

static void rx_ready(struct virtqueue *q)
{
    struct port *p = port_of_queue(q);

    if (p->number == BOOT_CONSOLE_PORT_TTY) {
        work_queue(&console.work);
    } else {
        wake_all(&p->readers, POLLIN | POLLRDNORM);
    }
}

static int post(struct port *p, struct rx_buffer *b)
{
    const struct virtio_segment segment = { b->bytes, RX_BUFFER_SIZE };

    b->size = 0;
    b->offset = 0;
    return virtqueue_add(p->rx, &segment, 0, 1, b);
}

static struct rx_buffer *receive(struct port *p)
{
    uint32_t written;
    struct rx_buffer *b = virtqueue_take(p->rx, &written);

    if (b) {
        b->size = written;
    }
    return b;
}

static void give_back(struct port *p, struct rx_buffer *b)
{
    if (post(p, b) < 0) {
        log_error("console: port %u cannot take back its buffer", p->number);
    }
    virtqueue_kick(p->rx);
}

static bool is_readable(const struct port *p)
{
    return p->partial || (p->rx && virtqueue_has_used(p->rx));
}

/* -EAGAIN: nothing there. 0: end of file. read_lock held. */
static ssize_t read_some(struct port *p, struct uio *u)
{
    /* acquire: pairs with the release in control_message(): what came before the end is in the
     * ring. */
    bool at_end = atomic_load_explicit(&p->is_at_end, memory_order_acquire);
    ssize_t total = 0;

    while (u->remaining > 0) {
        struct rx_buffer *b = p->partial ? p->partial : p->rx ? receive(p) : NULL;
        ssize_t n;

        p->partial = b;
        if (!b) {
            return total > 0 ? total : at_end ? 0 : -EAGAIN;
        }
        n = uio_copy_out(u, b->bytes + b->offset, b->size - b->offset);
        if (n < 0) {
            return total > 0 ? total : n;
        }
        total += n;
        b->offset += (uint32_t)n;
        if (b->offset == b->size) {
            p->partial = NULL;
            give_back(p, b);
        }
    }
    return total;
}

static ssize_t port_read(struct file *f, struct uio *u, int64_t *pos)
{
    struct port *p = f->private;
    struct waiter w;
    ssize_t n;
    int err;

    (void)pos;
    if (u->remaining == 0) {
        return 0;
    }
    wait_begin(&w, WAIT_INTERRUPTIBLE, TIME_FOREVER);
    wait_add(&p->readers, &w, POLLIN);
    do {
        mutex_lock(&p->read_lock);
        n = read_some(p, u);
        mutex_unlock(&p->read_lock);
        err = n != -EAGAIN || file_is_nonblock(f) ? 1 : wait_sleep(&w);
    } while (err == 0);
    wait_end(&w);
    return err < 0 ? err : n;
}

static ssize_t port_write(struct file *f, struct uio *u, int64_t *pos)
{
    struct port *p = f->private;

    (void)pos;
    if (atomic_load_explicit(&p->is_removed, memory_order_relaxed)) {
        (void)signal_send_task(current, SIGPIPE, NULL);
        return -EPIPE;
    }
    return port_send(p, u, file_is_nonblock(f));
}

static uint32_t out_events(struct port *p, struct file *f, struct poll_table *pt)
{
    poll_wait(pt, f, &p->writers);
    if (!has_room(p)) {
        (void)virtqueue_interrupts(p->tx, true);
        return has_room(p) ? POLLOUT | POLLWRNORM : 0;
    }
    return POLLOUT | POLLWRNORM;
}

static uint32_t port_poll(struct file *f, struct poll_table *pt)
{
    struct port *p = f->private;
    uint32_t events = 0;

    if (f->mode & FMODE_READ) {
        poll_wait(pt, f, &p->readers);
        if (is_readable(p)) {
            events |= POLLIN | POLLRDNORM;
        }
        if (atomic_load_explicit(&p->is_at_end, memory_order_acquire)) {
            events |= POLLIN | POLLRDNORM | POLLHUP;
        }
    }
    if (f->mode & FMODE_WRITE) {
        events |= out_events(p, f, pt);
        if (atomic_load_explicit(&p->is_removed, memory_order_relaxed)) {
            events |= POLLOUT | POLLWRNORM | POLLERR;
        }
    }
    return events;
}

static long port_ioctl(struct file *f, unsigned request, uint64_t arg)
{
    struct port *p = f->private;
    uint32_t n;

    if (request != 0x541b) { /* FIONREAD */
        return -ENOTTY;
    }
    mutex_lock(&p->read_lock);
    if (!p->partial && p->rx) {
        p->partial = receive(p);
    }
    n = p->partial ? p->partial->size - p->partial->offset : 0;
    mutex_unlock(&p->read_lock);
    return put_user32(n, (void *)arg);
}

const struct file_ops port_file_ops = {
    .type = "console port",
    .read = port_read,
    .write = port_write,
    .poll = port_poll,
    .ioctl = port_ioctl,
};

/* --- the terminal on port 0
 * --------------------------------------------------------------------------- */

static int terminal_write(struct tty *t, const uint8_t *bytes, size_t size, bool atomic,
                          size_t *done)
{
    struct uio u;
    ssize_t n;

    uio_init_kernel(&u, (void *)(uintptr_t)bytes, size);
    n = port_send(t->private, &u, atomic);
    *done = n > 0 ? (size_t)n : 0;
    return n < 0 ? (int)n : *done < size ? (atomic ? -EAGAIN : -ERESTARTSYS) : 0;
}

static uint32_t terminal_poll_out(struct tty *t, struct file *f, struct poll_table *pt)
{
    return out_events(t->private, f, pt);
}

static const struct tty_driver terminal_driver = { .write = terminal_write,
                                                   .poll_out = terminal_poll_out };

/* --- control
 * --------------------------------------------------------------------------------------------- */

static void send_control(uint32_t port, enum control_event event, uint16_t value)
{
    struct control *c = kmalloc(sizeof(*c), GFP_KERNEL);
    const struct virtio_segment segment = { c, sizeof(*c) };
    uint32_t written;
    void *old;

    while ((old = virtqueue_take(console.control_tx, &written)) != NULL) {
        kfree(old);
    }
    if (!c) {
        log_error("console: no memory for a control message");
        return;
    }
    *c = (struct control){ port, (uint16_t)event, value };
    if (virtqueue_add(console.control_tx, &segment, 1, 0, c) < 0) {
        log_error("console: control message %u does not fit", (unsigned)event);
        kfree(c);
    }
}

/* `bytes` may hold anything: the host's device is not trusted. */
static void control_message(const uint8_t *bytes, uint32_t size)
{
    struct control c;

    if (size < sizeof(c)) {
        return;
    }
    memcpy(&c, bytes, sizeof(c));
    if (!console_port(c.port)) {
        return;
    }
    switch (c.event) {
    case CONTROL_PORT_ADD:
        send_control(c.port, CONTROL_PORT_READY, 1);
        send_control(c.port, CONTROL_PORT_OPEN, 1);
        console.has_opened = true;
        break;
    case CONTROL_PORT_OPEN:
        if (c.value == 0 && c.port != BOOT_CONSOLE_PORT_TTY) {
            /* release: pairs with the acquire in read_some(). */
            atomic_store_explicit(&console.ports[c.port].is_at_end, true, memory_order_release);
            wake_all(&console.ports[c.port].readers, POLLIN | POLLHUP);
        } else if (c.value == 0) {
            tty_hang_up(&console.tty);
        }
        break;
    case CONTROL_PORT_REMOVE:
        if (c.port != BOOT_CONSOLE_PORT_TTY) {
            atomic_store_explicit(&console.ports[c.port].is_removed, true, memory_order_relaxed);
            wake_all(&console.ports[c.port].writers, POLLOUT | POLLERR);
        }
        break;
    case CONTROL_RESIZE:
        if (c.port == BOOT_CONSOLE_PORT_TTY && size >= sizeof(c) + 4) {
            /* Columns first (section 5.3.6.2). */
            tty_set_window(&console.tty, load_le16(bytes + sizeof(c) + 2),
                           load_le16(bytes + sizeof(c)));
        }
        break;
    default:
        break; /* names and the console mark say what we know */
    }
}

static int post_control(uint8_t *buffer)
{
    const struct virtio_segment segment = { buffer, CONTROL_SIZE };

    return virtqueue_add(console.control_rx, &segment, 0, 1, buffer);
}

static void run_work(struct work *w)
{
    struct port *terminal = &console.ports[BOOT_CONSOLE_PORT_TTY];
    struct rx_buffer *b;
    bool opened = false;
    uint8_t *message;
    uint32_t written;

    (void)w;
    while (console.control_rx && (message = virtqueue_take(console.control_rx, &written)) != NULL) {
        control_message(message, written);
        opened |= console.has_opened;
        console.has_opened = false;
        if (post_control(message) < 0) {
            log_error("console: cannot take back a control buffer");
        }
        virtqueue_kick(console.control_rx);
        virtqueue_kick(console.control_tx);
    }
    /* QEMU looks at a port's input only when its queue is notified after the port was opened. */
    for (unsigned i = 0; opened && i < console.port_count; i++) {
        if (console.ports[i].rx) {
            virtqueue_notify(console.ports[i].rx);
        }
    }
    while (terminal->rx && (b = receive(terminal)) != NULL) {
        tty_input(&console.tty, b->bytes, b->size);
        give_back(terminal, b);
    }
}

static void control_ready(struct virtqueue *q)
{
    (void)q;
    work_queue(&console.work);
}

/* --- start
 * --------------------------------------------------------------------------------------------------
 */

/* The standard streams that the boot arguments ask for; without any, all ports are of use. */
static uint32_t wanted_flags(void)
{
    struct boot_args args;

    return boot_args_header(&args) ? args.flags : 0;
}

static bool is_wanted(uint32_t flags, unsigned number)
{
    if (!(flags & BOOT_ARGS_STDIO_STREAM)) {
        return true;
    }
    return number == BOOT_CONSOLE_PORT_STDIO || number == BOOT_CONSOLE_PORT_STDERR ||
           (number == BOOT_CONSOLE_PORT_STDIN && (flags & BOOT_ARGS_STDIN_SPLIT));
}

static int start_port(struct virtio_device *d, struct port *p, unsigned number)
{
    unsigned first = number == 0 ? 0 : 2 * number + 2;
    int err = 0;

    p->number = number;
    mutex_init(&p->read_lock, RANK_PIPE);
    wait_queue_init(&p->readers);
    wait_queue_init(&p->writers);
    if (number != BOOT_CONSOLE_PORT_STDERR) {
        err = virtqueue_create(d, first, RX_BUFFERS, rx_ready, &p->rx);
    }
    if (err == 0) {
        err = virtqueue_create(d, first + 1, TX_QUEUE_SIZE, tx_ready, &p->tx);
    }
    if (err == 0) {
        (void)virtqueue_interrupts(p->tx, false);
    }
    for (unsigned i = 0; err == 0 && p->rx && i < RX_BUFFERS; i++) {
        struct page *page = page_alloc(0, GFP_KERNEL);

        if (!page) {
            return -ENOMEM;
        }
        p->buffers[i].bytes = page_address(page);
        err = post(p, &p->buffers[i]);
    }
    return err;
}

static int start_control(struct virtio_device *d)
{
    int err = virtqueue_create(d, 2, CONTROL_BUFFERS, control_ready, &console.control_rx);

    if (err == 0) {
        err = virtqueue_create(d, 3, 16, NULL, &console.control_tx);
    }
    if (err < 0) {
        return err;
    }
    (void)virtqueue_interrupts(console.control_tx, false);
    console.control_buffers = kmalloc_array(CONTROL_BUFFERS, CONTROL_SIZE, GFP_KERNEL);
    if (!console.control_buffers) {
        return -ENOMEM;
    }
    return virtqueue_post_all(console.control_rx, console.control_buffers, CONTROL_SIZE);
}

static int probe(struct virtio_device *d)
{
    uint32_t flags;
    bool multiport;
    int err;

    if (console.device) {
        return -EBUSY; /* one console device is all that we use */
    }
    err = virtio_negotiate(d, F_SIZE | F_MULTIPORT);
    if (err < 0) {
        return err;
    }
    multiport = (d->features & F_MULTIPORT) != 0;
    console.port_count = multiport ? (unsigned)min_of(virtio_config32(d, 4), CONSOLE_PORTS) : 1;
    work_init(&console.work, run_work);
    tty_init(&console.tty, "hvc0", &terminal_driver, &console.ports[0]);
    flags = wanted_flags();
    for (unsigned i = 0; err == 0 && i < console.port_count; i++) {
        if (!multiport || is_wanted(flags, i)) {
            err = start_port(d, &console.ports[i], i);
        }
    }
    if (err == 0 && multiport) {
        err = start_control(d);
    }
    if (err == 0) {
        err = virtio_start(d);
    }
    if (err < 0) {
        return err;
    }
    console.device = d;
    for (unsigned i = 0; i < console.port_count; i++) {
        if (console.ports[i].rx) {
            virtqueue_kick(console.ports[i].rx);
        }
    }
    if (multiport) {
        virtqueue_kick(console.control_rx);
        send_control(0, CONTROL_DEVICE_READY, 1);
        virtqueue_kick(console.control_tx);
    }
    return 0;
}

const struct virtio_driver virtio_console_driver = { .id = 3,
                                                     .name = "virtio-console",
                                                     .probe = probe };

struct tty *console_tty(void)
{
    return console_port(BOOT_CONSOLE_PORT_TTY) ? &console.tty : NULL;
}
