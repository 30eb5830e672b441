/* SPDX-License-Identifier: Apache-2.0 */
/* lona.core: collections and sequences (6.4). */
#include "data/data.h"
#include "native.h"

/* ---- strings as sequences of code points ---- */

static unsigned utf8_bytes(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* The code point at p; the text is known to be valid. */
static uint32_t utf8_decode(const char *text)
{
    const uint8_t *p = (const uint8_t *)text;

    switch (utf8_bytes(p[0])) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    case 3:
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    default:
        return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    }
}

static size_t string_count(struct process *p, term_t s)
{
    size_t bytes = string_bytes(s);

    if (string_is_ascii(s)) {
        return bytes;
    }
    const char *text = string_data(s);
    size_t n = 0;

    for (size_t i = 0; i < bytes; i++) {
        n += (text[i] & 0xC0) != 0x80;
    }
    process_charge(p, bytes / 64);
    return n;
}

/* ---- what every collection can do ---- */

/* Elements of coll, or -1 if it is none. */
static int64_t count_of(struct process *p, term_t t)
{
    if (t == TERM_NIL || t == TERM_EMPTY) {
        return 0;
    }
    if (term_is_list(t)) {
        int64_t n = list_length(t);

        process_charge(p, (size_t)(n > 0 ? n : 0) / 16);
        return n;
    }
    if (!term_is_boxed(t)) {
        return -1;
    }
    switch (header_tag(box_header(t))) {
    case TAG_TUPLE:
        return (int64_t)tuple_count(t);
    case TAG_VECTOR:
        return (int64_t)vector_count(t);
    case TAG_MAP:
        return (int64_t)map_count(t);
    case TAG_SET:
        return (int64_t)set_count(t);
    case TAG_STRING:
        return (int64_t)string_count(p, t);
    default:
        return term_is_binary(t) ? (int64_t)binary_view(t).size : -1;
    }
}

static term_t count(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    int64_t n = count_of(p, args[0]);

    return n < 0 ? raise_type(p, "count", 0, KW(collection), args[0]) : term_small(n);
}

static bool is_sequence(term_t t)
{
    return t == TERM_NIL || t == TERM_EMPTY || term_is_list(t) || term_is_tuple(t) ||
           term_is_vector(t) || term_is_map(t) || term_is_set(t) || term_is_string(t);
}

static bool is_empty_sequence(term_t t)
{
    return t == TERM_NIL || t == TERM_EMPTY || (term_is_tuple(t) && tuple_count(t) == 0) ||
           (term_is_vector(t) && vector_count(t) == 0) || (term_is_map(t) && map_count(t) == 0) ||
           (term_is_set(t) && set_count(t) == 0) || (term_is_string(t) && string_bytes(t) == 0);
}

static term_t empty(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_is_binary(args[0])) {
        return term_bool(binary_view(args[0]).size == 0);
    }
    return is_sequence(args[0]) ? term_bool(is_empty_sequence(args[0]))
                                : raise_type(p, "empty?", 0, KW(collection), args[0]);
}

/* [key value] for an entry; 3 words reserved. */
static term_t entry_tuple(struct process *p, term_t key, term_t value)
{
    term_t *e;
    term_t t = heap_tuple(p, 2, &e);

    e[0] = key;
    e[1] = value;
    return t;
}

static term_t first(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_is_list(args[0])) {
        return pair_head(args[0]);
    }
    if (!is_sequence(args[0])) {
        return raise_type(p, "first", 0, KW(collection), args[0]);
    }
    if (is_empty_sequence(args[0])) {
        return TERM_NIL;
    }
    if (term_is_tuple(args[0])) {
        return tuple_get(args[0], 0);
    }
    if (term_is_vector(args[0])) {
        return vector_get(args[0], 0);
    }
    if (term_is_string(args[0])) {
        return term_char(utf8_decode(string_data(args[0])));
    }
    struct map_cursor c;

    if (!heap_reserve(p, 3)) {
        return TERM_ERROR;
    }
    map_first(&c, args[0]);
    return term_is_set(args[0]) ? c.key : entry_tuple(p, c.key, c.value);
}

