// SPDX-License-Identifier: Apache-2.0
/*
 * AF_UNIX: stream, datagram and seqpacket sockets; named in the file system, abstract, or without a
 * name. A sender puts messages straight into the receiver's queue.
 *
 * Locks: unix_lock (one for the machine, a spinlock) guards names, peers, states and shutdown bits,
 * and every change there is a few stores; each socket's mutex guards its queue. A connected socket
 * holds a reference to its peer until it is released itself, so a peer's memory is always there.
 *
 * Not here: collecting sockets that are only referenced by messages in each other's queues.
 */
#include <ipc/socket.h>

#include <base/fmt.h>
#include <core/lock.h>
#include <core/ref.h>
#include <core/string.h>
#include <fs/vfs.h>
#include <ipc/poll.h>
#include <mm/slab.h>
#include <proc/cred.h>
#include <proc/process.h>
#include <sched/task.h>
#include <syscall/uio.h>

#define NAME_AT      2u /* the family's two bytes come first */
#define PATH_ROOM    108u
#define CHUNK_MAX    (32u << 10) /* bytes of a stream in one message */
#define BACKLOG_MAX  4096
#define S_IFMT_BITS  0170000u
#define S_IFSOCK_BIT 0140000u

enum unix_state {
    UNIX_IDLE,
    UNIX_LISTENING,
    UNIX_CONNECTED,
    UNIX_DISCONNECTED, /* the peer is gone */
};

struct unix_message {
    struct list link;
    uint32_t size;
    uint32_t offset; /* read so far (streams) */
    uint32_t file_count;
    struct file **files;
    struct socket_credentials credentials;
    struct socket_address *source; /* NULL: unnamed */
    char bytes[];
};

struct unix_socket {
    struct socket base;
    struct ref ref;

    /* unix_lock */
    enum unix_state state;
    struct unix_socket *peer; /* counted */
    unsigned shut;            /* SHUT_* of this side */
    bool is_released;
    struct list bound; /* in bound_sockets, when it has a name */
    struct socket_address name;
    struct path path; /* counted; dentry NULL: abstract or unnamed */
    struct inode *inode;
    struct list pending; /* connections to accept; of a listener */
    struct list pending_link;
    int pending_count, backlog;
    struct socket_credentials peer_credentials;
    int error; /* SO_ERROR, positive */

    struct mutex mutex; /* the queue */
    struct list queue;
    uint32_t queued; /* bytes; read without the mutex as a hint */

    struct wait_queue read_wait;  /* messages, connections, the end */
    struct wait_queue write_wait; /* room at the peer, the end */
};

static struct slab_cache unix_cache = SLAB_CACHE("unix", struct unix_socket);
static struct spinlock unix_lock = SPINLOCK_INIT(RANK_FS_MISC);
static struct list bound_sockets = LIST_INIT(bound_sockets);

static struct unix_socket *unix_of(struct socket *s)
{
    return container_of(s, struct unix_socket, base);
}

static struct unix_socket *unix_get(struct unix_socket *u)
{
    ref_get(&u->ref);
    return u;
}

static void message_free(struct unix_message *m)
{
    for (uint32_t i = 0; i < m->file_count; i++) {
        file_put(m->files[i]);
    }
    kfree(m->files);
    kfree(m->source);
    kfree(m);
}

/* Nobody adds to or takes from the queue any more. */
static void flush_queue(struct unix_socket *u)
{
    struct unix_message *m = NULL;
    struct unix_message *next = NULL;

    list_for_each_entry_safe(m, next, &u->queue, link) {
        message_free(m);
    }
    list_init(&u->queue);
}

static void unix_put(struct unix_socket *u)
{
    if (!ref_put(&u->ref)) {
        return;
    }
    flush_queue(u);
    if (u->path.dentry) {
        path_put(&u->path);
    }
    slab_free(&unix_cache, u);
}

static struct socket_credentials own_credentials(void)
{
    const struct cred *c = current->cred;

    return (struct socket_credentials){ current->process->pid, c->euid, c->egid };
}

static const struct socket_ops unix_ops;

