/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata service on a tap without a machine, so that a host's own TCP is the peer:
 *   mmds_tap TAP DOCUMENT-FILE LOSS-PERCENT [token]
 * loses so many frames of both directions, always the same ones; prints "ready" and runs until it
 * is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/clock.h>

#include "devices/virtio_net.h"
#include "drupe/vm.h"
#include "mmds/service.h"
#include "mmds/stack.h"

#define DOCUMENT_MAX (4u << 20)
#define HEADER       VIRTIO_NET_HEADER_SIZE

static uint32_t random_state = 12345;

static bool is_lost(unsigned percent)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 16) % 100 < percent;
}

static int read_document(const char *path, struct drupe_metadata *out)
{
    static char text[DOCUMENT_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

    if (n < 0) {
        return -errno;
    }
    (void)close(fd);
    out->document = text;
    out->document_size = (size_t)n;
    return 0;
}

static void send_all(int tap, struct mmds_stack *stack, unsigned percent)
{
    static uint8_t frame[HEADER + FRAME_MAX];

    for (;;) {
        size_t n = mmds_stack_output(stack, frame + HEADER, clock_ns());

        if (n == 0) {
            return;
        }
        if (!is_lost(percent) && write(tap, frame, HEADER + n) < 0 && errno != EAGAIN) {
            perror("write");
            return;
        }
    }
}

static void receive_all(int tap, struct mmds_stack *stack, unsigned percent)
{
    static uint8_t frame[HEADER + VIRTIO_NET_FRAME_MAX];
    ssize_t n;

    while ((n = read(tap, frame, sizeof(frame))) > (ssize_t)HEADER) {
        const size_t size = (size_t)n - HEADER;

        if (size >= FRAME_HEAD_SIZE && mmds_stack_wants(stack, frame + HEADER, size) &&
            !is_lost(percent)) {
            mmds_stack_input(stack, frame + HEADER, size, true, clock_ns());
        }
        send_all(tap, stack, percent);
    }
}

int main(int argc, char **argv)
{
    struct drupe_metadata setup = { .is_token_needed = argc > 4 };
    struct mmds_service *service = NULL;
    struct mmds_stack *stack = NULL;
    unsigned percent = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    int tap = argc > 3 ? drupe_tap_open(argv[1]) : -EINVAL;
    int r = tap;

    if (r >= 0) {
        r = read_document(argv[2], &setup);
    }
    if (r >= 0) {
        r = mmds_service_create(&setup, &service);
    }
    if (r >= 0) {
        r = mmds_stack_create(service, 0, &stack);
    }
    if (r < 0) {
        (void)fprintf(stderr, "mmds_tap: %s\n", strerror(-r));
        return 1;
    }
    (void)puts("ready");
    (void)fflush(stdout);
    for (;;) {
        struct pollfd p = { .fd = tap, .events = POLLIN };

        (void)poll(&p, 1, clock_poll_ms(mmds_stack_deadline(stack)));
        receive_all(tap, stack, percent);
        send_all(tap, stack, percent);
    }
}
