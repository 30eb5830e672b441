/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/checked.h>
#include <base/fmt.h>

#include "abi/snapshot.h"
#include "devices/virtio_mmio.h"
#include "vhost_user/memory.h"
#include "vhost_user/message.h"

#define PROTOCOL_FEATURES                                                                          \
    ((UINT64_C(1) << VHOST_USER_PROTOCOL_F_MQ) |                                                   \
     (UINT64_C(1) << VHOST_USER_PROTOCOL_F_REPLY_ACK) |                                            \
     (UINT64_C(1) << VHOST_USER_PROTOCOL_F_CONFIG))
#define PROTOCOL_BIT (UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES)
#define STATUS_LIVE                                                                                \
    ((uint32_t)VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |                              \
     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

struct ring {
    int kick_fd; /* -1: none */
    int call_fd; /* -1: none; under the device's lock */
    bool is_enabled;
    bool is_running; /* written under the device's lock */
    bool has_failed; /* it did not start; not tried again before something changes */
    uint16_t size;   /* 0: not said yet, like the addresses */
    uint16_t next;   /* index of the next chain to take */
    struct vhost_user_ring_addresses addresses;
    bool has_addresses;
    struct snapshot_queue stopped; /* how it stopped; size 0: it never ran */
};

struct vhost_user_server {
    struct vhost_user_setup setup;
    struct device_host host; /* the device's */
    struct virtio_device *dev;
    struct vhost_user_memory memory;
    struct vhost_user_message message;
    uint64_t features;          /* acknowledged, without the protocol's bit */
    uint64_t protocol_features; /* acknowledged */
    bool is_closed;
    struct ring rings[VIRTIO_QUEUES_MAX];
};

static void say(const struct vhost_user_server *s, enum device_log_level level, const char *text)
{
    s->setup.host->log(s->setup.host->ctx, level, "vhost-user", text);
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

static int watch(const struct vhost_user_server *s, int fd, uint32_t events, device_fd_fn fn)
{
    const struct device_host *host = s->setup.host;

    return host->watch(host->ctx, fd, events, fn, (void *)(uintptr_t)s);
}

/* ---- Event descriptors ---- */

/* An event descriptor of the front end's, whose reading and writing does not wait. Another kind
 * could do anything: raise SIGPIPE, be ready for ever. */
static int check_event_fd(int fd)
{
    static const char name[] = "anon_inode:[eventfd]";
    char path[32];
    char target[sizeof(name) + 1];
    ssize_t n = 0;

    (void)fmt_snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target));
    if (n != (ssize_t)sizeof(name) - 1 || memcmp(target, name, sizeof(name) - 1) != 0) {
        return -EPROTO;
    }
    return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ? -errno : 0;
}

static void on_kick(void *server, int fd, uint32_t events)
{
    struct vhost_user_server *s = server;
    uint64_t count = 0;

    (void)events;
    (void)!read(fd, &count, sizeof(count)); /* EAGAIN: somebody of the front end's was faster */
    for (unsigned i = 0; i < virtio_mmio_queue_count(s->dev); i++) {
        if (s->rings[i].kick_fd == fd) {
            virtio_mmio_kick(s->dev, i, VIRTIO_ON_LOOP);
        }
    }
}

static void call(const struct ring *r)
{
    const uint64_t one = 1;

    if (r->is_running && r->call_fd >= 0) {
        (void)!write(r->call_fd, &one, sizeof(one)); /* a full counter interrupts as well */
    }
}

/* The device does not say which queue it means, and the guest's line is one for all. Under the
 * device's lock. */
static void host_irq_raise(void *ctx, unsigned irq)
{
    const struct vhost_user_server *s = ctx;

    (void)irq;
    for (unsigned i = 0; i < array_size(s->rings); i++) {
        call(&s->rings[i]);
    }
}

static int host_watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    const struct vhost_user_server *s = ctx;

    return s->setup.host->watch(s->setup.host->ctx, fd, events, fn, device);
}

static void host_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    const struct vhost_user_server *s = ctx;

    s->setup.host->log(s->setup.host->ctx, level, device, text);
}

static void host_machine_end(void *ctx, unsigned kind, unsigned status)
{
    const struct vhost_user_server *s = ctx;

    s->setup.host->machine_end(s->setup.host->ctx, kind, status);
}

/* ---- Rings ---- */

static bool same_place(const struct snapshot_queue *a, const struct snapshot_queue *b)
{
    return a->desc == b->desc && a->avail == b->avail && a->used == b->used && a->size == b->size &&
           a->avail_next == b->avail_next;
}

/* What the front end said of a ring, in the guest's addresses. */
static int describe_ring(const struct vhost_user_server *s, const struct ring *r,
                         struct snapshot_queue *out)
{
    gpa_t desc;
    gpa_t avail;
    gpa_t used;

