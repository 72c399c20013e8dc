/* Keeps the process within memory_max_bytes: makes room when memory is tight, and reports it.
 *
 * It works on the main thread, which has little else to do, in pieces that are bounded. What the allocator
 * keeps although it is free goes back to the kernel. Then, in this order, and only as much as it takes to
 * come below the low mark:
 *
 *     1. runs that are kept in the cache             nobody misses them: they are asked for again
 *     2. logs of idle sessions                       later viewers get a gap
 *     3. logs of sessions that are only watched      what all viewers have been sent
 *     4. logs of sessions with a run                 each gets an equal share of what is left, and slow
 *                                                    subscribers no longer keep events that have left their
 *                                                    logs (broadcaster/fanout_pins.c)
 *     5. idle sessions, and runs that have ended     if memory is nearly full: nothing was left of them but
 * their names
 *
 * If that is not enough, and the level is MEMORY_FULL, the routes refuse what is new.
 */
#ifndef SLUICE_SERVER_MEMORY_KEEPER_H
#define SLUICE_SERVER_MEMORY_KEEPER_H

#include "base/inbox.h"
#include "broadcaster/broadcaster.h"
#include "upstream/cache.h"

#include <stdatomic.h>

struct memory_keeper {
    struct broadcaster *broadcaster;
    struct cache *cache; /* NULL: there is none */
    struct inbox *inbox;
    struct inbox_item item;
    atomic_bool is_awake;   /* the item is on its way, or `timer` runs */
    atomic_bool is_through; /* there was nothing more to be had when it looked last */
    atomic_bool is_capped;  /* logs have less than log_bytes_max */
    bool is_closed;
    uv_timer_t timer; /* while it is awake */
    uv_timer_t look;  /* all the time */
    int64_t reported_mono_ms;
    uint64_t events, recordings, forgotten, refused, ended, closed; /* that were reported */
};

/** `inbox` is that of the main thread, on `loop`. `cache` may be NULL. Both outlive it, and the broadcaster.
 */
void memory_keeper_init(struct memory_keeper *keeper, uv_loop_t *loop, struct inbox *inbox,
                        struct broadcaster *broadcaster, struct cache *cache);

/** Memory is tight: the keeper looks after it, until it is not any more. Cheap if it does so already. Any
 * thread.
 */
void memory_keeper_wake(struct memory_keeper *keeper);

/** Makes some room at once, on the thread that asks, for a keeper; a few MiB at most. No lock held. */
void memory_keeper_relieve(void *context);

/** Main thread; nobody wakes it any more. Its timers are closed by the loop. */
void memory_keeper_close(struct memory_keeper *keeper);

#endif
