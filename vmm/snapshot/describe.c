/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/describe.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/fmt.h>
#include <base/sha256.h>

#include "error.h"

#define READ_SIZE    (1u << 20)
#define CACHED_FILES 16u
#define NS           UINT64_C(1000000000)

/* ---- Files ---- */

static struct {
    pthread_mutex_t lock;
    unsigned next;
    struct snapshot_file_id files[CACHED_FILES];
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool is_same_file(const struct snapshot_file_id *a, const struct snapshot_file_id *b)
{
    return a->size == b->size && a->device == b->device && a->inode == b->inode &&
           a->mtime_ns == b->mtime_ns;
}

static bool has_hash(const struct snapshot_file_id *id)
{
    uint8_t all = 0;

    for (size_t i = 0; i < sizeof(id->sha256); i++) {
        all |= id->sha256[i];
    }
    return all != 0;
}

static bool find_cached(struct snapshot_file_id *id)
{
    bool is_found = false;

    (void)pthread_mutex_lock(&cache.lock);
    for (unsigned i = 0; i < CACHED_FILES && !is_found; i++) {
        if (is_same_file(&cache.files[i], id) && has_hash(&cache.files[i])) {
            memcpy(id->sha256, cache.files[i].sha256, sizeof(id->sha256));
            is_found = true;
        }
    }
    (void)pthread_mutex_unlock(&cache.lock);
    return is_found;
}

static void keep_cached(const struct snapshot_file_id *id)
{
    (void)pthread_mutex_lock(&cache.lock);
    cache.files[cache.next++ % CACHED_FILES] = *id;
    (void)pthread_mutex_unlock(&cache.lock);
}

static int hash_file(int fd, uint8_t digest[SHA256_SIZE])
{
    uint8_t *chunk = malloc(READ_SIZE);
    struct sha256 sha;
    off_t at = 0;
    ssize_t n = 0;
    int r = 0;

    if (chunk == NULL) {
        return -ENOMEM;
    }
    sha256_init(&sha);
    do {
        n = pread(fd, chunk, READ_SIZE, at);
        if (n > 0) {
            sha256_add(&sha, chunk, (size_t)n);
            at += n;
        }
    } while (n > 0 || (n < 0 && errno == EINTR));
    r = n < 0 ? -errno : 0;
    sha256_end(&sha, digest);
    free(chunk);
    return r;
}

int file_identify(int fd, bool want_hash, struct snapshot_file_id *out)
{
    struct stat st;
    int r = 0;

    memset(out, 0, sizeof(*out));
    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    out->size = (uint64_t)st.st_size;
    out->device = (uint64_t)st.st_dev;
    out->inode = (uint64_t)st.st_ino;
    out->mtime_ns = (uint64_t)st.st_mtim.tv_sec * NS + (uint64_t)st.st_mtim.tv_nsec;
    if (!want_hash || find_cached(out)) {
        return 0;
    }
    r = hash_file(fd, out->sha256);
    if (r == 0) {
        keep_cached(out);
    }
    return r;
}

/* ---- The record ---- */

struct strings {
    char *at; /* NULL: only count */
    uint32_t size;
};

static uint32_t add_string(struct strings *s, const char *text)
{
    uint32_t offset = s->size;
    size_t size = 0;

    if (text == NULL || text[0] == '\0') {
        return 0; /* the first string is empty */
    }
    size = strlen(text) + 1;
    if (s->at != NULL) {
        memcpy(s->at + offset, text, size);
    }
    s->size += (uint32_t)size;
    return offset;
}

static void fill_strings(struct snapshot_config *out, struct strings *s, const struct config *c,
                         const char *base)
{
    s->size = 1;
    out->cmdline_offset = add_string(s, c->cmdline_extra);
    out->argv0_offset = add_string(s, c->argv.count > 0 ? c->argv.items[0] : NULL);
    out->root.path_offset = add_string(s, c->root.path);
    out->base.path_offset = add_string(s, base);
    for (unsigned i = 0; i < c->disk_count; i++) {
        out->disks[i].path_offset = add_string(s, c->disks[i].path);
    }
}

static void fill_facts(struct snapshot_config *out, const struct config *c)
{
    out->vcpus = c->vcpus;
    out->memory_mib = (uint32_t)(c->memory_size >> 20);
    out->root_mode = c->root_mode;
    out->stdio = c->stdio;
    out->disk_count = c->disk_count;
    out->vsock_cid = c->vsock_path == NULL ? 0 : c->vsock_cid;
    out->strings_offset = sizeof(*out);
    for (unsigned i = 0; i < c->disk_count; i++) {
        if (file_identify(c->disks[i].fd, false, &out->disks[i]) < 0) {
            memset(&out->disks[i], 0, sizeof(out->disks[i]));
        }
        out->disks[i].is_read_only = c->disks[i].is_read_only;
    }
}

bool describe_config(struct state_writer *w, const struct config *c,
                     const struct snapshot_file_id *root, const struct snapshot_place *base)
{
    struct snapshot_config facts = { .root = *root };
    struct strings s = { .at = NULL };
    struct snapshot_config *out = NULL;

    _Static_assert(SNAPSHOT_DISKS_MAX >= DRUPE_DISKS_MAX, "all disks have a place");
    fill_facts(&facts, c);
    facts.root.is_read_only = c->root_mode != DRUPE_ROOT_DISK_RW;
    if (base != NULL) {
        memcpy(facts.base.sha256, base->memory_sha256, sizeof(facts.base.sha256));
    }
    fill_strings(&facts, &s, c, base == NULL ? NULL : base->path);
    facts.strings_size = s.size;
    out = state_add(w, SNAPSHOT_CONFIG, 0, 1, sizeof(*out) + s.size);
    if (out == NULL) {
        return false;
    }
    memcpy(out, &facts, sizeof(facts));
    s.at = (char *)(out + 1);
    fill_strings(out, &s, c, base == NULL ? NULL : base->path);
    return true;
}

static bool describe_share(struct state_writer *w, unsigned index, const struct config_share *share)
{
    const char *const texts[] = { share->host_path, share->tag,
                                  share->guest_path != NULL ? share->guest_path : "" };
    uint32_t sizes[array_size(texts)];
    uint32_t size = 0;
    struct snapshot_share *out = NULL;
    char *at = NULL;

    for (size_t i = 0; i < array_size(texts); i++) {
        sizes[i] = (uint32_t)strlen(texts[i]) + 1;
        size += sizes[i];
    }
    out = state_add(w, SNAPSHOT_SHARE, index, 1, sizeof(*out) + size);
    if (out == NULL) {
        return false;
    }
    *out = (struct snapshot_share){ share->is_read_only, sizes[0], sizes[1], sizes[2] };
    at = (char *)(out + 1);
    for (size_t i = 0; i < array_size(texts); i++) {
        memcpy(at, texts[i], sizes[i]);
        at += sizes[i];
    }
    return true;
}

bool describe_shares(struct state_writer *w, const struct config *c)
{
    for (unsigned i = 0; i < c->share_count; i++) {
        if (!describe_share(w, i, &c->shares[i])) {
            return false;
        }
    }
    return true;
}

/* The text of so many bytes at *at, which moves behind it; NULL: no text. */
static const char *take_text(const char **at, size_t *left, uint32_t size)
{
    const char *text = *at;

    if (size == 0 || size > *left || memchr(text, '\0', size) != text + size - 1) {
        return NULL;
    }
    *at += size;
    *left -= size;
    return text;
}

bool described_share(const struct state_reader *r, unsigned index, struct described_share *out)
{
    uint32_t version = 0;
    size_t size = 0;
    const struct snapshot_share *share = state_find(r, SNAPSHOT_SHARE, index, &version, &size);
    const char *at = NULL;

    if (share == NULL || version != 1 || size < sizeof(*share)) {
        return false;
    }
    at = (const char *)(share + 1);
    size -= sizeof(*share);
    out->is_read_only = share->is_read_only != 0;
    out->host_path = take_text(&at, &size, share->host_size);
    out->tag = take_text(&at, &size, share->tag_size);
    out->guest_path = take_text(&at, &size, share->guest_size);
    return out->host_path != NULL && out->tag != NULL && out->guest_path != NULL;
}

/* ---- JSON ---- */

struct json {
    char *text;
    size_t size;
    size_t room;
    bool has_failed;
};

static void json_add(struct json *j, const char *format, ...) PRINTF_LIKE(2, 3);

static void json_add(struct json *j, const char *format, ...)
{
    while (!j->has_failed) {
        va_list args;
        size_t length = 0;

        va_start(args, format);
        length = fmt_vsnprintf(j->text + j->size, j->room - j->size, format, args);
        va_end(args);
        if (length < j->room - j->size) {
            j->size += length;
            return;
        }
        char *text = realloc(j->text, j->room * 2 + length);

        if (text == NULL) {
            j->has_failed = true;
            return;
        }
        j->text = text;
        j->room = j->room * 2 + length;
    }
}

static void json_string(struct json *j, const char *text)
{
    json_add(j, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c == '"' || c == '\\' || c >= 0x7f) {
            json_add(j, "\\u%04x", c); /* bytes beyond ASCII as Latin-1: always valid JSON */
        } else {
            json_add(j, "%c", c);
        }
    }
    json_add(j, "\"");
}

