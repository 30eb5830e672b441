/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as it lies in its file, container version 2 (and 1, which is read only).
 * docs/snapshot.md tells the story; the bytes are here. All fields are little-endian, no padding is
 * implicit, reserved fields are zero.
 *
 *     header    struct snapshot_header
 *     metadata  JSON text, for people and other programs; padded with blanks
 *     state     struct snapshot_state, then records; padded with zeros
 *     memory    guest RAM, byte n of it at byte n of this part; what no run names is a hole
 *
 * In version 2 the state and the memory begin at multiples of SNAPSHOT_PAGE_SIZE. Version 1 has the
 * first 32 bytes of the header, then the same parts without padding, and all of the memory.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_MAGIC     UINT32_C(0x31504c4b) /* the bytes "KLP1" */
#define SNAPSHOT_PAGE_SIZE 4096u

struct snapshot_header_1 {
    uint32_t magic;
    uint32_t version;
    uint64_t metadata_size;
    uint64_t state_size;
    uint64_t memory_size;
};

enum snapshot_header_flags {
    /* Memory is a file of its own, laid out the same; memory_size is 0. */
    SNAPSHOT_MEMORY_ELSEWHERE = 1u << 0,
};

struct snapshot_header {
    struct snapshot_header_1 v1;
    uint8_t metadata_sha256[32];
    uint8_t state_sha256[32];
    uint8_t memory_sha256[32]; /* over the data runs, in order */
    uint32_t flags;
    uint32_t reserved[23];
};

_Static_assert(sizeof(struct snapshot_header_1) == 32, "container layout is fixed");
_Static_assert(sizeof(struct snapshot_header) == 224, "container layout is fixed");

/* ---- State ---------------------------------------------------------------------------------- */

#define SNAPSHOT_STATE_MAGIC   UINT64_C(0x3141545350555244) /* the bytes "DRUPSTA1" */
#define SNAPSHOT_STATE_VERSION 1u
#define SNAPSHOT_ID_SIZE       40u /* text with its NUL; the rest zero */

enum snapshot_arch {
    SNAPSHOT_X86_64 = 1,
    SNAPSHOT_AARCH64 = 2,
};

enum snapshot_state_flags {
    SNAPSHOT_IS_DIFF = 1u << 0, /* pages that no run names are those of the base */
};

struct snapshot_state {
    uint64_t magic;
    uint32_t version;
    uint32_t arch;
    uint32_t size; /* bytes in use, this header included */
    uint32_t record_count;
    uint32_t flags;
    uint32_t vcpus;
    uint64_t ram_size; /* bytes, a multiple of SNAPSHOT_PAGE_SIZE */
    uint64_t created_ms;
    char id[SNAPSHOT_ID_SIZE];
    char base_id[SNAPSHOT_ID_SIZE]; /* of a diff */
};

_Static_assert(sizeof(struct snapshot_state) == 128, "state layout is fixed");

/* Each record's payload stands behind it and is padded with zeros to a multiple of 16 bytes. */
struct snapshot_record {
    uint32_t kind; /* enum snapshot_kind */
    uint32_t index;
    uint32_t version; /* of the payload, 1 unless said otherwise */
    uint32_t size;    /* of the payload, without padding */
};

enum snapshot_kind {
    SNAPSHOT_RUNS = 1,    /* struct snapshot_run[]: ascending, not overlapping */
    SNAPSHOT_CONFIG = 2,  /* struct snapshot_config and its strings */
    SNAPSHOT_VM = 3,      /* what the machine has once; by architecture */
    SNAPSHOT_VCPU = 4,    /* index: vCPU; by architecture */
    SNAPSHOT_IOAPIC = 5,  /* struct snapshot_ioapic */
    SNAPSHOT_UART = 6,    /* struct snapshot_uart */
    SNAPSHOT_STATUS = 7,  /* struct snapshot_status */
    SNAPSHOT_VIRTIO = 8,  /* index: slot; struct snapshot_virtio, its queues */
    SNAPSHOT_PRIVATE = 9, /* index: slot; the device's own, by its kind and version */
    /* struct snapshot_run[], as above: what machines touch that go on from here. May be absent. */
    SNAPSHOT_WORKING_SET = 10,
    SNAPSHOT_SHARE = 12, /* index: shared folder; struct snapshot_share and its strings */
};

