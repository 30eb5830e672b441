/* SPDX-License-Identifier: Apache-2.0 */
/* The console device. Section numbers are those of VIRTIO 1.1. */

#include "virtio_console_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/assert.h>

#define RUN_BYTES_MAX (256u << 10) /* of one port, before others get their turn */

static const uint16_t queue_sizes[CONSOLE_QUEUE_COUNT] = { 64, 64, 32, 32, 64, 64, 64, 64 };

static struct virtio_console *console_of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_console, dev);
}

/* 5.3.2: port 0 has queues 0 and 1, port n > 0 has 2n + 2 and 2n + 3; receive comes first. */
static unsigned rx_queue(const struct console_port *port)
{
    return port->id == 0 ? 0 : 2 * port->id + 2;
}

static unsigned tx_queue(const struct console_port *port)
{
    return rx_queue(port) + 1;
}

void console_message(struct virtio_console *con, enum device_log_level level, const char *text)
{
    const struct device_host *host = con->dev.setup.host;

    host->log(host->ctx, level, con->dev.setup.ops->name, text);
}

/* Is a blocking descriptor ready, so that the next call returns at once? */
static bool poll_ready(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };

    return poll(&p, 1, 0) > 0;
}

/*
 * Descriptor events: watched only while something waits for them.
 */

static void on_port_event(void *device, int fd, uint32_t events);

static int set_watch(struct console_port *port, int fd, uint32_t *current, uint32_t events)
{
    const struct device_host *host = port->con->dev.setup.host;
    int err;

    if (*current == events) {
        return 0;
    }
    err = host->watch(host->ctx, fd, events, on_port_event, port);
    if (err == 0) {
        *current = events;
    }
    return err;
}

static void update_watches(struct console_port *port)
{
    uint32_t in_events = port->is_input_waiting ? EPOLLIN : 0;
    uint32_t out_events = port->is_output_waiting ? EPOLLOUT : 0;
    int err;

    if (port->in_fd == port->out_fd) {
        in_events |= out_events; /* one descriptor has one watch */
        out_events = 0;
    }
    err = set_watch(port, port->in_fd, &port->in_watched, in_events);
    if (err == 0) {
        err = set_watch(port, port->out_fd, &port->out_watched, out_events);
    }
    if (err < 0) {
        console_message(port->con, DEVICE_LOG_ERROR,
                        "a port's descriptor can't be watched; port stuck");
    }
}

/*
 * Output.
 */

static void tee_output(struct console_port *port, const struct virtqueue *vq, size_t size)
{
    struct virtio_console *con = port->con;
    struct iovec iov[VQ_SEGMENTS_MAX];
    unsigned count;

    size = min_of(size, con->tee_bytes_left);
    if (con->tee_fd < 0 || size == 0) {
        return;
    }
    count = vq_chain_iov(vq, &port->chain, VQ_READABLE, port->written, size, iov, &size);
    con->tee_bytes_left -= size;
    if (writev(con->tee_fd, iov, (int)count) != (ssize_t)size) {
        console_message(con, DEVICE_LOG_WARN, "the console log can't be written; it ends here");
        con->tee_fd = -1;
    }
}

/* Nobody reads this port's output any more. */
static void lose_output(struct console_port *port)
{
    port->is_output_lost = true;
    console_message(port->con, DEVICE_LOG_INFO, "output of a port has no reader any more");
    console_owe(port, PENDING_OPEN | PENDING_REMOVE);
}

/* Write as much of the chain as the descriptor takes now. Bytes written, or -EAGAIN, -EPIPE. */
static ssize_t write_chain(struct console_port *port, const struct virtqueue *vq)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    const size_t limit = port->out_is_polite ? PIPE_BUF : RUN_BYTES_MAX;
    size_t size;
    const unsigned count =
        vq_chain_iov(vq, &port->chain, VQ_READABLE, port->written, limit, iov, &size);
    ssize_t n;

    if (count == 0) {
        return 0;
    }
    if (port->out_fd < 0 || port->is_output_lost) {
        return (ssize_t)size; /* dropped */
    }
    if (port->out_is_polite && !poll_ready(port->out_fd, POLLOUT)) {
        return -EAGAIN;
    }
    do {
        n = writev(port->out_fd, iov, (int)count);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK ? -EAGAIN : -EPIPE;
    }
    tee_output(port, vq, (size_t)n);
    return n;
}

