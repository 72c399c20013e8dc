/* Runs of a session: POST and DELETE S/run, and POST /run_sse.
 *
 * A run is started in this order, so that what refuses it has changed nothing yet: a run of the same
 * Idempotency-Key or of the client's Last-Event-ID is looked for; then the upstream and the memory must have
 * room; then the session is opened, the place for the run's stream is taken, and the task is made and
 * registered. A session that is closed by another request in between is opened once more, a few times.
 */
#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/percent.h"
#include "relay/runner.h"
#include "routes/access.h"
#include "routes/await.h"
#include "routes/handlers.h"
#include "routes/refusal.h"
#include "routes/run_request.h"
#include "routes/stream.h"
#include "routes/tunnels.h"
#include "routes/upstream_choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- starting ------------------------------------------------------------------------------------ */

struct run_started {
    struct task *task; /* a reference; NULL: the run of an earlier request, which is no longer remembered */
    char task_id[TASK_ID_SIZE];
    int64_t created_unix_ms;
    bool replayed;                   /* the run of an earlier request: of its Idempotency-Key, or the one that
                                      * Last-Event-ID goes on with */
    enum task_status earlier_status; /* without a task: how that run ended */
    struct subscriber *subscriber;   /* prepared for the run's own stream, if that is the answer; else NULL */
};

/* How often a session may be closed under our hands. */
#define ATTEMPTS_MAX 5

/* Nobody knows when a run with a delay starts, or is cancelled. */
#define DELAYED_RETRY_AFTER_MS 10000

/* By how long runs hold their slots just now: one of all must end, or the one of the session. */
static void set_retry_after(struct request *request, enum register_result result) {
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(request->context->broadcaster), &info);
    if (result == REGISTER_RUNS_FULL)
        reply_retry_after(request, info.retry_after_ms);
    else if (result == REGISTER_QUEUE_FULL)
        reply_retry_after(request, info.held_mean_ms);
    else if (result == REGISTER_DELAYED_FULL)
        reply_retry_after(request, DELAYED_RETRY_AFTER_MS);
}

/* Whether it is certain, as far as can be told before it is registered, that nothing keeps it waiting. */
static bool will_start_at_once(const struct request *request, const struct task_options *options) {
    struct broadcaster *broadcaster = request->context->broadcaster;
    const struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(broadcaster), &info);
    if (atomic_load(&limits->runs_per_app_max) > 0 || atomic_load(&limits->runs_per_user_max) > 0)
        return false;
    return options->delay_ms == 0 && options->on_conflict != ON_CONFLICT_ENQUEUE && info.waiting == 0 &&
           info.running + info.guests < atomic_load(&limits->runs_max);
}

/* An app or a user may have used up its runs, too. */
static void refuse_runs_full(struct request *request, const struct broadcaster_limits *limits) {
    uint64_t of_app = atomic_load(&limits->runs_per_app_max),
             of_user = atomic_load(&limits->runs_per_user_max);
    char shares[128] = "";
    if (of_app > 0 || of_user > 0)
        snprintf(shares, sizeof(shares), ", runs_per_app_max (%" PRIu64 "), runs_per_user_max (%" PRIu64 ")",
                 of_app, of_user);
    request->reply.cause = "runs_max";
    reply_error(request, 429, "too_many_runs",
                "The run limit has been reached and the queue is full: runs_max (%" PRIu64
                ")%s, runs_queued_max (%" PRIu64 ").",
                atomic_load(&limits->runs_max), shares, atomic_load(&limits->runs_queued_max));
}

