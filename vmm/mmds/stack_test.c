/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments in, segments out: tables of what a peer sends and what it must hear, on a clock of the
 * test's. Numbers are relative: `seq` to the peer's first, `ack` to ours.
 */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <base/bytes.h>
#include <base/clock.h>

#include "drupe/vm.h"
#include "mmds/connection.h"
#include "mmds/service.h"
#include "mmds/stack.h"

#define HERE    MMDS_ADDRESS_DEFAULT
#define PEER    UINT32_C(0xa9fe0102)
#define ISN     UINT32_C(0xfffffff0) /* so that numbers wrap */
#define REQUEST "GET /a HTTP/1.1\r\n\r\n"
#define ASKED   (sizeof(REQUEST) - 1)
#define BIG     20000u

static const uint8_t peer_mac[6] = { 2, 0, 0, 0, 0, 9 };

struct fixture {
    struct mmds_service *service;
    struct mmds_stack *stack;
    uint64_t now_ns;
    uint32_t isn; /* ours, once seen */
    uint8_t frame[FRAME_MAX];
    struct segment got;
};

static struct fixture *start(size_t value_size)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char *text = malloc(value_size + 16);
    struct drupe_metadata setup = { .document = text };
    size_t n = 6;

    assert_non_null(f);
    assert_non_null(text);
    memcpy(text, "{\"a\":\"", n);
    for (size_t i = 0; i < value_size; i++) {
        text[n++] = (char)('a' + i % 23);
    }
    text[n++] = '"';
    text[n++] = '}';
    setup.document_size = n;
    assert_int_equal(mmds_service_create(&setup, &f->service), 0);
    assert_int_equal(mmds_stack_create(f->service, 0, &f->stack), 0);
    f->now_ns = 1000 * NS_PER_S;
    free(text);
    return f;
}

static void stop(struct fixture *f)
{
    mmds_stack_destroy(f->stack);
    mmds_service_destroy(f->service);
    free(f);
}

static struct drupe_metadata_stats stats(const struct fixture *f)
{
    struct drupe_metadata_stats s = { 0 };

    mmds_stack_stats(f->stack, &s);
    return s;
}

static void send_from(struct fixture *f, uint16_t port, unsigned flags, uint32_t seq, uint32_t ack,
                      uint16_t window, const void *payload, size_t size)
{
    struct outgoing o = {
        .ends = { .from = PEER, .to = HERE },
        .from_port = port,
        .to_port = 80,
        .seq = ISN + seq,
        .ack = (flags & TCP_ACK) != 0 ? f->isn + ack : 0,
        .window = window,
        .flags = (uint8_t)flags,
        .mss = (flags & TCP_SYN) != 0 ? 1000 : 0,
        .payload = payload,
        .size = size,
    };
    uint8_t frame[FRAME_MAX];
    size_t n = 0;

    memcpy(o.ends.from_mac, peer_mac, 6);
    n = frame_make_tcp(frame, &o);
    assert_true(mmds_stack_wants(f->stack, frame, n));
    mmds_stack_input(f->stack, frame, n, true, f->now_ns);
}

static void say(struct fixture *f, unsigned flags, uint32_t seq, uint32_t ack)
{
    send_from(f, 5000, flags, seq, ack, 65535, NULL, 0);
}

/* The next frame for the peer; false: none. Its checksums are right. */
static bool hear(struct fixture *f)
{
    const size_t n = mmds_stack_output(f->stack, f->frame, f->now_ns);

    if (n == 0) {
        return false;
    }
    assert_true(frame_is_for(f->frame, n, PEER));
    assert_int_equal(frame_parse(f->frame, n, true, &f->got), FRAME_TCP);
    assert_memory_equal(f->frame, peer_mac, 6);
    return true;
}

static void expect(struct fixture *f, unsigned flags, uint32_t seq, uint32_t ack)
{
    assert_true(hear(f));
    assert_int_equal(f->got.flags, flags);
    assert_int_equal(f->got.seq - f->isn, seq);
    assert_int_equal(f->got.ack - ISN, ack);
}

