/* SPDX-License-Identifier: Apache-2.0 */
/* READ, WRITE, LIST and STAT of the simulated guest: one folder of files. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <base/bytes.h>

#include "agent.h"

#define NAME_SIZE    64u
#define ENTRIES_SIZE 16384u
#define MODE         ((uint32_t)S_IFREG | 0644u)

static bool take_name(char out[NAME_SIZE], const uint8_t *from, size_t size)
{
    if (size == 0 || size >= NAME_SIZE) {
        return false;
    }
    memcpy(out, from, size);
    out[size] = '\0';
    return true;
}

/* What was there, cut to `offset` if wanted, and `bytes` over it. 0 or an errno. */
static int write_file(struct sim_machine *m, const char *name, unsigned flags, uint64_t offset,
                      const uint8_t *bytes, size_t size)
{
    size_t old_size = 0;
    const void *old = guest_file_get(m, name, &old_size);
    size_t end = (size_t)offset + size;
    size_t keep = (flags & AGENT_WRITE_TRUNCATE) != 0 ? min_of(old_size, (size_t)offset) : old_size;
    size_t whole = max_of(keep, end);
    uint8_t *copy = NULL;
    bool is_done = false;

    if (old == NULL && (flags & AGENT_WRITE_CREATE) == 0) {
        return ENOENT;
    }
    copy = sim_calloc(1, whole + 1);
    if (old != NULL) {
        memcpy(copy, old, keep);
    }
    if (size > 0) {
        memcpy(copy + offset, bytes, size);
    }
    is_done = guest_file_put(m, name, copy, whole);
    sim_free(copy);
    return is_done ? 0 : ENOSPC;
}

void request_write(struct connection *c, unsigned stream, const uint8_t *payload, size_t size)
{
    struct sim_machine *m = c->agent->machine;
    char name[NAME_SIZE];
    size_t name_size = size < sizeof(struct agent_write) ? 0 : load_be16(payload + 14);
    int e = 0;

    if (size < sizeof(struct agent_write) + name_size ||
        !take_name(name, payload + sizeof(struct agent_write), name_size) ||
        load_be64(payload) > m->config->memory_size) {
        agent_refuse(c, stream, AGENT_ERROR_REQUEST, "the request makes no sense");
        return;
    }
    (void)pthread_mutex_lock(&m->lock);
    e = write_file(m, name, load_be16(payload + 12), load_be64(payload),
                   payload + sizeof(struct agent_write) + name_size,
                   size - sizeof(struct agent_write) - name_size);
    (void)pthread_mutex_unlock(&m->lock);
    if (e != 0) {
        agent_refuse(c, stream, AGENT_ERROR_ERRNO + (uint32_t)e, "write");
        return;
    }
    (void)!agent_send(c, AGENT_OK, 0, stream, NULL, 0);
}

void request_stat(struct connection *c, unsigned stream, const uint8_t *payload, size_t size)
{
    struct sim_machine *m = c->agent->machine;
    uint8_t answer[sizeof(struct agent_stat)] = { 0 };
    char name[NAME_SIZE];
    size_t file_size = 0;
    bool is_there = false;

    if (take_name(name, payload, size)) {
        (void)pthread_mutex_lock(&m->lock);
        is_there = guest_file_get(m, name, &file_size) != NULL;
        (void)pthread_mutex_unlock(&m->lock);
    }
    if (!is_there) {
        agent_refuse(c, stream, AGENT_ERROR_ERRNO + ENOENT, "no such file");
        return;
    }
    store_be64(answer, file_size);
    store_be32(answer + 24, MODE);
    store_be32(answer + 36, 1);
    (void)!agent_send(c, AGENT_OK, 0, stream, answer, sizeof(answer));
}

void request_list(struct connection *c, unsigned stream)
{
    struct sim_machine *m = c->agent->machine;
    uint8_t *answer = sim_calloc(1, ENTRIES_SIZE);
    size_t at = 0;

    (void)pthread_mutex_lock(&m->lock);
    for (unsigned i = 0;; i++) {
        const char *name = guest_file_name(m, i);
        size_t size = 0;

        if (name == NULL || at + sizeof(struct agent_entry) + strlen(name) > ENTRIES_SIZE) {
            break;
        }
        (void)guest_file_get(m, name, &size);
        store_be64(answer + at, size);
        store_be32(answer + at + 16, MODE);
        store_be16(answer + at + 22, (uint16_t)strlen(name));
        at += sizeof(struct agent_entry);
        for (size_t k = 0; name[k] != '\0'; k++) {
            answer[at++] = (uint8_t)name[k];
        }
    }
    (void)pthread_mutex_unlock(&m->lock);
    (void)!agent_send(c, AGENT_ENTRIES, AGENT_END, stream, answer, at);
    sim_free(answer);
}

bool request_read(struct process *p, const uint8_t *payload, size_t size)
{
    char name[NAME_SIZE];

    if (size < sizeof(struct agent_read) ||
        !take_name(name, payload + sizeof(struct agent_read), size - sizeof(struct agent_read))) {
        return false;
    }
    p->read_offset = load_be64(payload);
    p->read_size = load_be64(payload + 8);
    p->timeout_ms = 0;
    p->max_output = 0;
    p->argv[0] = memcpy(sim_calloc(1, NAME_SIZE), name, NAME_SIZE);
    p->argc = 1;
    return true;
}

void read_run(struct process *p)
{
    struct sim_machine *m = p->connection->agent->machine;
    uint8_t *copy = NULL;
    size_t size = 0;

    (void)pthread_mutex_lock(&m->lock);
    const uint8_t *bytes = guest_file_get(m, p->argv[0], &size);

    p->is_absent = bytes == NULL;
    if (bytes != NULL) {
        size_t start = (size_t)min_of(p->read_offset, (uint64_t)size);

        size -= start;
        size = p->read_size == 0 ? size : (size_t)min_of(p->read_size, (uint64_t)size);
        copy = sim_calloc(1, size + 1);
        memcpy(copy, bytes + start, size);
    }
    (void)pthread_mutex_unlock(&m->lock);
    if (copy != NULL) {
        (void)process_print(p, false, copy, size);
    }
    sim_free(copy);
}