/* Get a chain to write: the one that waits, or the next. Asks for kicks when there is none. */
static bool next_output_chain(struct console_port *port, struct virtqueue *vq)
{
    if (!port->has_chain) {
        if (vq_take(vq, &port->chain) != 1 &&
            (vq_kicks_on(vq) != 1 || vq_take(vq, &port->chain) != 1)) {
            return false;
        }
        port->has_chain = true;
        port->written = min_of(port->written_before, port->chain.readable_size);
        port->written_before = 0;
    }
    return true;
}

static void run_output(struct console_port *port)
{
    const unsigned queue = tx_queue(port);
    struct virtqueue *vq = &port->con->queues[queue];
    unsigned chains_left = vq->size;
    size_t bytes_left = RUN_BYTES_MAX;

    if (port->is_output_waiting) {
        return;
    }
    vq_kicks_off(vq);
    while (next_output_chain(port, vq)) {
        ssize_t n;

        if (chains_left == 0 || bytes_left == 0) {
            virtio_queue_defer(&port->con->dev, queue);
            break;
        }
        n = write_chain(port, vq);
        if (n == -EAGAIN) {
            port->is_output_waiting = true;
            break;
        }
        if (n < 0) {
            lose_output(port);
            continue;
        }
        port->written += (size_t)n;
        bytes_left -= min_of(bytes_left, (size_t)n);
        if (port->written == port->chain.readable_size) {
            vq_complete(vq, port->chain.head, 0);
            port->has_chain = false;
            chains_left--;
        }
    }
    virtio_queue_publish(&port->con->dev, queue);
    update_watches(port);
}

/*
 * Input.
 */

static bool is_input_wanted(const struct console_port *port)
{
    if (port->in_fd < 0 || port->is_input_ended) {
        return false;
    }
    /* Drivers use a console port without opening it; a stream flows once the guest says so. */
    return port->id == BOOT_CONSOLE_PORT_TTY || port->is_guest_open;
}

/* Read into the chain. Bytes read, 0 at the end of the input, or -EAGAIN. */
static ssize_t read_chain(struct console_port *port, const struct virtqueue *vq,
                          const struct vq_chain *chain)
{
    struct iovec iov[VQ_SEGMENTS_MAX];
    size_t size;
    const unsigned count = vq_chain_iov(vq, chain, VQ_WRITABLE, 0, RUN_BYTES_MAX, iov, &size);
    ssize_t n;

    if (port->in_is_polite && !poll_ready(port->in_fd, POLLIN)) {
        return -EAGAIN;
    }
    do {
        n = readv(port->in_fd, iov, (int)count);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        /* EIO is how a terminal says that its other end is gone. */
        return errno == EAGAIN || errno == EWOULDBLOCK ? -EAGAIN : 0;
    }
    return n;
}

static void run_input(struct console_port *port)
{
    const unsigned queue = rx_queue(port);
    struct virtqueue *vq = &port->con->queues[queue];
    unsigned chains_left = vq->size;
    size_t bytes_left = RUN_BYTES_MAX;
    struct vq_chain chain;

    if (port->is_input_waiting || !is_input_wanted(port)) {
        return;
    }
    vq_kicks_off(vq);
    while (vq_take(vq, &chain) == 1 || (vq_kicks_on(vq) == 1 && vq_take(vq, &chain) == 1)) {
        ssize_t n;

        if (chains_left-- == 0 || bytes_left == 0) {
            vq_untake(vq);
            virtio_queue_defer(&port->con->dev, queue);
            break;
        }
        if (chain.writable_size == 0) {
            vq_complete(vq, chain.head, 0); /* no room in it; legal, useless */
            continue;
        }
        n = read_chain(port, vq, &chain);
        if (n <= 0) {
            vq_untake(vq);
            port->is_input_waiting = n < 0;
            port->is_input_ended = n == 0;
            break;
        }
        vq_complete(vq, chain.head, (uint32_t)n);
        bytes_left -= min_of(bytes_left, (size_t)n);
    }
    virtio_queue_publish(&port->con->dev, queue);
    update_watches(port);
    if (port->is_input_ended) {
        console_owe(port, PENDING_OPEN); /* after the data: the driver drains its buffers first */
    }
}

