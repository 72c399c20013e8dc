/* A subscriber, a cursor and the sink it writes to: see subscriber.h. */
#include "broadcaster/subscriber_internal.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "broadcaster/fanout_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* How often a session may be closed under our hands. */
#define AWAIT_ATTEMPTS_MAX 5

/* ---- where it begins ----------------------------------------------------------------------------- */

uint64_t subscriber_run_begin_locked(const struct session *session, const struct task *run) {
    lock_assert_held(&session->lock);
    if (run->start_sequence > 0)
        return run->start_sequence;
    return run->end_sequence > 0 ? run->end_sequence : session->log.next_sequence;
}

struct frame *subscriber_choose(const struct task *run, bool agent_framing, struct frame *frame) {
    if (run != NULL && frame->task_serial != 0 && frame->task_serial != run->serial)
        return NULL;
    if (!agent_framing || frame->is_of_agent)
        return frame;
    return frame->for_agents;
}

/* Whether there is anything in the log for it from here on, up to the end of the run. */
static bool is_more_locked(const struct session *session, const struct subscriber_spec *spec,
                           uint64_t sequence, const struct task *task) {
    lock_assert_held(&session->lock);
    for (; sequence <= task->end_sequence; sequence++) {
        struct frame *frame = event_log_at(&session->log, sequence);
        if (subscriber_choose(spec->run, spec->agent_framing, frame) != NULL)
            return true;
    }
    return false;
}

/* Whether the run has ended well without an event of the agent's. A client that sees these alone would get an
 * empty stream without an id, and EventSource would ask for it again for ever. A run that was just started
 * (`stays`) is answered by a stream all the same. */
static bool is_blank_locked(const struct session *session, const struct subscriber_spec *spec,
                            const struct task *task) {
    lock_assert_held(&session->lock);
    uint64_t begin = subscriber_run_begin_locked(session, task);
    return spec->agent_framing && !spec->stays && spec->from == SUBSCRIBE_FROM_RUN &&
           begin >= session->log.first_sequence && !is_more_locked(session, spec, begin, task);
}

/* Whether there is nothing left to send: to a client that has read up to `last_id`, or at all. One that sees
 * the agent's events alone has never seen the id of a good end. */
static bool is_complete_locked(const struct session *session, const struct subscriber_spec *spec) {
    lock_assert_held(&session->lock);
    const struct task *task = spec->run != NULL ? spec->run : spec->until_run ? session->newest : NULL;
    if (task == NULL || !task_status_is_end(task->status))
        return false;
    if (!spec->resume)
        return is_blank_locked(session, spec, task);
    if (event_id_compare(spec->last_id, task->end_id) == 0)
        return true;
    struct event_log_position position = event_log_find(&session->log, spec->last_id);
    return position.known && !is_more_locked(session, spec, position.sequence, task);
}

/* Whether no run is under way, and no event is retained. */
static bool is_silent_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    const struct event_log *log = &session->log;
    return session->current == NULL && log->first_sequence == log->next_sequence;
}

static void place_cursor_locked(struct subscriber *subscriber, const struct subscriber_spec *spec) {
    lock_assert_held(&subscriber->session->lock);
    const struct session *session = subscriber->session;
    const struct event_log *log = &session->log;
    const struct task *run = spec->run != NULL ? spec->run : session->newest;
    if (spec->resume) {
        struct event_log_position position = event_log_find(log, spec->last_id);
        subscriber->cursor = position.sequence;
        subscriber->position = spec->last_id;
        subscriber->gap_due = !position.known;
        subscriber->gap_to = position.lost_to;
    } else if (spec->from == SUBSCRIBE_FROM_NOW) {
        subscriber->cursor = log->next_sequence;
        if (spec->run == NULL && session->newest != NULL && session->current == NULL)
            subscriber->until_after = session->newest->serial;
    } else if (spec->from == SUBSCRIBE_FROM_START) {
        subscriber->cursor = 1;
    } else {
        subscriber->cursor = run != NULL ? subscriber_run_begin_locked(session, run) : log->next_sequence;
    }
}

/* Whether the run's end was trimmed, so that nothing of it is left to read. */
static bool is_gone_locked(const struct session *session, const struct task *run) {
    lock_assert_held(&session->lock);
    return run != NULL && task_status_is_end(run->status) && run->end_sequence < session->log.first_sequence;
}

