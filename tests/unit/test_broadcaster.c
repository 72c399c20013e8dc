/* broadcaster: the ends of sessions and of the program, and what can be seen. */
#include "tests/support/unit_registering.h"

#include <errno.h>

/* ---- the ends of sessions ------------------------------------------------------------------------ */

static void broadcaster_closing_a_session_ends_all_its_runs(void **state) {
    (void)state;
    struct task *running = unit_run(&driver, session);
    struct task *waiting = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_true(broadcaster_close_session(session, REASON_SESSION_DELETED));
    assert_false(broadcaster_close_session(session, REASON_SESSION_DELETED));
    assert_int_equal(unit_status(running), TASK_CANCELLED);
    assert_int_equal(unit_status(waiting), TASK_CANCELLED);
    assert_int_equal(driver.started, 1);
    assert_int_equal(driver.ended, 2);
    assert_int_equal(broadcaster_ended_count(broadcaster, TASK_CANCELLED, REASON_SESSION_DELETED), 2);
    assert_null(broadcaster_find_session(broadcaster, KEY));
    unit_assert_empty(broadcaster);
    assert_false(unit_publish(running, "late"));
    struct task *late = add(ON_CONFLICT_REPLACE, REGISTER_CLOSED);
    unit_task_release(running);
    unit_task_release(waiting);
    unit_task_release(late);
}

static void broadcaster_opens_a_closed_session_anew(void **state) {
    (void)state;
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    struct session *again = unit_session(broadcaster, KEY);
    assert_ptr_not_equal(again, session);
    broadcaster_close_session(again, REASON_SESSION_DELETED);
    session_unref(again);
}

/* Ids of the second session repeated those of the first when both lived within a millisecond, or when the
 * first had run ahead of the clock. */
static void broadcaster_never_gives_an_id_again_to_a_session_opened_anew(void **state) {
    (void)state;
    static const int64_t move_ms[] = {0, 0, -5000, 1, 0, 3000};
    struct event_id last = {0, 0};
    for (size_t i = 0; i < sizeof(move_ms) / sizeof(move_ms[0]); i++) {
        clock_fake_advance(move_ms[i]);
        struct session *again = unit_session(broadcaster, "app/user/again");
        struct task *task = unit_run(&driver, again);
        unit_publish(task, "x");
        struct frame *frames[10];
        size_t count = unit_newest(again, frames, 10);
        assert_int_equal(count, 2);
        for (size_t k = 0; k < count; k++) {
            assert_true(event_id_compare(frames[k]->id, last) > 0);
            last = frames[k]->id;
            frame_unref(frames[k]);
        }
        broadcaster_close_session(again, REASON_SESSION_DELETED);
        session_unref(again);
        unit_task_release(task);
        last.n += 2; /* its run.end and session.end */
    }
}

static void broadcaster_clean_up_ends_what_was_not_used_for_its_time(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    clock_fake_advance(10 * 1800000);
    assert_int_equal(broadcaster_clean_up(broadcaster), 0); /* a run uses it, however silent that is */
    assert_true(task_end(task, TASK_COMPLETED, REASON_NONE, 0, NULL));
    clock_fake_advance(1799999);
    assert_int_equal(broadcaster_clean_up(broadcaster), 0);
    clock_fake_advance(1);
    assert_int_equal(broadcaster_clean_up(broadcaster), 1);
    assert_int_equal(driver.ended, 1);
    unit_assert_empty(broadcaster);
    unit_task_release(task);
}

static void broadcaster_clean_up_reaches_every_one_of_many_sessions(void **state) {
    (void)state;
    enum { COUNT = 20000 }; /* more in each shard than are visited in one batch */
    char key[64];
    atomic_store(&broadcaster_limits(broadcaster)->sessions_max, COUNT + 1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "app/user/%d", i);
        session_unref(unit_session(broadcaster, key));
    }
    assert_int_equal(stats_now().sessions, COUNT + 1);
    clock_fake_advance(1800000);
    assert_int_equal(broadcaster_clean_up(broadcaster), COUNT + 1);
    unit_assert_empty(broadcaster);
}

static void broadcaster_churn_of_runs_and_sessions_leaves_nothing_behind(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->tasks_kept, 0);
    for (int i = 0; i < 200; i++) {
        struct session *other = unit_session(broadcaster, "app/user/other");
        struct task *tasks[5];
        for (int k = 0; k < 5; k++) {
            tasks[k] = unit_run(&driver, other);
            unit_publish(tasks[k], "x");
        }
        broadcaster_close_session(other, REASON_SESSION_DELETED);
        for (int k = 0; k < 5; k++)
            unit_task_release(tasks[k]);
        session_unref(other);
    }
    assert_int_equal(stats_now().tasks, 0);
    assert_int_equal(stats_now().sessions, 1);
    assert_int_equal(stats_now().log_bytes, 0);
    assert_int_equal(driver.started, 1000);
    assert_int_equal(driver.ended, 1000);
}