static void refuse_run(struct request *request, enum register_result result,
                       const struct registration *registration) {
    const struct broadcaster_limits *limits = broadcaster_limits(request->context->broadcaster);
    set_retry_after(request, result);
    switch (result) {
    case REGISTER_KEY_MISMATCH:
        reply_error_about(request, 409, "idempotency_key_reused", "task_id", registration->earlier.task_id,
                          "This Idempotency-Key was used with another body.");
        break;
    case REGISTER_CONFLICT:
        reply_error_about(request, 409, "run_in_progress", "task_id", registration->task->id,
                          "A run is under way in this session.");
        break;
    case REGISTER_QUEUE_FULL:
        request->reply.cause = "runs_queued_per_session_max";
        reply_error(request, 429, "queue_full",
                    "The queue is full: runs_queued_per_session_max (%" PRIu64
                    ") in this session, or runs_queued_max (%" PRIu64 ") in all.",
                    atomic_load(&limits->runs_queued_per_session_max), atomic_load(&limits->runs_queued_max));
        break;
    case REGISTER_DELAYED_FULL:
        request->reply.cause = "runs_delayed_max";
        reply_error(request, 429, "delayed_full",
                    "The limit of runs with a delay that have not started has been reached: runs_delayed_max "
                    "(%" PRIu64 ") in all, or runs_delayed_per_user_max (%" PRIu64 ") for this user.",
                    atomic_load(&limits->runs_delayed_max), atomic_load(&limits->runs_delayed_per_user_max));
        break;
    case REGISTER_RUNS_FULL:
        refuse_runs_full(request, limits);
        break;
    case REGISTER_DRAINING:
        reply_error(request, 503, "draining", "The gateway is shutting down and accepts no new runs.");
        break;
    case REGISTER_CLOSED:
        reply_error(request, 503, "session_closing",
                    "The session keeps being closed by other requests; try again.");
        break;
    case REGISTER_NO_MEMORY:
    case REGISTER_OK:
    case REGISTER_REPLAYED:
        reply_no_memory(request);
    }
}

static void log_run_refusal(struct request *request, const struct run_request *run) {
    const struct reply *reply = &request->reply;
    refusal_log(request, LOG_LEVEL_INFO, "run_refused", LOG_STR("session", request->session_key),
                LOG_STR("upstream", upstream_at(request, run->upstream)->name),
                LOG_STR("reason", reply->code), LOG_STR("cause", reply->cause != NULL ? reply->cause : ""),
                LOG_INT("status", reply->status), LOG_INT("retry_after_ms", reply->retry_after_ms),
                LOG_STR("trace_id", run->trace.id));
}

static void refuse_for_upstream(struct request *request, const struct run_request *run) {
    upstream_refuse_run(request, &run->choice);
    log_run_refusal(request, run);
}

/* A task for this session, made anew for each attempt. NULL: the reply is decided. */
static struct task *make_task(struct request *request, const struct run_request *run,
                              struct session *session) {
    struct task_options options = run->options;
    bool at_once = will_start_at_once(request, &options);
    struct plan *plan = run_request_plan(request, run, session, at_once);
    if (plan == NULL)
        return NULL;
    if (!run->choice.can_take && plan->found == NULL) {
        refuse_for_upstream(request, run);
        plan_destroy(plan);
        return NULL;
    }
    memcpy(options.id, run->task_id, sizeof(options.id));
    options.cached = plan->found != NULL;
    options.error_form = upstream_at(request, run->upstream)->adapter->error_form;
    options.hides_words = request->context->settings->errors_to_viewers == ERRORS_TO_VIEWERS_CODE;
    options.canned = at_once && plan->cache_key == NULL && run->choice.is_canned;
    struct runner *runner = run_request_home(request, run, session)->runner;
    struct task *task = runner_create_task(runner, session, &options, plan);
    if (task == NULL)
        reply_no_memory(request);
    return task;
}

/* A run that is answered by its stream takes the place for it before it is registered: without one it must
 * neither replace another run nor use up its key. False: the reply is decided. */
static bool take_place(struct request *request, const struct run_request *run, struct session *session,
                       struct subscriber **ret_subscriber) {
    return !run->has_stream || stream_take_place(request, session, ret_subscriber);
}

/* One attempt. Look at the reply first: it may be decided. `*ret_subscriber` is set with REGISTER_OK and
 * REGISTER_REPLAYED only. */
static enum register_result register_once(struct request *request, const struct run_request *run,
                                          struct session *session, struct registration *ret_registration,
                                          struct subscriber **ret_subscriber) {
    struct subscriber *subscriber = NULL;
    *ret_registration = (struct registration){0};
    if (!take_place(request, run, session, &subscriber))
        return REGISTER_NO_MEMORY;
    struct task *task = make_task(request, run, session);
    if (task == NULL) {
        subscriber_release(subscriber);
        return REGISTER_NO_MEMORY;
    }
    enum register_result result = REGISTER_NO_MEMORY;
    struct idempotency_entry *entry =
        run->idempotency_key != NULL ? idempotency_entry_create(run->idempotency_key, run->body_hash) : NULL;
    if (entry != NULL || run->idempotency_key == NULL)
        result = broadcaster_register_task(request->context->broadcaster, task, entry, ret_registration);
    if (result == REGISTER_OK) {
        runner_watch_task(request->context->runner, task);
        task_unref(task);
    } else {
        runner_discard_task(task);
    }
    if (result == REGISTER_OK || result == REGISTER_REPLAYED)
        *ret_subscriber = subscriber;
    else
        subscriber_release(subscriber);
    return result;
}

