/* upstream/call: what the breaker and the limiter let through, and what they are told. */
#include "tests/unit/call_fixture.h"

/* ---- the breaker ------------------------------------------------------------------------------------- */

static void breaker_refuses_and_the_call_goes_on_at_once(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(500), WHOLE_STREAM, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 1);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).state, BREAKER_OPEN);
    check_call(&fixture, "next:b|sent|a|end|", UPSTREAM_COMPLETED);
    assert_string_equal(asked(&fixture), "abb");
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).refused, 1);
    call_fixture_end(&fixture);
}

static void breaker_refuses_a_call_that_has_nowhere_to_go(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(500), NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 1);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|end|", UPSTREAM_STATUS);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "end|");
    assert_int_equal(recorder.result.end, UPSTREAM_REFUSED);
    assert_true(recorder.result.retry_after_ms > 0);
    assert_string_equal(asked(&fixture), "a");
    call_fixture_end(&fixture);
}

static void check_counted(const char *text, uint64_t calls, uint64_t failures) {
    const char *const texts[] = {text, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 100);
    fixture.settings[UPSTREAM_A].adapter = &adapter_adk;
    fixture.settings[UPSTREAM_A].event_bytes_max = 50;
    fixture.settings[UPSTREAM_A].idle_timeout_ms = 50;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).calls, calls);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).failures, failures);
    call_fixture_end(&fixture);
}

static void breaker_counts_what_the_upstream_could_not_do(void **state) {
    (void)state;
    check_counted(WHOLE_STREAM, 1, 0);
    check_counted(REFUSAL(400), 1, 0);
    check_counted(REFUSAL(429), 0, 0);
    check_counted(REFUSAL(503), 1, 1);
    check_counted(HEAD_CHUNKED CHUNK_A, 1, 1); /* silence */
    check_counted("SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n", 1, 1);
    check_counted(HEAD_CHUNKED "15\r\ndata: {\"error\": \"x\"}\n\r\n1\r\n\n\r\n" LAST_CHUNK, 1, 1);
    check_counted(HEAD_CHUNKED "40\r\n"
                               "data: 0123456789012345678901234567890123456789012345678901234567\r\n",
                  0, 0);
}

static void breaker_takes_the_first_event_of_a_probe_for_its_success(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), HEAD_CHUNKED CHUNK_A, NULL};
    struct call_fixture fixture;
    struct call_recorder probe = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 1);
    fixture.settings[UPSTREAM_A].breaker.recovery_ms = 1;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|end|", UPSTREAM_STATUS);
    while (breaker_now(&fixture, UPSTREAM_A).state == BREAKER_OPEN)
        usleep(1000);
    call_start(&probe, &fixture);
    while (strcmp(probe.told, "sent|a|") != 0)
        fixture_turn(&fixture.fixture);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).state, BREAKER_CLOSED);
    upstream_call_cancel(probe.call);
    call_fixture_end(&fixture);
}

static void breaker_is_not_kept_from_probing_by_a_call_that_waits(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), NULL};
    struct call_fixture fixture;
    struct call_recorder waiting = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_breaker(&fixture, 1);
    guard_by_limiter(&fixture, 0, 1);
    fixture.settings[UPSTREAM_A].breaker.recovery_ms = 100; /* then a probe without an outcome is given up */
    fixture.settings[UPSTREAM_A].limiter.rate_calls = 1;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|end|", UPSTREAM_STATUS);
    while (breaker_now(&fixture, UPSTREAM_A).state == BREAKER_OPEN)
        usleep(1000);
    call_start(&waiting, &fixture);
    while (limiter_now(&fixture, UPSTREAM_A).waiting == 0)
        fixture_turn(&fixture.fixture);
    assert_true(breaker_would_pass(fixture.upstreams.items[UPSTREAM_A].breaker, NULL));
    upstream_call_cancel(waiting.call);
    call_fixture_end(&fixture);
}

/* ---- the limiter ------------------------------------------------------------------------------------- */

static bool end_the_first(struct call_recorder *recorder) {
    assert_int_equal(calls_in_phase(recorder->fixture, UPSTREAM_A, UPSTREAM_PHASE_LIMITER), 1);
    return false;
}

static void limiter_lets_one_call_wait_for_another(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder first = {.in_event = end_the_first}, second = {0};
    call_fixture_begin(&fixture, serve_event_and_hold);
    guard_by_limiter(&fixture, 1, 1);
    call_fixture_open(&fixture);
    call_start(&first, &fixture);
    call_start(&second, &fixture);
    while (strcmp(second.told, "sent|a|") != 0)
        fixture_turn(&fixture.fixture);
    assert_string_equal(first.told, "sent|a|");
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).waited, 1);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots_used, 1);
    assert_int_equal(calls_in_phases(&fixture), 1);
    upstream_call_cancel(second.call);
    call_fixture_end(&fixture);
}