    if (!vhost_user_memory_find(&s->memory, r->addresses.desc, &desc) ||
        !vhost_user_memory_find(&s->memory, r->addresses.avail, &avail) ||
        !vhost_user_memory_find(&s->memory, r->addresses.used, &used)) {
        return -EFAULT;
    }
    *out = (struct snapshot_queue){
        .desc = desc.raw,
        .avail = avail.raw,
        .used = used.raw,
        .size = r->size,
        .is_ready = 1,
        .avail_next = r->next,
        .used_next = r->next,
        .used_published = r->next,
    };
    return 0;
}

/* Size and addresses are the guest's choice: what is wrong with them stops only this ring. */
static void start_ring(struct vhost_user_server *s, unsigned index)
{
    struct ring *r = &s->rings[index];
    struct virtio_device *dev = s->dev;
    struct virtqueue *vq = &dev->setup.queues[index];
    struct snapshot_queue at;
    int e = (s->features & (UINT64_C(1) << VIRTIO_F_VERSION_1)) != 0 ? describe_ring(s, r, &at)
                                                                     : -ENOTSUP;

    virtio_device_lock(dev);
    if (e == 0) {
        vq_reset(vq, s->host.gmem, VQ_SIZE_MAX);
        e = vq_load(vq, s->features, &at);
    }
    if (e == 0 && !same_place(&r->stopped, &at) && dev->setup.ops->reset != NULL) {
        dev->setup.ops->reset(dev);
    }
    if (e == 0) {
        dev->features = s->features;
        dev->status = STATUS_LIVE;
        r->is_running = true;
        virtio_queue_defer(dev, index);
    }
    virtio_device_unlock(dev);
    r->has_failed = e < 0;
    if (e < 0) {
        say(s, DEVICE_LOG_WARN, "the driver's ring is refused; the device does not work");
    }
}

static void stop_ring(struct vhost_user_server *s, unsigned index)
{
    struct ring *r = &s->rings[index];
    struct virtqueue *vq = &s->dev->setup.queues[index];
    bool is_any_running = false;

    if (!r->is_running) {
        return;
    }
    virtio_device_lock(s->dev);
    assert(vq->in_flight == 0);
    vq_save(vq, &r->stopped);
    r->next = r->stopped.avail_next;
    r->is_running = false;
    vq_reset(vq, s->host.gmem, VQ_SIZE_MAX);
    for (unsigned i = 0; i < array_size(s->rings); i++) {
        is_any_running = is_any_running || s->rings[i].is_running;
    }
    if (!is_any_running) {
        s->dev->status = 0; /* nothing is done until a ring starts */
    }
    virtio_device_unlock(s->dev);
}

/* Start or stop it, as what is known of it now wants. */
static void update_ring(struct vhost_user_server *s, unsigned index)
{
    const struct ring *r = &s->rings[index];
    const bool is_wanted = r->kick_fd >= 0 && r->is_enabled && r->has_addresses && r->size != 0;

    if (is_wanted && !r->is_running && !r->has_failed) {
        start_ring(s, index);
    } else if (!is_wanted) {
        stop_ring(s, index);
    }
}

static void drop_kick(struct vhost_user_server *s, struct ring *r)
{
    if (r->kick_fd >= 0) {
        (void)watch(s, r->kick_fd, 0, on_kick);
        close_fd(&r->kick_fd);
    }
}

static struct ring *ring_of(struct vhost_user_server *s, uint64_t index)
{
    return index < virtio_mmio_queue_count(s->dev) ? &s->rings[index] : NULL;
}

/* One that stands still, so that what it is may be said. */
static struct ring *still_ring(struct vhost_user_server *s, uint64_t index)
{
    struct ring *r = ring_of(s, index);

    if (r == NULL || r->is_running) {
        return NULL;
    }
    r->has_failed = false;
    return r;
}

/* ---- Requests: 0 or -errno, which ends the service ---- */

static int set_features(struct vhost_user_server *s)
{
    const uint64_t asked = s->message.payload.word;

    if ((asked & ~(s->dev->features_offered | PROTOCOL_BIT)) != 0) {
        return -EPROTO;
    }
    for (unsigned i = 0; i < array_size(s->rings); i++) {
        if (s->rings[i].is_running && (asked & ~PROTOCOL_BIT) != s->features) {
            return -EPROTO;
        }
        /* Without the bit there is no SET_VRING_ENABLE. */
        s->rings[i].is_enabled = s->rings[i].is_enabled || (asked & PROTOCOL_BIT) == 0;
    }
    s->features = asked & ~PROTOCOL_BIT;
    return 0;
}

static int set_protocol_features(struct vhost_user_server *s)
{
    if ((s->message.payload.word & ~PROTOCOL_FEATURES) != 0) {
        return -EPROTO;
    }
    s->protocol_features = s->message.payload.word;
    return 0;
}

