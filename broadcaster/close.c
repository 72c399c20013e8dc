/* The ends of sessions, one by one and all together: closing, clean-up, drain. See broadcaster.h. */
#include "base/clock.h"
#include "base/helgrind.h"
#include "base/metrics.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/lifecycle.h"
#include "broadcaster/session_table.h"

/* Cancels the runs that wait, for whatever it is: one in the queue, one that is not due, the current one if
 * it has no slot yet. Returns how many. */
static size_t end_waiting_locked(struct session *session, enum task_reason reason,
                                 struct session_effects *effects) {
    lock_assert_held(&session->lock);
    size_t count = 0;
    struct task *task;
    while ((task = TAILQ_FIRST(&session->queue)) != NULL || (task = TAILQ_FIRST(&session->delayed)) != NULL) {
        session_end_task_locked(session, task, TASK_CANCELLED, reason, effects);
        count++;
    }
    if (!session_has_waiting_locked(session))
        return count;
    session_end_task_locked(session, session->current, TASK_CANCELLED, reason, effects);
    return count + 1;
}

/* Cancels the runs that wait, then the one that runs, so that none of them starts. Returns how many. */
static size_t end_all_locked(struct session *session, enum task_reason reason,
                             struct session_effects *effects) {
    lock_assert_held(&session->lock);
    size_t count = end_waiting_locked(session, reason, effects);
    if (session->current == NULL)
        return count;
    session_end_task_locked(session, session->current, TASK_CANCELLED, reason, effects);
    return count + 1;
}

static void append_notice_locked(struct session *session, struct frame *frame,
                                 struct session_effects *effects) {
    lock_assert_held(&session->lock);
    if (frame != NULL)
        session_append_locked(session, frame, effects);
    else
        session_wake_locked(session, effects); /* out of memory: closed without a word */
}

/* Everything that is decided when a session is closed; what it referred to is handed out. */
static void close_session_locked(struct session *session, enum task_reason reason, struct frame *notice,
                                 struct session_effects *effects, struct idempotency *ret_keys) {
    lock_assert_held(&session->lock);
    end_all_locked(session, reason, effects);
    append_notice_locked(session, notice, effects);
    effects->dropped = session->newest;
    session->newest = NULL;
    TAILQ_INIT(ret_keys);
    TAILQ_CONCAT(ret_keys, &session->idempotency, entry);
    ANNOTATE_HAPPENS_BEFORE(&session->closed);
    atomic_store(&session->closed, true);
    if (session->subscribers == 0)
        session_free_log_locked(session, effects);
    session_settle_locked(session);
}

/* Which sessions are to be closed. */
enum close_rule {
    CLOSE_ANY,
    CLOSE_EXPIRED,
    CLOSE_EMPTY,
    CLOSE_UNNEEDED,
    CLOSE_UNWANTED /* neither open nor waited for */
};

static bool is_expired_locked(struct session *session) {
    lock_assert_held(&session->lock);
    const struct broadcaster_limits *limits = broadcaster_limits(session->broadcaster);
    int64_t ttl_ms = atomic_load(&limits->session_ttl_ms);
    int64_t empty_ttl_ms = atomic_load(&limits->session_empty_ttl_ms);
    if (!session->had_run && empty_ttl_ms < ttl_ms)
        ttl_ms = empty_ttl_ms;
    /* A run that waits or is under way uses its session, however silent its upstream is. */
    return session->subscribers == 0 && session->queue_length == 0 && session->current == NULL &&
           clock_mono_ms() - session->last_used_mono_ms >= ttl_ms;
}

/* Nothing but its name is retained, and nobody has asked for that lately. */
static bool is_unneeded_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    return (session->idleness == SESSION_EMPTY || session->idleness == SESSION_TRIMMED) &&
           clock_mono_ms() - session->last_used_mono_ms >= BROADCASTER_FORGET_MS;
}

static bool closes_locked(struct session *session, enum close_rule rule) {
    lock_assert_held(&session->lock);
    if (atomic_load(&session->closed))
        return false;
    return rule == CLOSE_ANY || (rule == CLOSE_EXPIRED && is_expired_locked(session)) ||
           (rule == CLOSE_EMPTY && session->idleness == SESSION_EMPTY) ||
           (rule == CLOSE_UNNEEDED && is_unneeded_locked(session)) ||
           (rule == CLOSE_UNWANTED && !session_is_open(session) && session->subscribers == 0);
}

static struct frame *make_session_end(enum task_reason reason) {
    return lifecycle_make_session_end(reason == REASON_SESSION_DELETED ? "deleted" : "shutdown");
}