static void shake_hands(struct fixture *f)
{
    say(f, TCP_SYN, 0, 0);
    assert_true(hear(f));
    assert_int_equal(f->got.flags, TCP_SYN | TCP_ACK);
    assert_int_equal(f->got.ack, ISN + 1);
    assert_int_equal(f->got.mss, FRAME_MTU - 40);
    f->isn = f->got.seq;
    assert_false(hear(f));
    say(f, TCP_ACK, 1, 1);
    assert_false(hear(f));
}

static void ask(struct fixture *f, uint32_t seq, uint32_t ack)
{
    send_from(f, 5000, TCP_ACK | TCP_PSH, seq, ack, 65535, REQUEST, ASKED);
}

static void answers_arp(void **state)
{
    static const struct {
        unsigned at; /* where the question is changed, to 99 */
        bool is_ours;
    } cases[] = { { 0, true },   { 15, false }, { 17, false }, { 18, false },
                  { 21, false }, { 41, false }, { 13, false } };
    struct fixture *f = start(1);
    uint8_t question[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 8, 6,
                             0,   1,   8,   0,   6,   4,   0, 1, 2, 0, 0, 0, 0, 9 };

    (void)state;
    store_be32(question + 28, PEER);
    store_be32(question + 38, HERE);
    for (size_t i = 0; i < array_size(cases); i++) {
        uint8_t copy[60];

        memcpy(copy, question, sizeof(copy));
        copy[cases[i].at] = 99;
        assert_int_equal(mmds_stack_wants(f->stack, copy, sizeof(copy)), cases[i].is_ours);
    }
    assert_false(mmds_stack_wants(f->stack, question, 41));
    mmds_stack_input(f->stack, question, sizeof(question), true, f->now_ns);
    assert_int_equal(mmds_stack_output(f->stack, f->frame, f->now_ns), 42);
    assert_memory_equal(f->frame, peer_mac, 6);
    assert_int_equal(load_be16(f->frame + 20), 2);
    assert_int_equal(load_be32(f->frame + 28), HERE);
    assert_int_equal(load_be32(f->frame + 38), PEER);
    assert_memory_equal(f->frame + 6, f->frame + 22, 6);
    stop(f);
}

/* From SYN to the last ACK, closed by either side. */
static void serves(void **state)
{
    struct fixture *f = start(10);
    uint32_t end = 0;

    (void)state;
    shake_hands(f);
    ask(f, 1, 1);
    expect(f, TCP_ACK | TCP_PSH, 1, 1 + ASKED);
    assert_memory_equal(f->got.payload, "HTTP/1.1 200 OK\r\n", 17);
    assert_memory_equal(f->got.payload + f->got.size - 10, "abcdefghij", 10);
    end = 1 + (uint32_t)f->got.size;
    assert_false(hear(f));
    /* The same again on the same connection. */
    ask(f, 1 + ASKED, end);
    expect(f, TCP_ACK | TCP_PSH, end, 1 + 2 * ASKED);
    end += (uint32_t)f->got.size;
    say(f, TCP_FIN | TCP_ACK, 1 + 2 * ASKED, end);
    expect(f, TCP_FIN | TCP_ACK, end, 2 + 2 * ASKED);
    assert_false(hear(f));
    say(f, TCP_ACK, 2 + 2 * ASKED, end + 1);
    assert_false(hear(f));
    assert_int_equal(stats(f).connections_destroyed, 1);
    assert_true(mmds_stack_deadline(f->stack) == CLOCK_NEVER);

    shake_hands(f);
    send_from(f, 5000, TCP_ACK, 1, 1, 65535, "GET / HTTP/1.0\r\n\r\n", 18);
    expect(f, TCP_ACK | TCP_PSH, 1, 19);
    end = 1 + (uint32_t)f->got.size;
    expect(f, TCP_FIN | TCP_ACK, end, 19);
    say(f, TCP_ACK, 19, end + 1);
    assert_false(hear(f));
    say(f, TCP_FIN | TCP_ACK, 19, end + 1);
    expect(f, TCP_ACK, end + 1, 20);
    assert_int_equal(stats(f).connections_destroyed, 2);
    assert_int_equal(stats(f).tx_count, 3);
    stop(f);
}

