/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets into a guest of QEMU's. QEMU has no such device of its own, only a front for one in the
 * host's kernel or in another process: here for ours, over vhost-user. One loop and its thread
 * serve both QEMU's messages and the host's sockets.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/qemu/qemu.h"
#include "devices/virtio_vsock.h"
#include "error.h"
#include "loop.h"
#include "vhost_user/server.h"

#define THREAD_STACK_SIZE (64u << 10)

struct qemu_vsock {
    struct log *log;
    struct device_host host; /* of the server; the device's is the server's */
    struct loop loop;
    bool has_loop;
    struct vhost_user_server *server;
    struct virtio_vsock *device;
    pthread_t thread;
    bool has_thread;
};

static int host_watch(void *ctx, int fd, uint32_t events, device_fd_fn fn, void *device)
{
    struct qemu_vsock *v = ctx;

    return loop_watch(&v->loop, fd, events, fn, device);
}

static void host_irq_raise(void *ctx, unsigned irq)
{
    (void)ctx;
    (void)irq; /* the server's host does it */
}

static void host_log(void *ctx, enum device_log_level level, const char *device, const char *text)
{
    static const enum drupe_log_level levels[] = {
        [DEVICE_LOG_ERROR] = DRUPE_LOG_ERROR,
        [DEVICE_LOG_WARN] = DRUPE_LOG_WARN,
        [DEVICE_LOG_INFO] = DRUPE_LOG_INFO,
    };
    struct qemu_vsock *v = ctx;

    log_write(v->log, levels[level], device, "text=\"%s\"", text);
}

static void host_machine_end(void *ctx, unsigned kind, unsigned status)
{
    (void)ctx;
    (void)kind;
    (void)status; /* a socket device ends no machine */
}

/* QEMU has gone, and the guest with it. */
static void on_closed(void *ctx)
{
    struct qemu_vsock *v = ctx;

    virtio_vsock_hang_up(v->device);
}

static void *vsock_main(void *arg)
{
    struct qemu_vsock *v = arg;

    loop_run(&v->loop);
    return NULL;
}

static int start_thread(struct qemu_vsock *v)
{
    pthread_attr_t attr;
    sigset_t all;
    sigset_t before;
    int r = 0;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    r = pthread_create(&v->thread, &attr, vsock_main, v);
    (void)pthread_attr_destroy(&attr);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    v->has_thread = r == 0;
    return -r;
}

/* Takes the socket with the server. */
static int build(struct qemu_vsock *v, const struct config *c, int *socket)
{
    struct virtio_vsock_setup setup = {
        .guest_cid = c->vsock_cid,
        .listen_fd = c->vsock_fd,
        .path = c->vsock_path,
    };
    int r = loop_init(&v->loop);

    v->has_loop = r == 0;
    if (r == 0) {
        r = vhost_user_create(
            &(struct vhost_user_setup){
                .host = &v->host, .socket = *socket, .closed = on_closed, .ctx = v },
            &v->server);
    }
    if (r == 0) {
        *socket = -1;
        setup.host = vhost_user_host(v->server);
        r = virtio_vsock_create(&setup, &v->device);
    }
    if (r == 0) {
        r = vhost_user_serve(v->server, virtio_vsock_device(v->device));
    }
    return r == 0 ? start_thread(v) : r;
}

drupe_vm_err_t qemu_vsock_create(struct qemu_machine *m, int socket, struct drupe_error *err)
{
    struct qemu_vsock *v = calloc(1, sizeof(*v));
    int r = v == NULL ? -ENOMEM : 0;

    if (v != NULL) {
        v->log = &m->log;
        v->host = (struct device_host){
            .ctx = v,
            .irq_raise = host_irq_raise,
            .watch = host_watch,
            .log = host_log,
            .machine_end = host_machine_end,
        };
        r = build(v, m->config, &socket);
    }
    if (socket >= 0) {
        (void)close(socket);
    }
    if (r < 0) {
        qemu_vsock_destroy(v);
        return error_set(err, DRUPE_NO_MEMORY, -r, "make the socket device");
    }
    m->vsock = v;
    return DRUPE_OK;
}

void qemu_vsock_destroy(struct qemu_vsock *v)
{
    if (v == NULL) {
        return;
    }
    if (v->has_thread) {
        loop_stop(&v->loop);
        (void)pthread_join(v->thread, NULL);
    }
    if (v->device != NULL) {
        virtio_vsock_destroy(v->device);
    }
    if (v->server != NULL) {
        vhost_user_destroy(v->server);
    }
    if (v->has_loop) {
        loop_deinit(&v->loop);
    }
    free(v);
}
