/* Cancelling a run, and answering when it has ended: see cancel.h. */
#include "routes/cancel.h"

#include "base/json_writer.h"
#include "base/log.h"
#include "routes/await.h"

/* How long a client waits for the end of what it cancelled. */
#define WAIT_MS 5000
#define ANSWER_BYTES_MAX 4096

static void answer_cancel(struct request *request, struct task *task) {
    struct task_info info;
    task_get_info(task, &info);
    bool ended = task_status_is_end(info.status);
    struct json_writer json;
    json_writer_init(&json, ANSWER_BYTES_MAX);
    json_begin_object(&json, NULL);
    json_add_bool(&json, "success", true);
    json_add_string(&json, "task_id", task->id);
    json_add_string(&json, "status", task_status_name(info.status));
    json_add_string(&json, "reason", task_reason_name(info.reason));
    json_add_string(&json, "message", ended ? "The run has ended." : "The run is being cancelled.");
    json_end_object(&json);
    reply_json(request, ended ? 200 : 202, &json);
}

bool cancel_and_reply(struct request *request, struct task *task) {
    if (!task_cancel(task, REASON_REQUESTED))
        return false;
    log_info("run_cancelled", LOG_STR("task_id", task->id), LOG_STR("session", task->session->key),
             LOG_STR("trace_id", task->trace_id));
    await_end(request, task, WAIT_MS, answer_cancel);
    return true;
}
