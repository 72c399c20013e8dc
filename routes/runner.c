/* The runner of one worker: see runner.h.
 *
 * The broadcaster calls start() and ended() on any thread; both only post to the worker's inbox. What happens
 * to a run happens on the worker's thread.
 */
#include "routes/runner.h"

#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BREATH_MS 1 /* how long a stream is held that is ahead of a worker */

struct runner {
    struct task_driver driver;
    struct routes_context *context;
    size_t active;
};

/* The payload of a task. */
struct run {
    struct runner *runner;
    struct task *task; /* a reference */
    struct upstream_run request;
    struct upstream_stream *stream; /* NULL: not started, or it has ended */
    uv_timer_t timer;
    bool timer_open;
    bool held;       /* may_read() said no: the timer lets it go on */
    bool start_came; /* on_start() was called */
    bool ended;
    int64_t deadline_mono_ms;
};

static void on_timer(uv_timer_t *timer);

static struct run *run_of(struct task *task) {
    return task->payload;
}

static void run_free(struct run *run) {
    upstream_run_finish(&run->request);
    task_unref(run->task);
    free(run);
}

/* ---- the stream's callbacks ---------------------------------------------------------------------- */

static void on_sent(void *context) {
    struct run *run = context;
    atomic_store(&run->task->sent_mono_ms, clock_mono_ms());
}

static bool on_event(void *context, const struct sse_event *event) {
    struct run *run = context;
    struct task *task = run->task;
    atomic_store_explicit(&task->session->exists_upstream, true, memory_order_relaxed);
    struct frame *frame = frame_create(FRAME_EVENT, task->serial, event->type, event->type_length,
                                       event->data, event->data_length);
    if (frame == NULL)
        task_end(task, TASK_FAILED, REASON_INTERNAL, 0, "out of memory");
    bool goes_on = frame != NULL && task_publish(task, frame);
    if (!goes_on)
        run->stream = NULL;
    return goes_on;
}

/* A burst from the upstream must not push events out of the log that a worker had no time yet to write. Ours
 * writes at once; for the others the stream takes a breath. */
static bool may_read(void *context) {
    struct run *run = context;
    if (!task_is_ahead(run->task))
        return true;
    fanout_flush(run->runner->context->fanout);
    if (!task_is_ahead(run->task))
        return true;
    run->held = true;
    uv_timer_start(&run->timer, on_timer, BREATH_MS, 0);
    return false;
}

static enum task_reason reason_of(enum upstream_end end) {
    switch (end) {
    case UPSTREAM_COMPLETED:
        return REASON_NONE;
    case UPSTREAM_CONNECT:
        return REASON_UPSTREAM_CONNECT;
    case UPSTREAM_STATUS:
        return REASON_UPSTREAM_STATUS;
    case UPSTREAM_ERROR:
        return REASON_UPSTREAM_ERROR;
    case UPSTREAM_TRUNCATED:
        return REASON_UPSTREAM_TRUNCATED;
    case UPSTREAM_PROTOCOL:
        return REASON_UPSTREAM_PROTOCOL;
    case UPSTREAM_IDLE:
        return REASON_UPSTREAM_IDLE;
    case UPSTREAM_LIMIT:
        return REASON_LIMIT;
    case UPSTREAM_INTERNAL:
        break;
    }
    return REASON_INTERNAL;
}

static void on_end(void *context, const struct upstream_result *result) {
    struct run *run = context;
    run->stream = NULL;
    bool completed = result->end == UPSTREAM_COMPLETED;
    task_end(run->task, completed ? TASK_COMPLETED : TASK_FAILED, reason_of(result->end),
             completed ? 0 : result->http_status, result->message);
}

static const struct upstream_stream_callbacks stream_callbacks = {
    .on_sent = on_sent, .on_event = on_event, .may_read = may_read, .on_end = on_end};

/* ---- deadlines ----------------------------------------------------------------------------------- */

