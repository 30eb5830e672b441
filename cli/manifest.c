/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest: one table of keys; everything else follows from it. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "manifest.h"
#include "toml.h"

enum key_kind {
    KEY_TEXT,
    KEY_INTEGER,
    KEY_LIST, /* of strings */
};

/* A check beyond the type: NULL when the text is right, otherwise what it has to be. */
typedef const char *(*text_check_fn)(const char *text);

struct manifest_key {
    const char *table;
    const char *name;
    enum key_kind kind;
    size_t offset;     /* in struct manifest */
    size_t has_offset; /* of a bool that says "given"; 0: none */
    int64_t min;
    int64_t max;
    text_check_fn check; /* of the text, or of each text of a list */
};

/* ---- Checks of single values ------------------------------------------------------------------
 */

static const char *check_name(const char *s)
{
    static const char rule[] = "1 to 63 of a-z, 0-9 and -, not beginning with -";
    size_t size = strlen(s);

    if (size < 1 || size > 63 || *s == '-') {
        return rule;
    }
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == size ? NULL : rule;
}

static const char *const language_names[] = { "python", "c", "linux-elf", NULL };

static const char *check_language(const char *s)
{
    for (size_t i = 0; language_names[i]; i++) {
        if (strcmp(s, language_names[i]) == 0) {
            return NULL;
        }
    }
    return "python, c or linux-elf";
}

static const char *check_entry(const char *s)
{
    static const char rule[] = "a path inside the project, without ..";
    const char *part = s;

    if (*s == '\0' || *s == '/' || strlen(s) > 255) {
        return rule;
    }
    for (;;) {
        size_t size = strcspn(part, "/");

        if (size == 2 && strncmp(part, "..", 2) == 0) {
            return rule;
        }
        if (part[size] == '\0') {
            return NULL;
        }
        part += size + 1;
    }
}

static const char *check_base(const char *s)
{
    static const char rule[] = "a Python version like python-3.11, or debian";

    if (strcmp(s, "debian") == 0 || *s == '\0') {
        return NULL;
    }
    if (strncmp(s, "python-3.", 9) != 0) {
        return rule;
    }
    size_t digits = strspn(s + 9, "0123456789");

    return digits > 0 && digits < 4 && s[9 + digits] == '\0' ? NULL : rule;
}

/* Debian policy 5.6.1; no "=version", no leading "-", so that apt-get sees only names. */
static const char *check_package(const char *s)
{
    static const char rule[] = "Debian package names such as \"python3\"";
    size_t size = strlen(s);
    size_t first = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789");

    if (size < 2 || size > 128 || first == 0) {
        return rule;
    }
    /* A trailing + or - means something to apt-get: g++ is a name, "foo-" is a removal. */
    if (s[size - 1] == '-') {
        return rule;
    }
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.") == size ? NULL : rule;
}

static const char *check_net(const char *s)
{
    if (strcmp(s, "none") == 0 || strcmp(s, "tap") == 0) {
        return NULL;
    }
    if (strncmp(s, "tap:", 4) == 0 && s[4] != '\0' && strlen(s + 4) <= 15 &&
        !strpbrk(s + 4, "/ \t")) {
        return NULL;
    }
    return "none, tap or tap:INTERFACE";
}

static const char *check_printable(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e) {
            return "printable ASCII";
        }
    }
    return NULL;
}

static const char *check_cap(const char *s)
{
    static const char *const names[] = {
        "log", "time", "task", "mem", "io", "ipc", "net", "trace"
    };

    for (size_t i = 0; i < array_size(names); i++) {
        if (strcmp(s, names[i]) == 0) {
            return NULL;
        }
    }
    return "of log, time, task, mem, io, ipc, net, trace";
}

static const char *check_ipv4(const char *s)
{
    static const char rule[] = "an IPv4 address such as 172.16.0.2";

    for (unsigned part = 0; part < 4; part++) {
        size_t digits = strspn(s, "0123456789");

        if (digits == 0 || digits > 3 || strtoul(s, NULL, 10) > 255) {
            return rule;
        }
        s += digits;
        if (*s != (part < 3 ? '.' : '\0')) {
            return rule;
        }
        s += part < 3;
    }
    return NULL;
}

