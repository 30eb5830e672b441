/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line and the list of RAM. Words are indexed once, so that a look-up compares lengths
 * only: the boot path asks for some twenty options.
 */

#include <abi/boot.h>
#include <arch/ops.h>
#include <base/bytes.h>
#include <core/boot.h>
#include <core/log.h>
#include <core/string.h>
#include <mm/page.h>

#define WORDS_MAX 128u
#define BUCKETS   64u

struct boot_info boot_info;

static struct word {
    uint16_t start; /* in the command line */
    uint16_t key;   /* length of what it is found by: "name=" or a bare word */
    uint16_t length;
    uint8_t next; /* number of another word of this bucket that stands before it, 0: none */
    bool is_known;
} words[WORDS_MAX];

static unsigned word_count;

/* By key: number from 1 of the last word in it, 0: none. */
static uint8_t buckets[BUCKETS];

#define KEY(text)                                                                                  \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

/* Those that Drupe's monitor gives come first. */
static const struct {
    const char *text;
    size_t length;
} known_keys[] = {
    KEY("virtio_mmio.device="),
    KEY("drupe.status="),
    KEY("drupe.ram="),
    KEY("drupe.identity="),
    KEY("drupe.nocpu="),
    KEY("drupe.copy="),
    KEY("drupe.tsc="),
    KEY("root="),
    KEY("drupe.share="),
    KEY("drupe.rlimit="),
    KEY("rootflags="),
    KEY("console="),
    KEY("quiet"),
    KEY("reboot="),
    KEY("panic="),
    KEY("init="),
    KEY("loglevel="),
    KEY("maxcpus="),
    KEY("nosmp"),
    KEY("mem="),
    KEY("norandmaps"),
    KEY("drupe.test="),
    KEY("ip="),
    KEY("earlyprintk="),
    KEY("rw"),
    KEY("ro"),
    KEY("rootfstype="),
    KEY("BOOT_IMAGE="),
};

/* Control characters separate words too; so does the end. */
static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* The length of the word at p and, in *key, of its part up to the first '=', which belongs to it.
 */
static size_t scan_word(const char *p, size_t *key)
{
    size_t n = 0;

    *key = 0;
    for (;; n += 8) { /* the line's buffer goes on behind its end */
        uint64_t word = load_le64(p + n);
        uint64_t ends = bytes_below(word, ' ' + 1);
        uint64_t equals = *key == 0 ? bytes_zero(word ^ BYTES_OF('=')) : 0;

        if (equals && (!ends || bytes_first(equals) < bytes_first(ends))) {
            *key = n + bytes_first(equals) + 1;
        }
        if (ends) {
            n += bytes_first(ends);
            break;
        }
    }
    *key = *key ? *key : n;
    return n;
}

/* Keys that are asked for at boot fall into buckets of their own, nearly. */
static ALWAYS_INLINE unsigned bucket_of(const char *key, size_t length)
{
    return ((unsigned char)key[0] * 5u + (unsigned char)key[length / 2] + (unsigned)length * 11u) %
           BUCKETS;
}

static void add_word(const char *p, size_t key, size_t length)
{
    uint8_t *bucket = &buckets[bucket_of(p, key)];

    words[word_count++] = (struct word){
        .start = (uint16_t)(p - boot_info.command_line),
        .key = (uint16_t)key,
        .length = (uint16_t)length,
        .next = *bucket,
    };
    *bucket = (uint8_t)word_count;
}

static void index_words(void)
{
    const char *p = boot_info.command_line;

    static_assert(WORDS_MAX <= UINT8_MAX, "numbers of words are bytes");
    word_count = 0;
    memset(buckets, 0, sizeof(buckets));
    while (*p) {
        size_t key;
        size_t length;

        if (is_blank(*p)) {
            p++;
            continue;
        }
        if (p[0] == '-' && p[1] == '-' && is_blank(p[2])) {
            return; /* the rest is the workload's */
        }
        if (word_count == WORDS_MAX) {
            log_warn("boot: more than %u options; the rest is ignored", WORDS_MAX);
            return;
        }
        length = scan_word(p, &key);
        add_word(p, key, length);
        p += length;
    }
}

static const char *text_of(const struct word *w)
{
    return boot_info.command_line + w->start;
}

static bool has_key(const struct word *w, const char *key, size_t key_length)
{
    return w->key == key_length && memcmp(text_of(w), key, key_length) == 0;
}