static void log_start(const struct request *request, const struct run_request *run,
                      const struct run_started *started, bool continued) {
    const char *event = continued ? "run_continued" : started->replayed ? "run_replayed" : "run_accepted";
    log_info(event, LOG_STR("task_id", started->task_id), LOG_STR("session", request->session_key),
             LOG_STR("label", run->options.label),
             LOG_STR("trace_id", started->task != NULL ? started->task->trace_id : ""));
}

static void finish_start(struct request *request, const struct run_request *run, enum register_result result,
                         const struct registration *registration, bool continued,
                         struct subscriber *subscriber, struct run_started *ret_started) {
    struct task *task = registration->task;
    if (result != REGISTER_OK && result != REGISTER_REPLAYED) {
        refuse_run(request, result, registration);
        log_run_refusal(request, run);
        task_unref(task);
        return;
    }
    *ret_started =
        (struct run_started){.task = task, .replayed = result == REGISTER_REPLAYED, .subscriber = subscriber};
    ret_started->earlier_status = registration->earlier.status;
    ret_started->created_unix_ms =
        task != NULL ? task->created_unix_ms : registration->earlier.created_unix_ms;
    memcpy(ret_started->task_id, task != NULL ? task->id : registration->earlier.task_id, TASK_ID_SIZE);
    char location[TASK_ID_SIZE + 8];
    snprintf(location, sizeof(location), "/tasks/%s", ret_started->task_id);
    reply_header(request, "Location", location);
    if (ret_started->replayed && !continued)
        reply_header(request, "Idempotency-Replayed", "true");
    log_start(request, run, ret_started, continued);
}

/* Whether the run's Idempotency-Key was used before, and how. Then no upstream and no cache need be asked;
 * one that is used by two requests at once is found when they are registered. */
static bool find_earlier(struct request *request, const struct run_request *run,
                         enum register_result *ret_result, struct registration *ret_registration) {
    if (run->idempotency_key == NULL)
        return false;
    struct session *session = access_find_session(request);
    enum register_result result = REGISTER_OK;
    if (session != NULL)
        result = broadcaster_find_replay(session, run->idempotency_key, run->body_hash, ret_registration);
    session_unref(session);
    if (result != REGISTER_OK)
        *ret_result = result;
    return result != REGISTER_OK;
}

/* Whether the client has read part of a run that was started by the same request: then it goes on with that
 * one. Clients such as fetch-event-source send their POST again after a cut. */
static bool find_continued(struct request *request, const struct run_request *run,
                           struct registration *registration) {
    if (!run->continues)
        return false;
    struct session *session = access_find_session(request);
    if (session != NULL)
        registration->task = broadcaster_find_run_of_event(session, run->last_id, run->body_hash);
    session_unref(session);
    return registration->task != NULL;
}

/* Starts the run, or finds the one that was started before. What can refuse the request is looked at before
 * the run is registered, so that a refusal changes nothing. The Location header is added. False: the reply is
 * decided, and there is nothing left to free. */
static bool start_run(struct request *request, const struct run_request *run,
                      struct run_started *ret_started) {
    enum register_result result = REGISTER_CLOSED;
    struct registration registration = {0};
    struct subscriber *subscriber = NULL;
    bool is_earlier = find_earlier(request, run, &result, &registration);
    bool continued = !is_earlier && find_continued(request, run, &registration);
    bool is_found = is_earlier || continued;
    if (continued)
        result = REGISTER_REPLAYED;
    if (!is_found && !run->choice.can_take && !upstream_at(request, run->upstream)->cache.on) {
        refuse_for_upstream(request, run);
        return false;
    }
    if (!is_found &&
        !memory_has_room(MEMORY_RUN_BYTES + request->body_length + 2 * run->options.input.length)) {
        reply_memory_full(request);
        log_run_refusal(request, run);
        return false;
    }
    for (int attempt = 0; attempt < ATTEMPTS_MAX && result == REGISTER_CLOSED; attempt++) {
        struct session *session = access_open_session(request);
        if (session == NULL)
            return false;
        result = register_once(request, run, session, &registration, &subscriber);
        session_unref(session);
        if (request->reply.kind != REPLY_NONE)
            return false;
    }
    finish_start(request, run, result, &registration, continued, subscriber, ret_started);
    return request->reply.kind == REPLY_NONE;
}

