/* SPDX-License-Identifier: Apache-2.0 */
/* The control API: what one client sees, and what clients can do to each other and the monitor. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"

#define TEXT_SIZE  4096u
#define CLIENTS    6u
#define SERVED_MAX 10u /* connections at once (docs/control-api.md) */

const char api_machine_body[] = "{\"vcpu_count\":2,\"mem_size_mib\":4}";
const char api_boot_body[] = "{\"kernel_image_path\":\"/images/kernel.elf\"}";
const char api_start_body[] = "{\"action_type\":\"InstanceStart\"}";
const char api_paused_body[] = "{\"state\":\"Paused\"}";
const char api_resumed_body[] = "{\"state\":\"Resumed\"}";
const char api_create_body[] =
    "{\"snapshot_path\":\"/tmp/vm.state\",\"mem_file_path\":\"/tmp/vm.mem\"}";
const char api_load_body[] = "{\"snapshot_path\":\"/tmp/vm.state\",\"mem_backend\":{"
                             "\"backend_type\":\"File\",\"backend_path\":\"/tmp/vm.mem\"}}";
static const char stop_body[] = "{\"grace_ms\":0}";

void api_begin(struct api_monitor *m)
{
    api_monitor_init(m, API_SOCKET);
    api_monitor_start(m);
}

void api_open(struct api_client *c)
{
    sim_check(api_connect(c, API_SOCKET), "nobody listens at %s", API_SOCKET);
}

/* By a signal, as whoever runs the monitor ends it. */
void api_terminate(struct api_monitor *m)
{
    sim_signal_raise(sim_proc_current(), API_TERM);
    api_monitor_wait(m, DRUPE_CONTROL_OK);
}

void api_configure(struct api_client *c)
{
    api_must(c, 204, "PUT", "/machine-config", api_machine_body);
    api_must(c, 204, "PUT", "/boot-source", api_boot_body);
}

static void must_show(struct api_client *c, const char *state)
{
    struct api_answer a;
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "\"state\":\"%s\"", state);
    sim_check(api_ask(c, "GET", "/", NULL, &a) && a.status == 200, "GET / fails");
    sim_check(strstr(a.body, wanted) != NULL, "not %s: %s", state, a.body);
}

/* ---- One client ---- */

static void session(void)
{
    struct api_monitor m;
    struct api_client c;

    api_begin(&m);
    api_open(&c);
    must_show(&c, "Not started");
    api_must(&c, 400, "PUT", "/actions", api_start_body);
    api_must(&c, 400, "PATCH", "/vm", api_paused_body);
    api_configure(&c);
    api_must(&c, 204, "PUT", "/vsock", "{\"guest_cid\":3,\"uds_path\":\"/run/v.sock\"}");
    api_must(&c, 204, "PUT", "/actions", api_start_body);
    must_show(&c, "Running");
    api_must(&c, 400, "PUT", "/actions", api_start_body);
    api_must(&c, 400, "PUT", "/machine-config", api_machine_body);
    api_must(&c, 400, "PUT", "/snapshot/create", api_create_body);
    api_must(&c, 204, "PATCH", "/vm", api_paused_body);
    must_show(&c, "Paused");
    api_must(&c, 204, "PATCH", "/vm", api_paused_body);
    api_must(&c, 204, "PUT", "/snapshot/create", api_create_body);
    must_show(&c, "Paused");
    api_must(&c, 204, "PATCH", "/vm", api_resumed_body);
    api_must(&c, 200, "GET", "/drupe/stats", NULL);
    api_must(&c, 204, "PUT", "/drupe/stop", stop_body);
    api_hang_up(&c);
    api_monitor_wait(&m, DRUPE_CONTROL_OK);
    sim_disk_remove("/run/v.sock");

    api_begin(&m);
    api_open(&c);
    api_must(&c, 204, "PUT", "/snapshot/load", api_load_body);
    must_show(&c, "Paused");
    api_must(&c, 204, "PATCH", "/vm", api_resumed_body);
    must_show(&c, "Running");
    api_hang_up(&c);
    api_terminate(&m);
}

