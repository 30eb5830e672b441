/* SPDX-License-Identifier: Apache-2.0 */
/* The 9P server on a folder of its own: what it does, and above all what it refuses. */
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

static void host(const struct fixture *f, const char *script)
{
    char command[512];

    (void)snprintf(command, sizeof(command), "cd %s && { %s; }", f->dir, script);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the test's own text */
}

static void begin(struct fixture *f, uint8_t type)
{
    f->m = (struct p9_out){ .bytes = f->call.in, .limit = sizeof(f->call.in) };
    p9_put32(&f->m, 0);
    p9_put8(&f->m, type);
    p9_put16(&f->m, 7);
}

static void text(struct fixture *f, const char *s)
{
    p9_put_text(&f->m, s, strlen(s));
}

/* Send with `extra` bytes of data behind the message. 0 or the negative error of the reply. */
static int send_with(struct fixture *f, void *extra, size_t extra_size)
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

static int send(struct fixture *f)
{
    return send_with(f, NULL, 0);
}

static int walk(struct fixture *f, uint32_t from, uint32_t to, const char *a, const char *b)
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

static int clunk(struct fixture *f, uint32_t fid)
{
    begin(f, P9_TCLUNK);
    p9_put32(&f->m, fid);
    return send(f);
}

static int lopen(struct fixture *f, uint32_t fid, uint32_t flags)
{
    begin(f, P9_TLOPEN);
    p9_put32(&f->m, fid);
    p9_put32(&f->m, flags);
    return send(f);
}

static int lcreate(struct fixture *f, uint32_t fid, const char *name, uint32_t flags, uint32_t mode)
{
    begin(f, P9_TLCREATE);
    p9_put32(&f->m, fid);
    text(f, name);
    p9_put32(&f->m, flags);
    p9_put32(&f->m, mode);
    p9_put32(&f->m, (uint32_t)getegid());
    return send(f);
}

static int read_at(struct fixture *f, uint32_t fid, uint64_t offset, uint32_t count)
{
    int err;

    begin(f, P9_TREAD);
    p9_put32(&f->m, fid);
    p9_put64(&f->m, offset);
    p9_put32(&f->m, count);
    err = send(f);
    return err < 0 ? err : (int)p9_get32(&f->r);
}

static int write_at(struct fixture *f, uint32_t fid, uint64_t offset, const char *s)
{
    int err;

    begin(f, P9_TWRITE);
    p9_put32(&f->m, fid);
    p9_put64(&f->m, offset);
    p9_put32(&f->m, (uint32_t)strlen(s));
    err = send_with(f, (void *)(uintptr_t)s, strlen(s));
    return err < 0 ? err : (int)p9_get32(&f->r);
}

static int setattr(struct fixture *f, uint32_t fid, uint32_t valid, uint32_t mode, uint64_t size)
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
static int named(struct fixture *f, uint8_t type, uint32_t fid, const char *name, unsigned count,
                 uint32_t a, uint32_t b)
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

static int renameat_(struct fixture *f, uint32_t from, const char *old, uint32_t to,
                     const char *new)
{
    begin(f, P9_TRENAMEAT);
    p9_put32(&f->m, from);
    text(f, old);
    p9_put32(&f->m, to);
    text(f, new);
    return send(f);
}

static int symlink_(struct fixture *f, uint32_t fid, const char *name, const char *target)
{
    begin(f, P9_TSYMLINK);
    p9_put32(&f->m, fid);
    text(f, name);
    text(f, target);
    p9_put32(&f->m, (uint32_t)getegid());
    return send(f);
}

static int hello(struct fixture *f, const char *version)
{
    begin(f, P9_TVERSION);
    p9_put32(&f->m, 65536);
    text(f, version);
    return send(f);
}

static int attach(struct fixture *f, uint32_t fid, const char *tag)
{
    begin(f, P9_TATTACH);
    p9_put32(&f->m, fid);
    p9_put32(&f->m, P9_FID_NONE);
    text(f, "root");
    text(f, tag);
    p9_put32(&f->m, (uint32_t)geteuid());
    return send(f);
}

static int start(void **state)
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
    const struct p9_share_setup shares[] = { { "rw", f->roots[0], false },
                                             { "ro", f->roots[1], true } };
    const struct p9_server_setup setup = {
        .shares = shares, .share_count = 2, .proc_fd = f->proc_fd, .fids_max = 8
    };

    assert_int_equal(p9_server_create(&setup, &f->server), 0);
    assert_int_equal(hello(f, "9P2000.L.drupe"), 0);
    assert_int_equal(attach(f, ROOT, "rw"), 0);
    *state = f;
    return 0;
}

