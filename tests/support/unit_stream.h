/* Reads what was written to a subscriber: the chunks (RFC 9112, section 7.1), then the events in them. It
 * asserts that each chunk is whole and holds nothing but whole events and comments. */
#ifndef SLUICE_TESTS_UNIT_STREAM_H
#define SLUICE_TESTS_UNIT_STREAM_H

#include "broadcaster/event_id.h"
#include "tests/support/unit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAM_EVENTS_MAX 50000 /* those who swap in one session, on a fast machine, came to over 5 000 */
#define STREAM_TYPE_SIZE 16
#define STREAM_DATA_SIZE 512

struct stream_event {
    struct event_id id;
    char type[STREAM_TYPE_SIZE];
    char data[STREAM_DATA_SIZE]; /* cut */
    bool has_data;
};

struct stream {
    struct stream_event *events;
    size_t count, capacity;
    size_t comments;
    size_t retries;
    bool ended; /* the last chunk was there */
};

/* The fields stand in the order event, data, id. */
static inline void stream_add_line(struct stream_event *event, const char *line) {
    char number[64];
    assert_true(event->id.ms == 0);
    if (strncmp(line, "id: ", 4) == 0) {
        assert_true(event->has_data);
        snprintf(number, sizeof(number), "%s", line + 4);
        assert_true(event_id_parse(number, &event->id));
    } else if (strncmp(line, "event: ", 7) == 0) {
        assert_false(event->has_data);
        snprintf(event->type, sizeof(event->type), "%s", line + 7);
    } else if (strncmp(line, "data: ", 6) == 0) {
        size_t length = strlen(event->data);
        event->has_data = true;
        snprintf(event->data + length, sizeof(event->data) - length, "%s%s", length > 0 ? "\n" : "",
                 line + 6);
    } else {
        fail_msg("not a line of an event stream: \"%s\"", line);
    }
}

/* One block: the lines before an empty one, which only an event has. */
static inline void stream_add_block(struct stream *stream, char *block) {
    assert_true(stream->count < STREAM_EVENTS_MAX);
    if (stream->count == stream->capacity) {
        stream->capacity = stream->capacity > 0 ? 2 * stream->capacity : 16;
        stream->events = realloc(stream->events, stream->capacity * sizeof(*stream->events));
        assert_non_null(stream->events);
    }
    struct stream_event *event = &stream->events[stream->count++];
    *event = (struct stream_event){.type = "message"};
    for (char *line = block, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        stream_add_line(event, line);
    }
    /* Every event has an id but those of one connection. */
    bool is_of_one = strcmp(event->type, "server.drain") == 0 || strcmp(event->type, "ping") == 0;
    assert_int_equal(event->id.ms > 0, !is_of_one);
}

/* Steps over what is no event: a comment or a time, a line each. */
static inline char *stream_add_notices(struct stream *stream, char *text) {
    for (; text[0] == ':' || strncmp(text, "retry: ", 7) == 0; text = strchr(text, '\n') + 1) {
        assert_non_null(strchr(text, '\n'));
        stream->comments += text[0] == ':';
        stream->retries += text[0] == 'r';
    }
    return text;
}

static inline void stream_add_text(struct stream *stream, char *text) {
    for (char *end; *(text = stream_add_notices(stream, text)) != '\0'; text = end + 2) {
        end = strstr(text, "\n\n");
        assert_non_null(end); /* else an event is not whole */
        *end = '\0';
        stream_add_block(stream, text);
    }
}

/* `bytes` is NUL-terminated. Ids must grow. */
static inline void stream_read(struct stream *stream, const char *bytes, bool chunked) {
    *stream = (struct stream){0};
    while (chunked && *bytes != '\0') {
        assert_false(stream->ended);
        char *rest;
        unsigned long length = strtoul(bytes, &rest, 16);
        assert_true(rest > bytes && strncmp(rest, "\r\n", 2) == 0);
        char *text = strndup(rest + 2, length);
        assert_int_equal(strlen(text), length);
        assert_int_equal(strncmp(rest + 2 + length, "\r\n", 2), 0);
        stream->ended = length == 0;
        stream_add_text(stream, text);
        free(text);
        bytes = rest + 2 + length + 2;
    }
    if (!chunked) {
        char *text = strdup(bytes);
        stream_add_text(stream, text);
        free(text);
    }
    struct event_id last = {0};
    for (size_t i = 0; i < stream->count; i++) {
        if (stream->events[i].id.ms == 0)
            continue;
        assert_true(event_id_compare(last, stream->events[i].id) < 0);
        last = stream->events[i].id;
    }
}

