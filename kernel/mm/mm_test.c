/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Address spaces against a model: for each page of a small window the model says which bytes a
 * program must see and what it may do. Faults run through simulated page tables.
 */
#include <test.h>

#include <stdlib.h>
#include <string.h>

#include <arch/ops.h>
#include <fs/vfs.h>
#include <host/host.h>
#include <mm/mapping.h>
#include <mm/page.h>
#include <mm/slab.h>
#include <mm/vma.h>
#include <proc/process.h>
#include <proc/signal.h>
#include <sched/task.h>

#define MIB  (UINT64_C(1) << 20)
#define BASE UINT64_C(0x40000000)

long sys_brk(unsigned long wanted);
long sys_mremap(unsigned long old, unsigned long old_size, unsigned long new_size,
                unsigned long flags, unsigned long to);
long sys_madvise(unsigned long addr, unsigned long length, int advice);
long sys_mincore(unsigned long addr, unsigned long length, void *vec);

static uint64_t free_frames(void)
{
    struct page_stats s;

    page_stats(&s);
    return s.free;
}

static struct mm *fresh(void)
{
    struct mm *mm = mm_create();

    assert_non_null(mm);
    mm->mmap_top = UINT64_C(0x7f0000000000);
    mm->search_top = mm->mmap_top;
    return mm;
}

/* One machine for all: slabs keep pointers into its memory. */
static int machine(void **state)
{
    (void)state;
    host_machine_create(32 * MIB, true);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < array_size(host_limits); i++) {
        host_limits[i] = RLIM_INFINITY;
    }
    current->mm = fresh();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mm_put(current->mm);
    current->mm = NULL;
    return 0;
}

static uint64_t map(struct mm *mm, uint64_t addr, uint64_t pages, uint32_t flags, unsigned how)
{
    const struct mm_map r = {
        .addr = addr,
        .size = pages * PAGE_SIZE,
        .vma_flags = flags | VMA_MAYWRITE,
        .how = how,
    };
    int64_t at = mm_map(mm, &r);

    assert_true(at > 0);
    return (uint64_t)at;
}

static int poke(struct mm *mm, uint64_t addr, unsigned char byte)
{
    int signal = 0;
    unsigned char *p = host_touch(mm, addr, FAULT_WRITE, &signal);

    if (p) {
        *p = byte;
    }
    return signal;
}

/* The byte there, or -signal. */
static int peek(struct mm *mm, uint64_t addr)
{
    int signal = 0;
    const unsigned char *p = host_touch(mm, addr, FAULT_READ, &signal);

    return p ? *p : -signal;
}

static unsigned count_vmas(struct mm *mm)
{
    unsigned n = 0;

    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        n++;
    }
    assert_int_equal(n, mm->vma_count);
    return n;
}

/* --- anonymous memory ------------------------------------------------------------------------- */

static void reads_are_zero_and_free(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, 0, 100, VMA_READ | VMA_WRITE, 0);
    uint64_t before = free_frames();

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(peek(mm, at + i * PAGE_SIZE), 0);
    }
    assert_int_equal(free_frames(), before);
    assert_int_equal(mm->rss_pages, 0);
    assert_int_equal(poke(mm, at + 5, 7), 0);
    assert_int_equal(peek(mm, at + 5), 7);
    assert_int_equal(peek(mm, at + PAGE_SIZE), 0);
    assert_true(mm->rss_pages >= 1);
}

static void sequential_faults_take_windows(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 256, VMA_READ | VMA_WRITE, MM_MAP_FIXED);

    (void)state;
    current->min_faults = 0;
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(poke(mm, at + i * PAGE_SIZE, (unsigned char)i), 0);
    }
    assert_true(current->min_faults < 40);
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(peek(mm, at + i * PAGE_SIZE), (unsigned char)i);
    }
    assert_int_equal(mm->rss_pages, 256);
    assert_int_equal(host_pt_count(mm->page_table), 256);
    assert_int_equal(mm_unmap(mm, at, 256 * PAGE_SIZE), 0);
    assert_int_equal(mm->rss_pages, 0);
    assert_int_equal(host_pt_count(mm->page_table), 0);
}