/* All elements from `start` on as a list. */
static term_t list_from(struct process *p, term_t *coll, size_t start)
{
    size_t n = (size_t)count_of(p, *coll);
    bool is_map = term_is_map(*coll);

    if (start >= n) {
        return TERM_EMPTY;
    }
    size_t left = n - start;

    if (!heap_reserve(p, left * (PAIR_WORDS + (is_map ? 3u : 0u)))) {
        return TERM_ERROR;
    }
    process_charge(p, left / 8);
    if (term_is_tuple(*coll) || term_is_vector(*coll)) {
        term_t list = TERM_EMPTY;

        for (size_t i = n; i > start; i--) {
            list = heap_pair(
                p, term_is_tuple(*coll) ? tuple_get(*coll, i - 1) : vector_get(*coll, i - 1), list);
        }
        return list;
    }
    /* Forward only: the pairs are laid out in a row and each names the next. */
    term_t *pairs = heap_take(p, left * PAIR_WORDS);
    struct map_cursor c = { .done = true };
    const char *text = NULL;

    if (term_is_string(*coll)) {
        text = string_data(*coll);
    } else {
        map_first(&c, *coll);
    }
    for (size_t i = 0; i < n; i++) {
        term_t e;

        if (text != NULL) {
            e = term_char(utf8_decode(text));
            text += utf8_bytes((uint8_t)*text);
        } else {
            e = !is_map ? c.key : i < start ? TERM_NIL : entry_tuple(p, c.key, c.value);
            map_next(&c);
        }
        if (i >= start) {
            pairs[2 * (i - start)] = e;
            pairs[2 * (i - start) + 1] =
                i + 1 == n ? TERM_EMPTY : term_from_pair(&pairs[2 * (i - start) + 2]);
        }
    }
    return term_from_pair(pairs);
}

static term_t rest(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_is_list(args[0])) {
        return pair_rest(args[0]);
    }
    return is_sequence(args[0]) ? list_from(p, &args[0], 1)
                                : raise_type(p, "rest", 0, KW(collection), args[0]);
}

/* (seq coll): the elements as a list; what the library's functions iterate over. */
static term_t seq(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_is_list(args[0]) || args[0] == TERM_EMPTY) {
        return args[0];
    }
    return is_sequence(args[0]) ? list_from(p, &args[0], 0)
                                : raise_type(p, "seq", 0, KW(collection), args[0]);
}

static term_t nth_of_list(struct process *p, term_t list, uint64_t i)
{
    uint64_t n = i;

    for (; term_is_list(list); list = pair_rest(list), n--) {
        if (n == 0) {
            process_charge(p, (size_t)i / 16);
            return pair_head(list);
        }
    }
    return TERM_HOLE;
}

static term_t nth_of_string(term_t s, uint64_t i)
{
    const char *text = string_data(s);
    const char *end = text + string_bytes(s);

    if (string_is_ascii(s)) {
        return i < string_bytes(s) ? term_char((uint8_t)text[i]) : TERM_HOLE;
    }
    for (; text < end && i > 0; i--) {
        text += utf8_bytes((uint8_t)*text);
    }
    return text < end ? term_char(utf8_decode(text)) : TERM_HOLE;
}

static term_t nth(struct process *p, term_t *args, unsigned argc)
{
    term_t c = args[0];
    uint64_t i;

    if (!term_is_tuple(c) && !term_is_vector(c) && !term_is_list(c) && c != TERM_EMPTY &&
        !term_is_string(c) && c != TERM_NIL) {
        return raise_type(p, "nth", 0, KW(collection), c);
    }
    if (!term_is_small(args[1])) {
        return raise_type(p, "nth", 1, KW(integer), args[1]);
    }
    term_t found = TERM_HOLE;

    if (arg_size(args[1], SMALL_MAX, &i)) {
        if (term_is_tuple(c)) {
            found = i < tuple_count(c) ? tuple_get(c, i) : TERM_HOLE;
        } else if (term_is_vector(c)) {
            found = i < vector_count(c) ? vector_get(c, i) : TERM_HOLE;
        } else if (term_is_string(c)) {
            found = nth_of_string(c, i);
        } else {
            found = nth_of_list(p, c, i);
        }
    }
    if (found != TERM_HOLE) {
        return found;
    }
    return argc == 3 ? args[2] : raise_index(p, args[1], (size_t)count_of(p, c));
}

/* ---- maps and sets ---- */

static term_t get(struct process *p, term_t *args, unsigned argc)
{
    term_t v;

    if (term_is_map(args[0])) {
        v = map_get(p, args[0], args[1]);
    } else if (term_is_set(args[0])) {
        v = set_get(p, args[0], args[1]);
    } else {
        return raise_type(p, "get", 0, KW(map), args[0]);
    }
    return v != TERM_HOLE ? v : argc == 3 ? args[2] : TERM_NIL;
}

