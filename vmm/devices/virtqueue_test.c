/* SPDX-License-Identifier: Apache-2.0 */
/* Rings as they should be, and every way to break one. */

#include "test_driver.h"

#include <stdlib.h>

#define QUEUE_SIZE 8u
#define DESC_GPA   0x1000u
#define AVAIL_GPA  0x2000u
#define USED_GPA   0x3000u
#define TABLE_GPA  0x4000u /* an indirect table */
#define F_EVENT    (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define F_INDIRECT (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define W          VRING_DESC_F_WRITE
#define N          VRING_DESC_F_NEXT
#define I          VRING_DESC_F_INDIRECT

struct fixture {
    struct test_machine m;
    struct virtqueue vq;
    struct test_queue q;
    struct vring_desc *table;
    struct vq_chain chain;
};

static struct fixture *start(uint64_t features)
{
    struct fixture *f = aligned_alloc(4096, align_up(sizeof(*f), 4096u));

    assert_non_null(f);
    memset(f, 0, sizeof(*f));
    test_machine_init(&f->m);
    vq_reset(&f->vq, &f->m.gmem, QUEUE_SIZE);
    f->vq.desc.raw = DESC_GPA;
    f->vq.avail.raw = AVAIL_GPA;
    f->vq.used.raw = USED_GPA;
    assert_int_equal(vq_start(&f->vq, features), 0);
    f->q = (struct test_queue){
        .size = QUEUE_SIZE,
        .desc = (void *)(f->m.ram + DESC_GPA),
        .avail = (void *)(f->m.ram + AVAIL_GPA),
        .used = (void *)(f->m.ram + USED_GPA),
    };
    f->table = (void *)(f->m.ram + TABLE_GPA);
    return f;
}

