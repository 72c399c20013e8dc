/* broadcaster/register: the swap, queues and limits. */
#include "tests/support/unit_registering.h"

#include <errno.h>

/* ---- the swap and its alternatives --------------------------------------------------------------- */

static void broadcaster_runs_what_is_registered(void **state) {
    (void)state;
    struct task *task = make(ON_CONFLICT_REPLACE);
    struct registration registered;
    assert_int_equal(broadcaster_register_task(broadcaster, task, NULL, &registered), REGISTER_OK);
    assert_ptr_equal(registered.task, task);
    task_unref(registered.task);
    assert_int_equal(driver.started, 1);
    bool is_current;
    struct task *current = broadcaster_session_task(session, &is_current);
    assert_ptr_equal(current, task);
    assert_true(is_current);
    task_unref(current);
    assert_int_equal(stats_now().runs, 1);
    unit_complete(task);
    assert_int_equal(stats_now().runs, 0);
    current = broadcaster_session_task(session, &is_current);
    assert_ptr_equal(current, task); /* the newest, though it has ended */
    assert_false(is_current);
    task_unref(current);
    unit_task_release(task);
}

static void broadcaster_swaps_without_waiting_for_the_old_run(void **state) {
    (void)state;
    struct task *old = unit_run(&driver, session);
    unit_publish(old, "old1");
    struct task *new = unit_run(&driver, session);
    /* The old one's work has not stopped yet: what it still brings meets the fence. */
    assert_false(unit_publish(old, "old2"));
    assert_true(unit_publish(new, "new1"));
    assert_false(unit_complete(old));
    unit_complete(new);
    ASSERT_LOG_SAYS(session, "run.start old1 end:replaced run.start new1 end:completed");
    assert_int_equal(unit_status(old), TASK_REPLACED);
    assert_int_equal(driver.started, 2);
    assert_int_equal(driver.ended, 2);
    unit_task_release(old);
    unit_task_release(new);
}

static void broadcaster_ends_each_of_many_rapid_registrations_once(void **state) {
    (void)state;
    enum { COUNT = 300 };
    struct task *tasks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        tasks[i] = unit_run(&driver, session);
        assert_true(unit_publish(tasks[i], "x"));
        assert_int_equal(stats_now().runs, 1);
    }
    assert_int_equal(driver.started, COUNT);
    assert_int_equal(driver.ended, COUNT - 1);
    unit_complete(tasks[COUNT - 1]);
    for (int i = 0; i < COUNT; i++)
        unit_task_release(tasks[i]);
    assert_int_equal(broadcaster_ended_count(broadcaster, TASK_REPLACED, REASON_NONE), COUNT - 1);
}

static void broadcaster_rejects_if_asked_to_and_names_the_current_run(void **state) {
    (void)state;
    struct task *running = unit_run(&driver, session);
    struct task *refused = make(ON_CONFLICT_REJECT);
    struct registration other;
    assert_int_equal(broadcaster_register_task(broadcaster, refused, NULL, &other), REGISTER_CONFLICT);
    assert_ptr_equal(other.task, running);
    task_unref(other.task);
    assert_null(task_table_find(broadcaster_tasks(broadcaster), refused->id));
    unit_complete(running);
    assert_int_equal(unit_register(refused), REGISTER_OK); /* now there is no conflict */
    unit_complete(refused);
    unit_task_release(running);
    unit_task_release(refused);
}

static void broadcaster_lets_runs_wait_their_turn_in_order(void **state) {
    (void)state;
    struct task *one = unit_run(&driver, session);
    struct task *two = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    struct task *three = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_int_equal(unit_status(two), TASK_PENDING);
    assert_int_equal(stats_now().runs_queued, 2);
    assert_int_equal(driver.started, 1);
    assert_false(unit_publish(two, "too early"));
    unit_complete(one);
    assert_int_equal(unit_status(two), TASK_RUNNING);
    assert_int_equal(unit_status(three), TASK_PENDING);
    assert_true(unit_publish(two, "2"));
    task_cancel(two, REASON_REQUESTED);
    assert_true(unit_publish(three, "3"));
    unit_complete(three);
    ASSERT_LOG_SAYS(session, "run.start end:completed run.start 2 end:cancelled run.start 3 end:completed");
    assert_int_equal(stats_now().runs_queued, 0);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(three);
}

static void broadcaster_starts_at_once_what_would_wait_for_nothing(void **state) {
    (void)state;
    struct task *task = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    unit_complete(task);
    unit_task_release(task);
}

static void broadcaster_replaces_the_current_run_and_lets_the_others_wait_on(void **state) {
    (void)state;
    struct task *one = unit_run(&driver, session);
    struct task *waiting = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    struct task *two = unit_run(&driver, session);
    assert_int_equal(unit_status(one), TASK_REPLACED);
    assert_int_equal(unit_status(waiting), TASK_PENDING);
    unit_complete(two);
    assert_int_equal(unit_status(waiting), TASK_RUNNING);
    unit_complete(waiting);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(waiting);
}

