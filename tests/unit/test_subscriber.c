/* broadcaster/subscriber: where a subscriber begins, where it resumes, and until when it reads. */
#include "tests/support/unit_subscriber.h"

#include <cjson/cJSON.h>

/* ---- where it begins ----------------------------------------------------------------------------- */

static void subscriber_begins_with_the_newest_run(void **state) {
    (void)state;
    finish(run());
    struct task *task = run();
    unit_publish(task, "1");
    struct fake_sink *sink = subscribe((struct subscriber_spec){.from = SUBSCRIBE_FROM_RUN});
    ASSERT_SINK_SAYS(sink, "run.start 1");
    unit_publish(task, "2");
    finish(task);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 1 2 end:completed");
    finish(run()); /* it stays open across runs */
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 1 2 end:completed run.start end:completed");
    assert_false(sink->closed);
    bench_release(sink);
}

static void subscriber_begins_with_the_newest_run_though_it_has_ended(void **state) {
    (void)state;
    finish(run());
    struct fake_sink *sink = subscribe((struct subscriber_spec){.from = SUBSCRIBE_FROM_RUN});
    ASSERT_SINK_SAYS(sink, "run.start end:completed");
    bench_release(sink);
}

static void subscriber_begins_with_all_that_is_retained(void **state) {
    (void)state;
    finish(run());
    finish(run());
    struct fake_sink *sink = subscribe((struct subscriber_spec){.from = SUBSCRIBE_FROM_START});
    ASSERT_SINK_SAYS(sink, "run.start end:completed run.start end:completed");
    bench_release(sink);
}

static void subscriber_begins_with_what_comes(void **state) {
    (void)state;
    struct task *task = run();
    unit_publish(task, "1");
    struct fake_sink *sink = subscribe((struct subscriber_spec){.from = SUBSCRIBE_FROM_NOW});
    unit_publish(task, "2");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "2");
    bench_release(sink);
    finish(task);
}

static void subscriber_of_a_session_without_runs_waits(void **state) {
    (void)state;
    struct fake_sink *sink = subscribe((struct subscriber_spec){0});
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "");
    finish(run());
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start end:completed");
    bench_release(sink);
}

static void subscriber_misses_nothing_between_being_prepared_and_connected(void **state) {
    (void)state;
    struct task *task = run();
    struct subscriber *subscriber = NULL;
    struct subscriber_spec spec = {.from = SUBSCRIBE_FROM_NOW};
    assert_int_equal(subscriber_prepare(session, &spec, &subscriber), SUBSCRIBER_OK);
    unit_publish(task, "1");
    struct fake_sink *sink = fake_sink_create();
    subscriber_connect(subscriber, bench.fanout, &sink->sink, true);
    unit_publish(task, "2");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "1 2");
    bench_release(sink);
    finish(task);
}

/* ---- resume -------------------------------------------------------------------------------------- */

static void subscriber_resumes_at_every_id_without_a_seam(void **state) {
    (void)state;
    char text[16];
    for (int i = 0; i < 3; i++) {
        struct task *task = run();
        for (int k = 0; k < 20; k++) {
            snprintf(text, sizeof(text), "%d.%d", i, k);
            unit_publish(task, text);
            if (k == 10)
                clock_fake_advance(3);
        }
        finish(task);
    }
    struct fake_sink *whole = subscribe((struct subscriber_spec){.from = SUBSCRIBE_FROM_START});
    struct stream stream;
    stream_read(&stream, fake_sink_text(whole), true);
    assert_int_equal(stream.count, 66);
    for (size_t i = 0; i < stream.count; i++) {
        struct fake_sink *sink =
            subscribe((struct subscriber_spec){.resume = true, .last_id = stream.events[i].id});
        struct stream rest = {.events = stream.events + i + 1, .count = stream.count - i - 1}, got;
        stream_read(&got, fake_sink_text(sink), true);
        assert_int_equal(got.count, rest.count);
        for (size_t k = 0; k < rest.count; k++) {
            assert_int_equal(event_id_compare(got.events[k].id, rest.events[k].id), 0);
            assert_string_equal(got.events[k].data, rest.events[k].data);
        }
        stream_finish(&got);
        bench_release(sink);
    }
    stream_finish(&stream);
    bench_release(whole);
}