static struct vring_desc linked(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    return (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

static void start_refuses(void **state)
{
    static const struct {
        uint64_t size;
        uint64_t desc;
        uint64_t avail;
        uint64_t used;
        int expected;
    } cases[] = {
        { 8, DESC_GPA, AVAIL_GPA, USED_GPA, 0 },
        { 1, DESC_GPA, AVAIL_GPA, USED_GPA, 0 },
        { 0, DESC_GPA, AVAIL_GPA, USED_GPA, -EINVAL },
        { 7, DESC_GPA, AVAIL_GPA, USED_GPA, -EINVAL },
        { 16, DESC_GPA, AVAIL_GPA, USED_GPA, -EINVAL },
        { UINT16_MAX, DESC_GPA, AVAIL_GPA, USED_GPA, -EINVAL },
        { 8, DESC_GPA + 8, AVAIL_GPA, USED_GPA, -EINVAL },
        { 8, DESC_GPA, AVAIL_GPA + 1, USED_GPA, -EINVAL },
        { 8, DESC_GPA, AVAIL_GPA, USED_GPA + 2, -EINVAL },
        { 8, TEST_RAM_SIZE - 128, AVAIL_GPA, USED_GPA, 0 },
        { 8, TEST_RAM_SIZE - 112, AVAIL_GPA, USED_GPA, -EINVAL },
        { 8, DESC_GPA, TEST_RAM_SIZE - 20, USED_GPA, -EINVAL },
        { 8, DESC_GPA, AVAIL_GPA, TEST_RAM_SIZE - 68, -EINVAL },
        { 8, UINT64_MAX - 15, AVAIL_GPA, USED_GPA, -EINVAL },
        { 8, DESC_GPA, UINT64_MAX - 1, USED_GPA, -EINVAL },
        { 8, DESC_GPA, AVAIL_GPA, UINT64_MAX - 3, -EINVAL },
        { 8, TEST_ROM_GPA, TEST_ROM_GPA + 512, USED_GPA, 0 },
        { 8, DESC_GPA, AVAIL_GPA, TEST_ROM_GPA, -EINVAL },
    };
    struct fixture *f = start(0);

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        vq_reset(&f->vq, &f->m.gmem, QUEUE_SIZE);
        f->vq.size = (uint16_t)cases[i].size;
        f->vq.desc.raw = cases[i].desc;
        f->vq.avail.raw = cases[i].avail;
        f->vq.used.raw = cases[i].used;
        assert_int_equal(vq_start(&f->vq, 0), cases[i].expected);
        assert_int_equal(f->vq.is_ready, cases[i].expected == 0);
    }
    vq_reset(&f->vq, &f->m.gmem, QUEUE_SIZE);
    assert_int_equal(vq_take(&f->vq, &f->chain), 0); /* not ready: nothing to take */
    assert_int_equal(vq_kicks_on(&f->vq), 0);
    assert_false(vq_publish(&f->vq));
    free(f);
}

static void takes_chains(void **state)
{
    struct fixture *f = start(F_INDIRECT);
    const struct vring_desc direct[] = {
        test_desc(0x5000, 10, 0),
        test_desc(0x6000, 0, 0), /* empty: legal, left out */
        test_desc(0x7000, 20, W),
        test_desc(0x8000, 30, W),
    };
    uint8_t bytes[8];

    (void)state;
    assert_int_equal(vq_take(&f->vq, &f->chain), 0);
    (void)test_chain(&f->q, direct, array_size(direct));
    test_publish(&f->q);
    assert_int_equal(vq_take(&f->vq, &f->chain), 1);
    assert_int_equal(f->chain.readable_count, 1);
    assert_int_equal(f->chain.writable_count, 2);
    assert_int_equal(f->chain.readable_size, 10);
    assert_int_equal(f->chain.writable_size, 50);
    assert_int_equal(f->chain.segments[2].addr.raw, 0x8000);

    /* Back, and taken again. */
    vq_untake(&f->vq);
    assert_int_equal(vq_take(&f->vq, &f->chain), 1);
    assert_int_equal(vq_take(&f->vq, &f->chain), 0);

    /* Copies across segments, and their limits. */
    assert_int_equal(vq_chain_write(&f->vq, &f->chain, 18, "abcd", 4), 0);
    assert_memory_equal(f->m.ram + 0x7000 + 18, "ab", 2);
    assert_memory_equal(f->m.ram + 0x8000, "cd", 2);
    assert_int_equal(vq_chain_write(&f->vq, &f->chain, 47, "abcd", 4), -ENOSPC);
    assert_int_equal(vq_chain_write(&f->vq, &f->chain, SIZE_MAX, "abcd", 4), -ENOSPC);
    assert_int_equal(vq_chain_read(&f->vq, &f->chain, 3, bytes, 8), -ENODATA);
    assert_int_equal(vq_chain_read(&f->vq, &f->chain, 2, bytes, 8), 0);
    vq_complete(&f->vq, f->chain.head, 50);

    /* A direct descriptor, then an indirect table (2.6.5.3.2). */
    f->q.desc[4] = linked(0x5000, 4, N, 5);
    f->q.desc[5] = linked(TABLE_GPA, 32, I | W, 0); /* the write flag of a table means nothing */
    f->table[0] = linked(0x5100, 5, N, 1);
    f->table[1] = linked(0x6000, 6, W, 0);
    test_avail_head(&f->q, 4);
    test_publish(&f->q);
    assert_int_equal(vq_take(&f->vq, &f->chain), 1);
    assert_int_equal(f->chain.readable_size, 9);
    assert_int_equal(f->chain.writable_size, 6);
    free(f);
}

static void lends_ranges(void **state)
{
    struct fixture *f = start(0);
    const struct vring_desc descs[] = { test_desc(0x5000, 10, 0), test_desc(0x6000, 10, 0),
                                        test_desc(0x7000, 10, W) };

    static const struct {
        size_t offset;
        size_t limit;
        unsigned count;
        size_t size;
    } cases[] = {
        { 0, SIZE_MAX, 2, 20 }, { 0, 10, 1, 10 }, { 0, 11, 2, 11 },      { 10, 5, 1, 5 },
        { 19, 5, 1, 1 },        { 20, 5, 0, 0 },  { SIZE_MAX, 5, 0, 0 }, { 5, 0, 0, 0 },
    };
    struct iovec iov[VQ_SEGMENTS_MAX];

    (void)state;
    (void)test_chain(&f->q, descs, array_size(descs));
    test_publish(&f->q);
    assert_int_equal(vq_take(&f->vq, &f->chain), 1);
    for (unsigned i = 0; i < array_size(cases); i++) {
        size_t size = 1;

        assert_int_equal(vq_chain_iov(&f->vq, &f->chain, VQ_READABLE, cases[i].offset,
                                      cases[i].limit, iov, &size),
                         cases[i].count);
        assert_int_equal(size, cases[i].size);
    }
    free(f);
}

/* Chains that break the rules: descriptors from index 0 and table entries from 0; the head is 0. */
static void malformed_chains(void **state)
{
    static const struct {
        const char *what;
        struct vring_desc desc[3];
        struct vring_desc table[3];
        uint16_t head;
        uint64_t features;
    } cases[] = {
        { "head outside", { { 0x5000, 1, 0, 0 } }, { { 0 } }, QUEUE_SIZE, 0 },
        { "head far outside", { { 0x5000, 1, 0, 0 } }, { { 0 } }, UINT16_MAX, 0 },
        { "loop of one", { { 0x5000, 1, N, 0 } }, { { 0 } }, 0, 0 },
        { "loop of two", { { 0x5000, 1, N, 1 }, { 0x5000, 1, N, 0 } }, { { 0 } }, 0, 0 },
        { "loop of empty ones", { { 0x5000, 0, N, 1 }, { 0x5000, 0, N, 0 } }, { { 0 } }, 0, 0 },
        { "next outside", { { 0x5000, 1, N, QUEUE_SIZE } }, { { 0 } }, 0, 0 },
        { "behind the RAM", { { TEST_RAM_SIZE, 1, 0, 0 } }, { { 0 } }, 0, 0 },
        { "across its end", { { TEST_RAM_SIZE - 1, 2, W, 0 } }, { { 0 } }, 0, 0 },
        { "wraps 2^64", { { UINT64_MAX, 2, 0, 0 } }, { { 0 } }, 0, 0 },
        { "wraps to valid memory", { { UINT64_MAX - 15, 0x1000, 0, 0 } }, { { 0 } }, 0, 0 },
        { "huge", { { 0, UINT32_MAX, 0, 0 } }, { { 0 } }, 0, 0 },
        { "empty but outside", { { UINT64_MAX, 0, 0, 0 } }, { { 0 } }, 0, 0 },
        { "write to ROM", { { TEST_ROM_GPA, 16, W, 0 } }, { { 0 } }, 0, 0 },
        { "readable after writable",
          { { 0x5000, 1, W | N, 1 }, { 0x5000, 1, 0, 0 } },
          { { 0 } },
          0,
          0 },
        { "indirect not negotiated",
          { { TABLE_GPA, 16, I, 0 } },
          { { 0x5000, 1, 0, 0 } },
          0,
          F_EVENT },
        { "indirect with next",
          { { TABLE_GPA, 16, I | N, 1 } },
          { { 0x5000, 1, 0, 0 } },
          0,
          F_INDIRECT },
        { "indirect in indirect",
          { { TABLE_GPA, 16, I, 0 } },
          { { TABLE_GPA + 32, 16, I, 0 }, { 0 }, { 0x5000, 1, 0, 0 } },
          0,
          F_INDIRECT },
        { "empty table", { { TABLE_GPA, 0, I, 0 } }, { { 0x5000, 1, 0, 0 } }, 0, F_INDIRECT },
        { "odd table", { { TABLE_GPA, 17, I, 0 } }, { { 0x5000, 1, 0, 0 } }, 0, F_INDIRECT },
        { "table outside", { { TEST_RAM_SIZE - 16, 32, I, 0 } }, { { 0 } }, 0, F_INDIRECT },
        { "table wraps", { { UINT64_MAX - 15, 32, I, 0 } }, { { 0 } }, 0, F_INDIRECT },
        { "next outside the table",
          { { TABLE_GPA, 32, I, 0 } },
          { { 0x5000, 1, N, 2 } },
          0,
          F_INDIRECT },
        { "loop in the table",
          { { TABLE_GPA, 32, I, 0 } },
          { { 0x5000, 1, N, 0 } },
          0,
          F_INDIRECT },
        { "bad address in the table",
          { { TABLE_GPA, 16, I, 0 } },
          { { UINT64_MAX, 9, W, 0 } },
          0,
          F_INDIRECT },
    };

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        struct fixture *f = start(cases[i].features);

        memcpy(f->q.desc, cases[i].desc, sizeof(cases[i].desc));
        memcpy(f->table, cases[i].table, sizeof(cases[i].table));
        test_avail_head(&f->q, cases[i].head);
        test_publish(&f->q);
        if (vq_take(&f->vq, &f->chain) != -EPROTO) {
            fail_msg("accepted: %s", cases[i].what);
        }
        assert_true(f->vq.is_broken);
        /* And it stays broken. */
        assert_int_equal(vq_take(&f->vq, &f->chain), -EPROTO);
        assert_int_equal(vq_kicks_on(&f->vq), -EPROTO);
        assert_false(vq_publish(&f->vq));
        free(f);
    }
}

