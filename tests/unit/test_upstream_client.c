/* upstream/client and streams: sessions, connections, cancelling and closing. */
#include "tests/unit/stream_recorder.h"

#define CHUNK_A "9\r\ndata: a\n\n\r\n"
#define CHUNK_DONE "e\r\ndata: [DONE]\n\n\r\n"
#define EMPTY_200 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define NOT_FOUND "HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n{\"detail\":\"No session x\"}"

/** Answers the n-th request by the n-th text, as often as there are some; then holds. */
static const char *const *answers;

static void serve_answers(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        const char *const *next = answers;
        for (size_t i = 1; i < raw_server_requests(server) && *next != NULL; i++)
            next++;
        if (*next == NULL)
            break;
        raw_server_write(fd, *next);
    }
    raw_server_hold(fd);
}

static void serve_one_event_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A);
    raw_server_hold(fd);
}

/* ---- the request ------------------------------------------------------------------------------------ */

static void client_posts_the_run_as_it_should_look(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder;
    char host[64];
    answers = whole;
    fixture_begin(&fixture, serve_answers);
    snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%d\r\n", fixture.server.port);
    fixture.settings.authorization = (char[]){"Bearer 123"};
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(raw_server_was_sent(&fixture.server, "POST /run_sse HTTP/1.1\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, host));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nAccept: text/event-stream\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nContent-Type: application/json\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nAuthorization: Bearer 123\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nContent-Length: 7\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\n\r\n{\"a\":1}"));
    assert_false(raw_server_was_sent(&fixture.server, "Expect:"));
    assert_false(raw_server_was_sent(&fixture.server, "Accept-Encoding:"));
    fixture_end(&fixture);
}

static void client_sends_paths_as_they_are_and_asks_no_proxy(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder;
    char base_url[128];
    answers = whole;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    fixture_begin(&fixture, serve_answers);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d/a/../b", fixture.server.port);
    fixture.settings.base_url = base_url;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(raw_server_was_sent(&fixture.server, "POST /a/../b/run_sse HTTP/1.1\r\n"));
    fixture_end(&fixture);
    unsetenv("http_proxy");
}

static void client_takes_other_settings_from_the_next_request_on(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        NULL};
    struct fixture fixture;
    struct recorder recorder = {0};
    answers = whole;
    fixture_begin(&fixture, serve_answers);
    struct upstream_settings others = fixture.settings;
    others.authorization = (char[]){"Bearer other"};
    others.event_bytes_max = 0;
    recorder_start(&recorder, &fixture);
    upstream_client_set_settings(fixture.client, &others);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_false(raw_server_was_sent(&fixture.server, "Bearer other"));
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_LIMIT);
    assert_true(raw_server_was_sent(&fixture.server, "Bearer other"));
    fixture_end(&fixture);
}

/* ---- sessions --------------------------------------------------------------------------------------- */

static void check_session(const char *const *texts, bool exists, enum upstream_end end,
                          const char *requests) {
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    fixture.settings.first_byte_timeout_ms = 300;
    struct upstream_run run = recorder_run(&fixture, "/session", exists);
    recorder_start_run(&recorder, &run);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, end);
    char seen[16] = "";
    for (const char *at = fixture.server.log; (at = strstr(at, "POST /")) != NULL; at++)
        strncat(seen, strncmp(at, "POST /run_sse", 13) == 0 ? "R" : "S", sizeof seen - strlen(seen) - 1);
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
    struct upstream_run run = recorder_run(&fixture, "/session", true);
    recorder_start_run(&recorder, &run);
    recorder_await_end(&recorder);
    assert_string_equal(recorder.told, "sent|message:a|end|");
    fixture_end(&fixture);
}

/* ---- connections ------------------------------------------------------------------------------------ */

static size_t connections_of_two_runs(const char *const *texts, const struct adapter *adapter,
                                      int64_t keepalive_ms) {
    struct fixture fixture;
    struct recorder recorder;
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    fixture.settings.adapter = adapter;
    fixture.settings.keepalive_ms = keepalive_ms;
    for (size_t i = 0; i < 2; i++) {
        recorder_do(&recorder, &fixture);
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    }
    size_t connections = raw_server_connections(&fixture.server);
    fixture_end(&fixture);
    return connections;
}

static void client_uses_a_connection_again(void **state) {
    (void)state;
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        NULL};
    assert_int_equal(connections_of_two_runs(texts, &adapter_adk, 4000), 1);
    assert_int_equal(connections_of_two_runs(texts, &adapter_adk, 0), 2);
}

