/* The runner of one worker: see runner.h.
 *
 * The broadcaster calls start() and ended() on any thread; both only post to the worker's inbox. What happens
 * to a run happens on the worker's thread.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "relay/runner_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BREATH_MS 1 /* how long a stream is held that is ahead of a worker */

static void work_on_timer(uv_timer_t *timer);
static void consider_letting_go(struct work *work);

static struct work *work_of(struct task *task) {
    return task->payload;
}

static void work_free(struct work *work) {
    plan_destroy(work->plan);
    upstream_feed_finish(&work->feed);
    task_unref(work->task);
    memory_release(MEMORY_TASKS, sizeof(*work));
    free(work);
}

/* ---- times --------------------------------------------------------------------------------------- */

/* Sleeps for so long, or shorter; 0: for ever. */
static void sleep_for(struct work *work, int64_t ms, int64_t other_ms) {
    if (other_ms > 0 && (ms <= 0 || other_ms < ms))
        ms = other_ms;
    if (ms > 0)
        uv_timer_start(&work->timer, work_on_timer, (uint64_t)ms, 0);
}

/* Until it is due; then it takes its place. Until it waits for too long, or its clients have left it for too
 * long; then it ends. */
static void watch_pending(struct work *work) {
    int64_t until_due_ms = work->task->due_mono_ms - clock_mono_ms();
    int64_t idle_check_ms = task_check_idle(work->task);
    if (until_due_ms > 0) {
        sleep_for(work, until_due_ms, idle_check_ms);
        return;
    }
    task_become_due(work->task);
    sleep_for(work, task_check_queue(work->task), idle_check_ms);
}

static void end_timeout(const struct work *work) {
    int64_t timeout_ms = work->task->options.timeout_ms;
    bool is_own = timeout_ms < work->runner->context->settings->run_timeout_ms;
    const char *key = is_own ? "timeout_ms" : "run_timeout_ms";
    char message[96];
    snprintf(message, sizeof(message), "The run took too long: %s (%" PRId64 " ms).", key, timeout_ms);
    const struct task_fault fault = {.cause = key, .message = message};
    task_end_for(work->task, TASK_TIMEOUT, REASON_RUN_TIME, &fault);
}

/* Until the run's time is up, or it may have been idle for too long. */
static void watch_started(struct work *work) {
    int64_t left_ms = work->deadline_mono_ms - clock_mono_ms();
    if (left_ms <= 0)
        end_timeout(work);
    else
        sleep_for(work, left_ms, task_check_idle(work->task));
}

void runner_hold(struct work *work) {
    work->held = true;
    uv_timer_start(&work->timer, work_on_timer, BREATH_MS, 0);
}

static void work_on_timer(uv_timer_t *timer) {
    struct work *work = timer->data;
    if (work->ended)
        return;
    if (work->held)
        upstream_feed_resume(&work->feed);
    work->held = false;
    if (work->deadline_mono_ms == 0)
        watch_pending(work);
    else
        watch_started(work);
}

/* At its start, or when it is to be watched, if that comes first. */
static void open_timer(struct work *work) {
    if (work->timer_open)
        return;
    uv_timer_init(work->runner->context->loop, &work->timer);
    work->timer.data = work;
    work->timer_open = true;
}

static void begin_watching(struct work *work) {
    work->awaits_watch = false;
    if (work->ended) {
        consider_letting_go(work);
        return;
    }
    open_timer(work);
    if (work->deadline_mono_ms == 0)
        watch_pending(work);
}

static void work_on_watch(struct inbox_item *item) {
    struct work *work = CONTAINER_OF(item, struct work, watch_item);
    struct task *task = work->task;
    begin_watching(work);
    task_unref(task); /* the item's */
}

void runner_watch_task(const struct runner *here, struct task *task) {
    struct work *work = work_of(task);
    if (work->runner == here) {
        begin_watching(work);
        return;
    }
    task_ref(task);
    inbox_post(work->runner->context->inbox, &work->watch_item);
}

/* ---- start and end ------------------------------------------------------------------------------- */

static void begin_work(struct work *work) {
    struct task *task = work->task;
    int64_t now_ms = clock_mono_ms();
    open_timer(work);
    metrics_observe_ms(HISTOGRAM_QUEUE_WAIT, now_ms - task->due_mono_ms);
    work->deadline_mono_ms = now_ms + task->options.timeout_ms;
    sleep_for(work, task->options.timeout_ms, task_idle_check_due_ms(task));
    static const struct task_fault no_memory = {.cause = "memory", .message = "Memory ran out."};
    if (!work_start(work))
        task_end_for(task, TASK_FAILED, REASON_INTERNAL, &no_memory);
}

/* What is not known, a delay to what did not come, is left out. */
static void log_end(const struct work *work, const struct task_info *info) {
    const struct task *task = work->task;
    const struct upstreams_settings *upstreams = &work->runner->context->upstream_worker->settings;
    const char *reason = task_reason_name(info->reason);
    bool is_bad = info->status == TASK_FAILED || info->status == TASK_TIMEOUT;
    struct log_field fields[20] = {
        LOG_STR("task_id", task->id),
        LOG_STR("session", task->session->key),
        LOG_STR("trace_id", task->trace_id),
        LOG_STR("peer", work->peer),
        LOG_STR("upstream", upstreams->items[atomic_load(&task->upstream)].name),
        LOG_INT("upstream_status", work->upstream_status),
        LOG_STR("status", task_status_name(info->status)),
        LOG_STR("reason", reason != NULL ? reason : ""),
        LOG_STR("cause", info->cause != NULL ? info->cause : ""),
        LOG_STR("message", info->message),
        LOG_INT("events", info->events),
        LOG_INT("bytes", info->bytes),
        LOG_INT("retries", atomic_load(&task->retries)),
        LOG_INT("queue_wait_ms", info->queue_wait_ms),
        LOG_INT("duration_ms", info->duration_ms),
    };
    size_t count = 15;
    if (info->execution_delay_ms >= 0)
        fields[count++] = LOG_INT("execution_delay_ms", info->execution_delay_ms);
    if (info->first_event_delay_ms >= 0)
        fields[count++] = LOG_INT("first_event_delay_ms", info->first_event_delay_ms);
    log_write(is_bad ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "run_ended", fields);
}

