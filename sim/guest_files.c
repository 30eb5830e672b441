/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest keeps: files and a counter, in guest memory, so that snapshots hold them. Records
 * stand one behind the other; a removed one is closed up. Names end with a NUL.
 *
 *     u64 counter | u32 bytes in use | u32 unused | records: u32 size of data, u32 size of name,
 *     name, data
 */
#include <string.h>

#include <base/bytes.h>

#include "machine_internal.h"

#define HEAD        16u
#define RECORD_HEAD 8u

static uint8_t *state_of(struct sim_machine *m)
{
    return m->memory + SIM_STATE_START;
}

static uint64_t room_of(const struct sim_machine *m)
{
    return m->config->memory_size - SIM_STATE_START - HEAD;
}

static void touch(struct sim_machine *m, uint64_t offset, uint64_t size)
{
    uint64_t first = (SIM_STATE_START + offset) / SIM_PAGE;
    uint64_t last = (SIM_STATE_START + offset + size) / SIM_PAGE;

    for (uint64_t p = first; p <= last && p < m->config->memory_size / SIM_PAGE; p++) {
        sim_machine_touch(m, p);
    }
}

static uint8_t *find(struct sim_machine *m, const char *name)
{
    uint8_t *at = state_of(m) + HEAD;
    const uint8_t *end = at + load_le32(state_of(m) + 8);

    while (at < end) {
        if (strcmp((const char *)at + RECORD_HEAD, name) == 0) {
            return at;
        }
        at += RECORD_HEAD + load_le32(at + 4) + load_le32(at);
    }
    return NULL;
}

bool guest_file_remove(struct sim_machine *m, const char *name)
{
    uint8_t *at = find(m, name);
    uint32_t used = load_le32(state_of(m) + 8);

    if (at == NULL) {
        return false;
    }
    uint32_t size = RECORD_HEAD + load_le32(at + 4) + load_le32(at);
    uint8_t *end = state_of(m) + HEAD + used;

    memmove(at, at + size, (size_t)(end - at - size));
    memset(end - size, 0, size);
    store_le32(state_of(m) + 8, used - size);
    touch(m, 0, HEAD + used);
    return true;
}

bool guest_file_put(struct sim_machine *m, const char *name, const void *bytes, size_t size)
{
    uint32_t name_size = (uint32_t)strlen(name) + 1;

    (void)guest_file_remove(m, name);
    uint32_t used = load_le32(state_of(m) + 8);
    uint8_t *at = state_of(m) + HEAD + used;

    if (size > room_of(m) || used + RECORD_HEAD + name_size > room_of(m) - size) {
        return false;
    }
    store_le32(at, (uint32_t)size);
    store_le32(at + 4, name_size);
    memcpy(at + RECORD_HEAD, name, name_size);
    if (size > 0) {
        memcpy(at + RECORD_HEAD + name_size, bytes, size);
    }
    store_le32(state_of(m) + 8, used + RECORD_HEAD + name_size + (uint32_t)size);
    touch(m, 0, HEAD + used + RECORD_HEAD + name_size + size);
    return true;
}

const void *guest_file_get(struct sim_machine *m, const char *name, size_t *size)
{
    const uint8_t *at = find(m, name);

    if (at == NULL) {
        return NULL;
    }
    *size = load_le32(at);
    return at + RECORD_HEAD + load_le32(at + 4);
}

const char *guest_file_name(struct sim_machine *m, unsigned index)
{
    const uint8_t *at = state_of(m) + HEAD;
    const uint8_t *end = at + load_le32(state_of(m) + 8);

    for (; at < end; index--) {
        if (index == 0) {
            return (const char *)at + RECORD_HEAD;
        }
        at += RECORD_HEAD + load_le32(at + 4) + load_le32(at);
    }
    return NULL;
}

uint64_t guest_count_up(struct sim_machine *m)
{
    uint64_t n = load_le64(state_of(m)) + 1;

    store_le64(state_of(m), n);
    touch(m, 0, HEAD);
    return n;
}
