/* upstream/stream: each way in which a run can end is told as what it is. */
#include "tests/support/unit_memory.h"
#include "tests/unit/stream_recorder.h"

#include "base/metrics.h"

#include <errno.h>

/** What the server answers to each request, before it does `then` to the connection. */
static const char *_Atomic answer; /* each connection has a thread */
static enum afterwards { CLOSE, RESET, HOLD, KEEP } then;

static void serve_answer(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        if (!raw_server_write(fd, answer) || then == CLOSE)
            return;
        if (then == RESET) {
            raw_server_reset(fd);
            usleep(20000); /* else the reset overtakes the bytes, which is another case */
            return;
        }
        if (then == HOLD)
            raw_server_hold(fd);
    }
}

/** Runs one stream against `bytes` and checks its end and the text of all that was told. */
static void check_end(const char *bytes, enum afterwards afterwards, enum upstream_end end,
                      const char *told) {
    struct fixture fixture;
    struct recorder recorder;
    answer = bytes;
    then = afterwards;
    fixture_begin(&fixture, serve_answer);
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, end);
    assert_string_equal(recorder.told, told);
    assert_true((end == UPSTREAM_COMPLETED) == (recorder.message[0] == '\0'));
    assert_int_equal(upstream_client_active(fixture.client), 0);
    fixture_end(&fixture);
}

#define HEAD_LENGTH(n) "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: " #n "\r\n\r\n"

static void stream_completes_at_the_last_chunk_though_the_connection_stays(void **state) {
    (void)state;
    check_end(HEAD_CHUNKED CHUNK_A LAST_CHUNK, KEEP, UPSTREAM_COMPLETED, "sent|message:a|end|");
    check_end(HEAD_CHUNKED CHUNK_A "0\r\nTrailer: x\r\n\r\n", KEEP, UPSTREAM_COMPLETED,
              "sent|message:a|end|");
}

static void stream_completes_when_the_content_length_is_there(void **state) {
    (void)state;
    check_end(HEAD_LENGTH(18) "data: a\n\ndata: b\n\n", KEEP, UPSTREAM_COMPLETED,
              "sent|message:a|message:b|end|");
    check_end(HEAD_LENGTH(0), KEEP, UPSTREAM_COMPLETED, "sent|end|");
}

static void stream_is_truncated_when_its_framing_is_broken_off(void **state) {
    (void)state;
    check_end(HEAD_CHUNKED CHUNK_A, CLOSE, UPSTREAM_TRUNCATED, "sent|message:a|end|");
    check_end(HEAD_CHUNKED CHUNK_A "9\r\ndat", CLOSE, UPSTREAM_TRUNCATED, "sent|message:a|end|");
    check_end(HEAD_CHUNKED CHUNK_A "0\r\n", CLOSE, UPSTREAM_TRUNCATED, "sent|message:a|end|");
    check_end(HEAD_LENGTH(10) "data: a\n\n", CLOSE, UPSTREAM_TRUNCATED, "sent|message:a|end|");
}

static void stream_is_truncated_when_the_connection_is_reset(void **state) {
    (void)state;
    check_end(HEAD_CHUNKED CHUNK_A "9\r\ndat", RESET, UPSTREAM_TRUNCATED, "sent|message:a|end|");
    check_end("", RESET, UPSTREAM_TRUNCATED, "sent|end|");
}

static void stream_without_framing_is_truncated(void **state) {
    (void)state;
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n", CLOSE,
              UPSTREAM_TRUNCATED, "sent|message:a|end|");
}

static void stream_is_truncated_when_there_is_no_answer(void **state) {
    (void)state;
    check_end("", CLOSE, UPSTREAM_TRUNCATED, "sent|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Ty", CLOSE, UPSTREAM_TRUNCATED, "sent|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", CLOSE, UPSTREAM_TRUNCATED,
              "sent|end|");
}

static void stream_is_no_event_stream(void **state) {
    (void)state;
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\ndata: a\n\n", KEEP,
              UPSTREAM_PROTOCOL, "sent|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\nContent-Length: 9\r\n\r\ndata: a\n\n",
              KEEP, UPSTREAM_PROTOCOL, "sent|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndata: a\n\n", KEEP, UPSTREAM_PROTOCOL,
              "sent|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
              "Content-Length: 9\r\n\r\ndata: a\n\n",
              KEEP, UPSTREAM_PROTOCOL, "sent|end|");
}

