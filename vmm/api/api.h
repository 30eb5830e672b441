/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control API: a request in, an answer out. Single-threaded; one object is one VM's control,
 * from before it exists until it has ended. Internal to this folder.
 */
#pragma once

#include <jansson.h>

#include "body.h"
#include "http.h"
#include "observe.h"
#include "server.h"
#include "settings.h"

#include "drupe/control.h"
#include "drupe/vm.h"

#define API_TOKENS_MAX 8u

/* The version that we speak, not ours. */
#define API_VERSION "1.17.0"

/* The kernel image that the monitor brings, as a client names it. */
#define API_OWN_KERNEL "drupe:kernel"

struct api {
    struct drupe_control_options options; /* strings borrowed from the owner */
    char id[SETTINGS_ID_SIZE_MAX + 1];
    struct settings settings;
    drupe_vm_t *vm; /* NULL before the start */
    bool owns_vm;
    bool must_exit; /* a failed load ends the process */
    bool is_restored;
    json_t *mmds;        /* NULL: never written */
    json_t *mmds_config; /* NULL: none */
    size_t mmds_size_max;
    uint64_t kill_ns; /* CLOCK_MONOTONIC: when patience with a stop ends; UINT64_MAX: none */
    struct logger logger;
    struct metrics metrics;
};

/* One request on its way through. Tokens are the path's parts; missing ones are "". */
struct api_call {
    struct api *api;
    enum http_method method;
    char path[HTTP_LINE_SIZE_MAX];
    const char *tokens[API_TOKENS_MAX];
    unsigned token_count;
    const struct http_request *request;
    json_t *body; /* NULL: none */
    struct passed_fds *fds;
    struct server_reply *reply;
};

typedef void (*api_endpoint)(struct api_call *call);

/* api.c: a server_handler; ctx is the api. */
void api_handle(void *ctx, const struct http_request *request, struct passed_fds *fds,
                struct server_reply *reply);

/* ---- Answers. One per call; without any it is 204. ---- */

void reply_fault(struct api_call *call, const char *format, ...) PRINTF_LIKE(2, 3);
/* Takes `value`. */
void reply_json(struct api_call *call, json_t *value);
void reply_bad_body(struct api_call *call, const struct body_detail *d);
/* True, with the answer given, when the phase is wrong. */
bool refuse_after_start(struct api_call *call);
bool refuse_before_start(struct api_call *call);

/* Read the call's body; false with the answer given. */
bool call_read(struct api_call *call, const struct body_field *fields, size_t count) MUST_CHECK;

/*
 * Open what a client named: a path, or "fd:N" for the N-th descriptor of this request. 0 and *out
 * (owned), or -errno; -EBADF when there is no such descriptor.
 */
int call_open(struct api_call *call, const char *path, int flags,
              struct named_file *out) MUST_CHECK;

/* The N-th descriptor of this request, owned; "N" in digits. -EBADF when there is none. */
int call_take_fd(struct api_call *call, const char *digits) MUST_CHECK;

/* May this be an id? False with the answer given. */
bool call_check_id(struct api_call *call, const char *id) MUST_CHECK;

bool read_rate_limit(const json_t *object, struct drupe_rate_limit *out,
                     struct body_detail *d) MUST_CHECK;
bool read_token_bucket(const json_t *object, struct drupe_token_bucket *out,
                       struct body_detail *d) MUST_CHECK;

/* ---- Endpoints ---- */

void get_instance(struct api_call *call);
void get_version(struct api_call *call);
void get_vm_config(struct api_call *call);
void patch_vm(struct api_call *call);
void put_action(struct api_call *call);
void put_snapshot(struct api_call *call);

/* drupe.c: what Firecracker does not have. */
void get_drupe(struct api_call *call);
void put_drupe(struct api_call *call);
/* Tell the owner what a client brought about. */
void api_changed(const struct api *a, enum drupe_control_event event);

void put_boot_source(struct api_call *call);
void get_machine_config(struct api_call *call);
void put_machine_config(struct api_call *call);
void patch_machine_config(struct api_call *call);
void put_cpu_config(struct api_call *call);

void put_drive(struct api_call *call);
void patch_drive(struct api_call *call);
void delete_device(struct api_call *call);
void put_pmem(struct api_call *call);
void patch_pmem(struct api_call *call);
void put_network(struct api_call *call);
void patch_network(struct api_call *call);
void put_vsock(struct api_call *call);
void put_entropy(struct api_call *call);
void put_serial(struct api_call *call);
void put_vfio(struct api_call *call);
void get_hotplug(struct api_call *call);
void put_hotplug(struct api_call *call);
void patch_hotplug(struct api_call *call);

void get_balloon(struct api_call *call);
void put_balloon(struct api_call *call);
void patch_balloon(struct api_call *call);

void put_logger(struct api_call *call);
void put_metrics(struct api_call *call);
void get_mmds(struct api_call *call);
void put_mmds(struct api_call *call);
void patch_mmds(struct api_call *call);

/* mmds.c: replace the document, also from --metadata. 0; -EFBIG. Takes `document`. */
int mmds_replace(struct api *a, json_t *document) MUST_CHECK;
/* The document as the guest's service wants it; NULL is an empty one. Freed by the caller. */
char *mmds_text(const json_t *document) MUST_CHECK;

/* machine.c */
bool machine_apply(struct api_call *call, const struct machine_settings *m) MUST_CHECK;

/* start.c: make the VM of the settings and let it go. */
drupe_vm_err_t api_start(struct api *a, struct drupe_error *err) MUST_CHECK;
/* Make it without starting: for a restore. */
drupe_vm_err_t api_create_vm(struct api *a, struct drupe_error *err) MUST_CHECK;

/* snapshot_file.c: what the API keeps behind the monitor's state in a snapshot's state file: the
 * configuration. 0 or -errno; -EBADMSG when there is none. *state_fd is a copy without it. */
int snapshot_append_config(int fd, const json_t *config) MUST_CHECK;
int snapshot_split(int fd, json_t **config, int *state_fd) MUST_CHECK;

/* config_file.c: take the sections that a snapshot carries; like api_apply_config() without the
 * start. False with *err filled. */
bool api_take_sections(struct api *a, const json_t *sections, struct drupe_error *err) MUST_CHECK;

/* config_file.c: carry out the sections of a configuration file and start.
 * DRUPE_OK or the first section's error. */
drupe_vm_err_t api_apply_config(struct api *a, const char *text, size_t size,
                                struct drupe_error *err) MUST_CHECK;
