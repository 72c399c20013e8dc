/* A sink that records what it takes, and takes as much as the test says. */
#ifndef SLUICE_TESTS_UNIT_SINK_H
#define SLUICE_TESTS_UNIT_SINK_H

#include "base/buffer.h"
#include "broadcaster/fanout_internal.h"
#include "broadcaster/subscriber_internal.h"
#include "tests/support/unit.h"
#include "tests/support/unit_broadcaster.h"
#include "tests/support/unit_stream.h"

#include <errno.h>
#include <stdlib.h>

struct fake_sink {
    struct sink sink;
    struct buffer taken;
    size_t room;  /* bytes that it takes before it says -EAGAIN */
    int error;    /* a negative errno instead */
    size_t sends; /* calls that took something */
    bool waiting, closed, aborted;
    bool held;
    size_t held_at; /* the bytes that it had taken by then */
};

static inline ssize_t fake_sink_send(struct sink *base, const struct iovec *parts, int count) {
    struct fake_sink *sink = CONTAINER_OF(base, struct fake_sink, sink);
    assert_false(sink->closed);
    size_t taken = 0;
    for (int i = 0; i < count && sink->error == 0; i++) {
        size_t take = parts[i].iov_len < sink->room ? parts[i].iov_len : sink->room;
        assert_true(buffer_append(&sink->taken, parts[i].iov_base, take));
        sink->room -= take;
        taken += take;
    }
    if (sink->error != 0)
        return sink->error;
    sink->sends += taken > 0;
    return taken > 0 ? (ssize_t)taken : -EAGAIN;
}

static inline void fake_sink_wait_writable(struct sink *base, bool wait) {
    struct fake_sink *sink = CONTAINER_OF(base, struct fake_sink, sink);
    assert_false(sink->closed);
    assert_true(sink->waiting != wait); /* never asked twice */
    sink->waiting = wait;
}

static inline void fake_sink_hold(struct sink *base) {
    struct fake_sink *sink = CONTAINER_OF(base, struct fake_sink, sink);
    assert_false(sink->closed || sink->held);
    sink->held = true;
    sink->held_at = sink->taken.length;
}

static inline void fake_sink_close(struct sink *base, bool abort) {
    struct fake_sink *sink = CONTAINER_OF(base, struct fake_sink, sink);
    assert_false(sink->closed);
    assert_null(base->subscriber);
    sink->waiting = false;
    sink->closed = true;
    sink->aborted = abort;
}

static const struct sink_operations fake_sink_operations = {.send = fake_sink_send,
                                                            .wait_writable = fake_sink_wait_writable,
                                                            .hold = fake_sink_hold,
                                                            .close = fake_sink_close};

/* One that takes all there is. */
static inline struct fake_sink *fake_sink_create(void) {
    struct fake_sink *sink = calloc(1, sizeof(*sink));
    assert_non_null(sink);
    *sink = (struct fake_sink){.sink.operations = &fake_sink_operations, .room = SIZE_MAX / 2};
    buffer_init(&sink->taken, 64 << 20);
    return sink;
}

/* It must be closed. */
static inline void fake_sink_destroy(struct fake_sink *sink) {
    assert_true(sink->closed);
    buffer_finish(&sink->taken);
    free(sink);
}

static inline const char *fake_sink_text(const struct fake_sink *sink) {
    return sink->taken.bytes != NULL ? sink->taken.bytes : "";
}

/* It takes `room` more bytes, and says so if that was asked for. */
static inline void fake_sink_open(struct fake_sink *sink, size_t room) {
    sink->room = room;
    if (sink->waiting)
        subscriber_on_writable(sink->sink.subscriber);
}

/* The client goes, if the stream has not ended yet. */
static inline void fake_sink_disconnect(struct fake_sink *sink) {
    if (!sink->closed)
        subscriber_on_disconnect(sink->sink.subscriber);
}

#define ASSERT_SINK_SAYS(sink, expected)                                                                     \
    do {                                                                                                     \
        struct stream stream_;                                                                               \
        stream_read(&stream_, fake_sink_text(sink), true);                                                   \
        stream_assert_says(&stream_, expected);                                                              \
        stream_finish(&stream_);                                                                             \
    } while (0)

/* ---- one worker without a thread ----------------------------------------------------------------- */

struct bench {
    uv_loop_t loop;
    struct inbox inbox;
    struct fanout_settings settings;
    struct fanout *fanout;
    struct broadcaster *broadcaster;
    struct fake_driver driver;
};

static inline void bench_init(struct bench *bench) {
    memset(bench, 0, sizeof(*bench));
    clock_fake(5000, 1700000000000);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    assert_int_equal(inbox_init(&bench->inbox, &bench->loop), 0);
    atomic_init(&bench->settings.heartbeat_ms, 15000);
    atomic_init(&bench->settings.stall_timeout_ms, 30000);
    atomic_init(&bench->settings.retry_ms, 2000);
    bench->fanout = fanout_create(&bench->inbox, &bench->settings);
    assert_non_null(bench->fanout);
    bench->broadcaster = unit_broadcaster();
    bench->driver = FAKE_DRIVER;
}

/* One turn of the loop. */
static inline void bench_turn(struct bench *bench) {
    uv_run(&bench->loop, UV_RUN_NOWAIT);
    fanout_flush(bench->fanout);
}

/* Time passes in steps of the tick. */
static inline void bench_pass(struct bench *bench, int64_t ms) {
    int64_t tick_ms = fanout_tick_ms(bench->fanout);
    for (; ms > 0; ms -= tick_ms) {
        clock_fake_advance(ms < tick_ms ? ms : tick_ms);
        fanout_tick(bench->fanout);
        bench_turn(bench);
    }
}

/* All subscribers must be gone. Nothing may be left of anything. */
static inline void bench_finish(struct bench *bench) {
    bench_turn(bench);
    assert_int_equal(fanout_count(bench->fanout), 0);
    assert_true(fanout_is_idle(bench->fanout));
    fanout_destroy(bench->fanout);
    unit_assert_empty(bench->broadcaster);
    broadcaster_destroy(bench->broadcaster);
    inbox_close(&bench->inbox);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    inbox_finish(&bench->inbox);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    clock_real();
}

static inline void bench_connect(struct bench *bench, struct session *session, struct subscriber_spec spec,
                                 struct fake_sink *sink) {
    struct subscriber *subscriber = NULL;
    assert_int_equal(subscriber_prepare(session, &spec, &subscriber), SUBSCRIBER_OK);
    subscriber_connect(subscriber, bench->fanout, &sink->sink, true);
}

/* A connected subscriber whose sink takes all there is. */
static inline struct fake_sink *bench_subscribe(struct bench *bench, struct session *session,
                                                struct subscriber_spec spec) {
    struct fake_sink *sink = fake_sink_create();
    bench_connect(bench, session, spec, sink);
    return sink;
}

/* Says `retry:` to each subscriber that is told of a drain. */
static inline void bench_say_retry(struct fanout *fanout) {
    for (size_t i = 0; i < WHEEL_SLOTS; i++) {
        struct subscriber *next;
        for (struct subscriber *one = TAILQ_FIRST(&fanout->wheel[i]); one != NULL; one = next) {
            next = TAILQ_NEXT(one, wheel_entry);
            if (!one->agent_framing)
                subscriber_say(one, NOTICE_RETRY);
        }
    }
}

/* Lets go of a subscriber, whatever it is doing. */
static inline void bench_release(struct fake_sink *sink) {
    fake_sink_disconnect(sink);
    fake_sink_destroy(sink);
}

#endif
