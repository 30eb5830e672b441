/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor and the guest kernel agree on at boot, version 1. docs/boot.md tells the story;
 * the bytes are here. All fields are little-endian; no padding is implicit.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Boot arguments: one blob that carries what a command line cannot (arguments with any byte in
 * them, an environment larger than 2 KiB, entropy). It travels as the initial ramdisk: the Linux
 * protocol's ramdisk_image/ramdisk_size, or the first PVH module; so QEMU's -initrd carries it as
 * well. A ramdisk that does not begin with the magic is a cpio archive (newc) to unpack into the
 * root.
 *
 * With BOOT_ARGS_AGENT the agent (docs/agent.md), a static ELF program, follows: it begins at the
 * next multiple of BOOT_ARGS_AGENT_ALIGN behind the blob, and the ramdisk ends where it ends. The
 * kernel runs it where it lies. With argc = 0 it is the workload.
 *
 * Layout: the header, then `strings_size` bytes at `strings_offset`: argc arguments, envc
 * "NAME=value" strings, the working directory, the host name; each ends in one NUL, none is omitted
 * (an empty working directory means "/", an empty host name "drupe"). argv[0] is looked up in PATH
 * of the given environment when it holds no slash. argc = 0 means: use init= of the command line.
 *
 * The kernel copies the blob once before it looks at it and refuses (boot error) a wrong magic
 * version, a size over BOOT_ARGS_SIZE_MAX, offsets outside the blob, or strings that do not add up.
 */
#define BOOT_ARGS_MAGIC    UINT64_C(0x3147524150555244) /* the bytes "DRUPARG1" */
#define BOOT_ARGS_VERSION  1u
#define BOOT_ARGS_SIZE_MAX (1u << 20)

#define BOOT_ARGS_AGENT_ALIGN 4096u /* also of the ramdisk itself, when an agent follows */

enum boot_args_flags {
    BOOT_ARGS_STDIO_TTY = 1u << 0, /* descriptors 0, 1, 2 are the console terminal (port 0) */
    BOOT_ARGS_STDIO_STREAM =
        1u << 1, /* 0 and 1 are port 1, 2 is port 2: plain streams, not terminals */
    BOOT_ARGS_STDIN_NONE = 1u << 2, /* with STREAM: descriptor 0 is /dev/null */
    BOOT_ARGS_STDIN_SPLIT =
        1u << 3,               /* with STREAM: 0 is port 3, where a console closes both ways */
    BOOT_ARGS_AGENT = 1u << 4, /* the agent follows the blob */
};

struct boot_args {
    uint64_t magic;
    uint32_t version;
    uint32_t size; /* of the whole blob, header included, bytes */
    uint32_t flags;
    uint32_t argc;
    uint32_t envc;
    uint32_t strings_offset;
    uint32_t strings_size;
    uint16_t tty_rows; /* 0: unknown */
    uint16_t tty_cols;
    uint64_t realtime_ns; /* Unix time when the monitor wrote this; 0: read a clock device */
    uint64_t tsc_khz;     /* 0: calibrate */
    uint32_t uid;
    uint32_t gid;
    uint8_t entropy[32]; /* from the host's generator; the kernel wipes it after use */
};

_Static_assert(sizeof(struct boot_args) == 96, "boot arguments layout is fixed");
_Static_assert(offsetof(struct boot_args, realtime_ns) == 40, "boot arguments layout is fixed");
_Static_assert(offsetof(struct boot_args, entropy) == 64, "boot arguments layout is fixed");

/*
 * Ending. The kernel reports how the machine ended on the status port announced by
 * `drupe.status=<port>` (four one-byte writes: BOOT_STATUS_MAGIC, kind, status, 0), then resets
 * through the keyboard controller (0xFE to port 0x64). QEMU's isa-debugcon collects the same bytes.
 */
#define BOOT_STATUS_PORT  0x402
#define BOOT_STATUS_MAGIC 0xD5

enum boot_status_kind {
    BOOT_STATUS_EXIT =
        1, /* the workload ended; status as a shell shows it (128 + n for signal n) */
    BOOT_STATUS_PANIC = 2, /* the kernel stopped on a bug of its own */
    BOOT_STATUS_ERROR =
        3, /* the machine could not start the workload (no root, no entry, bad image) */
    BOOT_STATUS_REBOOT = 4 /* the workload asked for a restart */
};

/*
 * The copy port. Where guest ring 0 is interpreted, copying a page costs the kernel some 500
 * interpreted steps, and an exit to the monitor a few dozen. There the monitor announces
 * `drupe.copy=<port>`, and copies whole pages for the kernel: a 4-byte write of the frame number
 * (guest-physical address / 4096) of a request page carries the request out before the write
 * completes. The monitor copies `count` and the entries once; it does the entries in order and
 * stops at the first bad one (not a page of RAM or image, or not writable). `done` says how many it
 * did.
 */
