/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as stored code: decoder and verifier refuse them, or the code is linked. The first byte
 * chooses: even, the rest is the body of a unit; odd, a unit of the library with some bytes
 * changed, which gets past the decoder far more often. Then the same bytes as a stored term: what
 * decodes must encode and decode to something equal.
 */
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "gc/heap.h"
#include "interp/code.h"
#include "interp/stored.h"
#include "library.h"
#include "native.h"
#include "vm.h"
#include "vm_state.h"

enum {
    INPUTS_A_VM = 500,
    BODY_MAX = 1 << 15,
};

struct input {
    const uint8_t *unit; /* head and body */
    size_t unit_size;
    const uint8_t *term;
    size_t term_size;
};

/* ---- the checks ---- */

static struct vm *make_vm(void)
{
    const char *error;
    const struct vm_options options = { .platform = platform_posix(),
                                        .workers = 1,
                                        .seed = 1,
                                        .heap_max_words = 1 << 20,
                                        .memory_max = (uint64_t)512 << 20 };
    struct vm *vm = vm_create(&options, &error);

    if (vm == NULL) {
        abort();
    }
    return vm;
}

/* What decodes must encode, and that decode to something that encodes alike. */
static void check_term(struct process *p, const struct input *in)
{
    size_t offset = 0;
    term_t t = term_decode(p, in->term, in->term_size, &offset);
    struct byte_sink first;
    struct byte_sink second;

    if (t == TERM_ERROR) {
        return;
    }
    byte_sink_init(&first, process_vm(p));
    byte_sink_init(&second, process_vm(p));
    if (term_encode(&first, process_vm(p), t)) {
        size_t again = 0;
        term_t back = term_decode(p, first.data, first.size, &again);

        if (back == TERM_ERROR || again != first.size ||
            !term_encode(&second, process_vm(p), back) || second.size != first.size ||
            memcmp(first.data, second.data, first.size) != 0) {
            abort();
        }
    }
    byte_sink_deinit(&first);
    byte_sink_deinit(&second);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the signature of a body */
static term_t run(void *arg, struct process *p, term_t last, bool *again)
{
    const struct input *in = arg;
    struct code_unit u;
    size_t offset = 0;
    (void)last;
    (void)again;
    heap_inhibit_gc(p);
    check_term(p, in);
    code_unit_init(&u, process_vm(p));
    if (code_decode(p, in->unit, in->unit_size, &offset, &u)) {
        /* Not run: what is verified can't do harm, but may jump in circles. */
        (void)code_link(p, &u);
    }
    code_unit_deinit(&u);
    heap_permit_gc(p);
    return TERM_NIL;
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
        vm = make_vm();
    }
    struct input in = { unit, make_unit(data, size, unit), data, size };

    if (vm_call_body(vm, run, &in, NULL, NULL) < 0) {
        abort();
    }
    if (++inputs == INPUTS_A_VM) {
        vm_destroy(vm);
        vm = NULL;
        inputs = 0;
    }
    return 0;
}
