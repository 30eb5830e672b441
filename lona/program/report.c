/* SPDX-License-Identifier: Apache-2.0 */
/* Exit reasons in words: ":kind: message", the place, the calls that led there. */
#include <string.h>

#include "data/data.h"
#include "program.h"
#include "reader/printer.h"

struct reporting {
    struct vm *vm;
    struct process *p;
    term_t info;
    struct text *out;
};

static term_t field(const struct reporting *r, term_t key)
{
    term_t v = map_get(r->p, r->info, key);

    return v == TERM_HOLE ? TERM_NIL : v;
}

static void put_term(const struct reporting *r, term_t t)
{
    static const struct print_options options = { .display = false,
                                                  .list_max = 20,
                                                  .depth_max = 6 };

    term_print(r->vm, t, &options, text_out, r->out);
}

static void put_raw(const struct reporting *r, term_t t)
{
    static const struct print_options options = { .display = true };

    term_print(r->vm, t, &options, text_out, r->out);
}

static void put_number(struct text *out, int64_t n)
{
    char buf[32];
    int k = snprintf(buf, sizeof(buf), "%lld", (long long)n);

    text_put(out, buf, (size_t)k);
}

/*
 * Messages of the run-time kinds: text with %key% for the readable value of a key. The reader's and
 * compiler's errors bring their own :message.
 */
static const struct {
    term_t kind;
    const char *text;
} messages[] = {
    { KW(badmatch), "no clause fits %value%" },
    { KW(type_error), "%fn% wants %expected%, got %value% (argument %arg%, counted from 0)" },
    { KW(badarg), "%fn% can't take %args%" },
    { KW(arity_mismatch), "%fn% takes %expected% arguments, got %got%" },
    { KW(not_callable), "%value% can't be called" },
    { KW(division_by_zero), "division by zero" },
    { KW(index_out_of_bounds), "index %index% of %count% elements" },
    { KW(out_of_bounds), "offset %offset% of %size% bytes" },
    { KW(undef), "%var% has no value" },
    { KW(undefined), "%form% is not defined" },
    { KW(oom), "out of memory" },
    { KW(stack_overflow), "the stack is full" },
    { KW(invalid_utf8), "no UTF-8 at offset %offset%" },
    { KW(invalid_encoding), "no such character in this encoding, offset %offset%" },
    { KW(process_limit), "too many processes" },
    { KW(macro_timeout), "a macro takes too long" },
    { KW(file_not_found), "no such file" },
};

static void put_key(const struct reporting *r, const char *name, size_t n)
{
    term_t v = field(r, realm_keyword(r->vm, name, n));

    if (v == TERM_NIL && n == 2) {
        text_put_string(r->out, "the function");
    } else {
        put_term(r, v);
    }
}

static void put_message(const struct reporting *r, term_t kind)
{
    term_t given = field(r, KW(message));

    if (term_is_string(given)) {
        put_raw(r, given);
        if (kind == KW(undefined)) {
            text_put_string(r->out, ": ");
            put_term(r, field(r, KW(form)));
        }
        return;
    }
    const char *text = NULL;

    for (size_t i = 0; i < array_size(messages); i++) {
        text = messages[i].kind == kind ? messages[i].text : text;
    }
    if (text == NULL || map_count(r->info) == 0) {
        put_term(r, text == NULL ? r->info : kind);
        return;
    }
    for (const char *at = text; *at != '\0';) {
        const char *mark = strchrnul(at, '%');

        text_put(r->out, at, (size_t)(mark - at));
        if (*mark == '\0') {
            break;
        }
        const char *end = strchrnul(mark + 1, '%');

        put_key(r, mark + 1, (size_t)(end - mark - 1));
        at = end + 1;
    }
}

static uint32_t small_or_0(term_t t)
{
    return term_is_small(t) && small_value(t) > 0 && small_value(t) <= INT32_MAX
               ? (uint32_t)small_value(t)
               : 0;
}

static void put_place(const struct reporting *r, term_t file, uint32_t line, uint32_t column)
{
    if (file != TERM_NIL) {
        put_raw(r, file);
        text_put_string(r->out, ":");
    } else {
        text_put_string(r->out, "line ");
    }
    put_number(r->out, line);
    if (column != 0) {
        text_put_string(r->out, ":");
        put_number(r->out, column);
    }
}

static bool is_file(const struct reporting *r, term_t file, const char *name)
{
    struct text t = { 0 };
    const struct print_options options = { .display = true };

    if (file == TERM_NIL || name == NULL) {
        return false;
    }
    term_print(r->vm, file, &options, text_out, &t);
    bool same = t.bytes != NULL && strcmp(t.bytes, name) == 0;

    text_deinit(&t);
    return same;
}

/* :trace holds [name line file column] or [name line file], innermost first. */
static void put_trace(const struct reporting *r, const char *file, struct outcome *out)
{
    bool known = out->error.line != 0;

    for (term_t at = field(r, KW(trace)); term_is_list(at); at = pair_rest(at)) {
        term_t e = pair_head(at);

        if (!term_is_tuple(e) || tuple_count(e) < 3) {
            continue;
        }
        uint32_t line = small_or_0(tuple_get(e, 1));
        uint32_t column = tuple_count(e) > 3 ? small_or_0(tuple_get(e, 3)) : 0;

        if (line == 0) {
            continue;
        }
        text_put_string(r->out, "\n  at ");
        put_place(r, tuple_get(e, 2), line, column);
        if (tuple_get(e, 0) != TERM_NIL) {
            text_put_string(r->out, " in ");
            put_raw(r, tuple_get(e, 0));
        }
        if (!known && is_file(r, tuple_get(e, 2), file)) {
            out->error = (struct place){ line, column };
            out->error_file = file;
            known = true;
        }
    }
}

static void report_error(struct reporting *r, term_t kind, const char *file, struct outcome *out)
{
    put_term(r, kind);
    text_put_string(r->out, ": ");
    put_message(r, kind);
    uint32_t line = small_or_0(field(r, KW(line)));

    if (line != 0) {
        uint32_t column = small_or_0(field(r, KW(column)));

        text_put_string(r->out, "\n  at ");
        put_place(r, field(r, KW(file)), line, column);
        if (field(r, KW(file)) == TERM_NIL || is_file(r, field(r, KW(file)), file)) {
            out->error = (struct place){ line, column };
            out->error_file = file;
        }
    }
    put_trace(r, file, out);
}

void report(struct vm *vm, struct process *p, term_t reason, const char *file, struct outcome *out)
{
    struct reporting r = { vm, p, map_empty(vm), &out->printed };

    if (reason == KW(interrupted)) {
        text_put_string(r.out, ":interrupted");
        return;
    }
    if (!term_is_tuple(reason) || tuple_count(reason) < 2 || tuple_get(reason, 0) != KW(error)) {
        text_put_string(r.out, ":exit: ");
        put_term(&r, reason);
        return;
    }
    if (tuple_count(reason) > 2 && term_is_map(tuple_get(reason, 2))) {
        r.info = tuple_get(reason, 2);
    }
    report_error(&r, tuple_get(reason, 1), file, out);
}