/* ---- the end of the program ---------------------------------------------------------------------- */

static void broadcaster_that_drains_takes_nothing_new_and_lets_the_current_run_go_on(void **state) {
    (void)state;
    struct task *running = unit_run(&driver, session);
    struct task *waiting = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_false(broadcaster_is_draining(broadcaster));
    broadcaster_drain(broadcaster);
    assert_true(broadcaster_is_draining(broadcaster));
    assert_int_equal(unit_status(waiting), TASK_CANCELLED);
    struct task *refused = add(ON_CONFLICT_REPLACE, REGISTER_DRAINING);
    struct session *none = NULL;
    assert_int_equal(broadcaster_open_session(broadcaster, "app/user/2", &none), -ESHUTDOWN);
    assert_true(unit_publish(running, "still"));
    unit_complete(running);
    ASSERT_LOG_SAYS(session, "run.start end:cancelled still end:completed");
    unit_task_release(running);
    unit_task_release(waiting);
    unit_task_release(refused);
}

static void broadcaster_cancels_all(void **state) {
    (void)state;
    struct session *other = unit_session(broadcaster, "app/user/2");
    struct task *one = unit_run(&driver, session), *two = unit_run(&driver, other);
    struct task *waiting = add(ON_CONFLICT_ENQUEUE, REGISTER_OK);
    assert_int_equal(broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN), 3);
    assert_int_equal(broadcaster_cancel_all(broadcaster, REASON_SHUTDOWN), 0);
    assert_int_equal(broadcaster_ended_count(broadcaster, TASK_CANCELLED, REASON_SHUTDOWN), 3);
    assert_int_equal(driver.started, 2); /* the one that waited did not get its turn in between */
    unit_task_release(one);
    unit_task_release(two);
    unit_task_release(waiting);
    broadcaster_close_session(other, REASON_SESSION_DELETED);
    session_unref(other);
}

static void broadcaster_destroy_ends_what_is_left(void **state) {
    (void)state;
    struct broadcaster *another = unit_broadcaster();
    struct session *left = unit_session(another, KEY);
    struct task *task = unit_run(&driver, left);
    session_unref(left);
    broadcaster_destroy(another);
    assert_int_equal(driver.ended, 1);
    unit_task_release(task);
}

/* ---- looking ------------------------------------------------------------------------------------- */

static void broadcaster_gives_the_newest_events_oldest_first(void **state) {
    (void)state;
    struct task *task = unit_run(&driver, session);
    char text[32];
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "%d", i);
        unit_publish(task, text);
    }
    struct frame *frames[3];
    assert_int_equal(unit_newest(session, frames, 3), 3);
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof(text), "%d", 7 + i);
        struct buffer data;
        buffer_init(&data, 100);
        assert_true(frame_append_data(frames[i], &data));
        assert_string_equal(data.bytes, text);
        buffer_finish(&data);
        frame_unref(frames[i]);
    }
    assert_int_equal(unit_newest(session, frames, 0), 0);
    unit_complete(task);
    unit_task_release(task);
}

/* Whoever reads slowly is told that something went meanwhile, and goes on behind it. */
static void broadcaster_passes_over_events_that_were_trimmed_meanwhile(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->log_events_max, 4);
    struct task *task = unit_run(&driver, session);
    for (int i = 0; i < 3; i++)
        unit_publish(task, "x");
    struct log_span span = broadcaster_newest_events(session, 100);
    bool lost = false;
    struct frame *first = broadcaster_next_event(session, &span, &lost);
    assert_true(unit_frame_is(first, "run.start"));
    assert_false(lost);
    unit_publish(task, "y");
    unit_publish(task, "y");
    struct frame *third = broadcaster_next_event(session, &span, &lost);
    assert_true(lost);
    lost = false;
    struct frame *fourth = broadcaster_next_event(session, &span, &lost);
    assert_true(third->is_of_agent && fourth->is_of_agent && third != fourth);
    assert_null(broadcaster_next_event(session, &span, &lost)); /* what came later is not of it */
    assert_false(lost);
    struct log_span gone = broadcaster_newest_events(session, 2);
    unit_complete(task);
    unit_task_release(task);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    assert_null(broadcaster_next_event(session, &gone, &lost));
    assert_true(lost);
    frame_unref(first);
    frame_unref(third);
    frame_unref(fourth);
}