/* A chain may be as long as the queue and no longer, in a table too; 4 GiB are too much in all. */
static void length_limits(void **state)
{
    struct fixture *f = start(F_INDIRECT);

    (void)state;
    for (unsigned n = QUEUE_SIZE; n <= QUEUE_SIZE + 1; n++) {
        for (unsigned i = 0; i < n; i++) {
            f->table[i] = linked(0x5000, 1, i + 1u < n ? N : 0, (uint16_t)(i + 1));
        }
        f->q.desc[0] = linked(TABLE_GPA, n * 16, I, 0);
        test_avail_head(&f->q, 0);
        test_publish(&f->q);
        assert_int_equal(vq_take(&f->vq, &f->chain), n == QUEUE_SIZE ? 1 : -EPROTO);
    }
    assert_int_equal(f->chain.head, 0);
    free(f);

    f = start(0);
    /* Address space as large as the sum needs; nobody looks at the bytes. */
    f->m.gmem.regions[0].size = UINT64_C(1) << 40;
    f->q.desc[0] = linked(0, UINT32_MAX - 1, N, 1);
    f->q.desc[1] = linked(0, 1, 0, 0);
    test_avail_head(&f->q, 0);
    test_publish(&f->q);
    assert_int_equal(vq_take(&f->vq, &f->chain), 1);
    assert_int_equal(f->chain.readable_size, UINT32_MAX);
    f->q.desc[1].len = 2;
    test_avail_head(&f->q, 0);
    test_publish(&f->q);
    assert_int_equal(vq_take(&f->vq, &f->chain), -EPROTO);
    free(f);
}

