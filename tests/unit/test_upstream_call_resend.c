/* upstream/call: a run that was sent and not answered is sent again only if the settings allow that. */
#include "tests/unit/call_fixture.h"

/** What the server does with its requests, one letter each: w answers with a whole stream, c closes, r
 * resets, h answers with the head of a stream and closes, s is silent. The last letter is for all that come
 * later. */
static const char *plan;

static void serve_plan(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        size_t number = raw_server_requests(server), last = strlen(plan);
        char letter = plan[(number < last ? number : last) - 1];
        if (letter == 'r')
            raw_server_reset(fd);
        if (letter == 'h')
            raw_server_write(fd, HEAD_CHUNKED);
        if (letter == 'w')
            raw_server_write(fd, WHOLE_STREAM);
        else if (letter != 's')
            return;
    }
}

static void check_plan(const char *letters, enum upstream_resend resend, uint64_t attempts_max,
                       const char *told, enum upstream_end end) {
    struct call_fixture fixture;
    plan = letters;
    call_fixture_begin(&fixture, serve_plan);
    for (size_t i = 0; i < UPSTREAMS; i++)
        fixture.settings[i].first_byte_timeout_ms = 100;
    fixture.settings[UPSTREAM_A].resend = resend;
    fixture.settings[UPSTREAM_A].retry.attempts_max = attempts_max;
    call_fixture_open(&fixture);
    check_call(&fixture, told, end);
    call_fixture_end(&fixture);
}

static void call_is_not_made_again_for_want_of_an_answer(void **state) {
    (void)state;
    check_plan("cw", UPSTREAM_RESEND_NEVER, 3, "sent|end|", UPSTREAM_TRUNCATED);
    check_plan("rw", UPSTREAM_RESEND_NEVER, 3, "sent|end|", UPSTREAM_TRUNCATED);
    check_plan("sw", UPSTREAM_RESEND_NEVER, 3, "sent|end|", UPSTREAM_IDLE);
}

static void call_is_made_again_for_want_of_an_answer_if_it_may_be(void **state) {
    (void)state;
    check_plan("cw", UPSTREAM_RESEND_UNANSWERED, 3, "sent|again:a|a|end|", UPSTREAM_COMPLETED);
    check_plan("rcw", UPSTREAM_RESEND_UNANSWERED, 3, "sent|again:a|again:a|a|end|", UPSTREAM_COMPLETED);
    check_plan("sw", UPSTREAM_RESEND_UNANSWERED, 3, "sent|again:a|a|end|", UPSTREAM_COMPLETED);
    check_plan("c", UPSTREAM_RESEND_UNANSWERED, 3, "sent|again:a|again:a|end|", UPSTREAM_TRUNCATED);
    check_plan("cw", UPSTREAM_RESEND_UNANSWERED, 1, "sent|end|", UPSTREAM_TRUNCATED);
}

static void call_is_not_made_again_once_an_answer_has_begun(void **state) {
    (void)state;
    check_plan("hw", UPSTREAM_RESEND_UNANSWERED, 3, "sent|end|", UPSTREAM_TRUNCATED);
}

static void call_goes_to_the_fallback_for_want_of_an_answer(void **state) {
    (void)state;
    struct call_fixture fixture;
    plan = "cw";
    call_fixture_begin(&fixture, serve_plan);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    assert_string_equal(asked(&fixture), "ab");
    call_fixture_end(&fixture);
}

static atomic_bool shall_close, has_closed;

static void serve_and_close_later(struct raw_server *server, int fd, size_t connection) {
    while (raw_server_read(server, fd) && raw_server_write(fd, WHOLE_STREAM)) {
        if (connection > 0)
            continue;
        while (!shall_close)
            usleep(100);
        raw_server_close(server, connection);
        has_closed = true;
        return;
    }
}

static void call_counts_no_failure_if_a_kept_connection_was_closed(void **state) {
    (void)state;
    struct call_fixture fixture;
    shall_close = has_closed = false;
    call_fixture_begin(&fixture, serve_and_close_later);
    guard_by_breaker(&fixture, 10);
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|a|end|", UPSTREAM_COMPLETED);
    shall_close = true;
    while (!has_closed)
        usleep(100);
    check_call(&fixture, "sent|a|end|", UPSTREAM_COMPLETED);
    assert_int_equal(raw_server_connections(&fixture.fixture.server), 2);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 2);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).failures, 0);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].calls, 2);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].failures, 0);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].retries, 0);
    call_fixture_end(&fixture);
}

/* ---- a session that the upstream has lost -------------------------------------------------------------- */

#define LOST "HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n{\"detail\":\"No session x\"}"
#define CREATED "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

static const char *const lost_and_created[] = {LOST, CREATED, WHOLE_STREAM, NULL};

/* The run was refused, so it is posted again whatever the settings say; and that is reported. */
static void call_reports_the_run_that_is_posted_again_for_its_session(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder recorder = {.has_session = true, .session_exists = true};
    answers = lost_and_created;
    call_fixture_begin(&fixture, serve_answers);
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|again:a|a|end|");
    assert_int_equal(recorder.retry.attempt, 2);
    assert_int_equal(recorder.retry.delay_ms, 0);
    assert_int_equal(recorder.retry.failure.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.retry.failure.http_status, 404);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(asked(&fixture), "aa");
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].calls, 1);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].failures, 0);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].retries, 1);
    call_fixture_end(&fixture);
}

static void call_counts_that_run_among_its_attempts(void **state) {
    (void)state;
    static const char *const texts[] = {LOST, CREATED, REFUSAL(503), WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {.has_session = true, .session_exists = true};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|again:a|again:a|a|end|");
    assert_int_equal(recorder.retry.attempt, 3);
    assert_string_equal(asked(&fixture), "aaa");
    call_fixture_end(&fixture);
}

static void cancel_call(struct call_recorder *recorder) {
    upstream_call_cancel(recorder->call);
    recorder->has_ended = true;
}

static void check_lost_session(struct call_recorder recorder) {
    struct call_fixture fixture;
    recorder.has_session = recorder.session_exists = true;
    answers = lost_and_created;
    call_fixture_begin(&fixture, serve_answers);
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    assert_given_back(&fixture);
    assert_string_equal(recorder.told, "sent|again:a|");
    assert_string_equal(asked(&fixture), "a");
    assert_int_equal(raw_server_requests(&fixture.fixture.server), 1); /* no session is created either */
    call_fixture_end(&fixture);
}

static void call_may_be_cancelled_when_its_session_is_lost(void **state) {
    (void)state;
    check_lost_session((struct call_recorder){.in_retry = cancel_call});
    check_lost_session((struct call_recorder){.refuses_retry = true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_is_not_made_again_for_want_of_an_answer),
        cmocka_unit_test(call_is_made_again_for_want_of_an_answer_if_it_may_be),
        cmocka_unit_test(call_is_not_made_again_once_an_answer_has_begun),
        cmocka_unit_test(call_goes_to_the_fallback_for_want_of_an_answer),
        cmocka_unit_test(call_counts_no_failure_if_a_kept_connection_was_closed),
        cmocka_unit_test(call_reports_the_run_that_is_posted_again_for_its_session),
        cmocka_unit_test(call_counts_that_run_among_its_attempts),
        cmocka_unit_test(call_may_be_cancelled_when_its_session_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
