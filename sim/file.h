/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated descriptors and what they stand for. A descriptor is a number in a process's table that
 * refers to an open file; regular files, directories, pipes, event descriptors and sockets are
 * kinds of open files. Errors are negative errno values here; the wraps turn them into errno.
 */
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fault.h"

struct sim_file;

struct sim_file_ops {
    const char *kind;
    /* -EAGAIN: nothing now; the caller waits or returns. `offset` < 0: the file's own position. */
    ssize_t (*read)(struct sim_file *f, void *to, size_t size, off_t offset);
    ssize_t (*write)(struct sim_file *f, const void *from, size_t size, off_t offset);
    short (*poll)(struct sim_file *f);        /* POLLIN ... that hold now */
    uint64_t (*ready_ns)(struct sim_file *f); /* NULL, or when something will arrive */
    /* NULL, or a number that moves whenever an edge-triggered waiter would be woken */
    uint64_t (*activity)(struct sim_file *f);
    int (*stat)(struct sim_file *f, struct stat *out);
    void (*close)(struct sim_file *f); /* the last reference is gone; frees it */
};

struct sim_file {
    const struct sim_file_ops *ops;
    unsigned refs;
    int flags; /* O_ACCMODE, O_NONBLOCK, O_APPEND */
};

/* ---- Descriptors (fd.c) ---- */

/* Put `f` (its reference is taken) into the current process's table: the lowest free number, or
 * -EMFILE and `f` is closed. */
int sim_fd_install(struct sim_file *f);
struct sim_file *sim_fd_get(int fd); /* NULL: not open. Borrowed */
void sim_file_put(struct sim_file *f);
/* Something may have become readable or writable: whoever waits looks again. */
void sim_files_changed(void);
/* Until something may have changed, or it becomes ready by itself. Switches. False: a signal
 * without SA_RESTART comes instead. */
bool sim_file_wait(struct sim_file *f, enum sim_op op);
/* The call failed: sets errno and returns -1 for negative r, else r. */
long sim_result_of(long r);

/* ---- Files (disk.c) ---- */

int sim_file_map(int fd, void *to, size_t size, off_t offset, bool is_shared_writable);
/* An open file's own lock: whole files, exclusive ones. -EAGAIN: another open file has it. */
int sim_file_lock(struct sim_file *f, const struct flock *lock);
/* Put a file into the world without faults, durable at once; directories are made. */
void sim_disk_put(const char *path, const void *data, size_t size, mode_t mode);
void sim_disk_mkdir(const char *path);
/* Size of a file, -1 without; and a copy of its bytes (sim_free), without faults. */
long sim_disk_size(const char *path);
uint64_t sim_disk_version(const char *path); /* another one whenever the file is another */
void *sim_disk_get(const char *path, size_t *size);
void sim_disk_remove(const char *path);
/* Flip one bit of a file, durably. */
void sim_disk_flip(const char *path, size_t offset, unsigned bit);
/*
 * The current task's file operation after `skip` more (reads, writes, fsyncs, renames) takes
 * delay_ns longer and fails with os_errno (0: only takes longer). Both 0: no more.
 */
void sim_disk_trouble(unsigned skip, int os_errno, uint64_t delay_ns);
/* Names in a directory, for checks; false after the last. */
bool sim_disk_list(const char *path, unsigned index, char *name, size_t size);
unsigned sim_disk_count(const char *path);
/* Counts changes of names: a checker looks at a directory only when it moved. */
uint64_t sim_disk_generation(void);
/* The host loses power: processes other than the first are killed, and of what was not flushed the
 * seed keeps a part. */
void sim_power_loss(void);

/* ---- Sockets (socket.c) ---- */
void sim_net_init(void);

/* ---- Descriptors for events (event.c) ---- */

/* Signal `signo` comes to process `proc`: its signal descriptors become readable. */
void sim_signal_raise(unsigned proc, int signo);
