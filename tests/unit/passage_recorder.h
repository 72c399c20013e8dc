/* What the tests of passages share: one passage and everything that it told. */
#ifndef SLUICE_TESTS_UNIT_PASSAGE_RECORDER_H
#define SLUICE_TESTS_UNIT_PASSAGE_RECORDER_H

#include "tests/unit/upstream_fixture.h"

struct passage_recorder {
    struct fixture *fixture;
    struct upstream_passage *passage;
    int status;
    char headers[2048]; /* "name: value|" for each */
    int64_t content_length;
    struct buffer body;
    bool has_head;
    bool has_ended;
    struct upstream_result result;
    char message[1024]; /* its own */
    bool refuses;       /* each piece once, until it is resumed */
    bool has_refused;   /* the piece that comes next */
    size_t refusals;
    void (*in_head)(struct passage_recorder *recorder);
    uv_timer_t resume_timer;
};

static inline void passage_on_head(void *context, int status, const struct upstream_header *headers,
                                   size_t count, int64_t content_length) {
    struct passage_recorder *recorder = context;
    assert_non_null(recorder->passage);
    assert_false(recorder->has_head);
    recorder->has_head = true;
    recorder->status = status;
    recorder->content_length = content_length;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(recorder->headers);
        snprintf(recorder->headers + used, sizeof recorder->headers - used, "%s: %s|", headers[i].name,
                 headers[i].value);
    }
    if (recorder->in_head != NULL)
        recorder->in_head(recorder);
}

static inline void passage_resume(uv_timer_t *timer) {
    struct passage_recorder *recorder = CONTAINER_OF(timer, struct passage_recorder, resume_timer);
    size_t before = recorder->body.length;
    upstream_passage_resume(recorder->passage);
    assert_int_equal(recorder->body.length, before); /* the body comes from the loop, not from within */
}

static inline bool passage_on_body(void *context, const char *bytes, size_t length) {
    struct passage_recorder *recorder = context;
    assert_true(recorder->has_head);
    assert_false(recorder->has_ended);
    if (recorder->refuses && !recorder->has_refused) {
        recorder->has_refused = true;
        recorder->refusals++;
        uv_timer_start(&recorder->resume_timer, passage_resume, 1, 0);
        return false;
    }
    recorder->has_refused = false;
    return buffer_append(&recorder->body, bytes, length);
}

static inline void passage_on_end(void *context, const struct upstream_result *result) {
    struct passage_recorder *recorder = context;
    assert_non_null(recorder->passage);
    assert_false(recorder->has_ended);
    recorder->has_ended = true;
    recorder->result = *result;
    snprintf(recorder->message, sizeof recorder->message, "%s", result->message);
    recorder->result.message = recorder->message; /* that of the result goes with the passage */
}

static const struct upstream_passage_callbacks passage_callbacks = {
    .on_head = passage_on_head, .on_body = passage_on_body, .on_end = passage_on_end};

static inline void passage_begin(struct passage_recorder *recorder, struct fixture *fixture) {
    *recorder = (struct passage_recorder){.fixture = fixture};
    buffer_init(&recorder->body, 16 << 20);
    uv_timer_init(&fixture->loop, &recorder->resume_timer);
}

static inline void passage_end(struct passage_recorder *recorder) {
    uv_close((uv_handle_t *)&recorder->resume_timer, NULL);
    buffer_finish(&recorder->body);
    fixture_end(recorder->fixture);
}

static inline void passage_start(struct passage_recorder *recorder, const char *method, const char *path,
                                 const char *body) {
    recorder->passage =
        upstream_passage_start(recorder->fixture->client, &recorder->fixture->settings, method, path, NULL, 0,
                               body, body != NULL ? strlen(body) : 0, &passage_callbacks, recorder);
    assert_non_null(recorder->passage);
    assert_int_equal(upstream_client_active(recorder->fixture->client), 1);
}

static inline void passage_await_end(struct passage_recorder *recorder) {
    while (!recorder->has_ended)
        fixture_turn(recorder->fixture);
    assert_int_equal(upstream_client_active(recorder->fixture->client), 0);
}

#endif