static const char *check_mac(const char *s)
{
    static const char rule[] = "a hardware address such as 06:00:ac:10:00:02";

    if (strlen(s) != 17) {
        return rule;
    }
    for (size_t i = 0; i < 17; i++) {
        bool is_right = i % 3 == 2 ? s[i] == ':' : strchr("0123456789abcdefABCDEF", s[i]) != NULL;

        if (!is_right) {
            return rule;
        }
    }
    return NULL;
}

/* ---- The table ---------------------------------------------------------------------------------
 */

#define AT(field) offsetof(struct manifest, field)

static const struct manifest_key keys[] = {
    { "project", "name", KEY_TEXT, AT(name), 0, 0, 0, check_name },
    { "project", "language", KEY_TEXT, AT(language_name), 0, 0, 0, check_language },
    { "project", "entry", KEY_TEXT, AT(entry), 0, 0, 0, check_entry },
    { "env", "base", KEY_TEXT, AT(env_base), 0, 0, 0, check_base },
    { "env", "packages", KEY_LIST, AT(packages), AT(has_packages), 0, 256, check_package },
    { "build", "adapter", KEY_TEXT, AT(adapter), 0, 0, 0, check_language },
    { "run", "vcpu", KEY_INTEGER, AT(vcpus), 0, 1, 32, NULL },
    { "run", "memory_mb", KEY_INTEGER, AT(memory_mib), 0, 4, 16384, NULL },
    { "run", "timeout_s", KEY_INTEGER, AT(timeout_s), 0, 0, 31536000, NULL },
    { "run", "net", KEY_TEXT, AT(net), 0, 0, 0, check_net },
    { "run", "kernel_args", KEY_TEXT, AT(kernel_args), 0, 0, 0, check_printable },
    { "caps", "allow", KEY_LIST, AT(caps), AT(has_caps), 0, 8, check_cap },
    { "net", "ip", KEY_TEXT, AT(net_ip), 0, 0, 0, check_ipv4 },
    { "net", "gateway", KEY_TEXT, AT(net_gateway), 0, 0, 0, check_ipv4 },
    { "net", "mask", KEY_TEXT, AT(net_mask), 0, 0, 0, check_ipv4 },
    { "net", "mac", KEY_TEXT, AT(net_mac), 0, 0, 0, check_mac },
    { "limits", "heap_mb", KEY_INTEGER, AT(limit_heap_mib), 0, 1, 16384, NULL },
    { "limits", "tasks", KEY_INTEGER, AT(limit_tasks), 0, 1, 1000000, NULL },
    { "limits", "handles", KEY_INTEGER, AT(limit_handles), 0, 32, 16777216, NULL },
};

#undef AT

/* ---- From the tree to the manifest -------------------------------------------------------------
 */

struct reader {
    const char *file;
    char *error;
    size_t error_size;
};

static int refuse(const struct reader *r, uint32_t line, const char *format, ...) PRINTF_LIKE(3, 4);

static int refuse(const struct reader *r, uint32_t line, const char *format, ...)
{
    char text[300];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)snprintf(r->error, r->error_size, "%s:%u: %s", r->file, line, text);
    /* The text may quote the manifest, whose strings may hold anything: keep it on one line. */
    for (char *c = r->error; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = '?';
        }
    }
    return -1;
}