static void stream_takes_any_spelling_of_its_content_type(void **state) {
    (void)state;
    check_end(
        "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream ; charset=utf-8\r\nContent-Length: 9\r\n\r\n"
        "data: a\n\n",
        KEEP, UPSTREAM_COMPLETED, "sent|message:a|end|");
}

static void stream_skips_interim_answers(void **state) {
    (void)state;
    check_end("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" HEAD_CHUNKED CHUNK_A LAST_CHUNK, KEEP,
              UPSTREAM_COMPLETED, "sent|message:a|end|");
}

static void stream_is_not_http(void **state) {
    (void)state;
    check_end("SSH-2.0-OpenSSH_9.2\r\n", CLOSE, UPSTREAM_PROTOCOL, "sent|end|");
    check_end(HEAD_CHUNKED CHUNK_A "zz\r\ndata: b\n\n\r\n", HOLD, UPSTREAM_PROTOCOL, "sent|message:a|end|");
    check_end(HEAD_CHUNKED "9\r\ndata: a\n\nXXXX", HOLD, UPSTREAM_PROTOCOL, "sent|message:a|end|");
    check_end("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: nine\r\n\r\n", HOLD,
              UPSTREAM_PROTOCOL, "sent|end|");
}

static void stream_fails_if_it_says_so_whatever_the_connection_does(void **state) {
    (void)state;
    static const char failing[] = HEAD_CHUNKED "1b\r\ndata: {\"error\": \"it broke\"}\r\n2\r\n\n\n\r\n";
    char whole[256], cut[256];
    snprintf(whole, sizeof whole, "%s" CHUNK_A LAST_CHUNK, failing);
    snprintf(cut, sizeof cut, "%s9\r\ndat", failing);
    const char *told = "sent|message:{\"error\": \"it broke\"}|message:a|end|";
    check_end(whole, KEEP, UPSTREAM_ERROR, told);
    check_end(cut, CLOSE, UPSTREAM_ERROR, "sent|message:{\"error\": \"it broke\"}|end|");
    check_end(cut, RESET, UPSTREAM_ERROR, "sent|message:{\"error\": \"it broke\"}|end|");
}

static void check_failure_message(const char *data, const char *message) {
    struct fixture fixture;
    struct recorder recorder;
    char bytes[512];
    snprintf(bytes, sizeof bytes, "%s%zx\r\ndata: %s\n\n\r\n" LAST_CHUNK, HEAD_CHUNKED, strlen(data) + 8,
             data);
    answer = bytes;
    then = KEEP;
    fixture_begin(&fixture, serve_answer);
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_ERROR);
    assert_int_equal(recorder.result.http_status, 200);
    assert_string_equal(recorder.message, message);
    fixture_end(&fixture);
}

static void stream_tells_what_the_error_frame_says(void **state) {
    (void)state;
    check_failure_message("{\"error\":\"out of luck\"}", "out of luck");
    check_failure_message("{\"error\":{\"code\":7,\"message\":\"deep\"}}", "deep");
    check_failure_message("{\"error\": \"it said \"no\"\"}", "it said \"no\"");
}

/* ---- refusals --------------------------------------------------------------------------------------- */

static void check_refusal(const char *bytes, enum afterwards afterwards, int status, const char *message) {
    struct fixture fixture;
    struct recorder recorder;
    answer = bytes;
    then = afterwards;
    fixture_begin(&fixture, serve_answer);
    uint64_t begin = uv_hrtime();
    recorder_do(&recorder, &fixture);
    assert_in_range((uv_hrtime() - begin) / 1000000, 0, 3000); /* less than all other limits */
    assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.result.http_status, status);
    assert_string_equal(recorder.message, message);
    assert_string_equal(recorder.told, "sent|end|");
    assert_int_equal(raw_server_requests(&fixture.server), 1);
    fixture_end(&fixture);
}

static void stream_tells_the_status_and_what_the_answer_says(void **state) {
    (void)state;
    check_refusal("HTTP/1.1 500 Oops\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}", KEEP, 500,
                  "The upstream answered 500: no");
    check_refusal(
        "HTTP/1.1 422 X\r\nContent-Length: 42\r\n\r\n{\"detail\":[{\"loc\":[],\"msg\":\"a b\\nc\"}]}     ",
        KEEP, 422, "The upstream answered 422: a b");
    check_refusal("HTTP/1.1 503 X\r\nContent-Length: 12\r\n\r\nbusy\xFF\r\nlater", KEEP, 503,
                  "The upstream answered 503: busy\xEF\xBF\xBD");
    check_refusal("HTTP/1.1 400 X\r\nContent-Length: 13\r\n\r\n<html></html>", KEEP, 400,
                  "The upstream answered 400 (without a Content-Type).");
    check_refusal("HTTP/1.1 204 No Content\r\n\r\n", KEEP, 204, "The upstream answered 204.");
}