/* Rings go on in the new memory: their addresses are the guest's. */
static int set_memory(struct vhost_user_server *s)
{
    struct vhost_user_memory fresh;
    int r = 0;

    vhost_user_memory_init(&fresh);
    r = vhost_user_memory_map(&fresh, &s->message.payload.regions, s->message.fds);
    if (r < 0) {
        return r;
    }
    virtio_device_lock(s->dev);
    vhost_user_memory_deinit(&s->memory);
    s->memory = fresh;
    virtio_device_unlock(s->dev);
    return 0;
}

static int set_ring_size(struct vhost_user_server *s)
{
    struct ring *r = still_ring(s, s->message.payload.ring.index);

    if (r == NULL || s->message.payload.ring.value > UINT16_MAX) {
        return -EPROTO;
    }
    r->size = (uint16_t)s->message.payload.ring.value;
    return 0;
}

static int set_ring_addresses(struct vhost_user_server *s)
{
    struct ring *r = still_ring(s, s->message.payload.addresses.index);

    if (r == NULL) {
        return -EPROTO;
    }
    r->addresses = s->message.payload.addresses;
    r->has_addresses = true;
    return 0;
}

static int set_ring_base(struct vhost_user_server *s)
{
    struct ring *r = still_ring(s, s->message.payload.ring.index);

    if (r == NULL || s->message.payload.ring.value > UINT16_MAX) {
        return -EPROTO;
    }
    r->next = (uint16_t)s->message.payload.ring.value;
    return 0;
}

/* This also ends the ring, until its kick descriptor comes again. */
static int get_ring_base(struct vhost_user_server *s)
{
    struct vhost_user_ring_state *state = &s->message.payload.ring;
    struct ring *r = ring_of(s, state->index);

    if (r == NULL) {
        return -EPROTO;
    }
    drop_kick(s, r);
    stop_ring(s, state->index);
    state->value = r->next;
    return 0;
}

static int set_ring_enable(struct vhost_user_server *s)
{
    struct ring *r = ring_of(s, s->message.payload.ring.index);

    if (r == NULL || s->message.payload.ring.value > 1) {
        return -EPROTO;
    }
    r->is_enabled = s->message.payload.ring.value == 1;
    return 0;
}

/* The ring and the descriptor of a message that has one; *fd is -1 when it comes without. */
static struct ring *take_ring_fd(struct vhost_user_server *s, int *fd, int *err)
{
    struct ring *r = ring_of(s, s->message.payload.word & VHOST_USER_RING_INDEX_MASK);

    *fd = -1;
    *err = r == NULL ? -EPROTO : 0;
    if (r != NULL && s->message.fd_count == 1) {
        *err = check_event_fd(s->message.fds[0]);
        *fd = *err == 0 ? vhost_user_message_take_fd(&s->message, 0) : -1;
    }
    return r;
}

static int set_ring_kick(struct vhost_user_server *s)
{
    int fd = -1;
    int err = 0;
    struct ring *r = take_ring_fd(s, &fd, &err);

    if (err == 0 && fd < 0) {
        err = -EPROTO; /* we don't poll */
    }
    if (err < 0) {
        return err;
    }
    drop_kick(s, r);
    r->kick_fd = fd;
    r->has_failed = false;
    return watch(s, fd, EPOLLIN, on_kick);
}

static int set_ring_call(struct vhost_user_server *s)
{
    int fd = -1;
    int err = 0;
    struct ring *r = take_ring_fd(s, &fd, &err);

    if (err < 0) {
        return err;
    }
    virtio_device_lock(s->dev);
    close_fd(&r->call_fd);
    r->call_fd = fd;
    call(r); /* one that went to the old descriptor may not have been seen */
    virtio_device_unlock(s->dev);
    return 0;
}

static int get_config(struct vhost_user_server *s)
{
    struct vhost_user_config *c = &s->message.payload.config;

    if (!range_fits(c->offset, c->size, s->dev->setup.config_size)) {
        return -EPROTO;
    }
    virtio_device_lock(s->dev);
    memcpy(c->bytes, (const uint8_t *)s->dev->setup.config + c->offset, c->size);
    virtio_device_unlock(s->dev);
    return 0;
}

