/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File calls against the running Linux as the model: the same random operations on a directory of
 * the host and on our tmpfs above an EROFS image of the same tree. Results, error numbers, contents
 * and listings must agree. A failure prints the seed and the operation.
 */
#include <test.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The C library's; fs/fcntl.h has the same. */
#undef RENAME_NOREPLACE
#undef RENAME_EXCHANGE
#undef RENAME_WHITEOUT
#undef SEEK_SET
#undef SEEK_CUR
#undef SEEK_END
#undef SEEK_DATA
#undef SEEK_HOLE
extern int *__errno_location(void); /* <errno.h> would redefine core/errno.h */

#include <arch/abi_fs.h>
#include <core/errno.h>
#include <fs/dentry.h>
#include <fs/fcntl.h>
#include <fs/files.h>
#include <fs/tmpfs/tmpfs.h>
#include <host/host.h>
#include <sched/task.h>
#include <syscall_protos.h>

#define MIB   (UINT64_C(1) << 20)
#define STEPS 6000

static char work[256];
static uint64_t seed;
static int outside; /* the host's root, to come back to */

static uint32_t random32(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33);
}

/* --- the two worlds --------------------------------------------------------------------------- */

static long host(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    long result = syscall(number, a, b, c, d, e);

    return result < 0 ? -(long)*__errno_location() : result;
}

static void run_shell(const char *command)
{
    int status = system(command);

    if (status != 0) {
        fail_msg("%s: status %d", command, status);
    }
}

/* The image's file into frames of the simulated RAM. */
static void load_image(const char *name, struct erofs_image *image)
{
    struct page *p = page_alloc(PAGE_ORDER_MAX, GFP_KERNEL);
    FILE *f = fopen(name, "rb");

    assert_non_null(p);
    assert_non_null(f);
    *image = (struct erofs_image){ .pa = page_to_phys(p) };
    image->bytes = page_address(p);
    image->size = fread(page_address(p), 1, PAGE_SIZE << PAGE_ORDER_MAX, f);
    assert_int_not_equal(image->size, 0);
    (void)fclose(f);
}

