/* The cache that gateways share: recordings as bytes in Redis. A worker has one connection, made as soon as
 * its loop runs and made again, later and later, when it was lost. While there is none, or the circuit is
 * open, nothing is asked and nothing is waited for.
 */
#ifndef SLUICE_UPSTREAM_REDIS_CACHE_H
#define SLUICE_UPSTREAM_REDIS_CACHE_H

#include "upstream/breaker.h"
#include "upstream/notice.h"
#include "upstream/redis_address.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/** What all workers share of it. */
struct redis_shared {
    struct redis_resolver *resolver;
    uint32_t database;
    char *password; /* NULL: none */
    int64_t timeout_ms;
    size_t value_bytes_max;  /* what is larger is neither read nor written */
    struct breaker *breaker; /* around the commands */
    _Atomic uint64_t connections;
    atomic_bool is_away;                           /* and that was told */
    _Atomic uint64_t hits, misses, stored, errors; /* ever; hits are counted by who can read the value */
};

struct redis_cache;

/** Who asks; embedded. */
struct redis_lookup {
    /** The value, valid in the call; NULL: there is none, or it is not to be had. */
    void (*on_value)(struct redis_lookup *lookup, const char *bytes, size_t length);
    struct redis_job *job; /* NULL: nothing is asked */
};

/** `shared` outlives it. NULL: out of memory. */
struct redis_cache *redis_cache_create(uv_loop_t *loop, struct redis_shared *shared,
                                       upstream_notify *notify) MUST_CHECK;

/** Asks; an answer comes within the timeout, not before this returns. False: there will be none. */
bool redis_cache_get(struct redis_cache *redis, struct redis_lookup *lookup, const char *key) MUST_CHECK;

/** Wants no answer any more; nothing happens if none is due. */
void redis_cache_cancel(struct redis_lookup *lookup);

/** Keeps a value for so long, if it can be done: nobody is told. */
void redis_cache_set(struct redis_cache *redis, const char *key, const char *bytes, size_t length,
                     int64_t ttl_ms);

/** Takes NULL. The loop frees it in its next turns; lookups get no answer any more. */
void redis_cache_close(struct redis_cache *redis);

#endif
