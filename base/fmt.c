/* SPDX-License-Identifier: Apache-2.0 */
/* printf formatting; see the header. One pass, one output cursor. */

#include <base/assert.h>
#include <base/fmt.h>

struct out {
    char *buf;
    size_t size;
    size_t length; /* of the whole text; may pass size */
};

struct spec {
    bool left;
    bool zero;
    bool plus;
    bool space;
    bool alt;
    bool has_precision;
    size_t width;
    size_t precision;
    char length; /* 'H' for hh, 'h', 'l', 'L' for ll, 'z', 't', 'j', or 0 */
};

static void put(struct out *o, char c)
{
    if (o->length + 1 < o->size) {
        o->buf[o->length] = c;
    }
    o->length++;
}

static void put_repeated(struct out *o, char c, size_t count)
{
    while (count-- > 0) {
        put(o, c);
    }
}

static void put_padded(struct out *o, const struct spec *s, const char *text, size_t length)
{
    size_t pad = s->width > length ? s->width - length : 0;

    put_repeated(o, ' ', s->left ? 0 : pad);
    for (size_t i = 0; i < length; i++) {
        put(o, text[i]);
    }
    put_repeated(o, ' ', s->left ? pad : 0);
}

static void put_number(struct out *o, const struct spec *s, uint64_t value, unsigned base,
                       bool upper, const char *prefix)
{
    const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    size_t n = 0;
    size_t prefix_length = 0;
    size_t zeros;
    size_t total;

    assert(base >= 8 && base <= 16);
    for (uint64_t v = value; v != 0; v /= base) {
        text[n++] = digits[v % base];
    }
    if (n == 0 && !(s->has_precision && s->precision == 0)) {
        text[n++] = '0';
    }
    while (prefix[prefix_length]) {
        prefix_length++;
    }
    zeros = s->has_precision && s->precision > n ? s->precision - n : 0;
    total = prefix_length + zeros + n;
    if (s->zero && !s->left && !s->has_precision && s->width > total) {
        zeros += s->width - total;
        total = s->width;
    }
    put_repeated(o, ' ', !s->left && s->width > total ? s->width - total : 0);
    for (size_t i = 0; i < prefix_length; i++) {
        put(o, prefix[i]);
    }
    put_repeated(o, '0', zeros);
    while (n > 0) {
        put(o, text[--n]);
    }
    put_repeated(o, ' ', s->left && s->width > total ? s->width - total : 0);
}

static size_t parse_count(const char **p)
{
    size_t n = 0;

    while (**p >= '0' && **p <= '9') {
        n = n * 10 + (size_t)(**p - '0');
        (*p)++;
    }
    return n;
}

static void parse_flags(const char **p, struct spec *s)
{
    for (;; (*p)++) {
        switch (**p) {
        case '-':
            s->left = true;
            break;
        case '0':
            s->zero = true;
            break;
        case '+':
            s->plus = true;
            break;
        case ' ':
            s->space = true;
            break;
        case '#':
            s->alt = true;
            break;
        default:
            return;
        }
    }
}

static void parse_length(const char **p, struct spec *s)
{
    char c = **p;

    if (c == 'h' || c == 'l' || c == 'z' || c == 't' || c == 'j') {
        (*p)++;
        s->length = c;
        if ((c == 'h' || c == 'l') && **p == c) {
            (*p)++;
            s->length = c == 'h' ? 'H' : 'L';
        }
    }
}

/* va_list must be passed by pointer to be advanced for the caller, which an array type needs
 * wrapped. */
struct args {
    va_list list;
};

static int64_t next_signed(struct args *a, char length)
{
    switch (length) {
    case 'H':
        return (signed char)va_arg(a->list, int);
    case 'h':
        return (short)va_arg(a->list, int);
    case 'l':
    case 'L':
    case 'z':
    case 't':
    case 'j':
        return va_arg(a->list, int64_t);
    default:
        return va_arg(a->list, int);
    }
}

static uint64_t next_unsigned(struct args *a, char length)
{
    switch (length) {
    case 'H':
        return (unsigned char)va_arg(a->list, unsigned);
    case 'h':
        return (unsigned short)va_arg(a->list, unsigned);
    case 'l':
    case 'L':
    case 'z':
    case 't':
    case 'j':
        return va_arg(a->list, uint64_t);
    default:
        return va_arg(a->list, unsigned);
    }
}

static void put_string(struct out *o, const struct spec *s, const char *text)
{
    size_t n = 0;

    text = text ? text : "(null)";
    while ((!s->has_precision || n < s->precision) && text[n]) {
        n++;
    }
    put_padded(o, s, text, n);
}

static void put_signed(struct out *o, const struct spec *s, int64_t v)
{
    const char *prefix = v < 0 ? "-" : s->plus ? "+" : s->space ? " " : "";

    put_number(o, s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, false, prefix);
}

static void put_conversion(struct out *o, const struct spec *s, char c, struct args *a)
{
    char one;
    uint64_t v;

    switch (c) {
    case 'd':
    case 'i':
        put_signed(o, s, next_signed(a, s->length));
        break;
    case 'u':
        put_number(o, s, next_unsigned(a, s->length), 10, false, "");
        break;
    case 'o':
        put_number(o, s, next_unsigned(a, s->length), 8, false, s->alt ? "0" : "");
        break;
    case 'x':
    case 'X':
        v = next_unsigned(a, s->length);
        put_number(o, s, v, 16, c == 'X', s->alt && v ? (c == 'X' ? "0X" : "0x") : "");
        break;
    case 'p':
        put_number(o, s, (uint64_t)(uintptr_t)va_arg(a->list, void *), 16, false, "0x");
        break;
    case 'c':
        one = (char)va_arg(a->list, int);
        put_padded(o, s, &one, 1);
        break;
    case 's':
        put_string(o, s, va_arg(a->list, const char *));
        break;
    default:
        put(o, '%');
        if (c != '%') {
            put(o, c);
        }
        break;
    }
}

size_t fmt_vsnprintf(char *buf, size_t size, const char *format, va_list args)
{
    struct out o = { .buf = buf, .size = size };
    struct args a;

    va_copy(a.list, args);
    for (const char *p = format; *p; p++) {
        struct spec s = { 0 };

        if (*p != '%') {
            put(&o, *p);
            continue;
        }
        p++;
        parse_flags(&p, &s);
        if (*p == '*') {
            int w = va_arg(a.list, int);

            s.left = s.left || w < 0;
            s.width = (size_t)(w < 0 ? -(int64_t)w : w);
            p++;
        } else {
            s.width = parse_count(&p);
        }
        if (*p == '.') {
            p++;
            s.has_precision = true;
            if (*p == '*') {
                int n = va_arg(a.list, int);

                s.has_precision = n >= 0;
                s.precision = n >= 0 ? (size_t)n : 0;
                p++;
            } else {
                s.precision = parse_count(&p);
            }
        }
        parse_length(&p, &s);
        if (!*p) {
            break;
        }
        put_conversion(&o, &s, *p, &a);
    }
    va_end(a.list);
    if (size > 0) {
        buf[o.length < size ? o.length : size - 1] = '\0';
    }
    return o.length;
}

size_t fmt_snprintf(char *buf, size_t size, const char *format, ...)
{
    va_list args;
    size_t n;

    va_start(args, format);
    n = fmt_vsnprintf(buf, size, format, args);
    va_end(args);
    return n;
}