enum snapshot_run_kind {
    SNAPSHOT_RUN_DATA = 0,
    SNAPSHOT_RUN_ZERO = 1, /* in a diff: zero now, whatever the base has */
    SNAPSHOT_RUN_READ = 2, /* these two in a working set only */
    SNAPSHOT_RUN_WRITTEN = 3,
};

struct snapshot_run {
    uint64_t page; /* offset in RAM / SNAPSHOT_PAGE_SIZE */
    uint32_t count;
    uint32_t kind;
};

/* How to make the machine again; what lies outside the guest may differ. */
#define SNAPSHOT_DISKS_MAX 9u

struct snapshot_file_id {
    uint64_t size;
    uint64_t device; /* with the next two: the same file, unchanged */
    uint64_t inode;
    uint64_t mtime_ns;
    uint8_t sha256[32]; /* zero: not computed (disks); of a base: memory_sha256 of its header */
    uint32_t is_read_only;
    uint32_t path_offset; /* into the strings; 0: none */
};

struct snapshot_config {
    uint32_t vcpus;
    uint32_t memory_mib;
    uint32_t root_mode; /* enum drupe_root_mode */
    uint32_t stdio;     /* enum drupe_stdio */
    uint32_t disk_count;
    uint32_t vsock_cid;      /* 0: none */
    uint32_t strings_offset; /* from the beginning of this struct; the first string is "" */
    uint32_t strings_size;
    uint32_t cmdline_offset; /* into the strings: cmdline_extra */
    uint32_t argv0_offset;
    struct snapshot_file_id root;
    struct snapshot_file_id base; /* of a diff: the file it builds on */
    struct snapshot_file_id disks[SNAPSHOT_DISKS_MAX];
};

_Static_assert(sizeof(struct snapshot_file_id) == 72, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_config) == 40 + 72 * 11, "state layout is fixed");

struct snapshot_share {
    uint32_t is_read_only;
    uint32_t host_size; /* of three texts that stand behind, each with its NUL: */
    uint32_t tag_size;
    uint32_t guest_size; /* "": not mounted */
};

_Static_assert(sizeof(struct snapshot_share) == 16, "state layout is fixed");

/* ---- Devices -------------------------------------------------------------------------------- */

struct snapshot_ioapic {
    uint64_t redirection[24];
    uint32_t pending;
    uint8_t index;
    uint8_t id;
    uint8_t reserved[2];
};

struct snapshot_uart {
    uint8_t ier;
    uint8_t lcr;
    uint8_t mcr;
    uint8_t scratch;
    uint8_t fcr;
    uint8_t is_thr_empty_pending;
    uint8_t has_overrun;
    uint8_t input_count;
    uint16_t divisor;
    uint16_t output_count;
    uint32_t reserved;
    uint8_t input[64];
    uint8_t output[128]; /* a line not yet complete */
};

struct snapshot_status {
    uint8_t bytes[4];
    uint32_t count;
};

struct snapshot_queue {
    uint64_t desc;
    uint64_t avail;
    uint64_t used;
    uint16_t size;
    uint16_t is_ready;
    uint16_t avail_next; /* chains that were being worked on are taken again */
    uint16_t used_next;
    uint16_t used_published;
    uint16_t reserved[3];
};

struct snapshot_virtio {
    uint32_t device_id;
    uint32_t status;
    uint64_t features; /* negotiated */
    uint32_t device_features_select;
    uint32_t driver_features_select;
    uint32_t queue_select;
    uint32_t config_generation;
    uint32_t interrupt_status;
    uint32_t queue_count;
    struct snapshot_queue queues[]; /* queue_count */
};

_Static_assert(sizeof(struct snapshot_ioapic) == 200, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_uart) == 208, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_queue) == 40, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_virtio) == 40, "state layout is fixed");

/* The private part of the console, version 1, and of the block device, version 1. */
struct snapshot_console_port {
    uint8_t is_ready;
    uint8_t is_guest_open;
    uint8_t is_input_ended;
    uint8_t is_output_lost;
    uint32_t pending;
    uint64_t written; /* of the chain that is taken again */
};

