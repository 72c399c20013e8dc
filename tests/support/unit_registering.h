/* What the tests of the broadcaster share: one session, and runs to register with it. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_REGISTERING_H
#define SLUICE_TESTS_SUPPORT_UNIT_REGISTERING_H

#include "tests/support/unit_broadcaster.h"

#define KEY "app/user/session"

static struct broadcaster *broadcaster;
static struct session *session;
static struct fake_driver driver;

static inline int set_up(void **state) {
    (void)state;
    clock_fake(5000, 1700000000000);
    driver = FAKE_DRIVER;
    broadcaster = unit_broadcaster();
    session = unit_session(broadcaster, KEY);
    return 0;
}

static inline int tear_down(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    unit_assert_empty(broadcaster);
    broadcaster_destroy(broadcaster);
    clock_real();
    return 0;
}

static inline struct broadcaster_stats stats_now(void) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(broadcaster, &stats);
    return stats;
}

static inline struct task *make(enum on_conflict on_conflict) {
    return unit_task(&driver, session, (struct task_options){.on_conflict = on_conflict});
}

/* A registered one. */
static inline struct task *add(enum on_conflict on_conflict, enum register_result expected) {
    struct task *task = make(on_conflict);
    assert_int_equal(unit_register(task), expected);
    return task;
}

#endif
