/* What the tests of streams share: one run of the upstream client and everything that it told. */
#ifndef SLUICE_TESTS_UNIT_STREAM_RECORDER_H
#define SLUICE_TESTS_UNIT_STREAM_RECORDER_H

#include "tests/unit/upstream_fixture.h"

#define HEAD_CHUNKED                                                                                         \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define LAST_CHUNK "0\r\n\r\n"
#define CHUNK_A "9\r\ndata: a\n\n\r\n"
#define CHUNK_DONE "e\r\ndata: [DONE]\n\n\r\n"

struct recorder {
    struct fixture *fixture;
    struct upstream_stream *stream;
    char told[4096]; /* "sent|", then "type:data|" for each event, then "end|" */
    size_t events;
    size_t event_bytes;
    bool has_ended;
    struct upstream_result result; /* its message and outcome are the copies below */
    struct upstream_outcome outcome;
    char message[1024];
    void (*in_sent)(struct recorder *recorder); /* called in the callbacks, if not NULL */
    bool (*in_event)(struct recorder *recorder);
    void (*in_end)(struct recorder *recorder);
};

static inline void recorder_note(struct recorder *recorder, const char *text, size_t length) {
    size_t used = strlen(recorder->told);
    if (used + length + 1 < sizeof recorder->told) {
        memcpy(recorder->told + used, text, length);
        recorder->told[used + length] = '\0';
    }
}

static inline void recorder_on_sent(void *context) {
    struct recorder *recorder = context;
    assert_non_null(recorder->stream); /* never before start() has returned */
    assert_false(recorder->has_ended);
    recorder_note(recorder, "sent|", 5);
    if (recorder->in_sent != NULL)
        recorder->in_sent(recorder);
}

static inline bool recorder_on_event(void *context, const struct sse_event *event,
                                     enum adapter_verdict verdict) {
    struct recorder *recorder = context;
    (void)verdict;
    assert_false(recorder->has_ended);
    recorder->events++;
    recorder->event_bytes += event->data_length;
    recorder_note(recorder, event->type, event->type_length);
    recorder_note(recorder, ":", 1);
    recorder_note(recorder, event->data, event->data_length);
    recorder_note(recorder, "|", 1);
    return recorder->in_event == NULL || recorder->in_event(recorder);
}

static inline void recorder_on_end(void *context, const struct upstream_result *result) {
    struct recorder *recorder = context;
    assert_non_null(recorder->stream);
    assert_false(recorder->has_ended);
    recorder_note(recorder, "end|", 4);
    recorder->has_ended = true;
    recorder->result = *result;
    recorder->outcome = *result->outcome;
    recorder->result.outcome = &recorder->outcome;
    snprintf(recorder->message, sizeof recorder->message, "%s", result->message);
    if (recorder->in_end != NULL)
        recorder->in_end(recorder);
}

/** A run as the adapter would have it, with this body (malloc'd); `session_path` may be NULL. */
static inline struct upstream_post recorder_post_body(struct fixture *fixture, const char *session_path,
                                                      bool exists, char *body, size_t length) {
    struct buffer url;
    buffer_init(&url, 1024);
    assert_true(buffer_printf(&url, "%s/run_sse", fixture->settings.base_url));
    char *run_url = buffer_detach(&url), *session_url = NULL;
    if (session_path != NULL) {
        assert_true(buffer_printf(&url, "%s%s", fixture->settings.base_url, session_path));
        session_url = buffer_detach(&url);
    }
    struct upstream_request *request =
        upstream_request_create(fixture->settings.adapter, run_url, session_url, body, length);
    assert_non_null(request);
    return (struct upstream_post){.request = request, .session_exists = exists};
}

static inline struct upstream_post recorder_post(struct fixture *fixture, const char *session_path,
                                                 bool exists) {
    return recorder_post_body(fixture, session_path, exists, strdup("{\"a\":1}"), strlen("{\"a\":1}"));
}

static inline void recorder_start_post(struct recorder *recorder, const struct upstream_post *post) {
    static const struct upstream_stream_callbacks callbacks = {
        .on_sent = recorder_on_sent, .on_event = recorder_on_event, .on_end = recorder_on_end};
    recorder->stream = upstream_stream_start(recorder->fixture->client, &recorder->fixture->settings, post,
                                             &callbacks, recorder);
    assert_non_null(recorder->stream);
    assert_false(recorder->has_ended);
}

/** Starts a run of an upstream without sessions. What the recorder does in callbacks is left as it is. */
static inline void recorder_start(struct recorder *recorder, struct fixture *fixture) {
    struct upstream_post post = recorder_post(fixture, NULL, false);
    recorder->fixture = fixture;
    recorder_start_post(recorder, &post);
}

static inline void recorder_await_end(struct recorder *recorder) {
    while (!recorder->has_ended)
        fixture_turn(recorder->fixture);
}

/** Runs one stream to its end. */
static inline void recorder_do(struct recorder *recorder, struct fixture *fixture) {
    *recorder = (struct recorder){0};
    recorder_start(recorder, fixture);
    recorder_await_end(recorder);
}

#endif
