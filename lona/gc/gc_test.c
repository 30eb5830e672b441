/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random programs of building, dropping, sending and collecting against a model, with and without a
 * collection at every allocation, in big heaps and in heaps that run out.
 */
#include <test.h>

#include <lona_gc_model.h>

#include "vm.h"

struct run {
    uint8_t bytes[4096];
    size_t size;
    uint32_t heap_max_words;
    bool stress;
    bool ok;
};

// NOLINTNEXTLINE(readability-non-const-parameter): the type is vm_call_body()'s
static term_t body(void *arg, struct process *p, term_t last, bool *again)
{
    static struct gc_model model;
    struct run *r = arg;

    (void)last;
    (void)again;
    p->heap_max_words = r->heap_max_words;
    process_vm(p)->gc_stress = r->stress;
    r->ok = gc_model_run(&model, p, r->bytes, r->size);
    process_vm(p)->gc_stress = false;
    return TERM_NIL;
}

static void fill(struct run *r, uint64_t seed)
{
    uint64_t random = seed * 0x9E3779B97F4A7C15u | 1;

    for (size_t i = 0; i < sizeof(r->bytes); i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        r->bytes[i] = (uint8_t)(random >> 32);
    }
}

static const struct {
    const char *name;
    size_t size;
    uint32_t heap_max_words;
    unsigned runs;
    bool stress;
    bool may_run_out;
} kinds[] = {
    { "plain", 4096, 0, 30, false, false },
    { "a collection at every allocation", 600, 0, 30, true, false },
    { "small heap", 4096, 3000, 100, false, true },
    { "small heap, a collection at every allocation", 600, 3000, 30, true, true },
};

static void graphs_agree_with_the_model(void **state)
{
    const struct vm_options o = {
        .platform = platform_posix(), .workers = 1, .without_library = true, .seed = 7
    };
    const char *error;
    struct vm *vm = vm_create(&o, &error);
    static struct run r;

    (void)state;
    assert_non_null(vm);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (unsigned seed = 1; seed <= kinds[k].runs; seed++) {
            fill(&r, seed);
            r.size = kinds[k].size;
            r.heap_max_words = kinds[k].heap_max_words;
            r.stress = kinds[k].stress;
            assert_int_equal(vm_call_body(vm, body, &r, NULL, NULL), 0);
            if (!r.ok && !kinds[k].may_run_out) {
                fail_msg("%s: seed %u ran out of memory", kinds[k].name, seed);
            }
        }
    }
    /* The last process may still be giving its memory back. */
    while (atomic_load_explicit(&vm->processes.alive, memory_order_acquire) != 0) {
        vm->platform.yield_cpu(vm->platform.self);
    }
    assert_int_equal(vm->shared_binary_bytes, 0);
    vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(graphs_agree_with_the_model) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