/* A run that is watched or was started is told so: if that is still on its way, the run, and with it the
 * worker, is kept until it came. */
static void consider_letting_go(struct work *work) {
    if (!work->ended || work->timer_open || work->awaits_start || work->awaits_watch)
        return;
    atomic_fetch_sub(&work->runner->active, 1);
    work->task->payload = NULL;
    work_free(work);
}

static void work_on_timer_closed(uv_handle_t *handle) {
    struct work *work = handle->data;
    work->timer_open = false;
    consider_letting_go(work);
}

static void work_on_start(struct inbox_item *item) {
    struct task *task = CONTAINER_OF(item, struct task, start_item);
    struct work *work = work_of(task);
    work->start_came = true;
    work->awaits_start = false;
    if (work->ended)
        consider_letting_go(work);
    else
        begin_work(work);
    task_unref(task); /* the item's */
}

static void work_on_ended(struct inbox_item *item) {
    struct task *task = CONTAINER_OF(item, struct task, ended_item);
    struct work *work = work_of(task);
    struct task_info info;
    task_get_info(task, &info);
    work->ended = true;
    work->awaits_start = info.started_unix_ms != 0 && !work->start_came;
    upstream_feed_cancel(&work->feed);
    log_end(work, &info);
    if (info.started_unix_ms != 0)
        metrics_observe_ms(HISTOGRAM_RUN_DURATION, info.duration_ms);
    if (work->timer_open)
        uv_close((uv_handle_t *)&work->timer, work_on_timer_closed);
    consider_letting_go(work);
    task_unref(task); /* the item's */
}

static void driver_start(struct task_driver *driver, struct task *task) {
    struct runner *runner = CONTAINER_OF(driver, struct runner, driver);
    task_ref(task);
    inbox_post(runner->context->inbox, &task->start_item);
}

/* Whether the run's stream at the upstream is closed before its end, by us. */
static bool is_cut(const struct task_info *info) {
    if (info->execution_delay_ms < 0) /* nothing was sent */
        return false;
    switch (info->status) {
    case TASK_CANCELLED:
    case TASK_REPLACED:
    case TASK_TIMEOUT:
        return true;
    case TASK_FAILED:
        return info->reason == REASON_UPSTREAM_IDLE || info->reason == REASON_UPSTREAM_PROTOCOL ||
               info->reason == REASON_LIMIT || info->reason == REASON_INTERNAL;
    default:
        return false;
    }
}

/* The note stands before the session's next run may be started: see session_apply(). */
static void driver_ended(struct task_driver *driver, struct task *task) {
    struct runner *runner = CONTAINER_OF(driver, struct runner, driver);
    struct task_info info;
    task_get_info(task, &info);
    if (is_cut(&info))
        session_note_cut(task->session, clock_mono_ms());
    task_ref(task);
    inbox_post(runner->context->inbox, &task->ended_item);
}

/* ---- making and discarding ----------------------------------------------------------------------- */

struct runner *runner_create(struct relay_context *context) {
    struct runner *runner = calloc(1, sizeof(*runner));
    if (runner == NULL)
        return NULL;
    runner->driver = (struct task_driver){.start = driver_start, .ended = driver_ended};
    runner->context = context;
    return runner;
}

void runner_destroy(struct runner *runner) {
    if (runner == NULL)
        return;
    assert(runner_active(runner) == 0);
    free(runner);
}

size_t runner_active(const struct runner *runner) {
    return atomic_load(&runner->active);
}

struct task *runner_create_task(struct runner *runner, struct session *session,
                                const struct task_options *options, struct plan *plan) {
    struct work *work = calloc(1, sizeof(*work));
    struct task *task = work != NULL ? task_create(session, options, &runner->driver, work) : NULL;
    if (task == NULL) {
        free(work);
        plan_destroy(plan);
        return NULL;
    }
    *work = (struct work){.runner = runner, .task = task_ref(task), .plan = plan, .awaits_watch = true};
    memory_charge(MEMORY_TASKS, sizeof(*work));
    work->first_upstream = (uint32_t)plan->steps[0].upstream;
    memcpy(work->peer, plan->peer, sizeof(work->peer));
    atomic_init(&task->upstream, work->first_upstream);
    memcpy(task->trace_id, plan->trace_id, sizeof(task->trace_id));
    task->start_item.handle = work_on_start;
    task->ended_item.handle = work_on_ended;
    work->watch_item.handle = work_on_watch;
    atomic_fetch_add(&runner->active, 1); /* before it is registered: then the worker stays for it */
    return task;
}

void runner_discard_task(struct task *task) {
    struct work *work = work_of(task);
    work->ended = true;
    work->awaits_watch = false;
    consider_letting_go(work);
    task_unref(task);
}
