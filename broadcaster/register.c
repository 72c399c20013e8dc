/* Registering a run with its session: the swap. See broadcaster_register_task(). */
#include "broadcaster/broadcaster.h"

#include "base/broken_state.h"
#include "base/clock.h"
#include "base/metrics.h"

static enum register_result replay_locked(struct session *session, const char *key, uint64_t body_hash,
                                          struct registration *registration) {
    lock_assert_held(&session->lock);
    struct idempotency_entry *used = idempotency_find(&session->idempotency, key, clock_mono_ms());
    if (used == NULL)
        return REGISTER_OK;
    registration->earlier = used->receipt;
    if (used->task != NULL)
        registration->task = task_ref(used->task);
    return used->body_hash == body_hash ? REGISTER_REPLAYED : REGISTER_KEY_MISMATCH;
}

/* A run of an earlier key that has ended is looked for among those that are remembered. No lock held. */
static void find_remembered(struct broadcaster *broadcaster, struct registration *registration) {
    if (registration->task == NULL && registration->earlier.task_id[0] != '\0')
        registration->task = task_table_find(broadcaster_tasks(broadcaster), registration->earlier.task_id);
}

/* A run that waits in its session from now on, in the queue or for its time. */
static void link_locked(struct session *session, struct task *task) {
    lock_assert_held(&session->lock);
    atomic_store(&task->registered, true);
    task_ref(task); /* the list's */
    TAILQ_INSERT_TAIL(task->is_delayed ? &session->delayed : &session->queue, task, queue_entry);
    session->queue_length++;
    session->delayed_length += task->is_delayed;
}

/* A run that waits behind others; one that was for later has a place. */
static enum register_result queue_locked(struct session *session, struct task *task) {
    lock_assert_held(&session->lock);
    struct broadcaster *broadcaster = session->broadcaster;
    uint64_t queued_max = atomic_load(&broadcaster_limits(broadcaster)->runs_queued_per_session_max);
    bool has_place = atomic_load(&task->registered);
    bool is_full = session->queue_length - session->delayed_length >= queued_max;
    if ((!has_place && is_full) || !scheduler_reserve(broadcaster_scheduler(broadcaster), task))
        return REGISTER_QUEUE_FULL;
    link_locked(session, task);
    return REGISTER_OK;
}

static enum register_result delay_locked(struct session *session, struct task *task) {
    lock_assert_held(&session->lock);
    if (!scheduler_reserve(broadcaster_scheduler(session->broadcaster), task)) {
        metrics_add(METRIC_RUNS_DELAYED_REFUSED, 1);
        return REGISTER_DELAYED_FULL;
    }
    task->is_delayed = true;
    link_locked(session, task);
    return REGISTER_OK;
}

/* Finds the run a place, or says why there is none. The swap stands here. */
static enum register_result place_task_locked(struct session *session, struct task *task,
                                              struct task **ret_task, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct task *old = session->current;
    if (old != NULL && task->options.on_conflict == ON_CONFLICT_REJECT) {
        *ret_task = task_ref(old);
        return REGISTER_CONFLICT;
    }
    if (old != NULL && task->options.on_conflict == ON_CONFLICT_ENQUEUE)
        return queue_locked(session, task);
    enum admission_state state = scheduler_ask(broadcaster_scheduler(session->broadcaster), task, old);
    if (state == ADMISSION_NONE)
        return REGISTER_RUNS_FULL;
    if (old != NULL)
        session_end_task_locked(session, old, TASK_REPLACED, REASON_NONE, effects);
    atomic_store(&task->registered, true);
    session_claim_locked(session, task_ref(task), effects);
    if (state == ADMISSION_GRANTED)
        session_admit_locked(session, effects);
    return REGISTER_OK;
}

static enum register_result accept_locked(struct session *session, struct task *task, struct task **ret_task,
                                          struct session_effects *effects) {
    lock_assert_held(&session->lock);
    if (task->options.delay_ms > 0)
        return delay_locked(session, task);
    return place_task_locked(session, task, ret_task, effects);
}

/* A run whose time has come, from among those that are delayed. False: there is no place for it, and it ends.
 * It has kept its place, so that cannot be. */
