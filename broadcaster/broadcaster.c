/* The broadcaster: see broadcaster.h. */
#include "broadcaster/broadcaster.h"

#include "base/clock.h"
#include "base/helgrind.h"
#include "base/metrics.h"
#include "broadcaster/session_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a subscriber and its sink take: 1.0 to 1.3 KiB of resident memory each, measured with 5 000 idle ones.
 */
#define SUBSCRIBER_MEMORY 1200

struct broadcaster {
    struct broadcaster_limits limits;
    struct broadcaster_counts counts;
    struct session_table *sessions;
    struct task_table *tasks;
    struct scheduler *scheduler;
    atomic_bool draining;
};

static void copy_limits(struct broadcaster_limits *to, const struct broadcaster_limits *from) {
    atomic_init(&to->runs_max, from->runs_max);
    atomic_init(&to->runs_per_app_max, from->runs_per_app_max);
    atomic_init(&to->runs_per_user_max, from->runs_per_user_max);
    atomic_init(&to->runs_queued_max, from->runs_queued_max);
    atomic_init(&to->runs_queued_per_session_max, from->runs_queued_per_session_max);
    atomic_init(&to->subscribers_max, from->subscribers_max);
    atomic_init(&to->subscribers_per_session_max, from->subscribers_per_session_max);
    atomic_init(&to->subscribers_gathered_max, from->subscribers_gathered_max);
    atomic_init(&to->sessions_max, from->sessions_max);
    atomic_init(&to->log_events_max, from->log_events_max);
    atomic_init(&to->log_bytes_max, from->log_bytes_max);
    atomic_init(&to->tasks_kept, from->tasks_kept);
    atomic_init(&to->idempotency_keys_per_session_max, from->idempotency_keys_per_session_max);
    atomic_init(&to->idempotency_ttl_ms, from->idempotency_ttl_ms);
    atomic_init(&to->session_ttl_ms, from->session_ttl_ms);
    atomic_init(&to->queue_timeout_ms, from->queue_timeout_ms);
    atomic_init(&to->queue_aging_ms, from->queue_aging_ms);
}

struct broadcaster *broadcaster_create(const struct broadcaster_limits *limits) {
    struct broadcaster *broadcaster = calloc(1, sizeof(*broadcaster));
    if (broadcaster == NULL)
        return NULL;
    broadcaster->tasks = task_table_create();
    broadcaster->sessions = session_table_create();
    broadcaster->scheduler = scheduler_create(&broadcaster->limits);
    if (broadcaster->tasks == NULL || broadcaster->sessions == NULL || broadcaster->scheduler == NULL) {
        task_table_destroy(broadcaster->tasks);
        session_table_destroy(broadcaster->sessions);
        scheduler_destroy(broadcaster->scheduler);
        free(broadcaster);
        return NULL;
    }
    copy_limits(&broadcaster->limits, limits);
    return broadcaster;
}

static void refuse_from_now_on(struct broadcaster *broadcaster) {
    atomic_store(&broadcaster->draining, true);
    session_table_shut(broadcaster->sessions);
}

static bool close_visited(void *context, struct session *session) {
    (void)context;
    broadcaster_close_session(session, REASON_SHUTDOWN);
    return true;
}

void broadcaster_destroy(struct broadcaster *broadcaster) {
    if (broadcaster == NULL)
        return;
    refuse_from_now_on(broadcaster);
    broadcaster_for_each_session(broadcaster, close_visited, NULL);
    task_table_destroy(broadcaster->tasks);
    session_table_destroy(broadcaster->sessions);
    scheduler_destroy(broadcaster->scheduler);
    free(broadcaster);
}

struct broadcaster_limits *broadcaster_limits(struct broadcaster *broadcaster) {
    return &broadcaster->limits;
}

struct broadcaster_counts *broadcaster_counts(struct broadcaster *broadcaster) {
    return &broadcaster->counts;
}

struct scheduler *broadcaster_scheduler(struct broadcaster *broadcaster) {
    return broadcaster->scheduler;
}

struct task_table *broadcaster_tasks(struct broadcaster *broadcaster) {
    return broadcaster->tasks;
}

bool broadcaster_is_draining(const struct broadcaster *broadcaster) {
    return atomic_load(&broadcaster->draining);
}

