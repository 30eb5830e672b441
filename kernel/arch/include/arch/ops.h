/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every architecture provides to the core: the question; arch/x86_64/include (inline parts)
 * and arch/x86_64/ (the rest) are one answer, arch/host a third one for unit tests. Beside this
 * file each architecture has include/arch/{thread,current,cpu_data,regs,inline_ops,layout}.h:
 * layout.h DIRECT_MAP_BASE, VMALLOC_BASE, VMALLOC_SIZE, KERNEL_IMAGE_BASE thread.h struct
 * arch_thread: saved context of a task current.h     current_task(), this_cpu(), in_interrupt()
 * cpu_data.h    struct arch_cpu regs.h        struct regs: the user frame, and the accessors
 * declared below as inline functions inline_ops.h  the inline functions of the first group
 */
#pragma once

#include <core/types.h>

#include <arch/inline_ops.h>
/*
 * inline_ops.h defines, as static inline:
 *   uint64_t irq_save(void)              disable interrupts, return what to restore
 *   void     irq_restore(uint64_t flags)
 *   void     irq_enable(void), irq_disable(void)
 *   bool     irq_is_enabled(void)
 *   void     cpu_relax(void)             in a spin loop
 *   void     cpu_idle_wait(void)         enable interrupts and halt, without losing one in between;
 * returns enabled uint64_t cpu_counter(void)           the raw time counter
 */

struct cpu;
struct mm;
struct regs;
struct task;

/* --- boot and CPUs ---------------------------------------------------------------------------- */

void arch_init(void); /* boot CPU, after page_init(): traps, interrupt controller, timer, FPU */
void arch_start_cpus(void);     /* start the others; each ends in sched_start_cpu() and idles */
void ipi_resched(unsigned cpu); /* any context */
/* Run fn(arg) on every online CPU of mask but this one, and wait. Interrupts on, no spinlock held.
 */
void ipi_call(uint64_t cpu_mask, void (*fn)(void *arg), void *arg);
void ipi_stop_others(void); /* panic */
_Noreturn void arch_reset(void);

/* --- time ---------------------------------------------------------------------------------------
 */

uint64_t arch_counter_hz(void);
uint64_t arch_wall_clock_ns(void); /* Unix time of a clock device; 0: there is none */
/* ns = counter * mult >> shift, for clock and vDSO. */
void arch_clock_scale(uint32_t *mult, uint32_t *shift);
void arch_timer_arm(
    uint64_t deadline_ns); /* monotonic; TIME_FOREVER: off. This CPU, interrupts off. */

/* Bytes of the CPU's random generator; returns how many it gave (whole words, 0: has none). */
size_t arch_random(void *buf, size_t size);

/* --- interrupts ---------------------------------------------------------------------------------
 */

/* Route line `irq` of the machine's controller to fn(arg) on the boot CPU, edge-triggered, enabled.
 */
int irq_request(unsigned irq, void (*fn)(void *arg), void *arg) MUST_CHECK;

/* --- tasks --------------------------------------------------------------------------------------
 */

/*
 * Prepare t's kernel stack so that the first switch to it ends in user mode with a copy of `from`
 * (fork: result 0; sp and tls replaced when not 0), or, for a kernel thread, in fn(arg).
 */
void arch_thread_init_user(struct task *t, const struct regs *from, uint64_t sp, uint64_t tls,
                           bool has_tls);
void arch_thread_init_kernel(struct task *t, int (*fn)(void *arg), void *arg);
void arch_thread_free(struct task *t); /* FPU area and the like */
int arch_thread_copy_fpu(struct task *to,
                         const struct task *from) MUST_CHECK; /* from == current or stopped */

/* Switch stacks; returns in `next`'s context. Interrupts off. Saves and loads FPU and thread bases
 * eagerly. */
void arch_switch(struct task *prev, struct task *next);

