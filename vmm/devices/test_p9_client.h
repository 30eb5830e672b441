/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a client of the 9P server over two folders of its own, "rw" and "ro". */
#pragma once

#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/bytes.h>
#include <base/checked.h>

#include "p9_server.h"

#define DATA_SIZE 65536u
#define ROOT      1u
#define F         2u
#define G         3u

struct fixture {
    char dir[64];
    struct p9_server *server;
    int roots[2];
    int proc_fd;
    struct p9_call call;
    uint8_t data[DATA_SIZE]; /* what reads got */
    struct iovec data_in;
    struct iovec data_out;
    struct p9_out m; /* the message under construction, in call.in */
    struct p9_in r;  /* the reply's fields */
};

static inline void host(const struct fixture *f, const char *script)
{
    char command[512];

    (void)snprintf(command, sizeof(command), "cd %s && { %s; }", f->dir, script);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own text */
}

static inline void begin(struct fixture *f, uint8_t type)
{
    f->m = (struct p9_out){ .bytes = f->call.in, .limit = sizeof(f->call.in) };
    p9_put32(&f->m, 0);
    p9_put8(&f->m, type);
    p9_put16(&f->m, 7);
}

static inline void text(struct fixture *f, const char *s)
{
    p9_put_text(&f->m, s, strlen(s));
}

/* Send with `extra` bytes of data behind the message. 0 or the negative error of the reply. */
static inline int send_with(struct fixture *f, void *extra, size_t extra_size)
{
    long n;

    assert_false(f->m.is_full);
    store_le32(f->call.in, (uint32_t)(f->m.size + extra_size));
    f->call.in_size = f->m.size;
    f->call.message_size = f->m.size + extra_size;
    f->data_in = (struct iovec){ extra, extra_size };
    f->call.data_in = &f->data_in;
    f->call.data_in_count = extra_size > 0;
    f->data_out = (struct iovec){ f->data, sizeof(f->data) };
    f->call.data_out = &f->data_out;
    f->call.data_out_count = 1;
    f->call.reply_max = P9_READ_HEADER_SIZE + sizeof(f->data);
    n = p9_server_call(f->server, &f->call);
    assert_true(n >= (long)P9_HEADER_SIZE);
    assert_int_equal(load_le32(f->call.out), n);
    assert_int_equal(load_le16(f->call.out + 5), 7);
    f->r = (struct p9_in){ .at = f->call.out + P9_HEADER_SIZE,
                           .left = f->call.out_size - P9_HEADER_SIZE };
    if (f->call.out[4] == P9_RLERROR) {
        return -(int)p9_get32(&f->r);
    }
    assert_int_equal(f->call.out[4], f->call.in[4] + 1);
    return 0;
}

static inline int send(struct fixture *f)
{
    return send_with(f, NULL, 0);
}

static inline int walk(struct fixture *f, uint32_t from, uint32_t to, const char *a, const char *b)
{
    begin(f, P9_TWALK);
    p9_put32(&f->m, from);
    p9_put32(&f->m, to);
    p9_put16(&f->m, (uint16_t)((a != NULL) + (b != NULL)));
    if (a != NULL) {
        text(f, a);
    }
    if (b != NULL) {
        text(f, b);
    }
    return send(f);
}

static inline int clunk(struct fixture *f, uint32_t fid)
{
    begin(f, P9_TCLUNK);
    p9_put32(&f->m, fid);
    return send(f);
}

static inline int lopen(struct fixture *f, uint32_t fid, uint32_t flags)
{
    begin(f, P9_TLOPEN);
    p9_put32(&f->m, fid);
    p9_put32(&f->m, flags);
    return send(f);
}

static inline int lcreate(struct fixture *f, uint32_t fid, const char *name, uint32_t flags,
                          uint32_t mode)
{
    begin(f, P9_TLCREATE);
    p9_put32(&f->m, fid);
    text(f, name);
    p9_put32(&f->m, flags);
    p9_put32(&f->m, mode);
    p9_put32(&f->m, (uint32_t)getegid());
    return send(f);
}

static inline int read_at(struct fixture *f, uint32_t fid, uint64_t offset, uint32_t count)
{
    int err;

    begin(f, P9_TREAD);
    p9_put32(&f->m, fid);
    p9_put64(&f->m, offset);
    p9_put32(&f->m, count);
    err = send(f);
    return err < 0 ? err : (int)p9_get32(&f->r);
}

