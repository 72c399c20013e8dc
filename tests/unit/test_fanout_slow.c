/* broadcaster/fanout: what slow and stalled subscribers get, and that nobody else feels it. */
#include "base/metrics.h"
#include "tests/support/unit_fanout.h"

/* ---- slow ones ----------------------------------------------------------------------------------- */

static void check_trickle(struct fake_sink *sink, size_t step) {
    sink->room = step;
    for (int i = 0; i < 30; i += 10) {
        publish_numbers(i, i + 10);
        bench_turn(&bench);
    }
    while (sink->waiting)
        fake_sink_open(sink, step);
    assert_says_numbers(sink, 30);
    publish_numbers(30, 31); /* it is one of the others again */
    sink->room = SIZE_MAX / 2;
    bench_turn(&bench);
    assert_says_numbers(sink, 31);
}

static void fanout_loses_and_doubles_nothing_whatever_a_sink_takes_at_once(void **state) {
    (void)state;
    for (size_t step = 1; step < 120; step += step < 60 ? 1 : 7) {
        for (int apart = 0; apart < 2; apart++) {
            struct fake_sink *sink = apart != 0 ? subscribe_apart() : subscribe();
            check_trickle(sink, step);
            bench_release(sink);
            unit_complete(task);
            unit_task_release(task);
            task = unit_run(&bench.driver, session);
        }
    }
}

static void fanout_lets_nobody_feel_a_slow_one(void **state) {
    (void)state;
    struct fake_sink *slow = subscribe(), *quick = subscribe();
    slow->room = 5;
    publish_numbers(0, 10);
    bench_turn(&bench);
    assert_says_numbers(quick, 10);
    publish_numbers(10, 20);
    bench_turn(&bench);
    assert_says_numbers(quick, 20);
    assert_true(slow->waiting);
    fake_sink_open(slow, SIZE_MAX / 2);
    assert_says_numbers(slow, 20);
    assert_false(slow->waiting);
    bench_release(slow);
    bench_release(quick);
}

/* The gap at `index` begins behind the event at `after`. */
static void assert_gap_begins(const struct fake_sink *sink, size_t index, size_t after) {
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), true);
    char expected[EVENT_ID_SIZE + 16], id[EVENT_ID_SIZE];
    event_id_format(stream.events[after].id, id);
    snprintf(expected, sizeof(expected), "{\"from\":\"%s\"", id);
    assert_string_equal(stream.events[index].type, "gap");
    assert_int_equal(strncmp(stream.events[index].data, expected, strlen(expected)), 0);
    stream_finish(&stream);
}

static void fanout_tells_a_slow_one_that_fell_out_of_the_log_a_gap(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 5);
    struct fake_sink *slow = subscribe(), *quick = subscribe();
    size_t before = slow->taken.length;
    slow->room = 20; /* the middle of the first event */
    for (int i = 0; i < 20; i += 5) {
        publish_numbers(i, i + 5);
        bench_turn(&bench);
    }
    assert_int_equal(slow->taken.length - before, 20);
    fake_sink_open(slow, SIZE_MAX / 2);
    /* The event that had been begun is whole. */
    ASSERT_SINK_SAYS(slow, "run.start 0 gap 15 16 17 18 19");
    assert_gap_begins(slow, 2, 1);
    assert_says_numbers(quick, 20);
    bench_release(slow);
    bench_release(quick);
}

static void fanout_tells_one_gap_after_the_other(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    struct fake_sink *slow = subscribe();
    slow->room = 0;
    publish_numbers(0, 5);
    bench_turn(&bench);
    fake_sink_open(slow, 10); /* the beginning of the gap */
    publish_numbers(5, 10);
    bench_turn(&bench);
    fake_sink_open(slow, SIZE_MAX / 2);
    ASSERT_SINK_SAYS(slow, "run.start gap gap 8 9");
    assert_gap_begins(slow, 2, 1);
    bench_release(slow);
}

/* What a stream says that lost the first `lost` of `count` numbers that came in one turn. */
static void assert_says_gap_and_numbers(const struct fake_sink *sink, const char *before, int lost,
                                        int count) {
    static char expected[65536];
    int length = snprintf(expected, sizeof(expected), "%sgap", before);
    for (int i = lost; i < count; i++)
        length += snprintf(expected + length, sizeof(expected) - (size_t)length, " %d", i);
    ASSERT_SINK_SAYS(sink, expected);
}

