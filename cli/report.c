/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that talks to the user about errors and progress. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define LINE_SIZE_MAX 1024

static bool is_progress_shown;

/* Written in one piece, so that lines of several processes on one terminal do not mix. */
static void write_line(const char *prefix, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void write_line(const char *prefix, const char *format, va_list args)
{
    char line[LINE_SIZE_MAX];
    size_t used = (size_t)snprintf(line, sizeof(line), "%s", prefix);
    int length = vsnprintf(line + used, sizeof(line) - used - 1, format, args);

    if (length < 0) {
        length = 0;
    }
    used = min_of(used + (size_t)length, sizeof(line) - 2);
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[used++] = '\n';
    (void)fflush(stdout);
    (void)!write(STDERR_FILENO, line, used);
}

void progress_end(void)
{
    if (is_progress_shown) {
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
        is_progress_shown = false;
    }
}

static const char *running = "drupe";

const char *verb_running(void)
{
    return running;
}

void verb_set_running(const char *name)
{
    running = name;
}

int complain(int status, const char *format, ...)
{
    va_list args;

    progress_end();
    va_start(args, format);
    write_line("drupe: ", format, args);
    va_end(args);
    return status;
}

void warn(const char *format, ...)
{
    va_list args;

    progress_end();
    va_start(args, format);
    write_line("drupe: warning: ", format, args);
    va_end(args);
}

void note(const char *format, ...)
{
    va_list args;

    progress_end();
    va_start(args, format);
    write_line("", format, args);
    va_end(args);
}

void progress(const char *format, ...)
{
    static int is_terminal = -1;
    char line[128];
    va_list args;

    if (is_terminal < 0) {
        const char *term = getenv("TERM");

        is_terminal = isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0);
    }
    if (!is_terminal) {
        return;
    }
    va_start(args, format);
    int length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (length < 0) {
        return;
    }
    (void)!write(STDERR_FILENO, "\r\033[K", 4);
    (void)!write(STDERR_FILENO, line, min_of((size_t)length, sizeof(line) - 1));
    is_progress_shown = true;
}

/* Levenshtein distance, cut off: words longer than the table never match. */
static unsigned edit_distance(const char *a, const char *b)
{
    enum {
        WORD_MAX = 32
    };

    unsigned row[WORD_MAX + 1];
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);

    if (a_size > WORD_MAX || b_size > WORD_MAX) {
        return UINT32_MAX;
    }
    for (unsigned j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= b_size; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            row[j] = min_of(change, min_of(row[j] + 1, row[j - 1] + 1));
        }
    }
    return row[b_size];
}

const char *nearest_word(const char *word, const char *const *words)
{
    const char *best = NULL;
    unsigned best_distance = 3; /* more than two slips is another word */

    for (; *words; words++) {
        unsigned distance = edit_distance(word, *words);

        if (distance < best_distance && distance < strlen(*words)) {
            best = *words;
            best_distance = distance;
        }
    }
    return best;
}