/* The next word with this key, from word number `at` backwards; NULL: none. */
static struct word *find_back(unsigned at, const char *key, size_t key_length)
{
    for (; at != 0; at = words[at - 1].next) {
        if (has_key(&words[at - 1], key, key_length)) {
            return &words[at - 1];
        }
    }
    return NULL;
}

const char *boot_option_find(const char *key, size_t key_length, size_t *length)
{
    const struct word *w = find_back(buckets[bucket_of(key, key_length)], key, key_length);

    if (!w) {
        return NULL;
    }
    *length = (size_t)w->length - w->key;
    return text_of(w) + w->key;
}

const char *boot_option_at(const char *key, unsigned n, size_t *length)
{
    size_t key_length = strlen(key);

    if (buckets[bucket_of(key, key_length)] == 0) {
        return NULL;
    }
    for (const struct word *w = words; w < words + word_count; w++) {
        if (has_key(w, key, key_length) && n-- == 0) {
            *length = (size_t)w->length - w->key;
            return text_of(w) + w->key;
        }
    }
    return NULL;
}

static unsigned digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0');
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* Decimal or 0x number with an optional K, M, G; advances *p behind it. False: none, or too large.
 */
static bool parse_number(const char **p, const char *end, uint64_t *value)
{
    uint64_t v = 0;
    const char *s = *p;
    const char *first;
    unsigned shift = 0;

    if (end - s > 2 && s[0] == '0' && (s[1] | 0x20) == 'x') {
        s += 2;
        for (first = s; s < end && digit_of(*s) < 16; s++) {
            if (v >> 60 != 0) {
                return false;
            }
            v = v << 4 | digit_of(*s);
        }
    } else {
        for (first = s; s < end && digit_of(*s) < 10; s++) {
            if (!checked_mul(v, 10u, &v) || !checked_add(v, digit_of(*s), &v)) {
                return false;
            }
        }
    }
    if (s == first) {
        return false;
    }
    if (s < end) {
        switch (*s | 0x20) {
        case 'k':
            shift = 10;
            break;
        case 'm':
            shift = 20;
            break;
        case 'g':
            shift = 30;
            break;
        default:
            break;
        }
    }
    if (v > UINT64_MAX >> shift) {
        return false;
    }
    *value = v << shift;
    *p = s + (shift ? 1 : 0);
    return true;
}

bool boot_option_u64(const char *key, uint64_t *value)
{
    size_t length;
    const char *text = boot_option_find(key, strlen(key), &length);
    uint64_t v;

    if (!text) {
        return false;
    }
    const char *p = text;

    if (!parse_number(&p, text + length, &v) || p != text + length) {
        log_warn("boot: %s%.*s is not a number; ignored", key, (int)length, text);
        return false;
    }
    *value = v;
    return true;
}

/* SIZE@BASE:IRQ[:ID], as Linux's virtio_mmio.device. */
static bool parse_virtio(const char *p, const char *end, struct boot_virtio *out)
{
    uint64_t irq;

    if (!parse_number(&p, end, &out->size) || p == end || *p++ != '@' ||
        !parse_number(&p, end, &out->base) || p == end || *p++ != ':' ||
        !parse_number(&p, end, &irq)) {
        return false;
    }
    out->irq = (unsigned)irq;
    /* 0x100 bytes of registers and some configuration; below the CPU's physical limit. */
    return (p == end || *p == ':') && irq < 1024 && out->size >= 0x200 &&
           range_fits(out->base, out->size, UINT64_C(1) << 46);
}

static void add_virtio(const char *text, size_t length)
{
    struct boot_virtio v;

    if (!parse_virtio(text, text + length, &v)) {
        log_warn("boot: virtio_mmio.device=%.*s: want SIZE@BASE:IRQ; ignored", (int)length, text);
    } else if (boot_info.virtio_count == BOOT_VIRTIO_MAX) {
        log_warn("boot: more than %u virtio devices; ignored", BOOT_VIRTIO_MAX);
    } else {
        boot_info.virtio[boot_info.virtio_count++] = v;
    }
}

/* The devices, in order, and a word about those that nobody knows. */
static void read_words(void)
{
    for (size_t k = 0; k < array_size(known_keys); k++) {
        unsigned at = buckets[bucket_of(known_keys[k].text, known_keys[k].length)];

        while (at != 0) {
            struct word *w = find_back(at, known_keys[k].text, known_keys[k].length);

            if (!w) {
                break;
            }
            w->is_known = true;
            at = w->next;
        }
    }
    for (const struct word *w = words; w < words + word_count; w++) {
        if (!w->is_known) {
            log_info("boot: unknown option %.*s ignored", (int)w->length, text_of(w));
        } else if (has_key(w, known_keys[0].text, known_keys[0].length)) {
            add_virtio(text_of(w) + w->key, (size_t)w->length - w->key);
        }
    }
}

