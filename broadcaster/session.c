/* A session: see session.h. */
#include "broadcaster/session.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/refcount.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/watch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is allocated for a session with this key. */
static size_t session_size_of(const char *key) {
    return sizeof(struct session) + strlen(key) + 1;
}

struct session *session_create(struct broadcaster *broadcaster, const char *key) {
    struct session *session = calloc(1, session_size_of(key));
    if (session == NULL)
        return NULL;
    if (!event_log_init(&session->log, clock_unix_ms())) {
        free(session);
        return NULL;
    }
    memory_charge(MEMORY_SESSIONS, session_size_of(key));
    atomic_init(&session->references, 1);
    session->broadcaster = broadcaster;
    memcpy(session->key, key, strlen(key) + 1);
    lock_init(&session->lock);
    TAILQ_INIT(&session->queue);
    TAILQ_INIT(&session->delayed);
    LIST_INIT(&session->watches);
    LIST_INIT(&session->places);
    TAILQ_INIT(&session->idempotency);
    session->last_used_mono_ms = session->idle_since_mono_ms = clock_mono_ms();
    return session;
}

struct session *session_ref(struct session *session) {
    refcount_add(&session->references);
    return session;
}

void session_unref(struct session *session) {
    if (session == NULL || !refcount_drop(&session->references))
        return;
    assert(session->newest == NULL && TAILQ_EMPTY(&session->queue) && TAILQ_EMPTY(&session->delayed));
    assert(LIST_EMPTY(&session->watches) && LIST_EMPTY(&session->places));
    assert(session->idleness == SESSION_IN_USE);
    event_log_finish(&session->log);
    lock_finish(&session->lock);
    memory_release(MEMORY_SESSIONS, session_size_of(session->key));
    free(session);
}

struct session_parts session_parts(const struct session *session) {
    const char *user = strchr(session->key, '/') + 1;
    const char *name = strchr(user, '/') + 1;
    return (struct session_parts){.app = session->key,
                                  .app_length = (int)(user - session->key) - 1,
                                  .user = user,
                                  .user_length = (int)(name - user) - 1,
                                  .session = name,
                                  .session_length = (int)strlen(name)};
}

void session_touch_locked(struct session *session) {
    lock_assert_held(&session->lock);
    session->last_used_mono_ms = clock_mono_ms();
}

static enum idleness idleness_locked(const struct session *session) {
    lock_assert_held(&session->lock);
    bool retains = session->log.first_sequence != session->log.next_sequence;
    if (!session_is_open(session) || atomic_load(&session->closed))
        return SESSION_IN_USE;
    if (session->current != NULL)
        return SESSION_RUNNING;
    if (session->queue_length > 0 || session->subscribers > 0)
        return retains ? SESSION_WATCHED : SESSION_IN_USE;
    if (!session->had_run)
        return SESSION_EMPTY;
    return retains ? SESSION_IDLE : SESSION_TRIMMED;
}

void session_settle_locked(struct session *session) {
    lock_assert_held(&session->lock);
    enum idleness idleness = idleness_locked(session);
    bool stays = idleness == session->idleness && (idleness == SESSION_IN_USE || idleness == SESSION_RUNNING);
    if (!stays)
        idle_sessions_place_locked(broadcaster_idle_sessions(session->broadcaster), session, idleness);
}

void session_wake_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct watch *watch;
    LIST_FOREACH(watch, &session->watches, session_entry) {
        if (watch->posted)
            continue;
        watch->posted = true;
        watch->next_posted = effects->watches;
        effects->watches = watch;
    }
}

void session_claim_locked(struct session *session, struct task *task, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    assert(session->current == NULL && task->status == TASK_PENDING && effects->dropped == NULL);
    effects->dropped = session->newest;
    session->newest = session->current = task;
}

