/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device between a guest that drives its queues and programs of the host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/unix_socket.h>

#include "../file.h"
#include "../scenario.h"
#include "../vsock_guest.h"

#define PATH      "/run/vsock.sock"
#define STREAMS   8u
#define LIMIT_NS  (120u * SIM_NS_PER_SEC)
#define CHUNK_MAX 3000u
#define LINE_SIZE 32u

struct run {
    struct vguest g;
    bool is_lossy;  /* streams may end early */
    unsigned ended; /* of the host's programs */
    unsigned whole; /* that saw all their bytes */
};

static struct sim_random *chance(void)
{
    return sim_scenario_random();
}

static void plan(struct run *r, unsigned count, uint32_t most)
{
    for (unsigned i = 0; i < count; i++) {
        r->g.plans[i] = (struct vg_plan){ .to_guest = sim_random_below(chance(), most),
                                          .to_host = sim_random_below(chance(), most) };
    }
}

/* ---- A program of the host ---- */

struct end {
    struct run *run;
    unsigned number;
    int fd;
    uint32_t sent;
    uint32_t received;
    bool has_shut;
    bool is_over;
    uint64_t deadline_ns;
};

static void send_some(struct end *e)
{
    uint8_t bytes[CHUNK_MAX];
    uint32_t left = e->run->g.plans[e->number].to_guest - e->sent;
    uint32_t size = left == 0 ? 0 : 1 + sim_random_below(chance(), min_of(left, CHUNK_MAX));
    ssize_t n = 0;

    for (uint32_t i = 0; i < size; i++) {
        bytes[i] = vg_byte(e->number, false, e->sent + i);
    }
    n = size == 0 ? 0 : send(e->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        e->sent += (uint32_t)n;
    } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
        sim_check(e->run->is_lossy, "stream %u breaks: %s", e->number, strerror(errno));
        e->is_over = true;
    }
    if (e->sent == e->run->g.plans[e->number].to_guest && !e->has_shut) {
        e->has_shut = true;
        (void)shutdown(e->fd, SHUT_WR);
    }
}

static void receive_some(struct end *e)
{
    uint8_t bytes[CHUNK_MAX];
    size_t size = 1 + sim_random_below(chance(), CHUNK_MAX);
    ssize_t n = recv(e->fd, bytes, size, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        sim_check(bytes[i] == vg_byte(e->number, true, e->received + (uint32_t)i),
                  "stream %u to the host is another at byte %u", e->number,
                  e->received + (uint32_t)i);
    }
    if (n > 0) {
        e->received += (uint32_t)n;
        sim_check(e->received <= e->run->g.plans[e->number].to_host, "more than the guest sent");
        return;
    }
    e->is_over = true;
    sim_check(e->run->is_lossy || (n == 0 && e->received == e->run->g.plans[e->number].to_host),
              "stream %u ends after %u of %u bytes", e->number, e->received,
              e->run->g.plans[e->number].to_host);
}

/* Both directions at once, until the guest's end; then what is left is sent. */
static void converse(struct end *e)
{
    while (!e->is_over || (!e->has_shut && !e->run->is_lossy)) {
        struct pollfd p = { .fd = e->fd,
                            .events =
                                (short)((e->is_over ? 0 : POLLIN) | (e->has_shut ? 0 : POLLOUT)) };

        sim_check(sim_now_ns() < e->deadline_ns,
                  "I12: stream %u stands still: %u of %u sent, %u of %u received", e->number,
                  e->sent, e->run->g.plans[e->number].to_guest, e->received,
                  e->run->g.plans[e->number].to_host);
        (void)poll(&p, 1, 1000);
        if ((p.revents & POLLOUT) != 0 && !e->has_shut) {
            send_some(e);
        }
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !e->is_over) {
            receive_some(e);
        }
        if (sim_random_below(chance(), 10) == 0) {
            sim_sleep(sim_random_below(chance(), 5) * SIM_NS_PER_MS);
        }
    }
    e->run->whole += e->received == e->run->g.plans[e->number].to_host &&
                     e->sent == e->run->g.plans[e->number].to_guest;
}

/* The device's line, byte by byte: nothing of the stream is read. */
static bool greeted(const struct end *e)
{
    char line[LINE_SIZE] = "";

    for (unsigned n = 0; n < LINE_SIZE - 1 && strchr(line, '\n') == NULL;) {
        ssize_t r = read(e->fd, line + n, 1);

        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r <= 0) {
            return false;
        }
        n++;
    }
    sim_check(strncmp(line, "OK ", 3) == 0, "the device says '%s'", line);
    return true;
}

