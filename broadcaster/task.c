/* A task, one run: see task.h. */
#include "broadcaster/task.h"

#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "base/random_id.h"
#include "base/refcount.h"
#include "broadcaster/broadcaster.h"
#include "broadcaster/lifecycle.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A run that waits is looked after this often at least. */
#define QUEUE_LOOK_MS 1000

static const char *const status_names[TASK_STATUS_COUNT] = {
    [TASK_PENDING] = "pending", [TASK_RUNNING] = "running",     [TASK_COMPLETED] = "completed",
    [TASK_FAILED] = "failed",   [TASK_CANCELLED] = "cancelled", [TASK_REPLACED] = "replaced",
    [TASK_TIMEOUT] = "timeout",
};

static const char *const reason_names[REASON_COUNT] = {
    [REASON_NONE] = NULL,
    [REASON_UPSTREAM_CONNECT] = "upstream_connect",
    [REASON_UPSTREAM_STATUS] = "upstream_status",
    [REASON_UPSTREAM_ERROR] = "upstream_error",
    [REASON_UPSTREAM_TRUNCATED] = "upstream_truncated",
    [REASON_UPSTREAM_PROTOCOL] = "upstream_protocol",
    [REASON_UPSTREAM_IDLE] = "upstream_idle",
    [REASON_LIMIT] = "limit",
    [REASON_INTERNAL] = "internal",
    [REASON_CIRCUIT_OPEN] = "circuit_open",
    [REASON_UPSTREAM_LIMITED] = "upstream_limited",
    [REASON_REQUESTED] = "requested",
    [REASON_CONFLICT] = "conflict",
    [REASON_DISCONNECTED] = "disconnected",
    [REASON_SUBSCRIBERS_IDLE] = "subscribers_idle",
    [REASON_SESSION_DELETED] = "session_deleted",
    [REASON_SESSION_EXPIRED] = "session_expired",
    [REASON_SHUTDOWN] = "shutdown",
    [REASON_RUN_TIME] = "run_time",
    [REASON_QUEUE_TIME] = "queue_time",
};

static _Atomic uint64_t last_serial;

const char *task_status_name(enum task_status status) {
    return status_names[status];
}

const char *task_reason_name(enum task_reason reason) {
    return reason_names[reason];
}

enum task_status task_status_find(const char *name) {
    int status = 0;
    while (status < TASK_STATUS_COUNT && strcmp(status_names[status], name) != 0)
        status++;
    return (enum task_status)status;
}

bool task_make_id(char out[TASK_ID_SIZE]) {
    return random_id(out, TASK_ID_SIZE - 1);
}

static struct frame *make_start_frame(const struct task *task) {
    const struct task_options *options = &task->options;
    const struct session_parts parts = session_parts(task->session);
    const struct lifecycle_run_start start = {
        .task_id = task->id,
        .app = {parts.app, (size_t)parts.app_length},
        .user = {parts.user, (size_t)parts.user_length},
        .session = {parts.session, (size_t)parts.session_length},
        .label = options->label,
        .input = {options->input.text, options->input.length},
        .input_is_cut = options->input.is_cut,
        .cached = options->cached,
        .canned = options->canned,
    };
    return lifecycle_make_run_start(task->serial, &start);
}

/* False: out of memory. */
static bool copy_input(struct task *task, const struct task_input *input) {
    task->options.input = (struct task_input){0};
    if (input->text == NULL)
        return true;
    task->input = malloc(input->length + 1);
    if (task->input == NULL)
        return false;
    memory_charge(MEMORY_TASKS, input->length + 1);
    memcpy(task->input, input->text, input->length);
    task->options.input =
        (struct task_input){.text = task->input, .length = input->length, .is_cut = input->is_cut};
    return true;
}

static void free_input(struct task *task) {
    if (task->input != NULL)
        memory_release(MEMORY_TASKS, task->options.input.length + 1);
    free(task->input);
}

/* Both of its forms, so that none can fail later. */
static struct frame *make_end_frame(const struct task *task) {
    struct frame *frame = lifecycle_reserve_run_end(task->serial);
    if (frame == NULL)
        return NULL;
    frame->for_agents = frame_reserve(task->serial, task_error_form(task)->type, TASK_ERROR_DATA_MAX);
    if (frame->for_agents != NULL)
        return frame;
    frame_unref(frame);
    return NULL;
}

