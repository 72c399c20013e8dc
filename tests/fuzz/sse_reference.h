/* Event streams by the letter: WHATWG HTML, "Parsing an event stream" and "Interpreting an event stream". The
 * whole stream is decoded first, then cut into lines, then each line is interpreted. It shares nothing with
 * upstream/sse_parser.c. */
#ifndef SLUICE_TESTS_SSE_REFERENCE_H
#define SLUICE_TESTS_SSE_REFERENCE_H

#include "tests/fuzz/utf8_reference.h"

/** A piece of the decoded stream, or of the memory of what was dispatched. */
struct sse_text {
    char *bytes; /* malloc'd */
    size_t length;
};

struct sse_reference_event {
    struct sse_text type, data, last_event_id;
};

struct sse_reference {
    struct sse_reference_event *events;
    size_t count;
    int64_t retry_ms; /* the reconnection time as the stream set it last; -1: never */
    size_t
        longest; /* of the lines that are no comments, and of the data buffer, an unfinished line included */
    size_t longest_type;
    size_t lines_too_many;                     /* events whose lines are out of proportion */
    size_t lines;                              /* in the data buffer */
    struct sse_text data, type, last_event_id; /* the standard's three buffers */
};

static inline void sse_text_append(struct sse_text *text, const char *bytes, size_t length) {
    text->bytes = realloc(text->bytes, text->length + length + 1);
    REQUIRE(text->bytes != NULL);
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static inline void sse_text_set(struct sse_text *text, const char *bytes, size_t length) {
    text->length = 0;
    sse_text_append(text, bytes, length);
}

/** "Dispatch the event". */
static inline void sse_reference_dispatch(struct sse_reference *reference) {
    size_t written = 6 * reference->lines, data = reference->data.length > 0 ? reference->data.length - 1 : 0;
    reference->lines_too_many += written > 4096 + 3 * data;
    reference->lines = 0;
    if (reference->data.length == 0) {
        sse_text_set(&reference->type, "", 0);
        return;
    }
    if (reference->data.bytes[reference->data.length - 1] == '\n')
        reference->data.length--;
    struct sse_reference_event event = {0};
    sse_text_set(&event.type, "message", 7);
    if (reference->type.length > 0)
        sse_text_set(&event.type, reference->type.bytes, reference->type.length);
    sse_text_set(&event.data, reference->data.bytes, reference->data.length);
    sse_text_set(&event.last_event_id, reference->last_event_id.bytes, reference->last_event_id.length);
    reference->events = realloc(reference->events, (reference->count + 1) * sizeof(event));
    REQUIRE(reference->events != NULL);
    reference->events[reference->count++] = event;
    sse_text_set(&reference->data, "", 0);
    sse_text_set(&reference->type, "", 0);
}

/** "If the field value consists of only ASCII digits, then interpret the field value as an integer in base
 * ten". One that is too large is as large as can be. */
static inline void sse_reference_set_retry(struct sse_reference *reference, struct sse_text value) {
    uint64_t number = 0;
    for (size_t i = 0; i < value.length; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return;
        if (number <= INT64_MAX)
            number = number > INT64_MAX / 10 ? UINT64_MAX : number * 10 + (uint64_t)(value.bytes[i] - '0');
    }
    if (value.length > 0)
        reference->retry_ms = number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

/** "Process the field". */
static inline void sse_reference_process(struct sse_reference *reference, struct sse_text field,
                                         struct sse_text value) {
    field.bytes[field.length] = '\0'; /* over the colon or the line's end, which are done with */
    if (strlen(field.bytes) != field.length)
        return;
    if (strcmp(field.bytes, "event") == 0) {
        sse_text_set(&reference->type, value.bytes, value.length);
        if (reference->longest_type < value.length)
            reference->longest_type = value.length;
    } else if (strcmp(field.bytes, "data") == 0) {
        sse_text_append(&reference->data, value.bytes, value.length);
        if (reference->longest < reference->data.length)
            reference->longest = reference->data.length;
        sse_text_append(&reference->data, "\n", 1);
        reference->lines++;
    } else if (strcmp(field.bytes, "id") == 0) {
        if (strnlen(value.bytes, value.length) == value.length)
            sse_text_set(&reference->last_event_id, value.bytes, value.length);
    } else if (strcmp(field.bytes, "retry") == 0) {
        sse_reference_set_retry(reference, value);
    }
}

/** One line; what follows it is a line end, so there is room for a NUL. */
static inline void sse_reference_line(struct sse_reference *reference, struct sse_text line) {
    if (line.length == 0) {
        sse_reference_dispatch(reference);
        return;
    }
    if (line.bytes[0] == ':')
        return;
    if (reference->longest < line.length)
        reference->longest = line.length;
    size_t colon = 0;
    while (colon < line.length && line.bytes[colon] != ':')
        colon++;
    size_t value = colon + (colon < line.length);
    if (value < line.length && line.bytes[value] == ' ')
        value++;
    sse_reference_process(reference, (struct sse_text){line.bytes, colon},
                          (struct sse_text){line.bytes + value, line.length - value});
}

/** What a parser holds of a last line that has no end. A data line's value stands after the data before it.
 */
static inline void sse_reference_note_rest(struct sse_reference *reference, struct sse_text rest) {
    static const char name[] = "data:";
    size_t length = rest.length, skipped = strlen(name);
    if (length == 0 || rest.bytes[0] == ':')
        return;
    if (length > skipped && memcmp(rest.bytes, name, skipped) == 0) {
        skipped += rest.bytes[skipped] == ' ';
        length += reference->data.length - skipped;
    }
    if (reference->longest < length)
        reference->longest = length;
    if (reference->longest < rest.length)
        reference->longest = rest.length;
}

/** Reads a whole stream. "Once the end of the file is reached, any pending data must be discarded": so is a
 * last line without its end. */
static inline void sse_reference_init(struct sse_reference *reference, const char *bytes, size_t length) {
    *reference = (struct sse_reference){.retry_ms = -1};
    if (length >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0) {
        bytes += 3;
        length -= 3;
    }
    struct utf8_reference stream = utf8_reference_decode(bytes, length);
    size_t start = 0;
    for (size_t at = 0; at < stream.length; at++) {
        char byte = stream.bytes[at];
        if (byte != '\n' && byte != '\r')
            continue;
        size_t line = start;
        start = at + 1;
        bool is_crlf = byte == '\r' && start < stream.length && stream.bytes[start] == '\n';
        sse_reference_line(reference, (struct sse_text){stream.bytes + line, at - line});
        if (is_crlf) {
            start++;
            at++;
        }
    }
    sse_reference_note_rest(reference, (struct sse_text){stream.bytes + start, stream.length - start});
    free(stream.bytes);
}

static inline void sse_reference_finish(struct sse_reference *reference) {
    for (size_t i = 0; i < reference->count; i++) {
        free(reference->events[i].type.bytes);
        free(reference->events[i].data.bytes);
        free(reference->events[i].last_event_id.bytes);
    }
    free(reference->events);
    free(reference->data.bytes);
    free(reference->type.bytes);
    free(reference->last_event_id.bytes);
}

#endif
