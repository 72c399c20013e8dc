/* What a run of a caching upstream holds: see follower.h.
 *
 * All that it tells its run it tells when its item is handled, which is posted by whoever has something for
 * it: the writer of the recording, its timer, or itself when there is more than goes into one turn of the
 * loop.
 */
#include "upstream/flight.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/memory_budget.h"

#include <assert.h>
#include <stdlib.h>

/* Entries in one turn of the loop: others want theirs. */
#define TURN_MAX 64

struct follower {
    struct cache_worker *worker;
    const struct upstream_call_callbacks *callbacks;
    void *context;
    enum follower_source source;
    struct flight *flight; /* a reference; NULL: a replay from memory, or over */
    struct recording_reader reader;
    struct recording_batch batch;
    size_t at; /* in the batch */
    struct inbox_item item;
    bool is_paced;
    bool is_held; /* may_read() said no */
    bool is_over; /* no callback any more; freed as soon as it may be: */
    bool is_busy; /* in its item's handler */
    bool is_due;  /* it has left, and its item is still on its way */
    bool has_timer;
    uv_timer_t timer;
    int64_t replay_mono_ms; /* paced: when the replay began; 0: not yet */
};

/* ---- the end ------------------------------------------------------------------------------------- */

static void free_if_done(struct follower *follower) {
    if (follower->is_due || follower->has_timer)
        return;
    follower->worker->active--;
    memory_release(MEMORY_RECORDINGS, sizeof(*follower));
    free(follower);
}

static void follower_on_timer_closed(uv_handle_t *handle) {
    struct follower *follower = handle->data;
    follower->has_timer = false;
    free_if_done(follower);
}

/** Follows no more. Not in a callback, which may still look at an entry. */
static void leave_flight(struct follower *follower) {
    bool has_room;
    follower->is_due = recording_leave(&follower->reader, &has_room);
    if (follower->flight != NULL)
        flight_leave(follower->flight, has_room);
    follower->flight = NULL;
    if (follower->has_timer)
        uv_close((uv_handle_t *)&follower->timer, follower_on_timer_closed);
    free_if_done(follower);
}

/* ---- what is told -------------------------------------------------------------------------------- */

static void follower_on_timer(uv_timer_t *timer) {
    struct follower *follower = timer->data;
    recording_nudge(&follower->reader);
}

/** Whether the entry of a paced replay is due; else the timer tells when it is. */
static bool is_time_for(struct follower *follower, const struct recording_entry *entry) {
    int64_t now_ms = clock_mono_ms();
    if (follower->replay_mono_ms == 0)
        follower->replay_mono_ms = now_ms;
    int64_t left_ms = follower->replay_mono_ms + entry->at_ms - now_ms;
    if (left_ms <= 0)
        return true;
    if (!follower->has_timer) {
        uv_timer_init(follower->worker->upstream_worker->loop, &follower->timer);
        follower->timer.data = follower;
        follower->has_timer = true;
    }
    uv_timer_start(&follower->timer, follower_on_timer, (uint64_t)left_ms, 0);
    return false;
}

static void tell_entry(struct follower *follower, const struct recording_entry *entry) {
    const struct upstream_call_callbacks *callbacks = follower->callbacks;
    switch (entry->kind) {
    case RECORDING_EVENT:
        if (!callbacks->on_event(follower->context, &entry->event))
            follower->is_over = true;
        break;
    case RECORDING_SENT:
        callbacks->on_sent(follower->context);
        break;
    case RECORDING_RETRY:
        if (!callbacks->on_retry(follower->context, entry->retry))
            follower->is_over = true;
        break;
    }
}

/** Makes sure that there is an entry at hand. False: there is none now, or it was the end, which is told. */
static bool fetch_entry(struct follower *follower) {
    struct recording_batch *batch = &follower->batch;
    if (follower->at < batch->count)
        return true;
    recording_read(&follower->reader, batch);
    follower->at = 0;
    if (batch->is_replay && follower->source != FOLLOWER_MEMORY)
        follower->source = FOLLOWER_REDIS;
    if (batch->has_room)
        flight_tell_room(follower->flight);
    if (batch->is_end) {
        follower->is_over = true;
        follower->callbacks->on_end(follower->context, recording_result(follower->reader.recording));
    }
    return batch->count > 0;
}

