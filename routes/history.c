/* Events of a session as JSON: a list of them for any answer, and GET S/history, which is the newest ones.
 *
 * A list remembers which part of the log is left, and holds no event while its client is slow: the log may
 * drop events meanwhile. A list that has lost some says so.
 */
#include "routes/history.h"

#include "base/memory_budget.h"
#include "routes/access.h"
#include "routes/handlers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the list ------------------------------------------------------------------------------------ */

/* What a look at an event costs beside its bytes, as if it were as many bytes. */
#define EVENT_WORK 256
/* A buffer that was larger is not kept for the next event. */
#define KEPT_BYTES (64 * 1024)

void event_list_init(struct event_list *list, struct session *session, struct log_span span) {
    *list = (struct event_list){.session = session_ref(session), .span = span};
    buffer_init_counted(&list->data, UINT32_MAX, MEMORY_PASSED);
}

void event_list_finish(struct event_list *list) {
    buffer_finish(&list->data);
    session_unref(list->session);
}

bool event_list_has(const struct event_list *list, const struct frame *frame) {
    return list->run == 0 || (frame->task_serial == list->run && frame->is_of_agent);
}

static void begin_event(struct event_list *list, const struct frame *frame, struct json_answer *answer) {
    struct json_writer *json = &answer->json;
    char id[EVENT_ID_SIZE];
    struct frame_span type = frame_type(frame);
    event_id_format(frame->id, id);
    json_begin_object(json, NULL);
    json_add_string(json, "id", id);
    json_add_text(json, "type", type.bytes, type.length);
    if (list->with_source)
        json_add_string(json, "source", frame->is_of_agent ? "agent" : "gateway");
    json_begin_text(json, "data");
    json->failed = json->failed || !frame_append_data(frame, &list->data);
    json_answer_worked(answer, frame->data_length);
    list->within_event = true;
    list->data_written = 0;
    list->written++;
}

static void end_event(struct event_list *list, struct json_writer *json) {
    json_end_text(json);
    json_end_object(json);
    list->within_event = false;
    if (list->data.capacity > KEPT_BYTES)
        buffer_finish(&list->data);
    else
        buffer_clear(&list->data);
}

bool event_list_write(struct event_list *list, struct json_answer *answer) {
    while (json_answer_has_room(answer)) {
        if (list->within_event) {
            if (json_answer_write_text(answer, &list->data, &list->data_written))
                end_event(list, &answer->json);
            continue;
        }
        struct frame *frame = broadcaster_next_event(list->session, &list->span, &list->lost);
        if (frame == NULL)
            return true;
        json_answer_worked(answer, EVENT_WORK);
        if (event_list_has(list, frame))
            begin_event(list, frame, answer);
        frame_unref(frame);
    }
    return false;
}

/* ---- GET S/history ------------------------------------------------------------------------------- */

#define LIMIT_DEFAULT 50
#define LIMIT_MAX 1000

struct history {
    struct json_answer answer;
    struct event_list events;
    bool begun;
    char session[SESSION_PART_MAX + 1];
};

static bool history_make(struct json_answer *answer) {
    struct history *history = CONTAINER_OF(answer, struct history, answer);
    struct json_writer *json = &answer->json;
    if (!history->begun) {
        json_begin_object(json, NULL);
        json_add_string(json, "session_id", history->session);
        json_begin_array(json, "events");
        history->begun = true;
    }
    if (!event_list_write(&history->events, answer))
        return true;
    json_end_array(json);
    json_add_bool(json, "complete", !history->events.lost);
    json_end_object(json);
    return false;
}

static void history_destroy(struct json_answer *answer) {
    struct history *history = CONTAINER_OF(answer, struct history, answer);
    event_list_finish(&history->events);
    memory_release(MEMORY_ANSWERS, sizeof(*history));
    free(history);
}

static void reply_history(struct request *request, struct session *session, uint64_t limit) {
    static const struct json_answer_operations operations = {.make = history_make,
                                                             .destroy = history_destroy};
    struct history *history = calloc(1, sizeof(*history));
    if (history == NULL) {
        reply_no_memory(request);
        return;
    }
    memory_charge(MEMORY_ANSWERS, sizeof(*history));
    event_list_init(&history->events, session, broadcaster_newest_events(session, limit));
    history->events.with_source = true;
    memcpy(history->session, request->session, sizeof(history->session));
    json_answer_start(&history->answer, request, &operations);
}

void handle_history(struct request *request) {
    int64_t limit = LIMIT_DEFAULT;
    int result = request_query_number(request, "limit", 1, LIMIT_MAX, &limit);
    struct session *session = result == 0 ? access_find_session(request) : NULL;
    if (result == -ENOMEM)
        reply_no_memory(request);
    else if (result < 0)
        reply_error(request, 400, "invalid_query", "\"limit\" must be a whole number from 1 to %d.",
                    LIMIT_MAX);
    else if (session == NULL)
        reply_error(request, 404, "unknown_session", "There is no such session.");
    else
        reply_history(request, session, (uint64_t)limit);
    session_unref(session);
}
