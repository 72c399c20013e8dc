/* A flight: see flight.h. What happens to it happens on its worker's thread, but for the members under the
 * cache's lock.
 */
#include "upstream/flight.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/refcount.h"
#include "upstream/recording_code.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct flight {
    atomic_uint references; /* its worker's, and one of each follower */
    struct cache *cache;
    struct cache_worker *worker; /* until it is over */
    char key[CACHE_KEY_SIZE];
    size_t upstream;
    int64_t ttl_ms;
    struct upstream_preparer *preparer;
    struct recording *recording; /* a reference */
    struct redis_lookup lookup;
    struct upstream_call *call; /* NULL: not made yet, or over */
    bool is_held;               /* the call waits for room */
    bool is_whole;              /* the recording was when it was looked at last */
    struct inbox_item item;     /* to the worker */

    /* the cache's lock */
    bool is_listed; /* others may join */
    bool is_posted; /* the item is on its way */
    bool is_over;   /* nobody posts it any more */
    size_t followers;
    UT_hash_handle hh;
};

static void flight_unref(struct flight *flight) {
    if (!refcount_drop(&flight->references))
        return;
    recording_unref(flight->recording);
    memory_release(MEMORY_RECORDINGS, sizeof(*flight));
    free(flight);
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void unlist_locked(struct flight *flight) {
    lock_assert_held(&flight->cache->lock);
    if (flight->is_listed)
        HASH_DEL(flight->cache->flights, flight);
    flight->is_listed = false;
}

static void let_flight_go(struct flight *flight) {
    flight->worker->active--;
    flight_unref(flight);
}

/** The worker keeps it only for an item that is still on its way. */
static void be_over(struct flight *flight) {
    struct cache *cache = flight->cache;
    lock_acquire(&cache->lock);
    unlist_locked(flight);
    cache->flights_under_way--;
    flight->is_over = true;
    bool is_posted = flight->is_posted;
    lock_release(&cache->lock);
    flight->preparer->destroy(flight->preparer);
    flight->preparer = NULL;
    if (!is_posted)
        let_flight_go(flight);
}

static void end_flight(struct flight *flight, const struct upstream_result *result) {
    flight->call = NULL;
    recording_end(flight->recording, result);
    be_over(flight);
}

/** Nothing is under way any more: no call, no lookup. */
static void end_out_of_memory(struct flight *flight) {
    bool is_limit = memory_level() == MEMORY_OVER;
    char message[MEMORY_MESSAGE_SIZE];
    const struct upstream_result result = {.end = is_limit ? UPSTREAM_LIMIT : UPSTREAM_INTERNAL,
                                           .cause = is_limit ? CAUSE_MEMORY_LIMIT : CAUSE_MEMORY,
                                           .message =
                                               is_limit ? memory_full_message(message) : "Memory ran out."};
    end_flight(flight, &result);
}

static void share_flight(struct flight *flight) {
    struct redis_cache *redis = flight->worker->redis;
    if (redis == NULL || !recording_is_whole(flight->recording))
        return;
    struct buffer bytes;
    buffer_init_counted(&bytes, recording_code_bytes_max(recording_bytes(flight->recording)),
                        MEMORY_RECORDINGS);
    if (recording_encode(flight->recording, clock_unix_ms() + flight->ttl_ms, &bytes))
        redis_cache_set(redis, flight->key, bytes.bytes, bytes.length, flight->ttl_ms);
    buffer_finish(&bytes);
}

/* ---- the call ------------------------------------------------------------------------------------ */

static void stop_out_of_memory(struct flight *flight) {
    upstream_call_cancel(flight->call);
    end_out_of_memory(flight);
}

static void flight_on_sent(void *context) {
    struct flight *flight = context;
    if (!recording_append_sent(flight->recording))
        stop_out_of_memory(flight);
}

static bool flight_on_retry(void *context, const struct upstream_retry *retry) {
    struct flight *flight = context;
    bool is_kept = recording_append_retry(flight->recording, retry);
    if (!is_kept)
        end_out_of_memory(flight);
    return is_kept;
}

/** One that is not whole any more cannot be joined. */
static void check_flight_whole(struct flight *flight) {
    struct cache *cache = flight->cache;
    if (!flight->is_whole || recording_is_whole(flight->recording))
        return;
    flight->is_whole = false;
    lock_acquire(&cache->lock);
    unlist_locked(flight);
    lock_release(&cache->lock);
}

static bool flight_on_event(void *context, const struct sse_event *event) {
    struct flight *flight = context;
    if (!recording_append_event(flight->recording, event, recording_now_ms(flight->recording))) {
        end_out_of_memory(flight);
        return false;
    }
    check_flight_whole(flight);
    return true;
}

static bool flight_may_read(void *context) {
    struct flight *flight = context;
    flight->is_held = !recording_may_append(flight->recording);
    return !flight->is_held;
}

static void flight_on_end(void *context, const struct upstream_result *result) {
    struct flight *flight = context;
    /* What another upstream says, or a canned answer, is not what this one would say the next time. An answer
     * with a warning is not worth keeping. */
    bool is_own = upstream_call_upstream(flight->call) == flight->upstream;
    flight->call = NULL;
    recording_end(flight->recording, result);
    bool is_sound =
        result->end == UPSTREAM_COMPLETED && (result->outcome == NULL || result->outcome->warning[0] == '\0');
    if (is_sound && is_own) {
        cache_store(flight->cache, flight->key, flight->recording, flight->ttl_ms);
        share_flight(flight);
    }
    be_over(flight);
}

static void flight_call_upstream(struct flight *flight) {
    static const struct upstream_call_callbacks callbacks = {.on_sent = flight_on_sent,
                                                             .on_retry = flight_on_retry,
                                                             .on_event = flight_on_event,
                                                             .may_read = flight_may_read,
                                                             .on_end = flight_on_end};
    flight->call = upstream_call_start(flight->worker->upstream_worker, flight->upstream, flight->preparer,
                                       &callbacks, flight);
    if (flight->call == NULL)
        end_out_of_memory(flight);
}

/* ---- what Redis has ------------------------------------------------------------------------------ */

static bool is_followed(struct flight *flight) {
    lock_acquire(&flight->cache->lock);
    bool somebody_follows = flight->followers > 0;
    lock_release(&flight->cache->lock);
    return somebody_follows;
}

/** The recording is what Redis had, which is kept here as well. */
static void take_replay(struct flight *flight, struct recording *replay,
                        const struct upstream_outcome *outcome, int64_t ttl_ms) {
    const struct upstream_result result = {
        .end = UPSTREAM_COMPLETED, .http_status = 200, .message = "", .outcome = outcome};
    recording_append_replay(flight->recording, replay);
    recording_end(flight->recording, &result);
    cache_store(flight->cache, flight->key, flight->recording,
                ttl_ms < flight->ttl_ms ? ttl_ms : flight->ttl_ms);
    be_over(flight);
}

static void flight_on_value(struct redis_lookup *lookup, const char *bytes, size_t length) {
    struct flight *flight = CONTAINER_OF(lookup, struct flight, lookup);
    struct cache *cache = flight->cache;
    struct recording *replay = NULL;
    struct upstream_outcome outcome;
    int64_t expires_unix_ms = 0;
    int result = 0;
    if (bytes != NULL)
        result = recording_decode(bytes, length, cache->run_bytes_max, &replay, &outcome, &expires_unix_ms);
    int64_t ttl_ms = expires_unix_ms - clock_unix_ms();
    if (replay != NULL && ttl_ms > 0) {
        atomic_fetch_add_explicit(&cache->redis->hits, 1, memory_order_relaxed);
        take_replay(flight, replay, &outcome, ttl_ms);
    } else {
        if (result < 0)
            atomic_fetch_add_explicit(&cache->redis->errors, 1, memory_order_relaxed);
        if (is_followed(flight)) /* else its item is on its way */
            flight_call_upstream(flight);
    }
    recording_unref(replay);
}

/* ---- followers come and go ----------------------------------------------------------------------- */

static void flight_on_item(struct inbox_item *item) {
    struct flight *flight = CONTAINER_OF(item, struct flight, item);
    struct cache *cache = flight->cache;
    lock_acquire(&cache->lock);
    flight->is_posted = false;
    bool is_over = flight->is_over, is_left = flight->followers == 0;
    lock_release(&cache->lock);
    if (is_over) {
        let_flight_go(flight);
    } else if (is_left) {
        redis_cache_cancel(&flight->lookup);
        if (flight->call != NULL)
            upstream_call_cancel(flight->call);
        flight->call = NULL;
        be_over(flight);
    } else if (flight->is_held) {
        flight->is_held = false;
        upstream_call_resume(flight->call);
    }
}

static void post_locked(struct flight *flight) {
    lock_assert_held(&flight->cache->lock);
    if (flight->is_over || flight->is_posted)
        return;
    flight->is_posted = true;
    inbox_post(flight->worker->upstream_worker->inbox, &flight->item);
}

void flight_tell_room(struct flight *flight) {
    struct cache *cache = flight->cache;
    lock_acquire(&cache->lock);
    post_locked(flight);
    lock_release(&cache->lock);
}

void flight_leave(struct flight *flight, bool has_room) {
    struct cache *cache = flight->cache;
    lock_acquire(&cache->lock);
    flight->followers--;
    if (flight->followers == 0)
        unlist_locked(flight);
    if (flight->followers == 0 || has_room)
        post_locked(flight);
    lock_release(&cache->lock);
    flight_unref(flight);
}

static struct flight *create_locked(struct cache_worker *worker, const struct follower_start *start) {
    lock_assert_held(&worker->cache->lock);
    struct cache *cache = worker->cache;
    bool out_of_memory = false;
    struct flight *flight = calloc(1, sizeof(*flight));
    if (flight == NULL)
        return NULL;
    flight->recording = recording_create(cache->run_bytes_max);
    if (flight->recording == NULL)
        goto no_recording;
    flight->references = 1;
    flight->cache = cache;
    flight->worker = worker;
    memcpy(flight->key, start->key, strlen(start->key) + 1);
    flight->upstream = start->upstream;
    flight->ttl_ms = start->policy->ttl_ms;
    flight->preparer = start->preparer;
    flight->lookup.on_value = flight_on_value;
    flight->item.handle = flight_on_item;
    flight->is_whole = true;
    HASH_ADD_STR(cache->flights, key, flight);
    if (out_of_memory)
        goto not_listed;
    memory_charge(MEMORY_RECORDINGS, sizeof(*flight));
    flight->is_listed = true;
    cache->flights_under_way++;
    worker->active++;
    return flight;
not_listed:
    recording_unref(flight->recording);
no_recording:
    free(flight);
    return NULL;
}

struct flight *flight_board_locked(struct cache_worker *worker, const struct follower_start *start,
                                   struct recording_reader *reader, bool *ret_is_new) {
    lock_assert_held(&worker->cache->lock);
    struct cache *cache = worker->cache;
    struct flight *flight;
    HASH_FIND_STR(cache->flights, start->key, flight);
    *ret_is_new = flight == NULL || !recording_join(flight->recording, reader);
    if (*ret_is_new) {
        if (flight != NULL)
            unlist_locked(flight); /* its worker has not come round to it */
        flight = create_locked(worker, start);
        if (flight == NULL)
            return NULL;
        bool joined = recording_join(flight->recording, reader);
        assert(joined);
        (void)joined;
    }
    cache->misses += *ret_is_new;
    cache->joined += !*ret_is_new;
    flight->followers++;
    refcount_add(&flight->references);
    return flight;
}

void flight_begin(struct flight *flight) {
    struct redis_cache *redis = flight->worker->redis;
    if (redis == NULL || !redis_cache_get(redis, &flight->lookup, flight->key))
        flight_call_upstream(flight);
}