/* Closes the session if it is open and the rule says so. */
static bool close_session(struct session *session, enum task_reason reason, enum close_rule rule) {
    struct session_effects effects = {0};
    struct idempotency keys = TAILQ_HEAD_INITIALIZER(keys);
    /* By the other rules only a session without subscribers is closed: nobody would read it. */
    struct frame *notice = rule == CLOSE_ANY ? make_session_end(reason) : NULL;
    lock_acquire(&session->lock);
    bool closes = closes_locked(session, rule);
    if (closes)
        close_session_locked(session, reason, notice, &effects, &keys);
    lock_release(&session->lock);
    if (!closes) {
        frame_unref(notice);
        return false;
    }
    session_apply(&effects);
    for (struct idempotency_entry *entry; (entry = TAILQ_FIRST(&keys)) != NULL;) {
        TAILQ_REMOVE(&keys, entry, entry);
        idempotency_entry_destroy(entry);
    }
    session_table_remove(broadcaster_sessions(session->broadcaster), session);
    return true;
}

bool broadcaster_close_session(struct session *session, enum task_reason reason) {
    return close_session(session, reason, CLOSE_ANY);
}

void broadcaster_forget_session(struct session *session) {
    (void)close_session(session, REASON_SESSION_EXPIRED, CLOSE_UNWANTED);
}

/* Ends the session of that list that was not used for the longest time. False: there is none, or it was used.
 */
static bool end_unneeded(struct broadcaster *broadcaster, enum idleness idleness) {
    struct session *oldest = idle_sessions_oldest(broadcaster_idle_sessions(broadcaster), idleness);
    bool closed = oldest != NULL && close_session(oldest, REASON_SESSION_EXPIRED, CLOSE_UNNEEDED);
    session_unref(oldest);
    return closed;
}

bool broadcaster_end_unneeded(struct broadcaster *broadcaster) {
    return end_unneeded(broadcaster, SESSION_EMPTY) || end_unneeded(broadcaster, SESSION_TRIMMED);
}

bool broadcaster_make_room(struct broadcaster *broadcaster) {
    struct session *oldest;
    bool closed = false;
    /* One that is in use again has left the list, so this comes to an end. */
    while (!closed &&
           (oldest = idle_sessions_oldest(broadcaster_idle_sessions(broadcaster), SESSION_EMPTY)) != NULL) {
        closed = close_session(oldest, REASON_SESSION_EXPIRED, CLOSE_EMPTY);
        session_unref(oldest);
    }
    metrics_add(METRIC_SESSIONS_EVICTED, closed);
    return closed;
}

static bool clean_up_visited(void *context, struct session *session) {
    size_t *ended = context;
    *ended += close_session(session, REASON_SESSION_EXPIRED, CLOSE_EXPIRED);
    return true;
}

size_t broadcaster_clean_up(struct broadcaster *broadcaster) {
    size_t ended = 0;
    broadcaster_for_each_session(broadcaster, clean_up_visited, &ended);
    metrics_add(METRIC_SESSIONS_EXPIRED, ended);
    return ended;
}

static bool drain_visited(void *context, struct session *session) {
    (void)context;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    end_waiting_locked(session, REASON_SHUTDOWN, &effects);
    session->draining = true; /* each subscriber gets its notice with the next write */
    session_wake_locked(session, &effects);
    session_settle_locked(session);
    lock_release(&session->lock);
    session_apply(&effects);
    return true;
}

void broadcaster_drain(struct broadcaster *broadcaster) {
    broadcaster_shut(broadcaster);
    session_table_for_each(broadcaster_sessions(broadcaster), drain_visited, NULL);
}

struct cancel_all {
    enum task_reason reason;
    size_t (*end_locked)(struct session *session, enum task_reason reason, struct session_effects *effects);
    size_t cancelled;
};

static bool cancel_visited(void *context, struct session *session) {
    struct cancel_all *cancel = context;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    cancel->cancelled += cancel->end_locked(session, cancel->reason, &effects);
    session_settle_locked(session);
    lock_release(&session->lock);
    session_apply(&effects);
    return true;
}

size_t broadcaster_cancel_all(struct broadcaster *broadcaster, enum task_reason reason) {
    /* First those that wait, in all sessions, or they would get the slots of the others. */
    struct cancel_all cancel = {.reason = reason, .end_locked = end_waiting_locked};
    broadcaster_for_each_session(broadcaster, cancel_visited, &cancel);
    cancel.end_locked = end_all_locked;
    broadcaster_for_each_session(broadcaster, cancel_visited, &cancel);
    return cancel.cancelled;
}
