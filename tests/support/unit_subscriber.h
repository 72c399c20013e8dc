/* What the tests of subscribers share: one session on a bench, its runs and its readers. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_SUBSCRIBER_H
#define SLUICE_TESTS_SUPPORT_UNIT_SUBSCRIBER_H

#include "tests/support/unit_sink.h"

static struct bench bench;
static struct session *session;

static inline int set_up(void **state) {
    (void)state;
    bench_init(&bench);
    session = unit_session(bench.broadcaster, "app/user/session");
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    bench_finish(&bench);
    return 0;
}

static inline struct task *run(void) {
    return unit_run(&bench.driver, session);
}

static inline struct task *enqueue(void) {
    struct task *task =
        unit_task(&bench.driver, session, (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static inline struct fake_sink *subscribe(struct subscriber_spec spec) {
    return bench_subscribe(&bench, session, spec);
}

static inline void finish(struct task *task) {
    unit_complete(task);
    unit_task_release(task);
}

static inline enum subscriber_result prepare(struct subscriber_spec spec) {
    struct subscriber *subscriber = NULL;
    enum subscriber_result result = subscriber_prepare(session, &spec, &subscriber);
    if (result == SUBSCRIBER_OK)
        subscriber_destroy(subscriber);
    return result;
}

static inline struct event_id end_of(struct task *task) {
    struct task_info info;
    task_get_info(task, &info);
    return info.end_id;
}

/* Whether the stream came to its proper end. */
static inline void assert_ended(const struct fake_sink *sink) {
    assert_true(sink->closed && !sink->aborted);
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), true);
    assert_true(stream.ended);
    stream_finish(&stream);
}

#endif
