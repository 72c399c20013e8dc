/* upstream/query: a request that is no run passes the guards of its upstream, and gives back what it holds
 * however it ends. */
#include "tests/unit/call_fixture.h"
#include "upstream/query.h"

#define ANSWER(status) "HTTP/1.1 " #status " X\r\nContent-Length: 2\r\n\r\n{}"

struct query_recorder {
    struct call_fixture *fixture;
    struct upstream_query *query;
    char told[256]; /* "sent|", "head|", "body|", "end|" */
    int status;
    bool has_ended;
    struct upstream_result result; /* its message is the copy below */
    char message[256];
    const char *cancels_at; /* the callback that cancels it */
    bool refuses_body;
};

static void note(struct query_recorder *recorder, const char *what) {
    size_t used = strlen(recorder->told);
    assert_non_null(recorder->query); /* never before start() has returned */
    assert_false(recorder->has_ended);
    snprintf(recorder->told + used, sizeof(recorder->told) - used, "%s|", what);
    if (recorder->cancels_at != NULL && strcmp(recorder->cancels_at, what) == 0)
        upstream_query_cancel(recorder->query);
}

static void query_on_sent(void *context) {
    note(context, "sent");
}

static void query_on_head(void *context, int status, const struct upstream_header *headers, size_t count,
                          int64_t content_length) {
    struct query_recorder *recorder = context;
    (void)headers, (void)count, (void)content_length;
    recorder->status = status;
    note(recorder, "head");
}

static bool query_on_body(void *context, const char *bytes, size_t length) {
    struct query_recorder *recorder = context;
    (void)bytes, (void)length;
    note(recorder, "body");
    return !recorder->refuses_body;
}

static void query_on_end(void *context, const struct upstream_result *result) {
    struct query_recorder *recorder = context;
    note(recorder, "end");
    recorder->has_ended = true;
    recorder->result = *result;
    snprintf(recorder->message, sizeof(recorder->message), "%s", result->message);
    recorder->result.message = recorder->message;
}

/* Asks upstream a. */
static void query_start(struct query_recorder *recorder, struct call_fixture *fixture, int64_t timeout_ms) {
    static const struct upstream_passage_callbacks callbacks = {
        .on_sent = query_on_sent, .on_head = query_on_head, .on_body = query_on_body, .on_end = query_on_end};
    const struct upstream_query_request request = {
        .index = UPSTREAM_A, .method = "GET", .path = "/x", .timeout_ms = timeout_ms};
    recorder->fixture = fixture;
    recorder->query = upstream_query_start(&fixture->upstream_worker, &request, &callbacks, recorder);
    assert_non_null(recorder->query);
    assert_string_equal(recorder->told, "");
}

static void query_await_end(struct query_recorder *recorder) {
    while (!recorder->has_ended)
        fixture_turn(&recorder->fixture->fixture);
}

static void await_told(struct query_recorder *recorder, const char *told) {
    while (strcmp(recorder->told, told) != 0)
        fixture_turn(&recorder->fixture->fixture);
}

static void query_do(struct query_recorder *recorder, struct call_fixture *fixture) {
    query_start(recorder, fixture, HOUR_MS);
    query_await_end(recorder);
    assert_given_back(fixture);
}

static uint64_t waiting(struct call_fixture *fixture) {
    return atomic_load(&fixture->upstreams.items[UPSTREAM_A].queries_waiting);
}

static uint64_t active(struct call_fixture *fixture) {
    return atomic_load(&fixture->upstreams.items[UPSTREAM_A].queries_active);
}

static void begin(struct call_fixture *fixture,
                  void (*serve)(struct raw_server *server, int fd, size_t connection), uint64_t slots) {
    call_fixture_begin(fixture, serve);
    guard_by_limiter(fixture, slots, 10);
    guard_by_breaker(fixture, 100);
    fixture->settings[UPSTREAM_A].queries_waiting_max = 2;
    fixture->settings[UPSTREAM_A].queries_wait_ms = HOUR_MS;
    call_fixture_open(fixture);
}

static void end(struct call_fixture *fixture) {
    assert_given_back(fixture);
    assert_int_equal(waiting(fixture), 0);
    assert_int_equal(active(fixture), 0);
    call_fixture_end(fixture);
}

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    (void)!raw_server_read(server, fd);
    raw_server_hold(fd);
}

static void serve_half_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A);
    raw_server_hold(fd);
}

/* ---- what counts for whom ---------------------------------------------------------------------------- */