static inline int write_at(struct fixture *f, uint32_t fid, uint64_t offset, const char *s)
{
    int err;

    begin(f, P9_TWRITE);
    p9_put32(&f->m, fid);
    p9_put64(&f->m, offset);
    p9_put32(&f->m, (uint32_t)strlen(s));
    err = send_with(f, (void *)(uintptr_t)s, strlen(s));
    return err < 0 ? err : (int)p9_get32(&f->r);
}

static inline int setattr(struct fixture *f, uint32_t fid, uint32_t valid, uint32_t mode,
                          uint64_t size)
{
    begin(f, P9_TSETATTR);
    p9_put32(&f->m, fid);
    p9_put32(&f->m, valid);
    p9_put32(&f->m, mode);
    p9_put32(&f->m, 0);
    p9_put32(&f->m, 0);
    p9_put64(&f->m, size);
    for (unsigned i = 0; i < 4; i++) {
        p9_put64(&f->m, 5);
    }
    return send(f);
}

/* A message of a fid, a name, and up to two numbers (mkdir, unlinkat). */
static inline int named(struct fixture *f, uint8_t type, uint32_t fid, const char *name,
                        unsigned count, uint32_t a, uint32_t b)
{
    begin(f, type);
    p9_put32(&f->m, fid);
    text(f, name);
    if (count > 0) {
        p9_put32(&f->m, a);
    }
    if (count > 1) {
        p9_put32(&f->m, b);
    }
    return send(f);
}

static inline int renameat_(struct fixture *f, uint32_t from, const char *old, uint32_t to,
                            const char *new)
{
    begin(f, P9_TRENAMEAT);
    p9_put32(&f->m, from);
    text(f, old);
    p9_put32(&f->m, to);
    text(f, new);
    return send(f);
}

static inline int symlink_(struct fixture *f, uint32_t fid, const char *name, const char *target)
{
    begin(f, P9_TSYMLINK);
    p9_put32(&f->m, fid);
    text(f, name);
    text(f, target);
    p9_put32(&f->m, (uint32_t)getegid());
    return send(f);
}

static inline int hello(struct fixture *f, const char *version)
{
    begin(f, P9_TVERSION);
    p9_put32(&f->m, 65536);
    text(f, version);
    return send(f);
}

static inline int attach(struct fixture *f, uint32_t fid, const char *tag)
{
    begin(f, P9_TATTACH);
    p9_put32(&f->m, fid);
    p9_put32(&f->m, P9_FID_NONE);
    text(f, "root");
    text(f, tag);
    p9_put32(&f->m, (uint32_t)geteuid());
    return send(f);
}

/* A server of the first `count` folders, as a machine that is made again has it. */
static inline void new_server(struct fixture *f, unsigned count)
{
    const struct p9_share_setup shares[] = { { "rw", f->roots[0], false },
                                             { "ro", f->roots[1], true } };
    const struct p9_server_setup setup = {
        .shares = shares, .share_count = count, .proc_fd = f->proc_fd, .fids_max = 8
    };

    assert_int_equal(p9_server_create(&setup, &f->server), 0);
}

static inline int start(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char path[96];

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/p9_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    host(f, "mkdir rw ro out && echo secret >out/file && echo hello >ro/file && mkdir ro/sub && "
            "mkdir rw/sub && echo world >rw/file && ln -s ../out rw/link && "
            "ln -s /etc/passwd rw/abs && mkfifo rw/fifo");
    (void)snprintf(path, sizeof(path), "%s/rw", f->dir);
    f->roots[0] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "%s/ro", f->dir);
    f->roots[1] = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    f->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(f->roots[0] >= 0 && f->roots[1] >= 0 && f->proc_fd >= 0);
    new_server(f, 2);
    assert_int_equal(hello(f, "9P2000.L.drupe"), 0);
    assert_int_equal(attach(f, ROOT, "rw"), 0);
    *state = f;
    return 0;
}

static inline int stop(void **state)
{
    struct fixture *f = *state;
    char command[128];

    p9_server_destroy(f->server);
    (void)close(f->roots[0]);
    (void)close(f->roots[1]);
    (void)close(f->proc_fd);
    (void)snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own text */
    free(f);
    return 0;
}
