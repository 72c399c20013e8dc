/* upstream/call: what is tried again, and where. */
#include "tests/unit/call_fixture.h"

static void call_tells_what_a_stream_tells(void **state) {
    (void)state;
    static const char *const texts[] = {WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|a|end|", UPSTREAM_COMPLETED);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].calls, 1);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].failures, 0);
    call_fixture_end(&fixture);
}

/* ---- again at the same upstream ---------------------------------------------------------------------- */

static void call_is_made_again_until_it_succeeds(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), REFUSAL(429), REFUSAL(502),
                                        REFUSAL(504), WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 5;
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|again:a|again:a|again:a|again:a|a|end|", UPSTREAM_COMPLETED);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].calls, 5);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].failures, 4);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].retries, 4);
    call_fixture_end(&fixture);
}

static void call_is_made_as_often_as_it_may_be(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), REFUSAL(502), REFUSAL(503), NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|again:a|end|");
    assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.result.http_status, 502);
    assert_string_equal(recorder.message, "The upstream answered 502.");
    assert_string_equal(asked(&fixture), "aa");
    call_fixture_end(&fixture);
}

static void call_is_not_made_again_for_what_does_not_pass(void **state) {
    (void)state;
    static const char *const refusals[] = {
        REFUSAL(400), REFUSAL(404), REFUSAL(500), REFUSAL(307),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const char *const texts[] = {refusals[i], WHOLE_STREAM, NULL};
        struct call_fixture fixture;
        answers = texts;
        call_fixture_begin(&fixture, serve_answers);
        fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
        call_fixture_open(&fixture);
        check_call(&fixture, "sent|end|", i < 4 ? UPSTREAM_STATUS : UPSTREAM_PROTOCOL);
        call_fixture_end(&fixture);
    }
}

static void call_is_made_again_when_there_is_no_connection(void **state) {
    (void)state;
    static const char *const none[] = {NULL};
    struct call_fixture fixture;
    char url[64];
    int port;
    int fd = raw_server_bind(&port);
    answers = none;
    call_fixture_begin(&fixture, serve_answers);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", port);
    fixture.settings[UPSTREAM_A].base_url = url;
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    check_call(&fixture, "again:a|again:a|end|", UPSTREAM_CONNECT);
    call_fixture_end(&fixture);
    close(fd);
}

static void call_waits_for_as_long_as_it_is_asked_to(void **state) {
    (void)state;
    static const char *const texts[] = {"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
                                        WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    uint64_t begin = uv_hrtime();
    call_do(&recorder, &fixture);
    assert_in_range((uv_hrtime() - begin) / 1000000, 990, 5000);
    assert_string_equal(recorder.told, "sent|again:a|a|end|");
    assert_int_equal(recorder.retry.delay_ms, 1000);
    assert_int_equal(recorder.retry.failure.http_status, 429);
    call_fixture_end(&fixture);
}

static void call_does_not_wait_for_longer_than_it_may(void **state) {
    (void)state;
    static const char *const texts[] = {"HTTP/1.1 503 X\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n",
                                        WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|end|");
    assert_int_equal(recorder.result.retry_after_ms, 100000);
    call_fixture_end(&fixture);
}

static void serve_event_and_break(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A);
}

static void call_is_tried_nowhere_after_an_event(void **state) {
    (void)state;
    struct call_fixture fixture;
    call_fixture_begin(&fixture, serve_event_and_break);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    fixture.settings[UPSTREAM_A].canned_answer = (char[]){"sorry"};
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|a|end|", UPSTREAM_TRUNCATED);
    assert_string_equal(asked(&fixture), "a");
    call_fixture_end(&fixture);
}

static struct upstream_settings others[UPSTREAMS];

static void reload(struct call_recorder *recorder) {
    struct call_fixture *fixture = recorder->fixture;
    memcpy(others, fixture->settings, sizeof others);
    memset(fixture->settings, 0, sizeof fixture->settings);
    others[UPSTREAM_A].base_url = fixture->urls[UPSTREAM_C];
    fixture->upstream_worker.settings.items = others;
}

static void call_takes_other_settings_from_the_next_attempt_on(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {.in_retry = reload};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|again:a|a|end|");
    assert_string_equal(asked(&fixture), "ac");
    call_fixture_end(&fixture);
}

/* ---- the next upstream ------------------------------------------------------------------------------- */

static void call_goes_down_the_chain(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), REFUSAL(503), REFUSAL(502),
                                        REFUSAL(500), WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 2;
    fixture.settings[UPSTREAM_B].retry.attempts_max = 2;
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    fixture.settings[UPSTREAM_B].fallback = fixture.names[UPSTREAM_C];
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|again:a|next:b|again:b|next:c|a|end|");
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(asked(&fixture), "aabbc");
    assert_int_equal(fixture.upstreams.items[UPSTREAM_A].fallbacks, 1);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_B].fallbacks, 1);
    assert_int_equal(fixture.upstreams.items[UPSTREAM_C].fallbacks, 0);
    call_fixture_end(&fixture);
}