static term_t contains(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_map(args[0]) ? term_bool(map_get(p, args[0], args[1]) != TERM_HOLE)
                                : raise_type(p, "contains?", 0, KW(map), args[0]);
}

static term_t put(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_map(args[0]) ? map_put(p, &args[0], &args[1], &args[2])
                                : raise_type(p, "put", 0, KW(map), args[0]);
}

static term_t dissoc(struct process *p, term_t *args, unsigned argc)
{
    for (unsigned i = 1; i < argc; i++) {
        if (!term_is_map(args[0])) {
            return raise_type(p, "dissoc", 0, KW(map), args[0]);
        }
        term_t m = map_remove(p, &args[0], &args[i]);

        if (m == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[0] = m;
    }
    return args[0];
}

static term_t entries(struct process *p, term_t *args, bool values, const char *fn)
{
    if (!term_is_map(args[0])) {
        return raise_type(p, fn, 0, KW(map), args[0]);
    }
    size_t n = map_count(args[0]);

    if (n == 0) {
        return TERM_EMPTY;
    }
    if (!heap_reserve(p, n * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    process_charge(p, n / 8);
    term_t *pairs = heap_take(p, n * PAIR_WORDS);
    struct map_cursor c;
    size_t i = 0;

    for (map_first(&c, args[0]); !c.done; map_next(&c), i++) {
        pairs[2 * i] = values ? c.value : c.key;
        pairs[2 * i + 1] = i + 1 == n ? TERM_EMPTY : term_from_pair(&pairs[2 * i + 2]);
    }
    return term_from_pair(pairs);
}

static term_t keys(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return entries(p, args, false, "keys");
}

static term_t vals(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return entries(p, args, true, "vals");
}

static term_t add_to_set(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_set(args[0]) ? set_add(p, &args[0], &args[1])
                                : raise_type(p, "set-add", 0, KW(set), args[0]);
}

static term_t remove_from_set(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return term_is_set(args[0]) ? set_remove(p, &args[0], &args[1])
                                : raise_type(p, "set-remove", 0, KW(set), args[0]);
}

/* ---- building ---- */

static term_t prepend(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (!term_is_list(args[0]) && args[0] != TERM_EMPTY && args[0] != TERM_NIL) {
        return raise_type(p, "prepend", 0, KW(list), args[0]);
    }
    if (!heap_reserve(p, PAIR_WORDS)) {
        return TERM_ERROR;
    }
    return heap_pair(p, args[1], args[0] == TERM_NIL ? TERM_EMPTY : args[0]);
}

static term_t append(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    if (term_is_vector(args[0])) {
        return vector_append(p, &args[0], &args[1]);
    }
    if (!term_is_tuple(args[0])) {
        return raise_type(p, "append", 0, KW(vector), args[0]);
    }
    size_t n = tuple_count(args[0]);

    if (!heap_reserve(p, TUPLE_WORDS(n + 1))) {
        return TERM_ERROR;
    }
    process_charge(p, n / 8);
    term_t *e;
    term_t t = heap_tuple(p, n + 1, &e);

    for (size_t i = 0; i < n; i++) {
        e[i] = tuple_get(args[0], i);
    }
    e[n] = args[1];
    return t;
}

static term_t list(struct process *p, term_t *args, unsigned argc)
{
    term_t l = TERM_EMPTY;

    if (!heap_reserve(p, (size_t)argc * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    for (unsigned i = argc; i-- > 0;) {
        l = heap_pair(p, args[i], l);
    }
    return l;
}

static term_t tuple(struct process *p, term_t *args, unsigned argc)
{
    term_t *e;

    if (!heap_reserve(p, TUPLE_WORDS(argc))) {
        return TERM_ERROR;
    }
    term_t t = heap_tuple(p, argc, &e);

    for (unsigned i = 0; i < argc; i++) {
        e[i] = args[i];
    }
    return t;
}

static term_t vector(struct process *p, term_t *args, unsigned argc)
{
    return vector_from_array(p, args, argc);
}

static term_t hash_map(struct process *p, term_t *args, unsigned argc)
{
    return argc % 2 != 0 ? raise_badarg(p, "hash-map", args, argc)
                         : map_from_array(p, args, argc / 2);
}

static term_t hash_set(struct process *p, term_t *args, unsigned argc)
{
    return set_from_array(p, args, argc);
}

/* A whole list into a tuple, vector, map or set: what literals with splices become. */
static term_t list_to_tuple(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    int64_t n = args[0] == TERM_NIL ? 0 : list_length(args[0]);
    term_t *e;

    if (n < 0) {
        return raise_type(p, "list->tuple", 0, KW(list), args[0]);
    }
    if (!heap_reserve(p, TUPLE_WORDS(n))) {
        return TERM_ERROR;
    }
    process_charge(p, (size_t)n / 8);
    term_t t = heap_tuple(p, (size_t)n, &e);

    for (term_t l = args[0]; term_is_list(l); l = pair_rest(l)) {
        *e++ = pair_head(l);
    }
    return t;
}

enum target {
    TO_VECTOR,
    TO_MAP,
    TO_SET
};

static term_t list_to(struct process *p, term_t *args, enum target to, const char *fn)
{
    int64_t n = args[0] == TERM_NIL ? 0 : list_length(args[0]);

    if (n < 0) {
        return raise_type(p, fn, 0, KW(list), args[0]);
    }
    if (to == TO_MAP && n % 2 != 0) {
        return raise_badarg(p, fn, args, 1);
    }
    process_charge(p, (size_t)n);
    term_t result = to == TO_VECTOR ? vector_empty(process_vm(p))
                    : to == TO_MAP  ? map_empty(process_vm(p))
                                    : set_empty(process_vm(p));
    term_t key = TERM_NIL;
    term_t value = TERM_NIL;
    struct root roots[3];

    root_push(p, &roots[0], &result);
    root_push(p, &roots[1], &key);
    root_push(p, &roots[2], &value);
    while (term_is_list(args[0]) && result != TERM_ERROR) {
        key = pair_head(args[0]);
        args[0] = pair_rest(args[0]);
        if (to == TO_MAP) {
            value = pair_head(args[0]);
            args[0] = pair_rest(args[0]);
        }
        term_t next = to == TO_VECTOR ? vector_append(p, &result, &key)
                      : to == TO_MAP  ? map_put(p, &result, &key, &value)
                                      : set_add(p, &result, &key);

        result = next;
    }
    root_pop(p, &roots[2]);
    root_pop(p, &roots[1]);
    root_pop(p, &roots[0]);
    return result;
}

static term_t list_to_vector(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return list_to(p, args, TO_VECTOR, "list->vector");
}

static term_t list_to_map(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return list_to(p, args, TO_MAP, "list->map");
}

static term_t list_to_set(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    return list_to(p, args, TO_SET, "list->set");
}

static term_t reverse(struct process *p, term_t *args, unsigned argc)
{
    (void)argc;
    term_t l = seq(p, args, 1);

    if (l == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[0] = l;
    int64_t n = list_length(l);

    if (n < 0) {
        return raise_type(p, "reverse", 0, KW(list), l);
    }
    if (!heap_reserve(p, (size_t)n * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    process_charge(p, (size_t)n / 8);
    term_t out = TERM_EMPTY;

    for (l = args[0]; term_is_list(l); l = pair_rest(l)) {
        out = heap_pair(p, pair_head(l), out);
    }
    return out;
}

/* (concat* part…): the parts' elements in one list; the last part is shared if it is a list. */
static term_t concat(struct process *p, term_t *args, unsigned argc)
{
    size_t total = 0;

    for (unsigned i = 0; i < argc; i++) {
        term_t l = seq(p, &args[i], 1);

        if (l == TERM_ERROR) {
            return TERM_ERROR;
        }
        args[i] = l;
        int64_t n = list_length(l);

        if (n < 0) {
            return raise_type(p, "concat", i, KW(list), l);
        }
        total += i + 1 < argc ? (size_t)n : 0;
    }
    if (!heap_reserve(p, total * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    process_charge(p, total / 8);
    term_t tail = argc == 0 ? TERM_EMPTY : args[argc - 1];

    if (total == 0) {
        return tail;
    }
    term_t *pairs = heap_take(p, total * PAIR_WORDS);
    size_t i = 0;

    for (unsigned k = 0; k + 1 < argc; k++) {
        for (term_t l = args[k]; term_is_list(l); l = pair_rest(l), i++) {
            pairs[2 * i] = pair_head(l);
            pairs[2 * i + 1] = i + 1 == total ? tail : term_from_pair(&pairs[2 * i + 2]);
        }
    }
    return term_from_pair(pairs);
}

static term_t apply(struct process *p, term_t *args, unsigned argc)
{
    term_t fn = args[0];

    if (!term_is_native(fn) && !term_has_tag(fn, TAG_FUN) && !term_has_tag(fn, TAG_CLOSURE) &&
        !term_is_keyword(fn) && !term_is_map(fn) && !term_is_tuple(fn)) {
        return raise_badarg(p, "apply", args, argc);
    }
    term_t l = seq(p, &args[argc - 1], 1);

    if (l == TERM_ERROR) {
        return TERM_ERROR;
    }
    args[argc - 1] = l;
    if (!heap_reserve(p, (size_t)argc * PAIR_WORDS)) {
        return TERM_ERROR;
    }
    l = args[argc - 1];
    for (unsigned i = argc - 1; i-- > 1;) {
        l = heap_pair(p, args[i], l);
    }
    return native_apply(p, args[0], l);
}

#define PURE (NATIVE_PURE | NATIVE_ALLOCATES)
#define ANY  NATIVE_VARIADIC

static const struct native rows[] = {
    { "lona.core", "first", first, 1, 1, PURE, 2, "(coll)", "First element, or nil." },
    { "lona.core", "rest", rest, 1, 1, PURE, 3, "(coll)", "List of all but the first element." },
    { "lona.core", "empty?", empty, 1, 1, NATIVE_PURE, 2, "(coll)", "Has it no elements?" },
    { "lona.core", "count", count, 1, 1, NATIVE_PURE, 2, "(coll)",
      "Number of elements; of bytes in a binary." },
    { "lona.core", "nth", nth, 2, 3, NATIVE_PURE, 3, "(c i)\n(c i default)", "Element i, from 0." },
    { "lona.core", "get", get, 2, 3, NATIVE_PURE, 3, "(m k)\n(m k default)",
      "Value of k in a map, element of a set." },
    { "lona.core", "contains?", contains, 2, 2, NATIVE_PURE, 3, "(m k)", "Has the map this key?" },
    { "lona.core", "put", put, 3, 3, PURE, 5, "(m k v)", "The map with k bound to v." },
    { "lona.core", "dissoc", dissoc, 1, ANY, PURE, 5, "(m k…)", "The map without the keys." },
    { "lona.core", "keys", keys, 1, 1, PURE, 3, "(m)", "List of keys." },
    { "lona.core", "vals", vals, 1, 1, PURE, 3, "(m)", "List of values." },
    { "lona.core", "prepend", prepend, 2, 2, PURE, 2, "(list x)", "The list with x in front." },
    { "lona.core", "append", append, 2, 2, PURE, 5, "(c x)",
      "The vector or tuple with x at its end." },
    { "lona.core", "set-add", add_to_set, 2, 2, PURE, 5, "(s x)", "The set with x." },
    { "lona.core", "set-remove", remove_from_set, 2, 2, PURE, 5, "(s x)", "The set without x." },
    { "lona.core", "list", list, 0, ANY, PURE, 2, "(x…)", "A list." },
    { "lona.core", "tuple", tuple, 0, ANY, PURE, 2, "(x…)", "A tuple." },
    { "lona.core", "vector", vector, 0, ANY, PURE, 2, "(x…)", "A vector." },
    { "lona.core", "hash-map", hash_map, 0, ANY, PURE, 5, "(k v…)", "A map; later keys win." },
    { "lona.core", "hash-set", hash_set, 0, ANY, PURE, 5, "(x…)", "A set." },
    { "lona.core", "seq", seq, 1, 1, PURE, 3, "(coll)", "The elements as a list." },
    { "lona.core", "reverse", reverse, 1, 1, PURE, 3, "(coll)",
      "The elements as a list, last first." },
    { "lona.core", "list->tuple", list_to_tuple, 1, 1, PURE, 3, "(list)",
      "A tuple of its elements." },
    { "lona.core", "list->vector", list_to_vector, 1, 1, PURE, 3, "(list)",
      "A vector of its elements." },
    { "lona.core", "list->map", list_to_map, 1, 1, PURE, 5, "(list)", "A map of k v k v…" },
    { "lona.core", "list->set", list_to_set, 1, 1, PURE, 5, "(list)", "A set of its elements." },
    { "lona.core", "concat*", concat, 0, ANY, PURE, 3, "(part…)",
      "One list of the parts' elements." },
    { "lona.core", "apply", apply, 2, ANY, NATIVE_ALLOCATES | NATIVE_YIELDS, 3, "(f a… seq)",
      "Call f with the arguments and the elements of seq." },
};

const struct native_table native_collection = { rows, array_size(rows) };
