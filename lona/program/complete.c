/* SPDX-License-Identifier: Apache-2.0 */
/* Completion and documentation of names. Runs in the main thread; reading the realm takes no lock.
 */
#include "complete.h"

#include <string.h>

#include "data/data.h"
#include "native.h"
#include "reader/printer.h"

enum {
    LISTED_MAX = 100,
    LIST_WIDTH = 78
};

static const struct {
    const char *name;
    const char *args;
    const char *doc;
} heads[] = {
    { "def", "(def name value)", "Give a name a value in the current namespace." },
    { "fn*", "(fn* name [params] body…)",
      "A function; name and a rest parameter `& r` are optional." },
    { "match", "(match e pattern [when guard] body …)",
      "The body of the first pattern that fits." },
    { "receive", "(receive pattern [when guard] body … :after ms body)",
      "Take the first message that fits a pattern." },
    { "do", "(do e …)", "The value of the last expression." },
    { "quote", "(quote x)", "x itself, unevaluated; also 'x." },
    { "var", "(var name)", "The var itself; also #'name." },
};

bool is_name_byte(char c)
{
    return strchr(" \t\n()[]{}\"'`~^;,@\\", c) == NULL;
}

struct search {
    struct vm *vm;
    const char *prefix; /* what is left after "ns/" */
    size_t n;
    const char *qualifier; /* "ns/" as typed, or empty */
    size_t qualifier_n;
    bool public_only;
    unsigned found;
    size_t column;
    struct text *common;
    struct text *list;
};

static void add_candidate(struct search *s, const char *name, size_t n)
{
    if (n < s->n || memcmp(name, s->prefix, s->n) != 0 ||
        (n > 0 && name[n - 1] == '*' && s->n == 0)) {
        return;
    }
    if (s->found == 0) {
        text_put(s->common, s->qualifier, s->qualifier_n);
        text_put(s->common, name, n);
    } else {
        size_t same = 0;
        const char *old = s->common->bytes + s->qualifier_n;
        size_t old_n = s->common->size - s->qualifier_n;

        while (same < n && same < old_n && old[same] == name[same]) {
            same++;
        }
        s->common->size = s->qualifier_n + same;
        s->common->bytes[s->common->size] = '\0';
    }
    if (s->found < LISTED_MAX) {
        if (s->column + n + 2 > LIST_WIDTH) {
            text_put_string(s->list, "\n");
            s->column = 0;
        }
        text_put(s->list, name, n);
        text_put_string(s->list, "  ");
        s->column += n + 2;
    }
    s->found++;
}

static void add_var(void *arg, term_t name, struct var *v)
{
    struct search *s = arg;
    const struct name *text = realm_name(s->vm, name);

    if (!s->public_only ||
        (atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_PRIVATE) == 0) {
        add_candidate(s, text->text, text->size);
    }
}

static void add_ns(void *arg, struct ns *ns)
{
    struct search *s = arg;
    const struct name *text = realm_name(s->vm, ns_name(ns));

    add_candidate(s, text->text, text->size);
}

static struct ns *find_ns(struct vm *vm, struct ns *here, const char *name, size_t n)
{
    term_t symbol = realm_symbol(vm, name, n);
    struct ns *alias =
        symbol == TERM_ERROR || here == NULL ? NULL : ns_find_alias(vm, here, symbol);

    return alias != NULL || symbol == TERM_ERROR ? alias : realm_find_ns(vm, symbol);
}

unsigned complete_name(struct vm *vm, struct ns *ns, const char *prefix, size_t n,
                       struct text *common, struct text *list)
{
    const char *slash = n > 1 ? memchr(prefix, '/', n) : NULL;
    struct ns *here = ns != NULL ? ns : realm_find_ns(vm, SYM(user));
    struct search s = { .vm = vm, .prefix = prefix, .n = n, .common = common, .list = list };

    s.qualifier = prefix;
    if (slash != NULL) {
        s.qualifier_n = (size_t)(slash - prefix) + 1;
        s.prefix = slash + 1;
        s.n = n - s.qualifier_n;
        s.public_only = true;
        struct ns *other = find_ns(vm, here, prefix, (size_t)(slash - prefix));

        if (other != NULL) {
            ns_each(vm, other, add_var, &s);
        }
        return s.found;
    }
    static const term_t referred[] = { SYM(lona_core), SYM(lona_process), SYM(lona_time) };

    for (size_t i = 0; i < array_size(heads); i++) {
        add_candidate(&s, heads[i].name, strlen(heads[i].name));
    }
    if (here != NULL) {
        ns_each(vm, here, add_var, &s);
    }
    s.public_only = true;
    for (size_t i = 0; i < array_size(referred); i++) {
        struct ns *from = realm_find_ns(vm, referred[i]);

        if (from != NULL && from != here) {
            ns_each(vm, from, add_var, &s);
        }
    }
    realm_each_ns(vm, add_ns, &s);
    return s.found;
}

/* ---- doc ---- */

static void print_raw(struct vm *vm, term_t t, struct text *out)
{
    static const struct print_options options = { .display = true };

    term_print(vm, t, &options, text_out, out);
}

static term_t meta_get(struct vm *vm, term_t meta, term_t key)
{
    (void)vm;
    if (!term_is_map(meta)) {
        return TERM_NIL;
    }
    term_t v = map_get(NULL, meta, key);

    return v == TERM_HOLE ? TERM_NIL : v;
}

bool show_doc(struct vm *vm, struct ns *ns, const char *name)
{
    for (size_t i = 0; i < array_size(heads); i++) {
        if (strcmp(heads[i].name, name) == 0) {
            (void)printf("%s\n  special\n  %s\n", heads[i].args, heads[i].doc);
            return true;
        }
    }
    term_t symbol = realm_symbol(vm, name, strlen(name));
    struct ns *here = ns != NULL ? ns : realm_find_ns(vm, SYM(user));
    struct var *v = symbol == TERM_ERROR || here == NULL ? NULL : ns_resolve(vm, here, symbol);

    if (v == NULL) {
        return false;
    }
    struct text out = { 0 };
    term_t root = atomic_load_explicit(&v->root, memory_order_acquire);
    term_t meta = atomic_load_explicit(&v->meta, memory_order_acquire);
    term_t doc = meta_get(vm, meta, KW(doc));
    term_t args = meta_get(vm, meta, KW(arglists));

    print_raw(vm, ns_name(term_ns(v->ns)), &out);
    text_put_string(&out, "/");
    print_raw(vm, v->name, &out);
    if ((atomic_load_explicit(&v->flags, memory_order_relaxed) & VAR_MACRO) != 0) {
        text_put_string(&out, "  (macro)");
    }
    const struct native *native = term_is_native(root) ? native_by_id(native_id(root)) : NULL;

    if (args != TERM_NIL) {
        text_put_string(&out, "\n  ");
        print_raw(vm, args, &out);
    } else if (native != NULL) {
        text_put_string(&out, "\n  ");
        text_put_string(&out, native->args);
    }
    if (doc != TERM_NIL) {
        text_put_string(&out, "\n  ");
        print_raw(vm, doc, &out);
    } else if (native != NULL) {
        text_put_string(&out, "\n  ");
        text_put_string(&out, native->doc);
    }
    (void)printf("%s\n", out.bytes);
    text_deinit(&out);
    return true;
}
