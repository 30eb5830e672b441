/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes and event descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "file.h"
#include "wrap.h"

#define PIPE_SIZE (64u << 10)

/* ---- Event descriptors ---- */

struct event {
    struct sim_file file;
    uint64_t count;
};

static ssize_t event_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct event *e = (struct event *)f;

    (void)offset;
    if (size < sizeof(e->count)) {
        return -EINVAL;
    }
    if (e->count == 0) {
        return -EAGAIN;
    }
    memcpy(to, &e->count, sizeof(e->count));
    e->count = 0;
    sim_files_changed();
    return sizeof(e->count);
}

static ssize_t event_write(struct sim_file *f, const void *from, size_t size, off_t offset)
{
    struct event *e = (struct event *)f;
    uint64_t n = 0;

    (void)offset;
    if (size < sizeof(n)) {
        return -EINVAL;
    }
    memcpy(&n, from, sizeof(n));
    if (n > UINT64_MAX - 1 - e->count) {
        return -EAGAIN;
    }
    e->count += n;
    sim_files_changed();
    return sizeof(n);
}

static short event_poll(struct sim_file *f)
{
    return (short)(POLLOUT | (((struct event *)f)->count > 0 ? POLLIN : 0));
}

static void event_close(struct sim_file *f)
{
    sim_free(f);
}

static const struct sim_file_ops event_ops = { .kind = "event",
                                               .read = event_read,
                                               .write = event_write,
                                               .poll = event_poll,
                                               .close = event_close };

int __real_eventfd(unsigned start, int flags);

WRAP(int, eventfd)(unsigned start, int flags)
{
    if (!sim_is_active()) {
        return __real_eventfd(start, flags);
    }
    sim_step();
    struct event *e = sim_calloc(1, sizeof(*e));

    e->file = (struct sim_file){ .ops = &event_ops,
                                 .refs = 1,
                                 .flags = O_RDWR | (flags & EFD_NONBLOCK ? O_NONBLOCK : 0) };
    e->count = start;
    return (int)sim_result_of(sim_fd_install(&e->file));
}

/* ---- Pipes ---- */

struct pipe_buffer {
    uint8_t bytes[PIPE_SIZE];
    size_t start;
    size_t size;
    unsigned readers;
    unsigned writers;
};

struct pipe_end {
    struct sim_file file;
    struct pipe_buffer *buffer;
    bool is_reader;
};

static ssize_t pipe_read(struct sim_file *f, void *to, size_t size, off_t offset)
{
    struct pipe_buffer *b = ((struct pipe_end *)f)->buffer;
    uint8_t *out = to;
    size_t n = min_of(size, b->size);

    if (offset >= 0) {
        return -ESPIPE;
    }
    if (b->size == 0) {
        return b->writers == 0 || size == 0 ? 0 : -EAGAIN;
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = b->bytes[(b->start + i) % PIPE_SIZE];
    }
    b->start = (b->start + n) % PIPE_SIZE;
    b->size -= n;
    sim_files_changed();
    return (ssize_t)n;
}

static ssize_t pipe_write(struct sim_file *f, const void *from, size_t size, off_t offset)
{
    struct pipe_buffer *b = ((struct pipe_end *)f)->buffer;
    const uint8_t *in = from;
    size_t n = min_of(size, PIPE_SIZE - b->size);

    if (offset >= 0) {
        return -ESPIPE;
    }
    if (b->readers == 0) {
        return -EPIPE;
    }
    if (n == 0) {
        return size == 0 ? 0 : -EAGAIN;
    }
    for (size_t i = 0; i < n; i++) {
        b->bytes[(b->start + b->size + i) % PIPE_SIZE] = in[i];
    }
    b->size += n;
    sim_files_changed();
    return (ssize_t)n;
}

static short pipe_poll(struct sim_file *f)
{
    const struct pipe_end *e = (const struct pipe_end *)f;
    const struct pipe_buffer *b = e->buffer;

    if (e->is_reader) {
        return (short)((b->size > 0 ? POLLIN : 0) | (b->writers == 0 ? POLLHUP : 0));
    }
    return (short)((b->size < PIPE_SIZE ? POLLOUT : 0) | (b->readers == 0 ? POLLERR : 0));
}

static void pipe_close(struct sim_file *f)
{
    struct pipe_end *e = (struct pipe_end *)f;

    if (e->is_reader) {
        e->buffer->readers--;
    } else {
        e->buffer->writers--;
    }
    if (e->buffer->readers + e->buffer->writers == 0) {
        sim_free(e->buffer);
    }
    sim_free(e);
}

static const struct sim_file_ops pipe_ops = {
    .kind = "pipe", .read = pipe_read, .write = pipe_write, .poll = pipe_poll, .close = pipe_close
};

static struct pipe_end *pipe_end_new(struct pipe_buffer *b, bool is_reader, int flags)
{
    struct pipe_end *e = sim_calloc(1, sizeof(*e));

    e->file =
        (struct sim_file){ .ops = &pipe_ops,
                           .refs = 1,
                           .flags = (is_reader ? O_RDONLY : O_WRONLY) | (flags & O_NONBLOCK) };
    e->buffer = b;
    e->is_reader = is_reader;
    if (is_reader) {
        b->readers++;
    } else {
        b->writers++;
    }
    return e;
}

int __real_pipe2(int fds[2], int flags);
int __real_close(int fd);

WRAP(int, pipe2)(int fds[2], int flags)
{
    if (!sim_is_active()) {
        return __real_pipe2(fds, flags);
    }
    sim_step();
    struct pipe_buffer *b = sim_calloc(1, sizeof(*b));
    struct pipe_end *reader = pipe_end_new(b, true, flags);
    struct pipe_end *writer = pipe_end_new(b, false, flags);
    int in = sim_fd_install(&reader->file);
    int out = in < 0 ? in : sim_fd_install(&writer->file);

    if (in < 0) {
        sim_file_put(&writer->file);
        return (int)sim_result_of(in);
    }
    if (out < 0) {
        (void)close(in);
        return (int)sim_result_of(out);
    }
    fds[0] = in;
    fds[1] = out;
    return 0;
}

WRAP(int, pipe)(int fds[2])
{
    return WRAPPED(pipe2)(fds, 0);
}