static bool greet(const struct end *e)
{
    char line[LINE_SIZE];
    int size = snprintf(line, sizeof(line), "CONNECT %u\n", VG_PORT_OF_HOST + e->number);

    for (int at = 0; at < size;) {
        int n = 1 + (int)sim_random_below(chance(), (uint32_t)(size - at));
        ssize_t r = send(e->fd, line + at, (size_t)n, MSG_NOSIGNAL);

        if (r < 0 && errno != EINTR) {
            return false;
        }
        at += r > 0 ? (int)r : 0;
    }
    return greeted(e);
}

static void one_of_host(unsigned index, void *ctx)
{
    struct run *run = ctx;
    struct end e = { .run = run, .number = index, .deadline_ns = sim_now_ns() + LIMIT_NS };

    e.fd = unix_connect(PATH, 0);
    for (unsigned i = 0; e.fd < 0 && i < 1000; i++) {
        sim_sleep(SIM_NS_PER_MS);
        e.fd = unix_connect(PATH, 0);
    }
    sim_check(e.fd >= 0, "nobody listens");
    if (greet(&e)) {
        converse(&e);
    } else {
        sim_check(run->is_lossy, "stream %u is refused", index);
    }
    (void)close(e.fd);
    run->ended++;
}

/* The other way: the guest connects to a socket of the host's. */
static void one_of_guest(unsigned index, void *ctx)
{
    struct run *run = ctx;
    struct end e = { .run = run, .number = index, .deadline_ns = sim_now_ns() + LIMIT_NS };
    char path[64];
    struct pollfd p = { .events = POLLIN };

    (void)snprintf(path, sizeof(path), PATH "_%u", VG_PORT_OF_PEER + index);
    p.fd = unix_listen(path, 0);
    sim_check(p.fd >= 0, "cannot listen at %s", path);
    vg_connect(&run->g, index);
    while (poll(&p, 1, 2000) < 0) {
    }
    if ((p.revents & POLLIN) != 0) {
        do {
            e.fd = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC);
        } while (e.fd < 0);
        converse(&e);
        (void)close(e.fd);
    } else {
        sim_check(run->is_lossy, "the guest's stream %u does not arrive", index);
    }
    (void)close(p.fd);
    (void)unlink(path);
    run->ended++;
}

static void one(unsigned index, void *ctx)
{
    if (index % 3 == 2) {
        one_of_guest(index, ctx);
    } else {
        one_of_host(index, ctx);
    }
}

/* Nothing is under way any more, on either side. */
static void settle(struct run *r)
{
    for (unsigned i = 0; i < 200 && virtio_vsock_connection_count(r->g.vsock) > 0; i++) {
        sim_sleep(50 * SIM_NS_PER_MS);
    }
    sim_check(virtio_vsock_connection_count(r->g.vsock) == 0, "%u connections are left",
              virtio_vsock_connection_count(r->g.vsock));
    sim_sleep(100 * SIM_NS_PER_MS); /* the guest hears of the last ones */
}

static void crowd(struct run *r, unsigned count, uint32_t most)
{
    plan(r, count, most);
    together(count, one, r);
    settle(r);
}

static void whole_crowd(unsigned count, uint32_t most)
{
    struct run r = { 0 };

    vg_start(&r.g, PATH);
    crowd(&r, count, most);
    sim_check(r.whole == count, "%u of %u streams are whole", r.whole, count);
    sim_check(r.g.finished == count, "the guest saw %u of %u", r.g.finished, count);
    sim_check(r.g.failures == 0, "the device complains");
    vg_stop(&r.g);
}

/* ---- Scenarios ---- */

static void both_ways(void)
{
    whole_crowd(STREAMS, 20000);
}

/* More than the device keeps for a connection: credit has to come back. */
static void large(void)
{
    whole_crowd(2, 700000);
}

static void empty(void)
{
    whole_crowd(STREAMS, 1);
}

static void in_pieces(void)
{
    fault(FAULT_SHORT_TRANSFER, .3);
    fault(FAULT_INTERRUPTED, .1);
    fault(FAULT_NET_DELAY, .02, .param = 30);
    fault(FAULT_NET_REORDER, .02);
    fault(FAULT_NET_PARTITION, .005, .param = 300);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        whole_crowd(STREAMS, 4000);
    }
}

struct disturber {
    struct run *run;
    void (*disturb)(struct run *run);
    unsigned most;
};

static void one_disturbed(unsigned index, void *ctx)
{
    struct disturber *d = ctx;

    if (index > 0) {
        one(index - 1, d->run);
        return;
    }
    for (unsigned i = 0; i < d->most && d->run->ended < STREAMS; i++) {
        sim_sleep((1 + sim_random_below(chance(), 30)) * SIM_NS_PER_MS);
        d->disturb(d->run);
    }
}