static int start(void **state)
{
    const char *why = "";
    const char *tmp = getenv("DRUPE_TEST_TMP");
    struct erofs_image image;
    struct super_block *sb;
    char command[2048];

    (void)state;
    (void)snprintf(work, sizeof(work), "%s/linux_test.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(work));
    (void)snprintf(command, sizeof(command),
                   "cd %s && mkdir -p h/a/b h/c && seq 1 3000 > h/a/f && echo hi > h/b && "
                   "head -c 4096 /dev/zero > h/c/a && ln h/a/f h/c/f && ln -s a/f h/d && "
                   "ln -s ../c h/a/c && : > h/e && mkfs.erofs %s image h >/dev/null 2>&1",
                   work, (const char *)*state);
    run_shell(command);
    host_machine_create(64 * MIB, true);
    dentry_init();
    mount_init();
    names_init();
    (void)snprintf(command, sizeof(command), "%s/image", work);
    load_image(command, &image);
    assert_int_equal(tmpfs_mount_image(&overlay_type, &image, 0, 0, NULL, &why, &sb), 0);
    assert_int_equal(mount_super(sb, "image", NULL, 0), 0);
    current->files = files_create();
    current->fs = fs_context_create();
    (void)sys_umask(0);
    (void)syscall(SYS_umask, 0);
    /* ".." ends at the same place in both. */
    outside = (int)syscall(SYS_open, "/", O_RDONLY | O_DIRECTORY);
    assert_true(outside >= 0);
    assert_int_equal(chdir(work), 0);
    assert_int_equal(chroot("h"), 0);
    assert_int_equal(chdir("/"), 0);
    return 0;
}

static int stop(void **state)
{
    char command[512];

    (void)state;
    assert_int_equal(fchdir(outside), 0);
    assert_int_equal(chroot("."), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", work);
    run_shell(command);
    return 0;
}

/* --- names ------------------------------------------------------------------------------------ */

static const char *const words[] = { "a", "b", "c", "d", "e", "f", "a-longer-name-than-others" };

static void random_name(char *out, size_t size)
{
    size_t used = 0;
    unsigned depth = 1 + random32() % 3;

    out[0] = '\0';
    for (unsigned i = 0; i < depth; i++) {
        const char *word = words[random32() % array_size(words)];

        if (random32() % 24 == 0) {
            word = random32() % 2 ? ".." : ".";
        }
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? "/" : "", word);
    }
    if (random32() % 24 == 0) {
        (void)snprintf(out + used, size - used, "/");
    }
}

/* --- operations ------------------------------------------------------------------------------- */

static char operation[512]; /* what is being compared, for the message */

static void agree(long theirs, long ours)
{
    if (theirs != ours) {
        fail_msg("%s: Linux %ld, ours %ld", operation, theirs, ours);
    }
}

static uint64_t arg(const void *p)
{
    return (uintptr_t)p;
}

/* Opens in both; descriptors agree too, but for the offset that the test's own make. */
static bool open_both(const char *name, unsigned flags, uint32_t mode, int *theirs, int *ours)
{
    long a = host(SYS_open, arg(name), flags, mode, 0, 0);
    long b = sys_open(name, (int)flags, mode);

    if (a < 0 || b < 0) {
        agree(a, b);
        return false;
    }
    *theirs = (int)a;
    *ours = (int)b;
    return true;
}

static void close_both(int theirs, int ours)
{
    agree(host(SYS_close, (uint64_t)theirs, 0, 0, 0, 0), sys_close(ours));
}

static void compare_stat(const char *name, bool follow)
{
    struct abi_stat a = { 0 };
    struct abi_stat b;
    long theirs = host(follow ? SYS_stat : SYS_lstat, arg(name), arg(&a), 0, 0, 0);
    long ours = follow ? sys_stat(name, &b) : sys_lstat(name, &b);

    agree(theirs, ours);
    if (theirs < 0) {
        return;
    }
    agree(a.mode, b.mode);
    if (!S_ISDIR(a.mode)) { /* sizes and link counts of directories are each file system's own */
        agree(a.size, b.size);
        agree((long)a.nlink, (long)b.nlink);
    }
}

static void compare_contents(const char *name)
{
    static char a[65536];
    static char b[65536];
    int theirs;
    int ours;
    long n;

    if (!open_both(name, O_RDONLY | O_NONBLOCK, 0, &theirs, &ours)) {
        return;
    }
    n = host(SYS_read, (uint64_t)theirs, arg(a), sizeof(a), 0, 0);
    agree(n, sys_read(ours, b, sizeof(b)));
    if (n > 0 && memcmp(a, b, (size_t)n) != 0) {
        fail_msg("%s: contents differ", operation);
    }
    close_both(theirs, ours);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static unsigned names_of(char *buf, long size, char **names)
{
    unsigned count = 0;

    for (long at = 0; at < size; at += load_le16(buf + at + 16)) {
        char *name = buf + at + 19;

        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            name[-1] = (char)('0' + name[-1]); /* the type takes part in the comparison */
            names[count++] = name - 1;
        }
    }
    qsort(names, count, sizeof(*names), by_text);
    return count;
}

static void compare_listing(const char *name)
{
    static char a[32768];
    static char b[32768];
    char *a_names[256];
    char *b_names[256];
    unsigned count;
    long bytes = 0;
    long n;
    int theirs;
    int ours;

    if (!open_both(name, O_RDONLY | O_DIRECTORY, 0, &theirs, &ours)) {
        return;
    }
    n = host(SYS_getdents64, (uint64_t)theirs, arg(a), sizeof(a), 0, 0);
    assert_true(n > 0);
    count = names_of(a, n, a_names);
    /* Small pieces, so that listings go on from every position. */
    while ((n = sys_getdents64(ours, b + bytes, 64)) > 0) {
        bytes += n;
    }
    agree(0, n);
    agree(count, names_of(b, bytes, b_names));
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(a_names[i], b_names[i]) != 0) {
            fail_msg("%s: listed %s, ours %s", operation, a_names[i], b_names[i]);
        }
    }
    close_both(theirs, ours);
}

static void write_some(const char *name)
{
    static const unsigned modes[] = { O_RDWR,
                                      O_RDWR | O_CREAT,
                                      O_RDWR | O_CREAT | O_EXCL,
                                      O_WRONLY | O_CREAT | O_TRUNC,
                                      O_WRONLY | O_APPEND,
                                      O_RDWR | O_CREAT | O_NOFOLLOW };
    char data[9000];
    uint64_t at = random32() % 20000;
    uint64_t size = random32() % 4 ? random32() % 300 : random32() % sizeof(data);
    int theirs;
    int ours;

    memset(data, 'a' + (int)(random32() % 26), sizeof(data));
    if (!open_both(name, modes[random32() % array_size(modes)], 0644, &theirs, &ours)) {
        return;
    }
    if (random32() % 2) {
        agree(host(SYS_pwrite64, (uint64_t)theirs, arg(data), size, at, 0),
              sys_pwrite64(ours, data, size, (int64_t)at));
    } else {
        agree(host(SYS_write, (uint64_t)theirs, arg(data), size, 0, 0),
              sys_write(ours, data, size));
    }
    if (random32() % 4 == 0) {
        uint64_t to = random32() % 30000;

        agree(host(SYS_ftruncate, (uint64_t)theirs, to, 0, 0, 0), sys_ftruncate(ours, (int64_t)to));
    }
    if (random32() % 4 == 0) {
        int mode = random32() % 2 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0;
        uint64_t from = random32() % 20000;
        uint64_t length = 1 + random32() % 12000;

        agree(host(SYS_fallocate, (uint64_t)theirs, (uint64_t)mode, from, length, 0),
              sys_fallocate(ours, mode, (int64_t)from, (int64_t)length));
    }
    agree(host(SYS_lseek, (uint64_t)theirs, 0, SEEK_END, 0, 0), sys_lseek(ours, 0, SEEK_END));
    close_both(theirs, ours);
}

