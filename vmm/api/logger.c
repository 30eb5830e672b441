/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <base/fmt.h>

#include "observe.h"

#define LINE_SIZE_MAX    1024u
#define THREAD_NAME_SIZE 16u

static const struct {
    const char *text;
    const char *tag; /* in lines */
    enum logger_level level;
} levels[] = {
    { "Off", "OFF", LOGGER_OFF },       { "Error", "ERROR", LOGGER_ERROR },
    { "Warn", "WARN", LOGGER_WARN },    { "Warning", "WARN", LOGGER_WARN },
    { "Info", "INFO", LOGGER_INFO },    { "Debug", "DEBUG", LOGGER_DEBUG },
    { "Trace", "TRACE", LOGGER_TRACE },
};

static const char *level_tag(enum logger_level level)
{
    for (size_t i = 0; i < array_size(levels); i++) {
        if (levels[i].level == level) {
            return levels[i].tag;
        }
    }
    return "?";
}

static const char *level_text(enum logger_level level)
{
    for (size_t i = 0; i < array_size(levels); i++) {
        if (levels[i].level == level) {
            return levels[i].text;
        }
    }
    return "?";
}

bool logger_parse_level(const char *text, enum logger_level *out)
{
    for (size_t i = 0; i < array_size(levels); i++) {
        if (strcasecmp(levels[i].text, text) == 0) {
            *out = levels[i].level;
            return true;
        }
    }
    return false;
}

void logger_init(struct logger *l, const char *instance_id)
{
    memset(l, 0, sizeof(*l));
    (void)pthread_mutex_init(&l->lock, NULL);
    l->instance_id = instance_id;
    l->fd = -1;
    l->level = LOGGER_INFO;
}

static void drop_sink(struct logger *l)
{
    if (l->owns_fd && l->fd >= 0) {
        (void)close(l->fd);
    }
    l->fd = -1;
    l->owns_fd = false;
    free(l->path);
    l->path = NULL;
}

void logger_deinit(struct logger *l)
{
    drop_sink(l);
    free(l->module);
    (void)pthread_mutex_destroy(&l->lock);
}

int logger_open(const char *path)
{
    /* Read and write: a FIFO then opens without a reader. */
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);

    return fd < 0 ? -errno : fd;
}

int logger_set_sink(struct logger *l, const char *path, int fd)
{
    char *copy = path == NULL ? NULL : strdup(path);

    if (path != NULL && copy == NULL) {
        return -ENOMEM;
    }
    (void)pthread_mutex_lock(&l->lock);
    drop_sink(l);
    l->fd = fd;
    l->owns_fd = path != NULL;
    l->path = copy;
    (void)pthread_mutex_unlock(&l->lock);
    return 0;
}

static size_t write_head(const struct logger *l, char *line, enum logger_level level,
                         const char *file, int number)
{
    struct timespec now;
    struct tm t;
    char thread[THREAD_NAME_SIZE] = "main";
    size_t n = 0;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &t);
    (void)prctl(PR_GET_NAME, thread);
    n = fmt_snprintf(line, LINE_SIZE_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09ld [%s:%s",
                     t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                     now.tv_nsec, l->instance_id, thread);
    if (l->shows_level) {
        n += fmt_snprintf(line + n, LINE_SIZE_MAX - n, ":%s", level_tag(level));
    }
    if (l->shows_origin) {
        n += fmt_snprintf(line + n, LINE_SIZE_MAX - n, ":%s:%d", file, number);
    }
    return n + fmt_snprintf(line + n, LINE_SIZE_MAX - n, "] ");
}

void logger_write(struct logger *l, enum logger_level level, const char *module, const char *file,
                  int line, const char *format, ...)
{
    char text[LINE_SIZE_MAX];
    size_t start = 0;
    size_t n = 0;
    va_list args;

    (void)pthread_mutex_lock(&l->lock);
    if (l->fd >= 0 && level <= l->level &&
        (l->module == NULL || strncmp(module, l->module, strlen(l->module)) == 0)) {
        start = write_head(l, text, level, file, line);
        va_start(args, format);
        n = fmt_vsnprintf(text + start, sizeof(text) - start, format, args);
        va_end(args);
        n = min_of(start + n, sizeof(text) - 2);
        for (size_t i = start; i < n; i++) {
            if ((unsigned char)text[i] < ' ') {
                text[i] = '?'; /* one event, one line */
            }
        }
        text[n++] = '\n';
        if (write(l->fd, text, n) != (ssize_t)n) {
            l->lines_lost++;
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
}

json_t *logger_json(struct logger *l)
{
    json_t *o = NULL;

    (void)pthread_mutex_lock(&l->lock);
    o = l->path == NULL && l->module == NULL
            ? json_null()
            : json_pack("{s:s?, s:s, s:b, s:b, s:s?}", "log_path", l->path, "level",
                        level_text(l->level), "show_level", (int)l->shows_level, "show_log_origin",
                        (int)l->shows_origin, "module", l->module);
    (void)pthread_mutex_unlock(&l->lock);
    return o;
}
