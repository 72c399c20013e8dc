/* upstream/call: a call that is cancelled, at any time and from anywhere, gives back what it holds. */
#include "tests/unit/call_fixture.h"

enum { TOKENS = 10 };

/** Cancels a call in this phase: it is in no other, and gives back its slot, and its token if it was not
 * used. */
static void check_cancel(void (*serve)(struct raw_server *server, int fd, size_t connection),
                         enum upstream_phase phase, uint64_t tokens) {
    struct call_fixture fixture;
    struct call_recorder recorder = {0}, next = {0};
    call_fixture_begin(&fixture, serve);
    guard_by_limiter(&fixture, 1, 0);
    guard_by_breaker(&fixture, 100);
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    await_phase(&fixture, UPSTREAM_A, phase);
    assert_int_equal(calls_in_phases(&fixture), 1);
    upstream_call_cancel(recorder.call);
    assert_int_equal(calls_in_phases(&fixture), 0);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 0);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).tokens, tokens);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 0);
    assert_given_back(&fixture);
    assert_null(strstr(recorder.told, "end"));
    call_start(&next, &fixture);
    while (limiter_now(&fixture, UPSTREAM_A).slots_used == 0)
        fixture_turn(&fixture.fixture);
    upstream_call_cancel(next.call);
    call_fixture_end(&fixture);
}

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    (void)!raw_server_read(server, fd);
    raw_server_hold(fd);
}

static void serve_head_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED);
    raw_server_hold(fd);
}

static void serve_not_now(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, "HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n");
    raw_server_hold(fd);
}

static void call_cancelled_in_any_phase_gives_back_what_it_holds(void **state) {
    (void)state;
    check_cancel(serve_silence, UPSTREAM_PHASE_LIMITER, TOKENS);
    check_cancel(serve_silence, UPSTREAM_PHASE_FIRST_BYTE, TOKENS - 1);
    check_cancel(serve_head_and_hold, UPSTREAM_PHASE_STREAMING, TOKENS - 1);
}

/* The request that creates a session uses the token up as a run's does. */
static void call_cancelled_while_its_session_is_created_keeps_its_token(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder recorder = {.has_session = true};
    call_fixture_begin(&fixture, serve_silence);
    guard_by_limiter(&fixture, 1, 0);
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    while (raw_server_requests(&fixture.fixture.server) == 0)
        fixture_turn(&fixture.fixture);
    assert_int_equal(calls_in_phase(&fixture, UPSTREAM_A, UPSTREAM_PHASE_CONNECT), 1);
    upstream_call_cancel(recorder.call);
    assert_int_equal(calls_in_phases(&fixture), 0);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 0);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).tokens, TOKENS - 1);
    call_fixture_end(&fixture);
    assert_string_equal(recorder.told, "");
}

static void call_cancelled_between_two_attempts_gives_back_what_it_holds(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    call_fixture_begin(&fixture, serve_not_now);
    guard_by_limiter(&fixture, 1, 0);
    guard_by_breaker(&fixture, 100);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    await_phase(&fixture, UPSTREAM_A, UPSTREAM_PHASE_RETRY);
    assert_int_equal(calls_in_phases(&fixture), 1);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 0); /* also while it waits */
    upstream_call_cancel(recorder.call);
    assert_int_equal(calls_in_phases(&fixture), 0);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).tokens, TOKENS - 1);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, 0);
    call_fixture_end(&fixture);
    assert_string_equal(recorder.told, "sent|again:a|");
}

static void call_cancelled_while_it_waits_leaves_the_line(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder first = {0}, waiting = {0}, granted = {0}, last = {0};
    call_fixture_begin(&fixture, serve_event_and_hold);
    guard_by_limiter(&fixture, 1, 3);
    call_fixture_open(&fixture);
    call_start(&first, &fixture);
    await_phase(&fixture, UPSTREAM_A, UPSTREAM_PHASE_STREAMING);
    call_start(&waiting, &fixture);
    call_start(&granted, &fixture);
    call_start(&last, &fixture);
    while (limiter_now(&fixture, UPSTREAM_A).waiting < 3)
        fixture_turn(&fixture.fixture);
    upstream_call_cancel(waiting.call);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).waiting, 2);
    upstream_call_cancel(first.call); /* its slot is granted, and the item is on its way ... */
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 1);
    upstream_call_cancel(granted.call); /* ... to nobody: the last one has it now */
    while (strcmp(last.told, "sent|a|") != 0)
        fixture_turn(&fixture.fixture);
    upstream_call_cancel(last.call);
    assert_given_back(&fixture);
    assert_string_equal(waiting.told, "");
    assert_string_equal(granted.told, "");
    call_fixture_end(&fixture);
}

