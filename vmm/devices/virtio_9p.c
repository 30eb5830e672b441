/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks: the device's lock guards the queue; `serving` is held while a message is served and
 * nothing else is. The worker takes a chain under the device's lock, then `serving`, then gives the
 * device's lock back. So a reset, which holds the device's lock, waits in `serving` until guest
 * memory is left alone, and a chain of before the reset is recognised by its generation.
 */
#include "virtio_9p.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_9p.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>

#include "jail/filter.h"

#define QUEUE_SIZE        128u
#define THREAD_STACK_SIZE (128u << 10)

struct virtio_9p {
    struct virtio_device dev;
    struct virtqueue queue;

    struct { /* struct virtio_9p_config with room for its tag */
        uint16_t tag_size;
        char tag[P9_TAG_MAX];
    } config;

    int proc_fd;
    bool owns_proc_fd;
    pthread_t thread;
    pthread_cond_t work; /* with dev.lock */
    pthread_cond_t idle;

    /* Under dev.lock. */
    bool has_work;
    bool is_running; /* the worker is at the queue */
    bool is_ending;
    uint32_t generation; /* resets so far */

    pthread_mutex_t serving; /* after dev.lock; guards what follows */
    struct p9_server *server;
    size_t state_room; /* as state_size() said last */
    struct p9_call call;
    struct vq_chain chain;
    struct iovec data_in[VQ_SEGMENTS_MAX];
    struct iovec data_out[VQ_SEGMENTS_MAX];
};

static const uint16_t queue_sizes[] = { QUEUE_SIZE };

static struct virtio_9p *of(struct virtio_device *dev)
{
    return container_of(dev, struct virtio_9p, dev);
}

/* The message's own bytes and the guest memory around it. False: nothing that could be answered. */
static bool load_call(struct virtio_9p *v)
{
    struct p9_call *call = &v->call;
    size_t size;

    if (v->chain.writable_size < P9_ERROR_SIZE) {
        return false;
    }
    call->message_size = v->chain.readable_size;
    call->in_size = min_of((size_t)v->chain.readable_size, sizeof(call->in));
    call->reply_max = min_of((size_t)v->chain.writable_size, (size_t)P9_MESSAGE_MAX);
    if (vq_chain_read(&v->queue, &v->chain, 0, call->in, call->in_size) < 0) {
        return false;
    }
    call->data_in = v->data_in;
    call->data_in_count = vq_chain_iov(&v->queue, &v->chain, VQ_READABLE, P9_WRITE_HEADER_SIZE,
                                       P9_MESSAGE_MAX, v->data_in, &size);
    call->data_out = v->data_out;
    call->data_out_count = vq_chain_iov(&v->queue, &v->chain, VQ_WRITABLE, P9_READ_HEADER_SIZE,
                                        P9_MESSAGE_MAX, v->data_out, &size);
    return true;
}

/* The device's lock is held on entry and exit, but not while the message is served. */
static void serve_chain(struct virtio_9p *v)
{
    const uint32_t generation = v->generation;
    const uint16_t head = v->chain.head;
    bool is_loaded;
    long n = -EPROTO;

    (void)pthread_mutex_lock(&v->serving);
    is_loaded = load_call(v);
    virtio_device_unlock(&v->dev);
    if (is_loaded) {
        n = p9_server_call(v->server, &v->call);
    }
    if (n >= 0 && vq_chain_write(&v->queue, &v->chain, 0, v->call.out, v->call.out_size) < 0) {
        unreachable("the reply was limited to the chain's room");
    }
    (void)pthread_mutex_unlock(&v->serving);
    virtio_device_lock(&v->dev);
    if (v->generation != generation) {
        return; /* the driver has forgotten it */
    }
    if (n < 0) {
        virtio_device_fail(&v->dev, "a request without header or room for a reply; device stopped");
    }
    vq_complete(&v->queue, head, n < 0 ? 0 : (uint32_t)n);
}

/* Serve what is there. The device's lock is held. */
static void run_queue(struct virtio_9p *v)
{
    vq_kicks_off(&v->queue);
    while (virtio_device_is_live(&v->dev) && !v->is_ending) {
        if (vq_take(&v->queue, &v->chain) != 1 &&
            (vq_kicks_on(&v->queue) != 1 || vq_take(&v->queue, &v->chain) != 1)) {
            break;
        }
        serve_chain(v);
        virtio_queue_publish(&v->dev, 0);
    }
}

static void *worker(void *arg)
{
    struct virtio_9p *v = arg;

    if (filter_install(DRUPE_JAIL_THREAD_FILES) < 0) {
        return NULL; /* not confined: it serves nothing */
    }
    virtio_device_lock(&v->dev);
    while (!v->is_ending) {
        if (!v->has_work) {
            (void)pthread_cond_wait(&v->work, &v->dev.lock);
            continue;
        }
        v->has_work = false;
        v->is_running = true;
        run_queue(v);
        v->is_running = false;
        (void)pthread_cond_broadcast(&v->idle);
    }
    virtio_device_unlock(&v->dev);
    return NULL;
}

static void kick(struct virtio_device *dev, unsigned queue, enum virtio_thread thread)
{
    struct virtio_9p *v = of(dev);

    (void)queue;
    (void)thread;
    v->has_work = true;
    (void)pthread_cond_signal(&v->work);
}

