/* SPDX-License-Identifier: Apache-2.0 */
/* The pool: handing out, owners, jobs, and VMs that fail. */
#include <stdio.h>
#include <string.h>

#include "drupe/pool.h"

#include "../machine.h"
#include "../scenario.h"
#include "vm_internal.h"

#define LIMIT_NS (60u * SIM_NS_PER_SEC)

/* Who had which VM, as the scenario sees it: nobody gets what another left. */
struct book {
    unsigned made;
    unsigned in_use;
    unsigned in_use_max;
    unsigned running;
    unsigned running_max;
    unsigned done;
    unsigned failed;
};

static drupe_vm_err_t make_vm(void *ctx, drupe_vm_t **out, struct drupe_error *err)
{
    struct book *book = ctx;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    if (sim_fault_draw(OP_pool_create, SIM_KIND(POOL_CREATE_FAIL), NULL) != SIM_FAULT_NONE) {
        *err = (struct drupe_error){ .code = DRUPE_UNAVAILABLE, .text = "simulated failure" };
        return DRUPE_UNAVAILABLE;
    }
    box_config(&cfg);
    r = drupe_vm_create(&cfg, &vm, err);
    if (r == DRUPE_OK) {
        r = drupe_vm_start(vm, err);
    }
    if (r != DRUPE_OK) {
        drupe_vm_destroy(vm);
        return r;
    }
    book->made++;
    *out = vm;
    return DRUPE_OK;
}

static bool is_healthy(void *ctx, drupe_vm_t *vm)
{
    (void)ctx;
    return drupe_vm_health(vm);
}

static drupe_vm_err_t run(drupe_vm_t *vm, struct drupe_exec_output *out, const char *const *argv,
                          struct drupe_error *err)
{
    struct drupe_exec_options o;

    drupe_exec_options_init(&o);
    o.argv = argv;
    o.timeout_ms = 5000;
    return drupe_vm_exec(vm, &o, NULL, 0, out, err);
}

/* Takes the owner's file away; the VM is as new for him. */
static drupe_vm_err_t reset_vm(void *ctx, drupe_vm_t *vm, struct drupe_error *err)
{
    struct drupe_exec_output out;
    drupe_vm_err_t r = run(vm, &out, ARGV("rm", "owner"), err);

    (void)ctx;
    if (r == DRUPE_OK) {
        drupe_exec_output_free(&out);
    }
    return r;
}

static void open_pool(drupe_pool_t **p, struct book *book, unsigned warm, unsigned max)
{
    struct drupe_pool_options o;

    memset(book, 0, sizeof(*book));
    drupe_pool_options_init(&o);
    o.warm = warm;
    o.max = max;
    o.ctx = book;
    o.make = make_vm;
    o.is_healthy = is_healthy;
    must(drupe_pool_create(&o, p, NULL));
}

static drupe_vm_err_t acquire(drupe_pool_t *p, const char *owner, uint32_t timeout_ms,
                              drupe_vm_t **vm)
{
    struct drupe_error err;

    op_watch("acquire", LIMIT_NS);
    return op_watched(drupe_pool_acquire(p, owner, timeout_ms, vm, &err), &err);
}

static void drain(drupe_pool_t *p)
{
    struct drupe_pool_stats st;
    drupe_vm_t *vm = NULL;

    op_watch("drain", LIMIT_NS);
    must(drupe_pool_drain(p, 30000, NULL));
    sim_op_end();
    drupe_pool_stats(p, &st);
    sim_check(st.ready + st.in_use + st.making == 0, "a drained pool holds VMs");
    must_fail(acquire(p, "late", 100, &vm), DRUPE_BAD_STATE);
    op_watch("destroy the pool", LIMIT_NS);
    drupe_pool_destroy(p);
    sim_op_end();
}

/* ---- The catalogue's row ---- */