static void json_file(struct json *j, const char *name, const struct snapshot_config *c,
                      const struct snapshot_file_id *id)
{
    json_add(j, "%s{\"path\":", name);
    json_string(j, snapshot_config_string(c, id->path_offset));
    json_add(j, ",\"size\":%llu,\"read_only\":%s", (unsigned long long)id->size,
             id->is_read_only ? "true" : "false");
    if (has_hash(id)) {
        json_add(j, ",\"sha256\":\"");
        for (size_t i = 0; i < sizeof(id->sha256); i++) {
            json_add(j, "%02x", id->sha256[i]);
        }
        json_add(j, "\"");
    }
    json_add(j, "}");
}

static void json_devices(struct json *j, const struct state_reader *r)
{
    json_add(j, ",\"devices\":[");
    for (uint32_t slot = 0;; slot++) {
        const struct snapshot_virtio *v = state_find(r, SNAPSHOT_VIRTIO, slot, NULL, NULL);

        if (v == NULL) {
            break;
        }
        json_add(j, "%s{\"virtio_id\":%u,\"queues\":[", slot > 0 ? "," : "", v->device_id);
        for (uint32_t i = 0; i < v->queue_count; i++) {
            json_add(j, "%s%u", i > 0 ? "," : "", v->queues[i].size);
        }
        json_add(j, "]}");
    }
    json_add(j, "]");
}

