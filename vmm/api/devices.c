/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints for the devices of which a VM has one: vsock, entropy, serial line, balloon. */
#include "api.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <base/fmt.h>

/* ---- vsock ---- */

#define GUEST_CID_MIN 3u

void put_vsock(struct api_call *call)
{
    struct vsock_settings *v = &call->api->settings.vsock;
    const char *id = NULL;
    const char *path = NULL;
    char *copy = NULL;
    uint64_t cid = 0;
    const struct body_field fields[] = {
        FIELD("guest_cid", BODY_NUMBER, BODY_REQUIRED, &cid, .max = UINT32_MAX),
        FIELD("uds_path", BODY_TEXT, BODY_REQUIRED, &path),
        FIELD("vsock_id", BODY_TEXT, BODY_OPTIONAL, &id),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_after_start(call)) {
        return;
    }
    if (cid < GUEST_CID_MIN) {
        struct body_detail d;

        body_refuse(&d, "invalid value: integer `%llu`, expected a guest CID of at least %u",
                    (unsigned long long)cid, GUEST_CID_MIN);
        reply_bad_body(call, &d);
        return;
    }
    copy = strdup(path);
    if (copy == NULL) {
        reply_fault(call, "Vsock config error: Out of memory.");
        return;
    }
    free(v->uds_path);
    *v = (struct vsock_settings){ .is_set = true, .guest_cid = cid, .uds_path = copy };
    call->api->settings.is_boot_path = true;
    call->reply->is_deprecated = id != NULL;
}

/* ---- Entropy ---- */

void put_entropy(struct api_call *call)
{
    struct entropy_settings e = { .is_set = true };
    struct body_detail d;
    json_t *limiter = NULL;
    const struct body_field fields[] = {
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &limiter),
    };

    if (!call_read(call, fields, array_size(fields))) {
        return;
    }
    if (limiter != NULL && !read_rate_limit(limiter, &e.limit, &d)) {
        reply_bad_body(call, &d);
        return;
    }
    if (refuse_after_start(call)) {
        return;
    }
    call->api->settings.entropy = e;
    call->api->settings.is_boot_path = true;
}

/* ---- Serial line ---- */

void put_serial(struct api_call *call)
{
    struct settings *s = &call->api->settings;
    struct named_file file = { .fd = -1 };
    struct drupe_token_bucket bucket = { 0 };
    struct body_detail d;
    const char *path = NULL;
    json_t *limiter = NULL;
    const struct body_field fields[] = {
        FIELD("serial_out_path", BODY_TEXT, BODY_OPTIONAL, &path),
        FIELD("rate_limiter", BODY_OBJECT, BODY_OPTIONAL, &limiter),
    };
    int r = 0;

    if (!call_read(call, fields, array_size(fields))) {
        return;
    }
    if (limiter != NULL && !read_token_bucket(limiter, &bucket, &d)) {
        reply_bad_body(call, &d);
        return;
    }
    if (refuse_after_start(call)) {
        return;
    }
    /* Read and write: a FIFO then opens without a reader and does not end with one. */
    r = path == NULL ? 0 : call_open(call, path, O_RDWR | O_CREAT | O_APPEND, &file);
    if (r < 0) {
        reply_fault(call, "Serial config error: %s (os error %d) %.256s", strerror(-r), -r, path);
        return;
    }
    named_file_deinit(&s->serial);
    s->serial = file;
    s->serial_limit = bucket;
    s->has_serial_limit = limiter != NULL;
}

/* ---- Balloon ---- */

#define MIB (UINT64_C(1) << 20)

static bool check_balloon_amount(struct api_call *call, uint64_t amount_mib)
{
    if (amount_mib <= call->api->settings.machine.mem_size_mib) {
        return true;
    }
    reply_fault(call, "Balloon config error: Amount of pages requested cannot exceed the "
                      "available memory.");
    return false;
}

void put_balloon(struct api_call *call)
{
    struct balloon_settings b = { .is_set = true };
    const struct body_field fields[] = {
        FIELD("amount_mib", BODY_NUMBER, BODY_REQUIRED, &b.amount_mib, .max = UINT32_MAX),
        FIELD("deflate_on_oom", BODY_FLAG, BODY_REQUIRED, &b.is_deflated_on_oom),
        FIELD("stats_polling_interval_s", BODY_NUMBER, BODY_DEFAULT, &b.stats_interval_s,
              .max = UINT16_MAX),
        FIELD("free_page_hinting", BODY_FLAG, BODY_DEFAULT, &b.has_hinting),
        FIELD("free_page_reporting", BODY_FLAG, BODY_DEFAULT, &b.has_reporting),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_after_start(call) ||
        !check_balloon_amount(call, b.amount_mib)) {
        return;
    }
    if (b.has_hinting) {
        reply_fault(call, "The requested operation is not supported: free page hinting");
        return;
    }
    call->api->settings.balloon = b;
    call->api->settings.is_boot_path = true;
}

static bool has_balloon(struct api_call *call)
{
    if (call->api->settings.balloon.is_set) {
        return true;
    }
    reply_fault(call, "Balloon config error: Device not found.");
    return false;
}

static bool has_statistics(struct api_call *call)
{
    if (call->api->settings.balloon.stats_interval_s != 0) {
        return true;
    }
    reply_fault(call, "Balloon config error: Statistics for the balloon device are not enabled");
    return false;
}

