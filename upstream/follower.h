/* What a run of a caching upstream holds instead of a call: it follows a recording, whether that is kept,
 * comes from Redis, or is still written by a flight (flight.h). To the run it is like a call: the same
 * callbacks, on the thread of its own worker, whichever worker the flight is on.
 *
 *     start: in memory?  -> a replay
 *            a flight?   -> joins it: what it has so far, then what comes
 *            else        -> begins one: Redis is asked first, then the upstream
 *
 * A flight belongs to none of its followers. The last one that leaves before its end cancels it.
 */
#ifndef SLUICE_UPSTREAM_FOLLOWER_H
#define SLUICE_UPSTREAM_FOLLOWER_H

#include "upstream/cache.h"

/* ---- a worker's part of the cache ---------------------------------------------------------------- */

struct cache_worker;

/** `cache` and `upstream_worker` outlive it; it connects to Redis if there is one. NULL: out of memory. */
struct cache_worker *cache_worker_create(struct cache *cache,
                                         struct upstream_worker *upstream_worker) MUST_CHECK;

/** Followers and flights of this worker: while there is one, others may post to its inbox. */
size_t cache_worker_active(const struct cache_worker *worker);

/** Nothing is active. Its handles are closed, the loop frees what is left in its next turns. Takes NULL. */
void cache_worker_close(struct cache_worker *worker);

/* ---- followers ----------------------------------------------------------------------------------- */

enum follower_source {
    FOLLOWER_UPSTREAM, /* its own flight; or Redis has not answered yet */
    FOLLOWER_JOINED,   /* another one's flight */
    FOLLOWER_MEMORY,
    FOLLOWER_REDIS,
};

struct follower_start {
    const char *key;                    /* cache_key_make() */
    size_t upstream;                    /* index: where a flight begins */
    const struct cache_policy *policy;  /* looked at while it starts */
    struct recording *found;            /* from cache_find(), the reference is taken over; NULL: look again */
    struct upstream_preparer *preparer; /* taken over; destroyed when it is not needed, or no longer */
    /** on_sent(), on_retry(), on_event(), may_read() and on_end(), as a call's (call.h). What is replayed was not sent, and not retried. */
    const struct upstream_call_callbacks *callbacks;
    void *context;
};

struct follower;

/** No callback before it returns. NULL: out of memory; what was to be taken over is gone in any case. */
struct follower *follower_start(struct cache_worker *worker, const struct follower_start *start) MUST_CHECK;

/** Lets a follower go on that may_read() has held. */
void follower_resume(struct follower *follower);

/** Ends it without a callback; also from within its own callbacks. */
void follower_cancel(struct follower *follower);

/** Where its events come from: what it says in on_event() and on_end() is the truth. */
enum follower_source follower_source(const struct follower *follower);

/** Whether the answer had been given before: it came from memory or Redis. */
static inline bool follower_source_is_cached(enum follower_source source) {
    return source == FOLLOWER_MEMORY || source == FOLLOWER_REDIS;
}

#endif