static int stop(void **state)
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

static void test_session(void **state)
{
    struct fixture *f = *state;
    struct p9_text answer;

    assert_int_equal(attach(f, F, "nowhere"), -ENOENT);
    assert_int_equal(attach(f, F, ""), -ENOENT); /* two shares: which? */
    assert_int_equal(attach(f, ROOT, "ro"), -EBADF);
    assert_int_equal(attach(f, P9_FID_NONE, "ro"), -EBADF);
    assert_int_equal(hello(f, "9P2000"), 0);
    (void)p9_get32(&f->r);
    answer = p9_get_text(&f->r);
    assert_int_equal(answer.size, 7);
    assert_memory_equal(answer.bytes, "unknown", 7);
    assert_int_equal(p9_server_fid_count(f->server), 0);
    assert_int_equal(attach(f, ROOT, "rw"), -EPROTO); /* no version agreed on */
    assert_int_equal(hello(f, "9P2000.L"), 0);
    assert_int_equal(attach(f, ROOT, "rw"), 0);
    begin(f, P9_TLOOKUP);
    assert_int_equal(send(f), -EOPNOTSUPP); /* an extension, not agreed on */
}

static void test_walk_stays_inside(void **state)
{
    struct fixture *f = *state;

    static const struct {
        const char *a;
        const char *b;
        int expected;
    } cases[] = {
        { "..", NULL, -EINVAL },      { ".", NULL, -EINVAL },    { "", NULL, -EINVAL },
        { "sub/..", NULL, -EINVAL },  { "/etc", NULL, -EINVAL }, { "link", NULL, 0 },
        { "nothing", NULL, -ENOENT }, { "file", NULL, 0 },       { "abs", NULL, 0 },
    };

    for (size_t i = 0; i < array_size(cases); i++) {
        assert_int_equal(walk(f, ROOT, F, cases[i].a, cases[i].b), cases[i].expected);
        assert_int_equal(clunk(f, F), cases[i].expected == 0 ? 0 : -EBADF);
    }
    /* Through a link: the second step is refused, so the walk is partial and makes no fid. */
    assert_int_equal(walk(f, ROOT, F, "link", "file"), 0);
    assert_int_equal(p9_get16(&f->r), 1);
    assert_int_equal(clunk(f, F), -EBADF);
    assert_int_equal(walk(f, ROOT, F, "sub", ".."), 0);
    assert_int_equal(p9_get16(&f->r), 1);
    assert_int_equal(clunk(f, F), -EBADF);
    /* A link is no file and no directory. */
    assert_int_equal(walk(f, ROOT, F, "abs", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDONLY), -ELOOP);
    begin(f, P9_TREADLINK);
    p9_put32(&f->m, F);
    assert_int_equal(send(f), 0);
    const struct p9_text target = p9_get_text(&f->r);

    assert_int_equal(target.size, strlen("/etc/passwd"));
    assert_int_equal(walk(f, F, G, "x", NULL), -ENOTDIR);
    /* The host swaps a directory for a link between two steps. */
    assert_int_equal(clunk(f, F), 0);
    assert_int_equal(walk(f, ROOT, F, "sub", NULL), 0);
    host(f, "rmdir rw/sub && ln -s ../out rw/sub");
    assert_int_equal(walk(f, F, G, "file", NULL), -ENOENT);
    assert_int_equal(walk(f, ROOT, G, "sub", "file"), 0);
    assert_int_equal(p9_get16(&f->r), 1);
}

