/* broadcaster/subscriber: the agent's events alone, of a session or a run: its form of errors, and when all
 * was said. */
#include "tests/support/unit_subscriber.h"
#include "upstream/adapter.h"

static struct task *run_of(const struct adapter *adapter) {
    struct task *task =
        unit_task(&bench.driver, session, (struct task_options){.error_form = adapter->error_form});
    assert_int_equal(unit_register(task), REGISTER_OK);
    return task;
}

static void fail_run(struct task *task, const char *message) {
    assert_true(task_end(task, TASK_FAILED, REASON_UPSTREAM_TRUNCATED, 0, message));
}

static enum subscriber_result resume(struct subscriber_spec spec, struct event_id last_id) {
    spec.resume = true;
    spec.last_id = last_id;
    return prepare(spec);
}

static void publish_named(struct task *task, const char *type) {
    struct frame *frame = lifecycle_make_agent_event(task->serial, type, strlen(type), "x", 1);
    assert_true(task_publish(task, frame));
}

static void agent_stream_of_a_session_has_all_runs_without_their_beginnings_and_good_ends(void **state) {
    (void)state;
    struct fake_sink *bare = subscribe((struct subscriber_spec){.agent_framing = true});
    struct fake_sink *until = subscribe((struct subscriber_spec){.agent_framing = true, .until_run = true});
    struct task *one = run();
    unit_publish(one, "1");
    publish_named(one, "run.start");
    bench_turn(&bench);
    finish(one);
    bench_turn(&bench);
    assert_ended(until);
    ASSERT_SINK_SAYS(until, "1 run.start");
    struct task *two = run();
    unit_publish(two, "2");
    fail_run(two, "cut");
    bench_turn(&bench);
    ASSERT_SINK_SAYS(bare, "1 run.start 2 {\"error\":\"run failed: upstream_truncated: cut\"}");
    assert_int_equal(strncmp(strstr(fake_sink_text(bare), "event: "), "event: run.start\n", 17), 0);
    broadcaster_drain(bench.broadcaster);
    bench_turn(&bench);
    assert_ended(bare);
    assert_null(strstr(fake_sink_text(bare), "server.drain"));
    bench_release(bare);
    bench_release(until);
    unit_task_release(two);
}

static const struct {
    const struct adapter *adapter;
    const char *end, *cancelled, *loss;
} forms[] = {
    {&adapter_adk, "data: {\"error\":\"run failed: upstream_truncated: cut\"}\nid: ",
     "data: {\"error\":\"run cancelled: requested\"}\nid: ",
     "data: {\"error\":\"Some events are no longer retained and were lost.\"}\nid: "},
    {&adapter_openai,
     "data: {\"error\":{\"message\":\"run failed: upstream_truncated: cut\",\"type\":\"gateway_error\","
     "\"param\":null,\"code\":\"upstream_truncated\"}}\nid: ",
     "data: {\"error\":{\"message\":\"run cancelled: requested\",\"type\":\"gateway_error\","
     "\"param\":null,\"code\":\"cancelled\"}}\nid: ",
     "data: {\"error\":{\"message\":\"Some events are no longer "
     "retained and were lost.\",\"type\":\"gateway_error\","
     "\"param\":null,\"code\":\"events_lost\"}}\nid: "},
    {&adapter_sse,
     "event: error\ndata: {\"error\":{\"code\":\"upstream_truncated\",\"message\":\"run failed: "
     "upstream_truncated: cut\"}}\nid: ",
     "event: error\ndata: {\"error\":{\"code\":\"cancelled\",\"message\":\"run cancelled: "
     "requested\"}}\nid: ",
     "event: error\ndata: {\"error\":{\"code\":\"events_lost\",\"message\":\"Some events are no "
     "longer retained and were lost.\"}}\nid: "},
};

