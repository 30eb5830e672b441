/* SPDX-License-Identifier: Apache-2.0 */
/* Files of the guest, and its end: requests with one answer. */

#include <stdlib.h>
#include <string.h>

#include <base/bytes.h>
#include <base/checked.h>

#include "error.h"
#include "exec/channel.h"

#define WRITE_CHUNK_MAX ((size_t)256 << 10)
#define FILE_MS         60000u /* one request: a slow disk is slow */
#define SIGNAL_KILL     9

/* A request on a stream of its own. */
static drupe_vm_err_t ask(drupe_agent_t *a, unsigned type, const void *head, size_t head_size,
                          const void *tail, size_t tail_size, struct channel_stream **out,
                          struct drupe_error *err)
{
    drupe_vm_err_t r = channel_stream_open(a, out, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = channel_send(a, type, 0, (*out)->id, head, head_size, tail, tail_size, err);
    if (r != DRUPE_OK) {
        channel_stream_close(*out);
    }
    return r;
}

/* ... that is answered by one OK: *out is the caller's to free(). */
static drupe_vm_err_t ask_ok(drupe_agent_t *a, unsigned type, const void *head, size_t head_size,
                             const void *tail, size_t tail_size, const char *what,
                             struct received **out, struct drupe_error *err)
{
    struct channel_stream *s = NULL;
    struct received *f = NULL;
    drupe_vm_err_t r = ask(a, type, head, head_size, tail, tail_size, &s, err);

    if (r != DRUPE_OK) {
        return r;
    }
    r = channel_receive(s, channel_deadline(FILE_MS), false, &f, err);
    channel_stream_close(s);
    if (r == DRUPE_OK && f->type != AGENT_OK) {
        r = channel_refused(f, what, err);
    }
    if (r != DRUPE_OK || out == NULL) {
        free(f);
        return r;
    }
    *out = f;
    return DRUPE_OK;
}

static drupe_vm_err_t check_path(const char *path, struct drupe_error *err)
{
    size_t size = path == NULL ? 0 : strnlen(path, AGENT_PATH_MAX + 1);

    if (size == 0 || size > AGENT_PATH_MAX) {
        return error_field(err, "path", "a path has 1 to %u bytes", AGENT_PATH_MAX);
    }
    return DRUPE_OK;
}

drupe_vm_err_t drupe_agent_shutdown(drupe_agent_t *agent, bool is_reboot, struct drupe_error *err)
{
    uint8_t payload[4];

    store_be32(payload, is_reboot ? AGENT_REBOOT : AGENT_POWER_OFF);
    return ask_ok(agent, AGENT_SHUTDOWN, payload, sizeof(payload), NULL, 0, "shutdown", NULL, err);
}

/* ---- READ ---- */

drupe_vm_err_t drupe_agent_read(drupe_agent_t *agent, const char *path, uint64_t offset,
                                uint64_t size, drupe_read_fn fn, void *ctx, struct drupe_error *err)
{
    uint8_t head[sizeof(struct agent_read)];
    uint8_t kill[4];
    struct channel_stream *s = NULL;
    bool is_over = false;
    drupe_vm_err_t r = check_path(path, err);

    if (r != DRUPE_OK) {
        return r;
    }
    store_be64(head, offset);
    store_be64(head + 8, size);
    r = ask(agent, AGENT_READ, head, sizeof(head), path, strlen(path), &s, err);
    if (r != DRUPE_OK) {
        return r;
    }
    while (r == DRUPE_OK && !is_over) {
        struct received *f = NULL;
        bool goes_on = true;

        r = channel_receive(s, channel_deadline(FILE_MS), false, &f, err);
        if (r != DRUPE_OK) {
            break;
        }
        if (f->type != AGENT_DATA) {
            r = channel_refused(f, path, err);
        } else if (f->size > 0) {
            goes_on = fn(ctx, f->payload, f->size);
            channel_grant(s, f->size);
        }
        is_over = !goes_on || (f->flags & AGENT_END) != 0;
        free(f);
        if (!goes_on) { /* a read ends by KILL, too; a lost connection shows at the next call */
            store_be32(kill, SIGNAL_KILL);
            (void)!channel_send(agent, AGENT_KILL, 0, s->id, kill, sizeof(kill), NULL, 0, NULL);
        }
    }
    channel_stream_close(s);
    return r;
}

/* ---- WRITE ---- */

static drupe_vm_err_t write_one(drupe_agent_t *a, const char *path, unsigned flags, uint32_t mode,
                                uint64_t offset, const void *bytes, size_t size,
                                struct drupe_error *err)
{
    uint8_t head[sizeof(struct agent_write) + AGENT_PATH_MAX];
    size_t path_size = 0;
    drupe_vm_err_t r = check_path(path, err);

