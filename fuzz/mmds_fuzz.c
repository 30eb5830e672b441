/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest in front of the metadata service: the input is a script of segments with wrong
 * and right numbers, raw frames, and time that passes; or, by its first byte, a document and a
 * path. Invariants: no sanitizer report, no assertion, what the service sends is well-formed, and
 * it comes to rest.
 */
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/clock.h>

#include "drupe/vm.h"
#include "mmds/document.h"
#include "mmds/service.h"
#include "mmds/stack.h"

#define PEER       UINT32_C(0xa9fe0102)
#define PIECE_MAX  256u
#define FRAMES_MAX 20000u

int LLVMFuzzerInitialize(const int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

/* What the peer knows of one connection. */
struct peer {
    uint32_t seq;
    uint32_t ack;
};

static struct mmds_service *service;
static struct mmds_stack *stack;
static uint64_t now_ns;

static const char document[] =
    "{\"latest\":{\"a\":\"text\",\"n\":1,\"list\":[1,\"two\"]},\"large\":\"0123456789abcdef\"}";

static uint32_t take(struct input *in, size_t size)
{
    uint32_t value = 0;

    for (size_t i = 0; i < size && in->left > 0; i++) {
        value |= (uint32_t)*in->at++ << (8 * i);
        in->left--;
    }
    return value;
}

static size_t take_bytes(struct input *in, uint8_t *out)
{
    const size_t wanted = take(in, 1);
    const size_t size = min_of(wanted, in->left);

    memcpy(out, in->at, size);
    in->at += size;
    in->left -= size;
    return size;
}

static void listen(struct peer *peers)
{
    static uint8_t frame[FRAME_MAX];
    size_t n;

    for (unsigned i = 0; (n = mmds_stack_output(stack, frame, now_ns)) > 0; i++) {
        struct segment got;
        enum frame_kind kind = frame_parse(frame, n, true, &got);

        assert(i < FRAMES_MAX);
        assert(kind == FRAME_TCP || kind == FRAME_ARP);
        if (kind == FRAME_TCP) {
            peers[got.to_port % 4].ack =
                got.seq + (uint32_t)got.size + ((got.flags & (TCP_SYN | TCP_FIN)) != 0);
        }
    }
}

static void send_segment(struct input *in, struct peer *peers)
{
    static const char *const requests[] = {
        "GET /latest/a HTTP/1.1\r\n\r\n",
        "GET /large HTTP/1.0\r\n\r\n",
        "PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 9\r\n\r\n",
        "GET / HTTP/1.1\r\nAccept: application/json\r\nContent-Length: ",
    };
    uint8_t bytes[PIECE_MAX];
    uint8_t frame[FRAME_MAX];
    const uint32_t how = take(in, 1);
    const unsigned port = how % 4;
    struct outgoing o = { .ends = { .from = PEER, .to = MMDS_ADDRESS_DEFAULT },
                          .from_port = (uint16_t)(5000 + port),
                          .to_port = (how & 128) != 0 ? 81 : 80,
                          .window = 65535,
                          .payload = bytes };

    o.flags = (uint8_t)take(in, 1);
    if ((how & 4) != 0) {
        o.size = take_bytes(in, bytes);
    } else if ((how & 8) != 0) {
        o.payload = requests[how >> 5 & 3];
        o.size = strlen(o.payload);
    }
    o.seq = peers[port].seq + ((how & 16) != 0 ? take(in, 4) : 0);
    o.ack = peers[port].ack + ((how & 32) != 0 ? take(in, 4) : 0);
    o.window = (how & 64) != 0 ? (uint16_t)take(in, 2) : o.window;
    o.mss = (o.flags & TCP_SYN) != 0 ? (uint16_t)take(in, 2) : 0;
    if ((how & 16) == 0) {
        peers[port].seq += (uint32_t)o.size + ((o.flags & (TCP_SYN | TCP_FIN)) != 0);
    }
    mmds_stack_input(stack, frame, frame_make_tcp(frame, &o), true, now_ns);
}

static void send_raw(struct input *in)
{
    uint8_t bytes[PIECE_MAX];
    const size_t size = take_bytes(in, bytes);
    uint8_t *exact = malloc(size + 1);

    if (exact == NULL) {
        abort();
    }
    memcpy(exact, bytes, size);
    if (mmds_stack_wants(stack, exact, size)) {
        mmds_stack_input(stack, exact, size, false, now_ns);
    }
    free(exact);
}

static void run_script(struct input in)
{
    struct peer peers[4] = { 0 };

    while (in.left > 0) {
        switch (take(&in, 1) % 8) {
        case 0:
            send_raw(&in);
            break;
        case 1:
            now_ns += (uint64_t)take(&in, 2) * NS_PER_MS;
            break;
        case 2:
            listen(peers);
            break;
        default:
            send_segment(&in, peers);
            break;
        }
    }
    for (unsigned i = 0; mmds_stack_deadline(stack) != CLOCK_NEVER; i++) {
        assert(i < 1000); /* whatever is left over is given up */
        now_ns = max_of(now_ns, mmds_stack_deadline(stack));
        listen(peers);
    }
    mmds_stack_reset(stack);
}

static void walk(struct input in)
{
    const size_t wanted = take(&in, 1);
    const size_t path_size = min_of(wanted, in.left);
    char *text = malloc(in.left + 1);
    char *out = malloc(in.left + 1);
    const size_t size = in.left - path_size;

    if (text == NULL || out == NULL) {
        abort();
    }
    memcpy(text, in.at + path_size, size);
    if (document_check(text, size)) {
        struct json_piece v =
            document_find(document_root(text, size), (const char *)in.at, path_size);

        if (v.at != NULL) {
            (void)document_write(v, DOCUMENT_TEXT, out);
            assert(document_write(v, DOCUMENT_JSON, out) == v.size);
            assert(document_check(out, v.size));
        }
    }
    free(text);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };

    if (take(&in, 1) % 4 == 0) {
        walk(in);
    } else {
        run_script(in);
    }
    return 0;
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    const struct drupe_metadata setup = { .document = document,
                                          .document_size = sizeof(document) - 1 };

    (void)argc;
    (void)argv;
    now_ns = NS_PER_S;
    if (mmds_service_create(&setup, &service) < 0 || mmds_stack_create(service, 0, &stack) < 0) {
        abort();
    }
    return 0;
}