static void reset(struct virtio_device *dev)
{
    struct virtio_9p *v = of(dev);

    v->generation++;
    v->has_work = false;
    (void)pthread_cond_broadcast(&v->idle);
    (void)pthread_mutex_lock(&v->serving);
    p9_server_reset(v->server);
    (void)pthread_mutex_unlock(&v->serving);
}

/* The device's lock is held, the worker is at rest. */
static size_t state_size(struct virtio_device *dev)
{
    struct virtio_9p *v = of(dev);

    v->state_room = p9_server_state_size(v->server);
    return v->state_room;
}

static size_t save(struct virtio_device *dev, void *state)
{
    return p9_server_save(of(dev)->server, state, of(dev)->state_room);
}

static int load(struct virtio_device *dev, uint32_t version, const void *state, size_t size,
                const char **why)
{
    *why = "its state is of another version";
    return version == 1 ? p9_server_load(of(dev)->server, state, size, why) : -EINVAL;
}

static const struct virtio_device_ops ops = {
    .name = "virtio-9p",
    .device_id = VIRTIO_ID_9P,
    .kick = kick,
    .reset = reset,
    .state_version = 1,
    .state_size = state_size,
    .save = save,
    .load = load,
};

static int start_thread(struct virtio_9p *v)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int err;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    err = pthread_create(&v->thread, &attr, worker, v);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

static int open_proc(struct virtio_9p *v, int given)
{
    v->proc_fd = given;
    if (given < 0) {
        v->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
        v->owns_proc_fd = true;
    }
    return v->proc_fd < 0 ? -errno : 0;
}

static void close_proc(struct virtio_9p *v)
{
    if (v->owns_proc_fd && v->proc_fd >= 0) {
        (void)close(v->proc_fd);
    }
}

static int make_server(struct virtio_9p *v, const struct virtio_9p_setup *setup)
{
    const char *tag = setup->share_count == 1 ? setup->shares[0].tag : VIRTIO_9P_TAG_ALL;
    const struct p9_server_setup server = {
        .shares = setup->shares,
        .share_count = setup->share_count,
        .proc_fd = v->proc_fd,
    };

    v->config.tag_size = (uint16_t)strnlen(tag, P9_TAG_MAX);
    memcpy(v->config.tag, tag, v->config.tag_size);
    return p9_server_create(&server, &v->server);
}

static int make_device(struct virtio_9p *v, const struct virtio_9p_setup *setup)
{
    return virtio_device_init(
        &v->dev,
        &(struct virtio_device_setup){
            .ops = &ops,
            .host = setup->host,
            .irq = setup->irq,
            .features = 1u << VIRTIO_9P_MOUNT_TAG,
            .config = &v->config,
            .config_size = (uint32_t)offsetof(struct virtio_9p_config, tag) + v->config.tag_size,
            .queues = &v->queue,
            .queue_sizes = queue_sizes,
            .queue_count = array_size(queue_sizes),
        });
}

int virtio_9p_create(const struct virtio_9p_setup *setup, struct virtio_9p **out)
{
    struct virtio_9p *v = calloc(1, sizeof(*v));
    int err;

    if (v == NULL) {
        return -ENOMEM;
    }
    static_assert(offsetof(__typeof__(v->config), tag) == offsetof(struct virtio_9p_config, tag),
                  "the tag follows its length");
    err = open_proc(v, setup->proc_fd);
    if (err < 0) {
        goto free_device;
    }
    err = make_server(v, setup);
    if (err < 0) {
        goto close_proc;
    }
    (void)pthread_cond_init(&v->work, NULL);
    (void)pthread_cond_init(&v->idle, NULL);
    (void)pthread_mutex_init(&v->serving, NULL);
    err = make_device(v, setup);
    if (err < 0) {
        goto destroy_server;
    }
    err = start_thread(v);
    if (err < 0) {
        goto deinit_device;
    }
    *out = v;
    return 0;

deinit_device:
    virtio_device_deinit(&v->dev);
destroy_server:
    (void)pthread_mutex_destroy(&v->serving);
    (void)pthread_cond_destroy(&v->work);
    (void)pthread_cond_destroy(&v->idle);
    p9_server_destroy(v->server);
close_proc:
    close_proc(v);
free_device:
    free(v);
    return err;
}

void virtio_9p_destroy(struct virtio_9p *v)
{
    virtio_device_lock(&v->dev);
    v->is_ending = true;
    (void)pthread_cond_signal(&v->work);
    virtio_device_unlock(&v->dev);
    (void)pthread_join(v->thread, NULL);
    virtio_device_deinit(&v->dev);
    (void)pthread_mutex_destroy(&v->serving);
    (void)pthread_cond_destroy(&v->work);
    (void)pthread_cond_destroy(&v->idle);
    p9_server_destroy(v->server);
    close_proc(v);
    free(v);
}

void virtio_9p_quiesce(struct virtio_9p *v)
{
    virtio_device_lock(&v->dev);
    while (v->has_work || v->is_running) {
        (void)pthread_cond_wait(&v->idle, &v->dev.lock);
    }
    virtio_device_unlock(&v->dev);
}

struct virtio_device *virtio_9p_device(struct virtio_9p *v)
{
    return &v->dev;
}
