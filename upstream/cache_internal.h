/* What the parts of the cache share: the store of recordings and the table of flights, under one lock. */
#ifndef SLUICE_UPSTREAM_CACHE_INTERNAL_H
#define SLUICE_UPSTREAM_CACHE_INTERNAL_H

#include "base/table.h"
#include "upstream/cache_key.h"
#include "upstream/follower.h"
#include "upstream/redis_cache.h"

struct cache_entry;
struct flight;
TAILQ_HEAD(cache_entry_list, cache_entry);

/** Order of locks: the cache's, then a recording's, then an inbox's. */
struct cache {
    uint64_t bytes_max;
    size_t run_bytes_max;
    struct redis_shared *redis; /* NULL: there is none */
    struct lock lock;
    /* lock */
    struct cache_entry *entries;    /* uthash, by key */
    struct cache_entry_list by_use; /* the one used last comes last */
    uint64_t bytes;
    struct flight *flights; /* uthash, by key: those that may be joined */
    uint64_t flights_under_way;
    uint64_t hits, joined, misses, stored, evicted, expired, too_large;
};

struct cache_worker {
    struct cache *cache;
    struct upstream_worker *upstream_worker;
    struct redis_cache *redis; /* NULL: there is none */
    size_t active;
};

/** What is kept and not too old, a reference for the caller, counted as a hit; or NULL. */
struct recording *cache_find_locked(struct cache *cache, const char *key) MUST_CHECK;

/** Keeps a recording that has ended as completed, unless it is too large or memory is out. */
void cache_store(struct cache *cache, const char *key, struct recording *recording, int64_t ttl_ms);

#endif