/* Loop thread. The watch may have been dropped meanwhile by another thread: the flags decide. */
static void on_port_event(void *device, int fd, uint32_t events)
{
    struct console_port *port = device;
    struct virtio_device *dev = &port->con->dev;
    const uint32_t gone = EPOLLERR | EPOLLHUP;

    virtio_device_lock(dev);
    if (fd == port->out_fd && (events & (EPOLLOUT | gone)) != 0 && port->is_output_waiting) {
        port->is_output_waiting = false;
        if (virtio_device_is_live(dev)) {
            run_output(port);
        }
    }
    if (fd == port->in_fd && (events & (EPOLLIN | gone)) != 0 && port->is_input_waiting) {
        port->is_input_waiting = false;
        if (virtio_device_is_live(dev)) {
            run_input(port);
        }
    }
    update_watches(port);
    virtio_device_unlock(dev);
}

void console_port_opened(struct console_port *port, bool is_open)
{
    port->is_guest_open = is_open;
    if (!is_open) {
        port->is_input_waiting = false;
        update_watches(port);
    }
    run_input(port);
}

static void console_kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_console *con = console_of(dev);
    struct console_port *port;

    (void)thread;
    if (queue >= CONSOLE_QUEUE_CONTROL_RX && !console_is_multiport(con)) {
        return;
    }
    if (queue == CONSOLE_QUEUE_CONTROL_TX) {
        console_run_control(con);
        return;
    }
    if (queue == CONSOLE_QUEUE_CONTROL_RX) {
        console_send_control(con);
        return;
    }
    port = &con->ports[queue < CONSOLE_QUEUE_CONTROL_RX ? 0 : queue / 2 - 1];
    if (queue == rx_queue(port)) {
        run_input(port);
    } else {
        run_output(port);
    }
}

static void console_reset(struct virtio_device *dev)
{
    struct virtio_console *con = console_of(dev);

    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        struct console_port *port = &con->ports[i];

        port->is_ready = false;
        port->is_guest_open = false;
        port->is_input_waiting = false;
        port->is_output_waiting = false;
        port->pending = 0;
        port->has_chain = false;
        port->written_before = 0;
        update_watches(port);
    }
}

/* 5.3.4: emergency write, one character without a queue. Best effort, as its name says. */
static void console_config_write(struct virtio_device *dev, uint64_t offset, unsigned size,
                                 uint64_t value)
{
    struct virtio_console *con = console_of(dev);
    const struct console_port *port = &con->ports[BOOT_CONSOLE_PORT_TTY];
    const uint8_t byte = (uint8_t)value;

    (void)size;
    if (!port->is_present) {
        port = &con->ports[BOOT_CONSOLE_PORT_STDERR];
    }
    if (offset != offsetof(struct virtio_console_config, emerg_wr) || port->out_fd < 0 ||
        port->is_output_lost || !poll_ready(port->out_fd, POLLOUT)) {
        return;
    }
    (void)!write(port->out_fd, &byte, 1);
}

static const struct virtio_device_ops console_ops = {
    .name = "virtio-console",
    .device_id = VIRTIO_ID_CONSOLE,
    .kick = console_kick,
    .reset = console_reset,
    .config_write = console_config_write,
    .state_version = 1,
    .state_size_max = CONSOLE_STATE_SIZE,
    .save = console_save,
    .load = console_load,
    .loaded = console_loaded,
};

static bool is_blocking(int fd)
{
    const int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    struct stat st;

    if (flags < 0 || (flags & O_NONBLOCK) != 0) {
        return false;
    }
    return fstat(fd, &st) < 0 || !S_ISREG(st.st_mode); /* a file is ready at all times */
}

static void port_init(struct virtio_console *con, unsigned id,
                      const struct virtio_console_port_setup *setup)
{
    con->ports[id] = (struct console_port){
        .con = con,
        .id = id,
        .is_present = setup->is_present,
        .in_fd = setup->is_present ? setup->in_fd : -1,
        .out_fd = setup->is_present ? setup->out_fd : -1,
    };
    con->ports[id].in_is_polite = is_blocking(con->ports[id].in_fd);
    con->ports[id].out_is_polite = is_blocking(con->ports[id].out_fd);
}

