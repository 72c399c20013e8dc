/* broadcaster/subscriber: closed sessions, the drain, limits, and what it means to leave. */
#include "tests/support/unit_subscriber.h"

/* ---- other ends ---------------------------------------------------------------------------------- */

static void subscribers_of_a_closed_session_are_told_and_ended(void **state) {
    (void)state;
    struct task *task = run(), *waiting = enqueue();
    struct fake_sink *plain = subscribe((struct subscriber_spec){0});
    struct fake_sink *until = subscribe((struct subscriber_spec){.until_run = true});
    struct fake_sink *own = subscribe((struct subscriber_spec){.run = task});
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    assert_int_equal(prepare((struct subscriber_spec){0}), SUBSCRIBER_CLOSED);
    assert_int_equal(prepare((struct subscriber_spec){.run = task}), SUBSCRIBER_GONE);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(plain, "run.start end:cancelled end:cancelled session.end");
    ASSERT_SINK_SAYS(until, "run.start end:cancelled end:cancelled session.end");
    ASSERT_SINK_SAYS(own, "run.start end:cancelled");
    assert_ended(plain);
    assert_ended(until);
    assert_ended(own);
    unit_assert_empty(bench.broadcaster); /* the log went with the last of them */
    bench_release(plain);
    bench_release(until);
    bench_release(own);
    unit_task_release(task);
    unit_task_release(waiting);
}

static void subscribers_that_are_slow_still_get_all_of_a_closed_session(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    sink->room = 10;
    unit_publish(task, "1");
    bench_turn(&bench);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    bench_turn(&bench);
    struct broadcaster_stats stats;
    broadcaster_get_stats(bench.broadcaster, &stats);
    assert_true(stats.log_events > 0);
    fake_sink_open(sink, SIZE_MAX / 2);
    ASSERT_SINK_SAYS(sink, "run.start 1 end:cancelled session.end");
    assert_ended(sink);
    bench_release(sink);
    unit_task_release(task);
}

static void subscribers_are_told_of_the_drain_and_end_with_their_runs(void **state) {
    (void)state;
    struct session *idle = unit_session(bench.broadcaster, "app/user/idle");
    struct fake_sink *of_idle = bench_subscribe(&bench, idle, (struct subscriber_spec){0});
    struct task *task = run();
    struct fake_sink *of_running = subscribe((struct subscriber_spec){0});
    broadcaster_drain(bench.broadcaster);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(of_idle, "server.drain");
    assert_ended(of_idle);
    assert_false(of_running->closed);
    unit_publish(task, "1");
    bench_turn(&bench);
    finish(task);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(of_running, "run.start server.drain 1 end:completed");
    assert_ended(of_running);
    struct stream stream;
    stream_read(&stream, fake_sink_text(of_running), true);
    assert_int_equal(stream.retries, 1);
    stream_finish(&stream);
    bench_release(of_idle);
    bench_release(of_running);
    broadcaster_close_session(idle, REASON_SHUTDOWN);
    session_unref(idle);
}

static void flush_in_the_middle(struct fake_driver *driver, struct task *task) {
    (void)driver;
    (void)task;
    fanout_flush(bench.fanout);
}

/* A worker may write while the broadcaster has not come to all sessions yet. */
static void subscribers_are_told_of_the_drain_however_early_their_worker_writes(void **state) {
    (void)state;
    enum { COUNT = 16 };
    struct session *sessions[COUNT];
    struct fake_sink *sinks[COUNT];
    struct task *running = run(), *waiting = enqueue(); /* its end is where the worker hears of it */
    char key[32];
    for (int i = 0; i < COUNT; i++) { /* some come before, some after the one with the runs */
        snprintf(key, sizeof(key), "app/user/%d", i);
        sessions[i] = unit_session(bench.broadcaster, key);
        sinks[i] = bench_subscribe(&bench, sessions[i], (struct subscriber_spec){0});
    }
    bench.driver.on_end = flush_in_the_middle;
    broadcaster_drain(bench.broadcaster);
    bench.driver.on_end = NULL;
    bench_turn(&bench);
    for (int i = 0; i < COUNT; i++) {
        ASSERT_SINK_SAYS(sinks[i], "server.drain");
        assert_ended(sinks[i]);
        bench_release(sinks[i]);
        broadcaster_close_session(sessions[i], REASON_SHUTDOWN);
        session_unref(sessions[i]);
    }
    finish(running);
    unit_task_release(waiting);
}