/* exec's commit: clear FPU and thread bases, set the user frame to start at ip with sp. */
void arch_start_user(struct regs *regs, uint64_t ip, uint64_t sp);
/* First entry of a kernel thread that has become a user task: load current->regs and go. */
_Noreturn void arch_enter_user(void);

/* --- signals ------------------------------------------------------------------------------------
 */

struct signal_delivery;
/* Build the ABI's frame for a handler on the user stack and point regs at it. -EFAULT: no room;
 * force SIGSEGV. */
int arch_signal_frame(struct regs *regs, const struct signal_delivery *d) MUST_CHECK;
/* rt_sigreturn: restore registers and FPU from the frame; *mask receives the old mask. -EFAULT: bad
 * frame. */
int arch_signal_return(struct regs *regs, uint64_t *mask) MUST_CHECK;

/* --- page tables
 * ---------------------------------------------------------------------------------- */

enum pte_flags {
    PTE_USER_READ = 1u << 0,
    PTE_USER_WRITE = 1u << 1,
    PTE_USER_EXEC = 1u << 2,
    PTE_DIRECT = 1u << 3, /* frame without struct page: no reference held (image, vDSO) */
    PTE_SHARED = 1u << 4, /* of a shared mapping: fork copies it as it is */
};

struct pte {
    bool is_present;
    bool is_dirty;
    bool is_accessed;
    unsigned flags;
    paddr_t pa;
};

paddr_t pt_create(void);       /* a root with the kernel's half; 0: no memory */
void pt_destroy(paddr_t root); /* frees table pages; what PTEs are left are PTE_DIRECT ones */

/*
 * Install `count` PTEs for consecutive pages at va: frame i is first + i * PAGE_SIZE. Present ones
 * are left alone and skipped when `keep` is set, else replaced. Returns how many were installed, or
 * -ENOMEM before any. page_table_lock held.
 */
long pt_map_run(paddr_t root, uint64_t va, paddr_t first, uint64_t count, unsigned flags,
                bool keep);

/* Walk: call fn for each present PTE in [start, end); *p may be changed, and is written back when
 * fn returns true. Skips absent tables whole. */
typedef bool (*pt_visit_fn)(void *ctx, uint64_t va, struct pte *p);
void pt_visit(paddr_t root, uint64_t start, uint64_t end, pt_visit_fn fn, void *ctx);
bool pt_lookup(paddr_t root, uint64_t va, struct pte *out);

/*
 * A look at `count` (1..32) pages from va on, all in one table, and then PTEs for some of them: a
 * fault that maps a run finds the table once. Valid while page_table_lock is held.
 */
struct pt_window {
    paddr_t root;
    uint64_t va;
    uint64_t *pte; /* of va; NULL: there is no table yet */
    uint64_t *summary;
};

/* Which pages show nothing: bit i of the result. */
uint32_t pt_window_empty(paddr_t root, uint64_t va, unsigned count, struct pt_window *w);
/* Which show nothing, or page i of the run that begins at frame `first` with PTE_DIRECT. *mapped:
 * bit i, there is such a PTE. For faults that copy a run. */
uint32_t pt_window_direct(paddr_t root, uint64_t va, unsigned count, paddr_t first,
                          struct pt_window *w, uint32_t *mapped);
/* As pt_map_run() for pages [from, from + count) of the window, whatever they show. */
bool pt_window_map(const struct pt_window *w, unsigned from, unsigned count, paddr_t first,
                   unsigned flags) MUST_CHECK;

/*
 * Fork: copy every present PTE of [start, end) into the other root; private writable ones become
 * read-only in both; frames with struct page get a reference and a map count. -ENOMEM: undone by
 * the caller's unmapping of the child. Hot: no callbacks.
 */
int pt_fork_range(paddr_t from, paddr_t to, uint64_t start, uint64_t end,
                  bool is_shared) MUST_CHECK;

/*
 * Remove PTEs of [start, end); frames with struct page lose this map count here and are appended to
 * the batch; the caller puts their reference after the flush. A dirty PTE of a shared mapping sets
 * PAGE_DIRTY. Table pages may stay (pt_destroy() frees them).
 */
