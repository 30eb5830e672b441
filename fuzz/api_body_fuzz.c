/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the control API before a VM exists: the input is lines "METHOD path body". Every
 * answer has a status that the interface knows, and errors are JSON with a fault_message.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#include "api.h"

#define REQUESTS_MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Paths of files never lead out of a name that does not exist. */
static bool names_file(const char *line)
{
    return memchr(line, '/', strlen(line)) != NULL;
}

static void check(const struct server_reply *reply)
{
    json_t *body = NULL;

    assert(reply->status == 200 || reply->status == 204 || reply->status == 400 ||
           reply->status == 413);
    assert((reply->status == 204) == (reply->body == NULL));
    if (reply->body != NULL) {
        body = json_loadb(reply->body, reply->body_size, JSON_DECODE_ANY, NULL);
        assert(body != NULL);
        assert(reply->status == 200 || json_is_string(json_object_get(body, "fault_message")));
        json_decref(body);
    }
}

static void send_line(struct api *a, char *line)
{
    static const char *const methods[] = { "GET", "PUT", "PATCH", "DELETE" };
    struct http_request request = { .method = HTTP_GET, .path = "/" };
    struct passed_fds fds = { .count = 0 };
    struct server_reply reply = { .status = 204 };
    char *path = strchr(line, ' ');
    char *body = path == NULL ? NULL : strchr(path + 1, ' ');

    if (path == NULL) {
        return;
    }
    *path++ = '\0';
    if (body != NULL) {
        *body++ = '\0';
        if (names_file(body)) {
            return;
        }
        request.body = body;
        request.body_size = strlen(body);
    }
    for (unsigned i = 0; i < array_size(methods); i++) {
        if (strcmp(methods[i], line) == 0) {
            request.method = (enum http_method)i;
        }
    }
    (void)strncat(request.path, path, sizeof(request.path) - 2);
    api_handle(a, &request, &fds, &reply);
    check(&reply);
    free(reply.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct api a;
    char *text = malloc(size + 1);
    char *save = NULL;
    unsigned count = 0;

    if (text == NULL) {
        return 0;
    }
    memcpy(text, bytes, size);
    text[size] = '\0';
    memset(&a, 0, sizeof(a));
    drupe_control_options_init(&a.options);
    settings_init(&a.settings);
    logger_init(&a.logger, a.id);
    metrics_init(&a.metrics, a.id);
    a.mmds_size_max = 1024;
    for (char *line = strtok_r(text, "\n", &save); line != NULL && count < REQUESTS_MAX;
         line = strtok_r(NULL, "\n", &save)) {
        if (strstr(line, "InstanceStart") == NULL && strstr(line, "_path") == NULL &&
            strstr(line, "\\u") == NULL) {
            send_line(&a, line);
            count++;
        }
    }
    settings_deinit(&a.settings);
    json_decref(a.mmds);
    metrics_deinit(&a.metrics);
    logger_deinit(&a.logger);
    free(text);
    return 0;
}