/* A model of what a client may do, walked at random. */
static void walk(void)
{
    static const struct {
        const char *method;
        const char *path;
        const char *body;
    } moves[] = {
        { "PUT", "/actions", api_start_body },
        { "PATCH", "/vm", api_paused_body },
        { "PATCH", "/vm", api_resumed_body },
        { "PUT", "/snapshot/create", api_create_body },
        { "PUT", "/machine-config", api_machine_body },
        { "GET", "/vm/config", NULL },
        { "GET", "/machine-config", NULL },
        { "PUT", "/snapshot/load", "{}" },
        { "PUT", "/drupe/signal", "{\"signal\":0}" },
        { "GET", "/drupe/stats", NULL },
    };

    /* Rows: not started, running, paused. 2: success, 4: refused. */
    static const char answers[3][array_size(moves) + 1] = { "2444222444", "4224422442",
                                                            "4222422442" };
    static const char *const names[] = { "Not started", "Running", "Paused" };
    struct api_monitor m;
    struct api_client c;
    struct api_answer a;
    unsigned state = 0;

    api_begin(&m);
    api_open(&c);
    api_configure(&c);
    for (unsigned step = 0; step < 60; step++) {
        unsigned i = sim_random_below(sim_scenario_random(), array_size(moves));
        unsigned wanted = (unsigned)(answers[state][i] - '0');

        sim_check(api_ask(&c, moves[i].method, moves[i].path, moves[i].body, &a), "no answer");
        sim_check(a.status / 100 == wanted, "%s %s when %s: %u: %s", moves[i].method, moves[i].path,
                  names[state], a.status, a.body);
        if (wanted == 2 && i <= 2) {
            state = i == 1 ? 2 : 1;
        }
        must_show(&c, names[state]);
    }
    api_hang_up(&c);
    api_terminate(&m);
}

/* ---- Bytes ---- */

/* One request cut in two at each byte: the answer is the same. */
static void cut_at_each_byte(void)
{
    static const char *const bodies[] = { NULL, "{\"state\":\"Paused\"}" };
    struct api_monitor m;
    struct api_client c;
    struct api_answer a;

    api_begin(&m);
    api_open(&c);
    for (unsigned kind = 0; kind < array_size(bodies); kind++) {
        char text[TEXT_SIZE];
        size_t size = api_request(text, sizeof(text), kind == 0 ? "GET" : "PATCH",
                                  kind == 0 ? "/version" : "/vm", bodies[kind]);

        for (size_t cut = 1; cut < size; cut++) {
            sim_check(write(c.fd, text, cut) == (ssize_t)cut, "the first half is not taken");
            sim_sleep(SIM_NS_PER_MS);
            sim_check(write(c.fd, text + cut, size - cut) == (ssize_t)(size - cut),
                      "the second half is not taken");
            sim_check(api_receive(&c, &a, false) && a.status == (kind == 0 ? 200 : 400),
                      "cut at %zu: %u", cut, a.status);
        }
    }
    api_hang_up(&c);
    api_terminate(&m);
}

/* A client that goes away at each byte, with descriptors on the way: nothing is left of it. */
static void gone_at_each_byte(void)
{
    struct api_monitor m;
    struct api_client steady;
    struct sim_held before;
    struct sim_held after;
    char text[TEXT_SIZE];
    size_t size = api_request(text, sizeof(text), "PUT", "/boot-source", api_boot_body);

    api_begin(&m);
    api_open(&steady);
    api_must(&steady, 200, "GET", "/", NULL);
    sim_proc_held(sim_proc_current(), &before);
    for (size_t cut = 0; cut < size; cut++) {
        int file = open("/images/kernel.elf", O_RDONLY | O_CLOEXEC);
        struct api_client c;

        api_open(&c);
        (void)api_send_with(&c, text, cut, &file, cut > 0 ? 1 : 0);
        (void)close(file);
        api_hang_up(&c);
        sim_sleep(10 * SIM_NS_PER_MS);
        api_must(&steady, 200, "GET", "/version", NULL);
        sim_proc_held(sim_proc_current(), &after);
        sim_check(after.fds == before.fds && after.allocations == before.allocations,
                  "I9: a client that went at byte %zu left %u descriptors, %u allocations", cut,
                  after.fds - before.fds, after.allocations - before.allocations);
    }
    api_hang_up(&steady);
    api_terminate(&m);
}