static void refusals(void **state)
{
    struct mm *mm = current->mm;
    uint64_t ro = map(mm, BASE, 1, VMA_READ, MM_MAP_FIXED);
    uint64_t none = map(mm, BASE + 16 * PAGE_SIZE, 1, 0, MM_MAP_FIXED);
    int signal = 0;
    int code = 0;

    (void)state;
    assert_int_equal(mm_fault(mm, ro, FAULT_WRITE, &signal, &code), -EFAULT);
    assert_int_equal(signal, SIGSEGV);
    assert_int_equal(code, SEGV_ACCERR);
    assert_int_equal(mm_fault(mm, none, FAULT_READ, &signal, &code), -EFAULT);
    assert_int_equal(code, SEGV_ACCERR);
    assert_int_equal(mm_fault(mm, BASE + PAGE_SIZE, FAULT_READ, &signal, &code), -EFAULT);
    assert_int_equal(code, SEGV_MAPERR);
    assert_int_equal(mm_fault(mm, ro, FAULT_EXEC, &signal, &code), -EFAULT);
    assert_int_equal(mm_fault(mm, UINT64_C(0xffff888000000000), FAULT_READ, &signal, &code),
                     -EFAULT);
    assert_int_equal(code, SEGV_MAPERR);
    assert_int_equal(mm_unmap(mm, BASE + 1, PAGE_SIZE), -EINVAL);
    assert_int_equal(mm_unmap(mm, BASE, 0), -EINVAL);
    assert_int_equal(mm_unmap(mm, USER_MAX, PAGE_SIZE), -EINVAL);
    assert_int_equal(mm_protect(mm, BASE, 2 * PAGE_SIZE, VMA_READ), -ENOMEM);

    const struct mm_map busy = {
        .addr = BASE, .size = PAGE_SIZE, .vma_flags = VMA_READ, .how = MM_MAP_NOREPLACE
    };
    assert_int_equal(mm_map(mm, &busy), -EEXIST);
}

static void huge_reservations_are_free(void **state)
{
    struct mm *mm = current->mm;
    uint64_t before = free_frames();
    uint64_t at = map(mm, 0, (UINT64_C(1) << 40) / PAGE_SIZE, VMA_NORESERVE, 0);

    (void)state;
    assert_true(before - free_frames() <= 2);
    assert_int_equal(mm_protect(mm, at + (UINT64_C(1) << 39), PAGE_SIZE, VMA_READ | VMA_WRITE), 0);
    assert_int_equal(poke(mm, at + (UINT64_C(1) << 39), 3), 0);
    assert_int_equal(count_vmas(mm), 3);
    assert_int_equal(mm_unmap(mm, at, UINT64_C(1) << 40), 0);
    assert_int_equal(count_vmas(mm), 0);
    assert_int_equal(mm->total_pages, 0);
}

static void stacks_grow_to_their_limit(void **state)
{
    struct mm *mm = current->mm;
    uint64_t top = BASE + 64 * MIB;

    (void)state;
    host_limits[RLIMIT_STACK] = MIB;
    map(mm, top - 8 * PAGE_SIZE, 8, VMA_READ | VMA_WRITE | VMA_GROWSDOWN | VMA_STACK, MM_MAP_FIXED);
    assert_int_equal(poke(mm, top - MIB / 2, 1), 0);
    assert_int_equal(poke(mm, top - MIB, 1), 0);
    assert_int_equal(poke(mm, top - MIB - 1, 1), SIGSEGV);
    host_limits[RLIMIT_STACK] = RLIM_INFINITY;
    /* A neighbour keeps the guard gap free. */
    map(mm, top - 4 * MIB, 1, VMA_READ, MM_MAP_FIXED);
    assert_int_equal(poke(mm, top - 4 * MIB + PAGE_SIZE + STACK_GUARD_GAP, 1), 0);
    assert_int_equal(poke(mm, top - 4 * MIB + STACK_GUARD_GAP, 1), SIGSEGV);
}

/* --- fork ------------------------------------------------------------------------------------- */

static void copy_on_write(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 4, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    struct mm *child;

    (void)state;
    assert_int_equal(poke(mm, at, 1), 0);
    assert_int_equal(poke(mm, at + PAGE_SIZE, 2), 0);
    assert_int_equal(mm_fork(mm, &child), 0);
    assert_int_equal(child->rss_pages, mm->rss_pages);
    assert_int_equal(peek(child, at), 1);
    assert_int_equal(poke(child, at, 11), 0);
    assert_int_equal(peek(mm, at), 1);
    assert_int_equal(poke(mm, at + PAGE_SIZE, 12), 0);
    assert_int_equal(peek(child, at + PAGE_SIZE), 2);

    /* The sole owner writes in place. */
    uint64_t before = free_frames();

    assert_int_equal(poke(child, at + PAGE_SIZE, 13), 0);
    assert_int_equal(free_frames(), before);
    mm_put(child);
    before = free_frames();
    assert_int_equal(poke(mm, at, 9), 0);
    assert_int_equal(free_frames(), before);
}

