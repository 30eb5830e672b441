/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's files through the agent: what `drupe cp` does. */
#include <stdio.h>
#include <string.h>

#include "drupe/agent.h"

#include "../file.h"
#include "../scenario.h"
#include "vm_internal.h"

#define FILES      5u
#define FILE_SIZE  400000u
#define CONNECT_MS 5000u

struct run {
    struct box b;
    bool may_fail;
    unsigned done;
};

struct taken {
    unsigned number;
    uint32_t size;
    uint32_t want_end; /* stop behind so many bytes */
};

static uint8_t byte_of(unsigned number, uint32_t at)
{
    return (uint8_t)(at * 7 + (at >> 9) * 13 + number * 71);
}

static bool take_bytes(void *ctx, const void *bytes, size_t size)
{
    struct taken *t = ctx;
    const uint8_t *p = bytes;

    for (size_t i = 0; i < size; i++) {
        sim_check(p[i] == byte_of(t->number, t->size + (uint32_t)i), "I7: file %u at byte %zu",
                  t->number, t->size + i);
    }
    t->size += (uint32_t)size;
    return t->size < t->want_end;
}

static bool find_name(void *ctx, const char *name, const struct drupe_file_info *info)
{
    const char **wanted = ctx;

    (void)info;
    if (*wanted != NULL && strcmp(name, *wanted) == 0) {
        *wanted = NULL;
    }
    return true;
}

/* A typed error, or success; true: go on. */
static bool fine(const struct run *r, drupe_vm_err_t e, const struct drupe_error *err)
{
    sim_check(e == DRUPE_OK || (r->may_fail && err->code == e && err->text[0] != '\0'),
              "a file's request: %s", drupe_vm_err_name(e));
    return e == DRUPE_OK;
}

static bool write_one(const struct run *r, drupe_agent_t *a, const char *name, unsigned number,
                      uint32_t size)
{
    uint8_t *bytes = sim_calloc(1, size + 1);
    struct drupe_error err;
    drupe_vm_err_t e = DRUPE_OK;

    for (uint32_t i = 0; i < size; i++) {
        bytes[i] = byte_of(number, i);
    }
    e = drupe_agent_write(a, name, (unsigned)DRUPE_WRITE_CREATE | DRUPE_WRITE_TRUNCATE, 0644, 0,
                          bytes, size, &err);
    sim_free(bytes);
    return fine(r, e, &err);
}

/* In, looked at, out again; a part of it; one that is not there. */
static bool round_trip(const struct run *r, drupe_agent_t *a, unsigned number)
{
    uint32_t size = sim_random_below(sim_scenario_random(), FILE_SIZE);
    struct taken t = { .number = number, .want_end = UINT32_MAX };
    struct drupe_file_info info;
    struct drupe_error err;
    char name[32];
    const char *wanted = name;

    (void)snprintf(name, sizeof(name), "copied%u", number);
    if (!write_one(r, a, name, number, size) ||
        !fine(r, drupe_agent_stat(a, name, &info, &err), &err)) {
        return false;
    }
    sim_check(info.size == size, "%s has %llu bytes, not %u", name, (unsigned long long)info.size,
              size);
    if (!fine(r, drupe_agent_list(a, "/", find_name, &wanted, &err), &err)) {
        return false;
    }
    sim_check(wanted == NULL, "%s is not listed", name);
    if (!fine(r, drupe_agent_read(a, name, 0, 0, take_bytes, &t, &err), &err)) {
        return false;
    }
    sim_check(t.size == size, "%u of %u bytes come back", t.size, size);
    t = (struct taken){ .number = number, .want_end = 1 }; /* enough at once */
    if (!fine(r, drupe_agent_read(a, name, 0, 0, take_bytes, &t, &err), &err)) {
        return false;
    }
    drupe_vm_err_t e = drupe_agent_read(a, "absent", 0, 0, take_bytes, &t, &err);

    sim_check(e == DRUPE_NOT_FOUND || r->may_fail, "an absent file: %s", drupe_vm_err_name(e));
    return e == DRUPE_NOT_FOUND;
}

static void one(unsigned index, void *ctx)
{
    struct run *r = ctx;
    drupe_agent_t *a = NULL;
    struct drupe_error err;

    for (unsigned i = 0; i < 3; i++) {
        drupe_vm_err_t e = drupe_agent_connect(r->b.vm->config.vsock_path, CONNECT_MS, &a, &err);

        if (!fine(r, e, &err)) {
            continue;
        }
        r->done += round_trip(r, a, index) ? 1 : 0;
        drupe_agent_close(a);
    }
}

static void all(bool may_fail)
{
    struct run r = { .may_fail = may_fail };

    box_new(&r.b);
    box_start_surely(&r.b);
    together(FILES, one, &r);
    sim_check(r.done == 3 * FILES || may_fail, "%u round trips", r.done);
    (void)box_stop(&r.b, 0);
    box_destroy(&r.b);
}

static void copies(void)
{
    all(false);
}

static void copies_with_resets(void)
{
    fault(FAULT_VSOCK_RESET, .005, .op = OP_net_send);
    fault(FAULT_NET_JITTER, .05, .param = 20);
    fault(FAULT_SHORT_TRANSFER, .1);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        all(true);
    }
}

static void copies_from_bad_agent(void)
{
    fault(FAULT_AGENT_GARBAGE, .02, .op = OP_agent_answer);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        all(true);
    }
}

const struct scenario scenarios_files[] = {
    { "files", "copies-at-once", 0, copies, SOME },
    { "files", "copies-with-resets", 0, copies_with_resets, SOME },
    { "files", "copies-from-a-bad-agent", 0, copies_from_bad_agent, SOME },
    { 0 },
};