static void take_turns(int turns) {
    for (int i = 0; i < turns; i++)
        bench_turn(&bench);
}

static void fanout_writes_a_burst_before_it_is_trimmed(void **state) {
    (void)state;
    struct broadcaster_stats stats;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 3);
    struct fake_sink *one = subscribe(), *two = subscribe(), *apart = subscribe_apart();
    publish_numbers(0, 10);
    assert_true(task_is_ahead(task));
    bench_turn(&bench);
    assert_false(task_is_ahead(task));
    assert_says_numbers(one, 10);
    assert_says_numbers(two, 10);
    assert_says_numbers(apart, 10);
    broadcaster_get_stats(bench.broadcaster, &stats);
    assert_int_equal(stats.log_events, 3);
    bench_release(one);
    bench_release(two);
    bench_release(apart);
    publish_numbers(10, 20); /* nobody listens: nothing is kept for anybody */
    broadcaster_get_stats(bench.broadcaster, &stats);
    assert_int_equal(stats.log_events, 3);
    assert_false(task_is_ahead(task));
}

static void fanout_tells_all_a_gap_if_a_burst_is_over_every_bound(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 3);
    struct fake_sink *one = subscribe(), *apart = subscribe_apart();
    int kept = 3 + EVENT_LOG_BURST_MAX;
    publish_numbers(0, kept + 7);
    take_turns(8);
    assert_says_gap_and_numbers(one, "run.start ", 7, kept + 7);
    assert_says_gap_and_numbers(apart, "run.start ", 7, kept + 7);
    bench_release(one);
    bench_release(apart);
}

/* They are served together, but one of them has not seen anything yet. */
static void fanout_tells_each_where_its_own_gap_begins(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    struct fake_sink *fresh =
        bench_subscribe(&bench, session, (struct subscriber_spec){.from = SUBSCRIBE_FROM_NOW});
    struct fake_sink *reader = subscribe();
    int kept = 2 + EVENT_LOG_BURST_MAX;
    publish_numbers(0, kept + 3);
    take_turns(8);
    assert_says_gap_and_numbers(fresh, "", 3, kept + 3);
    assert_says_gap_and_numbers(reader, "run.start ", 3, kept + 3);
    assert_gap_begins(reader, 1, 0);
    bench_release(fresh);
    bench_release(reader);
}

static void fanout_closes_one_that_takes_no_byte_for_its_time(void **state) {
    (void)state;
    struct fake_sink *stalled = subscribe(), *quick = subscribe(), *silent = subscribe();
    stalled->room = 3;
    publish_numbers(0, 1);
    bench_turn(&bench);
    silent->room = 0; /* nothing is written to it, so nothing is refused */
    atomic_store(&bench.settings.heartbeat_ms, 3600000);
    clock_fake_advance(29999);
    fanout_tick(bench.fanout);
    assert_false(stalled->closed);
    clock_fake_advance(1);
    fanout_tick(bench.fanout);
    assert_true(stalled->closed && stalled->aborted);
    assert_false(quick->closed || silent->closed);
    bench_release(stalled);
    bench_release(quick);
    bench_release(silent);
}

/* A socket says that it is writable only when a third of its buffer is free; it takes bytes long before that.
 */
static void fanout_closes_none_that_would_take_bytes_unasked(void **state) {
    (void)state;
    struct fake_sink *slow = subscribe();
    slow->room = 3;
    publish_numbers(0, 1);
    bench_turn(&bench);
    for (int i = 0; i < 3; i++) {
        slow->room = 5;
        clock_fake_advance(30000);
        fanout_tick(bench.fanout);
        assert_false(slow->closed);
        assert_int_equal(slow->room, 0);
    }
    clock_fake_advance(30000);
    fanout_tick(bench.fanout);
    assert_true(slow->closed && slow->aborted);
    bench_release(slow);
}

static void fanout_gives_the_kernel_more_time_than_itself(void **state) {
    (void)state;
    int64_t before_ms = fanout_peer_timeout_ms(bench.fanout);
    assert_true(before_ms > 30000 + 2 * fanout_tick_ms(bench.fanout));
    atomic_store(&bench.settings.stall_timeout_ms, 50000); /* as a reload does */
    assert_int_equal(fanout_peer_timeout_ms(bench.fanout), before_ms + 20000);
}