/* Each row is one segment of an open connection, on which nothing was said yet, and the answer. */
static void keeps_its_place(void **state)
{
    static const struct {
        unsigned flags;
        uint32_t seq;
        uint32_t ack;
        const char *data;
        unsigned reply; /* flags; 0: silence */
        uint32_t reply_ack;
        bool is_open;
    } cases[] = {
        { TCP_ACK, 1, 1, "", 0, 0, true },
        { TCP_ACK, 1, 2, "", TCP_ACK, 1, true },             /* never sent */
        { TCP_ACK, 1, 0x90000000, "x", TCP_ACK, 2, true },   /* an old one, with data */
        { TCP_ACK, 0, 1, "", TCP_ACK, 1, true },             /* keep-alive */
        { TCP_ACK, 1, 1, "GET", TCP_ACK, 4, true },          /* a part */
        { TCP_ACK, 2, 1, "ET", TCP_ACK, 1, true },           /* a gap */
        { TCP_ACK, 0, 1, "xGET", TCP_ACK, 4, true },         /* the first is known */
        { TCP_ACK, 0x80000001, 1, "GET", TCP_ACK, 1, true }, /* half the circle away */
        { 0, 1, 1, "GET", 0, 0, true },                      /* without ACK */
        { TCP_SYN, 0, 0, "", TCP_ACK, 1, true },             /* again */
        { TCP_SYN | TCP_ACK, 7, 1, "", TCP_ACK, 1, true },   /* out of place */
        { TCP_RST, 1, 0, "", 0, 0, false },                  /* exact */
        { TCP_RST | TCP_ACK, 5, 1, "", TCP_ACK, 1, true },   /* in the window: challenged */
        { TCP_RST, 0x70000000, 1, "", 0, 0, true },          /* guessed */
        { TCP_FIN | TCP_ACK, 9, 1, "", TCP_ACK, 1, true },   /* after a gap */
        { TCP_FIN | TCP_ACK, 1, 1, "", TCP_FIN | TCP_ACK, 2, true },
        { TCP_FIN | TCP_ACK, 1, 1, "GET", TCP_FIN | TCP_ACK, 5, true },
        { TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK, 1, 1, "", 0, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct fixture *f = start(1);

        shake_hands(f);
        send_from(f, 5000, cases[i].flags, cases[i].seq, cases[i].ack, 65535, cases[i].data,
                  strlen(cases[i].data));
        if (cases[i].reply != 0) {
            expect(f, cases[i].reply, 1, cases[i].reply_ack);
        }
        assert_false(hear(f));
        if (stats(f).connections_destroyed != !cases[i].is_open) {
            fail_msg("case %zu", i);
        }
        stop(f);
    }
}

/* What belongs to no connection is reset, silently if it is a reset itself. */
static void refuses_strangers(void **state)
{
    static const struct {
        unsigned flags;
        unsigned reply;
        uint32_t seq;
        uint32_t ack;
    } cases[] = {
        { TCP_ACK, TCP_RST, 77, 0 },
        { TCP_SYN | TCP_ACK, TCP_RST, 77, 0 },
        { 0, TCP_RST | TCP_ACK, 0, ISN + 3 },
        { TCP_FIN, TCP_RST | TCP_ACK, 0, ISN + 4 },
        { TCP_SYN | TCP_FIN, TCP_RST | TCP_ACK, 0, ISN + 5 },
        { TCP_RST, 0, 0, 0 },
        { TCP_RST | TCP_ACK, 0, 0, 0 },
    };
    struct fixture *f = start(1);

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        send_from(f, 5000, cases[i].flags, 0, 77, 100, "abc", 3);
        assert_int_equal(hear(f), cases[i].reply != 0);
        if (cases[i].reply != 0) {
            assert_int_equal(f->got.flags, cases[i].reply);
            assert_int_equal(f->got.seq, cases[i].seq);
            assert_int_equal(f->got.ack, cases[i].ack);
        }
    }
    for (unsigned i = 0; i < 100; i++) { /* a flood is answered as far as there is room */
        send_from(f, (uint16_t)(6000 + i), TCP_ACK, 0, 0, 100, NULL, 0);
    }
    while (hear(f)) {
    }
    assert_int_equal(stats(f).connections_created, 0);
    assert_true(stats(f).tx_errors > 0);
    stop(f);
}

