/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REPL. Each input runs in a process of its own, so that nothing it does can take the prompt
 * away; namespace and results (*1 *2 *3 *e) are carried from one to the next.
 *
 * SIGINT is blocked in every thread. While a line is edited Ctrl-C is an ordinary key, which drops
 * the input; while an input runs, one thread waits for the signal and interrupts the run.
 */
#include <histedit.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complete.h"
#include "program.h"

static const char prompt_first[] = "lona> ";
static const char prompt_more[] = "..... ";

enum {
    HISTORY_LINES = 1000
};

struct repl {
    struct vm *vm;
    EditLine *edit; /* NULL: standard input is no terminal */
    History *history;
    char *history_file;
    bool more; /* the input so far is incomplete */
    bool cancelled;
    struct text input;
    unsigned number; /* of the input */
    char file[32];   /* its name in places: an error may lie in an earlier one */
    struct evaluation evaluation;
};

/* ---- interrupts ---- */

static void *wait_for_interrupts(void *arg)
{
    sigset_t set;
    int got;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    while (sigwait(&set, &got) == 0) {
        vm_interrupt(arg);
    }
    return NULL;
}

/* ---- one input ---- */

static unsigned line_count(const char *text, size_t n)
{
    unsigned lines = 1;

    for (size_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

/* The line of the input that an error names, and a caret under its column. */
static void show_caret(const struct text *input, struct place at)
{
    const char *line = input->bytes;
    const char *end = input->bytes + input->size;

    if (at.line == 0 || at.column == 0 || at.line > line_count(input->bytes, input->size)) {
        return;
    }
    for (uint32_t i = 1; i < at.line; i++) {
        line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
    }
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    size_t n = (size_t)((stop == NULL ? end : stop) - line);

    (void)fprintf(stderr, "  %.*s\n  ", (int)(n > 1000 ? 1000 : n), line);
    const char *c = line;

    /* Tabs stay tabs, so that the caret stands right; continuation bytes take no column. */
    for (uint32_t column = 1; column < at.column && c < line + n && c < line + 1000; column++) {
        (void)fputc(*c == '\t' ? '\t' : ' ', stderr);
        do {
            c++;
        } while (c < line + n && ((unsigned char)*c & 0xC0) == 0x80);
    }
    (void)fputs("^\n", stderr);
}

/* (doc NAME) is answered here: it has to work before any library does. */
static bool try_doc(struct repl *r)
{
    const char *s = r->input.bytes;
    char name[256];
    int used = 0;

    if (sscanf(s, " (doc %255[^] \t\n()[{}\"] ) %n", name, &used) != 1 || used == 0 ||
        s[used] != '\0') {
        return false;
    }
    if (!show_doc(r->vm, r->evaluation.ns, name)) {
        (void)printf("nothing is known about %s\n", name);
    }
    return true;
}

static bool is_incomplete(struct repl *r)
{
    struct evaluation e = r->evaluation;
    struct outcome o;

    e.source = (struct source){
        .text = r->input.bytes, .size = r->input.size, .file = r->file, .here = { 1, 1 }
    };
    e.only_read = true;
    e.keep_results = false;
    evaluate(&e, &o);
    outcome_deinit(&o);
    return o.incomplete;
}

static bool is_blank(const struct text *t)
{
    return t->size == 0 || t->bytes[strspn(t->bytes, " \t\r\n")] == '\0';
}

static int run_input(struct repl *r)
{
    struct outcome o;

    if (is_blank(&r->input) || try_doc(r)) {
        return 0;
    }
    (void)snprintf(r->file, sizeof(r->file), "<input %u>", ++r->number);
    r->evaluation.source = (struct source){
        .text = r->input.bytes, .size = r->input.size, .file = r->file, .here = { 1, 1 }
    };
    evaluate(&r->evaluation, &o);
    int status = o.status;

    if (status == 0) {
        (void)printf("%s\n", o.printed.bytes == NULL ? "" : o.printed.bytes);
    } else {
        if (o.error_file != NULL) {
            show_caret(&r->input, o.error);
        }
        (void)fprintf(stderr, "Error: %s\n", o.printed.bytes);
    }
    (void)fflush(stdout);
    outcome_deinit(&o);
    return status;
}

/* ---- the line editor ---- */

static struct repl *repl_of(EditLine *edit)
{
    struct repl *r = NULL;

    (void)el_get(edit, EL_CLIENTDATA, (void *)&r);
    return r;
}

static char *prompt(EditLine *edit)
{
    static char text[sizeof(prompt_first)];

    memcpy(text, repl_of(edit)->more ? prompt_more : prompt_first, sizeof(text));
    return text;
}

/* Ctrl-C while editing: drop the input. */
static unsigned char cancel(EditLine *edit, int key)
{
    (void)key;
    repl_of(edit)->cancelled = true;
    (void)fputs("^C\n", stdout);
    (void)fflush(stdout);
    return CC_EOF; /* ends el_gets() with no line */
}

/* Tab: complete the name before the cursor, or show what it could become. */
static unsigned char complete(EditLine *edit, int key)
{
    struct repl *r = repl_of(edit);
    const LineInfo *line = el_line(edit);
    const char *start = line->cursor;

    (void)key;
    while (start > line->buffer && is_name_byte(start[-1])) {
        start--;
    }
    struct text common = { 0 };
    struct text list = { 0 };
    size_t n = (size_t)(line->cursor - start);
    unsigned found = complete_name(r->vm, r->evaluation.ns, start, n, &common, &list);
    unsigned char result = CC_ERROR;

    if (found > 0 && common.size > n) {
        result = el_insertstr(edit, common.bytes + n) == 0 ? CC_REFRESH : CC_ERROR;
    }
    if (found == 1 && result == CC_REFRESH) {
        (void)el_insertstr(edit, " ");
    } else if (found > 1 && result != CC_REFRESH) {
        (void)printf("\n%s\n", list.bytes);
        result = CC_REDISPLAY;
    }
    text_deinit(&common);
    text_deinit(&list);
    return result;
}

static char *history_path(void)
{
    const char *given = getenv("LONA_HISTORY");
    const char *home = getenv("HOME");
    char *path = NULL;

    if (given != NULL) {
        return *given == '\0' ? NULL : strdup(given);
    }
    return home != NULL && asprintf(&path, "%s/.lona_history", home) >= 0 ? path : NULL;
}

static bool editor_open(struct repl *r)
{
    HistEvent event;

    r->edit = el_init("lona", stdin, stdout, stderr);
    r->history = history_init();
    if (r->edit == NULL || r->history == NULL) {
        return false;
    }
    (void)history(r->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(r->history, &event, H_SETUNIQUE, 1);
    r->history_file = history_path();
    if (r->history_file != NULL) {
        (void)history(r->history, &event, H_LOAD, r->history_file); /* none yet is fine */
    }
    (void)el_set(r->edit, EL_CLIENTDATA, r);
    (void)el_set(r->edit, EL_PROMPT, prompt);
    (void)el_set(r->edit, EL_EDITOR, "emacs");
    (void)el_set(r->edit, EL_SIGNAL, 0);
    (void)el_set(r->edit, EL_HIST, history, r->history);
    (void)el_set(r->edit, EL_ADDFN, "lona-complete", "complete a name", complete);
    (void)el_set(r->edit, EL_ADDFN, "lona-cancel", "drop the input", cancel);
    (void)el_set(r->edit, EL_SETTY, "-d", "-isig", NULL);
    (void)el_set(r->edit, EL_BIND, "^I", "lona-complete", NULL);
    (void)el_set(r->edit, EL_BIND, "^C", "lona-cancel", NULL);
    (void)el_set(r->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(r->edit, EL_BIND, "^[[1;5C", "em-next-word", NULL);
    (void)el_set(r->edit, EL_BIND, "^[[1;5D", "ed-prev-word", NULL);
    (void)el_source(r->edit, NULL); /* the person's ~/.editrc */
    return true;
}

static void editor_close(struct repl *r)
{
    if (r->history != NULL) {
        history_end(r->history);
    }
    if (r->edit != NULL) {
        el_end(r->edit);
    }
    free(r->history_file);
}

static void remember(struct repl *r)
{
    HistEvent event;

    if (r->history == NULL || is_blank(&r->input)) {
        return;
    }
    (void)history(r->history, &event, H_ENTER, r->input.bytes);
    if (r->history_file != NULL) {
        (void)history(r->history, &event, H_SAVE, r->history_file);
    }
}

/* ---- the loop ---- */

static bool read_plain(struct repl *r)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n = getline(&line, &capacity, stdin);

    if (n > 0) {
        text_put(&r->input, line, (size_t)n);
    }
    free(line);
    return n > 0;
}

/* Add a line to the input; false at the end of input. */
static bool read_line(struct repl *r)
{
    if (r->edit == NULL) {
        return read_plain(r);
    }
    int n;

    r->cancelled = false;
    const char *line = el_gets(r->edit, &n);

    if (r->cancelled) {
        text_clear(&r->input);
        return true;
    }
    if (line == NULL || n <= 0) {
        return false;
    }
    text_put(&r->input, line, (size_t)n);
    return true;
}

int repl_run(struct vm *vm)
{
    struct repl r = { .vm = vm, .evaluation = { .vm = vm, .keep_results = true } };
    bool terminal = isatty(STDIN_FILENO) != 0;
    int status = 0;
    pthread_t thread;
    bool listening = terminal && pthread_create(&thread, NULL, wait_for_interrupts, vm) == 0;

    if (terminal && !editor_open(&r)) {
        editor_close(&r);
        r.edit = NULL;
        r.history = NULL;
        r.history_file = NULL;
    }
    if (terminal) {
        (void)puts("Lona. (doc NAME) explains a name, Ctrl-C stops a run, Ctrl-D leaves.");
    }
    text_clear(&r.input);
    for (;;) {
        r.more = r.input.size > 0;
        if (!read_line(&r)) {
            break;
        }
        if (is_blank(&r.input)) {
            text_clear(&r.input);
            continue;
        }
        if (is_incomplete(&r)) {
            continue;
        }
        remember(&r);
        status = run_input(&r);
        text_clear(&r.input);
    }
    if (r.input.size > 0) { /* the end came inside a form: say where it began */
        status = run_input(&r);
    }
    if (terminal) {
        (void)puts("");
    }
    if (listening) {
        (void)pthread_cancel(thread);
        (void)pthread_join(thread, NULL);
    }
    editor_close(&r);
    text_deinit(&r.input);
    return terminal || status == 0 ? STATUS_OK : STATUS_ERROR;
}