static struct call_recorder *next_in_line;

static bool hand_on_and_cancel(struct call_recorder *recorder) {
    assert_int_equal(limiter_now(recorder->fixture, UPSTREAM_A).waiting, 2);
    upstream_call_cancel(recorder->call);
    upstream_call_cancel(next_in_line->call);
    return true;
}

/* The loop closes the handles of a call before it looks into its inbox again. */
static void call_cancelled_as_it_is_granted_stays_until_it_was_told(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder first = {.in_event = hand_on_and_cancel}, granted = {0}, last = {0};
    next_in_line = &granted;
    call_fixture_begin(&fixture, serve_event_and_hold);
    guard_by_limiter(&fixture, 1, 2);
    call_fixture_open(&fixture);
    call_start(&first, &fixture);
    call_start(&granted, &fixture);
    call_start(&last, &fixture);
    while (strcmp(last.told, "sent|a|") != 0)
        fixture_turn(&fixture.fixture);
    assert_string_equal(granted.told, "");
    upstream_call_cancel(last.call);
    call_fixture_end(&fixture);
}

static void cancel(struct call_recorder *recorder) {
    upstream_call_cancel(recorder->call);
}

static bool cancel_in_event(struct call_recorder *recorder) {
    upstream_call_cancel(recorder->call);
    return true;
}

static bool refuse_event(struct call_recorder *recorder) {
    (void)recorder;
    return false;
}

static void check_cancel_within(struct call_recorder recorder, const char *first, const char *told) {
    const char *const texts[] = {first, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_limiter(&fixture, 1, 0);
    guard_by_breaker(&fixture, 100);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    fixture.settings[UPSTREAM_A].canned_answer = (char[]){"sorry"};
    call_fixture_open(&fixture);
    call_start(&recorder, &fixture);
    assert_given_back(&fixture);
    assert_string_equal(recorder.told, told);
    assert_true(strlen(asked(&fixture)) <= 1);
    call_fixture_end(&fixture);
}

static void call_cancelled_in_its_callbacks_tells_nothing_more(void **state) {
    (void)state;
    check_cancel_within((struct call_recorder){.in_prepare = cancel}, WHOLE_STREAM, "");
    check_cancel_within((struct call_recorder){.in_sent = cancel}, WHOLE_STREAM, "sent|");
    check_cancel_within((struct call_recorder){.in_event = cancel_in_event}, WHOLE_STREAM, "sent|a|");
    check_cancel_within((struct call_recorder){.in_event = refuse_event}, WHOLE_STREAM, "sent|a|");
    check_cancel_within((struct call_recorder){.in_end = cancel}, WHOLE_STREAM, "sent|a|end|");
    check_cancel_within((struct call_recorder){.in_retry = cancel}, REFUSAL(503), "sent|again:a|");
    check_cancel_within((struct call_recorder){.in_retry = cancel}, REFUSAL(500), "sent|canned|");
    check_cancel_within((struct call_recorder){.refuses_retry = true}, REFUSAL(503), "sent|again:a|");
    check_cancel_within((struct call_recorder){.refuses_retry = true}, REFUSAL(500), "sent|canned|");
    check_cancel_within((struct call_recorder){.in_event = refuse_event}, REFUSAL(500), "sent|canned|sorry|");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_cancelled_in_any_phase_gives_back_what_it_holds),
        cmocka_unit_test(call_cancelled_while_its_session_is_created_keeps_its_token),
        cmocka_unit_test(call_cancelled_between_two_attempts_gives_back_what_it_holds),
        cmocka_unit_test(call_cancelled_while_it_waits_leaves_the_line),
        cmocka_unit_test(call_cancelled_as_it_is_granted_stays_until_it_was_told),
        cmocka_unit_test(call_cancelled_in_its_callbacks_tells_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
