/* The text that a person would read of a run: see run_text.h. */
#include "routes/run_text.h"

#include "base/memory_budget.h"

#include <string.h>

/* What a look at an event costs beside its bytes, as if it were as many bytes. */
#define EVENT_WORK 1024
/* To read JSON takes longer than to copy it. */
#define READ_WORK_FACTOR 4
/* Buffers that were larger are not kept for the next event. */
#define KEPT_BYTES (64 * 1024)

void run_text_init(struct run_text *text, struct session *session, struct log_span span, uint64_t run,
                   const struct adapter *adapter) {
    *text = (struct run_text){
        .session = session_ref(session), .adapter = adapter, .run = run, .span = span, .sought_to = span.end};
    buffer_init_counted(&text->data, UINT32_MAX, MEMORY_PASSED);
    buffer_init_counted(&text->text, UINT32_MAX, MEMORY_PASSED);
}

void run_text_finish(struct run_text *text) {
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

bool run_text_write(struct run_text *text, struct json_answer *answer) {
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