/* Sleeps until the run's time is up, or until it may have been idle for too long. */
static void arm_timer(struct run *run, int64_t idle_check_in_ms) {
    int64_t in_ms = run->deadline_mono_ms - clock_mono_ms();
    if (idle_check_in_ms > 0 && idle_check_in_ms < in_ms)
        in_ms = idle_check_in_ms;
    uv_timer_start(&run->timer, on_timer, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

static void on_timer(uv_timer_t *timer) {
    struct run *run = timer->data;
    if (run->ended)
        return;
    if (run->held && run->stream != NULL)
        upstream_stream_resume(run->stream);
    run->held = false;
    if (clock_mono_ms() >= run->deadline_mono_ms)
        task_end(run->task, TASK_TIMEOUT, REASON_RUN_TIME, 0, NULL);
    else
        arm_timer(run, task_check_idle(run->task));
}

/* ---- start and end ------------------------------------------------------------------------------- */

static void start_stream(struct run *run) {
    struct routes_context *context = run->runner->context;
    struct task *task = run->task;
    uv_timer_init(context->loop, &run->timer);
    run->timer.data = run;
    run->timer_open = true;
    run->deadline_mono_ms = clock_mono_ms() + task->options.timeout_ms;
    arm_timer(run, task->options.cancel_after_idle_ms);
    run->request.session_exists = atomic_load(&task->session->exists_upstream);
    run->stream = upstream_stream_start(context->client, &run->request, &stream_callbacks, run);
    if (run->stream == NULL)
        task_end(task, TASK_FAILED, REASON_INTERNAL, 0, "the request could not be started");
}

static void log_end(const struct task *task, const struct task_info *info) {
    const char *reason = task_reason_name(info->reason);
    enum log_level level =
        info->status == TASK_FAILED || info->status == TASK_TIMEOUT ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
    const struct log_field fields[] = {LOG_STR("task_id", task->id),
                                       LOG_STR("session", task->session->key),
                                       LOG_STR("status", task_status_name(info->status)),
                                       LOG_STR("reason", reason != NULL ? reason : ""),
                                       LOG_STR("message", info->message),
                                       LOG_INT("events", info->events),
                                       LOG_INT("bytes", info->bytes),
                                       LOG_INT("duration_ms", info->duration_ms),
                                       {0}};
    log_write(level, "run_ended", fields);
}

static void let_go(struct run *run) {
    run->runner->active--;
    run->task->payload = NULL;
    run_free(run);
}

static void on_timer_closed(uv_handle_t *handle) {
    let_go(handle->data);
}

static void on_start(struct inbox_item *item) {
    struct task *task = CONTAINER_OF(item, struct task, start_item);
    struct run *run = run_of(task);
    run->start_came = true;
    if (run->ended)
        let_go(run);
    else
        start_stream(run);
    task_unref(task); /* the item's */
}

static void on_ended(struct inbox_item *item) {
    struct task *task = CONTAINER_OF(item, struct task, ended_item);
    struct run *run = run_of(task);
    struct task_info info;
    task_get_info(task, &info);
    run->ended = true;
    if (run->stream != NULL)
        upstream_stream_cancel(run->stream);
    run->stream = NULL;
    log_end(task, &info);
    /* A run that became current is told to start: if that is still on its way, the run, and with it the
     * worker, is kept until it came. */
    if (run->timer_open)
        uv_close((uv_handle_t *)&run->timer, on_timer_closed);
    else if (run->start_came || info.started_unix_ms == 0)
        let_go(run);
    task_unref(task); /* the item's */
}

static void driver_start(struct task_driver *driver, struct task *task) {
    struct runner *runner = CONTAINER_OF(driver, struct runner, driver);
    task_ref(task);
    inbox_post(runner->context->inbox, &task->start_item);
}

static void driver_ended(struct task_driver *driver, struct task *task) {
    struct runner *runner = CONTAINER_OF(driver, struct runner, driver);
    task_ref(task);
    inbox_post(runner->context->inbox, &task->ended_item);
}

/* ---- making and discarding ----------------------------------------------------------------------- */

struct runner *runner_create(struct routes_context *context) {
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
    assert(runner->active == 0);
    free(runner);
}

size_t runner_active(const struct runner *runner) {
    return runner->active;
}

struct task *runner_create_task(struct runner *runner, struct session *session,
                                const struct task_options *options, struct upstream_run *request) {
    struct run *run = calloc(1, sizeof(*run));
    struct task *task = run != NULL ? task_create(session, options, &runner->driver, run) : NULL;
    if (task == NULL) {
        free(run);
        upstream_run_finish(request);
        return NULL;
    }
    *run = (struct run){.runner = runner, .task = task_ref(task), .request = *request};
    *request = (struct upstream_run){0};
    task->start_item.handle = on_start;
    task->ended_item.handle = on_ended;
    runner->active++;
    return task;
}

void runner_discard_task(struct runner *runner, struct task *task) {
    (void)runner;
    let_go(run_of(task));
    task_unref(task);
}
