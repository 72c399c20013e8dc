/* upstream/client and streams: the request, connections, and the end marker. */
#include "tests/unit/answering_server.h"
#include "tests/unit/stream_recorder.h"

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

static void stream_sends_the_headers_that_its_run_brings(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED LAST_CHUNK, HEAD_CHUNKED LAST_CHUNK, NULL};
    struct fixture fixture;
    struct recorder recorder;
    answers = whole;
    fixture_begin(&fixture, serve_answers);
    recorder_do(&recorder, &fixture);
    assert_false(raw_server_was_sent(&fixture.server, "Last-Event-ID"));
    assert_false(raw_server_was_sent(&fixture.server, "trace"));
    recorder = (struct recorder){.fixture = &fixture};
    struct upstream_post post = recorder_post(&fixture, NULL, false);
    post.last_event_id = "id 7";
    strcpy(post.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    post.tracestate = "rojo=00f067aa0ba902b7";
    recorder_start_post(&recorder, &post);
    recorder_await_end(&recorder);
    assert_true(raw_server_was_sent(&fixture.server, "\r\nLast-Event-ID: id 7\r\n"));
    assert_true(raw_server_was_sent(
        &fixture.server, "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\ntracestate: rojo=00f067aa0ba902b7\r\n"));
    fixture_end(&fixture);
}

static void check_asked_for(const char *bytes, int64_t from_ms, int64_t to_ms) {
    const char *const texts[] = {bytes, NULL};
    struct fixture fixture;
    struct recorder recorder;
    answers = texts;
    fixture_begin(&fixture, serve_answers);
    recorder_do(&recorder, &fixture);
    assert_in_range(recorder.result.retry_after_ms, from_ms, to_ms);
    fixture_end(&fixture);
}

static void stream_tells_for_how_long_it_was_asked_to_stay_away(void **state) {
    (void)state;
    check_asked_for("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 7000, 7000);
    check_asked_for("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", 0, 0);
    check_asked_for(HEAD_CHUNKED "d\r\nretry: 2500\n\n\r\n" LAST_CHUNK, 2500, 2500);
    check_asked_for(HEAD_CHUNKED CHUNK_A LAST_CHUNK, 0, 0);
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

static void stream_keeps_nothing_of_its_settings(void **state) {
    (void)state;
    static const char *const whole[] = {HEAD_CHUNKED CHUNK_A LAST_CHUNK, HEAD_CHUNKED CHUNK_A LAST_CHUNK,
                                        NULL};
    struct fixture fixture;
    struct recorder recorder = {0};
    answers = whole;
    fixture_begin(&fixture, serve_answers);
    recorder_start(&recorder, &fixture);
    fixture.settings.authorization = (char[]){"Bearer other"};
    fixture.settings.event_bytes_max = 0;
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_false(raw_server_was_sent(&fixture.server, "Bearer other"));
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_LIMIT);
    assert_true(raw_server_was_sent(&fixture.server, "Bearer other"));
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

enum { AT_ONCE = 5 };

/** Answers when this many requests are there, so that each needs a connection of its own. */
static void serve_several_at_once(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        size_t rounds = (raw_server_requests(server) + AT_ONCE - 1) / AT_ONCE;
        while (raw_server_requests(server) < rounds * AT_ONCE)
            usleep(1000);
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A LAST_CHUNK);
    }
}

static void client_keeps_no_more_idle_connections_than_it_may(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_begin(&fixture, serve_several_at_once);
    upstream_client_set_connections_max(fixture.client, 1);
    for (size_t round = 0; round < 2; round++) {
        struct recorder recorders[AT_ONCE] = {0};
        for (size_t i = 0; i < AT_ONCE; i++)
            recorder_start(&recorders[i], &fixture);
        assert_int_equal(upstream_client_active(fixture.client), AT_ONCE);
        for (size_t i = 0; i < AT_ONCE; i++)
            recorder_await_end(&recorders[i]);
    }
    assert_int_equal(raw_server_connections(&fixture.server), AT_ONCE + AT_ONCE - 1);
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
    assert_in_range((uv_hrtime() - begin) / 1000000, 0, 3000); /* less than all other limits */
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
        cmocka_unit_test(stream_sends_the_headers_that_its_run_brings),
        cmocka_unit_test(stream_tells_for_how_long_it_was_asked_to_stay_away),
        cmocka_unit_test(client_sends_paths_as_they_are_and_asks_no_proxy),
        cmocka_unit_test(stream_keeps_nothing_of_its_settings),
        cmocka_unit_test(client_uses_a_connection_again),
        cmocka_unit_test(client_uses_a_connection_again_after_the_end_marker),
        cmocka_unit_test(client_keeps_no_more_idle_connections_than_it_may),
        cmocka_unit_test(stream_completes_at_the_end_marker_and_lets_the_connection_go_soon),
        cmocka_unit_test(stream_without_its_end_marker_is_truncated),
        cmocka_unit_test(stream_takes_an_event_of_many_megabytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
