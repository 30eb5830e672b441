/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, paths, processes and text buffers of the host. Functions return 0 or a negative errno
 * unless said otherwise, and print nothing.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <base/compiler.h>

/* ---- Cleanup ------------------------------------------------------------------------------- */

void cleanup_fd(int *fd);
void cleanup_free(void *ptr_to_ptr);

#define CLEANUP_FD   __attribute__((cleanup(cleanup_fd))) int
#define CLEANUP_FREE __attribute__((cleanup(cleanup_free)))

/* Take the descriptor out of the variable that would close it. */
static inline int fd_steal(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Allocation that ends the program with a message when memory is exhausted: a tool has no other
 * answer. */
void *alloc_zeroed(size_t count, size_t size);
void *alloc_resized(void *ptr, size_t count, size_t size);
char *text_copy(const char *text);
char *text_copy_sized(const char *text, size_t size);
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- A growing run of bytes, always followed by a NUL that `size` does not count ------------- */

struct buffer {
    char *data; /* NULL while nothing was added */
    size_t size;
    size_t capacity;
};

/* Make room for `size` more bytes and a NUL. */
void buffer_reserve(struct buffer *b, size_t size);
void buffer_add(struct buffer *b, const void *bytes, size_t size);
void buffer_add_text(struct buffer *b, const char *text);
void buffer_format(struct buffer *b, const char *format, ...) PRINTF_LIKE(2, 3);
void buffer_free(struct buffer *b); /* also as a cleanup function */

#define CLEANUP_BUFFER __attribute__((cleanup(buffer_free))) struct buffer

/* ---- A growing list of owned strings, NULL-terminated once something was added ----------------
 */

struct strings {
    char **items;
    size_t count;
    size_t capacity;
};

void strings_take(struct strings *s, char *text); /* the list owns it from here on */
void strings_add(struct strings *s, const char *text);
void strings_sort(struct strings *s);
bool strings_has(const struct strings *s, const char *text);
void strings_free(struct strings *s);

#define CLEANUP_STRINGS __attribute__((cleanup(strings_free))) struct strings

/* ---- Files ----------------------------------------------------------------------------------- */

/*
 * Read a whole regular file of at most size_max bytes. -EFBIG when it is larger, -EISDIR for a
 * directory, -EINVAL for anything else that is no regular file.
 */
int file_read(const char *path, size_t size_max, struct buffer *out) MUST_CHECK;

/* Write all bytes; EINTR and short writes are retried. */
int fd_write_all(int fd, const void *bytes, size_t size) MUST_CHECK;

/* Replace path by these bytes: written to a temporary name beside it, then renamed. */
int file_replace(const char *path, const void *bytes, size_t size, mode_t mode) MUST_CHECK;

/* Like mkdir -p; the mode is for the directories it makes. */
int dirs_make(const char *path, mode_t mode) MUST_CHECK;

/* Remove a file or a whole directory, following no symbolic link; what is gone already is fine. */
void tree_remove(const char *path);

/*
 * While `path` is set, SIGINT, SIGTERM and SIGHUP remove that file before they end the program;
 * NULL ends that. One path at a time, of at most PATH_MAX bytes.
 */
void remove_on_signal(const char *path);

/* Remove entries of dir named "...-PID" (any of our temporary names) whose process is gone. */
void remove_stale(const char *dir);

/* "dir/name"; only one slash between them. The caller frees. */
char *path_join(const char *dir, const char *name);

/*
 * The cache directory ($DRUPE_CACHE, $XDG_CACHE_HOME/drupe, ~/.cache/drupe, else
 * /tmp/drupe-<uid>), made when missing, with `name` below it (may hold slashes; NULL: the
 * directory itself). The caller frees. NULL with errno set when it cannot be made.
 */
char *cache_dir(const char *name);

/* The path of a program found in PATH or the usual sbin directories, or NULL. The caller frees. */
char *program_find(const char *name);

/* ---- Programs -------------------------------------------------------------------------------- */

struct command {
    const char *const *argv; /* argv[0] is found in PATH */
    const char *const *env;  /* NULL: ours */
    const char *cwd;         /* NULL: ours */
    int stdin_fd;            /* 0 here means /dev/null */
    void (*on_line)(
        const char *line); /* NULL, or called for each line of standard output as it comes */
};

/*
 * Run it to its end, standard output into *output and standard error into *errors (either may be
 * NULL: then it goes to ours). Both are cut at 16 MiB. Returns the exit status (128 + n on signal
 * n), or a negative errno when it could not be started.
 */
int command_run(const struct command *c, struct buffer *output, struct buffer *errors) MUST_CHECK;
