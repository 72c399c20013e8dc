/* A run as JSON: see task_access.h. */
#include "routes/task_access.h"

#include "base/memory_budget.h"
#include "routes/json_answer.h"

#include <stdio.h>
#include <stdlib.h>

/* A longer input is written a piece at a time: one of 1 MiB takes six times as much, and up to 0.2 s. */
#define INPUT_AT_ONCE_MAX 4096

static void write_names(struct json_writer *json, const struct task *task) {
    struct session_parts parts = session_parts(task->session);
    json_add_text(json, "app_name", parts.app, (size_t)parts.app_length);
    json_add_text(json, "user_id", parts.user, (size_t)parts.user_length);
    json_add_text(json, "session_id", parts.session, (size_t)parts.session_length);
    json_add_string(json, "label", task->options.label[0] != '\0' ? task->options.label : NULL);
    json_add_number(json, "priority", task->options.priority);
    json_add_string(json, "trace_id", task->trace_id[0] != '\0' ? task->trace_id : NULL);
}

static void write_delay(struct json_writer *json, const char *name, int64_t delay_ms) {
    if (delay_ms < 0)
        json_add_null(json, name);
    else
        json_add_number(json, name, delay_ms);
}

/* 0 is that there is none. */
static void write_counter(struct json_writer *json, const char *name, uint64_t value) {
    if (value > 0)
        json_add_count(json, name, value);
    else
        json_add_null(json, name);
}

static void write_id(struct json_writer *json, const char *name, struct event_id id) {
    char text[EVENT_ID_SIZE];
    event_id_format(id, text);
    json_add_string(json, name, id.ms != 0 ? text : NULL);
}

static void write_outcome(struct json_writer *json, const struct task_outcome *outcome) {
    json_add_string(json, "finish_reason", outcome->finish_reason[0] != '\0' ? outcome->finish_reason : NULL);
    if (outcome->has_usage) {
        json_begin_object(json, "usage");
        json_add_count(json, "input_tokens", outcome->input_tokens);
        json_add_count(json, "output_tokens", outcome->output_tokens);
        json_add_count(json, "total_tokens", outcome->total_tokens);
        json_end_object(json);
    } else {
        json_add_null(json, "usage");
    }
    json_add_string(json, "warning", outcome->warning[0] != '\0' ? outcome->warning : NULL);
}

static void write_progress(struct json_writer *json, const struct task *task, const struct task_info *info) {
    json_add_time(json, "created_at", task->created_unix_ms);
    json_add_time(json, "started_at", info->started_unix_ms);
    json_add_time(json, "ended_at", info->ended_unix_ms);
    json_add_number(json, "delay_ms", task->options.delay_ms);
    json_add_number(json, "queue_wait_ms", info->queue_wait_ms);
    json_add_number(json, "duration_ms", info->duration_ms);
    write_delay(json, "execution_delay_ms", info->execution_delay_ms);
    write_delay(json, "first_event_delay_ms", info->first_event_delay_ms);
    json_add_count(json, "events", info->events);
    json_add_count(json, "bytes", info->bytes);
    write_counter(json, "upstream_status", (uint64_t)info->http_status);
    write_counter(json, "tokens", atomic_load(&task->tokens));
    json_add_count(json, "retries", atomic_load(&task->retries));
    json_add_bool(json, "cached", atomic_load(&task->cached));
    json_add_bool(json, "canned", atomic_load(&task->canned));
    write_id(json, "first_event_id", info->start_id);
    write_id(json, "last_event_id", info->end_id);
}

/* Leaves the object open. */
static void begin_task(struct json_writer *json, const char *name, const struct upstreams_settings *upstreams,
                       struct task *task) {
    struct task_info info;
    char stream_url[TASK_ID_SIZE + 16];
    task_get_info(task, &info);
    snprintf(stream_url, sizeof(stream_url), "/tasks/%s/events", task->id);
    json_begin_object(json, name);
    json_add_string(json, "task_id", task->id);
    write_names(json, task);
    json_add_string(json, "status", task_status_name(info.status));
    json_add_string(json, "reason", task_reason_name(info.reason));
    json_add_string(json, "cause", info.cause);
    json_add_string(json, "message", info.message[0] != '\0' ? info.message : NULL);
    json_add_string(json, "upstream", upstreams->items[atomic_load(&task->upstream)].name);
    write_outcome(json, &info.outcome);
    write_progress(json, task, &info);
    json_add_string(json, "stream_url", stream_url);
}

void task_write(struct json_writer *json, const char *name, const struct upstreams_settings *upstreams,
                struct task *task) {
    begin_task(json, name, upstreams, task);
    json_end_object(json);
}

/* ---- with its input ------------------------------------------------------------------------------ */

/* The same escapes as in run.start: six bytes for one at most. */
static void reply_at_once(struct request *request, struct task *task) {
    const struct task_input *input = &task->options.input;
    struct json_writer json;
    json_writer_init(&json, TASK_JSON_BYTES_MAX + (size_t)6 * INPUT_AT_ONCE_MAX);
    begin_task(&json, NULL, &request->context->relay.caller->settings, task);
    if (input->text != NULL)
        json_add_text(&json, "input", input->text, input->length);
    else
        json_add_null(&json, "input");
    json_add_bool(&json, "input_truncated", input->is_cut);
    json_end_object(&json);
    reply_json(request, 200, &json);
}

struct task_answer {
    struct json_answer answer;
    struct task *task; /* a reference */
    struct buffer input;
    size_t input_written;
    bool begun;
};

static bool task_make(struct json_answer *answer) {
    struct task_answer *own = CONTAINER_OF(answer, struct task_answer, answer);
    struct json_writer *json = &answer->json;
    if (!own->begun) {
        begin_task(json, NULL, &answer->request->context->relay.caller->settings, own->task);
        json_begin_text(json, "input");
        own->begun = true;
    }
    if (!json_answer_write_text(answer, &own->input, &own->input_written))
        return true;
    json_end_text(json);
    json_add_bool(json, "input_truncated", own->task->options.input.is_cut);
    json_end_object(json);
    return false;
}

static void task_answer_destroy(struct json_answer *answer) {
    struct task_answer *own = CONTAINER_OF(answer, struct task_answer, answer);
    task_unref(own->task);
    memory_release(MEMORY_ANSWERS, sizeof(*own));
    free(own);
}

static void reply_in_pieces(struct request *request, struct task *task) {
    static const struct json_answer_operations operations = {.make = task_make,
                                                             .destroy = task_answer_destroy};
    struct task_answer *own = calloc(1, sizeof(*own));
    if (own == NULL) {
        reply_no_memory(request);
        return;
    }
    memory_charge(MEMORY_ANSWERS, sizeof(*own));
    own->task = task_ref(task);
    own->input = (struct buffer){.bytes = task->input, .length = task->options.input.length}; /* the task's */
    json_answer_start(&own->answer, request, &operations);
}

void task_reply(struct request *request, struct task *task) {
    if (task->options.input.length > INPUT_AT_ONCE_MAX)
        reply_in_pieces(request, task);
    else
        reply_at_once(request, task);
}
