/* The fan-out of one worker: see fanout.h. */
#include "base/clock.h"
#include "base/metrics.h"
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"

#include <assert.h>
#include <stdlib.h>

#define TICK_MS_MIN 10
#define PEER_TICKS 4

struct fanout *fanout_create(struct inbox *inbox, struct fanout_settings *settings) {
    struct fanout *fanout = calloc(1, sizeof(*fanout));
    char *volley = malloc(VOLLEY_BYTES_MAX);
    if (fanout == NULL || volley == NULL) {
        free(fanout);
        free(volley);
        return NULL;
    }
    fanout->volley = volley;
    fanout->inbox = inbox;
    fanout->settings = settings;
    STAILQ_INIT(&fanout->dirty);
    TAILQ_INIT(&fanout->blocked);
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        TAILQ_INIT(&fanout->wheel[i]);
    fanout->next_tick_ms = clock_mono_ms();
    fanout_lag_join(fanout);
    return fanout;
}

void fanout_destroy(struct fanout *fanout) {
    if (fanout == NULL)
        return;
    assert(fanout_is_idle(fanout));
    fanout_lag_leave(fanout);
    free(fanout->volley);
    free(fanout);
}

size_t fanout_count(const struct fanout *fanout) {
    return fanout->subscribers;
}

/* Either this sees that it is shut, or whoever shuts it sees what is expected. */
bool fanout_expect(struct fanout *fanout) {
    atomic_fetch_add(&fanout->expected, 1);
    if (!atomic_load(&fanout->shut))
        return true;
    atomic_fetch_sub(&fanout->expected, 1);
    return false;
}

void fanout_received(struct fanout *fanout) {
    atomic_fetch_sub(&fanout->expected, 1);
}

void fanout_shut(struct fanout *fanout) {
    atomic_store(&fanout->shut, true);
}

bool fanout_is_idle(const struct fanout *fanout) {
    return fanout->watches == 0 && atomic_load(&fanout->expected) == 0; /* each subscriber has a watch */
}

void fanout_flush(struct fanout *fanout) {
    struct watch *watch;
    while ((watch = STAILQ_FIRST(&fanout->dirty)) != NULL) {
        STAILQ_REMOVE_HEAD(&fanout->dirty, dirty_entry);
        watch_flush(watch);
    }
}

bool fanout_is_dirty(const struct fanout *fanout) {
    return !STAILQ_EMPTY(&fanout->dirty);
}

/* ---- silence and stalls -------------------------------------------------------------------------- */

int64_t fanout_tick_ms(const struct fanout *fanout) {
    int64_t tick_ms = atomic_load(&fanout->settings->heartbeat_ms) / (WHEEL_SLOTS / 2);
    return tick_ms > TICK_MS_MIN ? tick_ms : TICK_MS_MIN;
}

/* Between 80 % and all of the configured time, so that many that came together do not stay together. */
static int64_t heartbeat_ms(const struct fanout *fanout, const struct subscriber *subscriber) {
    return atomic_load(&fanout->settings->heartbeat_ms) * (800 + subscriber->jitter / 5) / 1000;
}

static void schedule_subscriber(struct fanout *fanout, struct subscriber *subscriber, int64_t in_ms) {
    int64_t ticks = in_ms > 0 ? in_ms / fanout_tick_ms(fanout) : 0;
    if (ticks > WHEEL_SLOTS - 2)
        ticks = WHEEL_SLOTS - 2;
    subscriber->wheel_slot = (uint8_t)((fanout->slot + (size_t)ticks) % WHEEL_SLOTS);
    TAILQ_INSERT_TAIL(&fanout->wheel[subscriber->wheel_slot], subscriber, wheel_entry);
}

void fanout_add(struct fanout *fanout, struct subscriber *subscriber) {
    schedule_subscriber(fanout, subscriber, heartbeat_ms(fanout, subscriber));
    fanout->subscribers++;
}

void fanout_remove(struct fanout *fanout, struct subscriber *subscriber) {
    TAILQ_REMOVE(&fanout->wheel[subscriber->wheel_slot], subscriber, wheel_entry);
    if (subscriber->blocked)
        TAILQ_REMOVE(&fanout->blocked, subscriber, blocked_entry);
    fanout->subscribers--;
}

void fanout_note_blocked(struct fanout *fanout, struct subscriber *subscriber) {
    if (subscriber->blocked)
        return;
    subscriber->sink->operations->wait_writable(subscriber->sink, true);
    subscriber->blocked = true;
    subscriber->blocked_since_ms = clock_mono_ms();
    TAILQ_INSERT_TAIL(&fanout->blocked, subscriber, blocked_entry);
}