/* Streams that break off are beginnings of what they would have been; others come after them. */
static void disturbed(void (*disturb)(struct run *run))
{
    struct run r = { .is_lossy = true };
    struct disturber d = { .run = &r, .disturb = disturb, .most = 4 };

    vg_start(&r.g, PATH);
    plan(&r, STREAMS, 60000);
    together(STREAMS + 1, one_disturbed, &d);
    settle(&r);
    r.is_lossy = false;
    r.whole = 0;
    crowd(&r, STREAMS, 2000);
    sim_check(r.whole == STREAMS, "%u of %u streams are whole afterwards", r.whole, STREAMS);
    vg_stop(&r.g);
}

static void reset(struct run *r)
{
    virtio_vsock_reset(r->g.vsock);
}

static void resets(void)
{
    disturbed(reset);
}

static void restore(struct run *r)
{
    vg_pause(&r->g);
    vg_replace_device(&r->g);
    vg_resume(&r->g);
}

static void restores(void)
{
    disturbed(restore);
}

static void reset_driver(struct run *r)
{
    vg_pause(&r->g);
    loop_resume(&r->g.loop); /* a driver resets while the loop runs */
    vg_reset_driver(&r->g);
    r->g.wants_still = false;
    sim_wake_all(&r->g);
}

static void driver_resets(void)
{
    disturbed(reset_driver);
}

static void hang_up(struct run *r)
{
    virtio_vsock_hang_up(r->g.vsock);
    virtio_vsock_reset(r->g.vsock); /* so that the guest hears of it */
}

static void hang_ups(void)
{
    disturbed(hang_up);
}

static void socket_resets(void)
{
    fault(FAULT_VSOCK_RESET, .002, .op = OP_net_send);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        struct run r = { .is_lossy = true };

        vg_start(&r.g, PATH);
        crowd(&r, STREAMS, 30000);
        vg_stop(&r.g);
    }
}

static void little_memory(void)
{
    fault(FAULT_OUT_OF_MEMORY, .05);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        struct run r = { .is_lossy = true };

        sim_faults_pause(true);
        vg_start(&r.g, PATH);
        sim_faults_pause(false);
        crowd(&r, STREAMS, 400000 / (round + 1));
        vg_stop(&r.g);
    }
}

/* ---- The greeting ---- */

static void greetings(void)
{
    static const char *const wrong[] = {
        "\n",
        "CONNECT\n",
        "CONNECT \n",
        "CONNECT 5000x\n",
        "CONNECT 4294967295\n",
        "CONNECT 99999999999\n",
        "connect 5000\n",
        "GET / HTTP/1.1\r\n",
        "CONNECT 000000000000000000005000\n",
        "CONNECT 1\n", /* the guest does not listen there */
    };
    struct run r = { 0 };
    char c = 0;

    vg_start(&r.g, PATH);
    for (unsigned i = 0; i < array_size(wrong); i++) {
        int fd = unix_connect(PATH, 0);

        sim_check(write(fd, wrong[i], strlen(wrong[i])) > 0, "not taken");
        sim_check(read(fd, &c, 1) <= 0, "'%s' is answered", wrong[i]);
        (void)close(fd);
    }
    for (size_t cut = 0; cut <= strlen("CONNECT 5000"); cut++) { /* gone at each byte */
        int fd = unix_connect(PATH, 0);

        sim_check(write(fd, "CONNECT 5000", cut) == (ssize_t)cut, "not taken");
        if (sim_random_below(chance(), 2) == 0) {
            sim_sleep(SIM_NS_PER_MS);
        }
        (void)close(fd);
    }
    settle(&r);
    crowd(&r, 3, 1000);
    sim_check(r.whole == 3, "%u of 3 streams are whole", r.whole);
    vg_stop(&r.g);
}

/* More programs than there are descriptors: who finds no room is refused or waits, and nobody
 * spins; those that were there go on. */
static void flood(void)
{
    static int fds[2048];
    struct run r = { 0 };
    unsigned count = 0;
    int fd = 0;

    vg_start(&r.g, PATH);
    while (fd >= 0 && count < array_size(fds)) {
        fd = unix_connect(PATH, 0);
        if (fd == -EAGAIN) { /* the queue is full: the device has to run */
            sim_sleep(SIM_NS_PER_MS);
            fd = 0;
        } else if (fd >= 0) {
            fds[count++] = fd;
        }
    }
    sim_sleep(2 * SIM_NS_PER_SEC);
    while (count > 0) {
        (void)close(fds[--count]);
    }
    settle(&r);
    crowd(&r, 3, 1000);
    sim_check(r.whole == 3, "%u of 3 streams are whole after the flood", r.whole);
    vg_stop(&r.g);
}

/* ---- A hostile guest ---- */

static uint32_t pick(const uint32_t *values, uint32_t count)
{
    return sim_random_below(chance(), 4) == 0 ? sim_random_u32(chance())
                                              : values[sim_random_below(chance(), count)];
}

