/* broadcaster/subscriber: the stream of one run, the agent's framing, and HTTP/1.0. */
#include "tests/support/unit_subscriber.h"

/* ---- one run only -------------------------------------------------------------------------------- */

static void subscriber_of_a_run_sees_only_that_run(void **state) {
    (void)state;
    struct task *one = run();
    unit_publish(one, "1");
    struct task *two = run();
    struct fake_sink *sink_one = subscribe((struct subscriber_spec){.run = one});
    struct fake_sink *sink_two = subscribe((struct subscriber_spec){.run = two});
    unit_publish(two, "2");
    struct task *three = run();
    unit_publish(three, "3");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink_one, "run.start 1 end:replaced");
    ASSERT_SINK_SAYS(sink_two, "run.start 2 end:replaced");
    assert_ended(sink_one);
    assert_ended(sink_two);
    bench_release(sink_one);
    bench_release(sink_two);
    unit_task_release(one);
    unit_task_release(two);
    finish(three);
}

static void subscriber_of_a_run_that_waits_sees_it_when_its_turn_has_come(void **state) {
    (void)state;
    struct task *one = run(), *two = enqueue();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = two});
    unit_publish(one, "1");
    finish(one);
    unit_publish(two, "2");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 2");
    finish(two);
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "run.start 2 end:completed");
    assert_ended(sink);
    bench_release(sink);
}

static void subscriber_of_a_run_that_was_cancelled_while_it_waited_sees_that(void **state) {
    (void)state;
    struct task *one = run(), *two = enqueue();
    struct fake_sink *before = subscribe((struct subscriber_spec){.run = two});
    task_cancel(two, REASON_REQUESTED);
    bench_turn(&bench);
    struct fake_sink *after = subscribe((struct subscriber_spec){.run = two});
    ASSERT_SINK_SAYS(before, "end:cancelled");
    ASSERT_SINK_SAYS(after, "end:cancelled");
    assert_ended(before);
    assert_ended(after);
    bench_release(before);
    bench_release(after);
    finish(one);
    unit_task_release(two);
}

static void subscriber_of_an_ended_run_ends_wherever_it_begins(void **state) {
    (void)state;
    struct task *task = run();
    unit_publish(task, "1");
    unit_complete(task);
    static const enum subscriber_from from[] = {SUBSCRIBE_FROM_START, SUBSCRIBE_FROM_RUN, SUBSCRIBE_FROM_NOW};
    for (size_t i = 0; i < 3; i++) {
        struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task, .from = from[i]});
        ASSERT_SINK_SAYS(sink, i < 2 ? "run.start 1 end:completed" : "");
        assert_ended(sink);
        bench_release(sink);
    }
    unit_task_release(task);
}

static void subscriber_of_a_run_is_not_told_of_losses_before_it(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 4);
    for (int i = 0; i < 5; i++)
        finish(run());
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task, .from = SUBSCRIBE_FROM_START});
    ASSERT_SINK_SAYS(sink, "run.start");
    bench_release(sink);
    for (int i = 0; i < 5; i++)
        unit_publish(task, "x");
    sink = subscribe((struct subscriber_spec){.run = task, .from = SUBSCRIBE_FROM_START});
    ASSERT_SINK_SAYS(sink, "gap x x x x");
    bench_release(sink);
    finish(task);
}

static void subscriber_of_a_run_that_is_no_longer_retained_is_refused(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    struct task *task = run();
    unit_complete(task);
    assert_int_equal(prepare((struct subscriber_spec){.run = task}), SUBSCRIBER_OK);
    finish(run());
    finish(run());
    assert_int_equal(prepare((struct subscriber_spec){.run = task}), SUBSCRIBER_GONE);
    /* But who has seen its end knows all there was to know. */
    struct task_info info;
    task_get_info(task, &info);
    struct subscriber_spec again = {.run = task, .resume = true, .last_id = info.end_id};
    assert_int_equal(prepare(again), SUBSCRIBER_COMPLETE);
    unit_task_release(task);
}