static void stream_follows_no_redirect(void **state) {
    (void)state;
    check_refusal("HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", KEEP, 307,
                  "The upstream answered 307.");
}

static void stream_waits_little_for_the_body_of_a_refusal(void **state) {
    (void)state;
    check_refusal("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nfirst line\n", HOLD, 500,
                  "The upstream answered 500: first line");
    check_refusal("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nfirst line\n", CLOSE, 500,
                  "The upstream answered 500: first line");
    char endless[4096] = "HTTP/1.1 500 X\r\nContent-Length: 1000000\r\n\r\n";
    size_t head = strlen(endless);
    memset(endless + head, 'x', sizeof endless - 1 - head);
    char message[1024] = "The upstream answered 500: ";
    memset(message + strlen(message), 'x', 500);
    check_refusal(endless, HOLD, 500, message);
}

/* curl says that memory ran out, and gives no means to tell. */
static void stream_says_that_a_header_line_may_have_no_end(void **state) {
    (void)state;
    static char endless[200000] = "HTTP/1.1 200 OK\r\nX-Long: ";
    size_t head = strlen(endless);
    memset(endless + head, 'x', sizeof endless - 1 - head);
    struct fixture fixture;
    struct recorder recorder;
    answer = endless;
    then = HOLD;
    fixture_begin(&fixture, serve_answer);
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_INTERNAL);
    assert_non_null(strstr(recorder.message, "header line"));
    fixture_end(&fixture);
}

/* ---- connections and time --------------------------------------------------------------------------- */

static void check_connect(const char *scheme, int port, int64_t connect_timeout_ms) {
    struct fixture fixture;
    struct recorder recorder;
    char base_url[64];
    answer = "this is no TLS\r\n";
    then = HOLD;
    fixture_begin(&fixture, serve_answer);
    snprintf(base_url, sizeof base_url, "%s://127.0.0.1:%d", scheme, port != 0 ? port : fixture.server.port);
    fixture.settings.base_url = base_url;
    fixture.settings.connect_timeout_ms = connect_timeout_ms;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_int_equal(recorder.result.http_status, 0);
    assert_true(strlen(recorder.message) > 0);
    assert_string_equal(recorder.told, "end|");
    fixture_end(&fixture);
}

static void stream_cannot_connect_when_nobody_listens(void **state) {
    (void)state;
    int port;
    int fd = raw_server_bind(&port);
    check_connect("http", port, 5000);
    close(fd);
}

static void stream_cannot_connect_when_tls_fails(void **state) {
    (void)state;
    check_connect("https", 0, 300); /* the server sends no TLS and leaves the connection up */
}

static void stream_gives_up_connecting_in_time(void **state) {
    (void)state;
    int port;
    int fd = raw_server_bind(&port);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fillers[4]; /* what the kernel completes by itself, and then some */
    assert_int_equal(listen(fd, 0), 0);
    for (size_t i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int result = connect(fillers[i], (struct sockaddr *)&address, sizeof address);
        assert_true(result == 0 || errno == EINPROGRESS);
    }
    check_connect("http", port, 200);
    for (size_t i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
}

static void check_idle(const char *bytes, int64_t first_byte_timeout_ms, int64_t idle_timeout_ms,
                       int status) {
    struct fixture fixture;
    struct recorder recorder;
    answer = bytes;
    then = HOLD;
    fixture_begin(&fixture, serve_answer);
    fixture.settings.first_byte_timeout_ms = first_byte_timeout_ms;
    fixture.settings.idle_timeout_ms = idle_timeout_ms;
    uint64_t begin = uv_hrtime();
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_IDLE);
    assert_int_equal(recorder.result.http_status, status);
    assert_in_range((uv_hrtime() - begin) / 1000000, 90, 3000);
    fixture_end(&fixture);
}

static void stream_is_idle_without_a_first_byte(void **state) {
    (void)state;
    check_idle("", 100, 60000, 0);
}

static void stream_is_idle_without_a_first_event(void **state) {
    (void)state;
    check_idle(HEAD_CHUNKED, 60000, 100, 200);
}

