/* SPDX-License-Identifier: Apache-2.0 */
#include <proc/script.h>

#include <core/string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void copy_word(char *to, const char *from, size_t length)
{
    memcpy(to, from, length);
    to[length] = '\0';
}

int script_parse(const char *head, size_t size, struct script_line *out)
{
    size_t at = 2;

    size = min_of(size, (size_t)SCRIPT_HEAD_SIZE);
    if (size < 2 || head[0] != '#' || head[1] != '!') {
        return 0;
    }
    const char *newline = memchr(head, '\n', size);
    const char *nul = memchr(head, '\0', size); /* the end of a file shorter than the buffer */
    bool is_whole = newline || nul || size < SCRIPT_HEAD_SIZE;
    size_t end = newline ? (size_t)(newline - head) : size;

    if (nul && (size_t)(nul - head) < end) {
        end = (size_t)(nul - head);
    }
    while (at < end && is_space(head[at])) {
        at++;
    }
    size_t start = at;

    while (at < end && !is_space(head[at])) {
        at++;
    }
    if (at == start || (at == end && !is_whole)) { /* no name, or one that may be cut */
        return -ENOEXEC;
    }
    copy_word(out->interpreter, head + start, at - start);
    while (at < end && is_space(head[at])) {
        at++;
    }
    while (end > at && is_space(head[end - 1])) {
        end--;
    }
    copy_word(out->argument, head + at, end - at);
    return 1;
}