/* What belongs to other runs lies between, and is passed over wherever the writing stopped. */
static void subscriber_of_a_run_misses_nothing_whatever_its_sink_takes_at_once(void **state) {
    (void)state;
    for (size_t step = 1; step < 100; step += 3) {
        struct task *task = run();
        struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task});
        sink->room = step;
        char text[32];
        for (int i = 0; i < 5; i++) {
            snprintf(text, sizeof(text), "%d", i);
            unit_publish(task, text);
            struct task *other = enqueue();
            task_cancel(other, REASON_REQUESTED);
            unit_task_release(other);
        }
        unit_complete(task);
        bench_turn(&bench);
        while (!sink->closed)
            fake_sink_open(sink, step);
        ASSERT_SINK_SAYS(sink, "run.start 0 1 2 3 4 end:completed");
        assert_ended(sink);
        bench_release(sink);
        unit_task_release(task);
    }
}

/* ---- the agent's framing ------------------------------------------------------------------------- */

static const struct task_outcome told = {.is_told = true}, untold = {.is_told = false};

static void assert_agent_stream(enum task_status status, enum task_reason reason,
                                const struct task_outcome *outcome, const char *message,
                                const char *expected) {
    struct task *task = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task, .agent_framing = true});
    unit_publish(task, "1");
    bench_turn(&bench);
    unit_publish(task, "2");
    task_note_outcome(task, outcome);
    assert_true(task_end(task, status, reason, 500, message));
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, expected);
    assert_ended(sink);
    bench_release(sink);
    unit_task_release(task);
}

static void subscriber_in_the_agents_framing_sees_the_agents_events_alone(void **state) {
    (void)state;
    assert_agent_stream(TASK_COMPLETED, REASON_NONE, &untold, NULL, "1 2");
    /* The agent has told this one itself: "2" is its error. */
    assert_agent_stream(TASK_FAILED, REASON_UPSTREAM_ERROR, &told, "boom", "1 2");
}

static void subscriber_in_the_agents_framing_is_told_a_bad_end_as_an_error(void **state) {
    (void)state;
    assert_agent_stream(TASK_FAILED, REASON_UPSTREAM_TRUNCATED, &untold, "cut \"off\"",
                        "1 2 {\"error\":\"run failed: upstream_truncated: cut 'off'\"}");
    /* It said so in text that is no event. */
    assert_agent_stream(TASK_FAILED, REASON_UPSTREAM_ERROR, &untold, "boom",
                        "1 2 {\"error\":\"run failed: upstream_error: boom\"}");
    /* Another end came before the one that it told. */
    assert_agent_stream(TASK_TIMEOUT, REASON_RUN_TIME, &told, NULL,
                        "1 2 {\"error\":\"run timeout: run_time\"}");
    assert_agent_stream(TASK_CANCELLED, REASON_REQUESTED, &untold, NULL,
                        "1 2 {\"error\":\"run cancelled: requested\"}");
}

static void subscriber_in_the_agents_framing_is_told_that_it_was_replaced(void **state) {
    (void)state;
    struct task *old = run();
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = old, .agent_framing = true});
    struct task *new = run();
    unit_publish(new, "new");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(sink, "{\"error\":\"run replaced\"}");
    assert_ended(sink);
    bench_release(sink);
    unit_task_release(old);
    finish(new);
}

static void subscriber_in_the_agents_framing_is_told_a_loss_as_an_error(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    struct task *task = run();
    unit_publish(task, "1");
    unit_publish(task, "2");
    struct fake_sink *sink = subscribe((struct subscriber_spec){.run = task, .agent_framing = true});
    ASSERT_SINK_SAYS(sink, "{\"error\":\"Some events are no longer retained and were lost.\"} 1 2");
    bench_release(sink);
    finish(task);
}

static void publish_named(struct task *task, const char *type, const char *data) {
    struct frame *frame = lifecycle_make_agent_event(task->serial, type, strlen(type), data, strlen(data));
    assert_true(task_publish(task, frame));
}

