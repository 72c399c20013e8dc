/* broadcaster: subscribers that wait for a session which is not open yet, and their places. */
#include "base/memory_budget.h"
#include "base/metrics.h"
#include "tests/support/unit_sink.h"

#define LATER "app/user/later"

static struct bench bench;

static int set_up(void **state) {
    (void)state;
    bench_init(&bench);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unit_assert_empty(bench.broadcaster);
    bench_finish(&bench);
    return 0;
}

static struct broadcaster_stats stats_now(void) {
    struct broadcaster_stats stats;
    broadcaster_get_stats(bench.broadcaster, &stats);
    return stats;
}

static struct broadcaster_limits *limits(void) {
    return broadcaster_limits(bench.broadcaster);
}

/* A subscriber of that address that waits for the session of that key, not connected yet. */
static enum subscriber_result await(const char *key, unsigned char address,
                                    struct subscriber **ret_subscriber) {
    const struct subscriber_spec spec = {.address.s6_addr = {[15] = address}};
    return subscriber_await(bench.broadcaster, key, &spec, ret_subscriber);
}

static struct subscriber *must_await(const char *key, unsigned char address) {
    struct subscriber *subscriber = NULL;
    assert_int_equal(await(key, address, &subscriber), SUBSCRIBER_OK);
    return subscriber;
}

static struct fake_sink *connect_it(struct subscriber *subscriber) {
    struct fake_sink *sink = fake_sink_create();
    subscriber_connect(subscriber, bench.fanout, &sink->sink, true);
    return sink;
}

static bool count_visited(void *context, struct session *session) {
    (void)session;
    ++*(int *)context;
    return true;
}

static void assert_counts(uint64_t sessions, uint64_t awaited, uint64_t waiting) {
    const struct broadcaster_stats stats = stats_now();
    assert_int_equal(stats.sessions, sessions);
    assert_int_equal(stats.sessions_awaited, awaited);
    assert_int_equal(stats.subscribers_waiting, waiting);
}

static void finish(struct session *session, struct task *task) {
    unit_complete(task);
    unit_task_release(task);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
}

/* ---- a session that is waited for ---------------------------------------------------------------- */

static void a_session_that_is_waited_for_is_no_session(void **state) {
    (void)state;
    uint64_t opened = metrics_get(METRIC_SESSIONS_OPENED);
    struct subscriber *one = must_await(LATER, 1), *two = must_await(LATER, 1);
    assert_ptr_equal(subscriber_session(one), subscriber_session(two));
    int visited = 0;
    broadcaster_for_each_session(bench.broadcaster, count_visited, &visited);
    assert_int_equal(visited, 0);
    assert_null(broadcaster_find_session(bench.broadcaster, LATER));
    assert_false(broadcaster_make_room(bench.broadcaster));
    assert_counts(0, 1, 2);
    subscriber_destroy(one);
    assert_counts(0, 1, 1);
    subscriber_destroy(two);
    assert_counts(0, 0, 0);
    assert_int_equal(metrics_get(METRIC_SESSIONS_OPENED), opened);
}

static void those_who_wait_get_all_events_from_the_first_run_on(void **state) {
    (void)state;
    struct fake_sink *sink = connect_it(must_await(LATER, 1));
    struct subscriber *on_its_way = must_await(LATER, 1); /* to its worker */
    struct session *session = unit_session(bench.broadcaster, LATER);
    assert_counts(1, 0, 0);
    struct task *task = unit_run(&bench.driver, session);
    unit_publish(task, "1");
    fanout_flush(bench.fanout);
    ASSERT_SINK_SAYS(sink, "run.start 1");
    struct fake_sink *other = connect_it(on_its_way);
    unit_publish(task, "2");
    fanout_flush(bench.fanout);
    ASSERT_SINK_SAYS(sink, "run.start 1 2");
    ASSERT_SINK_SAYS(other, "run.start 1 2");
    fake_sink_disconnect(sink);
    fake_sink_disconnect(other);
    assert_counts(1, 0, 0);
    fake_sink_destroy(sink);
    fake_sink_destroy(other);
    finish(session, task);
}