static void index_jumps(void **state)
{
    static const struct {
        uint16_t idx;
        int expected;
    } cases[] = { { 0, 0 },
                  { 1, 1 },
                  { QUEUE_SIZE, 1 },
                  { QUEUE_SIZE + 1, -EPROTO },
                  { 0x8000, -EPROTO },
                  { UINT16_MAX, -EPROTO } };

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        struct fixture *f = start(0);

        f->q.desc[0] = linked(0x5000, 1, 0, 0);
        f->q.avail->idx = cases[i].idx;
        assert_int_equal(vq_take(&f->vq, &f->chain), cases[i].expected);
        free(f);
    }
    {
        /* With all places in flight, one more is one too many. */
        struct fixture *f = start(0);

        f->q.desc[0] = linked(0x5000, 1, 0, 0);
        f->q.avail->idx = QUEUE_SIZE;
        for (unsigned n = 0; n < QUEUE_SIZE; n++) {
            assert_int_equal(vq_take(&f->vq, &f->chain), 1);
        }
        assert_int_equal(vq_take(&f->vq, &f->chain), 0);
        f->q.avail->idx = QUEUE_SIZE + 1;
        assert_int_equal(vq_take(&f->vq, &f->chain), -EPROTO);
        free(f);
    }
}

/* Both ways of keeping quiet, far enough for the indices to wrap. */
static void notifications(void **state)
{
    (void)state;
    for (unsigned has_event = 0; has_event < 2; has_event++) {
        struct fixture *f = start(has_event ? F_EVENT : 0);
        uint16_t *used_event = &f->q.avail->ring[QUEUE_SIZE];
        uint16_t *avail_event = (void *)&f->q.used->ring[QUEUE_SIZE];

        for (uint32_t n = 0; n < 70000; n++) {
            const bool wants = n % 3 == 0;

            assert_int_equal(vq_kicks_on(&f->vq), 0);
            if (has_event) {
                assert_int_equal(*avail_event, (uint16_t)n);
                *used_event = (uint16_t)(wants ? n : n + 5);
            } else {
                assert_int_equal(f->q.used->flags, 0);
                f->q.avail->flags = wants ? 0 : VRING_AVAIL_F_NO_INTERRUPT;
            }
            (void)test_post(&f->q, 0x5000, 1, 0);
            test_publish(&f->q);
            assert_int_equal(vq_kicks_on(&f->vq), 1);
            vq_kicks_off(&f->vq);
            assert_int_equal(f->q.used->flags, has_event ? 0 : VRING_USED_F_NO_NOTIFY);
            assert_int_equal(vq_take(&f->vq, &f->chain), 1);
            assert_false(vq_publish(&f->vq)); /* nothing to show yet */
            vq_complete(&f->vq, f->chain.head, n);
            assert_int_equal(f->q.used->idx, (uint16_t)n);
            assert_int_equal(vq_publish(&f->vq), wants);
            assert_int_equal(f->q.used->idx, (uint16_t)(n + 1));
            assert_int_equal(f->q.used->ring[n % QUEUE_SIZE].len, n);
        }
        free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_refuses), cmocka_unit_test(takes_chains),
        cmocka_unit_test(lends_ranges),  cmocka_unit_test(malformed_chains),
        cmocka_unit_test(length_limits), cmocka_unit_test(index_jumps),
        cmocka_unit_test(notifications),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
