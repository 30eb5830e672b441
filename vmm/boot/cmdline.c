/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/cmdline.h"

#include <stdarg.h>
#include <string.h>

#include <base/fmt.h>

void cmdline_init(struct cmdline *c)
{
    c->text[0] = '\0';
    c->length = 0;
    c->has_overflowed = false;
    c->tail = NULL;
}

void cmdline_add(struct cmdline *c, const char *format, ...)
{
    size_t room = sizeof(c->text) - c->length;
    size_t space = c->length == 0 ? 0 : 1;
    size_t n = 0;
    va_list args;

    if (c->has_overflowed || room <= space) {
        c->has_overflowed = true;
        return;
    }
    va_start(args, format);
    n = fmt_vsnprintf(c->text + c->length + space, room - space, format, args);
    va_end(args);
    if (n == 0) {
        c->text[c->length] = '\0'; /* nothing to add: no trailing space either */
        return;
    }
    if (n >= room - space) {
        c->text[c->length] = '\0';
        c->has_overflowed = true;
        return;
    }
    if (space != 0) {
        c->text[c->length] = ' ';
    }
    c->length += space + n;
}

void cmdline_begin(struct cmdline *c, const char *line)
{
    const char *tail = strstr(line, " -- ");

    cmdline_add(c, "%.*s", (int)(tail == NULL ? strlen(line) : (size_t)(tail - line)), line);
    c->tail = tail == NULL ? NULL : tail + 1;
}

void cmdline_end(struct cmdline *c, const char *extra)
{
    cmdline_add(c, "%s", extra);
    if (c->tail != NULL) {
        cmdline_add(c, "%s", c->tail);
    }
}