void fanout_note_progress(struct fanout *fanout, struct subscriber *subscriber) {
    if (!subscriber->blocked)
        return;
    subscriber->blocked_since_ms = clock_mono_ms();
    TAILQ_REMOVE(&fanout->blocked, subscriber, blocked_entry);
    TAILQ_INSERT_TAIL(&fanout->blocked, subscriber, blocked_entry);
}

void fanout_note_unblocked(struct fanout *fanout, struct subscriber *subscriber) {
    if (!subscriber->blocked)
        return;
    subscriber->blocked = false;
    TAILQ_REMOVE(&fanout->blocked, subscriber, blocked_entry);
    subscriber->sink->operations->wait_writable(subscriber->sink, false);
}

static void consider_heartbeat(struct fanout *fanout, struct subscriber *subscriber, int64_t now_ms) {
    int64_t interval_ms = heartbeat_ms(fanout, subscriber);
    int64_t silent_ms = now_ms - subscriber->last_write_ms;
    bool due = silent_ms + fanout_tick_ms(fanout) > interval_ms && !subscriber->blocked;
    schedule_subscriber(fanout, subscriber,
                        due || subscriber->blocked ? interval_ms : interval_ms - silent_ms);
    if (!due)
        return;
    metrics_add(METRIC_HEARTBEATS, 1);
    subscriber_say(subscriber, NOTICE_HEARTBEAT);
}

static void turn_wheel(struct fanout *fanout, int64_t now_ms) {
    struct subscriber_list due = TAILQ_HEAD_INITIALIZER(due);
    TAILQ_CONCAT(&due, &fanout->wheel[fanout->slot], wheel_entry);
    fanout->slot = (fanout->slot + 1) % WHEEL_SLOTS;
    struct subscriber *subscriber;
    while ((subscriber = TAILQ_FIRST(&due)) != NULL) {
        TAILQ_REMOVE(&due, subscriber, wheel_entry);
        consider_heartbeat(fanout, subscriber, now_ms);
    }
}

/* A socket says that it has room only when a third of its buffer is free: one that is read slowly has taken
 * bytes long before that, as soon as somebody tries. */
static void consider_stalled(struct fanout *fanout, struct subscriber *subscriber) {
    int64_t since_ms = subscriber->blocked_since_ms;
    /* If it takes something it goes to the list's end, or leaves it, or is freed. */
    subscriber_pump(subscriber);
    if (TAILQ_FIRST(&fanout->blocked) != subscriber || subscriber->blocked_since_ms != since_ms)
        return;
    metrics_add(METRIC_SUBSCRIBERS_STALLED, 1);
    subscriber_end(subscriber, true);
}

int64_t fanout_peer_timeout_ms(const struct fanout *fanout) {
    return atomic_load(&fanout->settings->stall_timeout_ms) + PEER_TICKS * fanout_tick_ms(fanout);
}

void fanout_tick(struct fanout *fanout) {
    int64_t now_ms = clock_mono_ms();
    int64_t stall_ms = atomic_load(&fanout->settings->stall_timeout_ms);
    struct subscriber *subscriber;
    while ((subscriber = TAILQ_FIRST(&fanout->blocked)) != NULL &&
           now_ms - subscriber->blocked_since_ms >= stall_ms)
        consider_stalled(fanout, subscriber);
    fanout_end_pins(fanout, now_ms);
    for (int turns = 0; turns < WHEEL_SLOTS && fanout->next_tick_ms <= now_ms; turns++) {
        turn_wheel(fanout, now_ms);
        fanout->next_tick_ms += fanout_tick_ms(fanout);
    }
    if (fanout->next_tick_ms <= now_ms)
        fanout->next_tick_ms = now_ms + fanout_tick_ms(fanout); /* the loop slept for longer than a round */
    fanout_lag_measure(fanout);
}

/* ---- the end ------------------------------------------------------------------------------------- */

/* All subscribers, one after the other: `visit` may end the one that it is given. */
static void for_each(struct fanout *fanout,
                     void (*visit)(struct fanout *fanout, struct subscriber *subscriber)) {
    for (size_t i = 0; i < WHEEL_SLOTS; i++) {
        struct subscriber *next;
        for (struct subscriber *subscriber = TAILQ_FIRST(&fanout->wheel[i]); subscriber != NULL;
             subscriber = next) {
            next = TAILQ_NEXT(subscriber, wheel_entry);
            visit(fanout, subscriber);
        }
    }
}

int64_t fanout_retry_ms(const struct fanout *fanout) {
    int64_t retry_ms = atomic_load(&fanout->settings->retry_ms);
    return retry_ms + random() % (retry_ms / 4 + 1);
}

static void abort_one(struct fanout *fanout, struct subscriber *subscriber) {
    (void)fanout;
    subscriber_end(subscriber, true);
}

void fanout_abort(struct fanout *fanout) {
    for_each(fanout, abort_one);
    fanout_flush(fanout); /* their watches may still be due */
}
