/* The broadcaster: see broadcaster.h. */
#include "broadcaster/broadcaster.h"

#include "base/memory_budget.h"
#include "base/metrics.h"
#include "broadcaster/session_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often somebody else may be faster, or the place that was made be taken, before a session is refused. */
#define OPEN_ATTEMPTS_MAX 32

struct broadcaster {
    struct broadcaster_limits limits;
    struct broadcaster_counts counts;
    struct session_table *sessions;
    struct idle_sessions idle;
    struct waiting_places *waiting_places;
    struct task_table *tasks;
    struct scheduler *scheduler;
    atomic_bool draining;
};

struct broadcaster *broadcaster_create(const struct broadcaster_limits *limits) {
    struct broadcaster *broadcaster = calloc(1, sizeof(*broadcaster));
    if (broadcaster == NULL)
        return NULL;
    broadcaster->tasks = task_table_create();
    broadcaster->sessions = session_table_create();
    broadcaster->scheduler = scheduler_create(&broadcaster->limits);
    broadcaster->waiting_places = waiting_places_create(&broadcaster->limits);
    if (broadcaster->tasks == NULL || broadcaster->sessions == NULL || broadcaster->scheduler == NULL ||
        broadcaster->waiting_places == NULL) {
        task_table_destroy(broadcaster->tasks);
        session_table_destroy(broadcaster->sessions);
        scheduler_destroy(broadcaster->scheduler);
        waiting_places_destroy(broadcaster->waiting_places);
        free(broadcaster);
        return NULL;
    }
    idle_sessions_init(&broadcaster->idle);
    broadcaster_limits_copy(&broadcaster->limits, limits);
    atomic_init(&broadcaster->counts.log_bytes_cap, UINT64_MAX);
    return broadcaster;
}

