/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include <base/assert.h>

#include "api_client.h"
#include "file.h"
#include "internal.h"
#include "abi/snapshot.h"
#include "machine.h"
#include "vm_internal.h"
#include "wrap.h"

#define WATCHED_MAX     512u
#define EXEC_SLACK_MS   12000u /* to connect, and to end a program that ran out of its time */
#define ROUNDS_NARROWED 50u
#define ROUNDS_MAX      20000u

enum op {
    OP_START,
    OP_STOP,
    OP_PAUSE,
    OP_RESUME,
    OP_EXEC,
    OP_SNAPSHOT,
    OP_RESTORE,
    OPS,
};

#define STATES 6

/* Section 2, by hand. Columns: CREATED, STARTING, RUNNING, PAUSED, STOPPED, CRASHED. */
static const drupe_vm_err_t expected[OPS][STATES] = {
    [OP_START] = { DRUPE_OK, DRUPE_BUSY, DRUPE_ALREADY_RUNNING, DRUPE_ALREADY_RUNNING, DRUPE_OK,
                   DRUPE_NEEDS_RECREATE },
    [OP_STOP] = { DRUPE_NOT_RUNNING, DRUPE_OK, DRUPE_OK, DRUPE_OK, DRUPE_NOT_RUNNING,
                  DRUPE_NOT_RUNNING },
    [OP_PAUSE] = { DRUPE_NOT_RUNNING, DRUPE_BUSY, DRUPE_OK, DRUPE_BAD_STATE, DRUPE_NOT_RUNNING,
                   DRUPE_NOT_RUNNING },
    [OP_RESUME] = { DRUPE_BAD_STATE, DRUPE_BUSY, DRUPE_BAD_STATE, DRUPE_OK, DRUPE_BAD_STATE,
                    DRUPE_BAD_STATE },
    [OP_EXEC] = { DRUPE_NOT_RUNNING, DRUPE_BUSY, DRUPE_OK, DRUPE_NOT_RUNNING, DRUPE_NOT_RUNNING,
                  DRUPE_NOT_RUNNING },
    [OP_SNAPSHOT] = { DRUPE_BAD_STATE, DRUPE_BUSY, DRUPE_OK, DRUPE_OK, DRUPE_BAD_STATE,
                      DRUPE_BAD_STATE },
    [OP_RESTORE] = { DRUPE_OK, DRUPE_BUSY, DRUPE_BAD_STATE, DRUPE_BAD_STATE, DRUPE_OK,
                     DRUPE_NEEDS_RECREATE },
};

/* Which states may follow each, one step at a time (I1). */
static const unsigned successors[STATES] = {
    (unsigned)DRUPE_VM_STARTING | (unsigned)DRUPE_VM_PAUSED,
    (unsigned)DRUPE_VM_RUNNING | DRUPE_VM_ENDED,
    (unsigned)DRUPE_VM_PAUSED | DRUPE_VM_ENDED,
    (unsigned)DRUPE_VM_RUNNING | DRUPE_VM_ENDED,
    (unsigned)DRUPE_VM_STARTING | (unsigned)DRUPE_VM_PAUSED,
    0,
};

struct watched {
    const drupe_vm_t *vm;
    unsigned number;
    unsigned proc; /* whose it is: a killed one's are gone */
    enum drupe_vm_state seen;
};

static struct watched watched[WATCHED_MAX];
static unsigned watched_count;
static unsigned boxes_made;
static unsigned sockets_named;
static unsigned crowds; /* together() under way: what is held meanwhile is others', too */
static struct sim_held held_before;
static struct drupe_error last_error;

static unsigned column_of(enum drupe_vm_state state)
{
    return (unsigned)__builtin_ctz((unsigned)state);
}

/* ---- I1 after each step ---- */