static void stream_is_idle_without_a_next_event(void **state) {
    (void)state;
    check_idle(HEAD_CHUNKED CHUNK_A, 60000, 100, 200);
}

static void serve_slow_events(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (!raw_server_read(server, fd) || !raw_server_write(fd, HEAD_CHUNKED))
        return;
    for (size_t i = 0; i < 8 && raw_server_write_chunk(fd, "data: a\n\n"); i++)
        usleep(50000);
    raw_server_write(fd, LAST_CHUNK);
}

static void stream_is_not_idle_while_events_come(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    fixture_begin(&fixture, serve_slow_events);
    fixture.settings.idle_timeout_ms = 250; /* less than all of it, more than one pause */
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.events, 8);
    fixture_end(&fixture);
}

static void stream_ends_at_an_event_over_the_limit(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    answer = HEAD_CHUNKED "12\r\ndata: 1234567890\n\n\r\n13\r\ndata: 12345678901\n\n\r\n" LAST_CHUNK;
    then = KEEP;
    fixture_begin(&fixture, serve_answer);
    fixture.settings.event_bytes_max = 10;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_LIMIT);
    assert_string_equal(recorder.told, "sent|message:1234567890|end|");
    fixture_end(&fixture);
}

/* A run that would take more memory than there is by the limit ends; one of small events goes on. */
static void stream_ends_at_a_large_event_while_nothing_may_grow(void **state) {
    (void)state;
    static char text[64 * 1024];
    struct fixture fixture;
    struct recorder recorder;
    uint64_t ended = metrics_get(METRIC_MEMORY_RUNS_ENDED);
    int length = snprintf(text, sizeof(text), HEAD_CHUNKED CHUNK_A "%x\r\ndata: ", 40000 + 8);
    memset(text + length, 'x', 40000);
    snprintf(text + length + 40000, sizeof(text) - (size_t)length - 40000, "\n\n\r\n" LAST_CHUNK);
    answer = text;
    then = KEEP;
    fixture_begin(&fixture, serve_answer);
    assert_int_equal(unit_memory_at(18), MEMORY_OVER);
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_LIMIT);
    assert_non_null(strstr(recorder.message, "memory limit has been reached: memory_max_bytes ("));
    assert_string_equal(recorder.told, "sent|message:a|end|");
    assert_int_equal(metrics_get(METRIC_MEMORY_RUNS_ENDED) - ended, 1);
    fixture_end(&fixture);
    unit_memory_at(18);
    check_end(HEAD_CHUNKED CHUNK_A LAST_CHUNK, KEEP, UPSTREAM_COMPLETED, "sent|message:a|end|");
    unit_memory_at(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_completes_at_the_last_chunk_though_the_connection_stays),
        cmocka_unit_test(stream_completes_when_the_content_length_is_there),
        cmocka_unit_test(stream_is_truncated_when_its_framing_is_broken_off),
        cmocka_unit_test(stream_is_truncated_when_the_connection_is_reset),
        cmocka_unit_test(stream_without_framing_is_truncated),
        cmocka_unit_test(stream_is_truncated_when_there_is_no_answer),
        cmocka_unit_test(stream_is_no_event_stream),
        cmocka_unit_test(stream_takes_any_spelling_of_its_content_type),
        cmocka_unit_test(stream_skips_interim_answers),
        cmocka_unit_test(stream_is_not_http),
        cmocka_unit_test(stream_fails_if_it_says_so_whatever_the_connection_does),
        cmocka_unit_test(stream_tells_what_the_error_frame_says),
        cmocka_unit_test(stream_tells_the_status_and_what_the_answer_says),
        cmocka_unit_test(stream_follows_no_redirect),
        cmocka_unit_test(stream_waits_little_for_the_body_of_a_refusal),
        cmocka_unit_test(stream_says_that_a_header_line_may_have_no_end),
        cmocka_unit_test(stream_cannot_connect_when_nobody_listens),
        cmocka_unit_test(stream_cannot_connect_when_tls_fails),
        cmocka_unit_test(stream_gives_up_connecting_in_time),
        cmocka_unit_test(stream_is_idle_without_a_first_byte),
        cmocka_unit_test(stream_is_idle_without_a_first_event),
        cmocka_unit_test(stream_is_idle_without_a_next_event),
        cmocka_unit_test(stream_is_not_idle_while_events_come),
        cmocka_unit_test(stream_ends_at_an_event_over_the_limit),
        cmocka_unit_test(stream_ends_at_a_large_event_while_nothing_may_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