    if (r != DRUPE_OK) {
        return r;
    }
    path_size = strlen(path);
    store_be64(head, offset);
    store_be32(head + 8, mode);
    store_be16(head + 12, (uint16_t)flags);
    store_be16(head + 14, (uint16_t)path_size);
    memcpy(head + sizeof(struct agent_write), path, path_size);
    return ask_ok(a, AGENT_WRITE, head, sizeof(struct agent_write) + path_size, bytes, size, path,
                  NULL, err);
}

drupe_vm_err_t drupe_agent_write(drupe_agent_t *agent, const char *path, unsigned flags,
                                 uint32_t mode, uint64_t offset, const void *bytes, size_t size,
                                 struct drupe_error *err)
{
    const uint8_t *from = bytes;
    drupe_vm_err_t r = DRUPE_OK;

    flags &= (unsigned)DRUPE_WRITE_CREATE | DRUPE_WRITE_TRUNCATE | DRUPE_WRITE_CHMOD;
    do {
        size_t n = min_of(size, WRITE_CHUNK_MAX);

        r = write_one(agent, path, flags, mode, offset, from, n, err);
        flags &= ~(unsigned)(DRUPE_WRITE_TRUNCATE | DRUPE_WRITE_CHMOD);
        from += n;
        offset += n;
        size -= n;
    } while (r == DRUPE_OK && size > 0);
    return r;
}

drupe_vm_err_t drupe_agent_make_directory(drupe_agent_t *agent, const char *path, uint32_t mode,
                                          struct drupe_error *err)
{
    return write_one(agent, path, (unsigned)AGENT_WRITE_DIRECTORY | AGENT_WRITE_CHMOD, mode, 0,
                     NULL, 0, err);
}

drupe_vm_err_t drupe_agent_make_link(drupe_agent_t *agent, const char *path, const char *target,
                                     struct drupe_error *err)
{
    return write_one(agent, path, AGENT_WRITE_SYMLINK, 0, 0, target, strlen(target), err);
}

/* ---- STAT, LIST ---- */

drupe_vm_err_t drupe_agent_stat(drupe_agent_t *agent, const char *path,
                                struct drupe_file_info *info, struct drupe_error *err)
{
    struct received *f = NULL;
    const uint8_t *p = NULL;
    drupe_vm_err_t r = check_path(path, err);

    if (r == DRUPE_OK) {
        r = ask_ok(agent, AGENT_STAT, path, strlen(path), NULL, 0, path, &f, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    if (f->size < sizeof(struct agent_stat)) {
        free(f);
        return error_set(err, DRUPE_EXEC_FAILED, 0, "%s: the agent's answer makes no sense", path);
    }
    p = f->payload;
    *info = (struct drupe_file_info){
        .size = load_be64(p),
        .mtime_ns = load_be64(p + 8),
        .inode = load_be64(p + 16),
        .mode = load_be32(p + 24),
        .uid = load_be32(p + 28),
        .gid = load_be32(p + 32),
        .link_count = load_be32(p + 36),
    };
    free(f);
    return DRUPE_OK;
}

/* A name that could lead out of its directory on the host is not handed out. */
static bool is_name(const char *name, size_t size)
{
    return size > 0 && memchr(name, '/', size) == NULL && memchr(name, '\0', size) == NULL &&
           !(size == 1 && name[0] == '.') && !(size == 2 && name[0] == '.' && name[1] == '.');
}

/* Every entry of one frame; false: it makes no sense. *stop: the caller has enough. */
static bool take_entries(const uint8_t *p, size_t size, drupe_list_fn fn, void *ctx, bool *stop)
{
    char name[256];

    while (size > 0 && !*stop) {
        struct drupe_file_info info = { 0 };
        size_t name_size = 0;

        if (size < sizeof(struct agent_entry)) {
            return false;
        }
        info.size = load_be64(p);
        info.mtime_ns = load_be64(p + 8);
        info.mode = load_be32(p + 16);
        name_size = load_be16(p + 22);
        p += sizeof(struct agent_entry);
        size -= sizeof(struct agent_entry);
        if (name_size > size || name_size >= sizeof(name) || !is_name((const char *)p, name_size)) {
            return false;
        }
        memcpy(name, p, name_size);
        name[name_size] = '\0';
        *stop = !fn(ctx, name, &info);
        p += name_size;
        size -= name_size;
    }
    return true;
}

drupe_vm_err_t drupe_agent_list(drupe_agent_t *agent, const char *path, drupe_list_fn fn, void *ctx,
                                struct drupe_error *err)
{
    struct channel_stream *s = NULL;
    bool is_over = false;
    bool stop = false;
    drupe_vm_err_t r = check_path(path, err);

    if (r == DRUPE_OK) {
        r = ask(agent, AGENT_LIST, path, strlen(path), NULL, 0, &s, err);
    }
    if (r != DRUPE_OK) {
        return r;
    }
    while (r == DRUPE_OK && !is_over && !stop) {
        struct received *f = NULL;

        r = channel_receive(s, channel_deadline(FILE_MS), false, &f, err);
        if (r != DRUPE_OK) {
            break;
        }
        if (f->type != AGENT_ENTRIES) {
            r = channel_refused(f, path, err);
        } else if (!take_entries(f->payload, f->size, fn, ctx, &stop)) {
            r = error_set(err, DRUPE_EXEC_FAILED, 0, "%s: the agent's answer makes no sense", path);
        }
        is_over = (f->flags & AGENT_END) != 0;
        free(f);
    }
    channel_stream_close(s);
    return r;
}