/* Bytes that are no request, and requests with bits flipped: others are served on. */
static void garbage(void)
{
    struct api_monitor m;
    struct api_client steady;

    api_begin(&m);
    api_open(&steady);
    for (unsigned round = 0; round < 40; round++) {
        struct sim_random *random = sim_scenario_random();
        struct api_client c;
        struct api_answer a;
        char text[TEXT_SIZE];
        size_t size = api_request(text, sizeof(text), "PUT", "/machine-config", api_machine_body);

        if (sim_random_below(random, 3) == 0) {
            size = 1 + sim_random_below(random, sizeof(text) - 1);
            sim_random_fill(random, text, size);
        } else {
            for (unsigned flips = 1 + sim_random_below(random, 3); flips > 0; flips--) {
                uint32_t at = sim_random_below(random, (uint32_t)size);

                text[at] = (char)(uint8_t)(text[at] ^ 1 << sim_random_below(random, 7));
            }
        }
        api_open(&c);
        if (api_send(&c, text, size) && shutdown(c.fd, SHUT_WR) == 0) {
            while (api_receive(&c, &a, true)) {
                sim_check(a.status == 204 || a.status == 400 || a.status == 100, "status %u",
                          a.status);
            }
        }
        api_hang_up(&c);
        api_must(&steady, 200, "GET", "/", NULL);
    }
    api_hang_up(&steady);
    api_terminate(&m);
}

/* ---- Order ---- */

struct crowd {
    unsigned requests;
    bool may_break;
};

/* Requests that carry their number, and answers that repeat it. */
static size_t numbered_request(char *out, size_t size, unsigned client, unsigned number)
{
    char path[64];

    (void)snprintf(path, sizeof(path), "/snapshot/c%u-%u", client, number);
    return api_request(out, size, "PUT", path, "{}");
}

static bool is_numbered(const struct api_answer *a, unsigned client, unsigned number)
{
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "/snapshot/c%u-%u.", client, number);
    return a->status == 400 && strstr(a->body, wanted) != NULL;
}

/* A client that does not wait: a batch of requests, then the answers, in order, none missing. */
static void one_of_crowd(unsigned index, void *ctx)
{
    const struct crowd *crowd = ctx;
    struct api_client c;
    struct api_answer a;
    char text[TEXT_SIZE];
    unsigned sent = 0;
    unsigned answered = 0;

    api_open(&c);
    while (answered < crowd->requests) {
        unsigned batch = 1 + sim_random_below(sim_scenario_random(), 8);
        size_t size = 0;

        for (; batch > 0 && sent < crowd->requests; batch--) {
            size += numbered_request(text + size, sizeof(text) - size, index, sent++);
        }
        if (!api_send(&c, text, size)) {
            sim_check(crowd->may_break, "client %u lost its connection", index);
            break;
        }
        while (answered < sent && api_receive(&c, &a, false)) {
            sim_check(is_numbered(&a, index, answered), "client %u, request %u: %u %s", index,
                      answered, a.status, a.body);
            answered++;
        }
        if (answered < sent) {
            sim_check(crowd->may_break, "client %u: %u of %u answers", index, answered, sent);
            break;
        }
    }
    api_hang_up(&c);
}

static void crowded(const struct crowd *crowd, unsigned clients)
{
    struct api_monitor m;

    api_begin(&m);
    together(clients, one_of_crowd, (void *)(uintptr_t)crowd);
    api_terminate(&m);
}

static void in_order(void)
{
    crowded(&(struct crowd){ .requests = 60 }, CLIENTS);
}

