/* The log of a session: what is appended, what leaves, and that all of it is counted. See session.h. */
#include "broadcaster/session.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/watch.h"

/* Events that leave a log under one lock, when it is trimmed for want of memory. */
#define SHED_EVENTS_MAX 256

static void add_evicted(struct session_effects *effects, struct frame *list, uint64_t *ret_count) {
    while (list != NULL) {
        struct frame *next = list->next;
        list->next = effects->evicted;
        effects->evicted = list;
        list = next;
        ++*ret_count;
    }
}

/* The bytes that a log may take just now: when nothing may grow, what it takes already. */
static uint64_t bytes_max(const struct session *session) {
    uint64_t limit = atomic_load(&broadcaster_limits(session->broadcaster)->log_bytes_max);
    if (memory_level() == MEMORY_OVER && session->log.bytes < limit)
        limit = session->log.bytes;
    uint64_t cap =
        atomic_load_explicit(&broadcaster_counts(session->broadcaster)->log_bytes_cap, memory_order_relaxed);
    return limit < cap ? limit : cap;
}

/* The first event that some worker has not written yet; 0: nobody listens. */
static uint64_t unwritten_from_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    uint64_t from = 0;
    const struct watch *watch;
    LIST_FOREACH(watch, &session->watches, session_entry) {
        if (from == 0 || watch->written_sequence < from)
            from = watch->written_sequence;
    }
    return from;
}

static struct event_log_limits log_limits_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    const struct broadcaster_limits *limits = broadcaster_limits(session->broadcaster);
    return (struct event_log_limits){.events_max = (uint32_t)atomic_load(&limits->log_events_max),
                                     .bytes_max = bytes_max(session),
                                     .unwritten_from = unwritten_from_locked(session)};
}

/* Keeps the counts of all sessions true after the log was `bytes_before` large and `added` events came. */
static void count_log_locked(const struct session *session, uint64_t bytes_before, uint64_t added,
                             uint64_t trimmed) {
    lock_assert_held(&session->lock);
    struct broadcaster_counts *counts = broadcaster_counts(session->broadcaster);
    atomic_fetch_add_explicit(&counts->log_events, added - trimmed, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->log_bytes, session->log.bytes - bytes_before, memory_order_relaxed);
    if (trimmed > 0)
        metrics_add(METRIC_EVENTS_TRIMMED, trimmed);
}

void session_append_locked(struct session *session, struct frame *frame, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    const struct event_log_limits limits = log_limits_locked(session);
    uint64_t bytes_before = session->log.bytes, trimmed = 0;
    struct frame *evicted;
    event_log_append(&session->log, &limits, frame, clock_unix_ms(), &evicted);
    add_evicted(effects, evicted, &trimmed);
    count_log_locked(session, bytes_before, 1, trimmed);
    session_touch_locked(session);
    session_wake_locked(session, effects);
}

void session_trim_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    const struct event_log_limits limits = log_limits_locked(session);
    if (limits.unwritten_from != 0 && limits.unwritten_from < session->log.next_sequence)
        return; /* another worker is not through */
    uint64_t bytes_before = session->log.bytes, trimmed = 0;
    add_evicted(effects, event_log_trim(&session->log, &limits), &trimmed);
    count_log_locked(session, bytes_before, 0, trimmed);
}

uint64_t session_shed_locked(struct session *session, uint64_t bytes_kept, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    uint64_t unwritten_from = unwritten_from_locked(session);
    uint64_t until = unwritten_from != 0 ? unwritten_from : UINT64_MAX;
    uint64_t bytes_before = session->log.bytes, trimmed = 0;
    add_evicted(effects, event_log_shed(&session->log, bytes_kept, until, SHED_EVENTS_MAX), &trimmed);
    count_log_locked(session, bytes_before, 0, trimmed);
    metrics_add(METRIC_MEMORY_EVENTS_TRIMMED, trimmed);
    return bytes_before - session->log.bytes;
}

bool session_is_ahead_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    const struct event_log *log = &session->log;
    const struct broadcaster_limits *limits = broadcaster_limits(session->broadcaster);
    const struct watch *watch;
    LIST_FOREACH(watch, &session->watches, session_entry) {
        if (log->next_sequence - watch->written_sequence > atomic_load(&limits->log_events_max) / 2 ||
            log->bytes_ever - watch->written_bytes > bytes_max(session) / 2)
            return true;
    }
    return false;
}

void session_free_log_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct broadcaster_counts *counts = broadcaster_counts(session->broadcaster);
    uint64_t events = 0, bytes = session->log.bytes;
    add_evicted(effects, event_log_clear(&session->log), &events);
    atomic_fetch_sub(&counts->log_events, events);
    atomic_fetch_sub(&counts->log_bytes, bytes);
}