static int unix_create(int type, int protocol, struct socket **out)
{
    struct unix_socket *u;

    if (protocol != 0 && protocol != AF_UNIX) {
        return -EPROTONOSUPPORT;
    }
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) {
        return -ESOCKTNOSUPPORT;
    }
    u = slab_alloc(&unix_cache, GFP_ZERO);
    if (!u) {
        return -ENOMEM;
    }
    socket_init(&u->base, &unix_ops, AF_UNIX, type, 0);
    ref_init(&u->ref);
    mutex_init(&u->mutex, RANK_PIPE);
    list_init(&u->bound);
    list_init(&u->pending);
    list_init(&u->pending_link);
    list_init(&u->queue);
    wait_queue_init(&u->read_wait);
    wait_queue_init(&u->write_wait);
    *out = &u->base;
    return 0;
}

static int unix_pair(struct socket *a, struct socket *b)
{
    struct unix_socket *x = unix_of(a);
    struct unix_socket *y = unix_of(b);

    x->peer = unix_get(y); /* nobody else knows them yet */
    y->peer = unix_get(x);
    x->state = UNIX_CONNECTED;
    y->state = UNIX_CONNECTED;
    x->peer_credentials = own_credentials();
    y->peer_credentials = x->peer_credentials;
    return 0;
}

/* --- names ---------------------------------------------------------------------------------------
 */

/* 0: a path in `path`; 1: abstract, compared by its bytes; -EINVAL. */
static int check_name(const struct socket_address *a, char path[PATH_ROOM + 1])
{
    if (a->size < NAME_AT || a->size > NAME_AT + PATH_ROOM || a->family != AF_UNIX) {
        return -EINVAL;
    }
    if (a->size == NAME_AT) {
        return -EINVAL;
    }
    if (a->bytes[NAME_AT] == '\0') {
        return 1;
    }
    memcpy(path, a->bytes + NAME_AT, a->size - NAME_AT);
    path[a->size - NAME_AT] = '\0';
    return 0;
}

static struct unix_socket *find_abstract_locked(const struct socket_address *a)
{
    struct unix_socket *u = NULL;

    list_for_each_entry(u, &bound_sockets, bound) {
        if (!u->inode && u->name.size == a->size && memcmp(u->name.bytes, a->bytes, a->size) == 0) {
            return u;
        }
    }
    return NULL;
}

static struct unix_socket *find_inode_locked(const struct inode *inode)
{
    struct unix_socket *u = NULL;

    list_for_each_entry(u, &bound_sockets, bound) {
        if (u->inode == inode) {
            return u;
        }
    }
    return NULL;
}

static int bind_abstract(struct unix_socket *u, const struct socket_address *a)
{
    int err = 0;

    spin_lock(&unix_lock);
    if (list_is_linked(&u->bound)) {
        err = -EINVAL;
    } else if (find_abstract_locked(a)) {
        err = -EADDRINUSE;
    } else {
        u->name = *a;
        list_push_back(&bound_sockets, &u->bound);
    }
    spin_unlock(&unix_lock);
    return err;
}

/* A free abstract name of five hex digits (unix(7), autobind). */
static int autobind(struct unix_socket *u)
{
    static _Atomic uint32_t last;
    struct socket_address a = { .size = NAME_AT + 6, .family = AF_UNIX };
    int err = -EADDRINUSE;

    for (uint32_t tries = 0; tries < 1u << 20 && err == -EADDRINUSE; tries++) {
        uint32_t n = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) & 0xfffff;

        (void)fmt_snprintf(a.bytes + NAME_AT + 1, 6, "%05x", n); /* relaxed: any number will do */
        err = bind_abstract(u, &a);
    }
    return err;
}

static int unix_bind(struct socket *s, const struct socket_address *a)
{
    struct unix_socket *u = unix_of(s);
    char text[PATH_ROOM + 1];
    struct path path;
    int kind;
    int err;

    if (a->size == NAME_AT && a->family == AF_UNIX) {
        return autobind(u);
    }
    kind = check_name(a, text);
    if (kind != 0) {
        return kind < 0 ? kind : bind_abstract(u, a);
    }
    if (list_is_linked(&u->bound)) {
        /* A name that is taken is the first thing Linux would find. */
        if (path_lookup(AT_FDCWD, text, 0, &path) < 0) {
            return -EINVAL;
        }
        path_put(&path);
        return -EADDRINUSE;
    }
    err = vfs_make_socket(text, 0777, &path);
    if (err < 0) {
        return err;
    }
    spin_lock(&unix_lock);
    if (list_is_linked(&u->bound)) {
        err = -EINVAL;
    } else {
        u->name = *a;
        u->name.size = NAME_AT + (uint32_t)strlen(text) + 1;
        u->path = path;
        u->inode = path_inode(&path);
        list_push_back(&bound_sockets, &u->bound);
    }
    spin_unlock(&unix_lock);
    if (err < 0) {
        path_put(&path);
    }
    return err;
}

