/* Registering a run with its session: the swap. See broadcaster_register_task(). */
#include "broadcaster/broadcaster.h"

#include "base/clock.h"
#include "base/metrics.h"

static enum register_result replay_locked(struct session *session, const struct idempotency_entry *entry,
                                          struct task **ret_task) {
    struct idempotency_entry *used = idempotency_find(&session->idempotency, entry->key, clock_mono_ms());
    if (used == NULL)
        return REGISTER_OK;
    *ret_task = task_ref(used->task);
    return used->body_hash == entry->body_hash ? REGISTER_REPLAYED : REGISTER_KEY_MISMATCH;
}

/* Adds to a count unless it stands at its maximum. */
static bool count_up(_Atomic uint64_t *count, uint64_t count_max) {
    if (atomic_fetch_add(count, 1) < count_max)
        return true;
    atomic_fetch_sub(count, 1);
    return false;
}

static enum register_result enqueue_locked(struct broadcaster *broadcaster, struct session *session,
                                           struct task *task) {
    struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
    if (session->queue_length >= atomic_load(&limits->runs_queued_per_session_max) ||
        !count_up(&broadcaster_counts(broadcaster)->runs_queued, atomic_load(&limits->runs_queued_max)))
        return REGISTER_QUEUE_FULL;
    atomic_store(&task->registered, true);
    task_ref(task); /* the queue's */
    TAILQ_INSERT_TAIL(&session->queue, task, queue_entry);
    session->queue_length++;
    return REGISTER_OK;
}

/* Finds the run a place, or says why there is none. The swap stands here. */
static enum register_result place_locked(struct broadcaster *broadcaster, struct session *session,
                                         struct task *task, struct task **ret_task,
                                         struct session_effects *effects) {
    struct task *old = session->current;
    if (old != NULL && task->options.on_conflict == ON_CONFLICT_REJECT) {
        *ret_task = task_ref(old);
        return REGISTER_CONFLICT;
    }
    if (old != NULL && task->options.on_conflict == ON_CONFLICT_ENQUEUE)
        return enqueue_locked(broadcaster, session, task);
    if (old != NULL) {
        session_end_task_locked(session, old, TASK_REPLACED, REASON_NONE, effects);
        atomic_fetch_add(&broadcaster_counts(broadcaster)->runs, 1); /* in the place of the old one */
    } else if (!count_up(&broadcaster_counts(broadcaster)->runs,
                         atomic_load(&broadcaster_limits(broadcaster)->runs_max))) {
        return REGISTER_RUNS_FULL;
    }
    atomic_store(&task->registered, true);
    session_start_locked(session, task_ref(task), effects);
    return REGISTER_OK;
}

/* `*entry` becomes NULL if it was taken over; `*ret_gone` is one that had to go for it. */
static enum register_result register_locked(struct broadcaster *broadcaster, struct task *task,
                                            struct idempotency_entry **entry, struct task **ret_task,
                                            struct idempotency_entry **ret_gone,
                                            struct session_effects *effects) {
    struct session *session = task->session;
    lock_assert_held(&session->lock);
    if (broadcaster_is_draining(broadcaster))
        return REGISTER_DRAINING;
    if (atomic_load(&session->closed))
        return REGISTER_CLOSED;
    session_touch_locked(session);
    enum register_result result = *entry != NULL ? replay_locked(session, *entry, ret_task) : REGISTER_OK;
    if (result == REGISTER_OK)
        result = place_locked(broadcaster, session, task, ret_task, effects);
    if (result != REGISTER_OK)
        return result;
    *ret_task = task_ref(task);
    if (*entry != NULL) {
        struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
        int64_t now_ms = clock_mono_ms();
        (*entry)->task = task_ref(task);
        (*entry)->expires_mono_ms = now_ms + atomic_load(&limits->idempotency_ttl_ms);
        *ret_gone = idempotency_add(&session->idempotency, *entry, now_ms,
                                    (uint32_t)atomic_load(&limits->idempotency_keys_per_session_max));
        *entry = NULL;
    }
    return REGISTER_OK;
}

enum register_result broadcaster_register_task(struct broadcaster *broadcaster, struct task *task,
                                               struct idempotency_entry *entry, struct task **ret_task) {
    struct session_effects effects = {0};
    struct idempotency_entry *gone = NULL;
    *ret_task = NULL;
    if (!task_table_add(broadcaster_tasks(broadcaster), task)) {
        idempotency_entry_destroy(entry);
        return REGISTER_NO_MEMORY;
    }
    lock_acquire(&task->session->lock);
    enum register_result result = register_locked(broadcaster, task, &entry, ret_task, &gone, &effects);
    lock_release(&task->session->lock);
    session_apply(&effects);
    idempotency_entry_destroy(entry);
    idempotency_entry_destroy(gone);
    if (result != REGISTER_OK)
        task_table_remove(broadcaster_tasks(broadcaster), task);
    if (result != REGISTER_REPLAYED)
        metrics_add(result == REGISTER_OK ? METRIC_RUNS_ACCEPTED : METRIC_RUNS_REFUSED, 1);
    return result;
}
