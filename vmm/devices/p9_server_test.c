/* SPDX-License-Identifier: Apache-2.0 */
/* The 9P server on a folder of its own: what it does, and above all what it refuses. */
#include "test_p9_client.h"

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