/* ---- answering ----------------------------------------------------------------------------------- */

#define ANSWER_BYTES_MAX 8192
/* Each byte of a name takes up to three. */
#define STREAM_URL_SIZE (3 * SESSION_KEY_SIZE + 64)

static const char *message_of(enum task_status status, bool replayed) {
    if (replayed)
        return "An earlier request with this Idempotency-Key started this run.";
    return status == TASK_PENDING ? "The run waits for its turn." : "The run was started.";
}

static void reply_started(struct request *request, const struct run_started *started) {
    struct task_info info = {.status = started->earlier_status};
    char stream_text[STREAM_URL_SIZE], task_url[TASK_ID_SIZE + 16];
    struct buffer stream_url;
    if (started->task != NULL)
        task_get_info(started->task, &info);
    buffer_init_fixed(&stream_url, stream_text, sizeof(stream_text));
    bool is_written = percent_append_part(&stream_url, "/apps/", request->app) &&
                      percent_append_part(&stream_url, "/users/", request->user) &&
                      percent_append_part(&stream_url, "/sessions/", request->session) &&
                      buffer_append_text(&stream_url, "/run");
    snprintf(task_url, sizeof(task_url), "/tasks/%s", started->task_id);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json.failed = !is_written;
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_string(&json, "app_name", request->app);
    json_add_string(&json, "user_id", request->user);
    json_add_string(&json, "session_id", request->session);
    json_add_string(&json, "task_id", started->task_id);
    json_add_string(&json, "status", task_status_name(info.status));
    json_add_string(&json, "message", message_of(info.status, started->replayed));
    json_add_time(&json, "timestamp", started->created_unix_ms);
    json_add_string(&json, "stream_url", stream_text);
    json_add_string(&json, "task_url", task_url);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

/* The client asked for the stream and cannot get it: cancel the run that it just started. */
static void reply_run_stream(struct request *request, const struct run_request *run,
                             const struct run_started *started) {
    enum stream_kind kind = started->replayed ? STREAM_RESUMED : STREAM_FROM_START;
    if (started->task == NULL) {
        subscriber_release(started->subscriber);
        stream_refuse_gone(request);
        return;
    }
    bool streams = stream_reply_run(request, started->task, kind, &run->form, started->subscriber);
    if (!streams && !started->replayed)
        task_cancel(started->task, REASON_REQUESTED);
}

void handle_run_post(struct request *request) {
    struct run_request run;
    struct run_started started = {0};
    if (run_request_read(request, &run) && start_run(request, &run, &started)) {
        if (run.has_stream)
            reply_run_stream(request, &run, &started);
        else
            reply_started(request, &started);
        task_unref(started.task);
    }
    run_request_finish(&run);
}

void handle_run_sse(struct request *request) {
    struct run_request run;
    struct run_started started = {0};
    if (run_request_read_adk(request, &run) && start_run(request, &run, &started)) {
        reply_run_stream(request, &run, &started);
        task_unref(started.task);
    }
    run_request_finish(&run);
}

/* Of a session without a run: 202, since their workers end them. */
static void reply_tunnels_cancelled(struct request *request, size_t tunnels) {
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_count(&json, "tunnels", tunnels);
    json_add_string(&json, "message", "The tunnels of this session are being closed.");
    json_end_object(&json);
    reply_json(request, 202, &json);
}

void handle_run_delete(struct request *request) {
    struct session *session = access_find_session(request);
    bool current = false;
    struct task *task = session != NULL ? broadcaster_session_task(session, &current) : NULL;
    size_t tunnels = live_cancel_session(request->app, request->user, request->session);
    if ((!current || !cancel_and_reply(request, task)) && tunnels > 0)
        reply_tunnels_cancelled(request, tunnels);
    else if (request->reply.kind == REPLY_NONE && !request->deferred)
        reply_error(request, 404, "no_run", "No run is under way in this session.");
    task_unref(task);
    session_unref(session);
}
