/* What a run produced: GET /tasks/{id}/result. */
#include "routes/event_list.h"
#include "routes/handlers.h"
#include "routes/task_access.h"
#include "routes/upstream_choice.h"

#include <stdatomic.h>

/* More data than this is not shown. */
#define DATA_BYTES_MAX (16u << 20)
#define HEAD_BYTES_MAX 4096

/* The text that a person would read of all these events. False: out of memory. */
static bool append_text(const struct adapter *adapter, const struct event_list *events, struct buffer *text) {
    struct adapter_text_state state = {0};
    bool done = true;
    for (size_t i = 0; i < events->count && done; i++) {
        struct buffer data;
        buffer_init(&data, (size_t)events->frames[i]->data_length + 1);
        done = frame_append_data(events->frames[i], &data) &&
               adapter->append_text(data.length > 0 ? data.bytes : "", data.length, &state, text);
        buffer_finish(&data);
    }
    return done;
}

static void write_head(struct json_writer *json, const struct task *task, const struct task_info *info,
                       const struct event_list *events) {
    json_add_string(json, "task_id", task->id);
    json_add_string(json, "status", task_status_name(info->status));
    json_add_string(json, "reason", task_reason_name(info->reason));
    json_add_string(json, "message", info->message[0] != '\0' ? info->message : NULL);
    json_add_count(json, "events", info->events);
    json_add_count(json, "bytes", info->bytes);
    json_add_bool(json, "complete", events->count == info->events);
}

static void reply_events(struct request *request, const struct task *task, const struct task_info *info,
                         const struct event_list *events) {
    struct buffer text;
    struct json_writer json;
    size_t json_max = event_list_json_max(events);
    buffer_init(&text, DATA_BYTES_MAX + events->count);
    json_writer_init(&json, HEAD_BYTES_MAX + 2 * json_max);
    json_begin_object(&json, NULL);
    write_head(&json, task, info, events);
    if (append_text(upstream_at(request, atomic_load(&task->upstream))->adapter, events, &text))
        json_add_text(&json, "text", text.length > 0 ? text.bytes : "", text.length);
    else
        json.failed = true;
    event_list_write(events, false, &json, "output");
    json_end_object(&json);
    buffer_finish(&text);
    reply_json(request, 200, &json);
}

static void reply_result(struct request *request, struct task *task) {
    struct task_info info;
    struct event_list events;
    task_get_info(task, &info);
    const char *status = task_status_name(info.status);
    size_t log_max = atomic_load(&broadcaster_limits(request->context->broadcaster)->log_events_max);
    if (!task_status_is_end(info.status)) {
        reply_error_about(request, 409, "run_not_ended", "status", status, "The run has not ended yet: %s.",
                          status);
    } else if (!event_list_take(task->session, log_max, &events)) {
        reply_no_memory(request);
    } else {
        event_list_keep_run(&events, task->serial, DATA_BYTES_MAX);
        reply_events(request, task, &info, &events);
        event_list_finish(&events);
    }
}

void handle_task_result(struct request *request) {
    struct task *task = task_find(request);
    if (task == NULL)
        return;
    reply_result(request, task);
    task_unref(task);
}