struct task *task_create(struct session *session, const struct task_options *options,
                         struct task_driver *driver, void *payload) {
    struct task *task = calloc(1, sizeof(*task));
    if (task == NULL)
        return NULL;
    memory_charge(MEMORY_TASKS, sizeof(*task));
    atomic_init(&task->references, 1);
    task->serial = atomic_fetch_add(&last_serial, 1) + 1;
    task->session = session_ref(session);
    task->options = *options;
    task->created_unix_ms = clock_unix_ms();
    task->due_mono_ms = clock_mono_ms() + options->delay_ms;
    task->driver = driver;
    task->payload = payload;
    task->status = TASK_PENDING;
    atomic_init(&task->cached, options->cached);
    LIST_INIT(&task->waiters);
    memcpy(task->id, options->id, sizeof(task->id));
    bool has_id = task->id[0] != '\0' || task_make_id(task->id);
    if (has_id && copy_input(task, &options->input)) {
        task->start_frame = make_start_frame(task);
        task->end_frame = make_end_frame(task);
    }
    if (task->start_frame == NULL || task->end_frame == NULL) {
        task_unref(task);
        return NULL;
    }
    return task;
}

struct task *task_ref(struct task *task) {
    refcount_add(&task->references);
    return task;
}

void task_unref(struct task *task) {
    if (task == NULL || !refcount_drop(&task->references))
        return;
    frame_unref(task->start_frame);
    frame_unref(task->end_frame);
    session_unref(task->session);
    free_input(task);
    memory_release(MEMORY_TASKS, sizeof(*task));
    free(task);
}

/* The fence: appends only what the current run brings. */
static bool append_fenced(struct task *task, struct frame *frame) {
    struct session *session = task->session;
    struct session_effects effects = {0};
    uint64_t bytes = frame->data_length;
    bool is_event = frame->is_of_agent;
    lock_acquire(&session->lock);
    bool is_current = session->current == task;
    if (is_current && is_event) {
        if (task->events == 0)
            task->first_event_mono_ms = clock_mono_ms();
        task->events++;
        task->bytes += bytes;
    }
    if (is_current)
        session_append_locked(session, frame, &effects);
    lock_release(&session->lock);
    if (!is_current)
        frame_unref(frame);
    session_apply(&effects);
    return is_current;
}

bool task_publish(struct task *task, struct frame *frame) {
    assert(frame->is_of_agent);
    uint64_t bytes = frame->data_length;
    bool is_current = append_fenced(task, frame);
    metrics_add(is_current ? METRIC_EVENTS_IN : METRIC_EVENTS_FENCED, 1);
    if (is_current)
        metrics_add(METRIC_EVENT_BYTES_IN, bytes);
    return is_current;
}

bool task_announce(struct task *task, struct frame *frame) {
    assert(!frame->is_of_agent);
    return append_fenced(task, frame);
}

bool task_is_ahead(const struct task *task) {
    struct session *session = task->session;
    lock_acquire(&session->lock);
    bool is_ahead = session_is_ahead_locked(session);
    lock_release(&session->lock);
    return is_ahead;
}

bool task_wait(struct task *task, struct task_waiter *waiter) {
    lock_acquire(&task->session->lock);
    waiter->linked = !task_status_is_end(task->status);
    if (waiter->linked)
        LIST_INSERT_HEAD(&task->waiters, waiter, entry);
    bool linked = waiter->linked;
    lock_release(&task->session->lock);
    return linked;
}

bool task_unwait(struct task *task, struct task_waiter *waiter) {
    lock_acquire(&task->session->lock);
    bool was_linked = waiter->linked;
    if (was_linked) {
        LIST_REMOVE(waiter, entry);
        waiter->linked = false;
    }
    lock_release(&task->session->lock);
    return was_linked;
}

/* For how long nobody has listened to the session, and it could have been listened to since `from_mono_ms`.
 */
static int64_t idle_ms_locked(const struct session *session, int64_t from_mono_ms) {
    lock_assert_held(&session->lock);
    int64_t since_ms =
        session->idle_since_mono_ms > from_mono_ms ? session->idle_since_mono_ms : from_mono_ms;
    return session->subscribers > 0 ? 0 : clock_mono_ms() - since_ms;
}

