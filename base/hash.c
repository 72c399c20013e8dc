/* The seeded hash, SipHash-1-3 (Aumasson and Bernstein, 2012): one round for each eight bytes, three at the
 * end.
 *
 * The short form is enough here: the values are never shown, and a sender learns of collisions by time alone. */
#include "base/hash.h"

#include <string.h>
#include <sys/random.h>

/* Zero until hash_seed(): unit tests need no seed. */
static uint64_t key[2];

bool hash_seed(void) {
    uint64_t drawn[2];
    if (getrandom(drawn, sizeof(drawn), 0) != sizeof(drawn))
        return false;
    memcpy(key, drawn, sizeof(key));
    return true;
}

struct state {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t word, int bits) {
    return word << bits | word >> (64 - bits);
}

static inline void mix_state(struct state *s) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void absorb_word(struct state *s, uint64_t word) {
    s->v3 ^= word;
    mix_state(s);
    s->v0 ^= word;
}

/* The next `count` bytes, at most eight, the first one lowest. */
static inline uint64_t load_word(const unsigned char *bytes, size_t count) {
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << (8 * i);
    return word;
}

uint64_t hash_seeded(const void *bytes, size_t length) {
    struct state s = {.v0 = key[0] ^ 0x736f6d6570736575u,
                      .v1 = key[1] ^ 0x646f72616e646f6du,
                      .v2 = key[0] ^ 0x6c7967656e657261u,
                      .v3 = key[1] ^ 0x7465646279746573u};
    const unsigned char *at = bytes;
    size_t left = length;
    for (; left >= 8; left -= 8, at += 8)
        absorb_word(&s, load_word(at, 8));
    absorb_word(&s, load_word(at, left) | (uint64_t)length << 56);
    s.v2 ^= 0xff;
    for (int round = 0; round < 3; round++)
        mix_state(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