static void agent_stream_reports_a_bad_end_in_the_form_of_the_kind(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct task *task = run_of(forms[i].adapter);
        struct fake_sink *of_run = subscribe((struct subscriber_spec){.run = task, .agent_framing = true});
        struct fake_sink *of_session =
            subscribe((struct subscriber_spec){.agent_framing = true, .until_run = true});
        fail_run(task, "cut");
        bench_turn(&bench);
        assert_non_null(strstr(fake_sink_text(of_run), forms[i].end));
        assert_string_equal(fake_sink_text(of_run), fake_sink_text(of_session));
        assert_int_equal(resume((struct subscriber_spec){.run = task, .agent_framing = true}, end_of(task)),
                         SUBSCRIBER_COMPLETE);
        bench_release(of_run);
        bench_release(of_session);
        unit_task_release(task);
        struct task *cancelled = run_of(forms[i].adapter);
        assert_true(task_cancel(cancelled, REASON_REQUESTED));
        of_run = subscribe((struct subscriber_spec){.run = cancelled, .agent_framing = true});
        assert_non_null(strstr(fake_sink_text(of_run), forms[i].cancelled));
        bench_release(of_run);
        unit_task_release(cancelled);
    }
}

static void agent_stream_reports_a_loss_in_the_form_of_the_kind(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 2);
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct task *task = run_of(forms[i].adapter);
        for (int k = 0; k < 4; k++)
            unit_publish(task, "x");
        struct fake_sink *of_run = subscribe((struct subscriber_spec){.run = task, .agent_framing = true});
        struct fake_sink *of_session = subscribe((struct subscriber_spec){.agent_framing = true});
        assert_non_null(strstr(fake_sink_text(of_run), forms[i].loss));
        assert_non_null(strstr(fake_sink_text(of_session), forms[i].loss));
        bench_release(of_run);
        bench_release(of_session);
        finish(task);
    }
}

/* The id of a good end is never seen there. */
static void agent_stream_is_complete_after_the_last_event_of_a_good_run(void **state) {
    (void)state;
    const struct subscriber_spec until = {.agent_framing = true, .until_run = true};
    const struct subscriber_spec native = {.until_run = true};
    struct task *task = run();
    unit_publish(task, "1");
    struct event_id first = session->log.last_id;
    unit_publish(task, "2");
    struct event_id last = session->log.last_id;
    struct subscriber_spec own = {.agent_framing = true, .run = task};
    assert_int_equal(resume(until, last), SUBSCRIBER_OK);
    finish(task);
    assert_int_equal(resume(until, last), SUBSCRIBER_COMPLETE);
    assert_int_equal(resume(own, last), SUBSCRIBER_COMPLETE);
    assert_int_equal(resume(until, first), SUBSCRIBER_OK);
    assert_int_equal(resume(own, first), SUBSCRIBER_OK);
    assert_int_equal(resume(native, last), SUBSCRIBER_OK);
}

static void agent_stream_is_not_complete_before_a_bad_end_was_reported(void **state) {
    (void)state;
    struct task *task = run();
    unit_publish(task, "1");
    struct event_id last = session->log.last_id;
    fail_run(task, "cut");
    const struct subscriber_spec own = {.agent_framing = true, .run = task};
    assert_int_equal(resume(own, last), SUBSCRIBER_OK);
    assert_int_equal(resume(own, end_of(task)), SUBSCRIBER_COMPLETE);
    unit_task_release(task);
}

static void agent_stream_form_of_a_bad_end_counts_as_memory(void **state) {
    (void)state;
    struct broadcaster_stats before, after;
    struct task *good = run(), *bad;
    finish(good);
    broadcaster_get_stats(bench.broadcaster, &before);
    good = run();
    finish(good);
    broadcaster_get_stats(bench.broadcaster, &after);
    uint64_t of_good = after.log_bytes - before.log_bytes;
    bad = run();
    fail_run(bad, "cut");
    broadcaster_get_stats(bench.broadcaster, &before);
    assert_true(before.log_bytes - after.log_bytes > of_good); /* both forms count */
    unit_task_release(bad);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(agent_stream_of_a_session_has_all_runs_without_their_beginnings_and_good_ends),
        TEST(agent_stream_reports_a_bad_end_in_the_form_of_the_kind),
        TEST(agent_stream_reports_a_loss_in_the_form_of_the_kind),
        TEST(agent_stream_is_complete_after_the_last_event_of_a_good_run),
        TEST(agent_stream_is_not_complete_before_a_bad_end_was_reported),
        TEST(agent_stream_form_of_a_bad_end_counts_as_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