void broadcaster_shut(struct broadcaster *broadcaster) {
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
    broadcaster_shut(broadcaster);
    session_table_for_each(broadcaster->sessions, close_visited, NULL);
    task_table_destroy(broadcaster->tasks);
    session_table_destroy(broadcaster->sessions);
    idle_sessions_finish(&broadcaster->idle);
    waiting_places_destroy(broadcaster->waiting_places);
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

struct session_table *broadcaster_sessions(struct broadcaster *broadcaster) {
    return broadcaster->sessions;
}

struct idle_sessions *broadcaster_idle_sessions(struct broadcaster *broadcaster) {
    return &broadcaster->idle;
}

struct waiting_places *broadcaster_waiting_places(struct broadcaster *broadcaster) {
    return broadcaster->waiting_places;
}

bool broadcaster_is_draining(const struct broadcaster *broadcaster) {
    return atomic_load(&broadcaster->draining);
}

/* ---- sessions ------------------------------------------------------------------------------------ */

struct session *broadcaster_find_session(struct broadcaster *broadcaster, const char *key) {
    struct session *session = session_table_find(broadcaster->sessions, key);
    if (session == NULL || session_is_open(session))
        return session;
    session_unref(session);
    return NULL;
}

/* A new session in the table, to be waited for or opened. 0 and a reference; what session_table_insert()
 * says. */
static int add_session(struct broadcaster *broadcaster, const char *key, struct session **ret_session) {
    struct session *session = session_create(broadcaster, key);
    if (session == NULL)
        return -ENOMEM;
    int result = session_table_insert(broadcaster->sessions, session);
    if (result < 0)
        session_unref(session);
    else
        *ret_session = session;
    return result;
}

int broadcaster_await_session(struct broadcaster *broadcaster, const char *key,
                              struct session **ret_session) {
    int result = -EEXIST;
    for (int attempt = 0; attempt < OPEN_ATTEMPTS_MAX && result == -EEXIST; attempt++) {
        struct session *session = session_table_find(broadcaster->sessions, key);
        result = session != NULL ? 0 : add_session(broadcaster, key, &session);
        if (result == 0)
            *ret_session = session;
    }
    return result == -EEXIST ? -EAGAIN : result;
}

/* What waited for the session has no places from now on. */
static void take_places_locked(struct session *session, struct waiting_place_list *ret_places) {
    lock_assert_held(&session->lock);
    ret_places->lh_first = LIST_FIRST(&session->places);
    if (ret_places->lh_first != NULL)
        ret_places->lh_first->entry.le_prev = &ret_places->lh_first;
    LIST_INIT(&session->places);
}

static int open_session_locked(struct session *session, struct waiting_place_list *ret_places) {
    lock_assert_held(&session->lock);
    struct broadcaster *broadcaster = session->broadcaster;
    if (atomic_load(&session->closed))
        return -EAGAIN;
    if (!session_is_open(session)) {
        int result = session_table_open_locked(broadcaster->sessions, session,
                                               atomic_load(&broadcaster->limits.sessions_max));
        if (result < 0)
            return result;
        take_places_locked(session, ret_places);
        metrics_add(METRIC_SESSIONS_OPENED, 1);
    }
    session_touch_locked(session);
    session_settle_locked(session);
    return 0;
}

/* Opens it if need be. 0; -EAGAIN: it was closed; -ENOSPC, -ESHUTDOWN. */
static int open_session(struct session *session) {
    struct waiting_place_list places = LIST_HEAD_INITIALIZER(places);
    lock_acquire(&session->lock);
    int result = open_session_locked(session, &places);
    lock_release(&session->lock);
    waiting_places_release_all(session->broadcaster->waiting_places, &places);
    return result;
}

int broadcaster_open_session(struct broadcaster *broadcaster, const char *key, struct session **ret_session) {
    int result = -EAGAIN;
    for (int attempt = 0; attempt < OPEN_ATTEMPTS_MAX && result == -EAGAIN; attempt++) {
        struct session *session;
        result = broadcaster_await_session(broadcaster, key, &session);
        if (result != 0)
            continue;
        bool may_open = session_is_open(session) || memory_has_room(MEMORY_RUN_BYTES);
        result = may_open ? open_session(session) : -ENOBUFS;
        if (result == 0) {
            *ret_session = session;
            return 0;
        }
        broadcaster_forget_session(session);
        session_unref(session);
        if (result == -ENOSPC && broadcaster_make_room(broadcaster))
            result = -EAGAIN;
    }
    metrics_add(METRIC_SESSIONS_REFUSED, 1);
    return result == -EAGAIN ? -ENOSPC : result;
}

struct visit_open {
    bool (*visit)(void *context, struct session *session);
    void *context;
};

static bool visit_if_open(void *context, struct session *session) {
    const struct visit_open *open = context;
    return !session_is_open(session) || open->visit(open->context, session);
}

void broadcaster_for_each_session(struct broadcaster *broadcaster,
                                  bool (*visit)(void *context, struct session *session), void *context) {
    struct visit_open open = {visit, context};
    session_table_for_each(broadcaster->sessions, visit_if_open, &open);
}

struct task *broadcaster_session_task(struct session *session, bool *ret_current) {
    lock_acquire(&session->lock);
    struct task *task = session->newest != NULL ? task_ref(session->newest) : NULL;
    *ret_current = session->current != NULL;
    lock_release(&session->lock);
    return task;
}

/* Whether an event of this id is the run's, as far as ids show it: those of a session grow, and its runs
 * follow each other. A run of which nothing is left to read has none but its last. */
static bool has_event_locked(const struct session *session, const struct task *task, struct event_id id) {
    lock_assert_held(&session->lock);
    if (task->start_sequence == 0 || event_id_compare(id, task->start_id) < 0)
        return false;
    if (!task_status_is_end(task->status))
        return event_id_compare(id, session->log.last_id) <= 0;
    int order = event_id_compare(id, task->end_id);
    return order == 0 || (order < 0 && task->end_sequence >= session->log.first_sequence);
}

/* The serial of the run that a retained event is of; 0: it is not retained, or of none. */
static uint64_t serial_of_event_locked(const struct session *session, struct event_id id) {
    lock_assert_held(&session->lock);
    struct event_log_position position = event_log_find(&session->log, id);
    if (!position.known || position.sequence == session->log.first_sequence)
        return 0;
    return event_log_at(&session->log, position.sequence - 1)->task_serial;
}

struct task *broadcaster_find_run_of_event(struct session *session, struct event_id id, uint64_t body_hash) {
    struct task *task = NULL;
    uint64_t serial = 0;
    lock_acquire(&session->lock);
    if (session->newest != NULL && has_event_locked(session, session->newest, id))
        task = task_ref(session->newest);
    else
        serial = serial_of_event_locked(session, id);
    lock_release(&session->lock);
    if (serial > 0 && task_table_list(broadcaster_tasks(session->broadcaster), serial + 1, &task, 1) == 0)
        task = NULL;
    bool fits = task != NULL && task->session == session && (serial == 0 || task->serial == serial) &&
                task->options.body_hash == body_hash;
    if (fits)
        return task;
    task_unref(task);
    return NULL;
}

void broadcaster_poll_queue(struct broadcaster *broadcaster) {
    struct session_effects effects = {0};
    while ((effects.granted = scheduler_poll(broadcaster->scheduler)) != NULL) {
        effects.granted->next_granted = NULL;
        session_apply(&effects);
    }
}

/* ---- looking ------------------------------------------------------------------------------------- */

struct log_span broadcaster_newest_events(struct session *session, uint64_t count) {
    lock_acquire(&session->lock);
    session_touch_locked(session);
    session_settle_locked(session);
    const struct event_log *log = &session->log;
    uint64_t retained = log->next_sequence - log->first_sequence;
    uint64_t skipped = retained > count ? retained - count : 0;
    struct log_span span = {.next = log->first_sequence + skipped, .end = log->next_sequence};
    lock_release(&session->lock);
    return span;
}

struct log_span broadcaster_task_events(struct task *task) {
    struct session *session = task->session;
    lock_acquire(&session->lock);
    session_touch_locked(session);
    session_settle_locked(session);
    bool has_started = task->start_sequence != 0;
    struct log_span span = {.next = has_started ? task->start_sequence : task->end_sequence,
                            .end = task->end_sequence};
    lock_release(&session->lock);
    return span;
}

struct frame *broadcaster_next_event(struct session *session, struct log_span *span, bool *lost) {
    struct frame *frame = NULL;
    lock_acquire(&session->lock);
    session_touch_locked(session);
    const struct event_log *log = &session->log;
    if (span->next < span->end && span->next < log->first_sequence) {
        *lost = true;
        span->next = log->first_sequence;
    }
    if (span->next < span->end && span->next < log->next_sequence)
        frame = frame_ref(event_log_at(log, span->next++));
    lock_release(&session->lock);
    return frame;
}

void broadcaster_get_stats(struct broadcaster *broadcaster, struct broadcaster_stats *ret_stats) {
    struct broadcaster_counts *counts = &broadcaster->counts;
    struct scheduler_info scheduled;
    scheduler_get_info(broadcaster->scheduler, &scheduled);
    *ret_stats = (struct broadcaster_stats){
        .sessions = session_table_count(broadcaster->sessions),
        .sessions_awaited = session_table_count_awaited(broadcaster->sessions),
        .subscribers = atomic_load(&counts->subscribers),
        .subscribers_waiting = waiting_places_count(broadcaster->waiting_places),
        .runs = scheduled.running,
        .runs_queued = scheduled.queued,
        .runs_delayed = scheduled.delayed,
        .tasks = task_table_count(broadcaster->tasks),
        .log_events = atomic_load(&counts->log_events),
        .log_bytes = atomic_load(&counts->log_bytes),
    };
}

uint64_t broadcaster_ended_count(struct broadcaster *broadcaster, enum task_status status,
                                 enum task_reason reason) {
    return atomic_load(&broadcaster->counts.ended[status][reason]);
}