/* The sooner of two times, of which 0 is never. */
static int64_t sooner_of(int64_t a_ms, int64_t b_ms) {
    return a_ms == 0 || (b_ms > 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int64_t grace_ms(const struct task *task) {
    return task->options.on_disconnect == ON_DISCONNECT_CANCEL ? task->options.disconnect_grace_ms : 0;
}

/* Whether the run is to end now, and why; else *ret_again_ms. */
static enum task_reason judge_idle_locked(const struct task *task, int64_t *ret_again_ms) {
    lock_assert_held(&task->session->lock);
    const struct session *session = task->session;
    int64_t limit_ms = task->options.cancel_after_idle_ms, grace = grace_ms(task), again_ms = 0;
    if (task_status_is_end(task->status))
        return REASON_NONE;
    if (grace > 0) {
        int64_t idle_ms = task->is_deserted ? idle_ms_locked(session, 0) : 0;
        if (idle_ms >= grace)
            return REASON_DISCONNECTED;
        again_ms = grace - idle_ms;
    }
    if (limit_ms > 0 && session->current == task) {
        /* Idle since the last one left, but no longer than the run has been running. */
        int64_t idle_ms = idle_ms_locked(session, task->started_mono_ms);
        if (idle_ms >= limit_ms)
            return REASON_SUBSCRIBERS_IDLE;
        again_ms = sooner_of(again_ms, limit_ms - idle_ms);
    }
    *ret_again_ms = again_ms;
    return REASON_NONE;
}

int64_t task_idle_check_due_ms(struct task *task) {
    int64_t again_ms = 0;
    lock_acquire(&task->session->lock);
    enum task_reason reason = judge_idle_locked(task, &again_ms);
    lock_release(&task->session->lock);
    return reason != REASON_NONE ? 1 : again_ms;
}

int64_t task_check_idle(struct task *task) {
    struct session *session = task->session;
    int64_t again_ms = 0;
    lock_acquire(&session->lock);
    enum task_reason reason = judge_idle_locked(task, &again_ms);
    lock_release(&session->lock);
    if (reason == REASON_NONE)
        return again_ms;
    task_cancel(task, reason);
    return 0;
}

int64_t task_check_queue(struct task *task) {
    struct session *session = task->session;
    int64_t limit_ms = atomic_load(&broadcaster_limits(session->broadcaster)->queue_timeout_ms);
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    bool waits = task->status == TASK_PENDING;
    int64_t left_ms = limit_ms > 0 ? task->due_mono_ms + limit_ms - clock_mono_ms() : QUEUE_LOOK_MS;
    if (waits && left_ms <= 0) {
        task_note_queue_timeout_locked(task, limit_ms);
        session_end_task_locked(session, task, TASK_TIMEOUT, REASON_QUEUE_TIME, &effects);
        session_start_next_locked(session, &effects);
        session_settle_locked(session);
    }
    lock_release(&session->lock);
    session_apply(&effects);
    if (!waits || left_ms <= 0)
        return 0;
    return left_ms < QUEUE_LOOK_MS ? left_ms : QUEUE_LOOK_MS;
}

static int64_t ms_between(int64_t from_ms, int64_t to_ms) {
    return to_ms > from_ms ? to_ms - from_ms : 0;
}

int64_t task_duration_locked(const struct task *task) {
    lock_assert_held(&task->session->lock);
    if (task->start_sequence == 0)
        return 0;
    return ms_between(task->started_mono_ms,
                      task_status_is_end(task->status) ? task->ended_mono_ms : clock_mono_ms());
}

static int64_t queue_wait_locked(const struct task *task) {
    lock_assert_held(&task->session->lock);
    int64_t until_ms = task->start_sequence != 0          ? task->started_mono_ms
                       : task_status_is_end(task->status) ? task->ended_mono_ms
                                                          : clock_mono_ms();
    return ms_between(task->due_mono_ms, until_ms);
}

void task_get_info(struct task *task, struct task_info *ret_info) {
    int64_t sent_ms = atomic_load(&task->sent_mono_ms);
    lock_acquire(&task->session->lock);
    *ret_info = (struct task_info){
        .status = task->status,
        .reason = task->reason,
        .cause = task->cause,
        .http_status = task->http_status,
        .outcome = task->outcome,
        .started_unix_ms = task->started_unix_ms,
        .ended_unix_ms = task->ended_unix_ms,
        .duration_ms = task_duration_locked(task),
        .queue_wait_ms = queue_wait_locked(task),
        .execution_delay_ms = sent_ms != 0 ? ms_between(task->due_mono_ms, sent_ms) : -1,
        .first_event_delay_ms =
            task->events > 0 ? ms_between(task->due_mono_ms, task->first_event_mono_ms) : -1,
        .events = task->events,
        .bytes = task->bytes,
        .start_id = task->start_id,
        .end_id = task->end_id,
        .start_sequence = task->start_sequence,
        .end_sequence = task->end_sequence,
    };
    memcpy(ret_info->message, task->message, sizeof(task->message));
    lock_release(&task->session->lock);
}