static const struct manifest_key *find_key(const char *table, const char *name)
{
    for (size_t i = 0; i < array_size(keys); i++) {
        if (strcmp(keys[i].table, table) == 0 && strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

/* The tables (table NULL), or the keys of one table, as a list for nearest_word(). */
static const char *nearest_key(const char *table, const char *word)
{
    const char *words[array_size(keys) + 1] = { NULL };
    size_t count = 0;

    for (size_t i = 0; i < array_size(keys); i++) {
        if (!table) {
            words[count++] = keys[i].table;
        } else if (strcmp(keys[i].table, table) == 0) {
            words[count++] = keys[i].name;
        }
    }
    return nearest_word(word, words);
}

static int refuse_unknown(const struct reader *r, const struct toml_entry *e, const char *table)
{
    const char *near = nearest_key(table, e->key.data);
    const char *kind = table ? "key" : e->value.type == TOML_TABLE ? "table" : "key";

    if (near) {
        return refuse(r, e->line, "unknown %s \"%s%s%.64s\" (did you mean \"%s\"?)", kind,
                      table ? table : "", table ? "." : "", e->key.data, near);
    }
    return refuse(r, e->line, "unknown %s \"%s%s%.64s\" (the man page ukernel.toml(5) lists them)",
                  kind, table ? table : "", table ? "." : "", e->key.data);
}

static int check_text(const struct reader *r, const struct manifest_key *key,
                      const struct toml_value *v)
{
    if (v->type != TOML_STRING) {
        return refuse(r, v->line, "%s.%s: expected a string, not %s", key->table, key->name,
                      toml_type_name(v->type));
    }
    if (strlen(v->text.data) != v->text.size) {
        return refuse(r, v->line, "%s.%s: a NUL byte is not allowed", key->table, key->name);
    }
    const char *rule = key->check ? key->check(v->text.data) : NULL;

    if (rule) {
        return refuse(r, v->line, "%s.%s = \"%.64s\": expected %s", key->table, key->name,
                      v->text.data, rule);
    }
    return 0;
}

static int read_list(const struct reader *r, const struct manifest_key *key,
                     const struct toml_value *v, struct strings *out)
{
    if (v->type != TOML_ARRAY) {
        return refuse(r, v->line, "%s.%s: expected an array of strings, not %s", key->table,
                      key->name, toml_type_name(v->type));
    }
    if (v->array->count > (size_t)key->max) {
        return refuse(r, v->line, "%s.%s: more than %lld items", key->table, key->name,
                      (long long)key->max);
    }
    for (size_t i = 0; i < v->array->count; i++) {
        const struct toml_value *item = &v->array->values[i];

        if (check_text(r, key, item) < 0) {
            return -1;
        }
        strings_add(out, item->text.data);
    }
    return 0;
}

static int read_key(const struct reader *r, const struct manifest_key *key,
                    const struct toml_value *v, struct manifest *m)
{
    void *field = (char *)m + key->offset;

    if (key->has_offset) {
        *(bool *)((char *)m + key->has_offset) = true;
    }
    switch (key->kind) {
    case KEY_LIST:
        return read_list(r, key, v, field);
    case KEY_INTEGER:
        if (v->type != TOML_INTEGER) {
            return refuse(r, v->line, "%s.%s: expected an integer, not %s", key->table, key->name,
                          toml_type_name(v->type));
        }
        if (v->integer < key->min || v->integer > key->max) {
            return refuse(r, v->line, "%s.%s = %lld: must be from %lld to %lld", key->table,
                          key->name, (long long)v->integer, (long long)key->min,
                          (long long)key->max);
        }
        *(int64_t *)field = v->integer;
        return 0;
    case KEY_TEXT:
        if (check_text(r, key, v) < 0) {
            return -1;
        }
        free(*(char **)field);
        *(char **)field = text_copy(v->text.data);
        return 0;
    }
    return -1;
}

static int read_tables(const struct reader *r, const struct toml_table *root, struct manifest *m)
{
    for (const struct toml_entry *t = root->first; t; t = t->next) {
        bool is_known = false;

        for (size_t i = 0; i < array_size(keys); i++) {
            is_known = is_known || strcmp(keys[i].table, t->key.data) == 0;
        }
        if (!is_known) {
            return refuse_unknown(r, t, NULL);
        }
        if (t->value.type != TOML_TABLE) {
            return refuse(r, t->line, "\"%s\" must be a table, not %s", t->key.data,
                          toml_type_name(t->value.type));
        }
        for (const struct toml_entry *e = t->value.table->first; e; e = e->next) {
            const struct manifest_key *key = find_key(t->key.data, e->key.data);

            if (!key || strlen(e->key.data) != e->key.size) {
                return refuse_unknown(r, e, t->key.data);
            }
            if (read_key(r, key, &e->value, m) < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static void set_default(char **field, const char *value)
{
    if (!*field) {
        *field = text_copy(value);
    }
}

/* What is not given; the entry and the packages depend on the language. */
static void set_defaults(struct manifest *m)
{
    set_default(&m->language_name, "python");
    m->language = LANGUAGE_LINUX_ELF;
    if (strcmp(m->language_name, "python") == 0) {
        m->language = LANGUAGE_PYTHON;
    } else if (strcmp(m->language_name, "c") == 0) {
        m->language = LANGUAGE_C;
    }
    set_default(&m->entry, m->language == LANGUAGE_PYTHON ? "src/main.py"
                           : m->language == LANGUAGE_C    ? "src/main.c"
                                                          : "bin/main");
    set_default(&m->env_base, "");
    set_default(&m->adapter, m->language_name);
    set_default(&m->net, "none");
    set_default(&m->kernel_args, "");
    if (m->language == LANGUAGE_PYTHON && !m->has_packages) {
        strings_add(&m->packages, "python3");
    }
}

int manifest_parse(const char *file, const char *text, size_t size, const char *fallback_name,
                   struct manifest *out, char *error, size_t error_size)
{
    struct reader r = { file, error, error_size };
    struct toml_error syntax = { 0 };
    struct toml_document *doc = toml_parse(text, size, &syntax);

    *out = (struct manifest){ .vcpus = 1, .memory_mib = 256 };
    if (!doc) {
        (void)snprintf(error, error_size, "%s:%u:%u: %s", file, syntax.line, syntax.column,
                       syntax.text);
        return -1;
    }
    int err = read_tables(&r, toml_root(doc), out);

    toml_free(doc);
    if (err == 0 && !out->name) {
        const char *rule = check_name(fallback_name);

        if (rule) {
            err = refuse(&r, 1,
                         "project.name is missing, and the directory's name cannot stand in: "
                         "it must be %s",
                         rule);
        } else {
            out->name = text_copy(fallback_name);
        }
    }
    if (err < 0) {
        manifest_free(out);
        return err;
    }
    set_defaults(out);
    return 0;
}

bool manifest_is_here(void)
{
    return access(MANIFEST_NAME, F_OK) == 0;
}

int manifest_load(struct manifest *out)
{
    CLEANUP_BUFFER text = { 0 };
    CLEANUP_FREE char *dir = getcwd(NULL, 0);
    const char *base = dir ? strrchr(dir, '/') : NULL;
    char error[512];
    int err = file_read(MANIFEST_NAME, MANIFEST_SIZE_MAX, &text);

    *out = (struct manifest){ 0 };
    if (err == -ENOENT) {
        return complain(STATUS_FAILED,
                        "no %s here: change to a project or make one with drupe init",
                        MANIFEST_NAME);
    }
    if (err == -EFBIG) {
        return complain(STATUS_USAGE, "%s: larger than %zu bytes", MANIFEST_NAME,
                        MANIFEST_SIZE_MAX);
    }
    if (err < 0) {
        return complain(STATUS_FAILED, "%s: cannot be read: %s", MANIFEST_NAME, strerror(-err));
    }
    if (manifest_parse(MANIFEST_NAME, text.data ? text.data : "", text.size, base ? base + 1 : "",
                       out, error, sizeof(error)) < 0) {
        return complain(STATUS_USAGE, "%s", error);
    }
    return 0;
}

void manifest_free(struct manifest *m)
{
    char *texts[] = { m->name,        m->language_name, m->entry,       m->env_base,
                      m->adapter,     m->net,           m->kernel_args, m->net_ip,
                      m->net_gateway, m->net_mask,      m->net_mac };

    for (size_t i = 0; i < array_size(texts); i++) {
        free(texts[i]);
    }
    strings_free(&m->packages);
    strings_free(&m->caps);
    *m = (struct manifest){ 0 };
}