static void a_session_stays_open_when_those_who_waited_for_it_leave(void **state) {
    (void)state;
    struct subscriber *subscriber = must_await(LATER, 1);
    struct session *session = unit_session(bench.broadcaster, LATER);
    subscriber_destroy(subscriber);
    struct session *found = broadcaster_find_session(bench.broadcaster, LATER);
    assert_ptr_equal(found, session);
    session_unref(found);
    clock_fake_advance(60000);
    assert_int_equal(broadcaster_clean_up(bench.broadcaster), 1); /* it never had a run */
    session_unref(session);
}

static void those_who_wait_go_on_waiting_while_there_is_no_room_for_the_session(void **state) {
    (void)state;
    atomic_store(&limits()->sessions_max, 1);
    struct session *other = unit_session(bench.broadcaster, "app/user/other"), *refused = NULL;
    struct task *task = unit_run(&bench.driver, other);
    struct fake_sink *sink = connect_it(must_await(LATER, 1));
    assert_int_equal(broadcaster_open_session(bench.broadcaster, LATER, &refused), -ENOSPC);
    assert_int_equal(broadcaster_open_session(bench.broadcaster, "app/user/3", &refused), -ENOSPC);
    assert_null(refused);
    assert_counts(1, 1, 1); /* the other one that was refused has left nothing behind */
    finish(other, task);
    struct session *session = unit_session(bench.broadcaster, LATER);
    task = unit_run(&bench.driver, session);
    fanout_flush(bench.fanout);
    ASSERT_SINK_SAYS(sink, "run.start");
    fake_sink_disconnect(sink);
    fake_sink_destroy(sink);
    finish(session, task);
}

static void those_who_wait_are_told_of_the_end_of_the_program(void **state) {
    (void)state;
    struct fake_sink *sink = connect_it(must_await(LATER, 1));
    broadcaster_drain(bench.broadcaster);
    fanout_flush(bench.fanout);
    ASSERT_SINK_SAYS(sink, "server.drain");
    assert_true(sink->closed && !sink->aborted);
    fake_sink_destroy(sink);
    struct subscriber *refused = NULL;
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_DRAINING);
    assert_null(refused);
    assert_counts(0, 0, 0);
}

/* ---- the places ---------------------------------------------------------------------------------- */

static void places_are_limited_and_released(void **state) {
    (void)state;
    uint64_t refused_before = metrics_get(METRIC_SUBSCRIBERS_WAITING_REFUSED);
    struct subscriber *subscribers[3], *refused = NULL;
    atomic_store(&limits()->subscribers_waiting_max, 3);
    for (int i = 0; i < 3; i++)
        subscribers[i] = must_await(i < 2 ? LATER : "app/user/much later", 1);
    assert_int_equal(await(LATER, 2, &refused), SUBSCRIBER_WAITING_FULL);
    assert_int_equal(await("app/user/other", 2, &refused), SUBSCRIBER_WAITING_FULL);
    assert_int_equal(metrics_get(METRIC_SUBSCRIBERS_WAITING_REFUSED) - refused_before, 2);
    assert_counts(0, 2, 3);
    struct session *session = unit_session(bench.broadcaster, LATER); /* two of them do not wait any more */
    assert_counts(1, 1, 1);
    struct subscriber *others[] = {must_await("a/u/1", 2), must_await("a/u/2", 2), must_await(LATER, 2)};
    assert_int_equal(await("a/u/3", 2, &refused), SUBSCRIBER_WAITING_FULL);
    assert_null(refused);
    for (int i = 0; i < 3; i++) {
        subscriber_destroy(subscribers[i]);
        subscriber_destroy(others[i]);
    }
    assert_counts(1, 0, 0);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
}

