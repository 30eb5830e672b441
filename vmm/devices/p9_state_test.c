/* SPDX-License-Identifier: Apache-2.0 */
/* A session of the 9P server that goes on in another server, and hostile bytes in its place. */
#include "test_p9_client.h"

#include "abi/snapshot.h"

#define H 4u
#define I 5u

struct saved {
    _Alignas(16) uint8_t bytes[8192];
    size_t size;
};

static void save(const struct fixture *f, struct saved *s)
{
    const size_t room = p9_server_state_size(f->server);

    memset(s, 0, sizeof(*s));
    assert_true(room <= sizeof(s->bytes));
    s->size = p9_server_save(f->server, s->bytes, room);
    assert_true(s->size <= room); /* what is lost needs less */
}

/* The session ends; another server begins with what was saved. */
static int go_on(struct fixture *f, const struct saved *s, unsigned shares, const char **why)
{
    p9_server_destroy(f->server);
    new_server(f, shares);
    return p9_server_load(f->server, s->bytes, s->size, why);
}

static struct snapshot_9p_fid *first_fid(struct saved *s)
{
    return (struct snapshot_9p_fid *)(void *)(s->bytes + sizeof(struct snapshot_9p));
}

static void test_goes_on(void **state)
{
    struct fixture *f = *state;
    struct saved s;
    const char *why = NULL;

    assert_int_equal(walk(f, ROOT, F, "file", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDWR | O_TRUNC), 0);
    assert_int_equal(write_at(f, F, 0, "world"), 5);
    assert_int_equal(walk(f, ROOT, G, "sub", NULL), 0);
    assert_int_equal(attach(f, H, "ro"), 0);
    assert_int_equal(walk(f, H, H, "file", NULL), 0);
    assert_int_equal(lopen(f, H, O_RDONLY), 0);
    save(f, &s);
    assert_int_equal(go_on(f, &s, 2, &why), 0);
    assert_int_equal(p9_server_fid_count(f->server), 4);
    assert_int_equal(read_at(f, F, 0, 100), 5); /* not truncated again */
    assert_memory_equal(f->data, "world", 5);
    assert_int_equal(write_at(f, F, 5, "!"), 1);
    assert_int_equal(lopen(f, F, O_RDONLY), -EINVAL); /* it is open */
    assert_int_equal(lcreate(f, G, "new", O_WRONLY, 0644), 0);
    assert_int_equal(read_at(f, H, 0, 100), 6);
    assert_memory_equal(f->data, "hello\n", 6);
    assert_int_equal(write_at(f, H, 0, "x"), -EBADF); /* open for reading */
    assert_int_equal(walk(f, ROOT, I, "link", NULL), 0);
    host(f, "test \"$(cat rw/file)\" = 'world!' && test -f rw/sub/new");
}

static void test_lost_files(void **state)
{
    struct fixture *f = *state;
    struct saved s;
    const char *why = NULL;

    host(f, "echo one >rw/one; echo two >rw/two; echo three >rw/three");
    assert_int_equal(walk(f, ROOT, F, "one", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDONLY), 0);
    assert_int_equal(walk(f, ROOT, G, "two", NULL), 0);
    assert_int_equal(walk(f, ROOT, H, "three", NULL), 0);
    host(f, "rm rw/one; rm rw/two; echo other >rw/two");
    save(f, &s);
    host(f, "rm rw/three");
    assert_int_equal(go_on(f, &s, 2, &why), 0);
    assert_int_equal(read_at(f, F, 0, 10), -ESTALE);  /* it had no name any more */
    assert_int_equal(lopen(f, G, O_RDONLY), -ESTALE); /* another file has its name */
    assert_int_equal(lopen(f, H, O_RDONLY), -ESTALE); /* gone meanwhile */
    assert_int_equal(read_at(f, I, 0, 10), -EBADF);   /* never was */
    assert_int_equal(walk(f, F, I, NULL, NULL), -ESTALE);
    save(f, &s); /* lost stays lost */
    assert_int_equal(go_on(f, &s, 2, &why), 0);
    assert_int_equal(read_at(f, F, 0, 10), -ESTALE);
    assert_int_equal(clunk(f, F), 0);
    assert_int_equal(clunk(f, F), -EBADF);
    assert_int_equal(walk(f, ROOT, F, "file", NULL), 0);
}