static inline void stream_finish(struct stream *stream) {
    free(stream->events);
}

/* Asserts what was said, in short: a word an event, which is its data for the agent's events, and for others
 * their type, followed for run.end by the status. */
static inline void stream_assert_says(const struct stream *stream, const char *expected) {
    static char said[STREAM_EVENTS_MAX * 16];
    size_t length = 0;
    said[0] = '\0';
    for (size_t i = 0; i < stream->count; i++) {
        const struct stream_event *event = &stream->events[i];
        char word[STREAM_DATA_SIZE];
        const char *status = strstr(event->data, "\"status\":\"");
        if (strcmp(event->type, "message") == 0)
            snprintf(word, sizeof(word), "%s", event->data);
        else if (strcmp(event->type, "run.end") == 0 && status != NULL)
            snprintf(word, sizeof(word), "end:%.*s", (int)strcspn(status + 10, "\""), status + 10);
        else
            snprintf(word, sizeof(word), "%s", event->type);
        length += (size_t)snprintf(said + length, sizeof(said) - length, "%s%s", i > 0 ? " " : "", word);
    }
    assert_string_equal(said, expected);
}

/* ---- of many runs --------------------------------------------------------------------------------- */

#define STREAM_TASK_ID_SIZE 33

/* Ends the text behind the last chunk that is whole. */
static inline void stream_cut_to_whole_chunks(char *text) {
    for (char *rest; *text != '\0';) {
        size_t length = strtoul(text, &rest, 16);
        if (strncmp(rest, "\r\n", 2) != 0 || strlen(rest) < 2 + length + 2)
            break;
        text = rest + 2 + length + 2;
    }
    *text = '\0';
}

/* What was seen of runs so far. */
struct stream_runs {
    char (*ended)[STREAM_TASK_ID_SIZE];
    size_t ended_count;
    char last[STREAM_TASK_ID_SIZE]; /* the run of the last event, and that event's number */
    long number;
};

static inline void stream_check_event(struct stream_runs *runs, const struct stream_event *event) {
    if (strcmp(event->type, "gap") == 0)
        runs->last[0] = '\0';
    const char *id = strstr(event->data, "\"task_id\":\"");
    bool is_agents = strcmp(event->type, "message") == 0;
    if (id == NULL && !is_agents)
        return;
    id = is_agents ? event->data : id + strlen("\"task_id\":\"");
    for (size_t i = 0; i < runs->ended_count; i++)
        assert_memory_not_equal(runs->ended[i], id, STREAM_TASK_ID_SIZE - 1);
    if (strcmp(event->type, "run.end") == 0)
        memcpy(runs->ended[runs->ended_count++], id, STREAM_TASK_ID_SIZE - 1);
    if (!is_agents)
        return;
    long number = strtol(id + STREAM_TASK_ID_SIZE, NULL, 10);
    if (strncmp(runs->last, id, STREAM_TASK_ID_SIZE - 1) == 0)
        assert_int_equal(number, runs->number + 1);
    memcpy(runs->last, id, STREAM_TASK_ID_SIZE - 1);
    runs->number = number;
}

/* The agent's events must be "<task id> <number>", numbered for each run. `cut`: the stream may break off
 * anywhere, else it must have come to its end. Nothing of a run comes after its run.end, which comes once;
 * nothing of it is lost without a gap, or comes twice. */
static inline void stream_check_runs(const char *bytes, bool cut) {
    struct stream stream;
    struct stream_runs runs = {0};
    char *text = strdup(bytes);
    assert_non_null(text);
    if (cut)
        stream_cut_to_whole_chunks(text);
    stream_read(&stream, text, true);
    assert_true(cut || stream.ended);
    runs.ended = calloc(stream.count + 1, sizeof(*runs.ended));
    assert_non_null(runs.ended);
    for (size_t i = 0; i < stream.count; i++)
        stream_check_event(&runs, &stream.events[i]);
    stream_finish(&stream);
    free(text);
    free(runs.ended);
}

#endif
