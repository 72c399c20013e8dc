/* The fan-out of one worker: its subscribers by session, who is dirty, heartbeats, stalls.
 *
 *     fanout_flush(fanout);  // at the end of each turn of the loop
 *     fanout_tick(fanout);   // every fanout_tick_ms()
 *
 * All functions are called on the worker's thread, with no lock held, unless said otherwise.
 */
#ifndef SLUICE_BROADCASTER_FANOUT_H
#define SLUICE_BROADCASTER_FANOUT_H

#include "broadcaster/subscriber.h"

/** X(type, name): every setting. */
#define FANOUT_SETTINGS(X)                                                                                   \
    X(int64_t, heartbeat_ms)                                                                                 \
    X(int64_t, stall_timeout_ms)                                                                             \
    X(int64_t, retry_ms)

/** Each is read at the moment that it is needed; a reload may change it. */
struct fanout_settings {
#define X(type, name) _Atomic type name;
    FANOUT_SETTINGS(X)
#undef X
};

/** Sets each setting of `to`, one by one. Any thread; others may read `to` meanwhile. */
static inline void fanout_settings_copy(struct fanout_settings *to, const struct fanout_settings *from) {
#define X(type, name) atomic_store(&to->name, from->name);
    FANOUT_SETTINGS(X)
#undef X
}

/** `inbox` is the worker's, `settings` outlives the fan-out. NULL: out of memory. */
struct fanout *fanout_create(struct inbox *inbox, struct fanout_settings *settings) MUST_CHECK;

/** It must be idle. Takes NULL. */
void fanout_destroy(struct fanout *fanout);

/** Writes what came in this turn to everybody who listens. If that is too much for one turn, the inbox wakes
 * the loop for another. */
void fanout_flush(struct fanout *fanout);

/** Whether fanout_flush() has something to do. */
bool fanout_is_dirty(const struct fanout *fanout);

/** Heartbeats where it was silent, and the end of those that take no byte. */
void fanout_tick(struct fanout *fanout);
int64_t fanout_tick_ms(const struct fanout *fanout);

/** When the kernel may give up a peer that acknowledges nothing, or takes nothing: after the fan-out, which
 * tells of it. The kernel's time begins with the first byte that is not taken, the fan-out's when its buffer
 * is full. */
int64_t fanout_peer_timeout_ms(const struct fanout *fanout);

/** A `retry:` time for a new subscriber, jittered. */
int64_t fanout_retry_ms(const struct fanout *fanout);

/** Ends all subscribers at once, whatever they have not read yet. */
void fanout_abort(struct fanout *fanout);

size_t fanout_count(const struct fanout *fanout);

/** How many events the slowest subscriber of the process is behind the end of its log, when last measured,
 * which is at each tick. Any thread. */
uint64_t fanout_lag_events(void);

/** Somebody is about to send a subscriber to be connected here, through the inbox: the fan-out stays until
 * fanout_received(). False: it takes none any more. Any thread. */
bool fanout_expect(struct fanout *fanout) MUST_CHECK;

/** What was expected has come, whatever became of it. */
void fanout_received(struct fanout *fanout);

/** From now on none is expected. */
void fanout_shut(struct fanout *fanout);

/** Whether there are no subscribers and no other thread has anything on its way here: only then may the inbox
 * be closed. Without subscribers, once shut, it comes about by itself within a few turns of the loop. */
bool fanout_is_idle(const struct fanout *fanout);

#endif