/* What the breaker counts of one answer, and whether the adaptive limiter cuts its slots. */
static void check_counted(const char *text, uint64_t calls, uint64_t failures, bool cuts) {
    const char *const texts[] = {text, NULL};
    struct call_fixture fixture;
    struct query_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 100);
    fixture.settings[UPSTREAM_A].limiter =
        (struct limiter_settings){.rate_per_ms = 1, .concurrency_max = 8, .adaptive = true};
    fixture.settings[UPSTREAM_A].idle_timeout_ms = 50;
    call_fixture_open(&fixture);
    query_do(&recorder, &fixture);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, calls);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).failures, failures);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots, cuts ? 4 : 8);
    bool is_failure = failures > 0 || cuts;
    assert_int_equal(atomic_load(&fixture.upstreams.items[UPSTREAM_A].query_failures), is_failure);
    end(&fixture);
}

static void query_counts_like_a_call_does(void **state) {
    (void)state;
    check_counted(ANSWER(200), 1, 0, false);
    check_counted("HTTP/1.1 204 X\r\n\r\n", 1, 0, false);
    check_counted(ANSWER(302), 1, 0, false);
    check_counted(ANSWER(404), 1, 0, false);
    check_counted(ANSWER(429), 0, 0, true);
    check_counted(ANSWER(500), 1, 1, false);
    check_counted(ANSWER(503), 1, 1, true);
    check_counted("HTTP/1.1 503 X\r\nContent-Length: 10\r\n\r\nhalf", 1, 1, true);
    check_counted("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nhalf", 1, 1, false); /* it falls silent */
    check_counted("no HTTP\r\n\r\n", 1, 1, false);
}

static void query_obeys_a_retry_after(void **state) {
    (void)state;
    static const char *const texts[] = {"HTTP/1.1 429 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n",
                                        NULL};
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0};
    answers = texts;
    begin(&fixture, serve_answers, 2);
    query_do(&first, &fixture);
    assert_int_equal(first.status, 429);
    query_do(&second, &fixture);
    assert_string_equal(second.told, "end|");
    assert_int_equal(second.result.end, UPSTREAM_CROWDED);
    assert_in_range(second.result.retry_after_ms, 3500000, 3600000);
    end(&fixture);
}

static void query_that_probes_is_a_success_at_its_head(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder recorder = {0};
    call_fixture_begin(&fixture, serve_half_and_hold);
    guard_by_breaker(&fixture, 1);
    fixture.settings[UPSTREAM_A].breaker.recovery_ms = 1;
    call_fixture_open(&fixture);
    struct breaker *breaker = fixture.upstreams.items[UPSTREAM_A].breaker;
    struct breaker_pass pass;
    assert_true(breaker_enter(breaker, &pass, NULL));
    assert_int_equal(breaker_leave(breaker, &pass, BREAKER_FAILURE), BREAKER_HAS_OPENED);
    while (!breaker_would_pass(breaker, NULL))
        fixture_turn(&fixture.fixture);
    query_start(&recorder, &fixture, HOUR_MS);
    await_told(&recorder, "sent|head|body|");
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).state, BREAKER_CLOSED);
    upstream_query_cancel(recorder.query);
    end(&fixture);
}

/* ---- refused ----------------------------------------------------------------------------------------- */

static void query_is_refused_in_the_loop_and_not_at_once(void **state) {
    (void)state;
    static const char *const texts[] = {ANSWER(500), NULL};
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 1);
    call_fixture_open(&fixture);
    query_do(&first, &fixture);
    query_do(&second, &fixture); /* asserts that start() told nothing */
    assert_string_equal(second.told, "end|");
    assert_int_equal(second.result.end, UPSTREAM_REFUSED);
    assert_true(second.result.retry_after_ms > HOUR_MS / 2);
    assert_int_equal(atomic_load(&fixture.upstreams.items[UPSTREAM_A].queries_refused), 1);
    end(&fixture);
}

static void query_waits_for_another_one_with_two_of_its_kind(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0}, third = {0}, fourth = {0}, last = {0};
    begin(&fixture, serve_silence, 1);
    query_start(&first, &fixture, HOUR_MS);
    query_start(&second, &fixture, HOUR_MS);
    query_start(&third, &fixture, HOUR_MS);
    assert_int_equal(waiting(&fixture), 2);
    query_start(&fourth, &fixture, HOUR_MS);
    query_await_end(&fourth);
    assert_int_equal(fourth.result.end, UPSTREAM_CROWDED);
    upstream_query_cancel(second.query); /* makes room in the line */
    query_start(&last, &fixture, HOUR_MS);
    assert_int_equal(waiting(&fixture), 2);
    await_told(&first, "sent|");
    upstream_query_cancel(first.query);
    await_told(&third, "sent|");
    assert_int_equal(waiting(&fixture), 1);
    assert_int_equal(active(&fixture), 1);
    upstream_query_cancel(third.query);
    upstream_query_cancel(last.query); /* it may have been granted by now */
    end(&fixture);
}