static void in_order_in_pieces(void)
{
    api_allow_breaks(true);
    fault(FAULT_SHORT_TRANSFER, .3);
    fault(FAULT_INTERRUPTED, .2);
    fault(FAULT_NET_DELAY, .01, .param = 20);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        crowded(&(struct crowd){ .requests = 12 }, CLIENTS);
    }
}

static void in_order_with_resets(void)
{
    api_allow_breaks(true);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        if (round == 1) {
            fault(FAULT_VSOCK_RESET, .01, .op = OP_net_send);
            fault(FAULT_NET_JITTER, .1, .param = 5);
        }
        crowded(&(struct crowd){ .requests = 30, .may_break = true }, CLIENTS);
    }
}

/* More clients than are served: who is too many is told so, and served when others have gone. */
static void too_many(void)
{
    struct api_monitor m;
    struct api_client clients[SERVED_MAX];
    struct api_client extra;
    struct api_answer a;

    api_begin(&m);
    for (unsigned i = 0; i < SERVED_MAX; i++) {
        api_open(&clients[i]);
        api_must(&clients[i], 200, "GET", "/", NULL);
    }
    api_open(&extra);
    sim_check(api_receive(&extra, &a, false) && a.status == 503, "the eleventh is not refused");
    sim_check(!api_receive(&extra, &a, false), "the eleventh is kept");
    api_hang_up(&extra);
    api_hang_up(&clients[3]);
    sim_sleep(10 * SIM_NS_PER_MS);
    api_open(&extra);
    api_must(&extra, 200, "GET", "/version", NULL);
    api_hang_up(&extra);
    for (unsigned i = 0; i < SERVED_MAX; i++) {
        api_hang_up(&clients[i]);
    }
    api_terminate(&m);
}

/* A process without a free descriptor refuses who comes, and does not spin meanwhile. */
static void no_descriptor_left(void)
{
    static int files[2048];
    unsigned count = 0;
    struct api_monitor m;
    struct api_client steady;
    struct api_client late;
    struct api_answer a;

    api_begin(&m);
    api_open(&steady);
    api_must(&steady, 200, "GET", "/", NULL);
    for (int fd = 0; fd >= 0 && count < array_size(files); count++) {
        fd = open("/images/disk.img", O_RDONLY | O_CLOEXEC);
        files[count] = fd;
    }
    count--;
    sim_check(files[count] < 0, "descriptors have no end");
    (void)close(files[--count]); /* for the client's own end */
    api_open(&late);
    sim_check(api_receive(&late, &a, false), "no answer");
    sim_check(a.status == 503, "not refused: %u", a.status);
    sim_sleep(SIM_NS_PER_SEC);
    api_must(&steady, 200, "GET", "/version", NULL);
    api_hang_up(&late);
    while (count > 0) {
        (void)close(files[--count]);
    }
    api_open(&late);
    api_must(&late, 200, "GET", "/", NULL);
    api_hang_up(&late);
    api_hang_up(&steady);
    api_terminate(&m);
}

/* A client that asks and does not read is not read from for ever, and stops nobody else. */
static void deaf_client(void)
{
    struct api_monitor m;
    struct api_client deaf;
    struct api_client other;
    struct api_answer a;
    char text[256];
    unsigned sent = 0;
    unsigned answered = 0;
    int flags = 0;

    api_begin(&m);
    api_open(&deaf);
    api_open(&other);
    flags = fcntl(deaf.fd, F_GETFL);
    sim_check(fcntl(deaf.fd, F_SETFL, flags | O_NONBLOCK) == 0, "fcntl");
    for (unsigned idle = 0; idle < 20 && sent < 20000;) {
        size_t size = numbered_request(text, sizeof(text), 0, sent);
        ssize_t n = write(deaf.fd, text, size);

        idle = n == (ssize_t)size ? 0 : idle + 1;
        sent += n == (ssize_t)size ? 1 : 0;
        if (n > 0 && (size_t)n < size) { /* the rest of it when there is room */
            for (size_t at = (size_t)n; at < size;) {
                n = write(deaf.fd, text + at, size - at);
                at += n > 0 ? (size_t)n : 0;
                if (n <= 0) {
                    api_must(&other, 200, "GET", "/version", NULL);
                    sim_check(api_receive(&deaf, &a, false), "no answer");
                    sim_check(is_numbered(&a, 0, answered++), "out of order: %s", a.body);
                }
            }
            sent++;
            break;
        }
        if (n < 0) {
            sim_sleep(SIM_NS_PER_MS);
        }
    }
    sim_check(sent < 20000, "the server reads without an end");
    api_must(&other, 200, "GET", "/", NULL);
    sim_check(fcntl(deaf.fd, F_SETFL, flags) == 0, "fcntl");
    while (answered < sent) {
        sim_check(api_receive(&deaf, &a, false), "answer %u of %u is missing", answered, sent);
        sim_check(is_numbered(&a, 0, answered++), "out of order: %s", a.body);
    }
    api_hang_up(&deaf);
    api_hang_up(&other);
    api_terminate(&m);
}