/* Only where the default action, which ends the process, is still in place. */
static void survive_sigpipe(void)
{
    struct sigaction action;

    if (sigaction(SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
        action.sa_handler == SIG_DFL) {
        action.sa_handler = SIG_IGN;
        (void)sigaction(SIGPIPE, &action, NULL);
    }
}

int virtio_console_create(const struct virtio_console_setup *setup, struct virtio_console **out)
{
    struct virtio_console *con = calloc(1, sizeof(*con));
    int err;

    if (con == NULL) {
        return -ENOMEM;
    }
    con->config = (struct virtio_console_config){
        .cols = setup->cols,
        .rows = setup->rows,
        .max_nr_ports = VIRTIO_CONSOLE_PORTS,
    };
    survive_sigpipe();
    con->tee_fd = setup->tee_fd;
    con->tee_bytes_left = setup->tee_bytes_max;
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
        port_init(con, i, &setup->ports[i]);
    }
    err = virtio_device_init(&con->dev, &(struct virtio_device_setup){
                                            .ops = &console_ops,
                                            .host = setup->host,
                                            .irq = setup->irq,
                                            .features = 1u << VIRTIO_CONSOLE_F_SIZE |
                                                        1u << VIRTIO_CONSOLE_F_MULTIPORT |
                                                        1u << VIRTIO_CONSOLE_F_EMERG_WRITE,
                                            .config = &con->config,
                                            .config_size = sizeof(con->config),
                                            .queues = con->queues,
                                            .queue_sizes = queue_sizes,
                                            .queue_count = CONSOLE_QUEUE_COUNT,
                                        });
    if (err < 0) {
        free(con);
        return err;
    }
    *out = con;
    return 0;
}

void virtio_console_destroy(struct virtio_console *con)
{
    virtio_device_lock(&con->dev);
    console_reset(&con->dev);
    virtio_device_unlock(&con->dev);
    virtio_device_deinit(&con->dev);
    free(con);
}

struct virtio_device *virtio_console_device(struct virtio_console *con)
{
    return &con->dev;
}

void virtio_console_resize(struct virtio_console *con, uint16_t cols, uint16_t rows)
{
    struct console_port *tty = &con->ports[BOOT_CONSOLE_PORT_TTY];

    virtio_device_lock(&con->dev);
    con->config.cols = cols;
    con->config.rows = rows;
    if (virtio_device_has_feature(&con->dev, VIRTIO_CONSOLE_F_SIZE)) {
        if (console_is_multiport(con)) {
            console_owe(tty, PENDING_RESIZE);
        } else {
            virtio_config_changed(&con->dev);
        }
    }
    virtio_device_unlock(&con->dev);
}

void virtio_console_set_port(struct virtio_console *con, unsigned number, int in_fd, int out_fd)
{
    struct console_port *port = &con->ports[number];

    assert(number < VIRTIO_CONSOLE_PORTS);
    virtio_device_lock(&con->dev);
    if (port->is_present) {
        port->is_input_waiting = false;
        port->is_output_waiting = false;
        update_watches(port);
        port->in_fd = in_fd;
        port->out_fd = out_fd;
        port->in_is_polite = is_blocking(in_fd);
        port->out_is_polite = is_blocking(out_fd);
        port->is_input_ended = false;
        for (unsigned q = rx_queue(port); q <= tx_queue(port); q++) {
            if (virtio_device_is_live(&con->dev) && con->queues[q].is_ready) {
                virtio_queue_defer(&con->dev, q);
            }
        }
    }
    virtio_device_unlock(&con->dev);
}

bool virtio_console_is_drained(struct virtio_console *con)
{
    bool is_drained = true;

    virtio_device_lock(&con->dev);
    /* A chain is held while it waits for its descriptor, or for its turn on the loop. */
    for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS && virtio_device_is_live(&con->dev); i++) {
        is_drained = is_drained && !con->ports[i].has_chain;
    }
    virtio_device_unlock(&con->dev);
    return is_drained;
}
