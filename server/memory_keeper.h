/* Keeps the process within memory_max_bytes: makes room when memory is tight, and logs that.
 *
 * The keeper works on the main thread, which has little else to do, in bounded pieces. First it returns the
 * allocator's free memory to the kernel. Then it frees memory in this order, and only until the sum is below
 * the low mark:
 *
 *     1. runs that are kept in the cache             the upstream answers such runs again
 *     2. logs of idle sessions                       later viewers get a gap
 *     3. logs of sessions that are only watched      events that all viewers have been sent
 *     4. logs of sessions with a run                 each gets an equal share of the rest, and slow
 *                                                    subscribers no longer keep events that have left their
 *                                                    logs (broadcaster/fanout_pins.c)
 *     5. idle sessions, and runs that have ended     only if memory is nearly full: their names are all
 *                                                    that is left of them
 *
 * If that is not enough, and the level is MEMORY_FULL, the routes refuse new runs and sessions.
 */
#ifndef SLUICE_SERVER_MEMORY_KEEPER_H
#define SLUICE_SERVER_MEMORY_KEEPER_H

#include "base/inbox.h"
#include "broadcaster/broadcaster.h"
#include "upstream/cache.h"

#include <stdatomic.h>

struct memory_keeper {
    struct broadcaster *broadcaster;
    struct cache *cache; /* NULL without a cache */
    struct inbox *inbox;
    struct inbox_item item;
    atomic_bool is_awake;   /* the item is on its way, or `timer` runs */
    atomic_bool is_through; /* the last look found nothing more to free */
    atomic_bool is_capped;  /* logs have less than log_bytes_max */
    bool is_closed;
    uv_timer_t timer; /* while it is awake */
    uv_timer_t look;  /* all the time */
    int64_t reported_mono_ms;
    uint64_t events, recordings, forgotten, refused, ended, closed; /* counts at the last report */
};

/** `inbox` is the main thread's inbox, on `loop`. `cache` may be NULL. The inbox, the cache and the
 * broadcaster outlive the keeper. */
void memory_keeper_init(struct memory_keeper *keeper, uv_loop_t *loop, struct inbox *inbox,
                        struct broadcaster *broadcaster, struct cache *cache);

/** Starts the keeper because memory is tight; it works until memory is not tight. Cheap if it works already.
 * Any thread. */
void memory_keeper_wake(struct memory_keeper *keeper);

/** Frees some memory at once, on the calling thread; a few MiB at most. `context` is the keeper. No lock
 * held. */
void memory_keeper_relieve(void *context);

/** Closes the keeper, when no thread wakes it any more. The loop closes its timers. Main thread. */
void memory_keeper_close(struct memory_keeper *keeper);

#endif