/* root=mem:<gpa>,<size> */
static void read_root(void)
{
    size_t length;
    const char *p = boot_option("root=", &length);
    struct phys_range r;

    if (!p || length < 4 || strncmp(p, "mem:", 4) != 0) {
        return;
    }
    const char *end = p + length;

    p += 4;
    if (!parse_number(&p, end, &r.start) || p == end || *p++ != ',' ||
        !parse_number(&p, end, &r.size) || p != end || r.size == 0 ||
        !is_aligned(r.start, PAGE_SIZE) || !range_fits(r.start, r.size, UINT64_C(1) << 46)) {
        boot_fail("bad root=mem:<address>,<size> on the command line");
    }
    boot_info.root_image = r;
}

/* mem=: forget RAM above it. */
static void limit_ram(uint64_t limit)
{
    unsigned kept = 0;

    limit = align_down(limit, PAGE_SIZE);
    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        struct phys_range r = boot_info.ram[i];

        if (r.start < limit) {
            r.size = min_of(r.size, limit - r.start);
            boot_info.ram[kept++] = r;
        }
    }
    boot_info.ram_count = kept;
}

void boot_options_apply(void)
{
    uint64_t value;
    size_t length;
    const char *text;

    index_words();
    if (boot_option("quiet", &length)) {
        log_set_console_level(LOG_WARN);
    }
    if (boot_option_u64("loglevel=", &value)) {
        log_set_console_level((int)min_of(value, UINT64_C(7)));
    }
    read_words();
    if (boot_option_u64("drupe.status=", &value) && value <= 0xffff) {
        boot_info.status_port = (unsigned)value;
    }
    (void)boot_option_u64("drupe.identity=", &boot_info.identity);
    if (boot_option_u64("drupe.copy=", &value) && value <= 0xffff) {
        boot_info.copy_port = (unsigned)value;
    }
    text = boot_option("drupe.tsc=", &length);
    boot_info.has_host_counter = text && length == 4 && memcmp(text, "host", 4) == 0;
    text = boot_option("drupe.ram=", &length);
    boot_info.ram_is_zero = text && length == 4 && memcmp(text, "zero", 4) == 0;
    if (boot_option_u64("mem=", &value)) {
        limit_ram(value);
    }
    read_root();
}

void boot_ram_add(paddr_t start, uint64_t size)
{
    uint64_t end;
    unsigned at = 0;
    struct phys_range *ram = boot_info.ram;

    if (!checked_add(start, size, &end) || end > UINT64_C(1) << 46) {
        log_warn("boot: RAM range at 0x%lx is out of bounds; ignored", start);
        return;
    }
    start = align_up(start, PAGE_SIZE);
    end = align_down(end, PAGE_SIZE);
    if (start >= end) {
        return;
    }
    while (at < boot_info.ram_count && ram[at].start < start) {
        at++;
    }
    if ((at > 0 && ram[at - 1].start + ram[at - 1].size > start) ||
        (at < boot_info.ram_count && end > ram[at].start)) {
        log_warn("boot: RAM range at 0x%lx overlaps another; ignored", start);
        return;
    }
    if (boot_info.ram_count == BOOT_RAM_RANGES_MAX) {
        log_warn("boot: more than %u RAM ranges; ignored", BOOT_RAM_RANGES_MAX);
        return;
    }
    memmove(ram + at + 1, ram + at, (boot_info.ram_count - at) * sizeof(*ram));
    ram[at] = (struct phys_range){ .start = start, .size = end - start };
    boot_info.ram_count++;
}

bool boot_args_header(struct boot_args *out)
{
    paddr_t pa = boot_info.ramdisk.start;

    if (boot_info.ramdisk.size < sizeof(*out) || pt_direct_map(pa, sizeof(*out), false) < 0) {
        return false;
    }
    memcpy(out, phys_to_virt(pa), sizeof(*out));
    memset(out->entropy, 0, sizeof(out->entropy));
    return out->magic == BOOT_ARGS_MAGIC && out->version == BOOT_ARGS_VERSION &&
           out->size >= sizeof(*out) && out->size <= boot_info.ramdisk.size;
}