static bool close_one(void *context, struct session *other) {
    (void)context;
    broadcaster_close_session(other, REASON_SESSION_DELETED);
    return true;
}

static void close_all_in_the_middle(struct fake_driver *driver, struct task *task) {
    (void)task;
    driver->on_end = NULL;
    broadcaster_for_each_session(bench.broadcaster, close_one, NULL);
}

/* A session was closed after the drain had taken it into its batch. */
static void subscribers_are_told_nothing_after_the_end_of_their_session(void **state) {
    (void)state;
    enum { COUNT = 90 };
    struct fake_sink *sinks[COUNT];
    struct task *tasks[2 * COUNT];
    char key[32];
    for (int i = 0; i < COUNT; i++) { /* so many that some share a batch */
        snprintf(key, sizeof(key), "app/user/%d", i);
        struct session *other = unit_session(bench.broadcaster, key);
        tasks[2 * i] = unit_run(&bench.driver, other);
        tasks[2 * i + 1] =
            unit_task(&bench.driver, other, (struct task_options){.on_conflict = ON_CONFLICT_ENQUEUE});
        assert_true(unit_register(tasks[2 * i + 1]) == (i < 50 ? REGISTER_OK : REGISTER_QUEUE_FULL));
        sinks[i] = bench_subscribe(&bench, other, (struct subscriber_spec){.from = SUBSCRIBE_FROM_NOW});
        sinks[i]->room = 10;
        session_unref(other);
    }
    bench.driver.on_end = close_all_in_the_middle;
    broadcaster_drain(bench.broadcaster);
    bench_turn(&bench);
    for (int i = 0; i < COUNT; i++) {
        fake_sink_open(sinks[i], SIZE_MAX / 2);
        struct stream stream;
        stream_read(&stream, fake_sink_text(sinks[i]), true);
        assert_string_equal(stream.events[stream.count - 1].type, "session.end");
        stream_finish(&stream);
        assert_ended(sinks[i]);
        bench_release(sinks[i]);
        unit_task_release(tasks[2 * i]);
        unit_task_release(tasks[2 * i + 1]);
    }
}

static void subscribers_that_expect_something_now_are_complete_where_nothing_is(void **state) {
    (void)state;
    const struct subscriber_spec now = {.expects_now = true};
    assert_int_equal(prepare(now), SUBSCRIBER_COMPLETE);
    struct task *task = run();
    assert_int_equal(prepare(now), SUBSCRIBER_OK); /* a run is under way */
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 1);
    finish(task);
    assert_int_equal(prepare(now), SUBSCRIBER_OK); /* its end is retained */
    struct session_effects effects = {0};
    lock_acquire(&session->lock);
    (void)session_shed_locked(session, 0, &effects);
    lock_release(&session->lock);
    session_apply(&effects);
    assert_int_equal(prepare(now), SUBSCRIBER_COMPLETE);
    struct task *later = unit_task(&bench.driver, session, (struct task_options){.delay_ms = 60000});
    assert_int_equal(unit_register(later), REGISTER_OK);
    assert_int_equal(prepare(now), SUBSCRIBER_COMPLETE); /* nothing runs before its time */
    assert_true(task_cancel(later, REASON_REQUESTED));
    unit_task_release(later);
}

/* ---- limits and leaving -------------------------------------------------------------------------- */

static void subscribers_beyond_the_limits_are_refused(void **state) {
    (void)state;
    struct broadcaster_limits *limits = broadcaster_limits(bench.broadcaster);
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    atomic_store(&limits->subscribers_per_session_max, 1);
    assert_int_equal(prepare((struct subscriber_spec){0}), SUBSCRIBER_SESSION_FULL);
    atomic_store(&limits->subscribers_per_session_max, 2);
    atomic_store(&limits->subscribers_max, 1);
    assert_int_equal(prepare((struct subscriber_spec){0}), SUBSCRIBER_FULL);
    atomic_store(&limits->subscribers_max, 2);
    assert_int_equal(prepare((struct subscriber_spec){0}), SUBSCRIBER_OK);
    bench_release(sink);
}

