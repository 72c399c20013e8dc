/* How far the slowest subscriber of the process is behind. Whoever is behind for longer than a moment takes
 * no more, so each fan-out looks at those alone, at each tick and never while it writes. */
#include "base/lock.h"
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"

/* So many of one worker are looked at: those that have taken nothing for the longest time. */
#define LOOKS_MAX 256

/* The fan-outs of all workers, and how far the slowest of each is behind. */
static struct lock lock = LOCK_INITIALIZER;
static LIST_HEAD(, fanout) fanouts = LIST_HEAD_INITIALIZER(fanouts);

void fanout_lag_join(struct fanout *fanout) {
    lock_acquire(&lock);
    LIST_INSERT_HEAD(&fanouts, fanout, lag_entry);
    lock_release(&lock);
}

void fanout_lag_leave(struct fanout *fanout) {
    lock_acquire(&lock);
    LIST_REMOVE(fanout, lag_entry);
    lock_release(&lock);
}

static uint64_t lag_of(const struct subscriber *subscriber) {
    struct session *session = subscriber->session;
    lock_acquire(&session->lock);
    uint64_t next = session->log.next_sequence;
    lock_release(&session->lock);
    return subscriber->cursor < next ? next - subscriber->cursor : 0;
}

void fanout_lag_measure(struct fanout *fanout) {
    uint64_t lag = 0;
    size_t looks = 0;
    for (const struct subscriber *subscriber = TAILQ_FIRST(&fanout->blocked);
         subscriber != NULL && looks < LOOKS_MAX; subscriber = TAILQ_NEXT(subscriber, blocked_entry)) {
        uint64_t events = lag_of(subscriber);
        if (events > lag)
            lag = events;
        looks++;
    }
    lock_acquire(&lock);
    fanout->lag_events = lag;
    lock_release(&lock);
}

uint64_t fanout_lag_events(void) {
    uint64_t lag = 0;
    const struct fanout *fanout;
    lock_acquire(&lock);
    LIST_FOREACH(fanout, &fanouts, lag_entry) {
        if (fanout->lag_events > lag)
            lag = fanout->lag_events;
    }
    lock_release(&lock);
    return lag;
}