static void client_uses_a_connection_again_after_the_end_marker(void **state) {
    (void)state;
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_A CHUNK_DONE LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A CHUNK_DONE LAST_CHUNK, NULL};
    assert_int_equal(connections_of_two_runs(texts, &adapter_openai, 4000), 1);
}

static void client_keeps_few_idle_connections(void **state) {
    (void)state;
    enum { RUNS = 5 };
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        NULL};
    struct fixture fixture;
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    fixture.settings.connections_max = 1;
    for (size_t round = 0; round < 2; round++) {
        struct recorder recorders[RUNS] = {0};
        for (size_t i = 0; i < RUNS; i++)
            recorder_start(&recorders[i], &fixture);
        assert_int_equal(upstream_client_active(fixture.client), RUNS);
        for (size_t i = 0; i < RUNS; i++)
            recorder_await_end(&recorders[i]);
    }
    assert_in_range(raw_server_connections(&fixture.server), 2 * RUNS - 2, 2 * RUNS - 1);
    fixture_end(&fixture);
}

/* ---- the end marker --------------------------------------------------------------------------------- */

static void serve_marker_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A CHUNK_DONE CHUNK_A);
    raw_server_hold(fd); /* until the client gives the connection up */
    pthread_mutex_lock(&server->mutex);
    strcat(server->log, "[closed]");
    pthread_mutex_unlock(&server->mutex);
}

static void stream_completes_at_the_end_marker_and_lets_the_connection_go_soon(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    fixture_begin(&fixture, serve_marker_and_hold);
    fixture.settings.adapter = &adapter_openai;
    uint64_t begin = uv_hrtime();
    recorder_do(&recorder, &fixture);
    assert_in_range((uv_hrtime() - begin) / 1000000, 0, 900);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(recorder.told, "sent|message:a|message:[DONE]|end|");
    assert_int_equal(upstream_client_active(fixture.client), 0);
    while (!raw_server_was_sent(&fixture.server, "[closed]"))
        fixture_turn(&fixture);
    fixture_end(&fixture);
}

static void stream_without_its_end_marker_is_truncated(void **state) {
    (void)state;
    static const char *const texts[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder;
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    fixture.settings.adapter = &adapter_openai;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_TRUNCATED);
    fixture_end(&fixture);
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

static void serve_megabytes(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    static char piece[65536];
    memset(piece, 'x', sizeof piece - 1);
    if (!raw_server_read(server, fd) || !raw_server_write(fd, HEAD_CHUNKED))
        return;
    raw_server_write_chunk(fd, "data: ");
    for (size_t i = 0; i < 128; i++)
        raw_server_write_chunk(fd, piece);
    raw_server_write_chunk(fd, "\n\n");
    raw_server_write(fd, LAST_CHUNK);
}

static void stream_takes_an_event_of_many_megabytes(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    fixture_begin(&fixture, serve_megabytes);
    fixture.settings.event_bytes_max = 16 << 20;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.event_bytes, 128 * 65535);
    fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_posts_the_run_as_it_should_look),
        cmocka_unit_test(client_sends_paths_as_they_are_and_asks_no_proxy),
        cmocka_unit_test(client_takes_other_settings_from_the_next_request_on),
        cmocka_unit_test(stream_creates_its_session_first),
        cmocka_unit_test(stream_does_not_create_a_session_that_exists),
        cmocka_unit_test(stream_runs_whatever_the_creation_was_answered),
        cmocka_unit_test(stream_creates_a_lost_session_and_runs_once_more),
        cmocka_unit_test(stream_runs_once_more_only_once),
        cmocka_unit_test(stream_waits_for_its_session_no_longer_than_for_a_first_byte),
        cmocka_unit_test(stream_tells_once_that_its_run_was_sent),
        cmocka_unit_test(client_uses_a_connection_again),
        cmocka_unit_test(client_uses_a_connection_again_after_the_end_marker),
        cmocka_unit_test(client_keeps_few_idle_connections),
        cmocka_unit_test(stream_completes_at_the_end_marker_and_lets_the_connection_go_soon),
        cmocka_unit_test(stream_without_its_end_marker_is_truncated),
        cmocka_unit_test(stream_cancelled_at_once_tells_nothing),
        cmocka_unit_test(stream_cancelled_in_its_callbacks_tells_nothing_more),
        cmocka_unit_test(stream_cancelled_in_its_end_is_nothing_special),
        cmocka_unit_test(streams_are_cancelled_and_started_in_the_callbacks_of_others),
        cmocka_unit_test(client_closes_with_streams_open),
        cmocka_unit_test(client_closes_in_its_streams_callbacks),
        cmocka_unit_test(stream_takes_an_event_of_many_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