static void check_transitions(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < watched_count; i++) {
        struct watched *w = &watched[i];
        enum drupe_vm_state now = w->seen;

        if (likely(sim_proc_is_alive(w->proc))) {
            now = vm_state_of(w->vm);
        }
        if (unlikely(now != w->seen)) {
            sim_trace("vm %u %s", w->number, drupe_vm_state_name(now));
            sim_check((successors[column_of(w->seen)] & (unsigned)now) != 0,
                      "I1: vm %u goes from %s to %s", w->number, drupe_vm_state_name(w->seen),
                      drupe_vm_state_name(now));
            w->seen = now;
        }
    }
}

static struct watched *find_watched(const drupe_vm_t *vm)
{
    for (unsigned i = 0; i < watched_count; i++) {
        if (watched[i].vm == vm) {
            return &watched[i];
        }
    }
    return NULL;
}

static void watch(const struct box *b)
{
    struct watched *w = find_watched(b->vm);

    if (w != NULL) {
        w->number = b->number;
        return;
    }
    sim_check(watched_count < WATCHED_MAX, "more than %u VMs", WATCHED_MAX);
    watched[watched_count++] = (struct watched){
        .vm = b->vm, .number = b->number, .proc = sim_proc_current(), .seen = vm_state_of(b->vm)
    };
}

static void unwatch(const drupe_vm_t *vm)
{
    struct watched *w = find_watched(vm);

    if (w != NULL) {
        *w = watched[--watched_count];
    }
}

drupe_vm_err_t __real_drupe_vm_create(const drupe_vm_config_t *cfg, drupe_vm_t **out,
                                      struct drupe_error *err);
void __real_drupe_vm_destroy(drupe_vm_t *vm);

/* Those that the library makes for itself (the control API's) are watched as well. */
WRAP(drupe_vm_err_t, drupe_vm_create)

(const drupe_vm_config_t *cfg, drupe_vm_t **out, struct drupe_error *err)
{
    drupe_vm_err_t r = __real_drupe_vm_create(cfg, out, err);

    if (r == DRUPE_OK && sim_is_active()) {
        watch(&(struct box){ .vm = *out, .number = ++boxes_made });
    }
    return r;
}

WRAP(void, drupe_vm_destroy)(drupe_vm_t *vm)
{
    unwatch(vm);
    __real_drupe_vm_destroy(vm);
}

void sim_checks_init(void)
{
    static const uint8_t image[4096] = { 0x7f, 'E', 'L', 'F' };

    watched_count = 0;
    boxes_made = 0;
    sockets_named = 0;
    crowds = 0;
    memset(&last_error, 0, sizeof(last_error));
    api_allow_breaks(false);
    sim_disk_put("/images/kernel.elf", image, sizeof(image), S_IFREG | 0644);
    sim_disk_put("/images/root.erofs", image, sizeof(image), S_IFREG | 0644);
    sim_disk_put("/images/disk.img", image, sizeof(image), S_IFREG | 0644);
    sim_disk_put("/dev/kvm", "", 0, S_IFCHR | 0666);
    sim_disk_mkdir("/tmp");
    sim_disk_mkdir("/run");
    sim_host()->arch = SNAPSHOT_X86_64;
    sim_host()->cpu_features = 0xff;
    sim_disk_mkdir("/store");
    sim_disk_trouble(0, 0, 0);
    sim_add_checker(check_transitions, NULL);
}

/* ---- Operations ---- */

const struct drupe_error *box_error(void)
{
    return &last_error;
}

void op_watch(const char *name, uint64_t limit_ns)
{
    sim_op_begin(name, limit_ns);
}

drupe_vm_err_t op_watched(drupe_vm_err_t r, const struct drupe_error *err)
{
    sim_op_end();
    sim_outcome()->tries++;
    sim_check((unsigned)r < DRUPE_ERR_COUNT, "an error without a name: %d", (int)r);
    if (r == DRUPE_OK) {
        sim_outcome()->successes++;
        return r;
    }
    sim_check(err->code == r, "returned %s, the error says %s", drupe_vm_err_name(r),
              drupe_vm_err_name(err->code));
    sim_check(err->text[0] != '\0', "%s comes without a text", drupe_vm_err_name(r));
    last_error = *err;
    return r;
}