void session_admit_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct task *task = session->current;
    assert(task->status == TASK_PENDING && effects->started == NULL);
    task->status = TASK_RUNNING;
    task->started_unix_ms = clock_unix_ms();
    task->started_mono_ms = clock_mono_ms();
    task->start_sequence = session->log.next_sequence;
    session_append_locked(session, task->start_frame, effects);
    task->start_id = task->start_frame->id;
    task->start_frame = NULL;
    effects->started = task_ref(task);
}

void session_start_next_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct task *next = TAILQ_FIRST(&session->queue);
    if (session->current != NULL || next == NULL)
        return;
    TAILQ_REMOVE(&session->queue, next, queue_entry);
    session->queue_length--;
    session_claim_locked(session, next, effects);
    if (scheduler_ask(broadcaster_scheduler(session->broadcaster), next, NULL) == ADMISSION_GRANTED)
        session_admit_locked(session, effects);
}

static void leave_session_locked(struct session *session, struct task *task,
                                 struct session_effects *effects) {
    lock_assert_held(&session->lock);
    if (session->current == task) {
        session->current = NULL;
        task_ref(task); /* `newest` keeps its own */
    } else {
        TAILQ_REMOVE(task->is_delayed ? &session->delayed : &session->queue, task, queue_entry);
        session->queue_length--;
        session->delayed_length -= task->is_delayed;
    }
    struct task *granted = scheduler_leave(broadcaster_scheduler(session->broadcaster), task);
    if (granted != NULL) {
        granted->next_granted = effects->granted;
        effects->granted = granted;
    }
}

/* What takes the place of run.end in a stream of the agent's events alone; nothing does after a good end. */
static void fill_for_agents_locked(struct task *task, struct session_effects *effects) {
    lock_assert_held(&task->session->lock);
    struct frame *frame = task->end_frame->for_agents;
    if (task_ends_unheard_locked(task)) {
        char text[TASK_ERROR_DATA_MAX];
        frame_fill(frame, text, task_format_error_locked(task, text));
        return;
    }
    task->end_frame->for_agents = NULL;
    frame->next = effects->evicted;
    effects->evicted = frame;
}

static void append_run_end_locked(struct session *session, struct task *task,
                                  struct session_effects *effects) {
    lock_assert_held(&session->lock);
    task_fill_end_locked(task);
    fill_for_agents_locked(task, effects);
    task->end_sequence = session->log.next_sequence;
    session_append_locked(session, task->end_frame, effects);
    task->end_id = task->end_frame->id;
    task->end_frame = NULL;
}

/* One that never started needs its run.start no more. */
static void drop_start_frame_locked(struct task *task, struct session_effects *effects) {
    lock_assert_held(&task->session->lock);
    if (task->start_frame == NULL)
        return;
    task->start_frame->next = effects->evicted;
    effects->evicted = task->start_frame;
    task->start_frame = NULL;
}

static void detach_waiters_locked(struct task *task) {
    lock_assert_held(&task->session->lock);
    struct task_waiter *waiter;
    LIST_FOREACH(waiter, &task->waiters, entry)
    waiter->linked = false;
    task->waiters_to_tell = LIST_FIRST(&task->waiters);
    LIST_INIT(&task->waiters);
}

bool session_end_task_locked(struct session *session, struct task *task, enum task_status status,
                             enum task_reason reason, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    assert(task->session == session && task_status_is_end(status) && atomic_load(&task->registered));
    if (task_status_is_end(task->status))
        return false;
    leave_session_locked(session, task, effects);
    task->status = status;
    task->reason = reason;
    task->ended_unix_ms = clock_unix_ms();
    task->ended_mono_ms = clock_mono_ms();
    drop_start_frame_locked(task, effects);
    append_run_end_locked(session, task, effects);
    idempotency_note_end(task);
    detach_waiters_locked(task);
    task->next_ended = effects->ended;
    effects->ended = task;
    return true;
}

static void end_if_disconnected_locked(struct session *session, struct task *task,
                                       struct session_effects *effects) {
    lock_assert_held(&session->lock);
    if (task->options.on_disconnect != ON_DISCONNECT_CANCEL)
        return;
    task->is_deserted = true;
    if (task->options.disconnect_grace_ms == 0) /* else task_check_idle() ends it */
        session_end_task_locked(session, task, TASK_CANCELLED, REASON_DISCONNECTED, effects);
}

