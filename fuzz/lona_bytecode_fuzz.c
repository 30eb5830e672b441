/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as stored code: decoder and verifier refuse them, or the code is linked and run, as are
 * the functions that it defines, with arguments of all kinds. The first byte chooses: even, the
 * rest is the body of a unit; odd, a unit of the library with some bytes changed, which gets past
 * the decoder far more often; bit 1, a collection at every allocation.
 */
#include <string.h>

#include "lona_fuzz.h"

#include "data/data.h"
#include "gc/heap.h"
#include "interp/code.h"
#include "interp/stored.h"
#include "library.h"
#include "native.h"

enum {
    INPUTS_A_VM = 500,
    BODY_MAX = 1 << 15,
    CALLS_MAX = 4,
    RUN_MS = 300,
};

struct input {
    const uint8_t *unit; /* head and body */
    size_t unit_size;
    const uint8_t *choices; /* of arguments */
    size_t choice_count;
    unsigned calls;
    bool stress;
};

/* ---- running ---- */

/* The unit's function 0, or TERM_ERROR. */
static term_t link_unit(struct process *p, const struct input *in)
{
    struct code_unit u;
    size_t offset = 0;
    term_t fun = TERM_ERROR;

    heap_inhibit_gc(p);
    code_unit_init(&u, process_vm(p));
    if (code_decode(p, in->unit, in->unit_size, &offset, &u)) {
        fun = code_link(p, &u);
    }
    code_unit_deinit(&u);
    heap_permit_gc(p);
    return fun;
}

/* A list of n arguments of kinds that the input chooses. */
static term_t make_arguments(struct process *p, const struct input *in, unsigned n)
{
    term_t list = TERM_EMPTY;
    term_t *e;

    heap_inhibit_gc(p);
    for (unsigned i = 0; i < n && heap_reserve(p, 16); i++) {
        unsigned kind =
            in->choice_count == 0 ? i : in->choices[(in->calls * 7 + i) % in->choice_count];
        term_t t = TERM_NIL;

        switch (kind % 12) {
        case 0:
            t = term_small((int64_t)kind - 100);
            break;
        case 1:
            t = KW(badarg);
            break;
        case 2:
            t = SYM(quote);
            break;
        case 3:
            t = list;
            break;
        case 4:
            t = heap_tuple(p, 2, &e);
            e[0] = term_small(kind);
            e[1] = list;
            break;
        case 5:
            t = map_empty(process_vm(p));
            break;
        case 6:
            t = vector_empty(process_vm(p));
            break;
        case 7:
            t = heap_string(p, "text", 4);
            break;
        case 8:
            t = heap_float(p, 1.5);
            break;
        case 9:
            t = heap_pid(p, process_pid_raw(p));
            break;
        case 10:
            t = term_native(kind % native_count());
            break;
        default:
            break;
        }
        list = heap_pair(p, t, list);
    }
    heap_permit_gc(p);
    return list;
}

/* First the unit, then what it gave: a function, or a var that holds one. */
static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    struct input *in = arg;

    if (in->calls == 0) {
        last = link_unit(p, in);
        process_vm(p)->gc_stress = in->stress && last != TERM_ERROR;
    } else if (term_has_tag(last, TAG_VAR)) {
        last = atomic_load_explicit(&term_var(last)->root, memory_order_acquire);
    }
    if (last == TERM_ERROR || in->calls++ == CALLS_MAX ||
        (!term_has_tag(last, TAG_FUN) && !term_has_tag(last, TAG_CLOSURE))) {
        return TERM_NIL;
    }
    *again = true;
    return native_apply(p, last, make_arguments(p, in, in->calls == 1 ? 0 : in->calls - 1));
}

/* ---- inputs ---- */

/* The unit number `index` of the library, round about; its whole size with the head. */
static const uint8_t *library_unit(unsigned index, size_t *size)
{
    size_t at = 0;
    struct stored_head head;

    for (unsigned i = 0;; i++) {
        memcpy(&head, lona_library_image + at, sizeof(head));
        *size = sizeof(head) + head.size;
        if (i == index) {
            return lona_library_image + at;
        }
        at += *size;
        if (at >= lona_library_size) {
            at = 0;
        }
    }
}

/* Head and body in `out`; the size. */
static size_t make_unit(const uint8_t *data, size_t size, uint8_t *out)
{
    struct stored_head head = { CODE_MAGIC, CODE_VERSION, 0, 0 };
    uint8_t *body = out + sizeof(head);
    size_t n = 0;

    if (size > 3 && (data[0] & 1) != 0) {
        const uint8_t *unit = library_unit(data[1] | (unsigned)(data[2] & 3) << 8, &n);

        n -= sizeof(head);
        if (n > BODY_MAX) {
            n = BODY_MAX;
        }
        memcpy(body, unit + sizeof(head), n);
        for (size_t i = 3; i + 2 < size && n > 0; i += 3) {
            body[(data[i] | (size_t)data[i + 1] << 8) % n] = data[i + 2];
        }
    } else if (size > 1) {
        n = size - 1;
        memcpy(body, data + 1, n);
    }
    head.size = (uint32_t)n;
    head.checksum = stored_checksum(body, n);
    memcpy(out, &head, sizeof(head));
    return sizeof(head) + n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static unsigned inputs;
    static uint8_t unit[sizeof(struct stored_head) + BODY_MAX];

    if (size > BODY_MAX) {
        return 0;
    }
    if (vm == NULL) {
        vm = fuzz_vm(true);
    }
    struct input in = { unit, make_unit(data, size, unit),   data, size,
                        0,    size > 0 && (data[0] & 2) != 0 };
    bool quiet = fuzz_run(vm, run, &in, RUN_MS);

    vm->gc_stress = false;
    if (!quiet || ++inputs == INPUTS_A_VM) {
        vm_destroy(vm);
        vm = NULL;
        inputs = 0;
    }
    return 0;
}