struct pt_batch {
    struct page *slots[64];
    unsigned count;
    uint64_t unmapped; /* PTEs removed in all */
};

uint64_t pt_unmap_range(paddr_t root, uint64_t start, uint64_t end, struct pt_batch *batch);
/* pt_unmap_range stops early (returns the address to go on from, or end) when the batch is full. */

/* Invalidate translations of [start, end) in mm on every CPU in its mask; waits. No spinlock that
 * an IPI needs. */
void tlb_flush_range(struct mm *mm, uint64_t start, uint64_t end);
void tlb_flush_mm(struct mm *mm);
void arch_load_page_table(paddr_t root); /* 0: the kernel's own */

/* Kernel mappings for vmalloc and stacks: RAM frames at va, read-write, never executable. */
int pt_kernel_map(uintptr_t va, paddr_t pa, uint64_t count) MUST_CHECK;
void pt_kernel_unmap(uintptr_t va, uint64_t count); /* flushes all CPUs */
/* Make [pa, pa + size) reachable through phys_to_virt(), RAM cached, devices uncached. */
int pt_direct_map(paddr_t pa, uint64_t size, bool is_device) MUST_CHECK;

/* Hand the request page `frame` to the monitor's copy port (mm/page_copy.c). Done when it returns.
 */
void arch_copy_port_write(unsigned port, uint64_t frame);

/* --- user memory (used by syscall/uaccess.c only)
 * ---------------------------------------------------- */

size_t
arch_copy_user(void *to, const void *from,
               size_t size); /* bytes NOT copied; either side may be user; faults are served */
size_t arch_clear_user(void *to, size_t size);
ssize_t arch_strncpy_user(char *to, const char *from, size_t size);
int arch_cmpxchg_user32(uint32_t *at, uint32_t expected, uint32_t desired, uint32_t *old);
int arch_load_user32(uint32_t *value,
                     const uint32_t *from); /* 0 or -EFAULT; faults are NOT served */

/* --- program start
 * ---------------------------------------------------------------------------------- */

#define ARCH_AUXV_MAX 6
/* Architecture's entries (HWCAP, PLATFORM is added by exec from arch_platform, MINSIGSTKSZ): pairs
 * written, count returned. */
unsigned arch_auxv(uint64_t pairs[ARCH_AUXV_MAX][2]);
extern const uint16_t arch_elf_machine;
extern const char arch_platform[]; /* "x86_64" */

/* The vDSO: page-aligned image and its data page (one each for the machine), to be mapped read-only
 * [+exec] with PTE_DIRECT. */
struct vdso_image {
    paddr_t code;
    uint64_t code_size;
    paddr_t data; /* one page, mapped directly below the code */
};
const struct vdso_image *arch_vdso(void);
/* Publish clock parameters to the data page (seqlock). */
void arch_vdso_update(uint64_t counter_base, uint64_t monotonic_base_ns,
                      uint64_t realtime_offset_ns, uint32_t mult, uint32_t shift);
/*
 * The data page's copy of the identity page's generation, which is `now` and from here on the
 * monitor's to write (its physical address), and what it was for the parameters published next:
 * programs ask the kernel when the two differ.
 */
paddr_t arch_vdso_generation(uint32_t now);
void arch_vdso_know_generation(uint32_t generation);

/* --- system calls
 * ------------------------------------------------------------------------------------ */
/*
 * regs.h defines, as static inline, on struct regs:
 *   uint64_t regs_ip(r), regs_sp(r), regs_result(r); void regs_set_ip/sp/result(r, v)
 *   int64_t  regs_syscall(r)           number in progress, -1: none (fault, interrupt, or not to be
 * restarted) uint64_t regs_arg(r, n)            n in 0..5 void     regs_restart(r)           rewind
 * to run the same call again void     regs_set_syscall(r, nr)   with regs_restart: restart_syscall
 *   bool     regs_is_user(r)
 */
