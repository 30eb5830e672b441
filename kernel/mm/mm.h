/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User address spaces. The VMA set is the only truth; page tables are a cache of it (rule A5).
 *
 * Locks: mmap_lock guards the VMA set (faults take it shared, changes exclusive); page_table_lock
 * guards PTEs and the reference that each PTE holds on its frame: taking one and installing the PTE
 * are one critical section.
 */
#pragma once

#include <base/rbtree.h>
#include <core/lock.h>
#include <core/ref.h>
#include <core/types.h>

struct file;
struct mapping;
struct page;
struct regs;
struct task;

#define USER_MIN UINT64_C(0x10000) /* vm.mmap_min_addr */
#define USER_MAX                                                                                   \
    (UINT64_C(0x7ffffffff000)) /* first address past user space (47 bits less a guard page) */

enum vma_flags {
    VMA_READ = 1u << 0, /* same bits as PROT_READ, PROT_WRITE, PROT_EXEC */
    VMA_WRITE = 1u << 1,
    VMA_EXEC = 1u << 2,
    VMA_SHARED = 1u << 3,
    VMA_MAYWRITE =
        1u << 4, /* mprotect may add PROT_WRITE (shared file opened for writing, or private) */
    VMA_GROWSDOWN = 1u << 5,
    VMA_STACK = 1u << 6,
    VMA_HEAP = 1u << 7,
    VMA_VDSO = 1u << 8,
    VMA_DONTFORK = 1u << 9,
    VMA_WIPEONFORK = 1u << 10,
    VMA_NORESERVE = 1u << 11,
    VMA_LOCKED = 1u << 12,
    VMA_DONTDUMP = 1u << 13,
    VMA_HAS_ANON = 1u << 14, /* holds private pages of its own: fork must copy its PTEs */
    VMA_HAS_PAGES =
        1u << 15, /* with a mapping: some PTE may hold a reference (not only PTE_DIRECT) */
};

#define VMA_ACCESS (VMA_READ | VMA_WRITE | VMA_EXEC)
/* What happened to it so far: says nothing about what it is. */
#define VMA_HISTORY ((uint32_t)(VMA_HAS_ANON | VMA_HAS_PAGES))

struct vma {
    struct rb_node node;
    uint64_t start; /* page-aligned, [start, end) */
    uint64_t end;
    uint32_t flags;
    struct mm *mm;
    struct file *file;       /* counted; NULL for anonymous */
    struct mapping *mapping; /* page cache or shared-anonymous object; NULL for private anonymous */
    uint64_t page_offset;    /* of start in the mapping, in pages */
    struct list
        mapping_link; /* mapping->vmas, under the mapping's lock: truncate finds its PTEs here */
};

struct mm {
    struct ref users; /* tasks that run in it */
    struct ref count; /* users as one, lazy CPUs, /proc readers */
    struct rwsem mmap_lock;
    struct rb_root vmas;
    struct vma *vma_cache; /* last hit */
    uint32_t vma_count;
    struct spinlock page_table_lock;
    paddr_t page_table;        /* root */
    _Atomic uint64_t cpu_mask; /* CPUs that may hold translations */
    uint64_t start_code, end_code, start_data, end_data;
    uint64_t start_brk, brk;
    uint64_t start_stack;
    uint64_t arg_start, arg_end, env_start, env_end;
    uint64_t mmap_top;          /* top-down allocation starts here */
    uint64_t search_top;        /* no gap above it, below mmap_top, ... */
    uint64_t search_hole;       /* ... is larger than this (bytes) */
    uint64_t anon_next;         /* end of the last window of anonymous pages: sequential faults */
    uint32_t anon_order;        /* and its size */
    uint32_t barriers;          /* membarrier(2) commands registered for */
    uint32_t locked_flags;      /* mlockall(MCL_FUTURE): VMA_LOCKED for new mappings */
    uint64_t vdso;              /* its base, 0: none */
    _Atomic uint64_t rss_pages; /* frames of RAM mapped */
    uint64_t total_pages;       /* mapped address space; RLIMIT_AS */
    uint64_t locked_pages;
    struct file *exe;  /* counted; /proc/self/exe */
    uint64_t auxv[48]; /* as given to the program; /proc/self/auxv */
    uint64_t hwm_pages;
};

/* --- life ------------------------------------------------------------------------------------- */

struct mm *mm_create(void) MUST_CHECK; /* empty; NULL: no memory */
int mm_fork(struct mm *parent,
            struct mm **child) MUST_CHECK; /* copy-on-write copy; takes the lock itself */
struct mm *mm_get(struct mm *mm);          /* one more user */
void mm_put(struct mm *mm);                /* last user unmaps everything */
void mm_switch(
    struct mm *next); /* load its page tables on this CPU; interrupts off; NULL: kernel only */

/* --- what system calls and exec build from
 * -------------------------------------------------------- */

struct mm_map {
    uint64_t addr; /* page-aligned hint, or exact with MM_MAP_FIXED */
    uint64_t size; /* bytes, > 0; rounded up to pages */
    uint32_t vma_flags;
    unsigned how;
    struct file *file;       /* borrowed; NULL: anonymous (shared anonymous when VMA_SHARED) */
    struct mapping *mapping; /* of the file; NULL without one */
    uint64_t offset;         /* page-aligned */
};