/* I2: what a failed call may leave behind. An end that the guest brought about may come between. */
static void check_after(const struct box *b, enum op op, enum drupe_vm_state before,
                        drupe_vm_err_t r, enum drupe_vm_state success)
{
    enum drupe_vm_state after = vm_state_of(b->vm);
    drupe_vm_err_t table = expected[op][column_of(before)];
    bool may_end = before == DRUPE_VM_RUNNING || before == DRUPE_VM_PAUSED;
    bool has_ended = ((unsigned)after & DRUPE_VM_ENDED) != 0;

    if (b->is_shared) {
        return;
    }
    if (r == DRUPE_OK) {
        sim_check(table == DRUPE_OK, "I1: %d is allowed in %s", (int)op,
                  drupe_vm_state_name(before));
        sim_check(after == success || has_ended, "a success leads to %s",
                  drupe_vm_state_name(after));
        return;
    }
    if (table != DRUPE_OK) {
        sim_check(r == table || (may_end && has_ended), "%s in %s, expected %s",
                  drupe_vm_err_name(r), drupe_vm_state_name(before), drupe_vm_err_name(table));
    } else if (op == OP_START) {
        sim_check(after == DRUPE_VM_CRASHED, "a failed start leads to %s",
                  drupe_vm_state_name(after));
        return;
    }
    sim_check(after == before || (may_end && has_ended), "I2: a failed call moved %s to %s",
              drupe_vm_state_name(before), drupe_vm_state_name(after));
}

void box_config(drupe_vm_config_t *cfg)
{
    static char paths[64][32]; /* borrowed until create, which is next */
    static unsigned next;
    char *path = paths[next++ % array_size(paths)];

    drupe_vm_config_init(cfg);
    (void)snprintf(path, sizeof(paths[0]), "/run/vm%06u.sock", sockets_named++ % 1000000);
    cfg->vsock_path = path;
    cfg->boot_timeout_ms = 5000;
    cfg->memory_mib = 4;
    cfg->kernel_path = "/images/kernel.elf";
    cfg->root_path = "/images/root.erofs";
}

drupe_vm_err_t box_create(struct box *b, const drupe_vm_config_t *cfg)
{
    struct drupe_error err;

    if (watched_count == 0) {
        sim_proc_held(sim_proc_current(), &held_before);
    }
    memset(b, 0, sizeof(*b));
    op_watch("create", SIM_OP_LIMIT_NS);
    drupe_vm_err_t r = op_watched(drupe_vm_create(cfg, &b->vm, &err), &err);

    if (r == DRUPE_OK) {
        b->number = ++boxes_made;
        watch(b);
    } else {
        sim_check(b->vm == NULL, "a failed create wrote its result");
    }
    return r;
}

void box_new(struct box *b)
{
    drupe_vm_config_t cfg;

    box_config(&cfg);
    must(box_create(b, &cfg));
}

static drupe_vm_err_t act(struct box *b, enum op op, const char *name, enum drupe_vm_state success,
                          uint32_t grace_ms)
{
    struct drupe_error err;
    enum drupe_vm_state before = vm_state_of(b->vm);
    drupe_vm_err_t r = DRUPE_OK;

    op_watch(name, SIM_OP_LIMIT_NS + grace_ms * SIM_NS_PER_MS);
    switch (op) {
    case OP_START:
        r = drupe_vm_start(b->vm, &err);
        break;
    case OP_STOP:
        r = drupe_vm_stop(b->vm, grace_ms, &err);
        break;
    case OP_PAUSE:
        r = drupe_vm_pause(b->vm, &err);
        break;
    case OP_RESUME:
        r = drupe_vm_resume(b->vm, &err);
        break;
    case OP_EXEC:
    case OP_SNAPSHOT:
    case OP_RESTORE:
    case OPS:
        unreachable("not an operation");
    }
    sim_trace("vm %u %s: %s", b->number, name, drupe_vm_err_name(r));
    r = op_watched(r, &err);
    check_after(b, op, before, r, success);
    return r;
}

