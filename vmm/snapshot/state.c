/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/state.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/checked.h>

#define RECORD_ALIGN   16u
#define ROOM_FIRST     (64u << 10)
#define RECORDS_MAX    4096u
#define STATE_SIZE_MAX (64u << 20)

/* ---- Writing ---- */

void state_writer_init(struct state_writer *w)
{
    *w = (struct state_writer){ .room = ROOM_FIRST, .size = sizeof(struct snapshot_state) };
    w->bytes = calloc(1, w->room);
    w->has_failed = w->bytes == NULL;
}

void state_writer_deinit(struct state_writer *w)
{
    free(w->bytes);
    w->bytes = NULL;
}

static bool reserve(struct state_writer *w, size_t size)
{
    size_t room = w->room;
    uint8_t *bytes = NULL;

    if (w->has_failed || size > STATE_SIZE_MAX - w->size) {
        w->has_failed = true;
        return false;
    }
    while (room - w->size < size) {
        room *= 2;
    }
    if (room == w->room) {
        return true;
    }
    bytes = realloc(w->bytes, room);
    if (bytes == NULL) {
        w->has_failed = true;
        return false;
    }
    memset(bytes + w->room, 0, room - w->room);
    w->bytes = bytes;
    w->room = room;
    return true;
}

void *state_add(struct state_writer *w, enum snapshot_kind kind, uint32_t index, uint32_t version,
                size_t size)
{
    struct snapshot_record record = {
        .kind = kind, .index = index, .version = version, .size = (uint32_t)size
    };
    void *payload = NULL;

    if (size > STATE_SIZE_MAX || !reserve(w, sizeof(record) + align_up(size, RECORD_ALIGN))) {
        w->has_failed = true;
        return NULL;
    }
    w->last = w->size;
    memcpy(w->bytes + w->size, &record, sizeof(record));
    payload = w->bytes + w->size + sizeof(record);
    w->size += sizeof(record) + align_up(size, RECORD_ALIGN);
    w->record_count++;
    return payload;
}

void state_trim(struct state_writer *w, size_t size)
{
    struct snapshot_record record;

    assert(w->last != 0);
    memcpy(&record, w->bytes + w->last, sizeof(record));
    assert(size <= record.size);
    record.size = (uint32_t)size;
    memcpy(w->bytes + w->last, &record, sizeof(record));
    w->size = w->last + sizeof(record) + align_up(size, (size_t)RECORD_ALIGN);
}

struct snapshot_state *state_header(struct state_writer *w)
{
    struct snapshot_state *header = (struct snapshot_state *)(void *)w->bytes;

    if (w->has_failed) {
        return NULL;
    }
    header->magic = SNAPSHOT_STATE_MAGIC;
    header->version = SNAPSHOT_STATE_VERSION;
    header->size = (uint32_t)w->size;
    header->record_count = w->record_count;
    return header;
}

struct snapshot_state *state_finish(struct state_writer *w, size_t size_min)
{
    struct snapshot_state *header = NULL;

    size_min = max_of(size_min, w->size);
    if (!reserve(w, size_min - w->size + SNAPSHOT_PAGE_SIZE)) {
        return NULL;
    }
    header = state_header(w);
    w->size = align_up(size_min, (size_t)SNAPSHOT_PAGE_SIZE);
    return header;
}

/* ---- Reading ---- */

static bool is_text(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static bool check_header(const struct snapshot_state *h, size_t size, const char **why)
{
    if (h->magic != SNAPSHOT_STATE_MAGIC) {
        *why = "the state has no magic number";
    } else if (h->version != SNAPSHOT_STATE_VERSION) {
        *why = "the state is of a version that this program does not know";
    } else if (h->size > size || h->record_count > RECORDS_MAX) {
        *why = "the state is larger than its part";
    } else if (!is_text(h->id, sizeof(h->id)) || !is_text(h->base_id, sizeof(h->base_id))) {
        *why = "the state has no id";
    } else {
        return true;
    }
    return false;
}

bool state_open(struct state_reader *r, const void *bytes, size_t size, const char **why)
{
    const struct snapshot_state *h = bytes;
    size_t at = sizeof(*h);

    assert(is_aligned((uintptr_t)bytes, RECORD_ALIGN));
    if (size < sizeof(*h) || size > STATE_SIZE_MAX) {
        *why = "the state is cut short";
        return false;
    }
    if (!check_header(h, size, why)) {
        return false;
    }
    *r = (struct state_reader){ .bytes = bytes, .size = h->size, .header = h };
    for (uint32_t i = 0; i < h->record_count; i++) {
        struct snapshot_record record;

        *why = "the state's records do not fit it";
        if (!range_fits(at, sizeof(record), r->size)) {
            return false;
        }
        memcpy(&record, r->bytes + at, sizeof(record));
        at += sizeof(record);
        if (!range_fits(at, align_up((uint64_t)record.size, RECORD_ALIGN), r->size)) {
            return false;
        }
        at += align_up((size_t)record.size, RECORD_ALIGN);
    }
    return at == r->size;
}

bool state_next(const struct state_reader *r, size_t *at, struct snapshot_record *record,
                const void **payload)
{
    *at = *at == 0 ? sizeof(*r->header) : *at;
    if (*at == r->size) {
        return false;
    }
    memcpy(record, r->bytes + *at, sizeof(*record));
    *payload = r->bytes + *at + sizeof(*record);
    *at += sizeof(*record) + align_up((size_t)record->size, RECORD_ALIGN);
    return true;
}

const void *state_find(const struct state_reader *r, enum snapshot_kind kind, uint32_t index,
                       uint32_t *version, size_t *size)
{
    struct snapshot_record record;
    const void *payload = NULL;
    size_t at = 0;

    while (state_next(r, &at, &record, &payload)) {
        if (record.kind == (uint32_t)kind && record.index == index) {
            if (version != NULL) {
                *version = record.version;
            }
            if (size != NULL) {
                *size = record.size;
            }
            return payload;
        }
    }
    return NULL;
}

const void *state_find_sized(const struct state_reader *r, enum snapshot_kind kind, uint32_t index,
                             size_t size)
{
    uint32_t version = 0;
    size_t found = 0;
    const void *payload = state_find(r, kind, index, &version, &found);

    return payload != NULL && version == 1 && found == size ? payload : NULL;
}