static void places_are_limited_for_each_address(void **state) {
    (void)state;
    struct subscriber *subscribers[6], *refused = NULL;
    atomic_store(&limits()->subscribers_waiting_per_address_max, 2);
    for (int i = 0; i < 6; i++)
        subscribers[i] = must_await(i % 3 == 0 ? LATER : "app/user/other", (unsigned char)(i / 2));
    for (unsigned char address = 0; address < 3; address++)
        assert_int_equal(await(LATER, address, &refused), SUBSCRIBER_ADDRESS_FULL);
    subscriber_destroy(subscribers[2]);
    assert_int_equal(await(LATER, 0, &refused), SUBSCRIBER_ADDRESS_FULL);
    subscribers[2] = must_await(LATER, 1);
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_ADDRESS_FULL);
    atomic_store(&limits()->subscribers_waiting_per_address_max, 0); /* disables it */
    subscriber_destroy(must_await(LATER, 1));
    for (int i = 0; i < 6; i++)
        subscriber_destroy(subscribers[i]);
    assert_counts(0, 0, 0);
}

static void one_that_is_refused_leaves_neither_a_place_nor_a_session(void **state) {
    (void)state;
    struct subscriber *refused = NULL;
    atomic_store(&limits()->subscribers_per_session_max, 0);
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_SESSION_FULL);
    atomic_store(&limits()->subscribers_per_session_max, 10);
    atomic_store(&limits()->subscribers_max, 0);
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_FULL);
    atomic_store(&limits()->subscribers_max, 10);
    atomic_store(&limits()->subscribers_waiting_max, 0);
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_WAITING_FULL);
    assert_null(refused);
    assert_counts(0, 0, 0);
}

static void what_waiting_takes_is_charged_and_released(void **state) {
    (void)state;
    uint64_t subscribers = memory_used(MEMORY_SUBSCRIBERS), sessions = memory_used(MEMORY_SESSIONS);
    struct subscriber *one = must_await(LATER, 1), *two = must_await(LATER, 1), *refused = NULL;
    uint64_t of_two = memory_used(MEMORY_SUBSCRIBERS) - subscribers;
    assert_true(memory_used(MEMORY_SESSIONS) > sessions);
    atomic_store(&limits()->subscribers_waiting_per_address_max, 2);
    assert_int_equal(await(LATER, 1, &refused), SUBSCRIBER_ADDRESS_FULL);
    assert_int_equal(memory_used(MEMORY_SUBSCRIBERS) - subscribers, of_two);
    struct session *session = unit_session(bench.broadcaster, LATER);
    assert_true(memory_used(MEMORY_SUBSCRIBERS) - subscribers < of_two); /* the places and the address */
    subscriber_destroy(one);
    subscriber_destroy(two);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    session_unref(session);
    assert_int_equal(memory_used(MEMORY_SUBSCRIBERS), subscribers);
    assert_int_equal(memory_used(MEMORY_SESSIONS), sessions);
}

static void subscribers_of_an_open_session_need_no_place(void **state) {
    (void)state;
    atomic_store(&limits()->subscribers_waiting_max, 0);
    struct session *session = unit_session(bench.broadcaster, LATER);
    struct subscriber *subscriber = must_await(LATER, 1);
    assert_ptr_equal(subscriber_session(subscriber), session);
    broadcaster_close_session(session, REASON_SESSION_DELETED);
    subscriber_destroy(subscriber);
    session_unref(session);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_session_that_is_waited_for_is_no_session),
        TEST(those_who_wait_get_all_events_from_the_first_run_on),
        TEST(a_session_stays_open_when_those_who_waited_for_it_leave),
        TEST(those_who_wait_go_on_waiting_while_there_is_no_room_for_the_session),
        TEST(those_who_wait_are_told_of_the_end_of_the_program),
        TEST(places_are_limited_and_released),
        TEST(places_are_limited_for_each_address),
        TEST(one_that_is_refused_leaves_neither_a_place_nor_a_session),
        TEST(what_waiting_takes_is_charged_and_released),
        TEST(subscribers_of_an_open_session_need_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