static void exhaustion(void)
{
    drupe_pool_t *p = NULL;
    struct book book;
    drupe_vm_t *a = NULL;
    drupe_vm_t *b = NULL;
    drupe_vm_t *c = NULL;
    uint64_t before_ns = 0;

    open_pool(&p, &book, 1, 2);
    must(acquire(p, "one", 5000, &a));
    must(acquire(p, "two", 5000, &b));
    sim_check(a != b, "one VM was handed out twice");
    before_ns = sim_now_ns();
    must_fail(acquire(p, "three", 1000, &c), DRUPE_POOL_TIMEOUT);
    sim_check(sim_now_ns() - before_ns >= 1000 * SIM_NS_PER_MS, "it gave up too early");
    must_fail(acquire(p, "three", 0, &c), DRUPE_POOL_EXHAUSTED);
    must(drupe_pool_release(p, a, NULL));
    must(acquire(p, "three", 5000, &c));
    must_fail(drupe_pool_release(p, NULL, NULL), DRUPE_CONFIG_INVALID);
    must(drupe_pool_release(p, b, NULL));
    must(drupe_pool_release(p, c, NULL));
    drain(p);
}

static void warm_up(void)
{
    drupe_pool_t *p = NULL;
    struct book book;
    struct drupe_pool_stats st;

    open_pool(&p, &book, 0, 5);
    op_watch("warm up", LIMIT_NS);
    must(drupe_pool_warm_up(p, 3, 10000, NULL));
    sim_op_end();
    drupe_pool_stats(p, &st);
    sim_check(st.ready == 3 && book.made == 3, "%u ready, %u made", st.ready, book.made);
    must_fail(drupe_pool_warm_up(p, 6, 10, NULL), DRUPE_CONFIG_INVALID);
    drain(p);
}

/* Warm VMs come at once. */
static void determinism(void)
{
    drupe_pool_t *p = NULL;
    struct book book;

    open_pool(&p, &book, 2, 4);
    for (unsigned i = 0; i < 10; i++) {
        drupe_vm_t *vm = NULL;

        must(acquire(p, "owner", 5000, &vm));
        must(drupe_pool_release(p, vm, NULL));
    }
    drain(p);
}

/* ---- Owners ---- */

struct tenants {
    drupe_pool_t *pool;
    struct book *book;
};

/* Each owner leaves his mark and must never find another's. */
static void tenant(unsigned index, void *ctx)
{
    struct tenants *t = ctx;
    char owner[32];

    (void)snprintf(owner, sizeof(owner), "owner%u", index % 3);
    for (unsigned i = 0; i < 6; i++) {
        drupe_vm_t *vm = NULL;
        struct drupe_exec_output out;
        drupe_vm_err_t r = acquire(t->pool, owner, 20000, &vm);

        if (r != DRUPE_OK) {
            continue;
        }
        t->book->in_use++;
        t->book->in_use_max = max_of(t->book->in_use_max, t->book->in_use);
        if (run(vm, &out, ARGV("cat", "mark"), NULL) == DRUPE_OK) {
            sim_check(out.result.exit_code != 0 || strcmp(out.stdout_bytes, owner) == 0,
                      "%s got a VM with the mark of %s", owner, out.stdout_bytes);
            drupe_exec_output_free(&out);
        }
        if (run(vm, &out, ARGV("write", "mark", owner), NULL) == DRUPE_OK) {
            drupe_exec_output_free(&out);
        }
        t->book->in_use--;
        must(drupe_pool_release(t->pool, vm, NULL));
    }
}

static void affinity(bool has_reset)
{
    struct tenants t;
    struct book book;
    struct drupe_pool_options o;
    struct drupe_pool_stats st;

    memset(&book, 0, sizeof(book));
    drupe_pool_options_init(&o);
    o.max = 4;
    o.ctx = &book;
    o.make = make_vm;
    o.is_healthy = is_healthy;
    o.reset = has_reset ? reset_vm : NULL;
    t.book = &book;
    must(drupe_pool_create(&o, &t.pool, NULL));
    together(6, tenant, &t);
    drupe_pool_stats(t.pool, &st);
    sim_check(book.in_use_max <= 4, "%u VMs were in use, the maximum is 4", book.in_use_max);
    sim_check(has_reset || st.reused == 0, "a VM was used again without a reset");
    sim_check(!has_reset || sim_faults_all_fired(), "no fault fired");
    drain(t.pool);
}

static void owners_apart(void)
{
    affinity(true);
}

static void owners_apart_anew(void)
{
    affinity(false);
}

