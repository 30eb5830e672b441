/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new program's stack (System V ABI, "Process Initialization"), from high to low addresses:
 *
 *     strings: arguments, environment, path, platform, 16 random bytes    (exec_strings' pages)
 *     auxiliary vector, envp, argv, argc                                  <- sp, 16-byte aligned
 */
#include <arch/ops.h>
#include <core/boot.h>
#include <core/random.h>
#include <core/string.h>
#include <mm/mm.h>
#include <mm/reclaim.h>
#include <mm/slab.h>
#include <proc/exec.h>
#include <proc/process.h>
#include <sched/task.h>

enum {
    AT_NULL = 0,
    AT_PHDR = 3,
    AT_PHENT = 4,
    AT_PHNUM = 5,
    AT_PAGESZ = 6,
    AT_BASE = 7,
    AT_FLAGS = 8,
    AT_ENTRY = 9,
    AT_UID = 11,
    AT_EUID = 12,
    AT_GID = 13,
    AT_EGID = 14,
    AT_PLATFORM = 15,
    AT_CLKTCK = 17,
    AT_SECURE = 23,
    AT_RANDOM = 25,
    AT_EXECFN = 31,
    AT_SYSINFO_EHDR = 33,
};

#define CLOCK_TICKS   100u
#define STACK_FIRST   (UINT64_C(128) << 10) /* mapped at once below the strings; it grows */
#define STACK_GAP_MIN (UINT64_C(128) << 20)
#define STACK_GUARD   (UINT64_C(1) << 20)

/* --- layout ----------------------------------------------------------------------------------- */

/* Page numbers of so many bits, as Linux draws them. */
static uint64_t pages_of(uint64_t random, unsigned shift, unsigned bits)
{
    return (random >> shift & ((UINT64_C(1) << bits) - 1)) << PAGE_SHIFT;
}

void exec_random_draw(struct exec_random *r)
{
    static enum {
        UNKNOWN,
        RANDOM,
        FIXED
    } layout; /* read once; two CPUs would find the same */

    size_t length;

    struct {
        uint64_t layout[2];
        uint8_t seed[16];
    } draw;

    random_bytes(&draw, sizeof(draw));
    if (layout == UNKNOWN) {
        layout = boot_option("norandmaps", &length) ? FIXED : RANDOM;
    }
    *r = (struct exec_random){ .stack = 0 };
    memcpy(r->seed, draw.seed, sizeof(r->seed));
    if (layout == RANDOM) {
        r->stack = pages_of(draw.layout[0], 0, 22);
        r->mmap = pages_of(draw.layout[0], 22, 26);
        r->program = pages_of(draw.layout[1], 0, 28);
        r->heap = pages_of(draw.layout[1], 28, 13);
    }
}

void exec_layout(struct mm *mm, uint64_t stack_limit, const struct exec_random *r)
{
    uint64_t gap = min_of(max_of(stack_limit, STACK_GAP_MIN), USER_MAX / 6 * 5);

    mm->start_stack = USER_MAX - r->stack;
    mm->mmap_top = align_down(mm->start_stack - gap - STACK_GUARD - r->mmap, PAGE_SIZE);
    mm->search_top = mm->mmap_top;
    mm->search_hole = 0;
}

/* --- the auxiliary vector --------------------------------------------------------------------- */

struct aux {
    uint64_t *pairs;
    unsigned count; /* words */
};

static ALWAYS_INLINE void aux_add(struct aux *a, uint64_t type, uint64_t value)
{
    a->pairs[a->count++] = type;
    a->pairs[a->count++] = value;
}

/* Addresses of strings that the kernel added. */
struct extras {
    uint32_t path, platform, random; /* offsets in the strings */
};

/* How many pairs aux_fill() adds besides the machine's, the vDSO's and the end included. */
#define AUX_OWN 18u

/* Returns the words used. */
static unsigned aux_fill(struct mm *mm, const struct exec_program *p, const struct extras *x,
                         uint64_t strings, bool is_secure)
{
    struct aux a = { .pairs = mm->auxv };
    const struct cred *c = current->cred;
    uint64_t arch[ARCH_AUXV_MAX][2];
    unsigned count = arch_auxv(arch);

    static_assert(ARCH_AUXV_MAX + AUX_OWN <= array_size(mm->auxv) / 2, "they fit");
    if (mm->vdso) {
        aux_add(&a, AT_SYSINFO_EHDR, mm->vdso);
    }
    for (unsigned i = 0; i < count; i++) {
        aux_add(&a, arch[i][0], arch[i][1]);
    }
    aux_add(&a, AT_PAGESZ, PAGE_SIZE);
    aux_add(&a, AT_CLKTCK, CLOCK_TICKS);
    aux_add(&a, AT_PHDR, p->phdr);
    aux_add(&a, AT_PHENT, ELF_PHDR_SIZE);
    aux_add(&a, AT_PHNUM, p->phdr_count);
    aux_add(&a, AT_BASE, p->base);
    aux_add(&a, AT_FLAGS, 0);
    aux_add(&a, AT_ENTRY, p->own_entry);
    aux_add(&a, AT_UID, c->uid);
    aux_add(&a, AT_EUID, c->euid);
    aux_add(&a, AT_GID, c->gid);
    aux_add(&a, AT_EGID, c->egid);
    aux_add(&a, AT_SECURE, is_secure);
    aux_add(&a, AT_RANDOM, strings + x->random);
    aux_add(&a, AT_EXECFN, strings + x->path);
    aux_add(&a, AT_PLATFORM, strings + x->platform);
    aux_add(&a, AT_NULL, 0);
    assert(a.count <= array_size(mm->auxv));
    return a.count;
}

/* --- the pages -------------------------------------------------------------------------------- */

static int add_extras(struct exec_strings *s, const char *path, const uint8_t seed[16],
                      struct extras *x)
{
    int err = exec_strings_add_bytes(s, path, strlen(path) + 1, &x->path);
    if (err == 0) {
        err = exec_strings_add_bytes(s, arch_platform, strlen(arch_platform) + 1, &x->platform);
    }
    if (err == 0) {
        err = exec_strings_add_bytes(s, seed, 16, &x->random);
    }
    return err;
}

static int map_stack(struct mm *mm, uint64_t bottom, bool is_exec)
{
    const struct mm_map r = {
        .addr = bottom,
        .size = mm->start_stack - bottom,
        .vma_flags = VMA_READ | VMA_WRITE | VMA_MAYWRITE | VMA_STACK | VMA_GROWSDOWN |
                     (is_exec ? (uint32_t)VMA_EXEC : 0u),
        .how = MM_MAP_FIXED,
    };
    return mm_map_new(mm, &r);
}

/* The strings' pages become the top of the stack. */
static int install_strings(struct mm *mm, struct exec_strings *s, uint64_t at)
{
    for (uint32_t i = 0; i < s->page_count; i++) {
        int err = mm_install_page(mm, at + i * PAGE_SIZE, s->pages[i]);

        if (err < 0) {
            memmove(s->pages, s->pages + i,
                    (s->page_count - i) *
                        sizeof(struct page *)); /* NOLINT(bugprone-sizeof-expression) */
            s->page_count -= i;                 /* those that are mapped are the address space's */
            return err;
        }
    }
    s->page_count = 0;
    return 0;
}

/* One 64-bit word after the other, upwards from an address, into pages that are mapped as they are
 * begun. */
struct word_writer {
    uint64_t *next; /* the kernel's view; at `end` another page begins */
    uint64_t *end;
    struct mm *mm;
    uint64_t at; /* of the next page's first word */
    int err;
};

/* False: no memory; what follows is dropped. */
static NEVER_INLINE bool begin_page(struct word_writer *w)
{
    if (w->err < 0) {
        return false;
    }
    uint64_t offset = w->at & (PAGE_SIZE - 1);
    struct page *p = page_alloc_reclaim(GFP_USER | GFP_ZERO);

    w->err = p ? mm_install_page(w->mm, w->at - offset, p) : -ENOMEM;
    if (w->err < 0) {
        if (p) {
            page_put(p);
        }
        return false;
    }
    uint64_t *words = page_address(p);

    w->next = words + offset / sizeof(uint64_t);
    w->end = words + PAGE_SIZE / sizeof(uint64_t);
    w->at += PAGE_SIZE - offset;
    return true;
}

static ALWAYS_INLINE void put_word(struct word_writer *w, uint64_t value)
{
    if (likely(w->next != w->end) || begin_page(w)) {
        *w->next++ = value;
    }
}

static int write_vectors(struct mm *mm, const struct exec_strings *s, uint64_t strings, uint64_t sp,
                         unsigned aux_words)
{
    struct word_writer w = { .mm = mm, .at = sp };
    const uint32_t *offset = s->offsets;

    put_word(&w, s->argc);
    for (const uint32_t *end = offset + s->argc; offset != end; offset++) {
        put_word(&w, strings + *offset);
    }
    put_word(&w, 0);
    for (const uint32_t *end = offset + s->envc; offset != end; offset++) {
        put_word(&w, strings + *offset);
    }
    put_word(&w, 0);
    for (const uint64_t *word = mm->auxv; word != mm->auxv + aux_words; word++) {
        put_word(&w, *word);
    }
    return w.err;
}

static void note_strings(struct mm *mm, const struct exec_strings *s, const struct extras *x,
                         uint64_t strings)
{
    uint64_t env = s->envc > 0 ? s->offsets[s->argc] : x->path;

    mm->arg_start = strings;
    mm->arg_end = strings + env;
    mm->env_start = strings + env;
    mm->env_end = strings + x->path;
}

int exec_stack(struct mm *mm, struct exec_strings *s, const struct exec_program *program,
               const struct exec_random *r, const char *path, bool is_secure, uint64_t *sp)
{
    struct extras x;
    int err = add_extras(s, path, r->seed, &x);

    if (err < 0) {
        return err;
    }
    uint64_t strings = mm->start_stack - (uint64_t)s->page_count * PAGE_SIZE;

    unsigned aux_words = aux_fill(mm, program, &x, strings, is_secure);
    uint64_t words = (uint64_t)s->argc + s->envc + 3 + aux_words;

    *sp = align_down(strings - words * sizeof(uint64_t), 16);
    err = map_stack(mm, align_down(*sp, PAGE_SIZE) - STACK_FIRST, program->is_stack_exec);
    if (err == 0) {
        err = install_strings(mm, s, strings);
    }
    if (err == 0) {
        err = write_vectors(mm, s, strings, *sp, aux_words);
    }
    note_strings(mm, s, &x, strings);
    mm->start_stack = *sp;
    return err;
}
