/* Starting and cancelling runs: POST and DELETE S/run, and POST /run_sse. */
#include "base/json_writer.h"
#include "base/percent.h"
#include "routes/access.h"
#include "routes/cancel.h"
#include "routes/handlers.h"
#include "routes/live.h"
#include "routes/run_start.h"
#include "routes/stream.h"

#include <stdio.h>

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
    struct run_started started;
    if (run_request_read(request, &run) && run_start(request, &run, &started)) {
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
    struct run_started started;
    if (run_request_read_adk(request, &run) && run_start(request, &run, &started)) {
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