struct snapshot_console {
    uint32_t port_count;
    uint32_t reserved;
    struct snapshot_console_port ports[];
};

struct snapshot_block {
    uint64_t capacity; /* sectors */
    uint32_t is_read_only;
    uint32_t reserved;
};

struct snapshot_balloon {
    uint32_t target_pages;
    uint32_t actual_pages;
};

/* The network device, version 1. */
struct snapshot_net {
    uint8_t mac[6];
    uint16_t mtu; /* 0: the driver was not told */
    uint64_t reserved;
};

_Static_assert(sizeof(struct snapshot_net) == 16, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_balloon) == 8, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_console_port) == 16, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_block) == 16, "state layout is fixed");

/* The private part of the shared folders' device, version 1. */
struct snapshot_9p_share {
    char tag[40]; /* the rest zero */
};

enum snapshot_9p_flags {
    SNAPSHOT_9P_HAS_EXTENSIONS = 1u << 0,
};

struct snapshot_9p {
    uint32_t message_max; /* 0: no session yet */
    uint32_t flags;
    uint32_t share_count;
    uint32_t device_count;
    uint32_t fid_count;
    uint32_t reserved;
    struct snapshot_9p_share shares[16];
    uint64_t devices[64]; /* of the host, in the order in which the guest saw them */
    /* fid_count of the next, each with its path behind it, padded to a multiple of 8 bytes */
};

enum snapshot_9p_fid_flags {
    SNAPSHOT_9P_FID_IS_OPEN = 1u << 0,
    SNAPSHOT_9P_FID_IS_LOST = 1u << 1, /* the file had no path any more */
};

struct snapshot_9p_fid {
    uint32_t id;
    uint32_t uid;
    uint32_t open_flags; /* Linux's */
    uint16_t share;      /* index */
    uint16_t flags;
    uint32_t path_size; /* without a NUL; below the share's root, no slash in front */
};

_Static_assert(sizeof(struct snapshot_9p) == 24 + 40 * 16 + 8 * 64, "state layout is fixed");
_Static_assert(sizeof(struct snapshot_9p_fid) == 20, "state layout is fixed");

/* ---- x86-64 --------------------------------------------------------------------------------- */

enum snapshot_vcpu_x86_flags {
    SNAPSHOT_VCPU_HAS_OFFSET = 1u << 0, /* tsc_offset is known */
};

/* SNAPSHOT_VM */
struct snapshot_vm_x86 {
    uint64_t clock_ns;     /* the paravirtual clock's */
    uint64_t host_counter; /* the host's time-stamp counter when the guest stopped */
    uint64_t tsc_khz;
    uint64_t reserved;
};

/* SNAPSHOT_VCPU. The named arrays hold KVM's structs of these names (linux/kvm.h, x86). */
struct snapshot_vcpu_x86 {
    uint32_t flags;
    uint32_t mp_state;
    uint32_t msr_count;
    uint32_t cpuid_count;
    uint32_t xsave_size;
    uint32_t reserved;
    uint64_t tsc; /* the guest's, when it stopped */
    uint64_t tsc_offset;
    uint64_t tsc_deadline; /* 0: the timer is not armed */
    uint8_t regs[144];
    uint8_t sregs2[320];
    uint8_t debugregs[128];
    uint8_t xcrs[392];
    uint8_t events[64];
    uint8_t lapic[1024];
    /* xsave_size bytes (a multiple of 16), msr_count of the first, cpuid_count of the second */
};

struct snapshot_msr_x86 {
    uint32_t index;
    uint32_t reserved;
    uint64_t data;
};

struct snapshot_cpuid_x86 {
    uint32_t function;
    uint32_t index;
    uint32_t flags;
    uint32_t eax;
    uint32_t ebx;
    uint32_t ecx;
    uint32_t edx;
    uint32_t reserved[3];
};

_Static_assert(sizeof(struct snapshot_vcpu_x86) == 48 + 144 + 320 + 128 + 392 + 64 + 1024,
               "state layout is fixed");