static void limiter_that_is_full_sends_the_call_on(void **state) {
    (void)state;
    struct call_fixture fixture;
    struct call_recorder first = {0}, refused = {0}, sent_on = {0};
    call_fixture_begin(&fixture, serve_event_and_hold);
    guard_by_limiter(&fixture, 1, 0);
    call_fixture_open(&fixture);
    call_start(&first, &fixture);
    await_phase(&fixture, UPSTREAM_A, UPSTREAM_PHASE_STREAMING);
    call_start(&refused, &fixture);
    call_await_end(&refused);
    assert_string_equal(refused.told, "end|");
    assert_int_equal(refused.result.end, UPSTREAM_CROWDED);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_start(&sent_on, &fixture);
    await_phase(&fixture, UPSTREAM_B, UPSTREAM_PHASE_STREAMING);
    assert_string_equal(asked(&fixture), "ab");
    upstream_call_cancel(sent_on.call);
    upstream_call_cancel(first.call);
    call_fixture_end(&fixture);
}

static void limiter_is_polled_until_there_is_a_token(void **state) {
    (void)state;
    static const char *const texts[] = {WHOLE_STREAM, WHOLE_STREAM, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].limiter =
        (struct limiter_settings){.rate_calls = 1, .rate_per_ms = 150, .waiting_max = 1};
    call_fixture_open(&fixture);
    uint64_t begin = uv_hrtime();
    for (size_t i = 0; i < 3; i++)
        check_call(&fixture, "sent|a|end|", UPSTREAM_COMPLETED);
    assert_in_range((uv_hrtime() - begin) / 1000000, 290, 5000);
    call_fixture_end(&fixture);
}

static void limiter_hears_of_overload(void **state) {
    (void)state;
    static const char *const texts[] = {"HTTP/1.1 503 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n",
                                        NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_limiter(&fixture, 8, 0);
    fixture.settings[UPSTREAM_A].limiter.adaptive = true;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|end|", UPSTREAM_STATUS);
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).slots, 4);
    assert_in_range(limiter_now(&fixture, UPSTREAM_A).paused_ms, 50000, 60000);
    call_fixture_end(&fixture);
}

#define LONG_PAUSE "HTTP/1.1 503 X\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"

static void limiter_that_pauses_for_longer_than_a_call_may_wait_sends_the_call_on(void **state) {
    (void)state;
    static const char *const texts[] = {LONG_PAUSE, WHOLE_STREAM, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder refused = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_limiter(&fixture, 8, 8);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    check_call(&fixture, "next:b|sent|a|end|", UPSTREAM_COMPLETED);
    assert_string_equal(asked(&fixture), "abb");
    fixture.settings[UPSTREAM_A].fallback = NULL;
    call_do(&refused, &fixture);
    assert_string_equal(refused.told, "end|");
    assert_int_equal(refused.result.end, UPSTREAM_CROWDED);
    assert_in_range(refused.result.retry_after_ms, 50000, 60000);
    call_fixture_end(&fixture);
}

/* Both start in one turn of the loop: the second waits for the slot of the first. */
static void limiter_lets_a_waiting_call_go_when_a_long_pause_begins(void **state) {
    (void)state;
    static const char *const texts[] = {LONG_PAUSE, WHOLE_STREAM, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder first = {0}, second = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    guard_by_limiter(&fixture, 1, 1);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    call_start(&first, &fixture);
    call_start(&second, &fixture);
    call_await_end(&first);
    call_await_end(&second);
    assert_string_equal(first.told, "sent|next:b|a|end|");
    assert_string_equal(second.told, "next:b|sent|a|end|");
    assert_int_equal(limiter_now(&fixture, UPSTREAM_A).waited, 1);
    call_fixture_end(&fixture);
}

static void limiter_that_grants_after_the_time_for_retries_is_too_late(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(502), WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].limiter =
        (struct limiter_settings){.rate_calls = 1, .rate_per_ms = 400, .waiting_max = 1};
    fixture.settings[UPSTREAM_A].retry =
        (struct retry_settings){.attempts_max = 2, .max_ms = 1, .total_ms = 100};
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|again:a|end|", UPSTREAM_STATUS);
    assert_string_equal(asked(&fixture), "a");
    call_fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breaker_refuses_and_the_call_goes_on_at_once),
        cmocka_unit_test(breaker_refuses_a_call_that_has_nowhere_to_go),
        cmocka_unit_test(breaker_counts_what_the_upstream_could_not_do),
        cmocka_unit_test(breaker_takes_the_first_event_of_a_probe_for_its_success),
        cmocka_unit_test(breaker_is_not_kept_from_probing_by_a_call_that_waits),
        cmocka_unit_test(limiter_lets_one_call_wait_for_another),
        cmocka_unit_test(limiter_that_is_full_sends_the_call_on),
        cmocka_unit_test(limiter_is_polled_until_there_is_a_token),
        cmocka_unit_test(limiter_hears_of_overload),
        cmocka_unit_test(limiter_that_pauses_for_longer_than_a_call_may_wait_sends_the_call_on),
        cmocka_unit_test(limiter_lets_a_waiting_call_go_when_a_long_pause_begins),
        cmocka_unit_test(limiter_that_grants_after_the_time_for_retries_is_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
