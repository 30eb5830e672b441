/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "snapshot/working_set.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 64u
#define PAGE  4096u

static uint8_t *map_private(int fd)
{
    void *p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    assert_true(p != MAP_FAILED);
    return p;
}

/* A file whose page n begins with the byte n + 1, and a snapshot that is no more than that. */
static void make_file(struct snapshot_file *f, struct snapshot_state *state)
{
    f->memory_fd = memfd_create("memory", MFD_CLOEXEC);
    assert_true(f->memory_fd >= 0);
    assert_int_equal(ftruncate(f->memory_fd, (off_t)PAGES * PAGE), 0);
    for (unsigned i = 0; i < PAGES; i++) {
        uint8_t byte = (uint8_t)(i + 1);

        assert_int_equal(pwrite(f->memory_fd, &byte, 1, (off_t)i * PAGE), 1);
    }
    state->ram_size = (uint64_t)PAGES * PAGE;
    f->state.header = state;
    f->version = 2;
    f->whole = (struct snapshot_run){ .count = PAGES };
    f->runs = &f->whole;
    f->run_count = 1;
}

static void test_bring(void **state)
{
    static const struct snapshot_run set[] = {
        { .page = 2, .count = 3, .kind = SNAPSHOT_RUN_READ },
        { .page = 20, .count = 4, .kind = SNAPSHOT_RUN_WRITTEN },
        { .page = 63, .count = 1, .kind = SNAPSHOT_RUN_WRITTEN },
    };
    struct snapshot_file f = { .working_set = set, .working_set_count = 3 };
    struct snapshot_state header = { 0 };
    struct memory_runs found;
    struct page_set own;
    struct page_set read;
    uint8_t *ram = NULL;

    (void)state;
    make_file(&f, &header);
    ram = map_private(f.memory_fd);
    assert_true(page_set_init(&own, PAGES));
    assert_true(page_set_init(&read, PAGES));
    working_set_bring(&f, ram);
    if (!page_sets_add_touched(&own, &read, ram)) {
        print_message("no /proc/self/pagemap\n");
        skip();
    }
    if (page_set_count(&own) == 0) {
        print_message("MADV_POPULATE_WRITE is of Linux 5.14\n");
        skip();
    }
    assert_int_equal(page_set_count(&own), 5);
    for (uint64_t page = 20; page < 24; page++) {
        assert_true(page_set_has(&own, page));
        assert_int_equal(ram[page * PAGE], page + 1); /* it was copied */
    }
    assert_true(page_set_has(&own, 63));
    for (uint64_t page = 2; page < 5; page++) {
        assert_true(page_set_has(&read, page));
    }
    /* What a machine writes besides belongs to the set that is found. */
    ram[(size_t)40 * PAGE] = 1;
    assert_int_equal(working_set_find(&found, &f, ram), 0);
    for (uint32_t i = 0; i < found.count; i++) {
        bool is_own =
            found.items[i].page == 20 || found.items[i].page == 40 || found.items[i].page == 63;

        assert_int_equal(found.items[i].kind, is_own ? SNAPSHOT_RUN_WRITTEN : SNAPSHOT_RUN_READ);
    }
    memory_runs_deinit(&found);
    page_set_deinit(&own);
    page_set_deinit(&read);
    assert_int_equal(munmap(ram, (size_t)PAGES * PAGE), 0);
    assert_int_equal(close(f.memory_fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bring),
    };

    return cmocka_run_group_tests_name("working_set", tests, NULL, NULL);
}