/* The socket of an address, counted. -ECONNREFUSED: the name is there, nobody behind it. */
static int find_socket(const struct socket_address *a, int type, struct unix_socket **out)
{
    char text[PATH_ROOM + 1];
    struct path path = { 0 };
    struct unix_socket *u;
    int kind = check_name(a, text);
    int err = 0;

    if (kind < 0) {
        return kind;
    }
    if (kind == 0) {
        struct inode *inode;

        err = path_lookup(AT_FDCWD, text, LOOKUP_FOLLOW, &path);
        if (err < 0) {
            return err;
        }
        inode = path_inode(&path);
        err = inode_permission(inode, current->cred, MAY_WRITE);
        if (err == 0 && (inode->mode & S_IFMT_BITS) != S_IFSOCK_BIT) {
            err = -ECONNREFUSED;
        }
    }
    if (err == 0) {
        spin_lock(&unix_lock);
        u = kind ? find_abstract_locked(a) : find_inode_locked(path_inode(&path));
        if (!u || u->is_released) {
            err = -ECONNREFUSED;
        } else if (u->base.type != type) {
            err = -EPROTOTYPE;
        } else {
            *out = unix_get(u);
        }
        spin_unlock(&unix_lock);
    }
    if (kind == 0) {
        path_put(&path);
    }
    return err;
}

static int unix_name(struct socket *s, bool of_peer, struct socket_address *out)
{
    const struct unix_socket *u = unix_of(s);
    int err = 0;

    spin_lock(&unix_lock);
    if (of_peer) {
        u = u->peer;
    }
    if (!u) {
        err = -ENOTCONN;
    } else if (u->name.size) {
        *out = u->name;
    } else {
        *out = (struct socket_address){ .size = NAME_AT, .family = AF_UNIX };
    }
    spin_unlock(&unix_lock);
    return err;
}

/* --- connections
 * ------------------------------------------------------------------------------------ */

static int unix_listen(struct socket *s, int backlog)
{
    struct unix_socket *u = unix_of(s);
    int err = 0;

    if (s->type == SOCK_DGRAM) {
        return -EOPNOTSUPP;
    }
    spin_lock(&unix_lock);
    if (!list_is_linked(&u->bound) || (u->state != UNIX_IDLE && u->state != UNIX_LISTENING)) {
        err = -EINVAL;
    } else {
        u->state = UNIX_LISTENING;
        u->backlog = min_of(backlog, BACKLOG_MAX);
        u->peer_credentials = own_credentials();
    }
    spin_unlock(&unix_lock);
    return err;
}

static bool has_pending(const struct unix_socket *u)
{
    return *(struct list *const volatile *)&u->pending.next != &u->pending;
}

/* Sleep on q until *hint says that another try makes sense. */
static int wait_on(struct wait_queue *q, uint64_t deadline, uint32_t events,
                   bool (*is_over)(struct unix_socket *u), struct unix_socket *u)
{
    struct waiter w;
    int err = 0;

    if (deadline == 0) {
        return -EAGAIN;
    }
    wait_begin(&w, WAIT_INTERRUPTIBLE, deadline);
    wait_add(q, &w, events);
    current->wait_reason = "socket";
    while (!is_over(u) && (err = wait_sleep(&w)) == 0) {
    }
    current->wait_reason = NULL;
    wait_end(&w);
    return is_over(u) ? 0 : err;
}

static bool is_acceptable(struct unix_socket *u)
{
    return has_pending(u) || (*(volatile unsigned *)&u->shut & SHUT_RD);
}