drupe_vm_err_t box_start(struct box *b)
{
    return act(b, OP_START, "start", DRUPE_VM_RUNNING, 0);
}

drupe_vm_err_t box_stop(struct box *b, uint32_t grace_ms)
{
    return act(b, OP_STOP, "stop", DRUPE_VM_STOPPED, grace_ms);
}

drupe_vm_err_t box_pause(struct box *b)
{
    return act(b, OP_PAUSE, "pause", DRUPE_VM_PAUSED, 0);
}

drupe_vm_err_t box_resume(struct box *b)
{
    return act(b, OP_RESUME, "resume", DRUPE_VM_RUNNING, 0);
}

/* ---- Exec ---- */

drupe_vm_err_t box_exec_input(struct box *b, uint32_t timeout_ms, const void *input, size_t size,
                              struct drupe_exec_output *out, const char *const *argv)
{
    struct drupe_exec_options options;
    struct drupe_exec_output unused;
    struct drupe_error err;
    enum drupe_vm_state before = vm_state_of(b->vm);
    drupe_vm_err_t r = DRUPE_OK;

    drupe_exec_options_init(&options);
    options.argv = argv;
    options.timeout_ms = timeout_ms;
    op_watch("exec", (timeout_ms + EXEC_SLACK_MS) * SIM_NS_PER_MS);
    r = drupe_vm_exec(b->vm, &options, input, size, &unused, &err);
    sim_trace("vm %u exec %s: %s", b->number, argv[0], drupe_vm_err_name(r));
    r = op_watched(r, &err);
    check_after(b, OP_EXEC, before, r, before);
    if (r == DRUPE_OK || r == DRUPE_EXEC_TIMEOUT) {
        if (out != NULL) {
            *out = unused;
        } else {
            drupe_exec_output_free(&unused);
        }
    }
    return r;
}

drupe_vm_err_t box_exec(struct box *b, uint32_t timeout_ms, struct drupe_exec_output *out,
                        const char *const *argv)
{
    return box_exec_input(b, timeout_ms, NULL, 0, out, argv);
}

void box_prints(struct box *b, const char *text, const char *const *argv)
{
    struct drupe_exec_output out;

    must(box_exec(b, 5000, &out, argv));
    sim_check(out.result.exit_code == 0, "%s ends with %d", argv[0], out.result.exit_code);
    sim_check(strcmp(out.stdout_bytes, text) == 0, "%s prints '%.60s', not '%.60s'", argv[0],
              out.stdout_bytes, text);
    drupe_exec_output_free(&out);
}

/* ---- Snapshots ---- */

drupe_vm_err_t box_snapshot(struct box *b, const char *path)
{
    struct drupe_snapshot_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_error err;
    enum drupe_vm_state before = vm_state_of(b->vm);
    drupe_vm_err_t r = DRUPE_OK;

    op_watch("snapshot", SIM_OP_LIMIT_NS);
    r = drupe_vm_snapshot(b->vm, &options, NULL, &err);
    sim_trace("vm %u snapshot: %s", b->number, drupe_vm_err_name(r));
    r = op_watched(r, &err);
    check_after(b, OP_SNAPSHOT, before, r, before);
    return r;
}

drupe_vm_err_t box_restore(struct box *b, const char *path)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_error err;
    enum drupe_vm_state before = vm_state_of(b->vm);
    drupe_vm_err_t r = DRUPE_OK;

    op_watch("restore", SIM_OP_LIMIT_NS);
    r = drupe_vm_restore(b->vm, &options, &err);
    sim_trace("vm %u restore: %s", b->number, drupe_vm_err_name(r));
    r = op_watched(r, &err);
    check_after(b, OP_RESTORE, before, r, DRUPE_VM_PAUSED);
    return r;
}

