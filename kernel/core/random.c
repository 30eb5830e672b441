/* SPDX-License-Identifier: Apache-2.0 */
/* The random number generator (contract in random.h). */
#include <abi/boot.h>
#include <arch/ops.h>
#include <base/bytes.h>
#include <core/boot.h>
#include <core/identity.h>
#include <core/lock.h>
#include <core/random.h>
#include <core/string.h>
#include <mm/page.h>
#include <syscall/syscall.h>
#include <syscall/uaccess.h>

#define KEY_WORDS   8u
#define BLOCK_WORDS 16u
#define BLOCK_BYTES 64u
#define KEY_BYTES   32u
#define POOL_BYTES  (BLOCK_BYTES - KEY_BYTES)

static struct spinlock lock = SPINLOCK_INIT(RANK_LOG); /* a leaf: nothing is called under it */
static uint32_t key[KEY_WORDS];
static uint64_t block_counter; /* never starts again, so no key and counter meet twice */
/* What a block that made a key has besides: its last pool_left bytes were not drawn yet. A draw
 * takes them off its end and wipes them, so they are as fresh as a block of their own would be. */
static uint8_t pool[POOL_BYTES];
static size_t pool_left;
static bool is_seeded;
static uint32_t generation; /* of the identity page whose entropy is in the key */

static inline uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static inline void quarter(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 7);
}

/* RFC 8439's block function with a 64-bit counter and no nonce. */
static void chacha20_block(const uint32_t k[KEY_WORDS], uint64_t counter, uint32_t out[BLOCK_WORDS])
{
    uint32_t in[BLOCK_WORDS] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

    memcpy(in + 4, k, KEY_BYTES);
    in[12] = (uint32_t)counter;
    in[13] = (uint32_t)(counter >> 32);
    in[14] = 0;
    in[15] = 0;
    memcpy(out, in, BLOCK_BYTES);
    for (unsigned round = 0; round < 10; round++) {
        quarter(out, 0, 4, 8, 12);
        quarter(out, 1, 5, 9, 13);
        quarter(out, 2, 6, 10, 14);
        quarter(out, 3, 7, 11, 15);
        quarter(out, 0, 5, 10, 15);
        quarter(out, 1, 6, 11, 12);
        quarter(out, 2, 7, 8, 13);
        quarter(out, 3, 4, 9, 14);
    }
    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        out[i] += in[i];
    }
}

/* A fresh block: its first half is the next key (the old one is gone with it), the second the pool.
 */
static void next_key_locked(void)
{
    uint32_t block[BLOCK_WORDS];

    chacha20_block(key, block_counter++, block);
    memcpy(key, block, KEY_BYTES);
    memcpy(pool, block + KEY_WORDS, POOL_BYTES);
    pool_left = POOL_BYTES;
    memset(block, 0, sizeof(block));
}

static void add_locked(const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        size_t n = min_of(size, (size_t)KEY_BYTES);
        uint8_t *to = (uint8_t *)key;

        for (size_t i = 0; i < n; i++) {
            to[i] ^= from[i];
        }
        next_key_locked();
        from += n;
        size -= n;
    }
}

/* All that there is at boot goes into the key at once, under one block. */
static void seed_locked(void)
{
    uint64_t seed[KEY_BYTES / 8] = { 0 };
    uint64_t before = cpu_counter();
    struct boot_args args;

    (void)arch_random(seed, sizeof(seed));
    seed[0] ^= before;
    seed[1] ^= cpu_counter();
    if (boot_args_header(&args)) {
        uint8_t *entropy =
            (uint8_t *)phys_to_virt(boot_info.ramdisk.start) + offsetof(struct boot_args, entropy);

        static_assert(sizeof(args.entropy) == sizeof(seed), "they are mixed word by word");
        for (unsigned i = 0; i < array_size(seed); i++) {
            seed[i] ^= load_le64(entropy + (size_t)i * 8);
        }
        memset(entropy, 0, sizeof(args.entropy)); /* nobody reads it a second time */
    }
    add_locked(seed, sizeof(seed));
    memset(seed, 0, sizeof(seed));
    generation = identity_generation(); /* the boot arguments' entropy is as new */
    is_seeded = true;
}

/* This machine is another one than it was, or a copy: the old key alone says the same in both. */
static NEVER_INLINE void take_identity_locked(void)
{
    uint8_t seed[sizeof(identity->entropy)];

    static_assert(sizeof(seed) == KEY_BYTES, "one block takes it all");
    do {
        generation = identity_generation();
        memcpy(seed, identity->entropy, sizeof(seed));
    } while (identity_generation() != generation);
    for (unsigned i = 0; i < sizeof(identity->id); i++) {
        seed[i] ^= identity->id[i];
    }
    memset(identity->entropy, 0, sizeof(identity->entropy)); /* nobody reads it a second time */
    add_locked(seed, sizeof(seed));
    memset(seed, 0, sizeof(seed));
}

void random_seed(void)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    if (!is_seeded) {
        seed_locked();
    }
    spin_unlock_irqrestore(&lock, flags);
}

void random_add(const void *bytes, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    add_locked(bytes, size);
    spin_unlock_irqrestore(&lock, flags);
}

/* `size` bytes that the pool has. */
static void draw_locked(void *buf, size_t size)
{
    pool_left -= size;
    memcpy(buf, pool + pool_left, size);
    memset(pool + pool_left, 0, size);
}

/* More than the pool ever has: blocks of a key that nobody else uses. */
static NEVER_INLINE void draw_much(uint8_t *to, size_t size, const uint32_t own[KEY_WORDS],
                                   uint64_t counter)
{
    uint32_t block[BLOCK_WORDS];

    while (size > 0) {
        size_t n = min_of(size, (size_t)BLOCK_BYTES);

        chacha20_block(own, counter++, block);
        memcpy(to, block, n);
        to += n;
        size -= n;
    }
    memset(block, 0, sizeof(block));
}

void random_bytes(void *buf, size_t size)
{
    uint64_t flags = spin_lock_irqsave(&lock);

    if (unlikely(!is_seeded)) {
        seed_locked();
    }
    if (unlikely(identity_generation() != generation)) {
        take_identity_locked();
    }
    if (likely(size <= POOL_BYTES)) {
        if (size > pool_left) {
            next_key_locked();
        }
        draw_locked(buf, size);
        spin_unlock_irqrestore(&lock, flags);
        return;
    }
    uint32_t own[KEY_WORDS];
    uint64_t counter = block_counter;

    memcpy(own, key, KEY_BYTES);
    block_counter += div_ceil(size, BLOCK_BYTES);
    next_key_locked();
    spin_unlock_irqrestore(&lock, flags);
    draw_much(buf, size, own, counter);
    memset(own, 0, sizeof(own));
}

#define GRND_NONBLOCK 1u
#define GRND_RANDOM   2u
#define GRND_INSECURE 4u

long sys_getrandom(void __user *buf, size_t size, unsigned flags)
{
    uint8_t chunk[256];
    size_t done = 0;

    if ((flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) ||
        (flags & (GRND_RANDOM | GRND_INSECURE)) == (GRND_RANDOM | GRND_INSECURE)) {
        return -EINVAL;
    }
    size = min_of(size, (size_t)0x7fffffff);
    while (done < size) {
        size_t n = min_of(size - done, sizeof(chunk));
        size_t missing;

        random_bytes(chunk, n);
        missing = copy_to_user_partial((char __user *)buf + done, chunk, n);
        done += n - missing;
        if (missing > 0) {
            return done > 0 ? (long)done : -EFAULT;
        }
    }
    return (long)done;
}