static void broadcaster_counts_what_the_logs_hold(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(broadcaster)->log_events_max, 10);
    struct task *task = unit_run(&driver, session);
    for (int i = 0; i < 50; i++)
        unit_publish(task, "some text");
    assert_int_equal(stats_now().log_events, 10);
    uint64_t bytes = 0;
    struct frame *frames[10];
    assert_int_equal(unit_newest(session, frames, 10), 10);
    for (int i = 0; i < 10; i++) {
        bytes += frame_memory(frames[i]);
        frame_unref(frames[i]);
    }
    assert_int_equal(stats_now().log_bytes, bytes);
    unit_complete(task);
    unit_task_release(task);
}

static void session_parts_are_those_of_its_key(void **state) {
    (void)state;
    struct session_parts parts = session_parts(session);
    assert_int_equal(parts.app_length, 3);
    assert_memory_equal(parts.app, "app", 3);
    assert_int_equal(parts.user_length, 4);
    assert_memory_equal(parts.user, "user", 4);
    assert_int_equal(parts.session_length, 7);
    assert_string_equal(parts.session, "session");
}

static struct task *run_of_body(uint64_t body_hash) {
    struct task *task = unit_task(&driver, session, (struct task_options){.body_hash = body_hash});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static struct event_id newest_id(void) {
    struct frame *frame;
    assert_int_equal(unit_newest(session, &frame, 1), 1);
    struct event_id id = frame->id;
    frame_unref(frame);
    return id;
}

static void assert_run_of(struct event_id id, uint64_t body_hash, const struct task *expected) {
    struct task *task = broadcaster_find_run_of_event(session, id, body_hash);
    assert_ptr_equal(task, expected);
    task_unref(task);
}

static void broadcaster_finds_the_run_of_an_event(void **state) {
    (void)state;
    struct event_id before = {1, 1};
    assert_run_of(before, 0, NULL);
    struct task *old = run_of_body(1);
    struct event_id old_start = newest_id();
    unit_publish(old, "x");
    struct event_id of_old = newest_id();
    struct task *new = run_of_body(2); /* replaces the old one, whose end comes before its start */
    struct event_id new_start = newest_id();
    unit_publish(new, "y");
    struct event_id of_new = newest_id(), later = {of_new.ms + 1, 0};
    assert_run_of(old_start, 1, old);
    assert_run_of(of_old, 1, old);
    assert_run_of(of_old, 2, NULL);
    assert_run_of(new_start, 2, new);
    assert_run_of(of_new, 2, new);
    assert_run_of(of_new, 1, NULL);
    assert_run_of(later, 2, NULL);
    assert_run_of(before, 2, NULL);
    unit_complete(new);
    assert_run_of(newest_id(), 2, new);
    assert_run_of(later, 2, NULL);
    unit_task_release(old);
    unit_task_release(new);
}

static void broadcaster_finds_no_run_of_which_nothing_is_left(void **state) {
    (void)state;
    struct task *task = run_of_body(1);
    for (int i = 0; i < 3; i++)
        unit_publish(task, "x");
    struct event_id id = newest_id();
    while (broadcaster_trim(broadcaster, UINT64_MAX) > 0)
        continue;
    assert_run_of(id, 1, task); /* it goes on, after a gap */
    unit_complete(task);
    struct event_id end = newest_id();
    while (broadcaster_trim(broadcaster, UINT64_MAX) > 0)
        continue;
    assert_run_of(id, 1, NULL);
    assert_run_of(end, 1, task);
    unit_task_release(task);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(broadcaster_closing_a_session_ends_all_its_runs),
        TEST(broadcaster_opens_a_closed_session_anew),
        TEST(broadcaster_never_gives_an_id_again_to_a_session_opened_anew),
        TEST(broadcaster_clean_up_ends_what_was_not_used_for_its_time),
        TEST(broadcaster_clean_up_reaches_every_one_of_many_sessions),
        TEST(broadcaster_churn_of_runs_and_sessions_leaves_nothing_behind),
        TEST(broadcaster_that_drains_takes_nothing_new_and_lets_the_current_run_go_on),
        TEST(broadcaster_cancels_all),
        TEST(broadcaster_destroy_ends_what_is_left),
        TEST(broadcaster_gives_the_newest_events_oldest_first),
        TEST(broadcaster_passes_over_events_that_were_trimmed_meanwhile),
        TEST(broadcaster_counts_what_the_logs_hold),
        TEST(broadcaster_finds_the_run_of_an_event),
        TEST(broadcaster_finds_no_run_of_which_nothing_is_left),
        TEST(session_parts_are_those_of_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
