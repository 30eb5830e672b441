/* SPDX-License-Identifier: Apache-2.0 */
/* Line by line, with a stack of what is open. */
#include "reader/format.h"

#include "bounds.h"

struct open {
    char close;
    unsigned column; /* where lines inside begin */
};

struct format {
    const char *at;
    const char *end;
    print_out out;
    void *arg;
    unsigned column; /* of what is written next, from 0 */
    unsigned depth;
    bool in_string;
    struct open open[READ_DEPTH_MAX];
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static void put(struct format *f, const char *text, size_t n)
{
    f->out(f->arg, text, n);
    for (size_t i = 0; i < n; i++) {
        f->column += ((unsigned char)text[i] & 0xC0) != 0x80;
    }
}

static void new_line(struct format *f)
{
    f->out(f->arg, "\n", 1);
    f->column = 0;
}

static void indent(struct format *f)
{
    unsigned n = f->depth == 0 ? 0 : f->open[f->depth - 1].column;

    while (f->column < n) {
        put(f, " ", 1);
    }
}

static char closer_of(char c)
{
    if (c == '(') {
        return ')';
    }
    return (char)(c == '[' ? ']' : '}');
}

/* Does a name follow, so that what comes after it is a body? */
static bool name_follows(const struct format *f)
{
    static const char others[] = "()[]{}\"';,^`~#\\:%0123456789";

    if (f->at == f->end || is_blank(*f->at) || *f->at == '\n') {
        return false;
    }
    for (const char *o = others; *o != '\0'; o++) {
        if (*o == *f->at) {
            return false;
        }
    }
    return true;
}

static bool open_delimiter(struct format *f, char c)
{
    if (f->depth == READ_DEPTH_MAX) {
        return false;
    }
    unsigned extra = c == '(' && name_follows(f) ? 1 : 0;

    f->open[f->depth++] = (struct open){ closer_of(c), f->column + extra };
    return true;
}

static bool close_delimiter(struct format *f, char c)
{
    if (f->depth == 0 || f->open[f->depth - 1].close != c) {
        return false;
    }
    f->depth--;
    return true;
}

static const char *line_end(const struct format *f)
{
    const char *e = f->at;

    while (e < f->end && *e != '\n') {
        e++;
    }
    return e;
}

static const char *without_trailing(const char *from, const char *to)
{
    while (to > from && is_blank(to[-1])) {
        to--;
    }
    return to;
}

/* One character of the line, or an escape or comment as a whole. */
static bool step(struct format *f, const char *end)
{
    char c = *f->at;

    if ((c == '\\') && f->at + 1 < end) {
        put(f, f->at, 2);
        f->at += 2;
        return true;
    }
    if (c == ';' && !f->in_string) {
        put(f, f->at, (size_t)(end - f->at));
        f->at = end;
        return true;
    }
    put(f, f->at, 1);
    f->at++;
    if (c == '"') {
        f->in_string = !f->in_string;
        return true;
    }
    if (f->in_string) {
        return true;
    }
    if (c == '(' || c == '[' || c == '{') {
        return open_delimiter(f, c);
    }
    return (c != ')' && c != ']' && c != '}') || close_delimiter(f, c);
}

/* The text of a line; blanks at its end stay only inside a string. */
static bool put_line(struct format *f, const char *line)
{
    const char *end = without_trailing(f->at, line);

    while (f->at < (f->in_string ? line : end)) {
        if (!step(f, f->in_string ? line : end)) {
            return false;
        }
    }
    f->at = line;
    return true;
}

static void skip_blanks(struct format *f, const char *line)
{
    while (f->at < line && is_blank(*f->at)) {
        f->at++;
    }
}

bool format_text(const char *text, size_t size, print_out out, void *arg)
{
    struct format f = { .at = text, .end = text + size, .out = out, .arg = arg };
    bool empty = false; /* an empty line waits to be written */
    bool any = false;

    while (f.at < f.end) {
        const char *line = line_end(&f);

        if (!f.in_string) {
            skip_blanks(&f, line);
            if (f.at == line) {
                empty = any;
                f.at += f.at < f.end;
                continue;
            }
            if (empty) {
                new_line(&f);
            }
            empty = false;
            indent(&f);
        }
        any = true;
        if (!put_line(&f, line)) {
            return false;
        }
        f.at += f.at < f.end;
        new_line(&f);
    }
    return f.depth == 0 && !f.in_string;
}