/* ---- Descriptors ---- */

static void drive_body(char *out, size_t size, const char *id, const char *path)
{
    (void)snprintf(out, size,
                   "{\"drive_id\":\"%s\",\"is_root_device\":false,\"is_read_only\":true,"
                   "\"path_on_host\":\"%s\"}",
                   id, path);
}

static void put_drive_with(struct api_client *c, const char *id, const char *path, unsigned count,
                           unsigned status)
{
    char body[256];
    char request[TEXT_SIZE];
    char target[64];
    struct api_answer a;
    int fds[20];
    size_t size = 0;

    drive_body(body, sizeof(body), id, path);
    (void)snprintf(target, sizeof(target), "/drives/%s", id);
    size = api_request(request, sizeof(request), "PUT", target, body);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = open("/images/disk.img", O_RDONLY | O_CLOEXEC);
        sim_check(fds[i] >= 0, "open");
    }
    sim_check(api_send_with(c, request, size, fds, count) && api_receive(c, &a, false),
              "no answer");
    for (unsigned i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
    sim_check(a.status == status, "%u descriptors, %s: %u %s", count, path, a.status, a.body);
}

static void descriptors(void)
{
    struct api_monitor m;
    struct api_client c;

    api_begin(&m);
    api_open(&c);
    put_drive_with(&c, "a", "fd:0", 0, 400);
    put_drive_with(&c, "a", "fd:0", 1, 204);
    put_drive_with(&c, "b", "fd:1", 1, 400);
    put_drive_with(&c, "b", "fd:0", 0, 400); /* those of the request before are gone */
    put_drive_with(&c, "b", "fd:15", 16, 204);
    put_drive_with(&c, "c", "fd:16", 20, 400); /* more than are taken */
    put_drive_with(&c, "c", "fd:-1", 2, 400);
    put_drive_with(&c, "c", "fd:0x0", 2, 400);
    put_drive_with(&c, "a", "fd:0", 1, 204); /* in place of the one that it had */
    api_configure(&c);
    api_must(&c, 204, "PUT", "/actions", api_start_body);
    api_must(&c, 204, "PATCH", "/vm", api_paused_body);
    api_hang_up(&c);
    api_terminate(&m);
}

const struct scenario scenarios_api[] = {
    { "api", "session", 0, session, EACH },
    { "api", "random-walk", 0, walk, EACH },
    { "api", "request-cut-at-each-byte", 0, cut_at_each_byte, SOME },
    { "api", "client-gone-at-each-byte", 0, gone_at_each_byte, SOME },
    { "api", "garbage", 0, garbage, EACH },
    { "api", "answers-in-order", 0, in_order, EACH },
    { "api", "answers-in-order-in-pieces", 0, in_order_in_pieces, EACH },
    { "api", "answers-in-order-with-resets", 0, in_order_with_resets, EACH },
    { "api", "too-many-clients", 0, too_many, EACH },
    { "api", "no-descriptor-left", 0, no_descriptor_left, SOME },
    { "api", "deaf-client", 0, deaf_client, SOME },
    { "api", "descriptors", 0, descriptors, EACH },
    { 0 },
};