/* A sink that stopped exactly between two events was closed although it took bytes. */
static void fanout_closes_none_that_takes_a_little_in_its_time(void **state) {
    (void)state;
    atomic_store(&bench.settings.heartbeat_ms, 3600000);
    struct fake_sink *sink = subscribe();
    publish_numbers(0, 10);
    bench_turn(&bench);
    sink->room = 0;
    publish_numbers(10, 60);
    bench_turn(&bench);
    assert_true(sink->waiting);
    for (int i = 0; i < 20; i++) {
        clock_fake_advance(29000);
        fanout_tick(bench.fanout);
        assert_false(sink->closed);
        fake_sink_open(sink, strlen("2A\r\ndata: 99\nid: 1700000000000-99\n\n\r\n"));
    }
    clock_fake_advance(30000);
    fanout_tick(bench.fanout);
    assert_true(sink->closed);
    bench_release(sink);
}

static void publish_large(void) {
    static char large[8193];
    memset(large, 'x', sizeof(large) - 1);
    assert_true(unit_publish(task, large));
    bench_turn(&bench);
}

/* One that has `room` for the beginning of an event that leaves its log. */
static struct fake_sink *subscribe_within_a_trimmed_event(size_t room) {
    struct fake_sink *sink = subscribe();
    sink->room = room;
    publish_large();
    assert_true(sink->waiting);
    publish_numbers(0, (int)atomic_load(&broadcaster_limits(bench.broadcaster)->log_events_max));
    return sink;
}

/* Memory is short only once there is nothing else to trim. */
static void fanout_closes_one_that_keeps_what_left_its_log_while_memory_is_short(void **state) {
    (void)state;
    uint64_t closed = metrics_get(METRIC_MEMORY_SUBSCRIBERS_CLOSED);
    struct fake_sink *slow = subscribe_within_a_trimmed_event(600);
    bench_pass(&bench, 5000);
    assert_false(slow->closed);
    (void)broadcaster_cap_logs(bench.broadcaster, 1 << 20);
    for (int i = 0; i < 4; i++) { /* it takes a little again and again */
        assert_false(slow->closed);
        fake_sink_open(slow, 10);
        bench_pass(&bench, 499);
    }
    bench_pass(&bench, 1000);
    assert_true(slow->closed && slow->aborted);
    assert_int_equal(metrics_get(METRIC_MEMORY_SUBSCRIBERS_CLOSED) - closed, 1);
    bench_release(slow);
}

static void fanout_closes_none_for_memory_that_takes_its_event_or_whose_log_has_it(void **state) {
    (void)state;
    struct fake_sink *quick = subscribe_within_a_trimmed_event(600);
    (void)broadcaster_cap_logs(bench.broadcaster, 1 << 20);
    bench_pass(&bench, 1000);
    fake_sink_open(quick, 65536);
    struct fake_sink *late = subscribe();
    bench_pass(&bench, 100);
    late->room = 600;
    publish_large();
    assert_true(late->waiting);
    bench_pass(&bench, 10000);
    assert_false(quick->closed || late->closed);
    bench_release(quick);
    bench_release(late);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(fanout_loses_and_doubles_nothing_whatever_a_sink_takes_at_once),
        TEST(fanout_lets_nobody_feel_a_slow_one),
        TEST(fanout_tells_a_slow_one_that_fell_out_of_the_log_a_gap),
        TEST(fanout_tells_one_gap_after_the_other),
        TEST(fanout_writes_a_burst_before_it_is_trimmed),
        TEST(fanout_tells_all_a_gap_if_a_burst_is_over_every_bound),
        TEST(fanout_tells_each_where_its_own_gap_begins),
        TEST(fanout_closes_one_that_takes_no_byte_for_its_time),
        TEST(fanout_closes_none_that_would_take_bytes_unasked),
        TEST(fanout_gives_the_kernel_more_time_than_itself),
        TEST(fanout_closes_none_that_takes_a_little_in_its_time),
        TEST(fanout_closes_one_that_keeps_what_left_its_log_while_memory_is_short),
        TEST(fanout_closes_none_for_memory_that_takes_its_event_or_whose_log_has_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