static void owners_with_faults(void)
{
    fault(FAULT_BOOT_FAIL, .2, .op = OP_vm_start, .is_optional = true);
    fault(FAULT_CRASH, .02, .op = OP_vm_exec, .is_optional = true);
    fault(FAULT_VSOCK_RESET, .02, .op = OP_net_send, .is_optional = true);
    affinity(true);
}

/* ---- VMs that die while they stand ready ---- */

static void unhealthy(void)
{
    drupe_pool_t *p = NULL;
    struct book book;
    struct drupe_pool_stats st;

    fault(FAULT_TRIPLE_FAULT, .02, .op = OP_vcpu_run);
    open_pool(&p, &book, 3, 5);
    for (unsigned round = 0; round_goes_on(&round, 15);) {
        drupe_vm_t *vm = NULL;

        sim_sleep(200 * SIM_NS_PER_MS);
        if (acquire(p, "owner", 5000, &vm) == DRUPE_OK) {
            must(drupe_pool_release(p, vm, NULL));
        }
    }
    sim_faults_pause(true);
    drupe_vm_t *vm = NULL;

    must(acquire(p, "owner", 20000, &vm));
    sim_check(drupe_vm_health(vm), "an unhealthy VM was handed out");
    must(drupe_pool_release(p, vm, NULL));
    drupe_pool_stats(p, &st);
    sim_check(st.made == st.destroyed + st.ready + st.in_use, "a VM was lost: %llu made",
              (unsigned long long)st.made);
    drain(p);
}

static void cannot_make(void)
{
    drupe_pool_t *p = NULL;
    struct book book;
    drupe_vm_t *vm = NULL;
    struct drupe_error err;

    fault(FAULT_BOOT_FAIL, 1, .op = OP_vm_start);
    open_pool(&p, &book, 0, 2);
    must_fail(acquire(p, "owner", 5000, &vm), DRUPE_BOOT_FAILED);
    op_watch("warm up", LIMIT_NS);
    must_fail(op_watched(drupe_pool_warm_up(p, 1, 1000, &err), &err), DRUPE_BOOT_FAILED);
    drain(p);
}

/* ---- The queue ---- */

static drupe_vm_err_t job_run(void *ctx, drupe_vm_t *vm, struct drupe_error *err)
{
    struct book *book = ctx;
    struct drupe_exec_output out;
    drupe_vm_err_t r = DRUPE_OK;

    book->running++;
    book->running_max = max_of(book->running_max, book->running);
    r = run(vm, &out, ARGV("sleep", "50"), err);
    if (r == DRUPE_OK) {
        drupe_exec_output_free(&out);
    }
    book->running--;
    return r;
}

static void job_done(void *ctx, drupe_vm_err_t result, const struct drupe_error *err,
                     unsigned tries)
{
    struct book *book = ctx;

    sim_check((result == DRUPE_OK) == (err == NULL), "the job's error and its result disagree");
    sim_check(tries <= 4, "a job was tried %u times", tries);
    book->done++;
    book->failed += result == DRUPE_OK ? 0 : 1;
}

static void jobs(unsigned count, unsigned retries)
{
    drupe_pool_t *p = NULL;
    struct book book;
    struct drupe_pool_options o;

    memset(&book, 0, sizeof(book));
    drupe_pool_options_init(&o);
    o.max = 6;
    o.concurrency = 3;
    o.retries = retries;
    o.ctx = &book;
    o.make = make_vm;
    o.is_healthy = is_healthy;
    must(drupe_pool_create(&o, &p, NULL));
    for (unsigned i = 0; i < count; i++) {
        char owner[32];
        struct drupe_pool_job job = {
            .owner = owner, .ctx = &book, .run = job_run, .done = job_done
        };

        (void)snprintf(owner, sizeof(owner), "owner%u", i % 4);
        must(drupe_pool_submit(p, &job, NULL));
    }
    drain(p);
    sim_check(book.done == count, "%u of %u jobs are done", book.done, count);
    sim_check(book.running_max <= 3, "%u jobs ran at once, allowed are 3", book.running_max);
}

static void queue(void)
{
    jobs(30, 2);
}