#define BOOT_COPY_PORT      0x404
#define BOOT_COPY_MAX       64u
#define BOOT_COPY_ZEROS     UINT64_MAX /* as `from`: clear the page */
#define BOOT_COPY_PAGE_SIZE 4096u

struct boot_copy_entry {
    uint64_t from; /* page-aligned guest-physical addresses */
    uint64_t to;
};

struct boot_copy {
    uint32_t count; /* 1..BOOT_COPY_MAX */
    uint32_t done;  /* written by the monitor */
    uint64_t reserved;
    struct boot_copy_entry entries[BOOT_COPY_MAX];
};

_Static_assert(sizeof(struct boot_copy) == 16 + 16 * BOOT_COPY_MAX,
               "the copy request fits in its page");

/*
 * The vector port. Where guest ring 0 is interpreted it has no XSAVE, yet programs use AVX. There
 * the monitor announces `drupe.fpu=<port> drupe.xcr0=<mask>`: a 4-byte write of the frame number of
 * a page of RAM to the port stores the CPU's state there before the write completes, as XSAVE does
 * in its standard format (Intel SDM, volume 1, 13.4), with all components of the mask, the rest of
 * the page being rubbish; a write to port + 4 loads it as XRSTOR does. A frame that is no RAM, or a
 * state that XRSTOR would refuse, ends the machine.
 */
#define BOOT_FPU_PORT      0x408
#define BOOT_FPU_LOAD      4u /* added to the port */
#define BOOT_FPU_PAGE_SIZE 4096u

/*
 * The serial line's input, when boot arguments are given, is the signal line: a byte n in 1..64
 * sends signal n to the workload's process group. Other bytes are ignored.
 */

/*
 * The identity page, announced by `drupe.identity=<gpa>` (page-aligned, RAM that the memory map
 * calls reserved). Its first half is the monitor's: it changes while the guest stands still, each
 * time the guest goes on after a pause or a restore, and then `generation` is another. A kernel
 * compares the generation with the one it saw last whenever it uses a clock or its random
 * generator, and takes the new values when it differs; it may wipe the entropy after use.
 *
 * Its second half is the kernel's, filled once at boot, `kernel_magic` last: where its array of
 * page records lies, one record a frame of RAM from address 0 on, so that a snapshot leaves out
 * free blocks; and a word in guest memory that is to follow `generation` (for code that may not
 * read this page; 0: none). The monitor believes none of it beyond what it says about the guest's
 * own memory.
 */
#define BOOT_IDENTITY_MAGIC        UINT64_C(0x314e444950555244) /* the bytes "DRUPIDN1" */
#define BOOT_IDENTITY_KERNEL_MAGIC UINT64_C(0x3147415050555244) /* "DRUPPAG1" */
#define BOOT_IDENTITY_VERSION      1u

struct boot_identity {
    uint64_t magic;
    uint32_t version;
    uint32_t generation;
    uint64_t counter_skip; /* since boot: what the counter went on while the guest stood still */
    uint64_t counter;      /* the raw counter (TSC) when it was ... */
    uint64_t realtime_ns;  /* ... this Unix time */
    uint8_t id[16];        /* of this machine; a clone gets its own */
    uint8_t entropy[32];
    uint8_t reserved[2048 - 88];

    uint64_t kernel_magic;
    uint64_t pages; /* gpa of the record of frame 0 */
    uint64_t page_count;
    uint32_t page_size;    /* of a record, bytes */
    uint16_t flags_offset; /* of 16 bits in it; in a free block's first record ... */
    uint16_t flags_free;   /* ... these are set, */
    uint16_t order_offset; /* and these 16 bits say that it has 2^order frames */
    uint16_t reserved_2[3];
    uint64_t generation_copy; /* gpa of a 32-bit word */
    uint8_t reserved_3[2048 - 48];
};

_Static_assert(sizeof(struct boot_identity) == 4096, "the identity page is one page");
_Static_assert(offsetof(struct boot_identity, kernel_magic) == 2048, "two halves");

/* Virtio console ports (multiport feature), by number. */
#define BOOT_CONSOLE_PORT_TTY    0
#define BOOT_CONSOLE_PORT_STDIO  1
#define BOOT_CONSOLE_PORT_STDERR 2
#define BOOT_CONSOLE_PORT_STDIN  3 /* with BOOT_ARGS_STDIN_SPLIT */

/*
 * ELF note of a kernel that knows this contract (name "Drupe"): the descriptor is one u32, the boot
 * arguments version. The monitor then enters at e_entry by the Linux 64-bit protocol.
 */
#define BOOT_NOTE_NAME "Drupe"
#define BOOT_NOTE_TYPE 1