/* Nothing comes back: it is sent again, ever more slowly, and given up in the end. */
static void retransmits(void **state)
{
    struct fixture *f = start(10);
    unsigned times = 0;
    uint64_t last = 0;

    (void)state;
    shake_hands(f);
    ask(f, 1, 1);
    expect(f, TCP_ACK | TCP_PSH, 1, 1 + ASKED);
    for (;;) {
        const uint64_t deadline = mmds_stack_deadline(f->stack);

        assert_true(deadline != CLOCK_NEVER);
        assert_true(deadline - f->now_ns >= last);
        last = min_of(deadline - f->now_ns, UINT64_C(3) * NS_PER_S);
        f->now_ns = deadline - 1;
        assert_false(hear(f));
        f->now_ns = deadline;
        assert_true(hear(f));
        if ((f->got.flags & TCP_RST) != 0) {
            break;
        }
        assert_int_equal(f->got.seq - f->isn, 1);
        times++;
    }
    assert_int_equal(times, 8);
    assert_int_equal(stats(f).connections_destroyed, 1);
    assert_true(mmds_stack_deadline(f->stack) == CLOCK_NEVER);
    stop(f);
}

/* A peer with every fault at once: loses, repeats and answers late, and has the whole text. */
static void survives_loss(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct fixture *f = start(BIG);
        uint32_t random = seed * 2654435761u;
        uint8_t *text = calloc(1, BIG + 4096);
        uint32_t next = 1;
        uint32_t size = 0; /* of the answer, once its head is there */
        unsigned turns = 0;

        assert_non_null(text);
        shake_hands(f);
        while (size == 0 || next < 1 + size) {
            const uint16_t window = (random >> 24) % 8 == 0 ? 0 : (uint16_t)(random >> 16);

            assert_true(turns++ < 100000);
            random = random * 1664525u + 1013904223u;
            if (!hear(f)) {
                const uint64_t deadline = mmds_stack_deadline(f->stack);

                if (next == 1) {
                    ask(f, 1, 1); /* perhaps again */
                } else if (random >> 28 != 0) {
                    send_from(f, 5000, TCP_ACK, 1 + ASKED, next, 20000, NULL, 0);
                }
                f->now_ns = deadline == CLOCK_NEVER ? f->now_ns : max_of(deadline, f->now_ns);
                continue;
            }
            assert_int_equal(f->got.flags & TCP_RST, 0);
            if (random >> 29 == 0 || f->got.seq - f->isn != next) {
                continue; /* lost, or not the next one */
            }
            memcpy(text + next - 1, f->got.payload, f->got.size);
            next += (uint32_t)f->got.size;
            if (size == 0 && strstr((char *)text, "\r\n\r\n") != NULL) {
                size = (uint32_t)(strstr((char *)text, "\r\n\r\n") + 4 - (char *)text) + BIG;
            }
            if (random >> 30 != 0) {
                send_from(f, 5000, TCP_ACK, 1 + ASKED, next, window, NULL, 0);
            }
        }
        for (uint32_t i = 0; i < BIG; i++) {
            assert_int_equal(text[size - BIG + i], 'a' + i % 23);
        }
        free(text);
        stop(f);
    }
}

/* A closed window is asked about with one byte, and opens again. */
static void keeps_to_windows(void **state)
{
    struct fixture *f = start(BIG);

    (void)state;
    shake_hands(f);
    send_from(f, 5000, TCP_ACK, 1, 1, 0, REQUEST, ASKED);
    expect(f, TCP_ACK, 1, 1 + ASKED);
    assert_false(hear(f));
    f->now_ns = mmds_stack_deadline(f->stack);
    expect(f, TCP_ACK, 1, 1 + ASKED);
    assert_int_equal(f->got.size, 1);
    assert_false(hear(f));
    send_from(f, 5000, TCP_ACK, 1 + ASKED, 2, 1500, NULL, 0);
    expect(f, TCP_ACK, 2, 1 + ASKED);
    assert_int_equal(f->got.size, 1000);
    expect(f, TCP_ACK, 1002, 1 + ASKED);
    assert_int_equal(f->got.size, 500);
    assert_false(hear(f));
    stop(f);
}