/* First those that wait, so that none of them starts. */
static void end_disconnected_locked(struct session *session, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct task_queue *const queues[] = {&session->queue, &session->delayed};
    for (size_t i = 0; i < 2; i++) {
        for (struct task *task = TAILQ_FIRST(queues[i]), *next; task != NULL; task = next) {
            next = TAILQ_NEXT(task, queue_entry);
            end_if_disconnected_locked(session, task, effects);
        }
    }
    if (session->current != NULL)
        end_if_disconnected_locked(session, session->current, effects);
    session_start_next_locked(session, effects);
}

bool session_has_waiting_locked(struct session *session) {
    lock_assert_held(&session->lock);
    return session->queue_length > 0 ||
           (session->current != NULL && session->current->status == TASK_PENDING);
}

void session_remove_subscriber_locked(struct session *session, bool may_cancel,
                                      struct session_effects *effects) {
    lock_assert_held(&session->lock);
    assert(session->subscribers > 0);
    session->subscribers--;
    atomic_fetch_sub(&broadcaster_counts(session->broadcaster)->subscribers, 1);
    session_touch_locked(session);
    if (session->subscribers > 0)
        return;
    session->idle_since_mono_ms = clock_mono_ms();
    if (may_cancel)
        end_disconnected_locked(session, effects);
    if (atomic_load(&session->closed))
        session_free_log_locked(session, effects);
    session_settle_locked(session);
}

bool session_is_over_locked(struct session *session) {
    lock_assert_held(&session->lock);
    return atomic_load(&session->closed) || (session->draining && session->current == NULL);
}

static void tell_task_end(struct task *task) {
    struct task_waiter *waiter = task->waiters_to_tell;
    while (waiter != NULL) {
        struct task_waiter *next = LIST_NEXT(waiter, entry); /* once posted it may be gone */
        inbox_post(waiter->inbox, &waiter->item);
        waiter = next;
    }
    struct broadcaster *broadcaster = task->session->broadcaster;
    atomic_fetch_add(&broadcaster_counts(broadcaster)->ended[task->status][task->reason], 1);
    task_table_note_end(broadcaster_tasks(broadcaster), task,
                        atomic_load(&broadcaster_limits(broadcaster)->tasks_kept));
    task->driver->ended(task->driver, task);
}

static void tell_ends(struct task *task) {
    struct scheduler *scheduler = task != NULL ? broadcaster_scheduler(task->session->broadcaster) : NULL;
    while (task != NULL) {
        struct task *next = task->next_ended;
        tell_task_end(task);
        task_unref(task);
        task = next;
    }
    if (scheduler != NULL)
        scheduler_tell_idle(scheduler);
}

/* All but what follows for other sessions. */
static void apply_here(struct session_effects *effects) {
    frame_unref_list(effects->evicted);
    for (struct watch *watch = effects->watches; watch != NULL;) {
        struct watch *next = watch->next_posted;
        watch_post(watch);
        watch = next;
    }
    tell_ends(effects->ended);
    if (effects->started != NULL)
        effects->started->driver->start(effects->started->driver, effects->started);
    task_unref(effects->started);
    task_unref(effects->dropped);
}

/* Starts a run that waited and got a slot; if it has ended meanwhile, its end gave the slot on. */
static void start_granted(struct task *task) {
    struct session *session = task->session;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    if (session->current == task && task->status == TASK_PENDING)
        session_admit_locked(session, &effects);
    lock_release(&session->lock);
    apply_here(&effects); /* nothing ends by it: nobody else gets a slot */
    task_unref(task);
}

void session_apply(struct session_effects *effects) {
    apply_here(effects);
    for (struct task *task = effects->granted; task != NULL;) {
        struct task *next = task->next_granted;
        start_granted(task);
        task = next;
    }
}
