/* What a run's events come from: see feed.h. A follower takes the preparer over, since a flight may outlive the
 * run that began it. A call cannot, so its preparer stays with the feed.
 */
#include "upstream/feed.h"

bool upstream_feed_start(struct upstream_feed *feed, struct upstream_worker *upstream_worker,
                         struct cache_worker *cache_worker, const struct follower_start *start) {
    if (start->key != NULL) {
        feed->follower = follower_start(cache_worker, start);
        feed->kind = feed->follower != NULL ? UPSTREAM_FEED_FOLLOWER : UPSTREAM_FEED_NONE;
        return feed->follower != NULL;
    }
    recording_unref(start->found);
    feed->preparer = start->preparer;
    feed->call = upstream_call_start(upstream_worker, start->upstream, start->preparer, start->callbacks,
                                     start->context);
    feed->kind = feed->call != NULL ? UPSTREAM_FEED_CALL : UPSTREAM_FEED_NONE;
    return feed->call != NULL;
}

void upstream_feed_resume(struct upstream_feed *feed) {
    if (feed->kind == UPSTREAM_FEED_CALL)
        upstream_call_resume(feed->call);
    else if (feed->kind == UPSTREAM_FEED_FOLLOWER)
        follower_resume(feed->follower);
}

void upstream_feed_cancel(struct upstream_feed *feed) {
    enum upstream_feed_kind kind = feed->kind;
    feed->kind = UPSTREAM_FEED_NONE;
    if (kind == UPSTREAM_FEED_CALL)
        upstream_call_cancel(feed->call);
    else if (kind == UPSTREAM_FEED_FOLLOWER)
        follower_cancel(feed->follower);
}

enum follower_source upstream_feed_source(const struct upstream_feed *feed) {
    return feed->kind == UPSTREAM_FEED_FOLLOWER ? follower_source(feed->follower) : FOLLOWER_UPSTREAM;
}

void upstream_feed_finish(struct upstream_feed *feed) {
    if (feed->preparer != NULL)
        feed->preparer->destroy(feed->preparer);
    feed->preparer = NULL;
}
