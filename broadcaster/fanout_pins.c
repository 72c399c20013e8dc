/* Events that slow subscribers keep. A subscriber that is blocked within an event has a reference to it, and
 * keeps it when it leaves its log. While logs are capped for want of memory, such a subscriber has a short
 * time to take the rest, and is closed then: otherwise readers of a few bytes a minute could have all of the
 * memory, and logs would be trimmed and new runs be refused for as long as they like. */
#include "base/clock.h"
#include "base/metrics.h"
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"

#define PIN_MS 2000
/* Smaller ones are let be: there are others who keep more. */
#define PIN_BYTES_MIN 1024
/* In one tick so many are looked at, first those that have taken nothing for the longest time, and so many
 * are closed. */
#define LOOKS_MAX 4096
#define CLOSED_MAX 256

static bool logs_are_capped(const struct subscriber *subscriber) {
    const struct broadcaster_counts *counts = broadcaster_counts(subscriber->session->broadcaster);
    return atomic_load_explicit(&counts->log_bytes_cap, memory_order_relaxed) != UINT64_MAX;
}

/* Whether the rest of an event that it has to take is in no log. Copies that were made for it never are. */
static bool pins_of(const struct subscriber *subscriber) {
    const struct frame *frame = subscriber->rest.frame;
    struct session *session = subscriber->session;
    if (frame == NULL || frame_memory(frame) < PIN_BYTES_MIN)
        return false;
    lock_acquire(&session->lock);
    bool has_left = event_id_compare(frame->id, session->log.floor_id) <= 0;
    lock_release(&session->lock);
    return has_left || atomic_load(&frame->references) == 1;
}

/* Whether its time is up. */
static bool is_due(struct subscriber *subscriber, int64_t now_ms) {
    struct subscriber_rest *rest = &subscriber->rest;
    if (!pins_of(subscriber))
        return false;
    if (rest->pinned_since_ms == 0)
        rest->pinned_since_ms = now_ms;
    return now_ms - rest->pinned_since_ms >= PIN_MS;
}

void fanout_end_pins(struct fanout *fanout, int64_t now_ms) {
    struct subscriber *next, *subscriber = TAILQ_FIRST(&fanout->blocked);
    if (subscriber == NULL || !logs_are_capped(subscriber))
        return;
    int closed = 0;
    for (int looks = 0; subscriber != NULL && looks < LOOKS_MAX && closed < CLOSED_MAX; looks++) {
        next = TAILQ_NEXT(subscriber, blocked_entry);
        if (is_due(subscriber, now_ms)) {
            metrics_add(METRIC_MEMORY_SUBSCRIBERS_CLOSED, 1);
            subscriber_end(subscriber, true);
            closed++;
        }
        subscriber = next;
    }
}