static void broadcaster_cancels_a_run_that_waits(void **state) {
    (void)state;
    struct task *one = unit_run(&driver, session);
    struct task *waiting = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_true(task_cancel(waiting, REASON_REQUESTED));
    assert_int_equal(stats_now().runs_queued, 0);
    unit_complete(one);
    ASSERT_LOG_SAYS(session, "run.start end:cancelled end:completed");
    assert_int_equal(driver.started, 1);
    unit_task_release(one);
    unit_task_release(waiting);
}

/* ---- limits -------------------------------------------------------------------------------------- */

static void broadcaster_lets_no_more_than_sixteen_wait_in_a_session(void **state) {
    (void)state;
    struct task *tasks[17], *running = unit_run(&driver, session);
    for (int i = 0; i < 17; i++)
        tasks[i] = add(ON_CONFLICT_ENQUEUE, i < 16 ? REGISTER_OK : REGISTER_QUEUE_FULL);
    assert_int_equal(stats_now().runs_queued, 16);
    unit_complete(running);
    assert_int_equal(unit_register(tasks[16]), REGISTER_OK); /* one has left the queue */
    unit_task_release(running);
    broadcaster_cancel_all(broadcaster, REASON_REQUESTED);
    for (int i = 0; i < 17; i++)
        unit_task_release(tasks[i]);
}

static void broadcaster_lets_no_more_wait_in_all_than_may(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 2);
    struct task *running = unit_run(&driver, session);
    struct task *one = add(ON_CONFLICT_ENQUEUE, REGISTER_OK), *two = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    struct task *three = add(ON_CONFLICT_ENQUEUE, REGISTER_QUEUE_FULL);
    assert_int_equal(stats_now().runs_queued, 2);
    assert_int_equal(broadcaster_cancel_all(broadcaster, REASON_REQUESTED), 3);
    unit_task_release(running);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(three);
}

static void broadcaster_runs_no_more_at_once_than_may(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->runs_max, 2);
    atomic_store(&broadcaster_limits(broadcaster)->runs_queued_max, 0);
    struct session *second = unit_session(broadcaster, "app/user/2");
    struct session *third = unit_session(broadcaster, "app/user/3");
    struct task *one = unit_run(&driver, session), *two = unit_run(&driver, second);
    struct task *refused = unit_task(&driver, third, (struct task_options){0});
    assert_int_equal(unit_register(refused), REGISTER_RUNS_FULL);
    assert_int_equal(stats_now().runs, 2);
    struct task *instead = unit_run(&driver, session); /* replacing takes no further place */
    assert_int_equal(stats_now().runs, 2);
    unit_complete(two);
    assert_int_equal(unit_register(refused), REGISTER_OK);
    broadcaster_close_session(second, REASON_SESSION_DELETED);
    broadcaster_close_session(third, REASON_SESSION_DELETED);
    unit_complete(instead);
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(instead);
    unit_task_release(refused);
    session_unref(second);
    session_unref(third);
}

static void broadcaster_opens_no_more_sessions_than_may(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, 2);
    struct session *second = unit_session(broadcaster, "app/user/2"), *third = NULL;
    struct task *tasks[] = {unit_run(&driver, session),
                            unit_run(&driver, second)}; /* or they would make room */
    assert_int_equal(broadcaster_open_session(broadcaster, "app/user/3", &third), -ENOSPC);
    assert_null(third);
    struct session *again = unit_session(broadcaster, KEY); /* it is there */
    assert_ptr_equal(again, session);
    session_unref(again);
    broadcaster_close_session(second, REASON_SESSION_DELETED);
    session_unref(second);
    third = unit_session(broadcaster, "app/user/3");
    broadcaster_close_session(third, REASON_SESSION_DELETED);
    session_unref(third);
    unit_complete(tasks[0]);
    unit_task_release(tasks[0]);
    unit_task_release(tasks[1]);
}

static void broadcaster_remembers_no_more_ended_runs_than_may(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->tasks_kept, 5);
    char first[TASK_ID_SIZE], last[TASK_ID_SIZE];
    for (int i = 0; i < 20; i++) {
        struct task *task = unit_run(&driver, session);
        memcpy(i == 0 ? first : last, task->id, TASK_ID_SIZE);
        unit_complete(task);
        unit_task_release(task);
    }
    assert_int_equal(stats_now().tasks, 5);
    assert_null(task_table_find(broadcaster_tasks(broadcaster), first));
    struct task *found = task_table_find(broadcaster_tasks(broadcaster), last);
    assert_non_null(found);
    task_unref(found);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(broadcaster_runs_what_is_registered),
        TEST(broadcaster_swaps_without_waiting_for_the_old_run),
        TEST(broadcaster_ends_each_of_many_rapid_registrations_once),
        TEST(broadcaster_rejects_if_asked_to_and_names_the_current_run),
        TEST(broadcaster_lets_runs_wait_their_turn_in_order),
        TEST(broadcaster_starts_at_once_what_would_wait_for_nothing),
        TEST(broadcaster_replaces_the_current_run_and_lets_the_others_wait_on),
        TEST(broadcaster_cancels_a_run_that_waits),
        TEST(broadcaster_lets_no_more_than_sixteen_wait_in_a_session),
        TEST(broadcaster_lets_no_more_wait_in_all_than_may),
        TEST(broadcaster_runs_no_more_at_once_than_may),
        TEST(broadcaster_opens_no_more_sessions_than_may),
        TEST(broadcaster_remembers_no_more_ended_runs_than_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