/* The table is full: newcomers are refused until a connection has been silent for long. */
static void runs_out_of_places(void **state)
{
    struct fixture *f = start(1);

    (void)state;
    for (unsigned i = 0; i < MMDS_CONNECTIONS_MAX; i++) {
        send_from(f, (uint16_t)(6000 + i), TCP_SYN, 0, 0, 1000, NULL, 0);
        assert_true(hear(f));
        assert_int_equal(f->got.flags, TCP_SYN | TCP_ACK);
    }
    say(f, TCP_SYN, 0, 0);
    assert_true(hear(f));
    assert_int_equal(f->got.flags, TCP_RST | TCP_ACK);
    f->now_ns += 6 * NS_PER_S;
    say(f, TCP_SYN, 0, 0);
    assert_int_equal(stats(f).connections_created, MMDS_CONNECTIONS_MAX + 1);
    /* One whose end is said on both sides leaves at once. */
    assert_true(hear(f));
    f->isn = f->got.seq;
    send_from(f, 5001, TCP_SYN, 0, 0, 1000, NULL, 0);
    assert_int_equal(stats(f).connections_created, MMDS_CONNECTIONS_MAX + 2);
    while (hear(f)) {
    }
    for (unsigned i = 2; i < MMDS_CONNECTIONS_MAX; i++) {
        send_from(f, (uint16_t)(6000 + i), TCP_SYN, 0, 0, 1000, NULL, 0);
    }
    say(f, TCP_FIN | TCP_ACK, 1, 1);
    assert_true(hear(f));
    send_from(f, 5002, TCP_SYN, 0, 0, 1000, NULL, 0);
    assert_int_equal(stats(f).connections_created, MMDS_CONNECTIONS_MAX + 3);
    mmds_stack_reset(f->stack);
    assert_false(hear(f));
    assert_true(mmds_stack_deadline(f->stack) == CLOCK_NEVER);
    stop(f);
}

/* A request that fills the room, in small pieces; the window closes and is refused at the end. */
static void refuses_large_requests(void **state)
{
    struct fixture *f = start(1);
    char rubbish[500];
    uint32_t at = 1;

    (void)state;
    memset(rubbish, 'x', sizeof(rubbish));
    shake_hands(f);
    while (at < 1 + MMDS_REQUEST_MAX) {
        send_from(f, 5000, TCP_ACK, at, 1, 65535, rubbish, sizeof(rubbish));
        assert_true(hear(f));
        at = f->got.ack - ISN;
    }
    assert_int_equal(at, 1 + MMDS_REQUEST_MAX);
    assert_memory_equal(f->got.payload, "HTTP/1.1 413 ", 13);
    assert_true(hear(f));
    assert_int_equal(f->got.flags, TCP_FIN | TCP_ACK);
    stop(f);
}

/* Damage of every single byte, and every length: never more than a word of refusal. */
static void survives_damage(void **state)
{
    struct fixture *f = start(1);
    struct outgoing o = { .ends = { .from = PEER, .to = HERE },
                          .from_port = 5000,
                          .to_port = 80,
                          .flags = TCP_SYN,
                          .mss = 1000 };
    uint8_t frame[FRAME_MAX];
    const size_t size = frame_make_tcp(frame, &o);

    (void)state;
    for (size_t i = 0; i < size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint8_t *copy = malloc(size);

            assert_non_null(copy);
            memcpy(copy, frame, size);
            copy[i] = (uint8_t)(copy[i] ^ 1u << bit);
            for (size_t n = 0; n <= size; n++) {
                if (mmds_stack_wants(f->stack, copy, n)) {
                    mmds_stack_input(f->stack, copy, n, false, f->now_ns);
                    (void)mmds_stack_output(f->stack, f->frame, f->now_ns);
                }
            }
            free(copy);
        }
    }
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_arp),
        cmocka_unit_test(serves),
        cmocka_unit_test(keeps_its_place),
        cmocka_unit_test(refuses_strangers),
        cmocka_unit_test(retransmits),
        cmocka_unit_test(survives_loss),
        cmocka_unit_test(keeps_to_windows),
        cmocka_unit_test(runs_out_of_places),
        cmocka_unit_test(refuses_large_requests),
        cmocka_unit_test(survives_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