static void test_files(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(walk(f, ROOT, F, "file", NULL), 0);
    assert_int_equal(read_at(f, F, 0, 10), -EBADF); /* not open */
    assert_int_equal(lopen(f, F, O_RDONLY), 0);
    assert_int_equal(lopen(f, F, O_RDONLY), -EINVAL);
    assert_int_equal(walk(f, F, G, NULL, NULL), -EINVAL);
    assert_int_equal(read_at(f, F, 0, DATA_SIZE), 6);
    assert_memory_equal(f->data, "world\n", 6);
    assert_int_equal(read_at(f, F, 6, 10), 0);
    assert_int_equal(read_at(f, F, UINT64_MAX, 10), -EINVAL);
    assert_int_equal(write_at(f, F, 0, "x"), -EBADF); /* opened for reading */
    assert_int_equal(clunk(f, F), 0);

    assert_int_equal(walk(f, ROOT, F, NULL, NULL), 0);
    assert_int_equal(lcreate(f, F, "new", O_RDWR | O_EXCL, 0640), 0);
    assert_int_equal(write_at(f, F, 3, "abc"), 3);
    assert_int_equal(read_at(f, F, 0, 100), 6);
    assert_memory_equal(f->data, "\0\0\0abc", 6);
    assert_int_equal(setattr(f, F, 0x8, 0, 4), 0);
    assert_int_equal(setattr(f, F, 0x1, 0106755, 0), 0);
    begin(f, P9_TFSYNC);
    p9_put32(&f->m, F);
    p9_put32(&f->m, 0);
    assert_int_equal(send(f), 0);
    host(f, "test $(stat -c %s:%a rw/new) = 4:755"); /* no set-user-id from a guest */
    assert_int_equal(clunk(f, F), 0);
    assert_int_equal(walk(f, ROOT, F, NULL, NULL), 0);
    assert_int_equal(lcreate(f, F, "new", O_RDWR | O_EXCL, 0640), -EEXIST);
    assert_int_equal(lcreate(f, F, "abs", O_RDWR, 0640), -ELOOP);
    assert_int_equal(lcreate(f, F, "fifo", O_RDWR, 0640), -ENXIO);
    assert_int_equal(lcreate(f, F, "../x", O_RDWR, 0640), -EINVAL);
    assert_int_equal(lcreate(f, F, "new", O_RDWR | O_TRUNC, 0640), 0);
    host(f, "test $(stat -c %s rw/new) = 0");
    assert_int_equal(clunk(f, F), 0);
    assert_int_equal(walk(f, ROOT, F, "fifo", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDONLY), -ENXIO);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    char longest[300];

    memset(longest, 'n', sizeof(longest));
    longest[299] = '\0';
    assert_int_equal(named(f, P9_TMKDIR, ROOT, "d", 2, 0750, (uint32_t)getegid()), 0);
    assert_int_equal(named(f, P9_TMKDIR, ROOT, "d", 2, 0750, 0), -EEXIST);
    assert_int_equal(named(f, P9_TMKDIR, ROOT, "..", 2, 0750, 0), -EINVAL);
    assert_int_equal(named(f, P9_TMKDIR, ROOT, longest, 2, 0750, 0), -ENAMETOOLONG);
    assert_int_equal(named(f, P9_TMKDIR, ROOT, "e", 1, 0750, 0), -EINVAL); /* short */
    assert_int_equal(symlink_(f, ROOT, "l", "anything/../at all"), 0);
    assert_int_equal(symlink_(f, ROOT, "m", ""), -EINVAL);
    host(f, "test \"$(readlink rw/l)\" = 'anything/../at all'");
    assert_int_equal(walk(f, ROOT, F, "d", NULL), 0);
    assert_int_equal(renameat_(f, ROOT, "file", F, "moved"), 0);
    assert_int_equal(renameat_(f, F, "../file", ROOT, "x"), -EINVAL);
    host(f, "grep -q world rw/d/moved");
    begin(f, P9_TMKNOD);
    p9_put32(&f->m, ROOT);
    text(f, "dev");
    p9_put32(&f->m, S_IFBLK | 0600);
    p9_put32(&f->m, 8);
    p9_put32(&f->m, 0);
    p9_put32(&f->m, 0);
    assert_int_equal(send(f), -EPERM);
    assert_int_equal(named(f, P9_TUNLINKAT, ROOT, "d", 1, AT_REMOVEDIR, 0), -ENOTEMPTY);
    assert_int_equal(named(f, P9_TUNLINKAT, F, "moved", 1, AT_REMOVEDIR, 0), -ENOTDIR);
    assert_int_equal(named(f, P9_TUNLINKAT, F, "..", 1, AT_REMOVEDIR, 0), -EINVAL);
    assert_int_equal(named(f, P9_TUNLINKAT, F, "moved", 1, 0xff, 0), -EINVAL);

    assert_int_equal(walk(f, F, G, "moved", NULL), 0);
    begin(f, P9_TLINK);
    p9_put32(&f->m, ROOT);
    p9_put32(&f->m, G);
    text(f, "hard");
    assert_int_equal(send(f), 0);
    host(f, "test rw/hard -ef rw/d/moved");
    assert_int_equal(named(f, P9_TUNLINKAT, F, "moved", 1, 0, 0), 0);
    assert_int_equal(named(f, P9_TUNLINKAT, ROOT, "d", 1, AT_REMOVEDIR, 0), 0);
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(attach(f, F, "ro"), 0);
    assert_int_equal(walk(f, F, G, "file", NULL), 0);
    assert_int_equal(lopen(f, G, O_RDWR), -EROFS);
    assert_int_equal(lopen(f, G, O_WRONLY), -EROFS);
    assert_int_equal(lopen(f, G, O_RDONLY | O_TRUNC), -EROFS);
    assert_int_equal(setattr(f, G, 0x1, 0777, 0), -EROFS);
    assert_int_equal(setattr(f, G, 0x8, 0, 0), -EROFS);
    assert_int_equal(named(f, P9_TMKDIR, F, "d", 2, 0750, 0), -EROFS);
    assert_int_equal(symlink_(f, F, "l", "x"), -EROFS);
    assert_int_equal(named(f, P9_TUNLINKAT, F, "file", 1, 0, 0), -EROFS);
    assert_int_equal(renameat_(f, F, "file", F, "x"), -EROFS);
    assert_int_equal(renameat_(f, ROOT, "file", F, "x"), -EXDEV);
    assert_int_equal(renameat_(f, F, "file", ROOT, "x"), -EROFS);
    begin(f, P9_TLINK);
    p9_put32(&f->m, F);
    p9_put32(&f->m, G);
    text(f, "hard");
    assert_int_equal(send(f), -EROFS);
    begin(f, P9_TLINK);
    p9_put32(&f->m, ROOT);
    p9_put32(&f->m, G);
    text(f, "hard");
    assert_int_equal(send(f), -EXDEV);
    assert_int_equal(lopen(f, G, O_RDONLY), 0);
    assert_int_equal(read_at(f, G, 0, 100), 6);
    assert_int_equal(clunk(f, G), 0);
    assert_int_equal(lcreate(f, F, "new", O_RDONLY, 0600), -EROFS);
}

