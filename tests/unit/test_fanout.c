/* broadcaster/fanout: serving many together, dead subscribers, silence, and the end. */
#include "tests/support/unit_fanout.h"

static size_t count_heartbeats(const struct fake_sink *sink) {
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), true);
    size_t count = stream.comments;
    stream_finish(&stream);
    return count;
}

static size_t count_retries(const struct fake_sink *sink) {
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), true);
    size_t count = stream.retries;
    stream_finish(&stream);
    return count;
}

/* ---- together ------------------------------------------------------------------------------------ */

static void fanout_sends_what_came_in_one_turn_in_one_go(void **state) {
    (void)state;
    struct fake_sink *one = subscribe(), *two = subscribe(), *apart = subscribe_apart();
    size_t before = one->sends;
    publish_numbers(0, 20);
    assert_true(fanout_is_dirty(bench.fanout));
    bench_turn(&bench);
    assert_false(fanout_is_dirty(bench.fanout));
    assert_int_equal(one->sends - before, 1);
    assert_says_numbers(one, 20);
    assert_says_numbers(two, 20);
    assert_says_numbers(apart, 20);
    bench_turn(&bench);
    assert_int_equal(one->sends - before, 1); /* nothing new, nothing sent */
    bench_release(one);
    bench_release(two);
    bench_release(apart);
}

static void fanout_tells_a_latecomer_of_the_same_turn_nothing_twice(void **state) {
    (void)state;
    struct fake_sink *early = subscribe();
    publish_numbers(0, 3);
    struct fake_sink *late = subscribe(); /* ahead of the early one, which is still to be served */
    publish_numbers(3, 5);
    bench_turn(&bench);
    publish_numbers(5, 7);
    bench_turn(&bench);
    assert_says_numbers(early, 7);
    assert_says_numbers(late, 7);
    size_t before = late->sends;
    publish_numbers(7, 9);
    bench_turn(&bench);
    assert_int_equal(late->sends - before, 1);
    assert_says_numbers(late, 9);
    bench_release(early);
    bench_release(late);
}

static void fanout_serves_sessions_apart(void **state) {
    (void)state;
    struct session *other = unit_session(bench.broadcaster, "app/user/other");
    struct fake_sink *here = subscribe();
    struct fake_sink *there = bench_subscribe(&bench, other, (struct subscriber_spec){0});
    publish_numbers(0, 2);
    bench_turn(&bench);
    assert_says_numbers(here, 2);
    ASSERT_SINK_SAYS(there, "");
    bench_release(here);
    bench_release(there);
    broadcaster_close_session(other, REASON_SESSION_DELETED);
    session_unref(other);
}

static void check_very_much(struct fake_sink *sink) {
    enum { COUNT = 4000 };
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 5000);
    publish_numbers(0, COUNT);
    bench_turn(&bench);
    assert_non_null(strstr(fake_sink_text(sink), "data: 0\n"));
    assert_null(strstr(fake_sink_text(sink), "data: 3999\n"));
    for (int turns = 0; turns < 10; turns++)
        bench_turn(&bench); /* it wakes the loop by itself */
    assert_says_numbers(sink, COUNT);
    bench_release(sink);
}

static void fanout_takes_several_turns_for_very_much(void **state) {
    (void)state;
    check_very_much(subscribe());
}

static void fanout_takes_several_turns_for_very_much_for_one_apart(void **state) {
    (void)state;
    check_very_much(subscribe_apart());
}

/* ---- dead ones ----------------------------------------------------------------------------------- */

/* The watch was freed in the middle of its flush. */
static void fanout_survives_the_death_of_the_only_subscriber(void **state) {
    (void)state;
    for (int apart = 0; apart < 2; apart++) {
        struct fake_sink *dead = apart != 0 ? subscribe_apart() : subscribe();
        dead->error = -EPIPE;
        publish_numbers(0, 1);
        bench_turn(&bench);
        assert_true(dead->closed && dead->aborted);
        assert_int_equal(fanout_count(bench.fanout), 0);
        assert_true(fanout_is_idle(bench.fanout));
        fake_sink_destroy(dead);
    }
}

static void fanout_goes_on_after_the_death_of_one_of_many(void **state) {
    (void)state;
    struct fake_sink *sinks[9];
    for (int i = 0; i < 9; i++)
        sinks[i] = i < 5 ? subscribe() : subscribe_apart();
    sinks[0]->error = sinks[2]->error = sinks[4]->error = sinks[5]->error = sinks[8]->error = -ECONNRESET;
    publish_numbers(0, 3);
    bench_turn(&bench);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(sinks[i]->closed, sinks[i]->error != 0);
        if (sinks[i]->error == 0)
            assert_says_numbers(sinks[i], 3);
        bench_release(sinks[i]);
    }
}