/* ---- sessions ------------------------------------------------------------------------------------ */

struct session *broadcaster_find_session(struct broadcaster *broadcaster, const char *key) {
    return session_table_find(broadcaster->sessions, key);
}

int broadcaster_open_session(struct broadcaster *broadcaster, const char *key, struct session **ret_session) {
    for (;;) {
        struct session *session = broadcaster_find_session(broadcaster, key);
        if (session != NULL) {
            *ret_session = session;
            return 0;
        }
        session = session_create(broadcaster, key);
        if (session == NULL)
            return -ENOMEM;
        int result = session_table_insert(broadcaster->sessions, session,
                                          atomic_load(&broadcaster->limits.sessions_max));
        if (result == 0) {
            metrics_add(METRIC_SESSIONS_OPENED, 1);
            *ret_session = session;
            return 0;
        }
        session_unref(session);
        if (result != -EEXIST) {
            metrics_add(METRIC_SESSIONS_REFUSED, 1);
            return result;
        } /* else somebody else has just opened it: find that one */
    }
}

void broadcaster_for_each_session(struct broadcaster *broadcaster,
                                  bool (*visit)(void *context, struct session *session), void *context) {
    session_table_for_each(broadcaster->sessions, visit, context);
}

struct task *broadcaster_session_task(struct session *session, bool *ret_current) {
    lock_acquire(&session->lock);
    struct task *task = session->newest != NULL ? task_ref(session->newest) : NULL;
    *ret_current = session->current != NULL;
    lock_release(&session->lock);
    return task;
}

/* ---- ends ---------------------------------------------------------------------------------------- */

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
    session_table_remove(session->broadcaster->sessions, session);
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
    struct clean_up clean_up = {.ttl_ms = atomic_load(&broadcaster->limits.session_ttl_ms)};
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
    refuse_from_now_on(broadcaster);
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

void broadcaster_poll_queue(struct broadcaster *broadcaster) {
    struct session_effects effects = {0};
    while ((effects.granted = scheduler_poll(broadcaster->scheduler)) != NULL) {
        effects.granted->next_granted = NULL;
        session_apply(&effects);
    }
}

/* ---- looking ------------------------------------------------------------------------------------- */

size_t broadcaster_history(struct session *session, struct frame **frames, size_t count) {
    size_t found = 0;
    lock_acquire(&session->lock);
    session_touch_locked(session);
    const struct event_log *log = &session->log;
    uint64_t retained = log->next_sequence - log->first_sequence;
    uint64_t from = retained > count ? log->next_sequence - count : log->first_sequence;
    for (uint64_t sequence = from; sequence < log->next_sequence; sequence++)
        frames[found++] = frame_ref(event_log_at(log, sequence));
    lock_release(&session->lock);
    return found;
}

void broadcaster_get_stats(struct broadcaster *broadcaster, struct broadcaster_stats *ret_stats) {
    struct broadcaster_counts *counts = &broadcaster->counts;
    struct scheduler_info scheduled;
    scheduler_get_info(broadcaster->scheduler, &scheduled);
    *ret_stats = (struct broadcaster_stats){
        .sessions = session_table_count(broadcaster->sessions),
        .subscribers = atomic_load(&counts->subscribers),
        .runs = scheduled.running,
        .runs_queued = scheduled.queued,
        .tasks = task_table_count(broadcaster->tasks),
        .log_events = atomic_load(&counts->log_events),
        .log_bytes = atomic_load(&counts->log_bytes),
        .request_bytes = atomic_load(&counts->request_bytes),
    };
}

uint64_t broadcaster_memory(const struct broadcaster_stats *stats) {
    /* A task that has not ended keeps its two lifecycle frames ready. */
    return stats->log_bytes + stats->request_bytes +
           stats->sessions * (sizeof(struct session) + SESSION_KEY_SIZE / 4) +
           stats->subscribers * SUBSCRIBER_MEMORY + stats->tasks * sizeof(struct task) +
           (stats->runs + stats->runs_queued) * 2 * TASK_END_DATA_MAX;
}

uint64_t broadcaster_ended_count(struct broadcaster *broadcaster, enum task_status status,
                                 enum task_reason reason) {
    return atomic_load(&broadcaster->counts.ended[status][reason]);
}