static void test_listing(void **state)
{
    struct fixture *f = *state;
    unsigned seen = 0;
    uint64_t cookie = 0;

    host(f, "cd rw && seq 1 500 | xargs touch");
    assert_int_equal(walk(f, ROOT, F, NULL, NULL), 0);
    assert_int_equal(lopen(f, F, O_RDONLY | O_DIRECTORY), 0);
    for (;;) {
        begin(f, P9_TREADDIR);
        p9_put32(&f->m, F);
        p9_put64(&f->m, cookie);
        p9_put32(&f->m, 1000);
        assert_int_equal(send(f), 0);
        const uint32_t size = p9_get32(&f->r);

        assert_true(size <= 1000);
        if (size == 0) {
            break;
        }
        assert_int_equal(f->r.left, size);
        while (f->r.left > 0) {
            (void)p9_get8(&f->r);
            (void)p9_get32(&f->r);
            (void)p9_get64(&f->r);
            cookie = p9_get64(&f->r);
            (void)p9_get8(&f->r);
            (void)p9_get_text(&f->r);
            seen++;
        }
        assert_false(f->r.is_short);
    }
    assert_int_equal(seen, 500 + 5 + 2); /* the fixture's five, "." and ".." */
    begin(f, P9_TREADDIR);
    p9_put32(&f->m, F);
    p9_put64(&f->m, 0);
    p9_put32(&f->m, 10);
    assert_int_equal(send(f), -EINVAL);
}