static void one_step(unsigned step)
{
    static const char *const verbs[] = { "write",     "mkdir",   "rmdir",    "unlink", "rename",
                                         "exchange",  "link",    "symlink",  "stat",   "lstat",
                                         "contents",  "listing", "truncate", "chmod",  "readlink",
                                         "noreplace", "write2",  "unlink2" };
    unsigned verb = random32() % array_size(verbs);
    uint64_t size = random32() % 20000;
    char target_a[256];
    char target_b[256];
    char x[128];
    char y[128];
    long n;

    random_name(x, sizeof(x));
    random_name(y, sizeof(y));
    (void)snprintf(operation, sizeof(operation), "step %u: %s %s %s", step, verbs[verb], x, y);
    switch (verb) {
    case 1:
        agree(host(SYS_mkdir, arg(x), 0755, 0, 0, 0), sys_mkdir(x, 0755));
        break;
    case 2:
        agree(host(SYS_rmdir, arg(x), 0, 0, 0, 0), sys_rmdir(x));
        break;
    case 3:
    case 17:
        agree(host(SYS_unlink, arg(x), 0, 0, 0, 0), sys_unlink(x));
        break;
    case 4:
        agree(host(SYS_rename, arg(x), arg(y), 0, 0, 0), sys_rename(x, y));
        break;
    case 5:
    case 15: {
        unsigned flags = verb == 5 ? RENAME_EXCHANGE : RENAME_NOREPLACE;

        agree(host(SYS_renameat2, (uint64_t)AT_FDCWD, arg(x), (uint64_t)AT_FDCWD, arg(y), flags),
              sys_renameat2(AT_FDCWD, x, AT_FDCWD, y, flags));
        break;
    }
    case 6:
        agree(host(SYS_link, arg(x), arg(y), 0, 0, 0), sys_link(x, y));
        break;
    case 7:
        agree(host(SYS_symlink, arg(x), arg(y), 0, 0, 0), sys_symlink(x, y));
        break;
    case 8:
    case 9:
        compare_stat(x, verb == 8);
        break;
    case 10:
        compare_contents(x);
        break;
    case 11:
        compare_listing(x);
        break;
    case 12:
        agree(host(SYS_truncate, arg(x), size, 0, 0, 0), sys_truncate(x, (int64_t)size));
        break;
    case 13:
        agree(host(SYS_chmod, arg(x), 0600 + size % 64, 0, 0, 0), sys_chmod(x, 0600 + size % 64));
        break;
    case 14:
        n = host(SYS_readlink, arg(x), arg(target_a), sizeof(target_a), 0, 0);
        agree(n, sys_readlink(x, target_b, sizeof(target_b)));
        if (n > 0 && memcmp(target_a, target_b, (size_t)n) != 0) {
            fail_msg("%s: targets differ", operation);
        }
        break;
    default:
        write_some(x);
        break;
    }
    if (step % 64 == 0) {
        (void)dentry_shrink(32);
    }
}

/* Everything, at the end. */
static void compare_tree(void)
{
    static const char *const roots[] = { ".", "a", "b", "c", "d", "e", "f" };

    for (unsigned i = 0; i < array_size(roots); i++) {
        (void)snprintf(operation, sizeof(operation), "at the end: %s", roots[i]);
        compare_stat(roots[i], false);
        compare_contents(roots[i]);
        compare_listing(roots[i]);
    }
}

static void same_as_linux(void **state)
{
    const char *given = getenv("FS_SEED");
    const char *length = getenv("FS_STEPS");
    unsigned steps = length ? (unsigned)strtoul(length, NULL, 10) : STEPS;

    (void)state;
    seed = given ? strtoull(given, NULL, 0) : 20261120;
    for (unsigned i = 0; i < steps; i++) {
        one_step(i);
    }
    compare_tree();
}

int main(void)
{
    static char plain[] = "-E noinline_data -T0";
    static char with_tails[] = "-T0";
    const struct CMUnitTest aligned[] = {
        cmocka_unit_test_prestate_setup_teardown(same_as_linux, start, stop, plain),
    };
    const struct CMUnitTest inlined[] = {
        cmocka_unit_test_prestate_setup_teardown(same_as_linux, start, stop, with_tails),
    };
    if (getuid() != 0) {
        (void)printf("ok - same as Linux # SKIP needs root, as whom our side runs\n");
        return 0;
    }
    /* One machine a process: each kind of image gets its own. */
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        return cmocka_run_group_tests_name("image with inline tails", inlined, NULL, NULL);
    }
    if (child < 0 || syscall(SYS_wait4, child, &status, 0, NULL) != child) {
        return 1;
    }
    return cmocka_run_group_tests_name("image of whole blocks", aligned, NULL, NULL) || status;
}