static void shared_memory_is_shared(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, 0, 4, VMA_READ | VMA_WRITE | VMA_SHARED, 0);
    struct mm *child;
    struct mapping *a;
    struct mapping *b;
    uint64_t oa;
    uint64_t ob;

    (void)state;
    assert_int_equal(poke(mm, at, 1), 0);
    assert_int_equal(mm_fork(mm, &child), 0);
    assert_int_equal(poke(child, at, 2), 0);
    assert_int_equal(peek(mm, at), 2);
    assert_int_equal(poke(mm, at + 3 * PAGE_SIZE, 5), 0); /* first touched after the fork */
    assert_int_equal(peek(child, at + 3 * PAGE_SIZE), 5);
    assert_int_equal(mm_futex_key(mm, at + 8, &a, &oa), 0);
    assert_int_equal(mm_futex_key(child, at + 8, &b, &ob), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(oa, ob);
    mm_put(child);
    assert_int_equal(peek(mm, at), 2);
}

static void fork_flags(void **state)
{
    struct mm *mm = current->mm;
    uint64_t a = map(mm, BASE, 1, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    uint64_t b = map(mm, BASE + MIB, 1, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    struct mm *child;

    (void)state;
    assert_int_equal(poke(mm, a, 1), 0);
    assert_int_equal(poke(mm, b, 2), 0);
    assert_int_equal(sys_madvise(a, PAGE_SIZE, 10), 0); /* DONTFORK */
    assert_int_equal(sys_madvise(b, PAGE_SIZE, 18), 0); /* WIPEONFORK */
    assert_int_equal(mm_fork(mm, &child), 0);
    assert_int_equal(peek(child, a), -SIGSEGV);
    assert_int_equal(peek(child, b), 0);
    assert_int_equal(peek(mm, b), 2);
    mm_put(child);
}

static void failed_forks_leave_nothing(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 64, VMA_READ | VMA_WRITE, MM_MAP_FIXED);

    (void)state;
    for (unsigned i = 0; i < 64; i += 2) {
        assert_int_equal(poke(mm, at + i * PAGE_SIZE, 1), 0);
    }
    for (unsigned n = 1; n < 6; n++) {
        struct mm *child = NULL;

        host_fail_page_alloc = n;
        if (mm_fork(mm, &child) == 0) {
            mm_put(child);
        }
        host_fail_page_alloc = 0;
        assert_int_equal(poke(mm, at, 3), 0);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

/* A file of FILE_PAGES pages: the first IMAGE_PAGES lie in an image, the rest in the cache. */
#define FILE_PAGES  20u
#define IMAGE_PAGES 12u

static struct page *image; /* contiguous frames that play the image */
static struct file test_file;
static const struct file_ops test_file_ops = { .type = "test" };
static struct mapping test_mapping;

static int test_get(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    if (index >= FILE_PAGES) {
        return -ERANGE;
    }
    if (index < IMAGE_PAGES && !(how & MAPPING_WRITE)) {
        *out = (struct frame){ .pa = page_to_phys(image) + index * PAGE_SIZE };
        return 0;
    }
    struct page *p = mapping_lookup(m, index);

    if (!p) {
        if (how & MAPPING_RESIDENT) {
            return -EAGAIN;
        }
        p = page_alloc(0, GFP_KERNEL);
        assert_non_null(p);
        memset(page_address(p), (int)index + 100, PAGE_SIZE);
        assert_int_equal(mapping_insert(m, index, p), 0);
    }
    *out = (struct frame){ .pa = page_to_phys(p), .page = p };
    return 0;
}

static uint64_t test_run(struct mapping *m, uint64_t index, paddr_t *first)
{
    (void)m;
    if (index >= IMAGE_PAGES) {
        return 0;
    }
    *first = page_to_phys(image) + index * PAGE_SIZE;
    return IMAGE_PAGES - index;
}

static const struct mapping_ops test_ops = { .get = test_get, .direct_run = test_run };

static void file_create_test(void)
{
    image = page_alloc(4, GFP_KERNEL);
    assert_non_null(image);
    for (unsigned i = 0; i < IMAGE_PAGES; i++) {
        memset((char *)page_address(image) + i * PAGE_SIZE, (int)i + 100, PAGE_SIZE);
    }
    test_file = (struct file){ .ops = &test_file_ops };
    ref_init(&test_file.ref);
    mapping_init(&test_mapping, &test_ops, NULL);
}

static uint64_t map_file(struct mm *mm, uint64_t addr, uint64_t pages, uint32_t flags,
                         uint64_t first)
{
    const struct mm_map r = {
        .addr = addr,
        .size = pages * PAGE_SIZE,
        .vma_flags = flags | VMA_MAYWRITE,
        .how = MM_MAP_FIXED,
        .file = &test_file,
        .mapping = &test_mapping,
        .offset = first * PAGE_SIZE,
    };
    int64_t at = mm_map(mm, &r);

    assert_true(at > 0);
    return (uint64_t)at;
}

static void file_destroy_test(void)
{
    mapping_drop(&test_mapping, 0, UINT64_MAX);
    assert_int_equal(test_file.ref.count, 1);
    page_put(image);
}

/* A file of the image whose first page another CPU copies right after somebody looked at it. */
static unsigned looks_before_copy; /* 0: no more copies */

static void copy_when_due(struct mapping *m)
{
    if (looks_before_copy == 0 || --looks_before_copy != 0) {
        return;
    }
    struct page *p = page_alloc(0, GFP_KERNEL);

    assert_non_null(p);
    memset(page_address(p), 200, PAGE_SIZE);
    assert_int_equal(mapping_insert(m, 0, p), 0);
    page_put(p);
    mm_unmap_mapping(m, 0, 1);
}

static int racing_get(struct mapping *m, uint64_t index, unsigned how, struct frame *out)
{
    struct page *p = mapping_lookup(m, index);

    if (p) {
        *out = (struct frame){ .pa = page_to_phys(p), .page = p };
        return 0;
    }
    if (how & MAPPING_RESIDENT) {
        return -EAGAIN;
    }
    *out = (struct frame){ .pa = page_to_phys(image) + index * PAGE_SIZE };
    copy_when_due(m);
    return 0;
}

static uint64_t racing_run(struct mapping *m, uint64_t index, paddr_t *first)
{
    uint64_t run = min_of(mapping_next(m, index), (uint64_t)IMAGE_PAGES) - index;

    *first = page_to_phys(image) + index * PAGE_SIZE;
    copy_when_due(m);
    return run;
}

static void copied_during_a_fault(void **state)
{
    static const struct mapping_ops with_runs = { .get = racing_get, .direct_run = racing_run };
    static const struct mapping_ops without = { .get = racing_get };
    static const struct mapping_ops *const kinds[] = { &with_runs, &without };

    (void)state;
    for (unsigned i = 0; i < array_size(kinds); i++) {
        file_create_test();
        mapping_init(&test_mapping, kinds[i], NULL);
        looks_before_copy = 1;
        uint64_t at = map_file(current->mm, BASE, IMAGE_PAGES, VMA_READ, 0);

        assert_int_equal(peek(current->mm, at), 200); /* not the image's 100 */
        assert_int_equal(looks_before_copy, 0);
        assert_int_equal(peek(current->mm, at + PAGE_SIZE), 101);
        assert_int_equal(mm_unmap(current->mm, at, IMAGE_PAGES * PAGE_SIZE), 0);
        file_destroy_test();
    }
}

static void private_files(void **state)
{
    struct mm *mm = current->mm;
    struct mm *child;

    (void)state;
    file_create_test();
    uint64_t at = map_file(mm, BASE, FILE_PAGES + 2, VMA_READ | VMA_WRITE, 0);

    current->min_faults = 0;
    for (unsigned i = 0; i < IMAGE_PAGES; i++) {
        assert_int_equal(peek(mm, at + i * PAGE_SIZE + 7), i + 100);
    }
    assert_int_equal(current->min_faults, 1); /* the image part at once */
    assert_int_equal(mm->rss_pages, 0);
    for (unsigned i = IMAGE_PAGES; i < FILE_PAGES; i++) {
        assert_int_equal(peek(mm, at + i * PAGE_SIZE), i + 100);
    }
    assert_int_equal(peek(mm, at + FILE_PAGES * PAGE_SIZE), -SIGBUS);

    assert_int_equal(poke(mm, at + 3 * PAGE_SIZE, 1), 0);
    assert_int_equal(peek(mm, at + 3 * PAGE_SIZE), 1);
    assert_int_equal(peek(mm, at + 3 * PAGE_SIZE + 1), 103);
    assert_int_equal(*((unsigned char *)page_address(image) + 3 * PAGE_SIZE), 103);
    assert_int_equal(poke(mm, at + 15 * PAGE_SIZE, 2), 0);

    assert_int_equal(mm_fork(mm, &child), 0);
    assert_int_equal(peek(child, at + 3 * PAGE_SIZE), 1);
    assert_int_equal(peek(child, at + 15 * PAGE_SIZE), 2);
    assert_int_equal(peek(child, at + 4 * PAGE_SIZE), 104);
    assert_int_equal(poke(child, at + 15 * PAGE_SIZE, 22), 0);
    assert_int_equal(peek(mm, at + 15 * PAGE_SIZE), 2);
    mm_put(child);

    assert_int_equal(sys_madvise(at, FILE_PAGES * PAGE_SIZE, 4), 0); /* DONTNEED: the file again */
    assert_int_equal(peek(mm, at + 3 * PAGE_SIZE), 103);
    assert_int_equal(peek(mm, at + 15 * PAGE_SIZE), 115);
    assert_int_equal(mm_unmap(mm, at, (FILE_PAGES + 2) * PAGE_SIZE), 0);
    assert_int_equal(mm->rss_pages, 0);
    file_destroy_test();
}

static void shared_files(void **state)
{
    struct mm *mm = current->mm;

    (void)state;
    file_create_test();
    uint64_t a = map_file(mm, BASE, 8, VMA_READ | VMA_WRITE | VMA_SHARED, 12);
    uint64_t b = map_file(mm, BASE + MIB, 8, VMA_READ, 12);

    assert_int_equal(peek(mm, a), 112);
    assert_int_equal(peek(mm, b), 112);
    assert_int_equal(poke(mm, a, 9), 0);
    assert_int_equal(peek(mm, b), 9); /* it is the cache page */
    struct page *p = mapping_lookup(&test_mapping, 12);

    assert_true(p->flags & PAGE_DIRTY);
    page_put(p);

    /* Truncation finds the PTEs in every VMA. */
    mapping_drop(&test_mapping, 12, 1);
    assert_int_equal(test_mapping.page_count, 0);
    assert_int_equal(peek(mm, a), 112); /* read again by the test's file */
    assert_int_equal(mm_unmap(mm, a, 8 * PAGE_SIZE), 0);
    assert_int_equal(mm_unmap(mm, b, 8 * PAGE_SIZE), 0);
    file_destroy_test();
}

static void data_and_bss_share_a_page(void **state)
{
    struct mm *mm = current->mm;

    (void)state;
    file_create_test();
    uint64_t at = map_file(mm, BASE, 2, VMA_READ | VMA_WRITE, 2);

    assert_int_equal(mm_install_tail(mm, at + PAGE_SIZE, 100), 0);
    assert_int_equal(peek(mm, at + PAGE_SIZE + 99), 103);
    assert_int_equal(peek(mm, at + PAGE_SIZE + 100), 0);
    assert_int_equal(peek(mm, at + 2 * PAGE_SIZE - 1), 0);
    assert_int_equal(mm_unmap(mm, at, 2 * PAGE_SIZE), 0);
    file_destroy_test();
}

/* --- changes against a model ------------------------------------------------------------------ */

#define MODEL_PAGES 96u

struct model_page {
    bool is_mapped;
    uint32_t access;
    unsigned char byte;
};

static void model_check(struct mm *mm, const struct model_page *model)
{
    for (unsigned i = 0; i < MODEL_PAGES; i++) {
        int want = !model[i].is_mapped || !(model[i].access & VMA_READ) ? -SIGSEGV : model[i].byte;

        assert_int_equal(peek(mm, BASE + i * PAGE_SIZE + 17), want);
    }
    uint64_t pages = 0;
    const struct vma *last = NULL;

    for (struct vma *v = vma_first(mm); v; v = vma_next(v)) {
        pages += (v->end - v->start) / PAGE_SIZE;
        assert_true(!last || last->end <= v->start);
        last = v;
    }
    assert_int_equal(pages, mm->total_pages);
    assert_true(rb_check(&mm->vmas) >= 0);
}

static void model_move(struct mm *mm, struct model_page *model, unsigned from, unsigned n,
                       unsigned to)
{
    unsigned high = max_of(from, to);
    unsigned low = min_of(from, to);
    bool is_one = true;

    if (high - low < n) {
        return;
    }
    const struct vma *v = vma_find(mm, BASE + from * PAGE_SIZE);

    is_one = v && v->start <= BASE + from * PAGE_SIZE && v->end >= BASE + (from + n) * PAGE_SIZE;
    long got =
        sys_mremap(BASE + from * PAGE_SIZE, n * PAGE_SIZE, n * PAGE_SIZE, 3, BASE + to * PAGE_SIZE);

    if (!is_one) {
        assert_int_equal(got, -EFAULT);
        return;
    }
    assert_int_equal(got, BASE + to * PAGE_SIZE);
    for (unsigned i = 0; i < n; i++) {
        model[to + i] = model[from + i];
        model[from + i].is_mapped = false;
    }
}

static void random_changes(void **state)
{
    struct mm *mm = current->mm;
    struct model_page model[MODEL_PAGES] = { { .is_mapped = false } };
    unsigned seed = 4711;

    (void)state;
    for (unsigned step = 0; step < 4000; step++) {
        unsigned first = (unsigned)rand_r(&seed) % MODEL_PAGES;
        unsigned n = 1 + (unsigned)rand_r(&seed) % min_of(MODEL_PAGES - first, 24u);
        uint64_t at = BASE + first * PAGE_SIZE;
        static const uint32_t kinds[] = { VMA_READ | VMA_WRITE, VMA_READ | VMA_WRITE, VMA_READ, 0 };
        uint32_t access = kinds[rand_r(&seed) % 4];

        switch (rand_r(&seed) % 7) {
        case 0:
            map(mm, at, n, access, MM_MAP_FIXED);
            for (unsigned i = first; i < first + n; i++) {
                model[i] = (struct model_page){ true, access, 0 };
            }
            break;
        case 1:
            assert_int_equal(mm_unmap(mm, at, n * PAGE_SIZE), 0);
            for (unsigned i = first; i < first + n; i++) {
                model[i].is_mapped = false;
            }
            break;
        case 2: {
            bool is_covered = true;

            for (unsigned i = first; i < first + n; i++) {
                is_covered = is_covered && model[i].is_mapped;
            }
            assert_int_equal(mm_protect(mm, at, n * PAGE_SIZE, access), is_covered ? 0 : -ENOMEM);
            for (unsigned i = first; is_covered && i < first + n; i++) {
                model[i].access = access;
            }
            break;
        }
        case 3:
            (void)sys_madvise(at, n * PAGE_SIZE, 4);
            for (unsigned i = first; i < first + n; i++) {
                model[i].byte = 0;
            }
            break;
        case 4:
            model_move(mm, model, first, n, (unsigned)rand_r(&seed) % (MODEL_PAGES - n + 1));
            break;
        default:
            for (unsigned i = first; i < first + n; i++) {
                bool may = model[i].is_mapped && (model[i].access & VMA_WRITE);
                unsigned char byte = (unsigned char)rand_r(&seed);

                assert_int_equal(poke(mm, BASE + i * PAGE_SIZE + 17, byte), may ? 0 : SIGSEGV);
                model[i].byte = may ? byte : model[i].byte;
            }
            break;
        }
        if (step % 16 == 0) {
            model_check(mm, model);
        }
    }
    model_check(mm, model);
    assert_int_equal(mm_unmap(mm, BASE, MODEL_PAGES * PAGE_SIZE), 0);
    assert_int_equal(mm->rss_pages, 0);
    assert_int_equal(mm->total_pages, 0);
}

static void neighbours_join(void **state)
{
    struct mm *mm = current->mm;
    uint64_t first = 0;

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        first = map(mm, 0, 3, VMA_READ | VMA_WRITE, 0);
    }
    assert_int_equal(count_vmas(mm), 1);
    assert_int_equal(mm_protect(mm, first + 3 * PAGE_SIZE, PAGE_SIZE, VMA_READ), 0);
    assert_int_equal(count_vmas(mm), 3);
    assert_int_equal(mm_protect(mm, first + 3 * PAGE_SIZE, PAGE_SIZE, VMA_READ | VMA_WRITE), 0);
    assert_int_equal(count_vmas(mm), 1);
}

static void gaps_are_found_again(void **state)
{
    struct mm *mm = current->mm;
    uint64_t a = map(mm, 0, 10, VMA_READ, 0);
    uint64_t b = map(mm, 0, 10, VMA_READ | VMA_WRITE, 0);
    uint64_t c = map(mm, 0, 10, VMA_READ, 0);

    (void)state;
    assert_true(a > b && b > c);
    assert_int_equal(mm_unmap(mm, b, 10 * PAGE_SIZE), 0);
    assert_int_equal(map(mm, 0, 11, VMA_READ, 0), c - 11 * PAGE_SIZE);
    assert_int_equal(map(mm, 0, 4, VMA_READ | VMA_WRITE, 0), b + 6 * PAGE_SIZE);
    assert_int_equal(map(mm, 0, 6, VMA_WRITE, 0), b);
    assert_int_equal(map(mm, BASE, 1, VMA_READ, 0), BASE); /* a hint is honoured */
    assert_true(map(mm, BASE, 1, VMA_READ, 0) != BASE);
}

static void the_break(void **state)
{
    struct mm *mm = current->mm;

    (void)state;
    mm->start_brk = BASE + 0x123;
    mm->brk = mm->start_brk;
    assert_int_equal(sys_brk(0), BASE + 0x123);
    assert_int_equal(sys_brk(BASE + 0x5000), BASE + 0x5000);
    assert_int_equal(poke(mm, BASE + 0x4fff, 1), 0);
    assert_int_equal(sys_brk(BASE + 0x6000), BASE + 0x6000);
    assert_int_equal(count_vmas(mm), 1);
    assert_int_equal(sys_brk(BASE + 0x2000), BASE + 0x2000);
    assert_int_equal(poke(mm, BASE + 0x2000, 1), SIGSEGV);
    assert_int_equal(sys_brk(BASE + 0x6000), BASE + 0x6000);
    assert_int_equal(peek(mm, BASE + 0x4fff), 0); /* given back, so zero again */
    map(mm, BASE + 0x10000, 1, VMA_READ, MM_MAP_FIXED);
    assert_int_equal(sys_brk(BASE + 0x20000), BASE + 0x6000);
    assert_int_equal(sys_brk(USER_MAX), BASE + 0x6000);
    host_limits[RLIMIT_DATA] = 0x6000;
    assert_int_equal(sys_brk(BASE + 0x7000), BASE + 0x6000);
}

static void remap_sizes(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 4, VMA_READ | VMA_WRITE, MM_MAP_FIXED);

    (void)state;
    assert_int_equal(poke(mm, at + 3 * PAGE_SIZE, 8), 0);
    assert_int_equal(sys_mremap(at, 4 * PAGE_SIZE, 8 * PAGE_SIZE, 0, 0), at); /* grows in place */
    map(mm, at + 8 * PAGE_SIZE, 1, VMA_READ, MM_MAP_FIXED);
    assert_int_equal(sys_mremap(at, 8 * PAGE_SIZE, 9 * PAGE_SIZE, 0, 0), -ENOMEM);
    long moved = sys_mremap(at, 8 * PAGE_SIZE, 9 * PAGE_SIZE, 1, 0);

    assert_true(moved > 0 && (uint64_t)moved != at);
    assert_int_equal(peek(mm, (uint64_t)moved + 3 * PAGE_SIZE), 8);
    assert_int_equal(peek(mm, at), -SIGSEGV);
    assert_int_equal(sys_mremap((uint64_t)moved, 9 * PAGE_SIZE, PAGE_SIZE, 0, 0), moved);
    assert_int_equal(peek(mm, (uint64_t)moved + 3 * PAGE_SIZE), -SIGSEGV);
    assert_int_equal(sys_mremap(at, PAGE_SIZE, 2 * PAGE_SIZE, 1, 0), -EFAULT);
    assert_int_equal(sys_mremap(at + 1, PAGE_SIZE, PAGE_SIZE, 0, 0), -EINVAL);
    assert_int_equal(sys_mremap((uint64_t)moved, PAGE_SIZE, 0, 0, 0), -EINVAL);
    assert_int_equal(sys_mremap((uint64_t)moved, PAGE_SIZE, PAGE_SIZE, 2, BASE), -EINVAL);
    assert_int_equal(sys_mremap((uint64_t)moved, 2 * PAGE_SIZE, PAGE_SIZE, 1, 0), -EFAULT);
}

static void residence(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 64, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    unsigned char vec[64];

    (void)state;
    assert_int_equal(poke(mm, at + 32 * PAGE_SIZE, 1), 0);
    assert_int_equal(sys_mincore(at, 64 * PAGE_SIZE, vec), 0);
    assert_int_equal(vec[32], 1);
    assert_int_equal(vec[0], 0);
    assert_int_equal(vec[63], 0);
    assert_int_equal(sys_mincore(at, 65 * PAGE_SIZE, vec), -ENOMEM);
    assert_int_equal(sys_mincore(at + 1, PAGE_SIZE, vec), -EINVAL);
}

static void out_of_memory(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 16384, VMA_READ | VMA_WRITE | VMA_NORESERVE, MM_MAP_FIXED);
    int signal = 0;
    int code = 0;
    int err = 0;

    (void)state;
    host_oom_kills = 0;
    for (unsigned i = 0; i < 16384 && err == 0; i++) {
        err = mm_fault(mm, at + i * PAGE_SIZE, FAULT_WRITE, &signal, &code);
    }
    assert_int_equal(err, -ENOMEM);
    assert_int_equal(host_oom_kills, 1);
    struct page_stats s;

    page_stats(&s);
    assert_true(s.free >= s.reserve / 2); /* the kernel has room to let the victim die */
}

