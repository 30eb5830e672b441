/* SPDX-License-Identifier: Apache-2.0 */
/* Where an error happened: the frames' functions and lines, added to the error's info map. */
#include "data/data.h"
#include "gc/heap.h"
#include "interp/code.h"
#include "interp/frame.h"
#include "interp/interp.h"
#include "native.h"

enum {
    TRACE_FRAMES_MAX = 16
};

/* [name line file column] for an address of code; nil when it is in no function. */
static term_t place_tuple(struct process *p, const uint64_t *ip)
{
    const struct fun *f = realm_fun_at(process_vm(p), ip);

    if (f == NULL || !heap_reserve(p, TUPLE_WORDS(4))) {
        return TERM_NIL;
    }
    term_t *e;
    term_t t = heap_tuple(p, 4, &e);
    struct code_line place = fun_line(f, ip);

    e[0] = f->name;
    e[1] = term_small(place.line);
    e[2] = f->file;
    e[3] = term_small(place.column);
    return t;
}

void error_add_trace(struct process *p)
{
    term_t e = p->reason;

    if (!term_is_tuple(e) || tuple_count(e) != 3 || tuple_get(e, 0) != KW(error) ||
        !term_is_map(tuple_get(e, 2)) || p->ip == NULL ||
        map_get(p, tuple_get(e, 2), KW(trace)) != TERM_HOLE) {
        return;
    }
    heap_inhibit_gc(p);
    term_t places[TRACE_FRAMES_MAX];
    size_t n = 0;
    const uint64_t *ip = p->ip;

    for (const term_t *fp = p->fp;;) {
        term_t t = place_tuple(p, ip);

        if (t != TERM_NIL) {
            places[n++] = t;
        }
        if (n == TRACE_FRAMES_MAX || fp[-1] <= RETURN_TO_NATIVE) {
            break;
        }
        ip = (const uint64_t *)(uintptr_t)fp[-1]; // NOLINT(performance-no-int-to-ptr)
        fp -= safepoint_window(ip[-1]);
        ip -= 1; /* inside the call */
    }
    term_t list = TERM_EMPTY;

    while (n > 0 && heap_reserve(p, PAIR_WORDS)) {
        list = heap_pair(p, places[--n], list);
    }
    term_t key = KW(trace);
    term_t info = tuple_get(e, 2);
    term_t map = map_put(p, &info, &key, &list);

    if (map != TERM_ERROR && heap_reserve(p, TUPLE_WORDS(3))) {
        term_t *items;

        e = heap_tuple(p, 3, &items);
        items[0] = KW(error);
        items[1] = tuple_get(p->reason, 1);
        items[2] = map;
    }
    p->reason = e;
    heap_permit_gc(p);
}
