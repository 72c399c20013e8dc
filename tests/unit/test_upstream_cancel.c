/* upstream/client and streams: cancelled and closed at any time, from anywhere. */
#include "tests/unit/answering_server.h"
#include "tests/unit/stream_recorder.h"

static void serve_one_event_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A);
    raw_server_hold(fd);
}

/* ---- cancelling ------------------------------------------------------------------------------------- */

static void cancel_in_sent(struct recorder *recorder) {
    upstream_stream_cancel(recorder->stream);
}

static bool cancel_in_event(struct recorder *recorder) {
    upstream_stream_cancel(recorder->stream);
    return true;
}

static bool refuse_event(struct recorder *recorder) {
    (void)recorder;
    return false;
}

/** Turns the loop until the server has seen all connections go. */
static void await_nothing_told(struct fixture *fixture, struct recorder *recorder, const char *told) {
    assert_int_equal(upstream_client_active(fixture->client), 0);
    fixture_close_client(fixture);
    while (!fixture->is_closed)
        fixture_turn(fixture);
    assert_string_equal(recorder->told, told);
}

static void stream_cancelled_at_once_tells_nothing(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder = {0};
    fixture_begin(&fixture, serve_one_event_and_hold);
    recorder_start(&recorder, &fixture);
    upstream_stream_cancel(recorder.stream);
    await_nothing_told(&fixture, &recorder, "");
    fixture_end(&fixture);
}

static void stream_cancelled_in_its_callbacks_tells_nothing_more(void **state) {
    (void)state;
    struct {
        void (*in_sent)(struct recorder *recorder);
        bool (*in_event)(struct recorder *recorder);
        const char *told;
    } ways[] = {{cancel_in_sent, NULL, "sent|"},
                {NULL, cancel_in_event, "sent|message:a|"},
                {NULL, refuse_event, "sent|message:a|"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        static const char *const texts[] = {HEAD_CHUNKED CHUNK_A CHUNK_A LAST_CHUNK, NULL};
        struct fixture fixture;
        struct recorder recorder = {.in_sent = ways[i].in_sent, .in_event = ways[i].in_event};
        answers = texts;
        fixture_begin(&fixture, serve_answers);
        recorder_start(&recorder, &fixture);
        while (upstream_client_active(fixture.client) > 0)
            fixture_turn(&fixture);
        await_nothing_told(&fixture, &recorder, ways[i].told);
        fixture_end(&fixture);
    }
}

static void stream_cancelled_in_its_end_is_nothing_special(void **state) {
    (void)state;
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder = {.in_end = cancel_in_sent};
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    recorder_start(&recorder, &fixture);
    recorder_await_end(&recorder);
    await_nothing_told(&fixture, &recorder, "sent|message:a|end|");
    fixture_end(&fixture);
}

static struct recorder *victim, *successor;

static bool swap_for_another(struct recorder *recorder) {
    upstream_stream_cancel(victim->stream);
    recorder_start(successor, recorder->fixture);
    return true;
}

static void streams_are_cancelled_and_started_in_the_callbacks_of_others(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder first = {.in_event = swap_for_another}, second = {0}, third = {0};
    victim = &second;
    successor = &third;
    fixture_begin(&fixture, serve_one_event_and_hold);
    recorder_start(&second, &fixture);
    while (second.events == 0)
        fixture_turn(&fixture);
    recorder_start(&first, &fixture);
    while (third.events == 0)
        fixture_turn(&fixture);
    assert_int_equal(upstream_client_active(fixture.client), 2);
    assert_string_equal(second.told, "sent|message:a|");
    assert_string_equal(first.told, "sent|message:a|");
    assert_string_equal(third.told, "sent|message:a|");
    fixture_end(&fixture);
}

/* ---- closing ---------------------------------------------------------------------------------------- */

static bool close_in_event(struct recorder *recorder) {
    fixture_close_client(recorder->fixture);
    return true;
}

static void close_in_end(struct recorder *recorder) {
    fixture_close_client(recorder->fixture);
}

static void client_closes_with_streams_open(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder running = {0}, fresh = {0};
    fixture_begin(&fixture, serve_one_event_and_hold);
    recorder_start(&running, &fixture);
    while (running.events == 0)
        fixture_turn(&fixture);
    recorder_start(&fresh, &fixture);
    fixture_end(&fixture);
    assert_string_equal(running.told, "sent|message:a|");
    assert_string_equal(fresh.told, "");
}

static void client_closes_in_its_streams_callbacks(void **state) {
    (void)state;
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_DONE CHUNK_A LAST_CHUNK, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        struct recorder recorder = {0};
        recorder.in_event = i == 0 ? close_in_event : NULL;
        recorder.in_end = close_in_end;
        answers = texts;
        fixture_begin(&fixture, serve_answers);
        fixture.settings.adapter = &adapter_openai;
        recorder_start(&recorder, &fixture);
        while (!fixture.is_closed)
            fixture_turn(&fixture);
        assert_string_equal(recorder.told, i == 0 ? "sent|message:[DONE]|" : "sent|message:[DONE]|end|");
        fixture_end(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_cancelled_at_once_tells_nothing),
        cmocka_unit_test(stream_cancelled_in_its_callbacks_tells_nothing_more),
        cmocka_unit_test(stream_cancelled_in_its_end_is_nothing_special),
        cmocka_unit_test(streams_are_cancelled_and_started_in_the_callbacks_of_others),
        cmocka_unit_test(client_closes_with_streams_open),
        cmocka_unit_test(client_closes_in_its_streams_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
