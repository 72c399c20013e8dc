/* Retained events as a JSON array: see event_list.h. */
#include "routes/event_list.h"

#include <stdlib.h>

/* Each byte may become six ("\u001f"). */
#define ESCAPED_FACTOR 6
#define EVENT_OVERHEAD 128

bool event_list_take(struct session *session, size_t count_max, struct event_list *ret_list) {
    struct frame **frames = calloc(count_max, sizeof(struct frame *));
    if (frames == NULL)
        return false;
    *ret_list =
        (struct event_list){.frames = frames, .count = broadcaster_history(session, frames, count_max)};
    return true;
}

void event_list_keep_run(struct event_list *list, uint64_t run, uint64_t bytes_max) {
    size_t kept = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct frame *frame = list->frames[i];
        bool is_output = frame->run == run && frame->kind == FRAME_EVENT;
        bytes += is_output ? frame->data_length : 0;
        if (is_output && bytes <= bytes_max)
            list->frames[kept++] = frame;
        else
            frame_unref(frame);
    }
    list->count = kept;
}

void event_list_finish(struct event_list *list) {
    for (size_t i = 0; i < list->count; i++)
        frame_unref(list->frames[i]);
    free(list->frames);
}

size_t event_list_json_max(const struct event_list *list) {
    size_t size = 0;
    for (size_t i = 0; i < list->count; i++) {
        const struct frame *frame = list->frames[i];
        size += ESCAPED_FACTOR * ((size_t)frame->type_length + frame->data_length) + EVENT_OVERHEAD;
    }
    return size;
}

static void write_event(const struct frame *frame, bool with_source, struct json_writer *json) {
    char id[EVENT_ID_SIZE];
    struct frame_span type = frame_type(frame);
    struct buffer data;
    buffer_init(&data, (size_t)frame->data_length + 1);
    event_id_format(frame->id, id);
    json_begin_object(json, NULL);
    json_add_string(json, "id", id);
    json_add_text(json, "type", type.bytes, type.length);
    if (with_source)
        json_add_string(json, "source", frame->kind == FRAME_EVENT ? "agent" : "gateway");
    if (frame_append_data(frame, &data) && buffer_append_text(&data, ""))
        json_add_text(json, "data", data.length > 0 ? data.bytes : "", data.length);
    else
        json->failed = true;
    json_end_object(json);
    buffer_finish(&data);
}

void event_list_write(const struct event_list *list, bool with_source, struct json_writer *json,
                      const char *name) {
    json_begin_array(json, name);
    for (size_t i = 0; i < list->count && !json->failed; i++)
        write_event(list->frames[i], with_source, json);
    json_end_array(json);
}