static void test_limits(void **state)
{
    struct fixture *f = *state;

    for (uint32_t fid = 10; fid < 17; fid++) {
        assert_int_equal(walk(f, ROOT, fid, NULL, NULL), 0);
    }
    assert_int_equal(walk(f, ROOT, 17, NULL, NULL), -ENFILE);
    assert_int_equal(walk(f, ROOT, 10, NULL, NULL), -EBADF); /* in use */
    assert_int_equal(clunk(f, 10), 0);
    assert_int_equal(clunk(f, 10), -EBADF);
    assert_int_equal(walk(f, ROOT, 17, NULL, NULL), 0);
    assert_int_equal(p9_server_fid_count(f->server), 8);

    begin(f, P9_TCLUNK); /* no fid in it */
    assert_int_equal(send(f), -EBADF);
    begin(f, P9_TGETATTR);
    store_le32(f->call.in, 3); /* shorter than a header */
    f->call.in_size = f->call.message_size = P9_HEADER_SIZE;
    assert_int_equal(p9_server_call(f->server, &f->call), P9_ERROR_SIZE);
    store_le32(f->call.in, 1000); /* longer than what was sent */
    assert_int_equal(p9_server_call(f->server, &f->call), P9_ERROR_SIZE);
    f->call.in_size = f->call.message_size = 6;
    assert_int_equal(p9_server_call(f->server, &f->call), -EPROTO);
    begin(f, 99);
    assert_int_equal(send(f), -EOPNOTSUPP);
}

static void test_extensions(void **state)
{
    struct fixture *f = *state;
    uint64_t path;

    begin(f, P9_TLOOKUP);
    p9_put32(&f->m, ROOT);
    p9_put32(&f->m, F);
    p9_put64(&f->m, 0);
    text(f, "file");
    assert_int_equal(send(f), 0);
    assert_int_equal(p9_get8(&f->r), 1);
    (void)p9_get64(&f->r);
    (void)p9_get8(&f->r);
    (void)p9_get32(&f->r);
    path = p9_get64(&f->r);
    assert_int_equal(p9_get32(&f->r) & S_IFMT, S_IFREG);
    begin(f, P9_TLOOKUP);
    p9_put32(&f->m, ROOT);
    p9_put32(&f->m, G);
    p9_put64(&f->m, path);
    text(f, "file");
    assert_int_equal(send(f), 0);
    assert_int_equal(p9_get8(&f->r), 0);
    assert_int_equal(clunk(f, G), -EBADF); /* known: none was made */
    begin(f, P9_TLOOKUP);
    p9_put32(&f->m, ROOT);
    p9_put32(&f->m, G);
    p9_put64(&f->m, 0);
    text(f, "..");
    assert_int_equal(send(f), -EINVAL);
    begin(f, P9_TOPENNEW);
    p9_put32(&f->m, F);
    p9_put32(&f->m, G);
    p9_put32(&f->m, O_RDWR);
    assert_int_equal(send(f), 0);
    assert_int_equal(write_at(f, G, 0, "WORLD"), 5);
    assert_int_equal(read_at(f, G, 0, 100), 6);
    begin(f, P9_TOPENNEW);
    p9_put32(&f->m, F);
    p9_put32(&f->m, G);
    p9_put32(&f->m, O_RDWR);
    assert_int_equal(send(f), -EBADF);
}

static void test_locks(void **state)
{
    struct fixture *f = *state;

    static const struct {
        uint32_t fid;
        uint8_t type;
        int status;
    } cases[] = { { F, F_WRLCK, 0 }, { G, F_WRLCK, 1 }, { G, F_RDLCK, 1 },
                  { F, F_UNLCK, 0 }, { G, F_RDLCK, 0 }, { F, F_RDLCK, 0 } };

    assert_int_equal(walk(f, ROOT, F, "file", NULL), 0);
    assert_int_equal(walk(f, ROOT, G, "file", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDWR), 0);
    assert_int_equal(lopen(f, G, O_RDWR), 0);
    for (size_t i = 0; i < array_size(cases); i++) {
        begin(f, P9_TLOCK);
        p9_put32(&f->m, cases[i].fid);
        p9_put8(&f->m, cases[i].type);
        p9_put32(&f->m, 0);
        p9_put64(&f->m, 0);
        p9_put64(&f->m, 0);
        p9_put32(&f->m, 1);
        text(f, "me");
        assert_int_equal(send(f), 0);
        assert_int_equal(p9_get8(&f->r), cases[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session, start, stop),
        cmocka_unit_test_setup_teardown(test_walk_stays_inside, start, stop),
        cmocka_unit_test_setup_teardown(test_files, start, stop),
        cmocka_unit_test_setup_teardown(test_names, start, stop),
        cmocka_unit_test_setup_teardown(test_read_only, start, stop),
        cmocka_unit_test_setup_teardown(test_listing, start, stop),
        cmocka_unit_test_setup_teardown(test_limits, start, stop),
        cmocka_unit_test_setup_teardown(test_extensions, start, stop),
        cmocka_unit_test_setup_teardown(test_locks, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