#define PICK(...)                                                                                  \
    pick((const uint32_t[]){ __VA_ARGS__ },                                                        \
         (uint32_t)array_size(((const uint32_t[]){ __VA_ARGS__ })))

static void wild_packet(struct vguest *g)
{
    uint8_t bytes[1024];
    uint32_t size = 44;
    struct virtio_vsock_hdr h = {
        .src_cid = PICK(VG_CID, VG_CID, VG_CID, 2, 0),
        .dst_cid = PICK(2, 2, 2, VG_CID, 1),
        .src_port = PICK(5000, 5001, 20002, 20005),
        .dst_port = PICK(1u << 30, (1u << 30) + 1, (1u << 30) + 2, 7002, 7005, 1),
        .len = PICK(0, 1, 100, 65536, UINT32_MAX),
        .type = (uint16_t)PICK(1, 1, 1, 2, 0),
        .op = (uint16_t)sim_random_below(chance(), 9),
        .flags = PICK(0, 1, 2, 3),
        .buf_alloc = PICK(0, 1, 4096, UINT32_MAX),
        .fwd_cnt = PICK(0, 1, 1000, UINT32_MAX),
    };

    sim_random_fill(chance(), bytes, sizeof(bytes));
    memcpy(bytes, &h, sizeof(h));
    size += sim_random_below(chance(), 3) == 0 ? sim_random_below(chance(), 900) : h.len % 900;
    if (sim_random_below(chance(), 50) == 0) {
        size = sim_random_below(chance(), 44);
    }
    vg_send_raw(g, bytes, size);
}

/* The rings themselves: anything at any place of the first queues. */
static void wild_ring(struct vguest *g)
{
    uint32_t at = 0x4000u + sim_random_below(chance(), 3 * 0x4000u);

    for (unsigned i = 0; i < 8; i++) {
        g->ram[at + i] = (uint8_t)sim_random_u32(chance());
    }
    vg_kick(g, sim_random_below(chance(), 4));
}

static void wild_register(struct vguest *g)
{
    g->window.write(g->window.device, (uint64_t)sim_random_below(chance(), 0x40) * 4, 4,
                    PICK(0, 1, 2, 3, 64, 128));
}

static void hostile(void)
{
    struct run r = { .is_lossy = true };

    vg_start(&r.g, PATH);
    for (unsigned round = 0; round < 10; round++) {
        int fds[4];

        plan(&r, 4, 1000);
        for (unsigned i = 0; i < array_size(fds); i++) {
            fds[i] = unix_connect(PATH, 0);
            if (fds[i] >= 0) {
                (void)send(fds[i], "CONNECT 5000\n", 13, MSG_NOSIGNAL | MSG_DONTWAIT);
            }
        }
        sim_sleep(20 * SIM_NS_PER_MS);
        vg_pause(&r.g);
        loop_resume(&r.g.loop);
        r.g.is_hostile = true;
        for (unsigned i = 0; i < 200; i++) {
            unsigned what = sim_random_below(chance(), 200);

            if (what == 0) {
                wild_ring(&r.g);
            } else if (what == 1) {
                wild_register(&r.g);
            } else {
                wild_packet(&r.g);
            }
            if (i % 20 == 0) {
                sim_sleep(SIM_NS_PER_MS);
            }
        }
        r.g.is_hostile = false;
        vg_reset_driver(&r.g);
        r.g.wants_still = false;
        sim_wake_all(&r.g);
        for (unsigned i = 0; i < array_size(fds); i++) {
            if (fds[i] >= 0) {
                (void)close(fds[i]);
            }
        }
    }
    settle(&r);
    r.is_lossy = false;
    r.whole = 0;
    crowd(&r, STREAMS, 2000);
    sim_check(r.whole == STREAMS, "%u of %u streams are whole afterwards", r.whole, STREAMS);
    vg_stop(&r.g);
}

const struct scenario scenarios_vsock[] = {
    { "vsock", "streams-both-ways", 0, both_ways, EACH },
    { "vsock", "large-streams", 0, large, SOME },
    { "vsock", "empty-streams", 0, empty, EACH },
    { "vsock", "streams-in-pieces", 0, in_pieces, EACH },
    { "vsock", "transport-resets", 0, resets, SOME },
    { "vsock", "restores-in-mid-stream", 0, restores, SOME },
    { "vsock", "driver-resets", 0, driver_resets, EACH },
    { "vsock", "hang-ups", 0, hang_ups, EACH },
    { "vsock", "socket-resets", 0, socket_resets, SOME },
    { "vsock", "little-memory", 0, little_memory, SOME },
    { "vsock", "greetings", 0, greetings, EACH },
    { "vsock", "connection-flood", 0, flood, SOME },
    { "vsock", "hostile-guest", 0, hostile, SOME },
    { 0 },
};
