/* Events of a session as a JSON array: see event_list.h. */
#include "routes/event_list.h"

#include "base/memory_budget.h"

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