static size_t count_of(const char *text, const char *word) {
    size_t count = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        count++;
    return count;
}

/* Nothing of the gateway's is in that stream, so nothing can be taken for it. */
static void
subscriber_in_the_agents_framing_gets_each_event_under_the_name_that_the_agent_gave_it(void **state) {
    (void)state;
    for (size_t step = 1; step < 200; step += 7) {
        struct task *task = run();
        struct fake_sink *agents = subscribe((struct subscriber_spec){.run = task, .agent_framing = true});
        struct fake_sink *native = subscribe((struct subscriber_spec){.run = task});
        agents->room = native->room = step;
        publish_named(task, "tool", "1");
        publish_named(task, "run.end", "2\n3");
        publish_named(task, "gap", "4");
        unit_complete(task);
        bench_turn(&bench);
        while (!agents->closed)
            fake_sink_open(agents, step);
        while (!native->closed)
            fake_sink_open(native, step);
        ASSERT_SINK_SAYS(agents, "tool run.end gap");
        assert_int_equal(count_of(fake_sink_text(agents), "event: gap\ndata: 4\nid: "), 1);
        assert_int_equal(count_of(fake_sink_text(agents), "event: run.end\ndata: 2\ndata: 3\nid: "), 1);
        assert_int_equal(count_of(fake_sink_text(agents), "upstream."), 0);
        assert_int_equal(count_of(fake_sink_text(native), "event: upstream.gap\ndata: 4\nid: "), 1);
        assert_int_equal(count_of(fake_sink_text(native), "event: run.end\n"), 1);
        assert_ended(agents);
        assert_ended(native);
        bench_release(agents);
        bench_release(native);
        unit_task_release(task);
    }
}

/* ---- HTTP/1.0 ------------------------------------------------------------------------------------ */

static void subscriber_of_http_1_0_gets_bare_text(void **state) {
    (void)state;
    struct task *task = run();
    struct subscriber *subscriber = NULL;
    struct subscriber_spec spec = {.until_run = true};
    struct fake_sink *sink = fake_sink_create();
    assert_int_equal(subscriber_prepare(session, &spec, &subscriber), SUBSCRIBER_OK);
    subscriber_connect(subscriber, bench.fanout, &sink->sink, false);
    unit_publish(task, "1\n2");
    bench_turn(&bench);
    bench_pass(&bench, 15000); /* a heartbeat, bare too */
    finish(task);
    bench_turn(&bench);
    assert_true(sink->closed && !sink->aborted);
    struct stream stream;
    stream_read(&stream, fake_sink_text(sink), false);
    stream_assert_says(&stream, "run.start 1\n2 end:completed");
    assert_true(stream.comments >= 1);
    stream_finish(&stream);
    bench_release(sink);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(subscriber_of_a_run_sees_only_that_run),
        TEST(subscriber_of_a_run_that_waits_sees_it_when_its_turn_has_come),
        TEST(subscriber_of_a_run_that_was_cancelled_while_it_waited_sees_that),
        TEST(subscriber_of_an_ended_run_ends_wherever_it_begins),
        TEST(subscriber_of_a_run_is_not_told_of_losses_before_it),
        TEST(subscriber_of_a_run_that_is_no_longer_retained_is_refused),
        TEST(subscriber_of_a_run_misses_nothing_whatever_its_sink_takes_at_once),
        TEST(subscriber_in_the_agents_framing_sees_the_agents_events_alone),
        TEST(subscriber_in_the_agents_framing_is_told_a_bad_end_as_an_error),
        TEST(subscriber_in_the_agents_framing_is_told_that_it_was_replaced),
        TEST(subscriber_in_the_agents_framing_is_told_a_loss_as_an_error),
        TEST(subscriber_in_the_agents_framing_gets_each_event_under_the_name_that_the_agent_gave_it),
        TEST(subscriber_of_http_1_0_gets_bare_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