static int unix_accept(struct socket *s, uint64_t deadline, struct socket **out)
{
    struct unix_socket *u = unix_of(s);

    for (;;) {
        struct unix_socket *fresh = NULL;
        int err = 0;

        spin_lock(&unix_lock);
        if (u->state != UNIX_LISTENING) {
            err = s->type == SOCK_DGRAM ? -EOPNOTSUPP : -EINVAL;
        } else if (has_pending(u)) {
            fresh = list_first(&u->pending, struct unix_socket, pending_link);
            list_remove(&fresh->pending_link);
            u->pending_count--;
        } else if (u->shut & SHUT_RD) {
            err = -EINVAL;
        }
        spin_unlock(&unix_lock);
        if (fresh) {
            wake_all(&u->write_wait, POLLOUT);
            *out = &fresh->base;
            return 0;
        }
        if (err == 0) {
            err = wait_on(&u->read_wait, deadline, POLLIN, is_acceptable, u);
        }
        if (err < 0) {
            return err;
        }
    }
}

/* Link the client with a fresh server side in the listener's queue. -EAGAIN: the queue is full. */
static int join_locked(struct unix_socket *u, struct unix_socket *fresh, struct unix_socket *to)
{
    if (to->state != UNIX_LISTENING || to->is_released || (to->shut & SHUT_RD)) {
        return -ECONNREFUSED;
    }
    if (u->state == UNIX_CONNECTED) {
        return -EISCONN;
    }
    if (u->state != UNIX_IDLE) {
        return -EINVAL;
    }
    if (to->pending_count > to->backlog) {
        return -EAGAIN;
    }
    fresh->state = UNIX_CONNECTED;
    fresh->peer = unix_get(u);
    fresh->name = to->name;
    fresh->peer_credentials = own_credentials();
    u->state = UNIX_CONNECTED;
    u->peer = unix_get(fresh);
    u->peer_credentials = to->peer_credentials;
    list_push_back(&to->pending, &fresh->pending_link);
    to->pending_count++;
    return 0;
}

static bool has_backlog_room(struct unix_socket *u)
{
    return *(volatile int *)&u->pending_count <= u->backlog ||
           *(volatile enum unix_state *)&u->state != UNIX_LISTENING;
}

static int connect_stream(struct unix_socket *u, struct unix_socket *to, uint64_t deadline)
{
    struct socket *fresh;
    int err = unix_create(u->base.type, 0, &fresh);

    if (err < 0) {
        return err;
    }
    fresh->passes_credentials = to->base.passes_credentials;
    for (;;) {
        spin_lock(&unix_lock);
        err = join_locked(u, unix_of(fresh), to);
        spin_unlock(&unix_lock);
        if (err != -EAGAIN) {
            break;
        }
        err = wait_on(&to->write_wait, deadline, POLLOUT, has_backlog_room, to);
        if (err < 0) {
            break;
        }
    }
    if (err < 0) {
        unix_put(unix_of(fresh));
        return err;
    }
    wake_all(&to->read_wait, POLLIN);
    return 0;
}

static int connect_datagram(struct unix_socket *u, struct unix_socket *to)
{
    struct unix_socket *old;
    int err = 0;

    spin_lock(&unix_lock);
    old = u->peer;
    if (to && to->peer && to->peer != u) {
        err = -EPERM; /* it talks to somebody else */
    } else {
        u->peer = to ? unix_get(to) : NULL;
        u->state = to ? UNIX_CONNECTED : UNIX_IDLE;
    }
    spin_unlock(&unix_lock);
    if (err == 0 && old) {
        unix_put(old);
    }
    return err;
}

static int unix_connect(struct socket *s, const struct socket_address *a, uint64_t deadline)
{
    struct unix_socket *u = unix_of(s);
    struct unix_socket *to = NULL;
    int err;

    if (a->size < NAME_AT) {
        return -EINVAL;
    }
    if (a->family == AF_UNSPEC && s->type == SOCK_DGRAM) {
        return connect_datagram(u, NULL);
    }
    err = find_socket(a, s->type, &to);
    if (err < 0) {
        return err;
    }
    assert(to);
    err = s->type == SOCK_DGRAM ? connect_datagram(u, to) : connect_stream(u, to, deadline);
    unix_put(to);
    return err;
}

/* --- sending
 * ------------------------------------------------------------------------------------------ */

/* Where bytes go: the named socket, else the peer; counted. */
static int receiver_of(struct unix_socket *u, const struct socket_message *m,
                       struct unix_socket **out)
{
    int err = 0;

