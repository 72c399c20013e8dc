/* Hashes of bytes. Any thread.
 *
 * hash_bytes() is the same in every process. A sender can find collisions, so this hash must not choose a
 * place in a table.
 *
 * Tables use hash_seeded() (base/table.h): SipHash-1-3 with a key that hash_seed() draws at start. A sender
 * without that key cannot make keys that fall into one place.
 */
#ifndef SLUICE_BASE_HASH_H
#define SLUICE_BASE_HASH_H

#include "base/attributes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** FNV-1a, 64 bits. */
static inline uint64_t hash_bytes(const char *bytes, size_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return hash;
}

/** Draws a new random key. Called before other threads start and before any table has an entry. False: the
 * system has no random bytes, and the key is unchanged. */
bool hash_seed(void) MUST_CHECK;

uint64_t hash_seeded(const void *bytes, size_t length);

#endif