static void call_goes_through_a_circle_once(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), REFUSAL(502), REFUSAL(503), REFUSAL(503), NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    for (size_t i = 0; i < UPSTREAMS; i++)
        fixture.settings[i].fallback = fixture.names[(i + 1) % UPSTREAMS];
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|next:b|next:c|end|", UPSTREAM_STATUS);
    call_fixture_end(&fixture);
}

static void check_goes_on(const char *text, const char *told, enum upstream_end end) {
    const char *const texts[] = {text, WHOLE_STREAM, NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    check_call(&fixture, told, end);
    call_fixture_end(&fixture);
}

static void call_goes_on_from_what_another_upstream_may_do_better(void **state) {
    (void)state;
    check_goes_on(REFUSAL(500), "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    check_goes_on(REFUSAL(429), "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    check_goes_on("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
                  "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    check_goes_on(REFUSAL(400), "sent|end|", UPSTREAM_STATUS);
    check_goes_on(REFUSAL(404), "sent|end|", UPSTREAM_STATUS);
    check_goes_on(HEAD_CHUNKED LAST_CHUNK, "sent|end|", UPSTREAM_COMPLETED);
}

static void serve_silence_to_the_first(struct raw_server *server, int fd, size_t connection) {
    if (raw_server_read(server, fd) && connection > 0)
        raw_server_write(fd, WHOLE_STREAM);
    raw_server_hold(fd);
}

static void call_goes_on_from_an_upstream_that_is_silent(void **state) {
    (void)state;
    struct call_fixture fixture;
    call_fixture_begin(&fixture, serve_silence_to_the_first);
    fixture.settings[UPSTREAM_A].first_byte_timeout_ms = 50;
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|next:b|a|end|", UPSTREAM_COMPLETED);
    call_fixture_end(&fixture);
}

static void call_goes_on_from_an_upstream_that_it_cannot_be_built_for(void **state) {
    (void)state;
    static const char *const texts[] = {REFUSAL(503), WHOLE_STREAM, REFUSAL(500), NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {.not_built = "b"};
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    fixture.settings[UPSTREAM_B].fallback = fixture.names[UPSTREAM_C];
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, "sent|next:b|next:c|a|end|");
    struct call_recorder nowhere = {.not_built = "b"};
    fixture.settings[UPSTREAM_B].fallback = NULL;
    call_do(&nowhere, &fixture);
    assert_string_equal(nowhere.told, "sent|next:b|end|");
    assert_int_equal(nowhere.result.http_status, 500); /* what was tried says more than what was not */
    struct call_recorder alone = {.not_built = "a"};
    fixture.settings[UPSTREAM_A].fallback = NULL;
    call_do(&alone, &fixture);
    assert_string_equal(alone.told, "end|");
    assert_int_equal(alone.result.end, UPSTREAM_INTERNAL);
    assert_string_equal(alone.message, "It cannot be built.");
    call_fixture_end(&fixture);
}

/* ---- the canned answer ------------------------------------------------------------------------------- */

static bool note_none(struct call_recorder *recorder) {
    assert_int_equal(upstream_call_upstream(recorder->call), UPSTREAM_NONE);
    assert_int_equal(calls_in_phases(recorder->fixture), 0);
    return true;
}

static void check_canned(const struct adapter *adapter, size_t owner, const char *text, const char *told) {
    static const char *const refused[] = {REFUSAL(503), REFUSAL(503), NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {.in_event = note_none};
    answers = refused;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].adapter = adapter;
    fixture.settings[UPSTREAM_A].fallback = fixture.names[UPSTREAM_B];
    fixture.settings[owner].canned_answer = (char *)(uintptr_t)text;
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_string_equal(recorder.told, told);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(fixture.upstreams.items[owner].canned, 1);
    call_fixture_end(&fixture);
}

static void call_ends_with_the_canned_answer(void **state) {
    (void)state;
    check_canned(&adapter_sse, UPSTREAM_A, "Later, please.", "sent|next:b|canned|Later, please.|end|");
    check_canned(&adapter_sse, UPSTREAM_B, "Later, please.", "sent|next:b|canned|Later, please.|end|");
    check_canned(
        &adapter_adk, UPSTREAM_A, "\"Later\"",
        "sent|next:b|canned|{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"\\\"Later\\\"\"}]},"
        "\"author\":\"sluice\",\"turnComplete\":true}|end|");
}

static void call_ends_the_canned_answer_as_its_kind_does(void **state) {
    (void)state;
    static const char *const refused[] = {REFUSAL(500), NULL};
    struct call_fixture fixture;
    struct call_recorder recorder = {0};
    answers = refused;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].adapter = &adapter_openai;
    fixture.settings[UPSTREAM_A].canned_answer = (char[]){"Later."};
    call_fixture_open(&fixture);
    call_do(&recorder, &fixture);
    assert_non_null(strstr(recorder.told, "sent|canned|{\"id\":"));
    assert_non_null(strstr(recorder.told, "\"delta\":{\"role\":\"assistant\",\"content\":\"Later.\"}"));
    assert_non_null(strstr(recorder.told, "}|[DONE]|end|"));
    call_fixture_end(&fixture);
}

static void call_gives_no_canned_answer_to_a_wrong_request(void **state) {
    (void)state;
    static const char *const refused[] = {REFUSAL(400), NULL};
    struct call_fixture fixture;
    answers = refused;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].canned_answer = (char[]){"Later."};
    call_fixture_open(&fixture);
    check_call(&fixture, "sent|end|", UPSTREAM_STATUS);
    call_fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_tells_what_a_stream_tells),
        cmocka_unit_test(call_is_made_again_until_it_succeeds),
        cmocka_unit_test(call_is_made_as_often_as_it_may_be),
        cmocka_unit_test(call_is_not_made_again_for_what_does_not_pass),
        cmocka_unit_test(call_is_made_again_when_there_is_no_connection),
        cmocka_unit_test(call_waits_for_as_long_as_it_is_asked_to),
        cmocka_unit_test(call_does_not_wait_for_longer_than_it_may),
        cmocka_unit_test(call_is_tried_nowhere_after_an_event),
        cmocka_unit_test(call_takes_other_settings_from_the_next_attempt_on),
        cmocka_unit_test(call_goes_down_the_chain),
        cmocka_unit_test(call_goes_through_a_circle_once),
        cmocka_unit_test(call_goes_on_from_what_another_upstream_may_do_better),
        cmocka_unit_test(call_goes_on_from_an_upstream_that_is_silent),
        cmocka_unit_test(call_goes_on_from_an_upstream_that_it_cannot_be_built_for),
        cmocka_unit_test(call_ends_with_the_canned_answer),
        cmocka_unit_test(call_ends_the_canned_answer_as_its_kind_does),
        cmocka_unit_test(call_gives_no_canned_answer_to_a_wrong_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