    if (m->name && u->base.type == SOCK_DGRAM) {
        return find_socket(m->name, SOCK_DGRAM, out);
    }
    spin_lock(&unix_lock);
    if (m->name && u->base.type == SOCK_STREAM) {
        err = u->peer ? -EISCONN : -EOPNOTSUPP;
    } else if (!u->peer && !(u->shut & SHUT_WR)) {
        err = -ENOTCONN;
    } else if (!(u->shut & SHUT_WR) && u->peer->is_released && u->base.type == SOCK_DGRAM) {
        err = -ECONNREFUSED;
    } else if ((u->shut & SHUT_WR) || u->peer->is_released || (u->peer->shut & SHUT_RD)) {
        err = -EPIPE;
    } else {
        *out = unix_get(u->peer);
    }
    spin_unlock(&unix_lock);
    return err;
}

static struct socket_address *copy_name(struct unix_socket *u)
{
    struct socket_address *copy;

    if (u->name.size == 0) { /* names come once and stay */
        return NULL;
    }
    copy = kmalloc(sizeof(*copy), GFP_KERNEL);
    if (copy) {
        *copy = u->name;
    }
    return copy;
}

/* A message of `size` bytes from the transfer, with m's files moved in. */
static int message_create(struct unix_socket *u, struct uio *from, uint32_t size,
                          struct socket_message *m, struct unix_message **out)
{
    struct unix_message *msg = kmalloc(sizeof(*msg) + size, GFP_KERNEL);

    if (!msg) {
        return -ENOBUFS;
    }
    *msg = (struct unix_message){ .size = size };
    if (size > 0) {
        ssize_t n = uio_copy_in(from, msg->bytes, size);

        if (n <= 0 || ((uint32_t)n < size && u->base.type != SOCK_STREAM)) {
            kfree(msg);
            return -EFAULT;
        }
        msg->size = (uint32_t)n;
    }
    msg->credentials = m->has_credentials ? m->credentials : own_credentials();
    msg->source = u->base.type == SOCK_DGRAM ? copy_name(u) : NULL;
    msg->files = m->files;
    msg->file_count = m->file_count;
    m->files = NULL;
    m->file_count = 0;
    *out = msg;
    return 0;
}

static bool has_room(struct unix_socket *to)
{
    return *(volatile uint32_t *)&to->queued < to->base.receive_buffer ||
           *(volatile bool *)&to->is_released || (*(volatile unsigned *)&to->shut & SHUT_RD);
}

static int enqueue(struct unix_socket *to, struct unix_message *msg)
{
    int err = 0;

    mutex_lock(&to->mutex);
    if (to->is_released || (to->shut & SHUT_RD)) {
        err = -EPIPE;
    } else {
        list_push_back(&to->queue, &msg->link);
        to->queued += msg->size + (uint32_t)sizeof(*msg);
    }
    mutex_unlock(&to->mutex);
    if (err == 0) {
        wake_all(&to->read_wait, POLLIN | POLLRDNORM);
    }
    return err;
}

static ssize_t send_one(struct unix_socket *u, struct unix_socket *to, struct uio *from,
                        uint32_t size, struct socket_message *m, uint64_t deadline)
{
    struct unix_message *msg = NULL;
    ssize_t sent;
    int err = 0;

    while (err == 0 && !has_room(to)) {
        err = wait_on(&to->write_wait, deadline, POLLOUT, has_room, to);
    }
    if (err == 0) {
        err = message_create(u, from, size, m, &msg);
    }
    if (err < 0) {
        return err;
    }
    assert(msg);
    sent = msg->size;
    err = enqueue(to, msg);
    if (err < 0) {
        message_free(msg);
        return u->base.type == SOCK_DGRAM ? -ECONNREFUSED : err;
    }
    return sent;
}

static ssize_t unix_send(struct socket *s, struct uio *from, struct socket_message *m,
                         uint64_t deadline)
{
    struct unix_socket *u = unix_of(s);
    struct unix_socket *to = NULL;
    ssize_t done = 0;
    ssize_t n;

    if (m->flags & MSG_OOB) {
        return -EOPNOTSUPP;
    }
    n = receiver_of(u, m, &to);
    if (n < 0) {
        return n;
    }
    assert(to);
    if (s->type != SOCK_STREAM) {
        n = from->remaining > s->send_buffer
                ? -EMSGSIZE
                : send_one(u, to, from, (uint32_t)from->remaining, m, deadline);
        unix_put(to);
        return n;
    }
    while (from->remaining > 0) {
        n = send_one(u, to, from, (uint32_t)min_of(from->remaining, (size_t)CHUNK_MAX), m,
                     deadline);
        if (n < 0) {
            break;
        }
        done += n;
    }
    unix_put(to);
    return done ? done : n;
}

