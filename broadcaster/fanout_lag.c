/* How far the slowest subscriber of the process is behind. Whoever is behind for longer than a moment takes
 * no more, so each fan-out looks at those alone, at each tick and never while it writes. */
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"

#include <pthread.h>

/* So many of one worker are looked at: those that have taken nothing for the longest time. */
#define LOOKS_MAX 256

/* The fan-outs of all workers, and how far the slowest of each is behind. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, fanout) fanouts = LIST_HEAD_INITIALIZER(fanouts);

void fanout_lag_join(struct fanout *fanout) {
    pthread_mutex_lock(&mutex);
    LIST_INSERT_HEAD(&fanouts, fanout, lag_entry);
    pthread_mutex_unlock(&mutex);
}

void fanout_lag_leave(struct fanout *fanout) {
    pthread_mutex_lock(&mutex);
    LIST_REMOVE(fanout, lag_entry);
    pthread_mutex_unlock(&mutex);
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
    pthread_mutex_lock(&mutex);
    fanout->lag_events = lag;
    pthread_mutex_unlock(&mutex);
}

uint64_t fanout_lag_events(void) {
    uint64_t lag = 0;
    const struct fanout *fanout;
    pthread_mutex_lock(&mutex);
    LIST_FOREACH(fanout, &fanouts, lag_entry) {
        if (fanout->lag_events > lag)
            lag = fanout->lag_events;
    }
    pthread_mutex_unlock(&mutex);
    return lag;
}
