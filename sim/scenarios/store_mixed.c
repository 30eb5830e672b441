/* SPDX-License-Identifier: Apache-2.0 */
/* Packages of all kinds through a store in trouble. */
#include <stdio.h>
#include <string.h>

#include "../file.h"
#include "../scenario.h"
#include "../store_check.h"

#define BLOB      "/tmp/mixed"
#define BACK      "/tmp/mixed-back"
#define BLOB_SIZE 30000u
#define ID_SIZE   24u

static bool is_store_error(drupe_vm_err_t r)
{
    return r == DRUPE_STORE_FAILED || r == DRUPE_STORE_NOT_FOUND || r == DRUPE_STORE_TIMEOUT ||
           r == DRUPE_ARCH_MISMATCH || r == DRUPE_IMAGE_MISMATCH;
}

/* In and out again; 1 when both came to pass. What comes out is what went in. */
static unsigned round_trip(drupe_store_t *s, unsigned number)
{
    static const enum drupe_package_kind kinds[] = { DRUPE_PACKAGE_SUSPEND, DRUPE_PACKAGE_TELEPORT,
                                                     DRUPE_PACKAGE_CHECKPOINT };
    enum drupe_package_kind kind = kinds[number % array_size(kinds)];
    bool has_blob = kind != DRUPE_PACKAGE_CHECKPOINT;
    drupe_package_t *got = NULL;
    drupe_package_t p;
    char id[ID_SIZE];
    drupe_vm_err_t r = DRUPE_OK;

    (void)snprintf(id, sizeof(id), "mixed-%u", number);
    store_package(&p, id, kind);
    p.blob_path = has_blob ? BLOB : NULL;
    p.app_state = id;
    p.app_state_size = strlen(id);
    r = sx_upload(s, &p);
    sim_check(r == DRUPE_OK || is_store_error(r), "upload: %s", drupe_vm_err_name(r));
    sim_check(sx_lists(s, id) == (r == DRUPE_OK), "I6: %s after %s", id, drupe_vm_err_name(r));
    if (r != DRUPE_OK) {
        return 0;
    }
    r = sx_restore(s, id, "x86_64", "1.4.9", has_blob ? BACK : NULL, &got);
    sim_check(r == DRUPE_OK || is_store_error(r), "download: %s", drupe_vm_err_name(r));
    if (r != DRUPE_OK) {
        return 0;
    }
    sim_check(got->app_state_size == strlen(id) && memcmp(got->app_state, id, strlen(id)) == 0,
              "%s comes back with another's state", id);
    sim_check(!has_blob || store_blob_is(BACK, 11, BLOB_SIZE), "%s: a wrong blob", id);
    drupe_package_free(got);
    return 1;
}

static void round_trips(unsigned least, unsigned succeed_min)
{
    drupe_store_t *s = NULL;
    unsigned succeeded = 0;
    unsigned rounds = 0;

    store_watch(true);
    store_open(&s, 0);
    store_blob_file(BLOB, 11, BLOB_SIZE);
    for (unsigned round = 0; round_goes_on(&round, least);) {
        succeeded += round_trip(s, rounds++);
    }
    sim_check(succeeded >= succeed_min || sim_disabled_rules() != 0, "%u of %u succeed", succeeded,
              rounds);
    drupe_store_close(s);
}

static void forty_round_trips(void)
{
    fault(FAULT_UPLOAD_FAIL, .2, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, .2, .op = OP_teleport_download);
    fault(FAULT_ARCH_MISMATCH, .1);
    fault(FAULT_IMAGE_MISMATCH, .1);
    fault(FAULT_FSYNC_FAIL, .1);
    round_trips(40, 1);
}

static void fifteen_mixed(void)
{
    fault(FAULT_UPLOAD_FAIL, .1, .op = OP_teleport_upload);
    fault(FAULT_DOWNLOAD_FAIL, .1, .op = OP_teleport_download);
    fault(FAULT_ARCH_MISMATCH, .1);
    fault(FAULT_IMAGE_MISMATCH, .1);
    round_trips(15, 1);
}

static void stress_100(void)
{
    fault(FAULT_UPLOAD_FAIL, .05, .op = OP_teleport_upload);
    fault(FAULT_FSYNC_FAIL, .05);
    round_trips(100, 50);
}

const struct scenario scenarios_store_mixed[] = {
    { "chaos", "forty-store-round-trips", 6004, forty_round_trips, EACH },
    { "snapshot-kinds", "fifteen-mixed-in-chaos", 0, fifteen_mixed, EACH },
    { "snapshot-kinds", "stress-100", 0, stress_100, SOME },
    { 0 },
};
