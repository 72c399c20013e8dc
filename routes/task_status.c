/* Which runs the sessions have: GET S/task-status and GET /task-status. */
#include "base/json_writer.h"
#include "routes/access.h"
#include "routes/handlers.h"

#define LISTED_MAX 1000
#define VISITED_MAX 20000
#define SESSION_JSON_BYTES_MAX 2048 /* a quote or a backslash takes two bytes */

static void write_task(struct json_writer *json, struct task *task) {
    struct task_info info = {0};
    if (task != NULL)
        task_get_info(task, &info);
    json_add_string(json, "task_id", task != NULL ? task->id : NULL);
    json_add_string(json, "status", task != NULL ? task_status_name(info.status) : NULL);
    json_add_bool(json, "cancelled", task != NULL && info.status == TASK_CANCELLED);
}

/* ---- one session --------------------------------------------------------------------------------- */

void handle_status_session(struct request *request) {
    struct session *session = access_find_session(request);
    bool current;
    struct task *task = session != NULL ? broadcaster_session_task(session, &current) : NULL;
    struct json_writer json;
    json_writer_init(&json, SESSION_JSON_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_string(&json, "session_id", request->session);
    json_add_bool(&json, "has_task", task != NULL);
    write_task(&json, task);
    json_end_object(&json);
    reply_json(request, 200, &json);
    task_unref(task);
    session_unref(session);
}

/* ---- all sessions -------------------------------------------------------------------------------- */

struct listing {
    const struct request *request;
    struct json_writer json;
    size_t listed, visited;
    bool truncated;
};

static bool visit_status(void *context, struct session *session) {
    struct listing *listing = context;
    bool current, shows = access_shows_session(listing->request, session);
    struct task *task = shows ? broadcaster_session_task(session, &current) : NULL;
    listing->truncated = ++listing->visited > VISITED_MAX || (task != NULL && listing->listed == LISTED_MAX);
    if (task != NULL && !listing->truncated) {
        json_begin_object(&listing->json, session->key);
        write_task(&listing->json, task);
        json_end_object(&listing->json);
        listing->listed++;
    }
    task_unref(task);
    return !listing->truncated;
}

void handle_status_all(struct request *request) {
    struct broadcaster *broadcaster = request->context->broadcaster;
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    struct listing listing = {.request = request};
    json_writer_init(&listing.json, (LISTED_MAX + 1) * SESSION_JSON_BYTES_MAX);
    json_begin_object(&listing.json, NULL);
    json_add_count(&listing.json, "total_tasks", stats.tasks);
    json_add_count(&listing.json, "running_tasks", stats.runs);
    json_begin_object(&listing.json, "sessions");
    broadcaster_for_each_session(broadcaster, visit_status, &listing);
    json_end_object(&listing.json);
    if (listing.truncated)
        json_add_bool(&listing.json, "truncated", true);
    json_end_object(&listing.json);
    reply_json(request, 200, &listing.json);
}
