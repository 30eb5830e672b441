/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exec protocol 2 between a host program and the agent in the guest, over a stream (vsock port
 * AGENT_PORT). docs/agent.md tells the story; the bytes are here. Numbers are big-endian, text is
 * not terminated, and no padding is implicit.
 *
 * A frame is a header of AGENT_HEADER_SIZE bytes and a payload. `length` counts everything after
 * itself: 4 for the rest of the header, and the payload.
 *
 *     u32 length | u8 type | u8 flags | u16 stream | payload
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define AGENT_PORT        9001u
#define AGENT_VERSION_MIN 2u
#define AGENT_VERSION_MAX 2u

#define AGENT_HEADER_SIZE  8u
#define AGENT_LENGTH_MIN   4u
#define AGENT_LENGTH_MAX   (1u << 20)
#define AGENT_PAYLOAD_MAX  (AGENT_LENGTH_MAX - AGENT_LENGTH_MIN)
#define AGENT_WINDOW_START (256u << 10) /* credit of a stream at its beginning, each way, bytes */
#define AGENT_WINDOW_MAX   (1u << 24)   /* credit never exceeds this; more is a protocol error */

#define AGENT_STREAMS_MAX        256u /* under way at once over all connections */
#define AGENT_CONNECTIONS_MAX    128u
#define AGENT_OUTPUT_MAX_DEFAULT (10u << 20) /* of stdout and of stderr each */
#define AGENT_TIMEOUT_MS_DEFAULT 60000u
#define AGENT_TIMEOUT_MS_MAX     86400000u
#define AGENT_KILL_AFTER_MS      2000u /* from SIGTERM to SIGKILL */
#define AGENT_ENV_MAX            256u
#define AGENT_PATH_MAX           4095u

/* Protocol 1 answers in one message; a captured output is cut there. */
#define AGENT_V1_MESSAGE_MAX (10u << 20)
#define AGENT_V1_OUTPUT_MAX  (2u << 20)

enum agent_frame_type {
    AGENT_HELLO = 1,    /* both: struct agent_hello and the build's name */
    AGENT_EXEC = 2,     /* to the guest: JSON; opens the stream */
    AGENT_STDIN = 3,    /* to the guest: bytes; costs credit */
    AGENT_STDOUT = 4,   /* to the host: bytes; costs credit */
    AGENT_STDERR = 5,   /* to the host: bytes; costs credit */
    AGENT_EXIT = 6,     /* to the host: struct agent_exit; closes the stream */
    AGENT_KILL = 7,     /* to the guest: i32 signal, to the process group; ends a READ */
    AGENT_WINDOW = 8,   /* both: u32 credit granted to the receiver of this frame */
    AGENT_PING = 9,     /* both: 8 opaque bytes */
    AGENT_PONG = 10,    /* both: the same bytes */
    AGENT_READ = 11,    /* to the guest: struct agent_read and the path; answer: DATA */
    AGENT_WRITE = 12,   /* to the guest: struct agent_write, path, bytes; answer: OK */
    AGENT_LIST = 13,    /* to the guest: the path; answer: ENTRIES */
    AGENT_STAT = 14,    /* to the guest: the path (not followed); answer: OK, struct agent_stat */
    AGENT_DATA = 15,    /* to the host: bytes; costs credit; END closes the stream */
    AGENT_ENTRIES = 16, /* to the host: struct agent_entry and a name each; END closes the stream */
    AGENT_OK = 17,      /* to the host; closes the stream */
    AGENT_SHUTDOWN = 18, /* to the guest: u32 enum agent_shutdown_mode; answer: OK */
    AGENT_RESIZE = 19,   /* to the guest: struct agent_resize; needs AGENT_CAN_TTY */
    AGENT_ERROR = 127,   /* both: u32 enum agent_error and text; closes the stream; on stream 0 the
                            connection ends with it */
};

enum agent_frame_flags {
    AGENT_END = 1, /* STDIN, STDOUT, STDERR, DATA, ENTRIES: nothing follows */
};

/* HELLO: the version to speak is the highest that both ranges hold. */
struct agent_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint32_t capabilities; /* enum agent_capability */
                           /* the build's name: the rest of the payload */
};

