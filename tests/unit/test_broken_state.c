/* base/broken_state: a state that cannot be is counted and logged, and ends what it was found in, and nothing
 * else. */
#include "base/broken_state.h"
#include "base/metrics.h"
#include "http/address_limits.h"
#include "tests/support/unit_routes.h"
#include "upstream/limiter.h"
#include "upstream/recording.h"

#include <fcntl.h>
#include <unistd.h>

static uint64_t before;

static int set_up(void **state) {
    (void)state;
    log_init(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    clock_fake(5000, 1700000000000);
    before = metrics_get(METRIC_BROKEN_STATES);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    clock_real();
    return 0;
}

static void assert_noted(uint64_t count) {
    assert_int_equal(metrics_get(METRIC_BROKEN_STATES) - before, count);
}

/* ---- the note -------------------------------------------------------------------------------------- */

static size_t count_lines(const char *path, const char *wanted) {
    char text[8192];
    size_t count = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    for (const char *at = text; (at = strstr(at, wanted)) != NULL; at++)
        count++;
    return count;
}

static void broken_states_are_all_counted_and_logged_once_a_second(void **state) {
    (void)state;
    char path[] = "/tmp/sluice-test-broken-XXXXXX";
    int saved = dup(STDERR_FILENO), fd = mkstemp(path);
    clock_fake_advance(1000000); /* others were noted before */
    dup2(fd, STDERR_FILENO);
    close(fd);
    for (int i = 0; i < 100; i++)
        broken_state_note("the first");
    clock_fake_advance(1000);
    broken_state_note("the second");
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_noted(101);
    assert_int_equal(count_lines(path, "broken_state"), 2);
    assert_int_equal(count_lines(path, "what=\"the first\" unwritten=0"), 1);
    assert_int_equal(count_lines(path, "what=\"the second\" unwritten=99"), 1);
    unlink(path);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static int finished, abandoned;

static void finish_source(void *context) {
    (void)context;
    finished++;
}

static void abandon(void *context) {
    (void)context;
    abandoned++;
}

static struct asked make_request(void) {
    finished = abandoned = 0;
    return (struct asked){.request = {.operations = &asked_operations, .path = "/"}};
}

static void a_second_answer_is_freed_and_closes_the_connection(void **state) {
    (void)state;
    const struct reply_source source = {.finished = finish_source};
    struct asked asked = make_request();
    reply_error(&asked.request, 404, "not_found", "There is nothing.");
    assert_false(asked.request.reply.is_mutilated);
    reply_body(&asked.request, 200, "text/plain", strdup("second"), 6);
    reply_static(&asked.request, 200, "text/plain", "third", 5);
    reply_empty(&asked.request, 204);
    reply_stream(&asked.request, NULL, true);
    reply_from_source(&asked.request, 200, &source);
    assert_noted(5);
    assert_int_equal(finished, 1);
    assert_int_equal(asked.request.reply.kind, REPLY_BODY);
    assert_int_equal(asked.request.reply.status, 404);
    assert_non_null(strstr(asked.request.reply.body, "not_found"));
    assert_true(asked.request.reply.is_mutilated); /* so that nothing is sent */
    reply_finish(&asked.request.reply);
}

static void a_subscriber_of_a_second_answer_leaves_its_session(void **state) {
    (void)state;
    struct broadcaster *broadcaster = unit_broadcaster();
    struct session *session = unit_session(broadcaster, "app/user/session");
    struct subscriber *subscriber = NULL;
    struct asked asked = make_request();
    assert_int_equal(subscriber_prepare(session, &(struct subscriber_spec){0}, &subscriber), SUBSCRIBER_OK);
    reply_empty(&asked.request, 204);
    reply_stream(&asked.request, subscriber, true);
    assert_noted(1);
    assert_null(asked.request.reply.subscriber);
    reply_finish(&asked.request.reply);
    broadcaster_close_session(session, REASON_SHUTDOWN);
    session_unref(session);
    unit_assert_empty(broadcaster);
    broadcaster_destroy(broadcaster);
}

static void work_that_is_deferred_too_late_is_abandoned(void **state) {
    (void)state;
    struct asked asked = make_request();
    request_defer(&asked.request, abandon, NULL);
    assert_noted(0);
    request_defer(&asked.request, abandon, NULL);
    assert_noted(1);
    assert_int_equal(abandoned, 1);
    assert_true(asked.request.deferred); /* the first one goes on */
    reply_empty(&asked.request, 204);
    request_answer(&asked.request);
    request_defer(&asked.request, abandon, NULL);
    assert_int_equal(abandoned, 2);
    assert_noted(2);
    assert_false(asked.request.deferred);
    reply_finish(&asked.request.reply);
}

static void an_answer_that_nobody_waits_for_is_not_given(void **state) {
    (void)state;
    struct asked asked = make_request();
    reply_empty(&asked.request, 204);
    request_answer(&asked.request);
    assert_noted(1);
    assert_int_equal(asked.answers, 0);
    assert_true(asked.request.reply.is_mutilated);
    reply_finish(&asked.request.reply);
}

static void a_handler_without_an_answer_closes_the_connection(void **state) {
    (void)state;
    struct asked asked = make_request();
    request_defer(&asked.request, abandon, NULL);
    request_answer(&asked.request);
    assert_noted(1);
    assert_int_equal(asked.answers, 1); /* or the client would wait for ever */
    assert_int_equal(asked.request.reply.status, 500);
    assert_true(asked.request.reply.is_mutilated);
    reply_finish(&asked.request.reply);
}

/* ---- runs and upstreams ------------------------------------------------------------------------------ */

/* What it had reserved is gone, and there is no room for another one. */
static void a_run_that_lost_its_reservation_ends_as_internal(void **state) {
    (void)state;
    struct broadcaster *broadcaster = unit_broadcaster();
    struct broadcaster_limits *limits = broadcaster_limits(broadcaster);
    struct session *session = unit_session(broadcaster, "app/user/session");
    struct fake_driver driver = FAKE_DRIVER;
    struct task *task = unit_task(&driver, session, (struct task_options){.delay_ms = 500});
    struct task_info info;
    assert_int_equal(unit_register(task), REGISTER_OK);
    assert_null(scheduler_leave(broadcaster_scheduler(broadcaster), task));
    atomic_store(&limits->runs_max, 0);
    atomic_store(&limits->runs_queued_max, 0);
    clock_fake_advance(500);
    task_become_due(task);
    assert_noted(1);
    task_get_info(task, &info);
    assert_int_equal(info.status, TASK_FAILED);
    assert_int_equal(info.reason, REASON_INTERNAL);
    ASSERT_LOG_SAYS(session, "end:failed");
    unit_task_release(task);
    broadcaster_close_session(session, REASON_SHUTDOWN);
    session_unref(session);
    unit_assert_empty(broadcaster);
    broadcaster_destroy(broadcaster);
}

static void a_recording_that_has_ended_takes_nothing_more(void **state) {
    (void)state;
    const struct upstream_result good = {.end = UPSTREAM_COMPLETED, .message = ""};
    const struct upstream_result bad = {.end = UPSTREAM_TRUNCATED, .message = "late"};
    const struct sse_event event = {.type = "t", .type_length = 1, .data = "d", .data_length = 1};
    struct recording *recording = recording_create(1000), *other = recording_create(1000);
    assert_true(recording_append_event(recording, &event, 0));
    assert_true(recording_append_event(other, &event, 0));
    size_t bytes = recording_bytes(recording);
    recording_end(recording, &good);
    assert_noted(0);
    assert_true(recording_append_event(recording, &event, 0));
    recording_append_replay(recording, other);
    recording_end(recording, &bad);
    assert_noted(3);
    assert_int_equal(recording_bytes(recording), bytes);
    assert_int_equal(recording_result(recording)->end, UPSTREAM_COMPLETED);
    recording_unref(recording);
    recording_unref(other);
}

static void a_ticket_that_is_in_already_is_refused(void **state) {
    (void)state;
    struct limiter *limiter = limiter_create(&(struct limiter_settings){.concurrency_max = 4});
    struct limiter_ticket ticket = {0};
    struct limiter_info info;
    assert_int_equal(limiter_enter(limiter, &ticket), LIMITER_GRANTED);
    assert_int_equal(limiter_enter(limiter, &ticket), LIMITER_FULL);
    assert_noted(1);
    assert_true(limiter_leave(limiter, &ticket, &(struct limiter_report){.completed = true}));
    assert_true(limiter_leave(limiter, &ticket, &(struct limiter_report){.completed = true}));
    assert_noted(2);
    limiter_get_info(limiter, &info);
    assert_int_equal(info.slots_used, 0);
    limiter_destroy(limiter);
}

static void serve_nothing(struct raw_server *server, int fd, size_t connection) {
    (void)server;
    (void)connection;
    raw_server_hold(fd);
}

static void nothing_is_begun_at_a_client_that_closes(void **state) {
    (void)state;
    static const struct upstream_passage_callbacks callbacks = {0};
    struct fixture fixture;
    clock_real();
    fixture_begin(&fixture, serve_nothing);
    fixture_close_client(&fixture);
    assert_null(upstream_passage_start(fixture.client, &fixture.settings, "GET", "/", NULL, 0, NULL, 0,
                                       &callbacks, NULL));
    assert_noted(1);
    while (!fixture.is_closed)
        fixture_turn(&fixture);
    fixture_end(&fixture);
}

static void an_address_keeps_its_count_when_one_leaves_too_often(void **state) {
    (void)state;
    const struct address_limits_settings settings = {.connections_max = 1, .requests_burst = 1};
    struct address_limits *limits = address_limits_create(&settings);
    const struct peer peer = {0};
    struct address *address = NULL, *second = NULL;
    assert_true(address_limits_enter(limits, &peer, &address));
    address_limits_leave(limits, address);
    address_limits_leave(limits, address);
    assert_noted(1);
    assert_true(address_limits_enter(limits, &peer, &address));
    assert_false(address_limits_enter(limits, &peer, &second));
    address_limits_leave(limits, address);
    address_limits_destroy(limits);
}

int main(void) {
#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(broken_states_are_all_counted_and_logged_once_a_second),
        TEST(a_second_answer_is_freed_and_closes_the_connection),
        TEST(a_subscriber_of_a_second_answer_leaves_its_session),
        TEST(work_that_is_deferred_too_late_is_abandoned),
        TEST(an_answer_that_nobody_waits_for_is_not_given),
        TEST(a_handler_without_an_answer_closes_the_connection),
        TEST(a_run_that_lost_its_reservation_ends_as_internal),
        TEST(a_recording_that_has_ended_takes_nothing_more),
        TEST(a_ticket_that_is_in_already_is_refused),
        TEST(nothing_is_begun_at_a_client_that_closes),
        TEST(an_address_keeps_its_count_when_one_leaves_too_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
