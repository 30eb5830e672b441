/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of vsock as Unix sockets of their own. The monitor has one socket for all ports towards the
 * guest ("CONNECT <port>") and one path a port from it (`<path>_<port>`). So a port that the guest
 * connects to is a symbolic link there; one that the host connects to is a listener here, with a
 * thread for each connection that says CONNECT and passes bytes on.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/unix_socket.h>

#include "context.h"

#define DIRECTORY "/tmp/krun-XXXXXX"
#define BUFFER    16384u

struct listener {
    const char *vsock_path;
    const char *path;
    uint32_t port;
    int fd; /* -1: not yet */
};

struct krun_ports {
    char directory[sizeof(DIRECTORY)];
    char vsock_path[sizeof(DIRECTORY) + 8];
    const struct krun_ctx *ctx;
    struct listener listeners[KRUN_PORTS_MAX];
    size_t listener_count;
};

struct connection {
    int host;
    int guest;
};

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* One direction's turn. False when it is over; the other side is told. */
static bool pass(int from, int to)
{
    char buffer[BUFFER];
    const ssize_t n = recv(from, buffer, sizeof(buffer), 0);

    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n <= 0 || !send_all(to, buffer, (size_t)n)) {
        (void)shutdown(to, SHUT_WR);
        return false;
    }
    return true;
}

static void *serve_connection(void *arg)
{
    struct connection *c = arg;
    struct pollfd polls[2] = { { c->host, POLLIN, 0 }, { c->guest, POLLIN, 0 } };

    while (polls[0].fd >= 0 || polls[1].fd >= 0) {
        if (poll(polls, 2, -1) < 0) {
            continue;
        }
        if (polls[0].fd >= 0 && polls[0].revents != 0 && !pass(c->host, c->guest)) {
            polls[0].fd = -1;
        }
        if (polls[1].fd >= 0 && polls[1].revents != 0 && !pass(c->guest, c->host)) {
            polls[1].fd = -1;
        }
    }
    (void)close(c->host);
    (void)close(c->guest);
    free(c);
    return NULL;
}

/* "OK <n>\n", byte by byte: what follows is the stream's. */
static bool read_ok(int fd)
{
    char line[32];
    size_t n = 0;

    while (n < sizeof(line) && recv(fd, &line[n], 1, 0) == 1) {
        if (line[n++] == '\n') {
            return n > 3 && memcmp(line, "OK ", 3) == 0;
        }
    }
    return false;
}

/* A stream to the guest's port, or -1. */
static int connect_guest(const struct listener *l)
{
    char request[32];
    const int fd = unix_connect(l->vsock_path, 0);

    (void)snprintf(request, sizeof(request), "CONNECT %u\n", l->port);
    if (fd >= 0 && send_all(fd, request, strlen(request)) && read_ok(fd)) {
        return fd;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return -1;
}

static int start_thread(void *(*run)(void *arg), void *arg)
{
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int err;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err == 0) {
        (void)pthread_detach(thread);
    }
    return -err;
}

static void take_connection(const struct listener *l, int host)
{
    struct connection *c = malloc(sizeof(*c));
    const int guest = c != NULL ? connect_guest(l) : -1;

    if (guest >= 0) {
        *c = (struct connection){ host, guest };
        if (start_thread(serve_connection, c) == 0) {
            return;
        }
        (void)close(guest);
    }
    free(c);
    (void)close(host); /* nobody listens in the guest */
}

static void *serve_listener(void *arg)
{
    const struct listener *l = arg;

    for (;;) {
        const int host = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);

        if (host >= 0) {
            take_connection(l, host);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            (void)poll(NULL, 0, 100); /* out of descriptors: some will be given back */
        }
    }
    return NULL;
}

static int listen_at(struct listener *l)
{
    l->fd = unix_listen(l->path, 0);
    return l->fd < 0 ? l->fd : start_thread(serve_listener, l);
}

int krun_ports_begin(const struct krun_ctx *c, drupe_vm_config_t *cfg, struct krun_ports **out)
{
    struct krun_ports *p;

    *out = NULL;
    if (c->port_count == 0) {
        return 0;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return -ENOMEM;
    }
    p->ctx = c;
    memcpy(p->directory, DIRECTORY, sizeof(DIRECTORY));
    if (mkdtemp(p->directory) == NULL) {
        free(p);
        return -errno;
    }
    (void)snprintf(p->vsock_path, sizeof(p->vsock_path), "%s/v", p->directory);
    cfg->vsock_path = p->vsock_path;
    *out = p;
    return 0;
}

static int link_port(const struct krun_ports *p, const struct krun_port *port)
{
    char name[sizeof(p->vsock_path) + 16];
    char *target = realpath(port->path, NULL);
    int err;

    (void)snprintf(name, sizeof(name), "%s_%u", p->vsock_path, port->port);
    /* Who listens there may come later; then the path is taken as it is. */
    err = symlink(target != NULL ? target : port->path, name) < 0 ? -errno : 0;
    free(target);
    return err;
}

int krun_ports_open(struct krun_ports *p)
{
    int err = 0;

    for (size_t i = 0; p != NULL && err == 0 && i < p->ctx->port_count; i++) {
        const struct krun_port *port = &p->ctx->ports[i];

        if (!port->is_listening) {
            err = link_port(p, port);
            continue;
        }
        struct listener *l = &p->listeners[p->listener_count++];

        *l = (struct listener){
            .vsock_path = p->vsock_path, .path = port->path, .port = port->port, .fd = -1
        };
        err = listen_at(l);
    }
    return err;
}

void krun_ports_end(struct krun_ports *p)
{
    char name[sizeof(p->vsock_path) + 16];

    if (p == NULL) {
        return;
    }
    for (size_t i = 0; i < p->listener_count; i++) {
        (void)unlink(p->listeners[i].path);
    }
    for (size_t i = 0; i < p->ctx->port_count; i++) {
        (void)snprintf(name, sizeof(name), "%s_%u", p->vsock_path, p->ctx->ports[i].port);
        (void)unlink(name);
    }
    (void)unlink(p->vsock_path);
    (void)rmdir(p->directory);
    /* p stays: listeners' threads look at it until the process ends. */
}