/* Carry out a request; *answer_size bytes of the payload are its answer, 0: it has none. */
static int carry_out(struct vhost_user_server *s, uint32_t *answer_size)
{
    union vhost_user_payload *p = &s->message.payload;

    switch (s->message.header.request) {
    case VHOST_USER_GET_FEATURES:
        p->word = s->dev->features_offered | PROTOCOL_BIT;
        *answer_size = sizeof(p->word);
        return 0;
    case VHOST_USER_GET_PROTOCOL_FEATURES:
        p->word = PROTOCOL_FEATURES;
        *answer_size = sizeof(p->word);
        return 0;
    case VHOST_USER_GET_QUEUE_NUM:
        p->word = virtio_mmio_queue_count(s->dev);
        *answer_size = sizeof(p->word);
        return 0;
    case VHOST_USER_GET_VRING_BASE:
        *answer_size = sizeof(p->ring);
        return get_ring_base(s);
    case VHOST_USER_GET_CONFIG:
        *answer_size = s->message.header.size;
        return get_config(s);
    case VHOST_USER_SET_FEATURES:
        return set_features(s);
    case VHOST_USER_SET_PROTOCOL_FEATURES:
        return set_protocol_features(s);
    case VHOST_USER_SET_MEM_TABLE:
        return set_memory(s);
    case VHOST_USER_SET_VRING_NUM:
        return set_ring_size(s);
    case VHOST_USER_SET_VRING_ADDR:
        return set_ring_addresses(s);
    case VHOST_USER_SET_VRING_BASE:
        return set_ring_base(s);
    case VHOST_USER_SET_VRING_ENABLE:
        return set_ring_enable(s);
    case VHOST_USER_SET_VRING_KICK:
        return set_ring_kick(s);
    case VHOST_USER_SET_VRING_CALL:
        return set_ring_call(s);
    default: /* SET_OWNER, RESET_OWNER, SET_VRING_ERR: nothing depends on them */
        return 0;
    }
}

static int serve_message(struct vhost_user_server *s)
{
    const struct vhost_user_header header = s->message.header;
    uint32_t size = 0;
    int r = carry_out(s, &size);

    if (r < 0) {
        return r;
    }
    for (unsigned i = 0; i < virtio_mmio_queue_count(s->dev); i++) {
        update_ring(s, i);
    }
    if (size == 0 && (header.flags & VHOST_USER_NEED_REPLY) != 0 &&
        (s->protocol_features & (UINT64_C(1) << VHOST_USER_PROTOCOL_F_REPLY_ACK)) != 0) {
        s->message.payload.word = 0; /* done */
        size = sizeof(s->message.payload.word);
    }
    return size == 0 ? 0
                     : vhost_user_reply(s->setup.socket, header.request, &s->message.payload, size);
}

/* ---- Life ---- */

static void on_message(void *server, int fd, uint32_t events);

/* Nobody is there to serve any more. */
static void close_server(struct vhost_user_server *s)
{
    (void)watch(s, s->setup.socket, 0, on_message);
    for (unsigned i = 0; i < virtio_mmio_queue_count(s->dev); i++) {
        drop_kick(s, &s->rings[i]);
        stop_ring(s, i);
    }
    close_fd(&s->setup.socket);
    s->is_closed = true;
    s->setup.closed(s->setup.ctx);
}

static void on_message(void *server, int fd, uint32_t events)
{
    struct vhost_user_server *s = server;
    int r = 0;

    (void)events;
    if (s->is_closed) {
        return;
    }
    r = vhost_user_receive(&s->message, fd);
    if (r == 1) {
        r = serve_message(s);
        vhost_user_message_clear(&s->message);
    }
    if (r < 0) {
        if (r != -ECONNRESET && r != -EPIPE) {
            say(s, DEVICE_LOG_ERROR, "the front end broke the protocol; the device is gone");
        }
        vhost_user_message_clear(&s->message);
        close_server(s);
    }
}

int vhost_user_create(const struct vhost_user_setup *setup, struct vhost_user_server **out)
{
    struct vhost_user_server *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return -ENOMEM;
    }
    s->setup = *setup;
    s->host = (struct device_host){
        .ctx = s,
        .gmem = &s->memory.gmem,
        .irq_raise = host_irq_raise,
        .watch = host_watch,
        .log = host_log,
        .machine_end = host_machine_end,
    };
    vhost_user_memory_init(&s->memory);
    vhost_user_message_init(&s->message);
    for (unsigned i = 0; i < array_size(s->rings); i++) {
        s->rings[i].kick_fd = -1;
        s->rings[i].call_fd = -1;
    }
    *out = s;
    return 0;
}

const struct device_host *vhost_user_host(const struct vhost_user_server *s)
{
    return &s->host;
}

int vhost_user_serve(struct vhost_user_server *s, struct virtio_device *dev)
{
    assert(dev->setup.host == &s->host);
    s->dev = dev;
    return watch(s, s->setup.socket, EPOLLIN, on_message);
}

void vhost_user_destroy(struct vhost_user_server *s)
{
    vhost_user_message_clear(&s->message);
    for (unsigned i = 0; i < array_size(s->rings); i++) {
        close_fd(&s->rings[i].kick_fd);
        close_fd(&s->rings[i].call_fd);
    }
    close_fd(&s->setup.socket);
    vhost_user_memory_deinit(&s->memory);
    free(s);
}