static void query_that_may_not_wait_is_sent_if_it_need_not(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0};
    begin(&fixture, serve_silence, 1);
    fixture.settings[UPSTREAM_A].queries_waiting_max = 0;
    query_start(&first, &fixture, HOUR_MS);
    query_start(&second, &fixture, HOUR_MS);
    query_await_end(&second);
    assert_int_equal(second.result.end, UPSTREAM_CROWDED);
    await_told(&first, "sent|");
    upstream_query_cancel(first.query);
    end(&fixture);
}

static void query_leaves_the_line_when_its_time_is_over(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0};
    begin(&fixture, serve_silence, 1);
    fixture.settings[UPSTREAM_A].queries_wait_ms = 20;
    query_start(&first, &fixture, HOUR_MS);
    query_start(&second, &fixture, HOUR_MS);
    query_await_end(&second);
    assert_int_equal(second.result.end, UPSTREAM_CROWDED);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).waiting, 0);
    upstream_query_cancel(first.query);
    end(&fixture);
}

/* ---- its end ----------------------------------------------------------------------------------------- */

static void query_takes_no_longer_than_it_may(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder silent = {0}, refusing = {.refuses_body = true};
    begin(&fixture, serve_half_and_hold, 1);
    query_start(&silent, &fixture, 20);
    query_await_end(&silent);
    assert_int_equal(silent.result.end, UPSTREAM_LIMIT);
    query_start(&refusing, &fixture, 20); /* its reader is slow */
    query_await_end(&refusing);
    assert_int_equal(refusing.result.end, UPSTREAM_LIMIT);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 0);
    end(&fixture);
}

static void query_cancelled_at_any_time_gives_back_what_it_holds(void **state) {
    (void)state;
    static const char *const stages[] = {"", "sent|", "sent|head|body|", NULL};
    for (size_t i = 0; stages[i] != NULL; i++) {
        struct call_fixture fixture;
        struct query_recorder recorder = {0};
        begin(&fixture, i == 2 ? serve_half_and_hold : serve_silence, 1);
        query_start(&recorder, &fixture, HOUR_MS);
        await_told(&recorder, stages[i]);
        upstream_query_cancel(recorder.query);
        assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 0);
        assert_int_equal(limiter_now(&fixture, UPSTREAM_A).tokens, i == 0 ? 10 : 9);
        assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 0);
        end(&fixture);
        assert_string_equal(recorder.told, stages[i]);
    }
}

static void query_cancelled_in_its_callbacks_tells_nothing_more(void **state) {
    (void)state;
    static const char *const texts[] = {ANSWER(200), NULL};
    static const char *const told[] = {"sent|", "sent|head|", "sent|head|body|", "sent|head|body|end|", NULL};
    static const char *const at[] = {"sent", "head", "body", "end"};
    answers = texts;
    for (size_t i = 0; told[i] != NULL; i++) {
        struct call_fixture fixture;
        struct query_recorder recorder = {.cancels_at = at[i]};
        begin(&fixture, serve_answers, 1);
        query_start(&recorder, &fixture, HOUR_MS);
        await_told(&recorder, told[i]);
        end(&fixture);
        assert_string_equal(recorder.told, told[i]);
    }
}

static void queries_are_aborted_and_told(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct query_recorder first = {0}, second = {0}, third = {0};
    begin(&fixture, serve_silence, 1);
    query_start(&first, &fixture, HOUR_MS);
    query_start(&second, &fixture, HOUR_MS);
    await_told(&first, "sent|");
    upstream_query_cancel(second.query);
    query_start(&third, &fixture, HOUR_MS);
    upstream_queries_abort(&fixture.upstream_worker);
    assert_string_equal(first.told, "sent|end|");
    assert_string_equal(second.told, "");
    assert_string_equal(third.told, "end|");
    assert_int_equal(first.result.end, UPSTREAM_INTERNAL);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 0);
    end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_counts_like_a_call_does),
        cmocka_unit_test(query_obeys_a_retry_after),
        cmocka_unit_test(query_that_probes_is_a_success_at_its_head),
        cmocka_unit_test(query_is_refused_in_the_loop_and_not_at_once),
        cmocka_unit_test(query_waits_for_another_one_with_two_of_its_kind),
        cmocka_unit_test(query_that_may_not_wait_is_sent_if_it_need_not),
        cmocka_unit_test(query_leaves_the_line_when_its_time_is_over),
        cmocka_unit_test(query_takes_no_longer_than_it_may),
        cmocka_unit_test(query_cancelled_at_any_time_gives_back_what_it_holds),
        cmocka_unit_test(query_cancelled_in_its_callbacks_tells_nothing_more),
        cmocka_unit_test(queries_are_aborted_and_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