/* --- receiving
 * ------------------------------------------------------------------------------------------ */

/* No more can come: the peer is gone or has shut, or we have. */
static bool is_at_end(struct unix_socket *u)
{
    bool is_end;

    spin_lock(&unix_lock);
    is_end =
        (u->shut & SHUT_RD) || (u->base.type != SOCK_DGRAM &&
                                (u->state == UNIX_DISCONNECTED ||
                                 (u->peer && (u->peer->is_released || (u->peer->shut & SHUT_WR)))));
    spin_unlock(&unix_lock);
    return is_end;
}

static bool has_message(const struct unix_socket *u)
{
    return *(struct list *const volatile *)&u->queue.next != &u->queue;
}

static bool is_receivable(struct unix_socket *u)
{
    return has_message(u) || is_at_end(u);
}

/* Give the message's files to m: moved, or (peeking) referenced once more. */
static int hand_over_files(struct unix_message *msg, struct socket_message *m, bool is_peek)
{
    if (msg->file_count == 0 || m->files) {
        return 0;
    }
    if (!is_peek) {
        m->files = msg->files;
        m->file_count = msg->file_count;
        msg->files = NULL;
        msg->file_count = 0;
        return 0;
    }
    m->files = kmalloc_array(msg->file_count, sizeof(struct file *), GFP_KERNEL);
    if (!m->files) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < msg->file_count; i++) {
        m->files[i] = file_get(msg->files[i]);
    }
    m->file_count = msg->file_count;
    return 0;
}

static void describe(const struct unix_message *msg, struct socket_message *m)
{
    m->credentials = msg->credentials;
    if (m->name && msg->source) {
        *m->name = *msg->source;
    }
}

static void consume_locked(struct unix_socket *u, struct unix_message *msg)
{
    list_remove(&msg->link);
    u->queued -= msg->size + (uint32_t)sizeof(*msg);
}

/* A whole message; what does not fit is lost, and told. */
static ssize_t take_packet_locked(struct unix_socket *u, struct uio *to, struct socket_message *m)
{
    struct unix_message *msg = list_first(&u->queue, struct unix_message, link);
    bool is_peek = (m->flags & MSG_PEEK) != 0;
    uint32_t size = (uint32_t)min_of((size_t)msg->size, to->remaining);
    bool wants_size = (m->flags & MSG_TRUNC) != 0;
    ssize_t n = 0;

    if (size > 0) {
        n = uio_copy_out(to, msg->bytes, size);
        if (n < 0) {
            return n;
        }
    }
    describe(msg, m);
    m->flags &= ~(MSG_TRUNC | MSG_CTRUNC | MSG_EOR);
    if (size < msg->size) {
        m->flags |= MSG_TRUNC;
        n = wants_size ? (ssize_t)msg->size : n;
    }
    if (u->base.type == SOCK_SEQPACKET) {
        m->flags |= MSG_EOR;
    }
    if (hand_over_files(msg, m, is_peek) < 0) {
        return -ENOMEM;
    }
    if (!is_peek) {
        consume_locked(u, msg);
        message_free(msg);
    }
    return n;
}

/* Bytes over message bounds; descriptors and a change of sender end one call's share. */
static ssize_t take_bytes_locked(struct unix_socket *u, struct uio *to, struct socket_message *m)
{
    struct unix_message *msg = list_first(&u->queue, struct unix_message, link);
    bool is_peek = (m->flags & MSG_PEEK) != 0;
    ssize_t done = 0;

    while (&msg->link != &u->queue && to->remaining > 0) {
        struct unix_message *next = list_first(&msg->link, struct unix_message, link);
        size_t size = min_of((size_t)(msg->size - msg->offset), to->remaining);
        bool has_files = msg->file_count > 0;
        ssize_t n;

        if (done > 0 && has_files) {
            break;
        }
        n = uio_copy_out(to, msg->bytes + msg->offset, size);
        if (n <= 0) {
            return done ? done : n;
        }
        done += n;
        describe(msg, m);
        if (hand_over_files(msg, m, is_peek) < 0) {
            return -ENOMEM;
        }
        if (!is_peek) {
            msg->offset += (uint32_t)n;
            if (msg->offset == msg->size) {
                consume_locked(u, msg);
                message_free(msg);
            }
        }
        if ((size_t)n < size || has_files) {
            break;
        }
        msg = next;
    }
    return done;
}

