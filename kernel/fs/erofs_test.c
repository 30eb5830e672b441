/* SPDX-License-Identifier: Apache-2.0 */
/* EROFS images made by mkfs.erofs here and now: every layout read back, damaged ones refused. */
#include <test.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <core/errno.h>
#include <fs/dev.h>
#include <fs/erofs/erofs.h>
#include <host/host.h>

#define SIZE_MAX_IMAGE (4u << 20)
#define FILE_BYTES     20000u

static char work[256];
static uint8_t *bytes;
static size_t size;

static void run_shell(const char *command)
{
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
}

static int group_setup(void **state)
{
    const char *tmp = getenv("DRUPE_TEST_TMP");
    char command[1024];

    (void)state;
    (void)snprintf(work, sizeof(work), "%s/erofs_test.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(work));
    (void)snprintf(command, sizeof(command),
                   "cd %s && mkdir -p s/d/many s/empty && yes drupe | head -c %u > s/d/big && "
                   "printf tiny > s/small && : > s/nothing && ln -s d/big s/link && "
                   "ln s/small s/d/hard && mkfifo s/fifo && "
                   "for i in $(seq 1 300); do : > s/d/many/entry-with-a-name-$i; done && "
                   "mkdir s/d/alike && for i in a ab abc abcdefg abcdefgh abcdefghi abcdefghij "
                   "abcdefgi abd b zzzzzzzzz; do printf %%s $i > s/d/alike/$i; done",
                   work, FILE_BYTES);
    run_shell(command);
    host_machine_create(UINT64_C(32) << 20, true);
    bytes = malloc(SIZE_MAX_IMAGE);
    assert_non_null(bytes);
    return 0;
}

static int group_teardown(void **state)
{
    char command[512];

    (void)state;
    free(bytes);
    (void)snprintf(command, sizeof(command), "rm -rf %s", work);
    run_shell(command);
    return 0;
}

static void make_image(const char *options)
{
    char command[1024];
    char name[512];
    FILE *f;

    (void)snprintf(command, sizeof(command),
                   "cd %s && rm -f image && mkfs.erofs -T1234 %s image s >/dev/null 2>&1", work,
                   options);
    run_shell(command);
    (void)snprintf(name, sizeof(name), "%s/image", work);
    f = fopen(name, "rb");
    assert_non_null(f);
    size = fread(bytes, 1, SIZE_MAX_IMAGE, f);
    (void)fclose(f);
}

/* The same bytes behind a block device. */
static int disk_read(struct block_device *b, uint64_t sector, void *buf, size_t count)
{
    (void)b;
    if (!range_fits(sector << 9, count << 9, align_up(size, 512))) {
        return -EIO;
    }
    memcpy(buf, bytes + (sector << 9), count << 9);
    return 0;
}

static struct block_device disk = { .name = "test", .read = disk_read };

static void open_image(struct erofs_image *image, bool on_disk)
{
    const char *why = "";

    *image = (struct erofs_image){ .size = size };
    if (on_disk) {
        image->device = &disk;
    } else {
        image->bytes = bytes;
    }
    if (erofs_open(image, 0, &why) != 0) {
        fail_msg("%s", why);
    }
}

/* Follows a path of names; links are not followed. */
static int find(struct erofs_image *image, const char *path, struct erofs_inode *out)
{
    uint64_t nid = image->root_nid;
    int err = erofs_inode_read(image, nid, out);

    while (err == 0 && *path) {
        const char *slash = strchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : strlen(path);

        err = erofs_lookup(image, out, path, n, &nid);
        if (err == 0) {
            err = erofs_inode_read(image, nid, out);
        }
        path += n + (path[n] == '/');
    }
    return err;
}

static unsigned count_entries(struct erofs_image *image, const struct erofs_inode *dir)
{
    struct erofs_dirent entry;
    struct erofs_dir d;
    unsigned count = 0;
    uint64_t pos = 0;
    int n;

    erofs_dir_begin(&d, image, dir);
    while ((n = erofs_dir_next(&d, pos, &entry)) == 1) {
        pos = entry.next;
        count++;
    }
    erofs_dir_end(&d);
    assert_int_equal(n, 0);
    return count;
}

/* Names that are one another's beginnings, around the eight bytes that a search compares first. */
static void check_names_alike(struct erofs_image *image)
{
    static const char *const there[] = { "a",         "ab",         "abc",      "abcdefg",
                                         "abcdefgh",  "abcdefghij", "abcdefgi", "abd",
                                         "abcdefghi", "b",          "zzzzzzzzz" };
    static const char *const absent[] = { "A",          "aa",       "abb",        "abcd",
                                          "abcdef",     "abcdefgg", "abcdefha",   "abe",
                                          "abcdefghia", "ba",       "abcdefghi0", "zzzzzzzz",
                                          "zzzzzzzzzz", "~" };
    struct erofs_inode inode;
    char name[64];

    for (unsigned i = 0; i < array_size(there); i++) {
        (void)snprintf(name, sizeof(name), "d/alike/%s", there[i]);
        assert_int_equal(find(image, name, &inode), 0);
        assert_int_equal(inode.size, strlen(there[i]));
    }
    for (unsigned i = 0; i < array_size(absent); i++) {
        (void)snprintf(name, sizeof(name), "d/alike/%s", absent[i]);
        assert_int_equal(find(image, name, &inode), -ENOENT);
    }
}

static void check_tree(struct erofs_image *image)
{
    static uint8_t buf[FILE_BYTES];
    struct erofs_inode inode;
    uint64_t nid;
    char name[64];

    assert_int_equal(find(image, "", &inode), 0);
    assert_int_equal(count_entries(image, &inode), 8);
    assert_int_equal(find(image, "small", &inode), 0);
    assert_int_equal(inode.size, 4);
    assert_int_equal(inode.nlink, 2);
    nid = inode.nid;
    assert_int_equal(erofs_read(image, &inode, 0, buf, 4), 0);
    assert_memory_equal(buf, "tiny", 4);
    assert_int_equal(find(image, "d/hard", &inode), 0);
    assert_int_equal(inode.nid, nid);
    assert_int_equal(find(image, "link", &inode), 0);
    assert_int_equal(erofs_read(image, &inode, 0, buf, 5), 0);
    assert_memory_equal(buf, "d/big", 5);
    assert_int_equal(find(image, "d/big", &inode), 0);
    assert_int_equal(inode.size, FILE_BYTES);
    assert_int_equal(erofs_read(image, &inode, 0, buf, FILE_BYTES), 0);
    for (unsigned i = 0; i < FILE_BYTES; i++) {
        assert_int_equal(buf[i], "drupe\n"[i % 6]);
    }
    assert_int_equal(erofs_read(image, &inode, 4090, buf, 12), 0); /* over a block's edge */
    assert_int_equal(buf[0], "drupe\n"[4090 % 6]);
    assert_int_equal(find(image, "d/many", &inode), 0);
    assert_int_equal(count_entries(image, &inode), 302);
    for (unsigned i = 1; i <= 300; i++) {
        (void)snprintf(name, sizeof(name), "d/many/entry-with-a-name-%u", i);
        assert_int_equal(find(image, name, &inode), 0);
    }
    check_names_alike(image);
    assert_int_equal(find(image, "d/many/entry-with-a-name-301", &inode), -ENOENT);
    assert_int_equal(find(image, "a", &inode), -ENOENT);
    assert_int_equal(find(image, "zzz", &inode), -ENOENT);
    assert_int_equal(find(image, "nothing", &inode), 0);
    assert_int_equal(inode.size, 0);
    assert_int_equal(find(image, "fifo", &inode), 0);
    assert_int_equal(inode.mode & 0170000u, 0010000);
}

static void reads_every_layout(void **state)
{
    static const char *const options[] = { "-E noinline_data", "", "-E force-inode-compact",
                                           "-E force-inode-extended", "-x-1 -Enoinline_data" };

    (void)state;
    for (unsigned i = 0; i < array_size(options); i++) {
        struct erofs_image image;

        make_image(options[i]);
        open_image(&image, false);
        check_tree(&image);
        erofs_close(&image);
        open_image(&image, true);
        check_tree(&image);
        erofs_close(&image);
    }
}

static void gives_frames_of_aligned_files(void **state)
{
    struct erofs_image image;
    struct erofs_inode inode;
    paddr_t pa = 0;

    (void)state;
    make_image("-E noinline_data");
    open_image(&image, false);
    assert_int_equal(find(&image, "d/big", &inode), 0);
    assert_int_equal(erofs_frames(&image, &inode, 0, &pa), 5);
    assert_memory_equal(bytes + pa, "drupe", 5);
    assert_int_equal(erofs_frames(&image, &inode, 4, &pa), 1);
    assert_int_equal(erofs_frames(&image, &inode, 5, &pa), 0);
    erofs_close(&image);
}

static void refuses_compressed_files(void **state)
{
    struct erofs_image image;
    struct erofs_inode inode;
    uint8_t byte;

    (void)state;
    make_image("-zlz4");
    open_image(&image, false);
    assert_int_equal(find(&image, "d/big", &inode), 0);
    assert_int_equal(erofs_read(&image, &inode, 0, &byte, 1), -EOPNOTSUPP);
    assert_int_equal(erofs_frames(&image, &inode, 0, &(paddr_t){ 0 }), 0);
    erofs_close(&image);
}

static void refuses_damaged_superblocks(void **state)
{
    static const struct {
        const char *what;
        size_t offset; /* in the superblock */
        uint32_t value;
        size_t width;
        size_t size; /* of the image; 0: as it is */
        int expected;
    } cases[] = {
        { "magic", 0, 0x12345678, 4, 0, -EINVAL },
        { "checksum", 4, 1, 4, 0, -EUCLEAN },
        { "block size", 12, 13, 1, 0, -EINVAL },
        { "block size 0", 12, 0, 1, 0, -EINVAL },
        { "feature", 80, 0x8, 4, 0, -EOPNOTSUPP },
        { "unknown feature", 80, 0x80000000u, 4, 0, -EOPNOTSUPP },
        { "more blocks than bytes", 36, 0xffffffffu, 4, 0, -EUCLEAN },
        { "directory blocks", 90, 1, 1, 0, -EOPNOTSUPP },
        { "truncated", 0, 0xe0f5e1e2u, 4, 8192, -EUCLEAN },
        { "tiny", 0, 0xe0f5e1e2u, 4, 1100, -EINVAL },
        { "empty", 0, 0xe0f5e1e2u, 4, 1, -EINVAL },
    };

    (void)state;
    for (unsigned i = 0; i < array_size(cases); i++) {
        struct erofs_image image;
        const char *why = NULL;

        make_image("-E noinline_data");
        memcpy(bytes + 1024 + cases[i].offset, &cases[i].value, cases[i].width);
        image =
            (struct erofs_image){ .bytes = bytes, .size = cases[i].size ? cases[i].size : size };
        if (erofs_open(&image, 0, &why) != cases[i].expected || !why) {
            fail_msg("%s: %s", cases[i].what, why ? why : "no reason");
        }
    }
}

/* A byte changed anywhere in the metadata may change what is found, never crash or hang. */
static void survives_changed_bytes(void **state)
{
    uint64_t seed = 1;

    (void)state;
    make_image("");
    for (unsigned i = 0; i < 3000; i++) {
        struct erofs_image image = { .bytes = bytes, .size = size };
        struct erofs_inode inode;
        struct erofs_dirent entry;
        struct erofs_dir d;
        const char *why;
        uint64_t pos = 0;
        uint8_t old;
        size_t at;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        at = 1024 + (seed >> 20) % min_of(size - 1024, (size_t)8192);
        old = bytes[at];
        bytes[at] ^= (uint8_t)(1 + (seed >> 50) % 255);
        if (erofs_open(&image, EROFS_SKIP_CHECKSUM, &why) == 0) {
            if (find(&image, "d", &inode) == 0) {
                erofs_dir_begin(&d, &image, &inode);
                while (erofs_dir_next(&d, pos, &entry) == 1) {
                    assert_true(entry.next > pos);
                    pos = entry.next;
                }
                erofs_dir_end(&d);
            }
            (void)find(&image, "d/many/entry-with-a-name-7", &inode);
            erofs_close(&image);
        }
        bytes[at] = old;
    }
}

static void crc_is_castagnolis(void **state)
{
    (void)state;
    assert_int_equal(crc32c(UINT32_MAX, "123456789", 9) ^ UINT32_MAX, 0xe3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnolis),
        cmocka_unit_test(reads_every_layout),
        cmocka_unit_test(gives_frames_of_aligned_files),
        cmocka_unit_test(refuses_compressed_files),
        cmocka_unit_test(refuses_damaged_superblocks),
        cmocka_unit_test(survives_changed_bytes),
    };

    if (system("command -v mkfs.erofs >/dev/null") != 0) {
        (void)printf("ok - EROFS # SKIP mkfs.erofs is not installed\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
