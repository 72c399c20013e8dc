/* The cache of completed runs. See cache.h for the contract.
 *
 * One table of recordings by key, the least recently used first, under one lock. The table of flights stands
 * under the same lock, so there is no moment at which a run that has just been answered is in neither.
 */
#include "upstream/cache_internal.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "upstream/recording_code.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A circuit that is quick to open and to try again: a run that waits for Redis in vain waits for its timeout.
 */
static const struct breaker_settings redis_breaker = {.failure_percent = 50,
                                                      .calls_min = 3,
                                                      .window_ms = 5000,
                                                      .recovery_ms = 500,
                                                      .recovery_max_ms = 10000,
                                                      .probes_max = 1};

/* Runs that are forgotten at once when memory is short. */
#define TRIM_MAX 64

struct cache_entry {
    char key[CACHE_KEY_SIZE];
    struct recording *recording; /* a reference */
    size_t bytes;
    int64_t expires_mono_ms;
    UT_hash_handle hh;
    TAILQ_ENTRY(cache_entry) link;
};

/* ---- making and discarding ----------------------------------------------------------------------- */

static void redis_shared_destroy(struct redis_shared *redis) {
    if (redis == NULL)
        return;
    breaker_destroy(redis->breaker);
    redis_resolver_destroy(redis->resolver);
    free(redis->password);
    free(redis);
}

/** False: out of memory, or the address cannot be read. */
static bool redis_shared_fill(struct redis_shared *redis, const struct cache_settings *settings) {
    if (settings->redis_password != NULL && settings->redis_password[0] != '\0') {
        redis->password = strdup(settings->redis_password);
        if (redis->password == NULL)
            return false;
    }
    struct redis_address address;
    if (!redis_address_parse(settings->redis, &address))
        return false;
    redis->resolver = redis_resolver_create(&address);
    redis->database = address.database;
    redis->timeout_ms = settings->redis_timeout_ms;
    redis->value_bytes_max = recording_code_bytes_max(settings->run_bytes_max);
    redis->breaker = breaker_create(&redis_breaker);
    return redis->resolver != NULL && redis->breaker != NULL;
}

struct cache *cache_create(const struct cache_settings *settings) {
    struct cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return NULL;
    cache->bytes_max = settings->bytes_max;
    cache->run_bytes_max = settings->run_bytes_max;
    lock_init(&cache->lock);
    TAILQ_INIT(&cache->by_use);
    if (settings->redis == NULL || settings->redis[0] == '\0')
        return cache;
    cache->redis = calloc(1, sizeof(*cache->redis));
    if (cache->redis != NULL && redis_shared_fill(cache->redis, settings))
        return cache;
    cache_destroy(cache);
    return NULL;
}

/** Takes an entry out of the table, to be freed without the lock. */
static void take_entry_out_locked(struct cache *cache, struct cache_entry *entry,
                                  struct cache_entry_list *ret_out) {
    lock_assert_held(&cache->lock);
    HASH_DEL(cache->entries, entry);
    TAILQ_REMOVE(&cache->by_use, entry, link);
    cache->bytes -= entry->bytes;
    TAILQ_INSERT_TAIL(ret_out, entry, link);
}

static void free_all(struct cache_entry_list *entries) {
    struct cache_entry *entry;
    while ((entry = TAILQ_FIRST(entries)) != NULL) {
        TAILQ_REMOVE(entries, entry, link);
        recording_unref(entry->recording);
        memory_release(MEMORY_RECORDINGS, sizeof(*entry));
        free(entry);
    }
}

void cache_destroy(struct cache *cache) {
    if (cache == NULL)
        return;
    assert(cache->flights == NULL && cache->flights_under_way == 0);
    HASH_CLEAR(hh, cache->entries);
    free_all(&cache->by_use);
    lock_finish(&cache->lock);
    redis_shared_destroy(cache->redis);
    free(cache);
}

/* ---- what is kept -------------------------------------------------------------------------------- */

struct recording *cache_find_locked(struct cache *cache, const char *key) {
    lock_assert_held(&cache->lock);
    struct cache_entry *entry;
    HASH_FIND_STR(cache->entries, key, entry);
    if (entry == NULL || entry->expires_mono_ms <= clock_mono_ms())
        return NULL; /* an old one goes when its place is needed, at the latest when its key is stored again
                      */
    TAILQ_REMOVE(&cache->by_use, entry, link);
    TAILQ_INSERT_TAIL(&cache->by_use, entry, link);
    cache->hits++;
    return recording_ref(entry->recording);
}

struct recording *cache_find(struct cache *cache, const char *key) {
    lock_acquire(&cache->lock);
    struct recording *recording = cache_find_locked(cache, key);
    lock_release(&cache->lock);
    return recording;
}