/* -EAGAIN: nothing there. */
static ssize_t take(struct unix_socket *u, struct uio *to, struct socket_message *m)
{
    ssize_t n = -EAGAIN;
    bool had_room = has_room(u);

    mutex_lock(&u->mutex);
    if (has_message(u)) {
        n = u->base.type == SOCK_STREAM ? take_bytes_locked(u, to, m)
                                        : take_packet_locked(u, to, m);
    }
    mutex_unlock(&u->mutex);
    if (n >= 0 && (!had_room || !wait_queue_is_empty(&u->write_wait))) {
        /* Senders and pollers of the other side wait here for our room. */
        wake_all(&u->write_wait, POLLOUT | POLLWRNORM);
    }
    return n;
}

static int take_error(struct unix_socket *u)
{
    int error;

    spin_lock(&unix_lock);
    error = u->error;
    u->error = 0;
    spin_unlock(&unix_lock);
    return error;
}

static ssize_t unix_receive(struct socket *s, struct uio *to, struct socket_message *m,
                            uint64_t deadline)
{
    struct unix_socket *u = unix_of(s);
    size_t target = (m->flags & MSG_WAITALL) && s->type == SOCK_STREAM && !(m->flags & MSG_PEEK)
                        ? to->remaining
                        : 1;
    ssize_t done = 0;
    int err;

    if (m->flags & MSG_OOB) {
        return -EOPNOTSUPP;
    }
    if (s->type != SOCK_DGRAM && u->state != UNIX_CONNECTED && u->state != UNIX_DISCONNECTED) {
        return s->type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
    }
    if (s->type == SOCK_STREAM && to->remaining == 0) {
        return 0;
    }
    for (;;) {
        bool was_at_end = is_at_end(u); /* before the look: what came first counts */
        ssize_t n = take(u, to, m);

        if (n >= 0) {
            done += n;
            if (s->type != SOCK_STREAM || (size_t)done >= target || m->files) {
                return done;
            }
            continue;
        }
        if (n != -EAGAIN) {
            return done ? done : n;
        }
        if (was_at_end) {
            err = take_error(u);
            return done ? done : -err;
        }
        err = wait_on(&u->read_wait, deadline, POLLIN, is_receivable, u);
        if (err < 0) {
            return done ? done : err;
        }
    }
}

/* --- state
 * ------------------------------------------------------------------------------------------------
 */

static int unix_shutdown(struct socket *s, unsigned how)
{
    struct unix_socket *u = unix_of(s);
    struct unix_socket *peer = NULL;

    spin_lock(&unix_lock);
    u->shut |= how;
    if (u->peer) {
        peer = unix_get(u->peer);
    }
    spin_unlock(&unix_lock);
    wake_all(&u->read_wait, POLLIN | POLLHUP | POLLRDHUP);
    wake_all(&u->write_wait, POLLOUT | POLLHUP);
    if (peer) {
        wake_all(&peer->read_wait, POLLIN | POLLHUP | POLLRDHUP);
        wake_all(&peer->write_wait, POLLOUT | POLLHUP);
        unix_put(peer);
    }
    return 0;
}

static uint32_t unix_poll(struct socket *s, struct file *f, struct poll_table *pt)
{
    struct unix_socket *u = unix_of(s);
    struct unix_socket *peer;
    uint32_t events = 0;
    bool is_gone;

    poll_wait(pt, f, &u->read_wait);
    spin_lock(&unix_lock);
    peer = u->peer;
    is_gone = peer && peer->is_released && s->type != SOCK_DGRAM;
    if (u->state == UNIX_LISTENING) {
        events = has_pending(u) ? POLLIN | POLLRDNORM : 0;
        spin_unlock(&unix_lock);
        return events;
    }
    if (peer) {
        (void)unix_get(peer);
    }
    if (is_gone || u->state == UNIX_DISCONNECTED ||
        (u->shut == (SHUT_RD | SHUT_WR) ||
         (peer && s->type != SOCK_DGRAM && (u->shut & SHUT_WR) && (peer->shut & SHUT_WR)))) {
        events |= POLLHUP;
    }
    events |= u->error ? POLLERR : 0;
    if (s->type != SOCK_DGRAM && u->state == UNIX_IDLE) {
        events |= POLLHUP | POLLOUT;
    }
    spin_unlock(&unix_lock);
    if (is_at_end(u)) {
        events |= POLLIN | POLLRDNORM | POLLRDHUP;
    }
    if (has_message(u)) {
        events |= POLLIN | POLLRDNORM;
    }
    if (s->type == SOCK_DGRAM) {
        /* Room is that of whoever is sent to, which may change: a full one answers EAGAIN. */
        events |= POLLOUT | POLLWRNORM;
    } else if (peer) {
        /* Room is the peer's news; it stays our peer until we are released. */
        poll_wait(pt, f, &peer->write_wait);
        events |= has_room(peer) ? POLLOUT | POLLWRNORM : 0;
    }
    if (peer) {
        unix_put(peer);
    }
    return events;
}

