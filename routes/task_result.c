/* What a run produced: GET /tasks/{id}/result, its text and then its events.
 *
 * While an answer streams, an upstream may send its pieces first and then the whole of it once more. So
 * pieces count only if no whole text follows them: the last whole text is looked for first, from the end.
 *
 *     events:   piece piece WHOLE piece piece WHOLE piece piece
 *     read:                 WHOLE             WHOLE piece piece
 *
 * An upstream whose run is one answer (answers_once) may send that answer in pieces and then the whole,
 * more than once. So there the last whole text that any piece came before is all.
 *
 * A text may end with half a surrogate pair. It waits until the next text brings the other half. */
#include "base/memory_budget.h"
#include "base/utf8.h"
#include "broadcaster/broadcaster.h"
#include "routes/access.h"
#include "routes/handlers.h"
#include "routes/history.h"
#include "routes/json_answer.h"
#include "routes/upstream_choice.h"
#include "upstream/adapter.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- the text ------------------------------------------------------------------------------------ */

struct run_text {
    struct session *session; /* a reference */
    const struct adapter *adapter;
    uint64_t run;         /* its serial */
    struct log_span span; /* what is left to be written */
    uint64_t sought_to;   /* from here on it was looked for */
    uint64_t last_whole;  /* sequence of the last whole text, once sought; 0: there is none */
    bool sought;
    struct buffer data, text;
    size_t text_written;        /* of the event that is being written */
    char half[UTF8_HALF_BYTES]; /* of a surrogate pair, that the text so far ends with, if it has_half */
    bool has_half;
    bool is_unread; /* an event that may have had a text could not be read */
};

/* What a look at an event costs beside its bytes, as if it were as many bytes. */
#define EVENT_WORK 1024
/* To read JSON takes longer than to copy it. */
#define READ_WORK_FACTOR 4
/* Buffers that were larger are not kept for the next event. */
#define KEPT_BYTES (64 * 1024)

static void run_text_init(struct run_text *text, struct session *session, struct log_span span, uint64_t run,
                          const struct adapter *adapter) {
    *text = (struct run_text){
        .session = session_ref(session), .adapter = adapter, .run = run, .span = span, .sought_to = span.end};
    buffer_init_counted(&text->data, UINT32_MAX, MEMORY_PASSED);
    buffer_init_counted(&text->text, UINT32_MAX, MEMORY_PASSED);
}

static void run_text_finish(struct run_text *text) {
    buffer_finish(&text->data);
    buffer_finish(&text->text);
    session_unref(text->session);
}

static void empty_buffer(struct buffer *buffer) {
    if (buffer->capacity > KEPT_BYTES)
        buffer_finish(buffer);
    else
        buffer_clear(buffer);
}

/* Reads the next event of a span into text->text, which is empty if it says nothing. False: there is none
 * left. */
static bool read_event(struct run_text *text, struct json_answer *answer, struct log_span *span,
                       struct adapter_text *ret_read) {
    bool lost;
    struct frame *frame = broadcaster_next_event(text->session, span, &lost);
    *ret_read = (struct adapter_text){0};
    empty_buffer(&text->text);
    text->text_written = 0;
    if (frame == NULL)
        return false;
    json_answer_worked(answer, EVENT_WORK);
    if (frame->is_of_agent && frame->task_serial == text->run) {
        json_answer_worked(answer, (size_t)READ_WORK_FACTOR * frame->data_length);
        bool done = frame_append_data(frame, &text->data) &&
                    text->adapter->read_text(text->data.length > 0 ? text->data.bytes : "", text->data.length,
                                             &text->text, ret_read);
        answer->json.failed = answer->json.failed || !done;
        empty_buffer(&text->data);
    }
    frame_unref(frame);
    return true;
}

/* Notes what stands at text->sought_to - 1. True: nothing before it need be looked at. */
static bool note_text(struct run_text *text, const struct adapter_text *read) {
    if (text->text.length == 0)
        return false;
    if (!read->is_partial && text->last_whole == 0) {
        text->last_whole = text->sought_to - 1;
        return !text->adapter->answers_once;
    }
    if (!read->is_partial || text->last_whole == 0)
        return false;
    text->span.next = text->last_whole; /* there is but one answer, and that is all of it */
    return true;
}

/* Looks for the last whole text, from the end. True: that is done. */
static bool seek_whole(struct run_text *text, struct json_answer *answer) {
    while (!text->sought && json_answer_has_room(answer)) {
        struct log_span one = {.next = text->sought_to - 1, .end = text->sought_to};
        struct adapter_text read;
        if (text->sought_to <= text->span.next || !read_event(text, answer, &one, &read))
            text->sought = true; /* what is before it is no longer retained either */
        else
            text->sought = note_text(text, &read);
        text->sought_to--;
    }
    if (text->sought)
        empty_buffer(&text->text);
    return text->sought;
}

/* Puts the half that waits before the text; one that the text ends with waits from now on. */
static bool join_texts(struct run_text *text) {
    struct buffer *buffer = &text->text;
    if (buffer->length == 0)
        return true;
    if (text->has_half) {
        if (!buffer_append(buffer, text->half, UTF8_HALF_BYTES))
            return false;
        memmove(buffer->bytes + UTF8_HALF_BYTES, buffer->bytes, buffer->length - UTF8_HALF_BYTES);
        memcpy(buffer->bytes, text->half, UTF8_HALF_BYTES);
    }
    text->has_half = utf8_ends_with_half(buffer->bytes, buffer->length);
    if (text->has_half) {
        buffer->length -= UTF8_HALF_BYTES;
        memcpy(text->half, buffer->bytes + buffer->length, UTF8_HALF_BYTES);
    }
    buffer->length = utf8_join_halves(buffer->bytes, buffer->length);
    buffer->bytes[buffer->length] = '\0';
    return true;
}

/* A half that is still alone when the run is over. False: there is none. */
static bool end_half(struct run_text *text, struct json_answer *answer) {
    bool had_half = text->has_half;
    text->has_half = false;
    if (had_half && !buffer_append(&text->text, "\xEF\xBF\xBD", UTF8_HALF_BYTES))
        answer->json.failed = true;
    return had_half;
}

static bool run_text_write(struct run_text *text, struct json_answer *answer) {
    if (!text->sought && !seek_whole(text, answer))
        return false;
    while (json_answer_has_room(answer)) {
        struct adapter_text read;
        if (!json_answer_write_text(answer, &text->text, &text->text_written))
            continue;
        if (!read_event(text, answer, &text->span, &read)) {
            if (end_half(text, answer))
                continue;
            return true;
        }
        text->is_unread = text->is_unread || read.is_unread;
        if (read.is_partial && text->span.next <= text->last_whole)
            empty_buffer(&text->text); /* it is said once more, as a whole */
        else if (!join_texts(text))
            answer->json.failed = true;
    }
    return false;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

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