enum agent_capability {
    AGENT_CAN_EXEC = 1u << 0,
    AGENT_CAN_FILES = 1u << 1,    /* READ, WRITE, LIST, STAT */
    AGENT_CAN_SHUTDOWN = 1u << 2, /* it may end the machine */
    AGENT_CAN_TTY = 1u << 3,      /* EXEC's "tty", and RESIZE */
    AGENT_CAN_NODES = 1u << 4,    /* WRITE makes directories and symbolic links */
};

enum agent_exit_flags {
    AGENT_EXIT_STDOUT_CUT = 1u << 0,
    AGENT_EXIT_STDERR_CUT = 1u << 1,
    AGENT_EXIT_TIMED_OUT = 1u << 2,
};

/* code: 0..255, or 128 + signal. */
#define AGENT_CODE_SETUP    125 /* the agent could not set the program up; stderr says why */
#define AGENT_CODE_NO_EXEC  126 /* found, but does not start */
#define AGENT_CODE_ABSENT   127 /* not found */
#define AGENT_CODE_SIGNALED 128

struct agent_exit {
    uint32_t code;
    uint32_t signal; /* 0: none */
    uint64_t duration_us;
    uint32_t flags; /* enum agent_exit_flags */
} __attribute__((packed));

struct agent_read {
    uint64_t offset;
    uint64_t size; /* bytes wanted at most; 0: to the end */
                   /* the path: the rest of the payload */
};

enum agent_write_flags {
    AGENT_WRITE_CREATE = 1u << 0,    /* make it when it is missing, with `mode` */
    AGENT_WRITE_TRUNCATE = 1u << 1,  /* cut it to `offset` before writing */
    AGENT_WRITE_CHMOD = 1u << 2,     /* set `mode` on one that is there already, too */
    AGENT_WRITE_DIRECTORY = 1u << 3, /* make a directory instead; one that is there is fine */
    AGENT_WRITE_SYMLINK = 1u << 4,   /* make a symbolic link instead; the bytes are its target */
};

struct agent_write {
    uint64_t offset;
    uint32_t mode; /* permissions, 07777 */
    uint16_t flags;
    uint16_t path_size; /* the path, then the bytes: the rest of the payload */
};

struct agent_stat {
    uint64_t size;
    uint64_t mtime_ns; /* Unix time */
    uint64_t inode;
    uint32_t mode; /* with the type, as st_mode */
    uint32_t uid;
    uint32_t gid;
    uint32_t link_count;
};

struct agent_entry {
    uint64_t size;
    uint64_t mtime_ns;
    uint32_t mode; /* 0: it vanished while the directory was read */
    uint16_t reserved;
    uint16_t name_size; /* the name follows, then the next entry */
};

enum agent_shutdown_mode {
    AGENT_POWER_OFF = 0,
    AGENT_REBOOT = 1,
};

struct agent_resize {
    uint16_t rows;
    uint16_t cols;
};

/* Codes of ERROR. Those of files are the guest's errno behind AGENT_ERROR_ERRNO. */
enum agent_error {
    AGENT_ERROR_PROTOCOL = 1,    /* a frame that makes no sense; the connection ends */
    AGENT_ERROR_VERSION = 2,     /* no version in common; the connection ends */
    AGENT_ERROR_REQUEST = 3,     /* EXEC or another request that is not understood */
    AGENT_ERROR_BUSY = 4,        /* AGENT_STREAMS_MAX streams are under way, or this one is */
    AGENT_ERROR_NO_MEMORY = 5,   /* in the guest */
    AGENT_ERROR_UNSUPPORTED = 6, /* by this agent or this guest */
    AGENT_ERROR_INTERNAL = 7,
    AGENT_ERROR_ERRNO = 1000, /* + errno */
};

_Static_assert(sizeof(struct agent_hello) == 8, "frames are ABI");
_Static_assert(sizeof(struct agent_exit) == 20, "frames are ABI");
_Static_assert(sizeof(struct agent_read) == 16, "frames are ABI");
_Static_assert(sizeof(struct agent_write) == 16, "frames are ABI");
_Static_assert(sizeof(struct agent_stat) == 40, "frames are ABI");
_Static_assert(sizeof(struct agent_entry) == 24, "frames are ABI");
_Static_assert(sizeof(struct agent_resize) == 4, "frames are ABI");
_Static_assert(offsetof(struct agent_exit, flags) == 16, "frames are ABI");