static void fanout_survives_one_that_dies_while_it_is_connected(void **state) {
    (void)state;
    struct fake_sink *dead = fake_sink_create();
    dead->error = -EPIPE;
    bench_connect(&bench, session, (struct subscriber_spec){0}, dead);
    assert_true(dead->closed);
    assert_true(fanout_is_idle(bench.fanout));
    fake_sink_destroy(dead);
}

static void fanout_survives_a_run_that_ends_with_its_dying_subscriber(void **state) {
    (void)state;
    struct task *own =
        unit_task(&bench.driver, session, (struct task_options){.on_disconnect = ON_DISCONNECT_CANCEL});
    assert_int_equal(unit_register(own), REGISTER_OK);
    struct fake_sink *dead = subscribe();
    dead->error = -EPIPE;
    assert_true(unit_publish(own, "x"));
    bench_turn(&bench); /* its death appends to the log that is being flushed */
    assert_int_equal(unit_status(own), TASK_CANCELLED);
    bench_turn(&bench);
    assert_true(fanout_is_idle(bench.fanout));
    fake_sink_destroy(dead);
    unit_task_release(own);
}

/* ---- silence ------------------------------------------------------------------------------------- */

static void fanout_breaks_the_silence_in_time(void **state) {
    (void)state;
    struct fake_sink *sinks[20];
    for (int i = 0; i < 20; i++)
        sinks[i] = subscribe();
    bench_pass(&bench, 11000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(count_heartbeats(sinks[i]), 0);
    bench_pass(&bench, 4500);
    for (int i = 0; i < 20; i++)
        assert_int_equal(count_heartbeats(sinks[i]), 1);
    bench_pass(&bench, 150000);
    for (int i = 0; i < 20; i++) {
        assert_in_range(count_heartbeats(sinks[i]), 10, 14);
        assert_says_numbers(sinks[i], 0);
        bench_release(sinks[i]);
    }
}

/* For pages whose scripts cannot see comments; nobody can go on after one, so it has no id. */
static void fanout_sends_events_for_heartbeats_to_those_that_ask_for_it(void **state) {
    (void)state;
    struct fake_sink *sink = bench_subscribe(&bench, session, (struct subscriber_spec){.pings = true});
    struct fake_sink *plain = subscribe();
    struct fake_sink *bare = fake_sink_create();
    struct subscriber *subscriber = NULL;
    assert_int_equal(subscriber_prepare(session, &(struct subscriber_spec){.pings = true}, &subscriber),
                     SUBSCRIBER_OK);
    subscriber_connect(subscriber, bench.fanout, &bare->sink, false);
    bench_pass(&bench, 16000);
    publish_numbers(0, 1);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start ping 0");
    ASSERT_SINK_SAYS(plain, "run.start 0");
    assert_int_equal(count_heartbeats(sink), 0);
    assert_int_equal(count_heartbeats(plain), 1);
    assert_non_null(strstr(fake_sink_text(bare), "\n\nevent: ping\ndata: {}\n\ndata: 0\n"));
    bench_release(sink);
    bench_release(plain);
    bench_release(bare);
}

static void fanout_sends_no_heartbeat_where_events_flow(void **state) {
    (void)state;
    struct fake_sink *sink = subscribe();
    for (int i = 0; i < 30; i++) {
        publish_numbers(i, i + 1);
        bench_turn(&bench);
        bench_pass(&bench, 5000);
    }
    assert_int_equal(count_heartbeats(sink), 0);
    assert_says_numbers(sink, 30);
    bench_release(sink);
}

static void fanout_never_sends_a_heartbeat_inside_an_event(void **state) {
    (void)state;
    atomic_store(&bench.settings.stall_timeout_ms, 3600000);
    struct fake_sink *sink = subscribe();
    sink->room = 17;
    publish_numbers(0, 1);
    bench_turn(&bench);
    assert_true(sink->waiting);
    size_t before = sink->taken.length;
    bench_pass(&bench, 60000);
    assert_int_equal(sink->taken.length, before);
    fake_sink_open(sink, SIZE_MAX / 2);
    assert_says_numbers(sink, 1);
    bench_pass(&bench, 30000);
    assert_true(count_heartbeats(sink) > 0); /* it was not forgotten */
    publish_numbers(1, 2);
    bench_turn(&bench);
    assert_says_numbers(sink, 2);
    bench_release(sink);
}

static void fanout_sends_heartbeats_though_the_loop_slept_for_hours(void **state) {
    (void)state;
    struct fake_sink *sink = subscribe();
    clock_fake_advance(7200000);
    fanout_tick(bench.fanout);
    bench_pass(&bench, 15500);
    assert_in_range(count_heartbeats(sink), 1, 3);
    bench_release(sink);
}

static void fanout_keeps_those_together_that_got_a_heartbeat(void **state) {
    (void)state;
    struct fake_sink *one = subscribe(), *two = subscribe();
    bench_pass(&bench, 40000);
    publish_numbers(0, 5);
    bench_turn(&bench);
    size_t before = one->sends;
    publish_numbers(5, 10);
    bench_turn(&bench);
    assert_int_equal(one->sends - before, 1);
    assert_says_numbers(one, 10);
    assert_says_numbers(two, 10);
    bench_release(one);
    bench_release(two);
}

/* ---- the end ------------------------------------------------------------------------------------- */

static void fanout_drain_tells_when_to_come_again_but_not_inside_an_event(void **state) {
    (void)state;
    struct fake_sink *quick = subscribe(), *slow = subscribe();
    slow->room = 9;
    publish_numbers(0, 1);
    bench_turn(&bench);
    broadcaster_drain(bench.broadcaster);
    bench_turn(&bench);
    fake_sink_open(slow, SIZE_MAX / 2);
    assert_int_equal(count_retries(quick), 1);
    assert_int_equal(count_retries(slow), 1); /* it was said when there was room */
    ASSERT_SINK_SAYS(quick, "run.start 0 server.drain");
    ASSERT_SINK_SAYS(slow, "run.start 0 server.drain");
    long retry_ms = strtol(strstr(fake_sink_text(quick), "retry: ") + 7, NULL, 10);
    assert_in_range(retry_ms, 2000, 6000);
    bench_release(quick);
    bench_release(slow);
}

static void fanout_abort_ends_everybody(void **state) {
    (void)state;
    struct fake_sink *sinks[70];
    for (int i = 0; i < 70; i++) {
        sinks[i] = i % 2 == 0 ? subscribe() : subscribe_apart();
        sinks[i]->room = i % 3 == 0 ? 10 : SIZE_MAX / 2;
        bench_pass(&bench, 500); /* all over the wheel */
    }
    publish_numbers(0, 1);
    fanout_abort(bench.fanout);
    assert_int_equal(fanout_count(bench.fanout), 0);
    assert_true(fanout_is_idle(bench.fanout));
    for (int i = 0; i < 70; i++) {
        assert_true(sinks[i]->aborted);
        fake_sink_destroy(sinks[i]);
    }
}

/* ---- what comes from elsewhere --------------------------------------------------------------------- */

static void fanout_is_not_idle_while_a_subscriber_is_on_its_way(void **state) {
    (void)state;
    assert_true(fanout_expect(bench.fanout));
    assert_true(fanout_expect(bench.fanout));
    fanout_received(bench.fanout);
    fanout_shut(bench.fanout);
    assert_false(fanout_is_idle(bench.fanout));
    assert_false(fanout_expect(bench.fanout));
    fanout_received(bench.fanout);
    assert_true(fanout_is_idle(bench.fanout));
    assert_false(fanout_expect(bench.fanout));
    assert_true(fanout_is_idle(bench.fanout));
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(fanout_sends_what_came_in_one_turn_in_one_go),
        TEST(fanout_tells_a_latecomer_of_the_same_turn_nothing_twice),
        TEST(fanout_serves_sessions_apart),
        TEST(fanout_takes_several_turns_for_very_much),
        TEST(fanout_takes_several_turns_for_very_much_for_one_apart),
        TEST(fanout_survives_the_death_of_the_only_subscriber),
        TEST(fanout_goes_on_after_the_death_of_one_of_many),
        TEST(fanout_survives_one_that_dies_while_it_is_connected),
        TEST(fanout_survives_a_run_that_ends_with_its_dying_subscriber),
        TEST(fanout_breaks_the_silence_in_time),
        TEST(fanout_sends_events_for_heartbeats_to_those_that_ask_for_it),
        TEST(fanout_sends_no_heartbeat_where_events_flow),
        TEST(fanout_never_sends_a_heartbeat_inside_an_event),
        TEST(fanout_sends_heartbeats_though_the_loop_slept_for_hours),
        TEST(fanout_keeps_those_together_that_got_a_heartbeat),
        TEST(fanout_drain_tells_when_to_come_again_but_not_inside_an_event),
        TEST(fanout_abort_ends_everybody),
        TEST(fanout_is_not_idle_while_a_subscriber_is_on_its_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