static json_t *statistics_json(const struct drupe_balloon_stats *st)
{
    static const char *const names[DRUPE_BALLOON_STATS] = {
        "swap_in",          "swap_out",    "major_faults",
        "minor_faults",     "free_memory", "total_memory",
        "available_memory", "disk_caches", "hugetlb_allocations",
        "hugetlb_failures", "oom_kill",    "alloc_stall",
        "async_scan",       "direct_scan", "async_reclaim",
        "direct_reclaim",
    };
    json_t *o = json_pack("{s:I, s:I, s:I, s:I}", "target_pages", (json_int_t)st->target_pages,
                          "actual_pages", (json_int_t)st->actual_pages, "target_mib",
                          (json_int_t)(st->target_pages / 256), "actual_mib",
                          (json_int_t)(st->actual_pages / 256));

    for (unsigned i = 0; o != NULL && i < DRUPE_BALLOON_STATS; i++) {
        if ((st->reported & 1u << i) != 0 &&
            json_object_set_new(o, names[i], json_integer((json_int_t)st->values[i])) < 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static void get_statistics(struct api_call *call)
{
    struct drupe_balloon_stats st;
    struct drupe_error err;

    if (refuse_before_start(call) || !has_balloon(call) || !has_statistics(call)) {
        return;
    }
    if (drupe_vm_balloon_stats(call->api->vm, &st, &err) != DRUPE_OK) {
        reply_fault(call, "Balloon config error: %s", err.text);
        return;
    }
    reply_json(call, statistics_json(&st));
}

void get_balloon(struct api_call *call)
{
    const char *what = call->tokens[1];

    if (call->token_count < 2) {
        if (has_balloon(call)) {
            reply_json(call, settings_balloon_json(&call->api->settings.balloon));
        }
    } else if (strcmp(what, "statistics") == 0) {
        get_statistics(call);
    } else if (strcmp(what, "hinting") == 0 && strcmp(call->tokens[2], "status") == 0) {
        if (!refuse_before_start(call) && has_balloon(call)) {
            reply_fault(call, "Balloon config error: Hinting is not enabled");
        }
    } else {
        reply_fault(call, "Unrecognized GET request path `%.256s`.", what);
    }
}

static void patch_amount(struct api_call *call)
{
    struct balloon_settings *b = &call->api->settings.balloon;
    struct drupe_error err;
    uint64_t amount_mib = 0;
    const struct body_field fields[] = {
        FIELD("amount_mib", BODY_NUMBER, BODY_REQUIRED, &amount_mib, .max = UINT32_MAX),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_before_start(call) ||
        !has_balloon(call) || !check_balloon_amount(call, amount_mib)) {
        return;
    }
    if (drupe_vm_set_balloon(call->api->vm, (uint32_t)amount_mib, &err) != DRUPE_OK) {
        reply_fault(call, "Balloon update error: %s", err.text);
        return;
    }
    b->amount_mib = amount_mib;
}

static void patch_interval(struct api_call *call)
{
    struct balloon_settings *b = &call->api->settings.balloon;
    struct drupe_error err;
    uint64_t interval_s = 0;
    const struct body_field fields[] = {
        FIELD("stats_polling_interval_s", BODY_NUMBER, BODY_REQUIRED, &interval_s,
              .max = UINT16_MAX),
    };

    if (!call_read(call, fields, array_size(fields)) || refuse_before_start(call) ||
        !has_balloon(call)) {
        return;
    }
    if ((interval_s == 0) != (b->stats_interval_s == 0)) {
        reply_fault(call, "Balloon update error: Statistics cannot be enabled/disabled after "
                          "activation.");
        return;
    }
    if (interval_s != 0 &&
        drupe_vm_set_balloon_interval(call->api->vm, (uint32_t)interval_s, &err) != DRUPE_OK) {
        reply_fault(call, "Balloon update error: %s", err.text);
        return;
    }
    b->stats_interval_s = interval_s;
}

static void patch_hinting(struct api_call *call)
{
    bool does_acknowledge = true;
    const struct body_field fields[] = {
        FIELD("acknowledge_on_stop", BODY_FLAG, BODY_DEFAULT, &does_acknowledge),
    };

    if (strcmp(call->tokens[2], "start") != 0 && strcmp(call->tokens[2], "stop") != 0) {
        reply_fault(call, "Unrecognized PATCH request path `%.256s`.", call->tokens[2]);
        return;
    }
    if (call->body != NULL && !call_read(call, fields, array_size(fields))) {
        return;
    }
    if (!refuse_before_start(call) && has_balloon(call)) {
        reply_fault(call, "Balloon config error: Hinting is not enabled");
    }
}

void patch_balloon(struct api_call *call)
{
    const char *what = call->tokens[1];

    if (call->token_count >= 2 && strcmp(what, "hinting") == 0) {
        patch_hinting(call);
    } else if (call->body == NULL) {
        reply_fault(call, "Empty PATCH request.");
    } else if (call->token_count < 2) {
        patch_amount(call);
    } else if (strcmp(what, "statistics") == 0) {
        patch_interval(call);
    } else {
        reply_fault(call, "Unrecognized PATCH request path `%.256s`.", what);
    }
}