static void assert_gap(const struct stream_event *event, const char *from, const char *to,
                       const char *reason) {
    assert_string_equal(event->type, "gap");
    char id[EVENT_ID_SIZE];
    event_id_format(event->id, id);
    assert_string_equal(id, to); /* so that a resume behind the gap is exact */
    cJSON *json = cJSON_Parse(event->data);
    assert_non_null(json);
    const cJSON *from_item = cJSON_GetObjectItem(json, "from");
    if (from == NULL)
        assert_true(cJSON_IsNull(from_item));
    else
        assert_string_equal(cJSON_GetStringValue(from_item), from);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "to")), to);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "reason")), reason);
    cJSON_Delete(json);
}

/* Resumes at `last` and asserts that a gap comes first, then all that is retained from `expected` on. */
static struct event_id assert_resumes_with_gap(const char *last, const char *to, const char *reason,
                                               const char *expected) {
    struct subscriber_spec spec = {.resume = true};
    assert_true(event_id_parse(last, &spec.last_id));
    struct fake_sink *sink = subscribe(spec);
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), true);
    assert_true(stream.count > 0);
    assert_gap(&stream.events[0], last, to, reason);
    stream_assert_says(&stream, expected);
    struct event_id gap = stream.events[0].id;
    stream_finish(&stream);
    bench_release(sink);
    return gap;
}

static void subscriber_that_resumes_behind_what_was_trimmed_is_told_a_gap(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 3);
    struct task *task = run();
    for (const char *text = "1"; text != NULL; text = text[0] == '1' ? "2" : text[0] == '2' ? "3" : NULL)
        unit_publish(task, text);
    unit_publish(task, "4"); /* ids 1700000000000-1 to -5 of which -3 to -5 are retained */
    struct event_id gap =
        assert_resumes_with_gap("1700000000000-1", "1700000000000-2", "trimmed", "gap 2 3 4");
    struct fake_sink *sink = subscribe((struct subscriber_spec){.resume = true, .last_id = gap});
    ASSERT_SINK_SAYS(sink, "2 3 4"); /* the same client again: no second gap */
    bench_release(sink);
    finish(task);
}

static void subscriber_that_resumes_at_an_unknown_id_is_told_a_gap(void **state) {
    (void)state;
    struct task *task = run();
    unit_publish(task, "1");
    clock_fake_advance(100);
    unit_publish(task, "2");
    const char *began = "1700000000000-0";
    assert_resumes_with_gap("5-5", began, "trimmed", "gap run.start 1 2");
    assert_resumes_with_gap("1700000000050-0", "1700000000050-0", "unknown_id", "gap 2");
    assert_resumes_with_gap("1800000000000-0", began, "unknown_id", "gap run.start 1 2");
    finish(task);
}

static void subscriber_from_the_start_is_told_what_it_can_no_longer_see(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    struct task *task = run();
    unit_publish(task, "1");
    unit_publish(task, "2");
    for (int i = 0; i < 2; i++) {
        struct fake_sink *sink =
            subscribe((struct subscriber_spec){.from = i == 0 ? SUBSCRIBE_FROM_START : SUBSCRIBE_FROM_RUN});
        struct stream stream;
        stream_read(&stream, fake_sink_text(sink), true);
        stream_assert_says(&stream, "gap 1 2");
        assert_gap(&stream.events[0], NULL, "1700000000000-1", "trimmed");
        stream_finish(&stream);
        bench_release(sink);
    }
    finish(task);
}

/* ---- until=run ----------------------------------------------------------------------------------- */