static void test_other_folders(void **state)
{
    struct fixture *f = *state;
    struct saved s;
    const char *why = NULL;

    save(f, &s);
    assert_int_equal(go_on(f, &s, 1, &why), -EINVAL);
    assert_string_equal(why, "it has another number of shared folders");
    memcpy(((struct snapshot_9p *)(void *)s.bytes)->shares[1].tag, "rx", 3);
    assert_int_equal(go_on(f, &s, 2, &why), -EINVAL);
    assert_string_equal(why, "one of its shared folders is not given");
}

/* Paths that its guest could not have walked lead nowhere. */
static void test_hostile_paths(void **state)
{
    static const char *const paths[] = { "../out/file", "./file",      "/etc/passwd", "link/file",
                                         "sub//x",      "sub/../file", "abs",         "fifo",
                                         "sub/",        "..",          "file/",       "file/../x" };
    struct fixture *f = *state;

    for (size_t i = 0; i < array_size(paths); i++) {
        struct saved s;
        struct snapshot_9p_fid *fid = NULL;
        const char *why = NULL;

        save(f, &s);
        fid = first_fid(&s);
        fid->flags |= SNAPSHOT_9P_FID_IS_OPEN;
        fid->open_flags = O_RDWR | O_CREAT | O_TRUNC;
        fid->path_size = (uint32_t)strlen(paths[i]);
        memcpy(fid + 1, paths[i], fid->path_size);
        s.size = sizeof(struct snapshot_9p) + (sizeof(*fid) + fid->path_size + 7) / 8 * 8;
        assert_int_equal(go_on(f, &s, 2, &why), 0);
        assert_int_equal(read_at(f, ROOT, 0, 10), -ESTALE);
        p9_server_reset(f->server);
        assert_int_equal(hello(f, "9P2000.L"), 0);
        assert_int_equal(attach(f, ROOT, "rw"), 0);
    }
    host(f, "test \"$(cat out/file)\" = secret && test \"$(cat rw/file)\" = world");
}

static void test_read_only_stays(void **state)
{
    struct fixture *f = *state;
    struct saved s;
    const char *why = NULL;

    assert_int_equal(attach(f, F, "ro"), 0);
    assert_int_equal(walk(f, F, F, "file", NULL), 0);
    assert_int_equal(clunk(f, ROOT), 0);
    save(f, &s);
    first_fid(&s)->flags |= SNAPSHOT_9P_FID_IS_OPEN;
    first_fid(&s)->open_flags = O_RDWR;
    assert_int_equal(go_on(f, &s, 2, &why), 0);
    assert_int_equal(write_at(f, F, 0, "x"), -ESTALE);
}

/* Whatever one byte, or the end, is: an error, or a session that can be used. */
static void test_hostile_bytes(void **state)
{
    struct fixture *f = *state;
    struct saved s;
    struct saved broken;
    const char *why = NULL;
    unsigned refused = 0;

    assert_int_equal(walk(f, ROOT, F, "file", NULL), 0);
    assert_int_equal(lopen(f, F, O_RDONLY), 0);
    save(f, &s);
    for (size_t i = 0; i < s.size; i++) {
        broken = s;
        broken.bytes[i] ^= 0xff;
        refused += go_on(f, &broken, 2, &why) < 0;
        (void)read_at(f, F, 0, 10);
        broken = s;
        broken.size = i;
        assert_true(go_on(f, &broken, 2, &why) < 0);
    }
    assert_true(refused > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, start, stop),
        cmocka_unit_test_setup_teardown(test_lost_files, start, stop),
        cmocka_unit_test_setup_teardown(test_other_folders, start, stop),
        cmocka_unit_test_setup_teardown(test_hostile_paths, start, stop),
        cmocka_unit_test_setup_teardown(test_read_only_stays, start, stop),
        cmocka_unit_test_setup_teardown(test_hostile_bytes, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