/* A session that was not opened has the place in its list from now on; `*place` is NULL then. */
static enum subscriber_result prepare_locked(struct subscriber *subscriber,
                                             const struct subscriber_spec *spec,
                                             struct waiting_place **place) {
    lock_assert_held(&subscriber->session->lock);
    struct session *session = subscriber->session;
    struct broadcaster_limits *limits = broadcaster_limits(session->broadcaster);
    struct broadcaster_counts *counts = broadcaster_counts(session->broadcaster);
    if (is_complete_locked(session, spec) || (spec->expects_now && is_silent_locked(session)))
        return SUBSCRIBER_COMPLETE;
    if (atomic_load(&session->closed))
        return spec->run != NULL ? SUBSCRIBER_GONE : SUBSCRIBER_CLOSED;
    if (is_gone_locked(session, spec->run))
        return SUBSCRIBER_GONE;
    if (session->subscribers >= atomic_load(&limits->subscribers_per_session_max))
        return SUBSCRIBER_SESSION_FULL;
    if (atomic_fetch_add(&counts->subscribers, 1) >= atomic_load(&limits->subscribers_max)) {
        atomic_fetch_sub(&counts->subscribers, 1);
        return SUBSCRIBER_FULL;
    }
    if (!session_is_open(session)) {
        assert(*place != NULL);
        LIST_INSERT_HEAD(&session->places, *place, entry);
        subscriber->place = *place;
        *place = NULL;
    }
    session->subscribers++;
    subscriber->gathered =
        !spec->stays && session->subscribers <= atomic_load(&limits->subscribers_gathered_max);
    session_touch_locked(session);
    session_settle_locked(session);
    place_cursor_locked(subscriber, spec);
    return SUBSCRIBER_OK;
}

/* A place for one that has to wait. SUBSCRIBER_OK: *ret_place was set, if it has to. */
static enum subscriber_result take_waiting_place(struct session *session, const struct subscriber_spec *spec,
                                                 struct waiting_place **ret_place) {
    if (session_is_open(session))
        return SUBSCRIBER_OK;
    enum waiting_result result =
        waiting_places_take(broadcaster_waiting_places(session->broadcaster), &spec->address, ret_place);
    if (result == WAITING_NO_MEMORY)
        return SUBSCRIBER_NO_MEMORY;
    metrics_add(METRIC_SUBSCRIBERS_WAITING_REFUSED, result != WAITING_OK);
    return result == WAITING_OK     ? SUBSCRIBER_OK
           : result == WAITING_FULL ? SUBSCRIBER_WAITING_FULL
                                    : SUBSCRIBER_ADDRESS_FULL;
}

enum subscriber_result subscriber_prepare(struct session *session, const struct subscriber_spec *spec,
                                          struct subscriber **ret_subscriber) {
    assert(spec->run == NULL || spec->run->session == session);
    struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
    if (subscriber == NULL)
        return SUBSCRIBER_NO_MEMORY;
    subscriber->session = session;
    subscriber->until_run = spec->until_run;
    subscriber->agent_framing = spec->agent_framing;
    subscriber->pings = spec->pings;
    struct waiting_place *place = NULL;
    enum subscriber_result result = take_waiting_place(session, spec, &place);
    if (result == SUBSCRIBER_OK) {
        lock_acquire(&session->lock);
        result = prepare_locked(subscriber, spec, &place);
        lock_release(&session->lock);
    }
    waiting_places_release(broadcaster_waiting_places(session->broadcaster), place);
    if (result != SUBSCRIBER_OK) {
        metrics_add(METRIC_SUBSCRIBERS_REFUSED,
                    result == SUBSCRIBER_FULL || result == SUBSCRIBER_SESSION_FULL ||
                        result == SUBSCRIBER_WAITING_FULL || result == SUBSCRIBER_ADDRESS_FULL);
        free(subscriber);
        return result;
    }
    memory_charge(MEMORY_SUBSCRIBERS, sizeof(*subscriber));
    session_ref(session);
    subscriber->run = spec->run != NULL ? task_ref(spec->run) : NULL;
    *ret_subscriber = subscriber;
    return SUBSCRIBER_OK;
}

enum subscriber_result subscriber_aim(struct subscriber *subscriber, const struct subscriber_spec *spec) {
    struct session *session = subscriber->session;
    enum subscriber_result result = SUBSCRIBER_OK;
    assert(subscriber->watch == NULL && subscriber->run == NULL && spec->run->session == session);
    lock_acquire(&session->lock);
    if (is_complete_locked(session, spec)) {
        result = SUBSCRIBER_COMPLETE;
    } else if (atomic_load(&session->closed) || is_gone_locked(session, spec->run)) {
        result = SUBSCRIBER_GONE;
    } else {
        subscriber->until_after = 0;
        subscriber->position = (struct event_id){0};
        subscriber->gap_due = false;
        place_cursor_locked(subscriber, spec);
    }
    lock_release(&session->lock);
    if (result == SUBSCRIBER_OK) {
        subscriber->run = task_ref(spec->run);
        subscriber->until_run = spec->until_run;
        subscriber->agent_framing = spec->agent_framing;
        subscriber->pings = spec->pings;
    }
    return result;
}