static void stream_and_its_connection_end_together(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task});
    unit_publish(task, "1");
    bench_turn(&bench);
    assert_false(sink->held);
    sink->room = 0;
    finish(task);
    bench_turn(&bench);
    assert_false(sink->held);
    for (int i = 0; i < 1000 && !sink->closed; i++)
        fake_sink_open(sink, 1); /* held once, however often the last bytes do not fit */
    assert_true(sink->closed && sink->held);
    assert_int_equal(sink->taken.length - sink->held_at, strlen("0\r\n\r\n"));
    bench_release(sink);
}

static struct task *run_that_ends_with_its_subscribers(void) {
    struct task *task =
        unit_task(&bench.driver, session, (struct task_options){.on_disconnect = ON_DISCONNECT_CANCEL});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void subscriber_that_leaves_ends_no_run(void **state) {
    (void)state;
    struct task *task = run();
    bench_release(subscribe((struct subscriber_spec){0}));
    assert_int_equal(unit_status(task), TASK_RUNNING);
    finish(task);
}

static void subscriber_that_leaves_last_ends_a_run_that_asked_for_it(void **state) {
    (void)state;
    struct task *task = run_that_ends_with_its_subscribers(), *next = enqueue();
    struct fake_sink *one = subscribe((struct subscriber_spec){0});
    struct fake_sink *two = subscribe((struct subscriber_spec){.run = task});
    bench_release(one);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    bench_release(two);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    assert_int_equal(unit_status(next), TASK_RUNNING);
    assert_int_equal(broadcaster_ended_count(bench.broadcaster, TASK_CANCELLED, REASON_DISCONNECTED), 1);
    unit_task_release(task);
    finish(next);
}

static void subscriber_that_leaves_before_it_was_connected_counts_as_well(void **state) {
    (void)state;
    struct task *task = run_that_ends_with_its_subscribers();
    assert_int_equal(prepare((struct subscriber_spec){.run = task}), SUBSCRIBER_OK);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    unit_task_release(task);
}

static void subscriber_of_another_run_that_leaves_ends_no_run(void **state) {
    (void)state;
    struct task *old = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = old});
    struct task *new = run_that_ends_with_its_subscribers();
    bench_release(sink);
    assert_int_equal(unit_status(new), TASK_RUNNING);
    unit_task_release(old);
    finish(new);
}

/* The stream of a replaced run came to its end, and took the run along that had replaced it. */
static void subscriber_whose_stream_ends_has_not_left(void **state) {
    (void)state;
    struct task *old = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = old});
    struct task *new = run_that_ends_with_its_subscribers();
    bench_turn(&bench);
    assert_ended(sink);
    assert_int_equal(unit_status(new), TASK_RUNNING);
    bench_release(sink);
    unit_task_release(old);
    finish(new);
}

static struct task *run_with_grace(enum on_conflict on_conflict, int64_t delay_ms) {
    struct task_options options = {.on_conflict = on_conflict,
                                   .delay_ms = delay_ms,
                                   .on_disconnect = ON_DISCONNECT_CANCEL,
                                   .disconnect_grace_ms = 5000};
    struct task *task = unit_task(&bench.driver, session, options);
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void run_is_cancelled_once_nobody_has_come_back_for_so_long(void **state) {
    (void)state;
    struct task *task = run_with_grace(ON_CONFLICT_REPLACE, 0);
    clock_fake_advance(60000); /* nobody has come, so nobody has left */
    assert_int_equal(task_check_idle(task), 5000);
    bench_release(subscribe((struct subscriber_spec){.run = task}));
    assert_int_equal(unit_status(task), TASK_RUNNING);
    assert_int_equal(task_check_idle(task), 5000);
    clock_fake_advance(4999);
    assert_int_equal(task_check_idle(task), 1);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    clock_fake_advance(1);
    assert_int_equal(task_idle_check_due_ms(task), 1);
    assert_int_equal(task_check_idle(task), 0);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    assert_int_equal(broadcaster_ended_count(bench.broadcaster, TASK_CANCELLED, REASON_DISCONNECTED), 1);
    assert_int_equal(task_idle_check_due_ms(task), 0);
    unit_task_release(task);
}

static void client_that_comes_back_in_time_keeps_its_run(void **state) {
    (void)state;
    struct task *task = run_with_grace(ON_CONFLICT_REPLACE, 0);
    bench_release(subscribe((struct subscriber_spec){.run = task}));
    clock_fake_advance(4000);
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task});
    clock_fake_advance(60000);
    assert_int_equal(task_check_idle(task), 5000);
    bench_release(sink); /* the time counts anew */
    clock_fake_advance(4000);
    assert_int_equal(task_check_idle(task), 1000);
    assert_int_equal(unit_status(task), TASK_RUNNING);
    clock_fake_advance(1000);
    assert_int_equal(task_check_idle(task), 0);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    unit_task_release(task);
}