static void other_address_spaces(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 4, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    char text[3 * PAGE_SIZE];
    char back[sizeof(text)];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(mm_access(mm, at + 100, text, sizeof(text), true), sizeof(text));
    assert_int_equal(mm_access(mm, at + 100, back, sizeof(back), false), sizeof(back));
    assert_memory_equal(text, back, sizeof(text));
    assert_int_equal(mm_access(mm, at + 3 * PAGE_SIZE + 50, back, 2 * PAGE_SIZE, false),
                     PAGE_SIZE - 50);
    assert_int_equal(mm_access(mm, USER_MAX - 1, back, 2, false), 0);
}

/* What a device writes through pins is what the program reads, also after it was unmapped. */
static void pins(void **state)
{
    struct mm *mm = current->mm;
    uint64_t at = map(mm, BASE, 3, VMA_READ | VMA_WRITE, MM_MAP_FIXED);
    struct mm_pin pin[4];

    (void)state;
    assert_int_equal(mm_pin(mm, at + 100, 2 * PAGE_SIZE, true, pin, 4), 3);
    assert_int_equal(pin[0].size, PAGE_SIZE - 100);
    assert_int_equal(pin[1].size, PAGE_SIZE);
    assert_int_equal(pin[2].size, 100);
    memset(pin[0].at, 'a', pin[0].size);
    memset(pin[2].at, 'c', pin[2].size);
    assert_int_equal(peek(mm, at + 99), 0);
    assert_int_equal(peek(mm, at + 100), 'a');
    assert_int_equal(peek(mm, at + 2 * PAGE_SIZE + 99), 'c');
    assert_int_equal(peek(mm, at + 2 * PAGE_SIZE + 100), 0);
    mm_unpin(pin, 3);

    assert_int_equal(mm_pin(mm, at, 3 * PAGE_SIZE, false, pin, 2), 2); /* no more than asked */
    assert_int_equal(mm_unmap(mm, at, 3 * PAGE_SIZE), 0);
    assert_int_equal(((const char *)pin[0].at)[100], 'a');
    mm_unpin(pin, 2);
    assert_int_equal(mm_pin(mm, at, PAGE_SIZE, false, pin, 4), 0);

    at = map(mm, BASE, 2, VMA_READ, MM_MAP_FIXED);
    assert_int_equal(mm_pin(mm, at, PAGE_SIZE, true, pin, 4), 0);
    assert_int_equal(mm_pin(mm, at + PAGE_SIZE, 2 * PAGE_SIZE, false, pin, 4), 1);
    mm_unpin(pin, 1);
    assert_int_equal(mm_pin(mm, USER_MAX - 1, 2, false, pin, 4), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_are_zero_and_free),
        TEST(sequential_faults_take_windows),
        TEST(refusals),
        TEST(huge_reservations_are_free),
        TEST(stacks_grow_to_their_limit),
        TEST(copy_on_write),
        TEST(shared_memory_is_shared),
        TEST(fork_flags),
        TEST(failed_forks_leave_nothing),
        TEST(copied_during_a_fault),
        TEST(private_files),
        TEST(shared_files),
        TEST(data_and_bss_share_a_page),
        TEST(random_changes),
        TEST(neighbours_join),
        TEST(gaps_are_found_again),
        TEST(the_break),
        TEST(remap_sizes),
        TEST(residence),
        TEST(out_of_memory),
        TEST(other_address_spaces),
        TEST(pins),
    };

    return cmocka_run_group_tests(tests, machine, NULL);
}
