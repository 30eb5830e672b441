/* SPDX-License-Identifier: Apache-2.0 */
#include "embed/describe.h"

#include <base/fmt.h>

#include "data/data.h"
#include "realm/realm.h"

struct writer {
    struct process *p;
    print_out out;
    void *arg;
};

static void text(const struct writer *w, const char *s)
{
    w->out(w->arg, s, __builtin_strlen(s));
}

static void value(const struct writer *w, term_t t, bool raw)
{
    const struct print_options options = { .display = raw, .depth_max = 8, .list_max = 20 };

    term_print(process_vm(w->p), t, &options, w->out, w->arg);
}

static void number(const struct writer *w, uint32_t n)
{
    char buf[16];

    w->out(w->arg, buf, fmt_snprintf(buf, sizeof(buf), "%u", n));
}

static bool is_error(term_t reason)
{
    return term_is_tuple(reason) && tuple_count(reason) >= 2 && tuple_get(reason, 0) == KW(error) &&
           term_is_keyword(tuple_get(reason, 1));
}

static term_t info_of(term_t reason)
{
    return is_error(reason) && tuple_count(reason) == 3 && term_is_map(tuple_get(reason, 2))
               ? tuple_get(reason, 2)
               : TERM_NIL;
}

static term_t key(struct process *p, term_t info, term_t k)
{
    term_t v = info == TERM_NIL ? TERM_HOLE : map_get(p, info, k);

    return v == TERM_HOLE ? TERM_NIL : v;
}

static bool is_place_key(term_t k)
{
    return k == KW(line) || k == KW(column) || k == KW(file) || k == KW(trace) || k == KW(message);
}

/* The other keys of info: " :expected 1, :got 2". */
static void details(const struct writer *w, term_t info)
{
    struct map_cursor c;
    bool first = true;

    if (info == TERM_NIL) {
        return;
    }
    for (map_first(&c, info); !c.done; map_next(&c)) {
        if (is_place_key(c.key)) {
            continue;
        }
        text(w, first ? " " : ", ");
        value(w, c.key, false);
        text(w, " ");
        value(w, c.value, false);
        first = false;
    }
}

static void place(const struct writer *w, term_t file, uint32_t line, uint32_t column)
{
    if (line == 0) {
        return;
    }
    if (file != TERM_NIL) {
        value(w, file, true);
        text(w, ":");
    } else {
        text(w, "line ");
    }
    number(w, line);
    if (column != 0) {
        text(w, ":");
        number(w, column);
    }
}

static uint32_t small_key(struct process *p, term_t info, term_t k)
{
    term_t v = key(p, info, k);

    return term_is_small(v) && small_value(v) > 0 ? (uint32_t)small_value(v) : 0;
}

struct error_place error_place(struct process *p, term_t reason)
{
    term_t info = info_of(reason);

    return (struct error_place){ small_key(p, info, KW(line)), small_key(p, info, KW(column)) };
}

/* [name line file] */
static bool is_frame(term_t t)
{
    return term_is_tuple(t) && tuple_count(t) == 3 && term_is_small(tuple_get(t, 1));
}

static void trace_line(const struct writer *w, term_t frame)
{
    if (tuple_get(frame, 0) == TERM_NIL) {
        text(w, "an anonymous function");
    } else {
        value(w, tuple_get(frame, 0), true);
    }
    if (small_value(tuple_get(frame, 1)) > 0) {
        text(w, " (");
        place(w, tuple_get(frame, 2), (uint32_t)small_value(tuple_get(frame, 1)), 0);
        text(w, ")");
    }
}

void error_describe(struct process *p, term_t reason, bool frames, print_out out, void *arg)
{
    const struct writer w = { p, out, arg };

    if (!is_error(reason)) {
        text(&w, "exit: ");
        value(&w, reason, false);
        return;
    }
    term_t info = info_of(reason);
    term_t message = key(p, info, KW(message));
    term_t trace = key(p, info, KW(trace));
    struct error_place at = error_place(p, reason);

    value(&w, tuple_get(reason, 1), false);
    if (message != TERM_NIL) {
        text(&w, " ");
        value(&w, message, true);
    }
    details(&w, info);
    if (at.line != 0) {
        text(&w, " at ");
        place(&w, key(p, info, KW(file)), at.line, at.column);
    } else if (term_is_list(trace) && is_frame(pair_head(trace))) {
        text(&w, " in ");
        trace_line(&w, pair_head(trace));
        trace = pair_rest(trace);
    }
    for (; frames && term_is_list(trace); trace = pair_rest(trace)) {
        if (is_frame(pair_head(trace))) {
            text(&w, "\n  called from ");
            trace_line(&w, pair_head(trace));
        }
    }
}
