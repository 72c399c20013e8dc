/* The cache of completed runs, and the single flight of those under way. All workers share one.
 *
 *     run --- follower ---+
 *                         +--- recording <--- flight --- call --- upstream
 *     run --- follower ---+        live: one call for all that ask the same
 *
 *     run --- follower ------- recording
 *                                  kept in memory, or come from Redis
 *
 * The cache keeps recordings in memory, least recently used out first, bounded in bytes and in age. Runs
 * follow recordings: see follower.h.
 */
#ifndef SLUICE_UPSTREAM_CACHE_H
#define SLUICE_UPSTREAM_CACHE_H

#include "upstream/recording.h"

struct cache_settings {
    uint64_t bytes_max;       /* of all that is kept in memory; 0: nothing is */
    uint64_t run_bytes_max;   /* a recording above it is not kept, and not held as a whole */
    char *redis;              /* see redis_address.h; NULL or "": none */
    char *redis_password;     /* NULL or "": none */
    int64_t redis_timeout_ms; /* of a connection or an answer: it counts as away then */
};

enum redis_state { REDIS_OFF, REDIS_UP, REDIS_AWAY };

/** What it stands at, and what it did ever. */
struct cache_info {
    uint64_t entries, bytes, flights;
    uint64_t hits;   /* found in memory */
    uint64_t joined; /* followed a flight that was under way */
    uint64_t misses; /* began a flight */
    uint64_t stored, evicted, expired;
    uint64_t too_large; /* completed runs above run_bytes_max, or above bytes_max: not kept */
    enum redis_state redis_state;
    uint64_t redis_connections; /* of the workers' */
    uint64_t redis_hits, redis_misses, redis_stored;
    uint64_t redis_errors; /* no answer, an error for an answer, or a value that is none of ours */
};

struct cache;

/** `settings` are copied. NULL: out of memory, or the address of Redis cannot be read. */
struct cache *cache_create(const struct cache_settings *settings) MUST_CHECK;

/** All workers' parts are closed (follower.h). Takes NULL. */
void cache_destroy(struct cache *cache);

/** What is kept under the key (cache_key.h), a reference for the caller, counted as a hit; or NULL. Any
 * thread. */
struct recording *cache_find(struct cache *cache, const char *key) MUST_CHECK;

/** Memory is short: forgets what was not used for the longest time, of about `bytes`, or less: the work of
 * one call is bounded. Returns the bytes; 0: nothing is kept any more. Any thread. */
uint64_t cache_trim(struct cache *cache, uint64_t bytes);

/** Any thread. */
void cache_get_info(struct cache *cache, struct cache_info *ret_info);

/** "off", "up", "away" */
const char *redis_state_name(enum redis_state state);

#endif