static int unix_error(struct socket *s)
{
    return take_error(unix_of(s));
}

static bool unix_is_listening(const struct socket *s)
{
    return container_of(s, const struct unix_socket, base)->state == UNIX_LISTENING;
}

static int unix_peer_credentials(const struct socket *s, struct socket_credentials *out)
{
    const struct unix_socket *u = container_of(s, const struct unix_socket, base);

    spin_lock(&unix_lock);
    if (u->state == UNIX_IDLE) {
        *out = (struct socket_credentials){ 0, UINT32_MAX, UINT32_MAX };
    } else {
        *out = u->peer_credentials;
    }
    spin_unlock(&unix_lock);
    return 0;
}

static uint32_t unix_unread(struct socket *s)
{
    struct unix_socket *u = unix_of(s);
    const struct unix_message *m = NULL;
    uint32_t bytes = 0;

    mutex_lock(&u->mutex);
    list_for_each_entry(m, &u->queue, link) {
        bytes += m->size - m->offset;
        if (s->type == SOCK_DGRAM) {
            break; /* the next one alone */
        }
    }
    mutex_unlock(&u->mutex);
    return bytes;
}

static void unix_release(struct socket *s);

/* Connections that nobody will accept any more. */
static void refuse_pending(struct unix_socket *u)
{
    for (;;) {
        struct unix_socket *fresh = NULL;

        spin_lock(&unix_lock);
        if (has_pending(u)) {
            fresh = list_first(&u->pending, struct unix_socket, pending_link);
            list_remove(&fresh->pending_link);
            u->pending_count--;
        }
        spin_unlock(&unix_lock);
        if (!fresh) {
            return;
        }
        spin_lock(&unix_lock);
        fresh->peer->error = ECONNRESET;
        spin_unlock(&unix_lock);
        unix_release(&fresh->base);
    }
}

static void unix_release(struct socket *s)
{
    struct unix_socket *u = unix_of(s);
    struct unix_socket *peer;
    bool has_unread;

    mutex_lock(&u->mutex);
    has_unread = has_message(u);
    spin_lock(&unix_lock);
    u->is_released = true;
    list_remove(&u->bound);
    peer = u->peer;
    if (peer && s->type != SOCK_DGRAM && has_unread) {
        peer->error = ECONNRESET;
    }
    spin_unlock(&unix_lock);
    mutex_unlock(&u->mutex);
    refuse_pending(u);
    /* Who waits for our room, or polls us for it, learns that there will be none. */
    wake_all(&u->write_wait, POLLOUT | POLLHUP);
    if (peer) {
        wake_all(&peer->read_wait, POLLIN | POLLHUP | POLLRDHUP);
    }
    flush_queue(u);
    spin_lock(&unix_lock);
    u->peer = NULL;
    u->state = UNIX_DISCONNECTED;
    spin_unlock(&unix_lock);
    if (peer) {
        unix_put(peer);
    }
    unix_put(u);
}

static const struct socket_ops unix_ops = {
    .bind = unix_bind,
    .listen = unix_listen,
    .accept = unix_accept,
    .connect = unix_connect,
    .name = unix_name,
    .send = unix_send,
    .receive = unix_receive,
    .shutdown = unix_shutdown,
    .poll = unix_poll,
    .error = unix_error,
    .is_listening = unix_is_listening,
    .peer_credentials = unix_peer_credentials,
    .unread = unix_unread,
    .release = unix_release,
};

const struct socket_family unix_family = {
    .family = AF_UNIX,
    .create = unix_create,
    .pair = unix_pair,
};
