/* SPDX-License-Identifier: Apache-2.0 */
/* The text as characters with places: what all parts of the reader look at and pass over. */
#include "reader/reader_state.h"

static const struct {
    uint8_t lead_mask, lead, extra;
    uint32_t least;
} utf8_kinds[] = {
    { 0xE0, 0xC0, 1, 0x80 },
    { 0xF0, 0xE0, 2, 0x800 },
    { 0xF8, 0xF0, 3, 0x10000 },
};

/* Decode at r->at; *size gets the bytes. */
static int32_t decode(const struct reader *r, size_t *size)
{
    if (r->at == r->end) {
        *size = 0;
        return CHAR_END;
    }
    uint8_t b = *r->at;

    *size = 1;
    if (b < 0x80) {
        return b;
    }
    for (unsigned k = 0; k < 3; k++) {
        unsigned extra = utf8_kinds[k].extra;

        if ((b & utf8_kinds[k].lead_mask) != utf8_kinds[k].lead) {
            continue;
        }
        if ((size_t)(r->end - r->at) <= extra) {
            return CHAR_INVALID;
        }
        uint32_t c = b & (uint8_t)~utf8_kinds[k].lead_mask;

        for (unsigned i = 1; i <= extra; i++) {
            if ((r->at[i] & 0xC0) != 0x80) {
                return CHAR_INVALID;
            }
            c = c << 6 | (r->at[i] & 0x3F);
        }
        if (c < utf8_kinds[k].least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
            return CHAR_INVALID;
        }
        *size = extra + 1;
        return (int32_t)c;
    }
    return CHAR_INVALID;
}

int32_t reader_peek(const struct reader *r)
{
    size_t size;

    return decode(r, &size);
}

void reader_advance(struct reader *r)
{
    size_t size;
    int32_t c = decode(r, &size);

    r->at += size;
    if (c == '\n') {
        r->here.line++;
        r->here.column = 1;
    } else if (size != 0) {
        r->here.column++;
    }
}

int32_t reader_byte(const struct reader *r, size_t ahead)
{
    return (size_t)(r->end - r->at) > ahead ? r->at[ahead] : CHAR_END;
}

bool char_is_digit(int32_t c)
{
    return c >= '0' && c <= '9';
}

/* Unicode White_Space. */
bool char_is_space(int32_t c)
{
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

bool char_ends_token(int32_t c)
{
    switch (c) {
    case CHAR_END:
    case '(':
    case ')':
    case '[':
    case ']':
    case '{':
    case '}':
    case '"':
    case '\'':
    case ';':
    case ',':
    case '^':
        return true;
    default:
        return char_is_space(c);
    }
}

bool char_is_name_start(int32_t c)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        return true;
    }
    switch (c) {
    case '!':
    case '$':
    case '&':
    case '*':
    case '+':
    case '-':
    case '.':
    case '/':
    case '<':
    case '=':
    case '>':
    case '?':
    case '_':
        return true;
    default:
        return c > 0x9F && !char_is_space(c);
    }
}

bool buffer_put_byte(struct reader *r, uint8_t b)
{
    struct byte_buffer *buffer = &r->buffer;

    if (buffer->count == buffer->capacity) {
        size_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity * 2;
        uint8_t *bytes = vm_alloc(r->vm, capacity);

        if (bytes == NULL) {
            (void)raise_oom(r->p);
            return false;
        }
        if (buffer->count != 0) {
            __builtin_memcpy(bytes, buffer->bytes, buffer->count);
        }
        vm_free(r->vm, buffer->bytes, buffer->capacity);
        buffer->bytes = bytes;
        buffer->capacity = capacity;
    }
    buffer->bytes[buffer->count++] = b;
    return true;
}

bool buffer_put_char(struct reader *r, uint32_t c)
{
    if (c < 0x80) {
        return buffer_put_byte(r, (uint8_t)c);
    }
    unsigned extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    bool ok = buffer_put_byte(r, (uint8_t)(utf8_kinds[extra - 1].lead | c >> 6 * extra));

    while (ok && extra-- > 0) {
        ok = buffer_put_byte(r, (uint8_t)(0x80 | (c >> 6 * extra & 0x3F)));
    }
    return ok;
}