static void runs_that_wait_are_cancelled_after_the_grace_too(void **state) {
    (void)state;
    struct task *current = run(), *queued = run_with_grace(ON_CONFLICT_ENQUEUE, 0),
                *later = run_with_grace(ON_CONFLICT_REPLACE, 3600000);
    bench_release(subscribe((struct subscriber_spec){0}));
    struct task *after = run_with_grace(ON_CONFLICT_ENQUEUE, 0); /* nobody has left this one */
    clock_fake_advance(5000);
    assert_int_equal(task_check_idle(after), 5000);
    assert_int_equal(task_check_idle(queued), 0);
    assert_int_equal(task_check_idle(later), 0);
    assert_int_equal(unit_status(queued), TASK_CANCELLED);
    assert_int_equal(unit_status(later), TASK_CANCELLED);
    assert_int_equal(unit_status(after), TASK_PENDING);
    assert_int_equal(unit_status(current), TASK_RUNNING);
    unit_task_release(queued);
    unit_task_release(later);
    finish(current);
    finish(after);
}

static void subscribers_keep_a_run_from_being_idle(void **state) {
    (void)state;
    struct task *task =
        unit_task(&bench.driver, session, (struct task_options){.cancel_after_idle_ms = 1000});
    assert_int_equal(unit_register(task), REGISTER_OK);
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    clock_fake_advance(5000);
    assert_int_equal(task_check_idle(task), 1000);
    bench_release(sink);
    assert_int_equal(task_check_idle(task), 1000);
    clock_fake_advance(1000);
    assert_int_equal(task_check_idle(task), 0);
    assert_int_equal(unit_status(task), TASK_CANCELLED);
    unit_task_release(task);
}

static void subscribers_keep_a_session_from_being_cleaned_up(void **state) {
    (void)state;
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    clock_fake_advance(1800000);
    assert_int_equal(broadcaster_clean_up(bench.broadcaster), 0);
    bench_release(sink);
    assert_int_equal(broadcaster_clean_up(bench.broadcaster), 0); /* its leaving was a use */
    clock_fake_advance(1800000);
    assert_int_equal(broadcaster_clean_up(bench.broadcaster), 1);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(subscribers_of_a_closed_session_are_told_and_ended),
        TEST(subscribers_that_are_slow_still_get_all_of_a_closed_session),
        TEST(subscribers_are_told_of_the_drain_and_end_with_their_runs),
        TEST(subscribers_are_told_of_the_drain_however_early_their_worker_writes),
        TEST(subscribers_are_told_nothing_after_the_end_of_their_session),
        TEST(subscribers_that_expect_something_now_are_complete_where_nothing_is),
        TEST(subscribers_beyond_the_limits_are_refused),
        TEST(subscriber_that_leaves_ends_no_run),
        TEST(subscriber_that_leaves_last_ends_a_run_that_asked_for_it),
        TEST(subscriber_that_leaves_before_it_was_connected_counts_as_well),
        TEST(subscriber_of_another_run_that_leaves_ends_no_run),
        TEST(subscriber_whose_stream_ends_has_not_left),
        TEST(stream_and_its_connection_end_together),
        TEST(run_is_cancelled_once_nobody_has_come_back_for_so_long),
        TEST(client_that_comes_back_in_time_keeps_its_run),
        TEST(runs_that_wait_are_cancelled_after_the_grace_too),
        TEST(subscribers_keep_a_run_from_being_idle),
        TEST(subscribers_keep_a_session_from_being_cleaned_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
