/* What the tests of the fan-out share: one run that says numbers, and its readers. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_FANOUT_H
#define SLUICE_TESTS_SUPPORT_UNIT_FANOUT_H

#include "tests/support/unit_sink.h"

static struct bench bench;
static struct session *session;
static struct task *task;

static inline int set_up(void **state) {
    (void)state;
    bench_init(&bench);
    session = unit_session(bench.broadcaster, "app/user/session");
    task = unit_run(&bench.driver, session);
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    bench_finish(&bench);
    unit_task_release(task);
    return 0;
}

static inline struct fake_sink *subscribe(void) {
    return bench_subscribe(&bench, session, (struct subscriber_spec){0});
}

/* One that does not take part in what live ones are served together. */
static inline struct fake_sink *subscribe_apart(void) {
    return bench_subscribe(&bench, session, (struct subscriber_spec){.until_run = true});
}

static inline void publish_numbers(int from, int to) {
    char text[16];
    for (int i = from; i < to; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_true(unit_publish(task, text));
    }
}

/* What a whole stream says: run.start and the numbers. */
static inline void assert_says_numbers(const struct fake_sink *sink, int to) {
    static char expected[65536];
    int length = snprintf(expected, sizeof(expected), "run.start");
    for (int i = 0; i < to; i++)
        length += snprintf(expected + length, sizeof(expected) - (size_t)length, " %d", i);
    ASSERT_SINK_SAYS(sink, expected);
}

#endif
