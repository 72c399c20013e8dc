/* The ends of sessions, one by one and all together: closing, clean-up, drain. See broadcaster.h. */
#include "base/clock.h"
#include "base/helgrind.h"
#include "base/metrics.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/session_table.h"

#include <string.h>

/* Cancels the runs that wait, for whatever it is: one in the queue, one that is not due, the current one if
 * it has no slot yet. Returns how many. */
static size_t end_waiting_locked(struct session *session, enum task_reason reason,
                                 struct session_effects *effects) {
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
    size_t count = end_waiting_locked(session, reason, effects);
    if (session->current == NULL)
        return count;
    session_end_task_locked(session, session->current, TASK_CANCELLED, reason, effects);
    return count + 1;
}

static void append_notice_locked(struct session *session, struct frame *frame,
                                 struct session_effects *effects) {
    if (frame != NULL)
        session_append_locked(session, frame, effects);
    else
        session_wake_locked(session, effects); /* out of memory: closed without a word */
}

/* Everything that is decided when a session is closed; what it referred to is handed out. */
static void close_locked(struct session *session, enum task_reason reason, struct frame *notice,
                         struct session_effects *effects, struct idempotency *ret_keys) {
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
}

/* Closes the session if it is open and, with `unused_ms` >= 0, has not been used for that long. */
static bool close_session(struct session *session, enum task_reason reason, int64_t unused_ms) {
    struct session_effects effects = {0};
    struct idempotency keys = TAILQ_HEAD_INITIALIZER(keys);
    const char *data = reason == REASON_SESSION_EXPIRED   ? "{\"reason\":\"expired\"}"
                       : reason == REASON_SESSION_DELETED ? "{\"reason\":\"deleted\"}"
                                                          : "{\"reason\":\"shutdown\"}";
    struct frame *notice =
        frame_create(FRAME_SESSION_END, 0, "session.end", strlen("session.end"), data, strlen(data));
    lock_acquire(&session->lock);
    bool unused = session->subscribers == 0 && !session_has_waiting_locked(session) &&
                  clock_mono_ms() - session->last_used_mono_ms >= unused_ms;
    bool closes = !atomic_load(&session->closed) && (unused_ms < 0 || unused);
    if (closes)
        close_locked(session, reason, notice, &effects, &keys);
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
    return close_session(session, reason, -1);
}

struct clean_up {
    int64_t ttl_ms;
    size_t ended;
};

static bool clean_up_visited(void *context, struct session *session) {
    struct clean_up *clean_up = context;
    if (close_session(session, REASON_SESSION_EXPIRED, clean_up->ttl_ms))
        clean_up->ended++;
    return true;
}

size_t broadcaster_clean_up(struct broadcaster *broadcaster) {
    struct clean_up clean_up = {.ttl_ms = atomic_load(&broadcaster_limits(broadcaster)->session_ttl_ms)};
    broadcaster_for_each_session(broadcaster, clean_up_visited, &clean_up);
    metrics_add(METRIC_SESSIONS_EXPIRED, clean_up.ended);
    return clean_up.ended;
}

static bool drain_visited(void *context, struct session *session) {
    (void)context;
    static const char data[] = "{\"reason\":\"shutdown\"}";
    struct session_effects effects = {0};
    struct frame *notice =
        frame_create(FRAME_SERVER_DRAIN, 0, "server.drain", strlen("server.drain"), data, strlen(data));
    lock_acquire(&session->lock);
    end_waiting_locked(session, REASON_SHUTDOWN, &effects);
    session->draining = true;
    if (!atomic_load(&session->closed) && (session->subscribers > 0 || session->current != NULL)) {
        append_notice_locked(session, notice, &effects);
        notice = NULL;
    }
    lock_release(&session->lock);
    session_apply(&effects);
    frame_unref(notice);
    return true;
}

void broadcaster_drain(struct broadcaster *broadcaster) {
    broadcaster_shut(broadcaster);
    broadcaster_for_each_session(broadcaster, drain_visited, NULL);
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