enum subscriber_result subscriber_await(struct broadcaster *broadcaster, const char *key,
                                        const struct subscriber_spec *spec,
                                        struct subscriber **ret_subscriber) {
    enum subscriber_result result = SUBSCRIBER_CLOSED;
    for (int attempt = 0; attempt < AWAIT_ATTEMPTS_MAX && result == SUBSCRIBER_CLOSED; attempt++) {
        struct session *session;
        int error = broadcaster_await_session(broadcaster, key, &session);
        if (error == -ESHUTDOWN)
            return SUBSCRIBER_DRAINING;
        if (error == -ENOMEM)
            return SUBSCRIBER_NO_MEMORY;
        if (error < 0)
            continue;
        result = subscriber_prepare(session, spec, ret_subscriber);
        if (result != SUBSCRIBER_OK)
            broadcaster_forget_session(session);
        session_unref(session);
    }
    return result;
}

struct session *subscriber_session(const struct subscriber *subscriber) {
    return subscriber->session;
}

bool subscriber_is_gathered(const struct subscriber *subscriber) {
    return subscriber->gathered;
}

/* ---- the live ones ------------------------------------------------------------------------------- */

void subscriber_join_live(struct subscriber *subscriber) {
    struct watch *watch = subscriber->watch;
    bool plain = subscriber->run == NULL && !subscriber->until_run && !subscriber->agent_framing &&
                 subscriber->chunked;
    if (!plain || subscriber->drain_told) /* in a drain each is looked at by itself */
        return;
    bool first = TAILQ_EMPTY(&watch->live);
    if (!first && watch->cursor != subscriber->cursor)
        return; /* it is ahead of them: they are posted, and that flush looks at it again */
    watch->cursor = subscriber->cursor;
    if (first || event_id_compare(watch->position, subscriber->position) < 0)
        watch->position = subscriber->position;
    TAILQ_REMOVE(&watch->others, subscriber, entry);
    TAILQ_INSERT_TAIL(&watch->live, subscriber, entry);
    subscriber->live = true;
}

void subscriber_demote(struct subscriber *subscriber) {
    struct watch *watch = subscriber->watch;
    if (!subscriber->live)
        return;
    subscriber->cursor = watch->cursor;
    subscriber->position = watch->position;
    TAILQ_REMOVE(&watch->live, subscriber, entry);
    TAILQ_INSERT_TAIL(&watch->others, subscriber, entry);
    subscriber->live = false;
}

/* ---- its life ------------------------------------------------------------------------------------ */

/* `left`: its client has gone, before the end of its stream. */
static void destroy(struct subscriber *subscriber, bool left) {
    struct session *session = subscriber->session;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    bool was_reading = subscriber->run == NULL || !task_status_is_end(subscriber->run->status);
    bool waited = !session_is_open(session);
    struct waiting_place *place = waited ? subscriber->place : NULL;
    if (place != NULL)
        LIST_REMOVE(place, entry);
    session_remove_subscriber_locked(session, left && was_reading, &effects);
    lock_release(&session->lock);
    session_apply(&effects);
    if (waited)
        broadcaster_forget_session(session);
    waiting_places_release(broadcaster_waiting_places(session->broadcaster), place);
    frame_unref(subscriber->rest.frame);
    task_unref(subscriber->run);
    session_unref(session);
    memory_release(MEMORY_SUBSCRIBERS, sizeof(*subscriber));
    free(subscriber);
}

void subscriber_destroy(struct subscriber *subscriber) {
    assert(subscriber->watch == NULL);
    destroy(subscriber, true);
}

void subscriber_release(struct subscriber *subscriber) {
    if (subscriber == NULL)
        return;
    assert(subscriber->watch == NULL);
    destroy(subscriber, false);
}

void subscriber_connect(struct subscriber *subscriber, struct fanout *fanout, struct sink *sink,
                        bool chunked) {
    sink->subscriber = subscriber;
    struct watch *watch = watch_get(fanout, subscriber->session);
    if (watch == NULL) {
        sink->subscriber = NULL;
        sink->operations->close(sink, true);
        subscriber_destroy(subscriber);
        return;
    }
    subscriber->watch = watch;
    subscriber->sink = sink;
    subscriber->chunked = chunked;
    subscriber->last_write_ms = clock_mono_ms();
    subscriber->jitter = (uint16_t)(random() % 1000);
    TAILQ_INSERT_TAIL(&watch->others, subscriber, entry);
    fanout_add(fanout, subscriber);
    metrics_add(METRIC_SUBSCRIBERS_OPENED, 1);
    subscriber_pump(subscriber);
}

void subscriber_end(struct subscriber *subscriber, bool abort) {
    struct watch *watch = subscriber->watch;
    struct sink *sink = subscriber->sink;
    TAILQ_REMOVE(subscriber->live ? &watch->live : &watch->others, subscriber, entry);
    fanout_remove(watch->fanout, subscriber);
    sink->subscriber = NULL;
    sink->operations->close(sink, abort);
    destroy(subscriber, abort);
    watch_consider_destroy(watch);
}

void subscriber_on_writable(struct subscriber *subscriber) {
    if (subscriber->blocked)
        subscriber_pump(subscriber);
}

void subscriber_on_disconnect(struct subscriber *subscriber) {
    subscriber_end(subscriber, true);
}
