/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine as found at boot: filled by the architecture's entry from whichever protocol started
 * us, then read-only. Everything in it was checked against overflow and overlap.
 */
#pragma once

#include <core/types.h>

#define BOOT_RAM_RANGES_MAX   16
#define BOOT_VIRTIO_MAX       32
#define BOOT_COMMAND_LINE_MAX 4096 /* with the terminating NUL */

struct phys_range {
    paddr_t start;
    uint64_t size;
};

struct boot_virtio {
    paddr_t base;
    uint64_t size;
    unsigned irq;
};

struct boot_info {
    char command_line[BOOT_COMMAND_LINE_MAX + 8]; /* is read eight bytes at a time */
    struct phys_range
        ram[BOOT_RAM_RANGES_MAX]; /* usable, page-aligned, sorted; includes the kernel */
    unsigned ram_count;
    struct phys_range ramdisk;    /* size 0: none; boot arguments or cpio */
    bool ram_is_zero;             /* free RAM needs no clearing (drupe.ram=zero) */
    struct phys_range root_image; /* root=mem:..., size 0: none */
    struct boot_virtio virtio[BOOT_VIRTIO_MAX];
    unsigned virtio_count;
    unsigned status_port;  /* 0: none */
    paddr_t identity;      /* the identity page (abi/boot.h); 0: none */
    unsigned copy_port;    /* 0: none; else the monitor copies pages cheaper than we do */
    bool has_host_counter; /* ring 3 reads the same time counter as ring 0, whatever else differs */
};

extern struct boot_info boot_info;

/*
 * Find `key` ("root=", or a bare word) on the command line. Returns the text after it, up to the
 * next blank (*length bytes, not terminated), or NULL. The last of several wins.
 */
const char *boot_option_find(const char *key, size_t key_length, size_t *length);
/* The n-th of several (from 0, in their order), or NULL. */
const char *boot_option_at(const char *key, unsigned n, size_t *length);
bool boot_option_u64(const char *key, uint64_t *value); /* with 0x and K/M/G suffixes */

/* Inline, so that the length of a literal costs nothing. */
static ALWAYS_INLINE const char *boot_option(const char *key, size_t *length)
{
    return boot_option_find(key, __builtin_strlen(key), length);
}

struct boot_args;
/* Copy the header of the boot arguments (abi/boot.h), entropy left out. False: there are none. The
 * fields are the loader's: this checks magic, version and size only. */
bool boot_args_header(struct boot_args *out);

/* --- for the architecture's entry, in this order ---------------------------------------------- */

/* Add usable RAM: cut to whole pages, kept sorted, joined with its neighbours; overlaps, overflows
 * and more ranges than fit are dropped with a warning. */
void boot_ram_add(paddr_t start, uint64_t size);
/* boot_info.command_line is complete: index its words and fill in what they say. */
void boot_options_apply(void);

/* The machine cannot start the workload: one clear line, BOOT_STATUS_ERROR, end. */
_Noreturn void boot_fail(const char *format, ...) PRINTF_LIKE(1, 2);

/* Where the architecture's entry hands over, on the boot CPU's first task stack, interrupts off. */
_Noreturn void kernel_main(void);
