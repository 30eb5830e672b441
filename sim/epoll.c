/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll over simulated descriptors. Level-triggered entries look at what holds now; edge-triggered
 * ones at the file's `activity`, which moves whenever Linux would wake a waiter. An entry goes with
 * the last reference to its file.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "file.h"
#include "internal.h"
#include "wrap.h"

struct entry {
    struct sim_file *file; /* not a reference; NULL: free */
    int fd;
    struct epoll_event wanted;
    bool has_told; /* edge-triggered: at `told` */
    uint64_t told;
};

struct epoll {
    struct sim_file file;
    struct epoll *next;
    struct entry *entries;
    unsigned count;
};

static struct epoll *epolls;

static struct epoll *epoll_of(struct sim_file *f)
{
    return (struct epoll *)f;
}

void sim_epoll_init(void)
{
    epolls = NULL; /* those of a world that failed went with its files */
}

void sim_epoll_forget(const struct sim_file *f)
{
    for (struct epoll *e = epolls; e != NULL; e = e->next) {
        for (unsigned i = 0; i < e->count; i++) {
            if (e->entries[i].file == f) {
                e->entries[i].file = NULL;
            }
        }
    }
}

static uint64_t activity_of(struct sim_file *f)
{
    return f->ops->activity == NULL ? 0 : f->ops->activity(f);
}

/* The events that it has to tell of; 0: none. */
static uint32_t ready_events(const struct entry *t)
{
    uint32_t wanted = t->wanted.events | EPOLLERR | EPOLLHUP;
    uint32_t now = 0;

    if (t->file == NULL) {
        return 0;
    }
    now = (uint32_t)(uint16_t)t->file->ops->poll(t->file) & wanted;
    if (now != 0 && (t->wanted.events & EPOLLET) != 0 && t->has_told &&
        activity_of(t->file) == t->told) {
        return 0;
    }
    return now;
}

static short epoll_poll(struct sim_file *f)
{
    const struct epoll *e = epoll_of(f);

    for (unsigned i = 0; i < e->count; i++) {
        if (ready_events(&e->entries[i]) != 0) {
            return POLLIN;
        }
    }
    return 0;
}

static uint64_t epoll_ready_ns(struct sim_file *f)
{
    const struct epoll *e = epoll_of(f);
    uint64_t at_ns = SIM_FOREVER;

    for (unsigned i = 0; i < e->count; i++) {
        struct sim_file *of = e->entries[i].file;

        if (of != NULL && of->ops->ready_ns != NULL) {
            at_ns = min_of(at_ns, of->ops->ready_ns(of));
        }
    }
    return at_ns;
}

static void epoll_close(struct sim_file *f)
{
    struct epoll **at = &epolls;

    while (*at != epoll_of(f)) {
        at = &(*at)->next;
    }
    *at = epoll_of(f)->next;
    sim_free(epoll_of(f)->entries);
    sim_free(f);
}

static const struct sim_file_ops epoll_ops = {
    .kind = "epoll", .poll = epoll_poll, .ready_ns = epoll_ready_ns, .close = epoll_close
};

WRAP(int, epoll_create1)(int flags)
{
    struct epoll *e = NULL;

    (void)flags;
    sim_step();
    e = sim_calloc(1, sizeof(*e));
    e->file = (struct sim_file){ .ops = &epoll_ops, .refs = 1, .flags = O_RDWR };
    e->next = epolls;
    epolls = e;
    return (int)sim_result_of(sim_fd_install(&e->file));
}

static struct entry *find(struct epoll *e, const struct sim_file *f, int fd)
{
    for (unsigned i = 0; i < e->count; i++) {
        if (e->entries[i].file == f && (f == NULL || e->entries[i].fd == fd)) {
            return &e->entries[i];
        }
    }
    return NULL;
}

static struct entry *add(struct epoll *e)
{
    struct entry *t = find(e, NULL, -1);

    if (t == NULL) {
        e->entries = sim_grow(e->entries, (e->count + 1) * sizeof(*t));
        t = &e->entries[e->count++];
    }
    return t;
}

static int control(int epoll_fd, int op, int fd, const struct epoll_event *event)
{
    struct sim_file *at = sim_fd_get(epoll_fd);
    struct sim_file *f = sim_fd_get(fd);
    struct entry *t = NULL;

    if (at == NULL || f == NULL) {
        return -EBADF;
    }
    if (at->ops != &epoll_ops || f == at) {
        return -EINVAL;
    }
    if (f->ops->stat != NULL) {
        return -EPERM; /* what is always ready */
    }
    t = find(epoll_of(at), f, fd);
    if ((t == NULL) != (op == EPOLL_CTL_ADD)) {
        return t == NULL ? -ENOENT : -EEXIST;
    }
    if (op == EPOLL_CTL_DEL) {
        t->file = NULL;
        return 0;
    }
    t = t == NULL ? add(epoll_of(at)) : t;
    *t = (struct entry){ .file = f, .fd = fd, .wanted = *event };
    sim_files_changed();
    return 0;
}

WRAP(int, epoll_ctl)(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    sim_step();
    return (int)sim_result_of(control(epoll_fd, op, fd, event));
}

/* In an order of the seed's. */
static int collect(struct epoll *e, struct epoll_event *events, int most)
{
    unsigned start = e->count > 1 ? sim_random_below(sim_net_random(), e->count) : 0;
    int n = 0;

    for (unsigned i = 0; i < e->count && n < most; i++) {
        struct entry *t = &e->entries[(start + i) % e->count];
        uint32_t now = ready_events(t);

        if (now != 0) {
            events[n] = t->wanted;
            events[n++].events = now;
            t->has_told = true;
            t->told = activity_of(t->file);
        }
    }
    return n;
}

WRAP(int, epoll_wait)(int epoll_fd, struct epoll_event *events, int most, int timeout_ms)
{
    struct sim_file *f = sim_fd_get(epoll_fd);
    uint64_t deadline_ns =
        timeout_ms < 0 ? SIM_FOREVER : sim_now_ns() + (uint64_t)timeout_ms * SIM_NS_PER_MS;

    sim_step();
    if (f == NULL || f->ops != &epoll_ops || most <= 0) {
        return (int)sim_result_of(f == NULL ? -EBADF : -EINVAL);
    }
    for (;;) {
        struct pollfd p = { .fd = epoll_fd, .events = POLLIN };
        int n = collect(epoll_of(f), events, most);

        if (n > 0 || sim_now_ns() >= deadline_ns) {
            return n;
        }
        uint64_t left_ms = (deadline_ns - sim_now_ns() + SIM_NS_PER_MS - 1) / SIM_NS_PER_MS;

        if (poll(&p, 1, deadline_ns == SIM_FOREVER ? -1 : (int)left_ms) < 0) {
            return -1; /* interrupted */
        }
    }
}