static void json_shares(struct json *j, const struct state_reader *r)
{
    struct described_share share;

    json_add(j, ",\"shares\":[");
    for (unsigned i = 0; described_share(r, i, &share); i++) {
        json_add(j, "%s{\"host_path\":", i > 0 ? "," : "");
        json_string(j, share.host_path);
        json_add(j, ",\"tag\":");
        json_string(j, share.tag);
        json_add(j, ",\"guest_path\":");
        json_string(j, share.guest_path);
        json_add(j, ",\"read_only\":%s}", share.is_read_only ? "true" : "false");
    }
    json_add(j, "]");
}

static void json_config(struct json *j, const struct snapshot_config *c)
{
    static const char *const modes[] = { "mapped", "disk-ro", "disk-rw" };
    static const char *const stdio[] = { "stream", "tty", "none" };

    json_add(j, ",\"vcpu_count\":%u,\"memory_mib\":%u,\"stdio\":\"%s\",\"root_mode\":\"%s\"",
             c->vcpus, c->memory_mib, stdio[c->stdio % 3], modes[c->root_mode % 3]);
    json_add(j, ",\"vsock_cid\":%u,\"cmdline_extra\":", c->vsock_cid);
    json_string(j, snapshot_config_string(c, c->cmdline_offset));
    json_add(j, ",\"argv0\":");
    json_string(j, snapshot_config_string(c, c->argv0_offset));
    if (c->root.size != 0) {
        json_file(j, ",\"root\":", c, &c->root);
    }
    json_add(j, ",\"disks\":[");
    for (uint32_t i = 0; i < c->disk_count; i++) {
        json_file(j, i > 0 ? "," : "", c, &c->disks[i]);
    }
    json_add(j, "]");
    if (c->base.path_offset != 0) {
        json_add(j, ",\"base_path\":");
        json_string(j, snapshot_config_string(c, c->base.path_offset));
    }
}

