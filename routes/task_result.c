/* What a run produced: GET /tasks/{id}/result. */
#include "base/memory_budget.h"
#include "routes/access.h"
#include "routes/event_list.h"
#include "routes/handlers.h"
#include "routes/run_text.h"
#include "routes/upstream_choice.h"

#include <stdatomic.h>
#include <stdlib.h>

/* What is written next. */
enum phase { PHASE_HEAD, PHASE_TEXT, PHASE_OUTPUT };

struct result {
    struct json_answer answer;
    struct task *task; /* a reference; it has ended */
    struct task_info info;
    struct run_text text;
    struct event_list output;
    enum phase phase;
};

static void write_result_head(struct json_writer *json, const struct result *result) {
    const struct task_info *info = &result->info;
    json_begin_object(json, NULL);
    json_add_string(json, "task_id", result->task->id);
    json_add_string(json, "status", task_status_name(info->status));
    json_add_string(json, "reason", task_reason_name(info->reason));
    json_add_string(json, "message", info->message[0] != '\0' ? info->message : NULL);
    json_add_count(json, "events", info->events);
    json_add_count(json, "bytes", info->bytes);
    json_begin_text(json, "text");
}

static bool result_make(struct json_answer *answer) {
    struct result *result = CONTAINER_OF(answer, struct result, answer);
    struct json_writer *json = &answer->json;
    if (result->phase == PHASE_HEAD) {
        write_result_head(json, result);
        result->phase = PHASE_TEXT;
    }
    if (result->phase == PHASE_TEXT) {
        if (!run_text_write(&result->text, answer))
            return true;
        json_end_text(json);
        json_begin_array(json, "output");
        result->phase = PHASE_OUTPUT;
    }
    if (!event_list_write(&result->output, answer))
        return true;
    json_end_array(json);
    json_add_bool(json, "complete", result->output.written == result->info.events && !result->text.is_unread);
    json_end_object(json);
    return false;
}

static void result_destroy(struct json_answer *answer) {
    struct result *result = CONTAINER_OF(answer, struct result, answer);
    event_list_finish(&result->output);
    run_text_finish(&result->text);
    task_unref(result->task);
    memory_release(MEMORY_ANSWERS, sizeof(*result));
    free(result);
}

static void reply_result(struct request *request, struct task *task, const struct task_info *info) {
    static const struct json_answer_operations operations = {.make = result_make, .destroy = result_destroy};
    struct result *result = calloc(1, sizeof(*result));
    if (result == NULL) {
        reply_no_memory(request);
        return;
    }
    memory_charge(MEMORY_ANSWERS, sizeof(*result));
    const struct log_span span = broadcaster_task_events(task);
    result->task = task_ref(task);
    result->info = *info;
    run_text_init(&result->text, task->session, span, task->serial,
                  upstream_at(request, atomic_load(&task->upstream))->adapter);
    event_list_init(&result->output, task->session, span);
    result->output.run = task->serial;
    json_answer_start(&result->answer, request, &operations);
}

void handle_task_result(struct request *request) {
    struct task *task = access_find_task(request);
    struct task_info info;
    if (task == NULL)
        return;
    task_get_viewer_info(task, &info);
    const char *status = task_status_name(info.status);
    if (task_status_is_end(info.status))
        reply_result(request, task, &info);
    else
        reply_error_about(request, 409, "run_not_ended", "status", status, "The run has not ended yet: %s.",
                          status);
    task_unref(task);
}
