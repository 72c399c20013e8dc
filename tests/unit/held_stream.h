/* What the tests of streams that are held share: one that takes nothing every other time it is asked, and
 * goes on a millisecond later. */
#ifndef SLUICE_TESTS_UNIT_HELD_STREAM_H
#define SLUICE_TESTS_UNIT_HELD_STREAM_H

#include "tests/unit/stream_recorder.h"

struct held_recorder {
    struct recorder recorder;
    uv_timer_t timer;
    bool is_held;
};

static inline void held_go_on(uv_timer_t *timer) {
    struct held_recorder *held = CONTAINER_OF(timer, struct held_recorder, timer);
    if (!held->recorder.has_ended)
        upstream_stream_resume(held->recorder.stream);
}

static inline bool held_may_read(void *context) {
    struct held_recorder *held = CONTAINER_OF((struct recorder *)context, struct held_recorder, recorder);
    held->is_held = !held->is_held;
    if (held->is_held)
        uv_timer_start(&held->timer, held_go_on, 1, 0);
    return !held->is_held;
}

static inline void held_begin(struct held_recorder *held, struct fixture *fixture) {
    *held = (struct held_recorder){.recorder.fixture = fixture};
    uv_timer_init(&fixture->loop, &held->timer);
}

/** Runs one stream to its end. False: it could not be started. */
static inline bool held_do(struct held_recorder *held) {
    static const struct upstream_stream_callbacks callbacks = {.on_sent = recorder_on_sent,
                                                               .on_event = recorder_on_event,
                                                               .may_read = held_may_read,
                                                               .on_end = recorder_on_end};
    struct fixture *fixture = held->recorder.fixture;
    struct upstream_post post = recorder_post(fixture, NULL, false);
    held->recorder = (struct recorder){.fixture = fixture};
    held->is_held = false;
    held->recorder.stream =
        upstream_stream_start(fixture->client, &fixture->settings, &post, &callbacks, &held->recorder);
    if (held->recorder.stream == NULL)
        return false;
    recorder_await_end(&held->recorder);
    return true;
}

static inline void held_end(struct held_recorder *held) {
    uv_close((uv_handle_t *)&held->timer, NULL);
    fixture_end(held->recorder.fixture);
}

#endif