static bool place_due_locked(struct session *session, struct task *task, struct session_effects *effects) {
    lock_assert_held(&session->lock);
    struct task *nobody = NULL;
    TAILQ_REMOVE(&session->delayed, task, queue_entry);
    session->queue_length--;
    session->delayed_length--;
    task->is_delayed = false;
    if (place_task_locked(session, task, &nobody, effects) == REGISTER_OK)
        return true;
    broken_state_note("broadcaster/register.c: a run has lost its place in the queue");
    TAILQ_INSERT_TAIL(&session->delayed, task, queue_entry);
    session->queue_length++;
    session->delayed_length++;
    task->is_delayed = true;
    session_end_task_locked(session, task, TASK_FAILED, REASON_INTERNAL, effects);
    return false;
}

void task_become_due(struct task *task) {
    struct session *session = task->session;
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    bool is_placed = false;
    if (task->is_delayed && !task_status_is_end(task->status)) {
        session_touch_locked(session);
        bool conflicts = session->current != NULL && task->options.on_conflict == ON_CONFLICT_REJECT;
        if (conflicts)
            session_end_task_locked(session, task, TASK_CANCELLED, REASON_CONFLICT, &effects);
        else
            is_placed = place_due_locked(session, task, &effects);
    }
    lock_release(&session->lock);
    session_apply(&effects);
    if (is_placed)
        task_unref(task); /* of those that are not due */
}

/* `*entry` becomes NULL if it was taken over; `*ret_gone` is one that had to go for it. */
static enum register_result register_locked(struct broadcaster *broadcaster, struct task *task,
                                            struct idempotency_entry **entry,
                                            struct registration *registration,
                                            struct idempotency_entry **ret_gone,
                                            struct session_effects *effects) {
    lock_assert_held(&task->session->lock);
    struct session *session = task->session;
    if (broadcaster_is_draining(broadcaster))
        return REGISTER_DRAINING;
    if (atomic_load(&session->closed))
        return REGISTER_CLOSED;
    session_touch_locked(session);
    enum register_result result = REGISTER_OK;
    if (*entry != NULL)
        result = replay_locked(session, (*entry)->key, (*entry)->body_hash, registration);
    if (result == REGISTER_OK)
        result = accept_locked(session, task, &registration->task, effects);
    if (result != REGISTER_OK)
        return result;
    registration->task = task_ref(task);
    session->had_run = true;
    if (*entry != NULL) {
        struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
        int64_t now_ms = clock_mono_ms();
        idempotency_entry_tie(*entry, task);
        (*entry)->expires_mono_ms = task->due_mono_ms + atomic_load(&limits->idempotency_ttl_ms);
        *ret_gone = idempotency_add(&session->idempotency, *entry, now_ms,
                                    (uint32_t)atomic_load(&limits->idempotency_keys_per_session_max));
        *entry = NULL;
    }
    return REGISTER_OK;
}

enum register_result broadcaster_find_replay(struct session *session, const char *key, uint64_t body_hash,
                                             struct registration *ret_registration) {
    *ret_registration = (struct registration){0};
    lock_acquire(&session->lock);
    enum register_result result = replay_locked(session, key, body_hash, ret_registration);
    lock_release(&session->lock);
    find_remembered(session->broadcaster, ret_registration);
    return result;
}

enum register_result broadcaster_register_task(struct broadcaster *broadcaster, struct task *task,
                                               struct idempotency_entry *entry,
                                               struct registration *ret_registration) {
    struct session_effects effects = {0};
    struct idempotency_entry *gone = NULL;
    *ret_registration = (struct registration){0};
    struct scheduler *scheduler = broadcaster_scheduler(broadcaster);
    if (!scheduler_prepare(scheduler, task) || !task_table_add(broadcaster_tasks(broadcaster), task)) {
        scheduler_forget(scheduler, task);
        idempotency_entry_destroy(entry);
        return REGISTER_NO_MEMORY;
    }
    lock_acquire(&task->session->lock);
    enum register_result result =
        register_locked(broadcaster, task, &entry, ret_registration, &gone, &effects);
    session_settle_locked(task->session);
    lock_release(&task->session->lock);
    session_apply(&effects);
    find_remembered(broadcaster, ret_registration);
    idempotency_entry_destroy(entry);
    idempotency_entry_destroy(gone);
    if (result != REGISTER_OK) {
        task_table_remove(broadcaster_tasks(broadcaster), task);
        scheduler_forget(scheduler, task);
    }
    if (result != REGISTER_REPLAYED)
        metrics_add(result == REGISTER_OK ? METRIC_RUNS_ACCEPTED : METRIC_RUNS_REFUSED, 1);
    return result;
}