drupe_vm_err_t box_new_from(struct box *b, const char *path)
{
    struct drupe_restore_options options = {
        .struct_size = sizeof(options), .path = path, .fd = -1, .memory_fd = -1
    };
    struct drupe_error err;
    drupe_vm_config_t cfg;
    drupe_vm_err_t r = DRUPE_OK;

    memset(b, 0, sizeof(*b));
    box_config(&cfg);
    op_watch("create from snapshot", SIM_OP_LIMIT_NS);
    r = op_watched(drupe_vm_create_from_snapshot(&cfg, &options, &b->vm, &err), &err);
    if (r == DRUPE_OK) {
        b->number = ++boxes_made;
        sim_check(vm_state_of(b->vm) == DRUPE_VM_PAUSED, "a restored VM is %s",
                  drupe_vm_state_name(vm_state_of(b->vm)));
        watch(b);
    } else {
        sim_check(b->vm == NULL, "I5: a failed restore left a VM");
    }
    return r;
}

void box_adopt(struct box *b)
{
    b->number = ++boxes_made;
    watch(b);
}

void box_forget(void)
{
    watched_count = 0;
}

void box_digest(const struct box *b, uint8_t out[32])
{
    assert(vm_state_of(b->vm) == DRUPE_VM_PAUSED);
    sim_machine_digest(b->vm->machine, out);
}

enum drupe_vm_state box_state(const struct box *b)
{
    return drupe_vm_state(b->vm);
}

void box_destroy(struct box *b)
{
    if (b->vm == NULL) {
        return;
    }
    unwatch(b->vm);
    op_watch("destroy", SIM_OP_LIMIT_NS);
    drupe_vm_destroy(b->vm);
    sim_op_end();
    sim_trace("vm %u destroyed", b->number);
    b->vm = NULL;
    if (watched_count == 0 && crowds == 0 && sim_proc_current() == 0) {
        struct sim_held held;

        sim_proc_held(0, &held);
        sim_check(held.fds == held_before.fds && held.mappings == held_before.mappings &&
                      held.allocations == held_before.allocations,
                  "I9: after the last destroy %u descriptors, %u mappings, %u allocations are left",
                  held.fds - held_before.fds, held.mappings - held_before.mappings,
                  held.allocations - held_before.allocations);
    }
}

void box_recreate(struct box *b)
{
    box_destroy(b);
    box_new(b);
}

void box_start_surely(struct box *b)
{
    for (unsigned i = 0; i < 1000; i++) {
        drupe_vm_err_t r = box_start(b);

        if (r == DRUPE_OK || r == DRUPE_ALREADY_RUNNING) {
            return;
        }
        box_recreate(b);
    }
    sim_fail("a thousand starts fail");
}

/* ---- Rounds and crowds ---- */

bool round_goes_on(unsigned *round, unsigned least)
{
    unsigned n = (*round)++;
    /* Without all of its rules (a failure is being narrowed down) some may never fire. */
    unsigned most = sim_disabled_rules() == 0 ? ROUNDS_MAX : least + ROUNDS_NARROWED;

    return n < least || (n < most && !sim_faults_all_fired());
}

struct member {
    void (*run)(unsigned index, void *ctx);
    void *ctx;
    unsigned index;
    unsigned task;
};

static void *member_main(void *arg)
{
    struct member *m = arg;

    m->run(m->index, m->ctx);
    return NULL;
}

void together(unsigned count, void (*run)(unsigned index, void *ctx), void *ctx)
{
    struct member *members = sim_calloc(count, sizeof(*members));

    crowds++;
    for (unsigned i = 0; i < count; i++) {
        char name[SIM_TASK_NAME_SIZE];

        (void)snprintf(name, sizeof(name), "task%u", i);
        members[i] = (struct member){ .run = run, .ctx = ctx, .index = i };
        members[i].task = sim_task_create(name, member_main, &members[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        (void)sim_task_join(members[i].task, NULL);
    }
    crowds--;
    sim_free(members);
}
