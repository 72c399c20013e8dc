/* upstream/stream: sessions are created when they have to be. */
#include "tests/unit/answering_server.h"
#include "tests/unit/stream_recorder.h"

#define EMPTY_200 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define NOT_FOUND "HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n{\"detail\":\"No session x\"}"

/* ---- sessions --------------------------------------------------------------------------------------- */

static void check_session(const char *const *texts, bool exists, enum upstream_end end,
                          const char *requests) {
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    fixture.settings.first_byte_timeout_ms = 300;
    struct upstream_post post = recorder_post(&fixture, "/session", exists);
    recorder_start_post(&recorder, &post);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, end);
    char seen[16] = "";
    pthread_mutex_lock(&fixture.server.mutex);
    for (const char *at = fixture.server.log; (at = strstr(at, "POST /")) != NULL; at++)
        strncat(seen, strncmp(at, "POST /run_sse", 13) == 0 ? "R" : "S", sizeof seen - strlen(seen) - 1);
    pthread_mutex_unlock(&fixture.server.mutex);
    assert_string_equal(seen, requests);
    assert_int_equal(raw_server_connections(&fixture.server), 1);
    fixture_end(&fixture);
}

static void stream_creates_its_session_first(void **state) {
    (void)state;
    static const char *const whole[] = {EMPTY_200, HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    check_session(whole, false, UPSTREAM_COMPLETED, "SR");
}

static void stream_does_not_create_a_session_that_exists(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    check_session(whole, true, UPSTREAM_COMPLETED, "R");
}

static void stream_runs_whatever_the_creation_was_answered(void **state) {
    (void)state;
    static const char *const refused[] = {"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nOops",
                                          HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    check_session(refused, false, UPSTREAM_COMPLETED, "SR");
}

/* Refused for want of room, the creation is the end: the run would only add to it. */
static void check_refused_creation(const char *text, bool exists, int status, int64_t retry_after_ms,
                                   const char *message) {
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    const char *const texts[] = {exists ? NOT_FOUND : text, exists ? text : NULL, NULL};
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    struct upstream_post post = recorder_post(&fixture, "/session", exists);
    recorder_start_post(&recorder, &post);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.result.http_status, status);
    assert_int_equal(recorder.result.retry_after_ms, retry_after_ms);
    assert_string_equal(recorder.message, message);
    assert_int_equal(raw_server_requests(&fixture.server), exists ? 2 : 1);
    fixture_end(&fixture);
}

static void stream_ends_when_there_is_no_room_for_its_session(void **state) {
    (void)state;
    for (int exists = 0; exists < 2; exists++) {
        check_refused_creation("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", exists, 429,
                               7000, "The upstream answered 429 to the request that creates the session.");
        check_refused_creation("HTTP/1.1 503 X\r\nContent-Length: 17\r\n\r\n{\"error\":\"later\"}", exists,
                               503, 0,
                               "The upstream answered 503 to the request that creates the session: later");
    }
}

static void stream_creates_a_lost_session_and_runs_once_more(void **state) {
    (void)state;
    static const char *const lost[] = {NOT_FOUND, EMPTY_200, HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    check_session(lost, true, UPSTREAM_COMPLETED, "RSR");
}

static void stream_runs_once_more_only_once(void **state) {
    (void)state;
    static const char *const lost[] = {NOT_FOUND, EMPTY_200, NOT_FOUND, EMPTY_200, NULL};
    check_session(lost, true, UPSTREAM_STATUS, "RSR");
    static const char *const just_created[] = {EMPTY_200, NOT_FOUND, EMPTY_200, NULL};
    check_session(just_created, false, UPSTREAM_STATUS, "SR");
}

static void stream_waits_for_its_session_no_longer_than_for_a_first_byte(void **state) {
    (void)state;
    static const char *const silent[] = {NULL};
    check_session(silent, false, UPSTREAM_IDLE, "S");
    static const char *const half[] = {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", NULL};
    check_session(half, false, UPSTREAM_IDLE, "S");
}

static void stream_tells_once_that_its_run_was_sent(void **state) {
    (void)state;
    static const char *const lost[] = {NOT_FOUND, EMPTY_200, HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    answers = lost;
    fixture_begin(&fixture, serve_answers);
    struct upstream_post post = recorder_post(&fixture, "/session", true);
    recorder_start_post(&recorder, &post);
    recorder_await_end(&recorder);
    assert_string_equal(recorder.told, "sent|message:a|end|");
    fixture_end(&fixture);
}

/* ---- why a session could not be created --------------------------------------------------------------- */

static void check_reason(const char *creation, const char *run, enum upstream_end end,
                         enum upstream_cause cause, const char *message) {
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    const char *const texts[] = {creation, run, NULL};
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    struct upstream_post asked = recorder_post(&fixture, "/session", false);
    recorder_start_post(&recorder, &asked);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, end);
    assert_string_equal(recorder.message, message);
    assert_int_equal(recorder.result.cause, cause);
    assert_int_equal(raw_server_connections(&fixture.server), 1); /* whatever the creation was answered */
    fixture_end(&fixture);
}

#define LOCKED "HTTP/1.1 500 X\r\nContent-Length: 31\r\n\r\n{\"detail\":\"database is locked\"}"
#define EXISTS "HTTP/1.1 409 X\r\nContent-Length: 19\r\n\r\n{\"detail\":\"exists\"}"
#define FAILED "HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nOops"
#define ERROR_EVENT HEAD_CHUNKED "1a\r\ndata: {\"error\":\"no such\"}\n\n\r\n" LAST_CHUNK

static void run_that_is_refused_for_its_session_says_why_that_was_not_created(void **state) {
    (void)state;
    check_reason(LOCKED, NOT_FOUND, UPSTREAM_STATUS, CAUSE_SESSION,
                 "The session could not be created (the upstream answered 500: database is locked). "
                 "The upstream answered 404: No session x");
    check_reason(LOCKED, ERROR_EVENT, UPSTREAM_ERROR, CAUSE_SESSION,
                 "The session could not be created (the upstream answered 500: database is locked). no such");
    check_reason(EXISTS, NOT_FOUND, UPSTREAM_STATUS, CAUSE_SESSION,
                 "The session could not be created (the upstream answered 409: exists). "
                 "The upstream answered 404: No session x");
}

static void creation_is_not_to_blame_for_other_failures(void **state) {
    (void)state;
    check_reason(EXISTS, FAILED, UPSTREAM_STATUS, CAUSE_STATUS, "The upstream answered 500: Oops");
    check_reason(EXISTS, ERROR_EVENT, UPSTREAM_ERROR, CAUSE_ERROR_EVENT, "no such");
    check_reason(EMPTY_200, NOT_FOUND, UPSTREAM_STATUS, CAUSE_STATUS,
                 "The upstream answered 404: No session x");
    check_reason(LOCKED, HEAD_CHUNKED CHUNK_A LAST_CHUNK, UPSTREAM_COMPLETED, CAUSE_NONE, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_that_is_refused_for_its_session_says_why_that_was_not_created),
        cmocka_unit_test(creation_is_not_to_blame_for_other_failures),
        cmocka_unit_test(stream_creates_its_session_first),
        cmocka_unit_test(stream_does_not_create_a_session_that_exists),
        cmocka_unit_test(stream_runs_whatever_the_creation_was_answered),
        cmocka_unit_test(stream_ends_when_there_is_no_room_for_its_session),
        cmocka_unit_test(stream_creates_a_lost_session_and_runs_once_more),
        cmocka_unit_test(stream_runs_once_more_only_once),
        cmocka_unit_test(stream_waits_for_its_session_no_longer_than_for_a_first_byte),
        cmocka_unit_test(stream_tells_once_that_its_run_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