static void subscriber_until_run_ends_after_its_end(void **state) {
    (void)state;
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.until_run = true});
    unit_publish(task, "1");
    bench_turn(&bench);
    assert_false(sink->closed);
    finish(task);
    finish(run()); /* in the same turn: not told any more? it is: the newest run's end is what it waits for */
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 1 end:completed run.start end:completed");
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_until_run_ends_at_once_if_the_run_has_ended(void **state) {
    (void)state;
    finish(run());
    struct fake_sink *sink = subscribe((struct subscriber_spec){.until_run = true});
    ASSERT_SINK_SAYS(sink, "run.start end:completed");
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_until_run_is_not_ended_by_a_swap(void **state) {
    (void)state;
    struct task *old = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.until_run = true});
    struct task *new = run();
    bench_turn(&bench);
    assert_false(sink->closed);
    finish(new);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start end:replaced run.start end:completed");
    assert_ended(sink);
    bench_release(sink);
    unit_task_release(old);
}

static void subscriber_until_run_is_not_ended_while_another_run_waits_its_turn(void **state) {
    (void)state;
    struct task *one = run(), *two = enqueue();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.until_run = true});
    finish(one);
    bench_turn(&bench);
    assert_false(sink->closed);
    finish(two);
    bench_turn(&bench);
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_until_run_waits_for_a_run_where_there_is_none(void **state) {
    (void)state;
    struct fake_sink *sink = subscribe((struct subscriber_spec){.until_run = true});
    bench_turn(&bench);
    assert_false(sink->closed);
    finish(run());
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start end:completed");
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_until_run_from_now_waits_for_the_next_run(void **state) {
    (void)state;
    finish(run());
    struct fake_sink *sink =
        subscribe((struct subscriber_spec){.until_run = true, .from = SUBSCRIBE_FROM_NOW});
    bench_turn(&bench);
    assert_false(sink->closed);
    finish(run());
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start end:completed");
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_that_has_seen_the_end_is_not_served_again(void **state) {
    (void)state;
    struct task *task = run();
    unit_complete(task);
    struct event_id end = end_of(task);
    assert_int_equal(prepare((struct subscriber_spec){.until_run = true, .resume = true, .last_id = end}),
                     SUBSCRIBER_COMPLETE);
    assert_int_equal(prepare((struct subscriber_spec){.run = task, .resume = true, .last_id = end}),
                     SUBSCRIBER_COMPLETE);
    /* Not so for a stream that goes on, one that began before, or one that waits for what comes. */
    assert_int_equal(prepare((struct subscriber_spec){.resume = true, .last_id = end}), SUBSCRIBER_OK);
    struct event_id before = {end.ms, end.n - 1};
    assert_int_equal(prepare((struct subscriber_spec){.until_run = true, .resume = true, .last_id = before}),
                     SUBSCRIBER_OK);
    assert_int_equal(prepare((struct subscriber_spec){.until_run = true}), SUBSCRIBER_OK);
    struct task *next = run();
    assert_int_equal(prepare((struct subscriber_spec){.until_run = true, .resume = true, .last_id = end}),
                     SUBSCRIBER_OK);
    assert_int_equal(prepare((struct subscriber_spec){.run = task, .resume = true, .last_id = end}),
                     SUBSCRIBER_COMPLETE);
    unit_task_release(task);
    finish(next);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(subscriber_begins_with_the_newest_run),
        TEST(subscriber_begins_with_the_newest_run_though_it_has_ended),
        TEST(subscriber_begins_with_all_that_is_retained),
        TEST(subscriber_begins_with_what_comes),
        TEST(subscriber_of_a_session_without_runs_waits),
        TEST(subscriber_misses_nothing_between_being_prepared_and_connected),
        TEST(subscriber_resumes_at_every_id_without_a_seam),
        TEST(subscriber_that_resumes_behind_what_was_trimmed_is_told_a_gap),
        TEST(subscriber_that_resumes_at_an_unknown_id_is_told_a_gap),
        TEST(subscriber_from_the_start_is_told_what_it_can_no_longer_see),
        TEST(subscriber_until_run_ends_after_its_end),
        TEST(subscriber_until_run_ends_at_once_if_the_run_has_ended),
        TEST(subscriber_until_run_is_not_ended_by_a_swap),
        TEST(subscriber_until_run_is_not_ended_while_another_run_waits_its_turn),
        TEST(subscriber_until_run_waits_for_a_run_where_there_is_none),
        TEST(subscriber_until_run_from_now_waits_for_the_next_run),
        TEST(subscriber_that_has_seen_the_end_is_not_served_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
