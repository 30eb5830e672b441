/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of protocol 2: one connection, its streams, and the frames between them.
 *
 * Receiving: who waits for something and finds nobody reading reads the socket itself, without the
 * lock, and hands the frames out to the streams; the others sleep until it says that something
 * came. Payloads are queued on their stream, bounded by the credit that was granted, and used by
 * the stream's own thread. Sending: one frame at a time under send_lock; the agent always reads, so
 * a send cannot wait for ever on a healthy one, and gives up after SEND_MS on a sick one.
 */
#pragma once

#include <pthread.h>

#include <base/compiler.h>
#include <base/list.h>

#include "abi/agent.h"
#include "drupe/agent.h"

#define CHANNEL_API_MS 5000u /* for answers that need no program to run */

struct received {
    struct list link;
    uint8_t type;
    uint8_t flags;
    size_t size;
    uint8_t payload[];
};

struct channel_stream {
    struct list link;
    drupe_agent_t *agent;
    uint16_t id;
    bool is_closed; /* the frame that closes it was received */
    /* Freed by its owner while the guest still sends on it: remembered until the closing frame, so
     * that its number is not used again. */
    bool is_abandoned;
    struct list received; /* under the agent's lock */
    uint64_t window;      /* bytes that the guest may still send */
    uint64_t credit;      /* bytes that we may still send */
};

struct drupe_agent {
    int fd;
    uint32_t capabilities;
    char build[64];

    pthread_mutex_t send_lock;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    /* under lock */
    bool is_reading;
    drupe_vm_err_t state; /* DRUPE_OK, or why nothing works any more */
    char why[160];
    struct list streams;
    uint16_t next_id;
    uint64_t pings; /* numbered from 1 */
    uint64_t pongs; /* the highest number that came back */
    bool has_hello;
    /* of the thread that reads */
    uint8_t *in;
    size_t in_size;
    size_t in_room;
};

/* UINT32_MAX ms: 0, for ever. */
uint64_t channel_deadline(uint32_t timeout_ms);

drupe_vm_err_t channel_stream_open(drupe_agent_t *a, struct channel_stream **out,
                                   struct drupe_error *err) MUST_CHECK;
/* Forget it. What still comes on it is dropped. */
void channel_stream_close(struct channel_stream *s);

/* Send one frame whose payload is in up to two parts. */
drupe_vm_err_t channel_send(drupe_agent_t *a, unsigned type, unsigned flags, unsigned stream,
                            const void *head, size_t head_size, const void *tail, size_t tail_size,
                            struct drupe_error *err) MUST_CHECK;

/*
 * The next frame of a stream, the caller's to free(). DRUPE_TIMEOUT at the deadline (0: none), or
 * why the connection does not work. `wants_credit`: also return, with *out NULL, once credit is
 * there.
 */
drupe_vm_err_t channel_receive(struct channel_stream *s, uint64_t deadline_ns, bool wants_credit,
                               struct received **out, struct drupe_error *err) MUST_CHECK;

/* Wait until done(a) is true; called with the lock held. */
drupe_vm_err_t channel_wait(drupe_agent_t *a, uint64_t deadline_ns,
                            bool (*done)(const drupe_agent_t *a, const void *ctx), const void *ctx,
                            struct drupe_error *err) MUST_CHECK;

/* Give the guest back the credit of what was used. Failure shows at the next call. */
void channel_grant(struct channel_stream *s, size_t size);

/* The error that an ERROR frame stands for. */
drupe_vm_err_t channel_refused(const struct received *f, const char *what, struct drupe_error *err);