/** Makes room for `bytes` under that key. */
static void make_room_locked(struct cache *cache, const char *key, size_t bytes,
                             struct cache_entry_list *ret_out) {
    lock_assert_held(&cache->lock);
    struct cache_entry *same, *oldest;
    HASH_FIND_STR(cache->entries, key, same);
    if (same != NULL) {
        cache->expired += same->expires_mono_ms <= clock_mono_ms();
        take_entry_out_locked(cache, same, ret_out);
    }
    while ((oldest = TAILQ_FIRST(&cache->by_use)) != NULL && cache->bytes + bytes > cache->bytes_max) {
        bool is_old = oldest->expires_mono_ms <= clock_mono_ms();
        cache->expired += is_old;
        cache->evicted += !is_old;
        take_entry_out_locked(cache, oldest, ret_out);
    }
}

static bool add_entry_locked(struct cache *cache, struct cache_entry *entry) {
    lock_assert_held(&cache->lock);
    bool out_of_memory = false;
    HASH_ADD_STR(cache->entries, key, entry);
    if (out_of_memory)
        return false;
    TAILQ_INSERT_TAIL(&cache->by_use, entry, link);
    cache->bytes += entry->bytes;
    cache->stored++;
    return true;
}

void cache_store(struct cache *cache, const char *key, struct recording *recording, int64_t ttl_ms) {
    size_t bytes = recording_memory(recording) + memory_block(sizeof(struct cache_entry));
    bool is_too_large = !recording_is_whole(recording) || bytes > cache->bytes_max;
    struct cache_entry_list out = TAILQ_HEAD_INITIALIZER(out);
    struct cache_entry *entry = !is_too_large && ttl_ms > 0 ? calloc(1, sizeof(*entry)) : NULL;
    if (entry != NULL) {
        memory_charge(MEMORY_RECORDINGS, sizeof(*entry));
        memcpy(entry->key, key, strlen(key) + 1);
        entry->recording = recording_ref(recording);
        entry->bytes = bytes;
        entry->expires_mono_ms = clock_mono_ms() + ttl_ms;
    }
    lock_acquire(&cache->lock);
    cache->too_large += is_too_large;
    if (entry != NULL) {
        make_room_locked(cache, key, bytes, &out);
        if (!add_entry_locked(cache, entry))
            TAILQ_INSERT_TAIL(&out, entry, link);
    }
    lock_release(&cache->lock);
    free_all(&out);
}

uint64_t cache_trim(struct cache *cache, uint64_t bytes) {
    struct cache_entry_list out = TAILQ_HEAD_INITIALIZER(out);
    struct cache_entry *oldest;
    uint64_t count = 0;
    lock_acquire(&cache->lock);
    uint64_t before = cache->bytes;
    while ((oldest = TAILQ_FIRST(&cache->by_use)) != NULL && before - cache->bytes < bytes &&
           count < TRIM_MAX) {
        take_entry_out_locked(cache, oldest, &out);
        count++;
    }
    uint64_t trimmed = before - cache->bytes;
    lock_release(&cache->lock);
    free_all(&out);
    metrics_add(METRIC_MEMORY_RECORDINGS_DROPPED, count);
    return trimmed;
}

/* ---- what it stands at --------------------------------------------------------------------------- */

/* Up: it would be asked. */
static enum redis_state redis_state_of(struct redis_shared *redis) {
    int64_t retry_after_ms;
    bool would_pass = breaker_would_pass(redis->breaker, &retry_after_ms);
    return would_pass && atomic_load(&redis->connections) > 0 ? REDIS_UP : REDIS_AWAY;
}

void cache_get_info(struct cache *cache, struct cache_info *ret_info) {
    struct redis_shared *redis = cache->redis;
    lock_acquire(&cache->lock);
    *ret_info = (struct cache_info){.entries = HASH_COUNT(cache->entries),
                                    .bytes = cache->bytes,
                                    .flights = cache->flights_under_way,
                                    .hits = cache->hits,
                                    .joined = cache->joined,
                                    .misses = cache->misses,
                                    .stored = cache->stored,
                                    .evicted = cache->evicted,
                                    .expired = cache->expired,
                                    .too_large = cache->too_large};
    lock_release(&cache->lock);
    if (redis == NULL)
        return;
    ret_info->redis_state = redis_state_of(redis);
    ret_info->redis_connections = atomic_load(&redis->connections);
    ret_info->redis_hits = atomic_load_explicit(&redis->hits, memory_order_relaxed);
    ret_info->redis_misses = atomic_load_explicit(&redis->misses, memory_order_relaxed);
    ret_info->redis_stored = atomic_load_explicit(&redis->stored, memory_order_relaxed);
    ret_info->redis_errors = atomic_load_explicit(&redis->errors, memory_order_relaxed);
}

const char *redis_state_name(enum redis_state state) {
    static const char *const names[] = {[REDIS_OFF] = "off", [REDIS_UP] = "up", [REDIS_AWAY] = "away"};
    return names[state];
}