enum mm_map_how {
    MM_MAP_FIXED = 1u << 0,
    MM_MAP_NOREPLACE = 1u << 1,
    MM_MAP_POPULATE = 1u << 2,
};

/*
 * What mmap of this file maps: the object that its mmap method names, or its inode's page cache.
 * -ENODEV: it has none.
 */
int mm_file_mapping(struct file *f, uint32_t vma_flags, struct mapping **mapping) MUST_CHECK;

/* Map; returns the address or -errno as mmap(2). Takes mmap_lock. Permission of the file was
 * checked by the caller. */
int64_t mm_map(struct mm *mm, const struct mm_map *request) MUST_CHECK;
int mm_unmap(struct mm *mm, uint64_t addr, uint64_t size) MUST_CHECK;
int mm_protect(struct mm *mm, uint64_t addr, uint64_t size, uint32_t prot) MUST_CHECK;

/* The VMA that holds addr, or the next above; NULL. mmap_lock held. */
struct vma *vma_find(struct mm *mm, uint64_t addr);
struct vma *vma_first(struct mm *mm);
struct vma *vma_next(struct vma *v);

/* --- faults
 * --------------------------------------------------------------------------------------- */

enum fault_access {
    FAULT_READ = 0,
    FAULT_WRITE = 1u << 0,
    FAULT_EXEC = 1u << 1,
    FAULT_USER = 1u << 2,
    FAULT_ABSENT = 1u << 3, /* a hint: the CPU found no PTE at all */
};

/*
 * Make `addr` accessible as asked, if the VMAs allow it. 0: retry the access. Otherwise the signal
 * to raise and its si_code: *signal is SIGSEGV (SEGV_MAPERR, SEGV_ACCERR), SIGBUS (BUS_ADRERR), or
 * -ENOMEM is returned after the OOM killer chose (the faulting task may be the victim). May sleep.
 * Budget: 700 ring-0 instructions for an anonymous first touch, entry and exit included.
 */
int mm_fault(struct mm *mm, uint64_t addr, unsigned access, int *signal, int *code);

/*
 * Shared futex keys: for a word in a shared mapping, the object and offset that name it in every
 * address space; for private memory *mapping is NULL and the key is (mm, addr). -EFAULT if
 * unmapped.
 */
int mm_futex_key(struct mm *mm, uint64_t addr, struct mapping **mapping,
                 uint64_t *offset) MUST_CHECK;

/* --- for exec: a new address space that nobody runs in yet
 * ----------------------------------------- */

/* mm_map() of a private mapping at exactly that address; short where nothing is in its way. Joins
 * no neighbour there. 0, -errno. */
int mm_map_new(struct mm *mm, const struct mm_map *request) MUST_CHECK;
/* Where `size` bytes are free: at the hint if it is not 0 and free, else as mmap would. -ENOMEM. */
int64_t mm_find_gap(struct mm *mm, uint64_t hint, uint64_t size) MUST_CHECK;
/* Map a page of a private VMA, which holds no PTE there yet. Takes the caller's reference if 0. */
int mm_install_page(struct mm *mm, uint64_t addr, struct page *p) MUST_CHECK;
/*
 * Give the page at `addr` of a private file VMA a copy of its own: the first `bytes` bytes are the
 * file's, the rest is zero (the page where a program's data ends and its bss begins).
 */
int mm_install_tail(struct mm *mm, uint64_t addr, size_t bytes) MUST_CHECK;
/* Map the vDSO near the top; sets mm->vdso to its code, for AT_SYSINFO_EHDR. */
int mm_map_vdso(struct mm *mm) MUST_CHECK;

/* Fault in what is missing of [addr, addr + size) (MAP_POPULATE, mlock): best effort. 0, -ENOMEM,
 * -EFAULT. */
int mm_populate(struct mm *mm, uint64_t addr, uint64_t size, bool write) MUST_CHECK;

/* Bytes of another (or the own) address space, for /proc and ptrace; returns bytes moved, faulting
 * pages in. */
size_t mm_access(struct mm *mm, uint64_t addr, void *buf, size_t size, bool write);

/* User memory within one page, held where it is for a device. */
struct mm_pin {
    void *at;
    uint32_t size;
    struct page *page; /* NULL: of the image, which stays */
};

/*
 * Hold [addr, addr + size) page by page, faulting in what is missing, at most `max` pages: the
 * number held, fewer where a page cannot be had. With `write` the caller sees to it that the
 * address space is not forked meanwhile: a page that became shared would be written for both.
 */
unsigned mm_pin(struct mm *mm, uint64_t addr, size_t size, bool write, struct mm_pin *out,
                unsigned max) MUST_CHECK;
void mm_unpin(const struct mm_pin *pins, unsigned count);

/* Drop PTEs of pages [first, first + count) of a mapping in every address space (truncate, punch
 * hole). */
void mm_unmap_mapping(struct mapping *m, uint64_t first, uint64_t count);

/* Out of memory for a user page: choose a victim by size and oom_score_adj, kill its group, log it.
 */
void oom_kill(void);
