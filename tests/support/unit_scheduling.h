/* What the tests of the scheduler share: sessions, their runs, and one slot. */
#ifndef SLUICE_TESTS_SUPPORT_UNIT_SCHEDULING_H
#define SLUICE_TESTS_SUPPORT_UNIT_SCHEDULING_H

#include "tests/support/unit_registering.h"

#define SESSIONS 64

static struct session *sessions[SESSIONS];

static inline int set_up_sessions(void **state) {
    set_up(state);
    memset(sessions, 0, sizeof(sessions));
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 1);
    atomic_store(&broadcaster_limits(broadcaster)->queue_aging_ms, 10000);
    return 0;
}

static inline int tear_down_sessions(void **state) {
    for (size_t i = 0; i < SESSIONS; i++) {
        if (sessions[i] != NULL)
            broadcaster_close_session(sessions[i], REASON_SESSION_DELETED);
        session_unref(sessions[i]);
    }
    return tear_down(state);
}

/* A run of its own session, of app "a" and user "u" if nothing else is said. */
static inline struct task *make_in(size_t place, const char *app_and_user, struct task_options options) {
    char key[64];
    snprintf(key, sizeof(key), "%s/s%zu", app_and_user, place);
    if (sessions[place] == NULL)
        sessions[place] = unit_session(broadcaster, key);
    return unit_task(&driver, sessions[place], options);
}

static inline struct task *run_in(size_t place, const char *app_and_user, int priority) {
    struct task *task = make_in(place, app_and_user, (struct task_options){.priority = priority});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static inline void release(struct task **tasks, size_t count) {
    broadcaster_cancel_all(broadcaster, REASON_REQUESTED);
    for (size_t i = 0; i < count; i++)
        unit_task_release(tasks[i]);
}

/* Which of them runs; -1: none. No more than one may. */
static inline int running_of(struct task **tasks, size_t count) {
    int running = -1;
    for (size_t i = 0; i < count; i++) {
        if (unit_status(tasks[i]) != TASK_RUNNING)
            continue;
        assert_int_equal(running, -1);
        running = (int)i;
    }
    return running;
}

/* Asserts the order in which they run, by completing one after the other. */
static inline void assert_order(struct task **tasks, size_t count, const int *order, size_t order_count) {
    for (size_t i = 0; i < order_count; i++) {
        assert_int_equal(running_of(tasks, count), order[i]);
        unit_complete(tasks[order[i]]);
    }
    assert_int_equal(running_of(tasks, count), -1);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up_sessions, tear_down_sessions)

#endif
