/* What a run's events come from: a call of its own, or a recording that it follows (follower.h) because the
 * answer is kept or shared. Whoever starts one need not know which: it gets the same callbacks.
 *
 *     none --upstream_feed_start()--> call or follower --its end, or upstream_feed_cancel()--> none
 *
 * Embedded in the run's work, on its worker's thread.
 */
#ifndef SLUICE_UPSTREAM_FEED_H
#define SLUICE_UPSTREAM_FEED_H

#include "upstream/follower.h"

enum upstream_feed_kind { UPSTREAM_FEED_NONE, UPSTREAM_FEED_CALL, UPSTREAM_FEED_FOLLOWER };

/** Zero it before its first use. */
struct upstream_feed {
    enum upstream_feed_kind kind; /* NONE: not started, or over */
    union {
        struct upstream_call *call;
        struct follower *follower;
    };
    struct upstream_preparer *preparer; /* of a call: destroyed with the feed */
};

/** Starts it: a follower if `start` has a key, otherwise a call. Its preparer and what was found in the cache
 * are taken over in any case. `cache_worker` may be NULL if there is no key. No callback before it returns.
 * False: out of memory. */
bool upstream_feed_start(struct upstream_feed *feed, struct upstream_worker *upstream_worker,
                         struct cache_worker *cache_worker, const struct follower_start *start) MUST_CHECK;

/** Whether it was started and has not ended. */
static inline bool upstream_feed_is_open(const struct upstream_feed *feed) {
    return feed->kind != UPSTREAM_FEED_NONE;
}

/** Lets it go on that may_read() has held. Harmless if it is not open. */
void upstream_feed_resume(struct upstream_feed *feed);

/** Ends it without a callback; also from within its own callbacks. Harmless if it is not open. */
void upstream_feed_cancel(struct upstream_feed *feed);

/** Its end has been told, or on_event() or on_retry() is about to return false: it is not used any more. */
static inline void upstream_feed_close(struct upstream_feed *feed) {
    feed->kind = UPSTREAM_FEED_NONE;
}

/** Where its events come from; a call's come from the upstream. */
enum follower_source upstream_feed_source(const struct upstream_feed *feed);

/** It is not open: frees what it holds. */
void upstream_feed_finish(struct upstream_feed *feed);

#endif