static void queue_with_faults(void)
{
    fault(FAULT_EXEC_FAIL, .3, .op = OP_vm_exec);
    fault(FAULT_POOL_CREATE_FAIL, .2, .op = OP_pool_create);
    for (unsigned round = 0; round_goes_on(&round, 1);) {
        jobs(30, 3);
    }
}

/* Destroyed while everything is under way: each job is told once, nothing is left. */
static void destroyed_in_use(void)
{
    drupe_pool_t *p = NULL;
    struct book book;

    open_pool(&p, &book, 2, 4);
    for (unsigned i = 0; i < 12; i++) {
        struct drupe_pool_job job = {
            .owner = "o", .ctx = &book, .run = job_run, .done = job_done
        };

        must(drupe_pool_submit(p, &job, NULL));
    }
    sim_sleep(sim_random_below(sim_scenario_random(), 300) * SIM_NS_PER_MS);
    op_watch("destroy the pool", LIMIT_NS);
    drupe_pool_destroy(p);
    sim_op_end();
    sim_check(book.done == 12, "%u of 12 jobs were told their end", book.done);
}

/* Clones of one snapshot: what the pool is for. */
static drupe_vm_err_t make_clone(void *ctx, drupe_vm_t **out, struct drupe_error *err)
{
    struct drupe_restore_options options = { .struct_size = sizeof(options),
                                             .path = "/tmp/template",
                                             .fd = -1,
                                             .memory_fd = -1,
                                             .is_clone = true };
    struct book *book = ctx;
    drupe_vm_config_t cfg;
    drupe_vm_t *vm = NULL;
    drupe_vm_err_t r = DRUPE_OK;

    box_config(&cfg);
    r = drupe_vm_create_from_snapshot(&cfg, &options, &vm, err);
    if (r == DRUPE_OK) {
        r = drupe_vm_resume(vm, err);
    }
    if (r != DRUPE_OK) {
        drupe_vm_destroy(vm);
        return r;
    }
    book->made++;
    *out = vm;
    return DRUPE_OK;
}

static void clones(void)
{
    struct box template;
    struct drupe_pool_options o;
    drupe_pool_t *p = NULL;
    struct book book;

    memset(&book, 0, sizeof(book));
    box_new(&template);
    must(box_start(&template));
    box_prints(&template, "", ARGV("write", "f", "from the template"));
    must(box_snapshot(&template, "/tmp/template"));
    must(box_stop(&template, 0));
    box_destroy(&template);
    fault(FAULT_RESTORE_FAIL, .1, .op = OP_vm_restore);
    drupe_pool_options_init(&o);
    o.ctx = &book;
    o.make = make_clone;
    o.is_healthy = is_healthy;
    must(drupe_pool_create(&o, &p, NULL));
    for (unsigned round = 0; round_goes_on(&round, 10);) {
        drupe_vm_t *vm = NULL;
        struct drupe_exec_output out;

        if (acquire(p, "owner", 10000, &vm) != DRUPE_OK) {
            continue;
        }
        must(run(vm, &out, ARGV("cat", "f"), NULL));
        sim_check(strcmp(out.stdout_bytes, "from the template") == 0, "a clone says '%s'",
                  out.stdout_bytes);
        drupe_exec_output_free(&out);
        must(drupe_pool_release(p, vm, NULL));
    }
    drain(p);
}

const struct scenario scenarios_pool[] = {
    { "sandbox", "pool-determinism", 99999, determinism, EACH },
    { "sandbox", "pool-exhaustion", 99999, exhaustion, EACH },
    { "sandbox", "pool-warm-up", 99999, warm_up, EACH },
    { "pool", "owners-apart", 0, owners_apart, EACH },
    { "pool", "owners-apart-made-anew", 0, owners_apart_anew, SOME },
    { "pool", "owners-with-faults", 0, owners_with_faults, SOME },
    { "pool", "unhealthy-vms", 0, unhealthy, EACH },
    { "pool", "cannot-make", 0, cannot_make, EACH },
    { "pool", "queue", 0, queue, EACH },
    { "pool", "queue-with-faults", 0, queue_with_faults, EACH },
    { "pool", "destroyed-in-use", 0, destroyed_in_use, EACH },
    { "pool", "clones-of-a-template", 0, clones, EACH },
    { NULL, NULL, 0, NULL, EACH },
};