/** Tells the next entry. False: not now, or nothing more. */
static bool tell_next(struct follower *follower) {
    if (!fetch_entry(follower))
        return false;
    const struct recording_entry *entry = follower->batch.entries[follower->at];
    bool is_replay = follower_source_is_cached(follower->source);
    if (is_replay && entry->kind != RECORDING_EVENT) {
        follower->at++; /* that was told to others, then */
        return true;
    }
    if (is_replay && follower->is_paced && !is_time_for(follower, entry))
        return false;
    follower->is_held =
        follower->callbacks->may_read != NULL && !follower->callbacks->may_read(follower->context);
    if (follower->is_held || follower->is_over)
        return false;
    follower->at++;
    tell_entry(follower, entry);
    return !follower->is_over;
}

static void tell_some(struct follower *follower) {
    for (int i = 0; i < TURN_MAX; i++) {
        if (!tell_next(follower))
            return;
    }
    recording_nudge(&follower->reader);
}

static void follower_on_item(struct inbox_item *item) {
    struct follower *follower = CONTAINER_OF(item, struct follower, item);
    if (follower->is_due) {
        follower->is_due = false;
        free_if_done(follower);
        return;
    }
    recording_heard(&follower->reader);
    follower->is_busy = true;
    if (!follower->is_held)
        tell_some(follower);
    follower->is_busy = false;
    if (follower->is_over)
        leave_flight(follower);
}

static void follower_on_more(struct recording_reader *reader) {
    struct follower *follower = CONTAINER_OF(reader, struct follower, reader);
    inbox_post(follower->worker->upstream_worker->inbox, &follower->item);
}

/* ---- what the run asks for ----------------------------------------------------------------------- */

void follower_resume(struct follower *follower) {
    if (!follower->is_held)
        return;
    follower->is_held = false;
    recording_nudge(&follower->reader);
}

void follower_cancel(struct follower *follower) {
    if (follower->is_over) {
        broken_state_note("upstream/follower.c: cancelled after its end");
        return;
    }
    follower->is_over = true;
    if (!follower->is_busy)
        leave_flight(follower);
}

enum follower_source follower_source(const struct follower *follower) {
    return follower->source;
}

/** Has the reader join what there is, or a new flight. False: out of memory. */
static bool join_flight(struct follower *follower, const struct follower_start *start, bool *ret_is_new) {
    struct cache *cache = follower->worker->cache;
    struct recording *found = start->found;
    *ret_is_new = false;
    if (found == NULL) {
        lock_acquire(&cache->lock);
        found = cache_find_locked(cache, start->key);
        if (found == NULL)
            follower->flight = flight_board_locked(follower->worker, start, &follower->reader, ret_is_new);
        lock_release(&cache->lock);
    }
    if (found == NULL) {
        follower->source = *ret_is_new ? FOLLOWER_UPSTREAM : FOLLOWER_JOINED;
        return follower->flight != NULL;
    }
    follower->source = FOLLOWER_MEMORY;
    bool joined = recording_join(found, &follower->reader);
    recording_unref(found);
    return joined; /* what is kept is whole */
}

struct follower *follower_start(struct cache_worker *worker, const struct follower_start *start) {
    bool is_new = false;
    struct follower *follower = calloc(1, sizeof(*follower));
    if (follower == NULL) {
        recording_unref(start->found);
        goto failed;
    }
    follower->worker = worker;
    follower->callbacks = start->callbacks;
    follower->context = start->context;
    follower->is_paced = start->policy->paced;
    follower->reader.on_more = follower_on_more;
    follower->item.handle = follower_on_item;
    if (!join_flight(follower, start, &is_new)) {
        free(follower);
        goto failed;
    }
    memory_charge(MEMORY_RECORDINGS, sizeof(*follower));
    worker->active++;
    if (is_new)
        flight_begin(follower->flight);
    else
        start->preparer->destroy(start->preparer);
    recording_nudge(&follower->reader);
    return follower;
failed:
    start->preparer->destroy(start->preparer);
    return NULL;
}

/* ---- a worker's part of the cache ---------------------------------------------------------------- */

struct cache_worker *cache_worker_create(struct cache *cache, struct upstream_worker *upstream_worker) {
    struct cache_worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL)
        return NULL;
    worker->cache = cache;
    worker->upstream_worker = upstream_worker;
    if (cache->redis != NULL) {
        worker->redis = redis_cache_create(upstream_worker->loop, cache->redis, upstream_worker->notify);
        if (worker->redis == NULL) {
            free(worker);
            return NULL;
        }
    }
    return worker;
}

size_t cache_worker_active(const struct cache_worker *worker) {
    return worker->active;
}

void cache_worker_close(struct cache_worker *worker) {
    if (worker == NULL)
        return;
    assert(worker->active == 0);
    redis_cache_close(worker->redis);
    free(worker);
}