char *describe_metadata(const struct state_writer *w, const char *vm_id, uint64_t tsc_khz,
                        uint64_t memory_bytes, size_t before, size_t size_min, size_t *size)
{
    const struct snapshot_state *h = (const struct snapshot_state *)(const void *)w->bytes;
    struct state_reader r = { .bytes = w->bytes, .size = h->size, .header = h };
    struct json j = { .room = 4096 };

    j.text = malloc(j.room);
    j.has_failed = j.text == NULL;
    json_add(&j, "{\"snapshot_id\":\"%s\",\"vm_id\":\"%s\",\"created_ms\":%llu", h->id, vm_id,
             (unsigned long long)h->created_ms);
    json_add(&j, ",\"architecture\":\"%s\",\"full\":%s,\"memory_bytes\":%llu,\"tsc_khz\":%llu",
             h->arch == SNAPSHOT_X86_64 ? "x86_64" : "aarch64",
             (h->flags & SNAPSHOT_IS_DIFF) != 0 ? "false" : "true",
             (unsigned long long)memory_bytes, (unsigned long long)tsc_khz);
    if ((h->flags & SNAPSHOT_IS_DIFF) != 0) {
        json_add(&j, ",\"base_id\":\"%s\"", h->base_id);
    }
    json_config(&j, state_find(&r, SNAPSHOT_CONFIG, 0, NULL, NULL));
    json_shares(&j, &r);
    json_devices(&j, &r);
    json_add(&j, "}");
    while (!j.has_failed &&
           (j.size + 1 < size_min || (before + j.size + 1) % SNAPSHOT_PAGE_SIZE != 0)) {
        json_add(&j, " ");
    }
    json_add(&j, "\n");
    if (j.has_failed) {
        free(j.text);
        return NULL;
    }
    *size = j.size;
    return j.text;
}

/* ---- Checks ---- */

static drupe_vm_err_t mismatch(struct drupe_error *err, const char *what, unsigned long long theirs,
                               unsigned long long ours)
{
    return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "the snapshot has %s %llu, the VM %llu", what,
                     theirs, ours);
}

/* The same file untouched is taken as it is; another one is read and compared. */
static drupe_vm_err_t check_root(const struct snapshot_config *sc, const struct config *c,
                                 struct drupe_error *err)
{
    struct snapshot_file_id ours;
    int r = 0;

    if (c->root.fd < 0 || sc->root.size == 0) {
        return c->root.fd < 0 && sc->root.size == 0
                   ? DRUPE_OK
                   : error_set(err, DRUPE_IMAGE_MISMATCH, 0, "%s has no root image",
                               c->root.fd < 0 ? "the VM" : "the snapshot");
    }
    if (sc->root_mode != (uint32_t)c->root_mode) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0, "the root image is used in another way");
    }
    if (c->root_mode == DRUPE_ROOT_DISK_RW) {
        return DRUPE_OK; /* its contents are the guest's; the device checks the size */
    }
    r = file_identify(c->root.fd, false, &ours);
    if (r == 0 && is_same_file(&ours, &sc->root)) {
        return DRUPE_OK;
    }
    if (r == 0 && ours.size == sc->root.size) {
        r = file_identify(c->root.fd, true, &ours);
    }
    if (r < 0) {
        return error_set(err, DRUPE_NO_ACCESS, -r, "read root image %s", c->root.path);
    }
    return memcmp(ours.sha256, sc->root.sha256, sizeof(ours.sha256)) == 0
               ? DRUPE_OK
               : error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                           "root image %s is not the one of the snapshot", c->root.path);
}

static drupe_vm_err_t check_disks(const struct snapshot_config *sc, const struct config *c,
                                  bool is_clone, struct drupe_error *err)
{
    if (sc->disk_count != c->disk_count) {
        return mismatch(err, "disks:", sc->disk_count, c->disk_count);
    }
    for (unsigned i = 0; is_clone && i < c->disk_count; i++) {
        struct snapshot_file_id ours;

        if (!c->disks[i].is_read_only && file_identify(c->disks[i].fd, false, &ours) == 0 &&
            ours.device == sc->disks[i].device && ours.inode == sc->disks[i].inode) {
            return error_field(err, "disks",
                               "a clone needs a writable disk of its own in the place of %s",
                               c->disks[i].path);
        }
    }
    return DRUPE_OK;
}

drupe_vm_err_t describe_check(const struct snapshot_file *f, const struct config *c, bool is_clone,
                              struct drupe_error *err)
{
    const struct snapshot_state *h = f->state.header;
    drupe_vm_err_t r = DRUPE_OK;

    if (h->vcpus != c->vcpus) {
        return mismatch(err, "vCPUs:", h->vcpus, c->vcpus);
    }
    if (h->ram_size != c->memory_size) {
        return mismatch(err, "MiB of memory:", h->ram_size >> 20, c->memory_size >> 20);
    }
    if (f->config->stdio != (uint32_t)c->stdio) {
        return error_set(err, DRUPE_IMAGE_MISMATCH, 0,
                         "the snapshot's standard streams are of another kind than the VM's");
    }
    r = check_root(f->config, c, err);
    return r == DRUPE_OK ? check_disks(f->config, c, is_clone, err) : r;
}
