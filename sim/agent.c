/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>
#include <base/bytes.h>
#include <base/clock.h>
#include <base/fmt.h>

#include "error.h"
#include "fault.h"

#define PIECE      (32u << 10)
#define LINE_SIZE  32u
#define KILL       9
#define TERM       15
#define BUILD_NAME "sim"

static void *connection_main(void *arg);

static void wait_locked(struct sim_agent *a, uint64_t until_ns)
{
    const struct timespec until = clock_timespec(until_ns);

    if (until_ns == SIM_FOREVER) {
        (void)pthread_cond_wait(&a->changed, &a->lock);
    } else {
        (void)pthread_cond_timedwait(&a->changed, &a->lock, &until);
    }
}

/* ---- Frames ---- */

static bool write_all(int fd, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    while (size > 0) {
        ssize_t n = write(fd, at, size);

        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *bytes, size_t size)
{
    uint8_t *at = bytes;

    while (size > 0) {
        ssize_t n = read(fd, at, size);

        if (n <= 0) {
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool agent_send(struct connection *c, unsigned type, unsigned flags, unsigned stream,
                const void *payload, size_t size)
{
    uint8_t *frame = sim_calloc(1, AGENT_HEADER_SIZE + size);
    bool is_sent = false;

    store_be32(frame, (uint32_t)(AGENT_LENGTH_MIN + size));
    frame[4] = (uint8_t)type;
    frame[5] = (uint8_t)flags;
    store_be16(frame + 6, (uint16_t)stream);
    if (size > 0) {
        memcpy(frame + AGENT_HEADER_SIZE, payload, size);
    }
    if (sim_fault_draw(OP_agent_answer, SIM_KIND(AGENT_GARBAGE), NULL) != SIM_FAULT_NONE) {
        sim_random_fill(sim_net_random(), frame, AGENT_HEADER_SIZE);
    }
    (void)pthread_mutex_lock(&c->send_lock);
    is_sent = c->is_deaf || write_all(c->fd, frame, AGENT_HEADER_SIZE + size);
    (void)pthread_mutex_unlock(&c->send_lock);
    sim_free(frame);
    return is_sent;
}

void agent_refuse(struct connection *c, unsigned stream, uint32_t code, const char *text)
{
    uint8_t payload[128];
    size_t size = strnlen(text, sizeof(payload) - 4);

    store_be32(payload, code);
    memcpy(payload + 4, text, size);
    (void)!agent_send(c, AGENT_ERROR, 0, stream, payload, 4 + size);
}

/* ---- Processes ---- */

static struct process *find_locked(struct connection *c, unsigned stream)
{
    struct process *p = NULL;

    list_for_each_entry(p, &c->processes, link) {
        if (p->stream == stream) {
            return p;
        }
    }
    return NULL;
}

/* Time limits and signals become death; true: it is dead. */
static bool is_dead_locked(struct process *p)
{
    uint64_t end_ns = p->began_ns + p->timeout_ms * SIM_NS_PER_MS;
    uint64_t now_ns = clock_ns();

    if (p->timeout_ms != 0 && now_ns >= end_ns) {
        p->is_timed_out = true;
        p->signals |= 1u << (TERM - 1);
        if (now_ns >= end_ns + AGENT_KILL_AFTER_MS * SIM_NS_PER_MS) {
            p->signals |= 1u << (KILL - 1);
        }
    }
    if (p->ignores_term) {
        p->signals &= ~(UINT64_C(1) << (TERM - 1));
    }
    if (p->killed_by == 0 && p->signals != 0) {
        p->killed_by = __builtin_ctzll(p->signals) + 1;
    }
    return p->killed_by != 0 || p->connection->agent->is_ending;
}

/* The next moment at which time alone changes something. */
static uint64_t next_limit_locked(const struct process *p)
{
    uint64_t end_ns = p->began_ns + p->timeout_ms * SIM_NS_PER_MS;

    if (p->timeout_ms == 0) {
        return SIM_FOREVER;
    }
    return clock_ns() < end_ns ? end_ns : end_ns + AGENT_KILL_AFTER_MS * SIM_NS_PER_MS;
}

bool process_sleep(struct process *p, uint64_t ms)
{
    struct sim_agent *a = p->connection->agent;
    uint64_t until_ns = ms == SIM_FOREVER ? SIM_FOREVER : clock_ns() + ms * SIM_NS_PER_MS;
    bool is_dead = false;

    (void)pthread_mutex_lock(&a->lock);
    is_dead = is_dead_locked(p);
    while (!is_dead && clock_ns() < until_ns) {
        wait_locked(a, min_of(until_ns, next_limit_locked(p)));
        is_dead = is_dead_locked(p);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return !is_dead && sim_machine_enter(a->machine);
}

/* Take credit for up to `size` bytes; 0: dead. */
static size_t take_credit(struct process *p, size_t size)
{
    struct sim_agent *a = p->connection->agent;

    (void)pthread_mutex_lock(&a->lock);
    while (!is_dead_locked(p) && p->credit == 0) {
        wait_locked(a, next_limit_locked(p));
    }
    size = is_dead_locked(p) ? 0 : (size_t)min_of((uint64_t)size, p->credit);
    p->credit -= size;
    (void)pthread_mutex_unlock(&a->lock);
    return size;
}

bool process_print(struct process *p, bool is_error, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    unsigned which = is_error ? 1 : 0;

    if (p->max_output != 0 && p->printed[which] + size > p->max_output) {
        size = (size_t)(p->max_output - p->printed[which]);
        p->is_cut[which] = true;
    }
    p->printed[which] += size;
    while (size > 0) {
        size_t n = sim_machine_enter(p->connection->agent->machine)
                       ? take_credit(p, min_of(size, (size_t)PIECE))
                       : 0;

        unsigned type = p->is_read ? AGENT_DATA : is_error ? AGENT_STDERR : AGENT_STDOUT;

        if (n == 0 || !agent_send(p->connection, type, 0, p->stream, at, n)) {
            return false;
        }
        at += n;
        size -= n;
    }
    return true;
}

bool process_read(struct process *p, void *to, size_t size, size_t *got)
{
    struct sim_agent *a = p->connection->agent;
    uint8_t grant[4];
    size_t n = 0;
    bool is_dead = false;

    (void)pthread_mutex_lock(&a->lock);
    while (!(is_dead = is_dead_locked(p)) && p->input_used == p->input_size && !p->is_input_ended) {
        wait_locked(a, next_limit_locked(p));
    }
    n = min_of(size, p->input_size - p->input_used);
    if (n > 0) {
        memcpy(to, p->input + p->input_used, n);
        p->input_used += n;
    }
    (void)pthread_mutex_unlock(&a->lock);
    *got = n;
    store_be32(grant, (uint32_t)n);
    return !is_dead && (n == 0 || agent_send(p->connection, AGENT_WINDOW, 0, p->stream, grant, 4));
}

static void send_exit(struct process *p, int code)
{
    uint8_t payload[sizeof(struct agent_exit)];
    unsigned signal = (unsigned)p->killed_by;

    if (p->is_read && p->is_absent) {
        agent_refuse(p->connection, p->stream, AGENT_ERROR_ERRNO + ENOENT, "no such file");
        return;
    }
    if (p->is_read) { /* who ended it by KILL does not listen any more */
        (void)!agent_send(p->connection, AGENT_DATA, AGENT_END, p->stream, NULL, 0);
        return;
    }
    store_be32(payload, signal != 0 ? AGENT_CODE_SIGNALED + signal : (uint32_t)code);
    store_be32(payload + 4, signal);
    store_be64(payload + 8, (clock_ns() - p->began_ns) / 1000);
    store_be32(payload + 16, (p->is_cut[0] ? AGENT_EXIT_STDOUT_CUT : 0u) |
                                 (p->is_cut[1] ? AGENT_EXIT_STDERR_CUT : 0u) |
                                 (p->is_timed_out ? AGENT_EXIT_TIMED_OUT : 0u));
    (void)!agent_send(p->connection, AGENT_EXIT, 0, p->stream, payload, sizeof(payload));
}

static void *process_main(void *arg)
{
    struct process *p = arg;
    struct sim_agent *a = p->connection->agent;
    int code = 0;

    if (p->is_read) {
        read_run(p);
    } else {
        code = process_run(p);
    }

    if (sim_machine_enter(a->machine)) {
        send_exit(p, code);
    }
    (void)pthread_mutex_lock(&a->lock);
    list_remove(&p->link);
    a->process_count--;
    process_free(p);
    (void)pthread_cond_broadcast(&a->changed);
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

unsigned sim_machine_processes(struct sim_machine *m)
{
    unsigned n = 0;

    (void)pthread_mutex_lock(&m->agent->lock);
    n = m->agent->process_count;
    (void)pthread_mutex_unlock(&m->agent->lock);
    return n;
}

/* Faults of an exec; false: it does not come to pass. */
static bool befall_exec(struct connection *c, struct process *p)
{
    switch (sim_fault_draw(OP_vm_exec,
                           SIM_KIND(EXEC_FAIL) | SIM_KIND(EXEC_TIMEOUT) | SIM_KIND(CRASH), NULL)) {
    case FAULT_EXEC_FAIL:
        agent_refuse(c, p->stream, AGENT_ERROR_INTERNAL, "simulated failure");
        return false;
    case FAULT_CRASH:
        sim_machine_end(c->agent->machine, DRUPE_END_PANIC, 1, "the guest panicked in an exec");
        return false;
    case FAULT_EXEC_TIMEOUT:
        p->argv[0] = (sim_free(p->argv[0]), NULL);
        p->argv[0] = memcpy(sim_calloc(1, 5), "hang", 5);
        break;
    default: /* none other was asked for */
        break;
    }
    return true;
}

static void on_exec(struct connection *c, unsigned stream, bool is_read, const uint8_t *payload,
                    size_t size)
{
    struct process *p = sim_calloc(1, sizeof(*p));
    pthread_t thread;

    p->connection = c;
    p->stream = (uint16_t)stream;
    p->credit = AGENT_WINDOW_START;
    p->began_ns = clock_ns();
    p->max_output = AGENT_OUTPUT_MAX_DEFAULT;
    p->timeout_ms = AGENT_TIMEOUT_MS_DEFAULT;
    p->is_read = is_read;
    if (is_read ? !request_read(p, payload, size) : !process_parse(p, payload, size)) {
        agent_refuse(c, stream, AGENT_ERROR_REQUEST, "the request makes no sense");
        process_free(p);
        return;
    }
    if (!is_read && !befall_exec(c, p)) {
        process_free(p);
        return;
    }
    p->is_input_ended = !p->wants_stdin;
    (void)pthread_mutex_lock(&c->agent->lock);
    list_push_back(&c->processes, &p->link);
    c->agent->process_count++;
    (void)pthread_mutex_unlock(&c->agent->lock);
    if (pthread_create(&thread, NULL, process_main, p) != 0) {
        (void)pthread_mutex_lock(&c->agent->lock);
        list_remove(&p->link);
        c->agent->process_count--;
        (void)pthread_mutex_unlock(&c->agent->lock);
        agent_refuse(c, stream, AGENT_ERROR_NO_MEMORY, "no memory for a process");
        process_free(p);
        return;
    }
    (void)pthread_detach(thread);
}

/* ---- What comes for one that runs ---- */

static void on_input_locked(struct process *p, const uint8_t *payload, size_t size, bool is_end)
{
    if (p->input_used == p->input_size) {
        p->input_used = 0;
        p->input_size = 0;
    }
    p->input = sim_grow(p->input, p->input_size + size + 1);
    if (size > 0) {
        memcpy(p->input + p->input_size, payload, size);
    }
    p->input_size += size;
    p->is_input_ended = p->is_input_ended || is_end;
}

static void on_process_frame(struct connection *c, const uint8_t *head, const uint8_t *payload,
                             size_t size)
{
    struct process *p = NULL;

    (void)pthread_mutex_lock(&c->agent->lock);
    p = find_locked(c, load_be16(head + 6));
    if (p != NULL && head[4] == AGENT_STDIN) {
        on_input_locked(p, payload, size, (head[5] & AGENT_END) != 0);
    } else if (p != NULL && head[4] == AGENT_WINDOW && size == 4) {
        p->credit += load_be32(payload);
    } else if (p != NULL && head[4] == AGENT_KILL && size == 4) {
        unsigned signo = load_be32(payload);

        p->signals |= signo >= 1 && signo <= 64 ? UINT64_C(1) << (signo - 1) : 0;
    }
    (void)pthread_cond_broadcast(&c->agent->changed);
    (void)pthread_mutex_unlock(&c->agent->lock);
}

/* ---- A connection ---- */

static bool on_frame(struct connection *c, const uint8_t *head, const uint8_t *payload, size_t size)
{
    static const uint8_t hello[8] = { 0, AGENT_VERSION_MIN,
                                      0, AGENT_VERSION_MAX,
                                      0, 0,
                                      0, AGENT_CAN_EXEC | AGENT_CAN_FILES | AGENT_CAN_SHUTDOWN };
    uint8_t answer[sizeof(hello) + sizeof(BUILD_NAME) - 1];
    unsigned stream = load_be16(head + 6);

    if (sim_fault_draw(OP_agent_answer, SIM_KIND(AGENT_HANG), NULL) != SIM_FAULT_NONE) {
        c->is_deaf = true;
    }
    switch (head[4]) {
    case AGENT_HELLO:
        memcpy(answer, hello, sizeof(hello));
        memcpy(answer + sizeof(hello), BUILD_NAME, sizeof(BUILD_NAME) - 1);
        return agent_send(c, AGENT_HELLO, 0, 0, answer, sizeof(answer));
    case AGENT_EXEC:
    case AGENT_READ:
        on_exec(c, stream, head[4] == AGENT_READ, payload, size);
        return true;
    case AGENT_PING:
        return agent_send(c, AGENT_PONG, 0, 0, payload, size);
    case AGENT_STDIN:
    case AGENT_WINDOW:
    case AGENT_KILL:
        on_process_frame(c, head, payload, size);
        return true;
    case AGENT_SHUTDOWN:
        (void)!agent_send(c, AGENT_OK, 0, stream, NULL, 0);
        sim_machine_end(c->agent->machine, DRUPE_END_EXIT, 0, "");
        return true;
    case AGENT_WRITE:
        request_write(c, stream, payload, size);
        return true;
    case AGENT_LIST:
        request_list(c, stream);
        return true;
    case AGENT_STAT:
        request_stat(c, stream, payload, size);
        return true;
    default:
        agent_refuse(c, 0, AGENT_ERROR_PROTOCOL, "an unknown frame");
        return false;
    }
}

/* Frames until the connection breaks or the machine ends. */
static void serve(struct connection *c)
{
    uint8_t head[AGENT_HEADER_SIZE];
    bool is_going = true;

    while (is_going && read_all(c->fd, head, sizeof(head))) {
        size_t length = load_be32(head);

        if (length < AGENT_LENGTH_MIN || length > AGENT_LENGTH_MAX) {
            agent_refuse(c, 0, AGENT_ERROR_PROTOCOL, "a frame of a wrong length");
            return;
        }
        uint8_t *payload = sim_calloc(1, length);

        is_going = read_all(c->fd, payload, length - AGENT_LENGTH_MIN) &&
                   sim_machine_enter(c->agent->machine) &&
                   on_frame(c, head, payload, length - AGENT_LENGTH_MIN);
        sim_free(payload);
    }
}

/* Firecracker's line. False: nobody listens there. */
static bool take_connect_line(struct connection *c)
{
    char line[LINE_SIZE] = "";
    bool is_booted = false;

    for (unsigned n = 0; n < LINE_SIZE - 1; n++) {
        if (!read_all(c->fd, line + n, 1)) {
            return false;
        }
        if (line[n] == '\n') {
            break;
        }
    }
    (void)pthread_mutex_lock(&c->agent->machine->lock);
    is_booted = c->agent->machine->is_booted;
    (void)pthread_mutex_unlock(&c->agent->machine->lock);
    return is_booted && strcmp(line, "CONNECT 9001\n") == 0 &&
           sim_machine_enter(c->agent->machine) && write_all(c->fd, "OK 1073741824\n", 14);
}

static void kill_processes_locked(struct connection *c)
{
    struct process *p = NULL;

    list_for_each_entry(p, &c->processes, link) {
        p->signals |= UINT64_C(1) << (KILL - 1);
    }
    (void)pthread_cond_broadcast(&c->agent->changed);
}

static void *connection_main(void *arg)
{
    struct connection *c = arg;
    struct sim_agent *a = c->agent;

    if (take_connect_line(c)) {
        serve(c);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    (void)pthread_mutex_lock(&a->lock);
    kill_processes_locked(c);
    while (!list_is_empty(&c->processes)) {
        wait_locked(a, SIM_FOREVER);
    }
    list_remove(&c->link);
    (void)close(c->fd);
    (void)pthread_mutex_destroy(&c->send_lock);
    sim_free(c);
    (void)pthread_cond_broadcast(&a->changed);
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- Accepting ---- */

static void open_connection(struct sim_agent *a, int fd)
{
    struct connection *c = sim_calloc(1, sizeof(*c));
    pthread_t thread;

    c->agent = a;
    c->fd = fd;
    list_init(&c->processes);
    (void)pthread_mutex_init(&c->send_lock, NULL);
    (void)pthread_mutex_lock(&a->lock);
    list_push_back(&a->connections, &c->link);
    (void)pthread_mutex_unlock(&a->lock);
    if (pthread_create(&thread, NULL, connection_main, c) == 0) {
        (void)pthread_detach(thread);
        return;
    }
    (void)pthread_mutex_lock(&a->lock);
    list_remove(&c->link);
    (void)pthread_mutex_unlock(&a->lock);
    (void)close(fd);
    sim_free(c);
}

static void *agent_main(void *arg)
{
    struct sim_agent *a = arg;

    for (;;) {
        struct pollfd fds[2] = { { .fd = a->machine->config->vsock_fd, .events = POLLIN },
                                 { .fd = a->wake_fd, .events = POLLIN } };

        (void)poll(fds, 2, -1);
        if (fds[1].revents != 0) {
            return NULL;
        }
        int fd = accept4(fds[0].fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0) {
            open_connection(a, fd);
        }
    }
}

drupe_vm_err_t sim_agent_start(struct sim_machine *m, struct drupe_error *err)
{
    struct sim_agent *a = NULL;
    pthread_condattr_t attr;
    int r = 0;

    if (m->config->vsock_fd < 0) {
        return DRUPE_OK;
    }
    a = calloc(1, sizeof(*a));
    if (a == NULL) {
        return error_set(err, DRUPE_NO_MEMORY, ENOMEM, "make the vsock device");
    }
    a->machine = m;
    list_init(&a->connections);
    a->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (a->wake_fd < 0) {
        free(a);
        return error_set(err, DRUPE_NO_MEMORY, errno, "make the vsock device");
    }
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&a->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    r = pthread_create(&a->thread, NULL, agent_main, a);
    if (r != 0) {
        (void)close(a->wake_fd);
        free(a);
        return error_set(err, DRUPE_NO_MEMORY, r, "start the vsock device");
    }
    m->agent = a;
    return DRUPE_OK;
}

void sim_agent_reset(struct sim_machine *m)
{
    struct connection *c = NULL;

    if (m->agent == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&m->agent->lock);
    list_for_each_entry(c, &m->agent->connections, link) {
        c->is_broken = true;
        (void)shutdown(c->fd, SHUT_RDWR);
        kill_processes_locked(c);
    }
    (void)pthread_mutex_unlock(&m->agent->lock);
}

void sim_agent_stop(struct sim_machine *m)
{
    struct sim_agent *a = m->agent;
    uint64_t one = 1;

    if (a == NULL) {
        return;
    }
    (void)!write(a->wake_fd, &one, sizeof(one));
    (void)pthread_join(a->thread, NULL);
    (void)pthread_mutex_lock(&a->lock);
    a->is_ending = true;
    (void)pthread_mutex_unlock(&a->lock);
    sim_agent_reset(m);
    (void)pthread_mutex_lock(&a->lock);
    while (!list_is_empty(&a->connections)) {
        wait_locked(a, SIM_FOREVER);
    }
    (void)pthread_mutex_unlock(&a->lock);
    (void)close(a->wake_fd);
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    free(a);
    m->agent = NULL;
}
