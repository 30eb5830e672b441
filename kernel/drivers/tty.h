/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Terminals: Linux's N_TTY line discipline over anything that can move bytes. Input comes from the
 * driver's thread (never from an interrupt: it sends signals), output goes to the driver's write.
 */
#pragma once

#include <core/lock.h>
#include <core/types.h>
#include <fs/vfs.h>
#include <sched/wait.h>

#define TTY_INPUT_MAX 4096u /* canonical lines are cut there, as Linux's N_TTY_BUF_SIZE */
#define TTY_CC_COUNT  19u

/* The kernel ABI's struct termios (asm-generic/termbits.h). */
struct termios {
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line;
    uint8_t cc[TTY_CC_COUNT];
};

static_assert(sizeof(struct termios) == 36, "struct termios is ABI");

struct winsize {
    uint16_t rows, cols, xpixel, ypixel;
};

struct tty;

struct tty_driver {
    /* Send all bytes; sleeps for room unless `atomic` (echo), which drops what does not fit. 0 or
     * -EIO, -ERESTARTSYS with *done bytes gone. */
    int (*write)(struct tty *t, const uint8_t *bytes, size_t size, bool atomic, size_t *done);
    /* Is there room for more output? Registers with pt. */
    uint32_t (*poll_out)(struct tty *t, struct file *f, struct poll_table *pt);
    /* A read has made room for more input. NULL: nobody waits for that. */
    void (*has_read)(struct tty *t);
};

struct tty {
    const struct tty_driver *driver;
    void *private;
    const char *name;
    struct mutex write_lock; /* one program's write at a time: lines do not mix */
    struct wait_queue readers;

    struct spinlock lock; /* the rest */
    struct termios termios;
    struct winsize winsize;
    pid_t sid;  /* session that it controls; 0: none */
    pid_t pgid; /* foreground group */
    uint32_t head, line_end,
        tail; /* input ring: [head, line_end) readable in canonical mode, up to tail being edited */
    uint32_t column; /* of output, for tabs and erasing */
    bool is_stopped; /* ^S */
    bool is_hung_up;
    bool takes_literal; /* ^V came */
    uint8_t input[TTY_INPUT_MAX];
    uint64_t marks[TTY_INPUT_MAX / 64]; /* bit: a line ends after this byte */
    uint64_t ends[TTY_INPUT_MAX / 64];  /* bit: this byte is an end-of-file mark, not data */
    struct wait_queue unstopped;
};

void tty_init(struct tty *t, const char *name, const struct tty_driver *driver, void *private);
void tty_input(struct tty *t, const uint8_t *bytes, size_t size);
void tty_set_window(struct tty *t, uint16_t rows, uint16_t cols); /* SIGWINCH when it changed */
void tty_hang_up(struct tty *t); /* SIGHUP; reads end, writes fail */
/* Make it the controlling terminal of the current session leader, if that has none and t controls
 * none. */
void tty_take_control(struct tty *t);
/* The current process ends: if it leads a session, the session's terminal is free again and its
 * foreground group is hung up. */
void tty_leave_session(void);

extern const struct file_ops tty_file_ops;    /* file->private is the struct tty */
extern const struct file_ops tty_current_ops; /* /dev/tty */
