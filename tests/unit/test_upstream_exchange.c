/* upstream/exchange: requests passed on, and their answers as they come. */
#include "tests/unit/upstream_fixture.h"

struct exchange_recorder {
    struct fixture *fixture;
    struct upstream_exchange *exchange;
    int status;
    char headers[2048]; /* "name: value|" for each */
    int64_t content_length;
    struct buffer body;
    bool has_head;
    bool has_ended;
    struct upstream_result result;
    bool refuses;     /* each piece once, until it is resumed */
    bool has_refused; /* the piece that comes next */
    size_t refusals;
    void (*in_head)(struct exchange_recorder *recorder);
    uv_timer_t resume_timer;
};

static const char *answer;

static void serve_answer(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        if (!raw_server_write(fd, answer))
            return;
    }
}

static void serve_answer_and_close(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, answer);
}

static void on_head(void *context, int status, const struct upstream_header *headers, size_t count,
                    int64_t content_length) {
    struct exchange_recorder *recorder = context;
    assert_non_null(recorder->exchange);
    assert_false(recorder->has_head);
    recorder->has_head = true;
    recorder->status = status;
    recorder->content_length = content_length;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(recorder->headers);
        snprintf(recorder->headers + used, sizeof recorder->headers - used, "%s: %s|", headers[i].name,
                 headers[i].value);
    }
    if (recorder->in_head != NULL)
        recorder->in_head(recorder);
}

static void resume(uv_timer_t *timer) {
    struct exchange_recorder *recorder = CONTAINER_OF(timer, struct exchange_recorder, resume_timer);
    size_t before = recorder->body.length;
    upstream_exchange_resume(recorder->exchange);
    assert_int_equal(recorder->body.length, before); /* the body comes from the loop, not from within */
}

static bool on_body(void *context, const char *bytes, size_t length) {
    struct exchange_recorder *recorder = context;
    assert_true(recorder->has_head);
    assert_false(recorder->has_ended);
    if (recorder->refuses && !recorder->has_refused) {
        recorder->has_refused = true;
        recorder->refusals++;
        uv_timer_start(&recorder->resume_timer, resume, 1, 0);
        return false;
    }
    recorder->has_refused = false;
    return buffer_append(&recorder->body, bytes, length);
}

static void on_end(void *context, const struct upstream_result *result) {
    struct exchange_recorder *recorder = context;
    assert_non_null(recorder->exchange);
    assert_false(recorder->has_ended);
    recorder->has_ended = true;
    recorder->result = *result;
}

static const struct upstream_exchange_callbacks callbacks = {
    .on_head = on_head, .on_body = on_body, .on_end = on_end};

static void recorder_begin(struct exchange_recorder *recorder, struct fixture *fixture) {
    *recorder = (struct exchange_recorder){.fixture = fixture};
    buffer_init(&recorder->body, 16 << 20);
    uv_timer_init(&fixture->loop, &recorder->resume_timer);
}

static void recorder_end(struct exchange_recorder *recorder) {
    uv_close((uv_handle_t *)&recorder->resume_timer, NULL);
    buffer_finish(&recorder->body);
    fixture_end(recorder->fixture);
}

static void start(struct exchange_recorder *recorder, const char *method, const char *path,
                  const char *body) {
    recorder->exchange = upstream_exchange_start(recorder->fixture->client, method, path, NULL, 0, body,
                                                 body != NULL ? strlen(body) : 0, &callbacks, recorder);
    assert_non_null(recorder->exchange);
    assert_int_equal(upstream_client_active(recorder->fixture->client), 1);
}

static void await_end(struct exchange_recorder *recorder) {
    while (!recorder->has_ended)
        fixture_turn(recorder->fixture);
    assert_int_equal(upstream_client_active(recorder->fixture->client), 0);
}

static void exchange_passes_status_end_to_end_headers_and_body(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer =
        "HTTP/1.1 404 Gone fishing\r\nContent-Type: text/plain\r\nconnection: X-Private, close\r\n"
        "x-private: 1\r\nKeep-Alive: timeout=5\r\nX-Two: a\r\nX-Two: b\r\nProxy-Authenticate: x\r\nTE: x\r\n"
        "Upgrade: x\r\nX-Privateer: yes\r\nContent-Length: 5\r\n\r\nhello";
    fixture_begin(&fixture, serve_answer_and_close);
    recorder_begin(&recorder, &fixture);
    start(&recorder, "GET", "/list-apps?x=%2F..", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.result.http_status, 404);
    assert_int_equal(recorder.status, 404);
    assert_int_equal(recorder.content_length, 5);
    assert_string_equal(recorder.headers, "Content-Type: text/plain|X-Two: a|X-Two: b|X-Privateer: yes|");
    assert_string_equal(recorder.body.bytes, "hello");
    assert_true(raw_server_was_sent(&fixture.server, "GET /list-apps?x=%2F.. HTTP/1.1\r\n"));
    assert_false(raw_server_was_sent(&fixture.server, "Content-"));
    recorder_end(&recorder);
}

static void exchange_sends_the_clients_headers_but_not_those_of_the_hop(void **state) {
    (void)state;
    static const struct upstream_header headers[] = {
        {"Accept", "image/png"},           {"Host", "elsewhere"},
        {"Connection", "close"},           {"Content-Length", "7"},
        {"Authorization", "Basic theirs"}, {"X-Empty", ""}};
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    fixture.settings.authorization = (char[]){"Bearer ours"};
    recorder_begin(&recorder, &fixture);
    recorder.exchange = upstream_exchange_start(fixture.client, "PATCH", "/x", headers, 6, "{\"b\":2}", 7,
                                                &callbacks, &recorder);
    await_end(&recorder);
    assert_true(raw_server_was_sent(&fixture.server, "PATCH /x HTTP/1.1\r\nHost: 127.0.0.1:"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nAccept: image/png\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nX-Empty:\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nContent-Type: application/json\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\nAuthorization: Bearer ours\r\n"));
    assert_true(raw_server_was_sent(&fixture.server, "\r\n\r\n{\"b\":2}"));
    assert_false(raw_server_was_sent(&fixture.server, "elsewhere"));
    assert_false(raw_server_was_sent(&fixture.server, "close"));
    assert_false(raw_server_was_sent(&fixture.server, "theirs"));
    assert_false(raw_server_was_sent(&fixture.server, "Expect"));
    recorder_end(&recorder);
}

static void check_method(const char *method, const char *body, const char *expected, const char *unexpected) {
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    recorder_begin(&recorder, &fixture);
    start(&recorder, method, "/x", body);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(raw_server_was_sent(&fixture.server, method));
    assert_true(raw_server_was_sent(&fixture.server, expected));
    assert_false(raw_server_was_sent(&fixture.server, unexpected));
    recorder_end(&recorder);
}

static void exchange_frames_bodies_as_the_method_wants_it(void **state) {
    (void)state;
    check_method("GET", NULL, "\r\n\r\n", "Content-");
    check_method("DELETE", NULL, "\r\n\r\n", "Content-");
    check_method("DELETE", "{}", "Content-Length: 2\r\n", "Transfer-Encoding");
    check_method("POST", NULL, "Content-Length: 0\r\n", "Content-Type");
    check_method("PUT", NULL, "Content-Length: 0\r\n", "Content-Type");
    check_method("POST", "", "Content-Length: 0\r\n", "Transfer-Encoding");
}

static void exchange_asks_for_a_head_without_a_body(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    recorder_begin(&recorder, &fixture);
    start(&recorder, "HEAD", "/x", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.content_length, 500);
    assert_int_equal(recorder.body.length, 0);
    recorder_end(&recorder);
}

static void check_end(const char *bytes, enum upstream_end end, bool has_head, const char *body) {
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = bytes;
    fixture_begin(&fixture, serve_answer_and_close);
    recorder_begin(&recorder, &fixture);
    start(&recorder, "GET", "/x", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, end);
    assert_int_equal(recorder.has_head, has_head);
    assert_string_equal(recorder.body.length > 0 ? recorder.body.bytes : "", body);
    recorder_end(&recorder);
}

static void exchange_tells_how_it_ended(void **state) {
    (void)state;
    check_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", UPSTREAM_COMPLETED,
              true, "a");
    check_end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", UPSTREAM_TRUNCATED, true,
              "a");
    check_end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na", UPSTREAM_TRUNCATED, true, "a");
    check_end("HTTP/1.0 200 OK\r\n\r\nall until the end", UPSTREAM_COMPLETED, true, "all until the end");
    check_end("", UPSTREAM_TRUNCATED, false, "");
    check_end("not HTTP at all\r\n\r\n", UPSTREAM_PROTOCOL, false, "");
}

static void exchange_says_nothing_of_the_length_of_chunks(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    recorder_begin(&recorder, &fixture);
    start(&recorder, "GET", "/x", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.content_length, -1);
    assert_string_equal(recorder.headers, "");
    recorder_end(&recorder);
}

static void exchange_cannot_connect_when_nobody_listens(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    char base_url[64];
    int port;
    int fd = raw_server_bind(&port);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d", port);
    fixture_begin(&fixture, serve_answer);
    fixture.settings.base_url = base_url;
    recorder_begin(&recorder, &fixture);
    start(&recorder, "GET", "/x", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_false(recorder.has_head);
    recorder_end(&recorder);
    close(fd);
}

static void serve_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, answer);
    raw_server_hold(fd);
}

static void exchange_is_idle_without_a_first_or_a_next_byte(void **state) {
    (void)state;
    static const char *const texts[] = {"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        struct exchange_recorder recorder;
        answer = texts[i];
        fixture_begin(&fixture, serve_and_hold);
        fixture.settings.first_byte_timeout_ms = i == 0 ? 100 : 60000;
        fixture.settings.idle_timeout_ms = i == 0 ? 60000 : 100;
        recorder_begin(&recorder, &fixture);
        start(&recorder, "GET", "/x", NULL);
        await_end(&recorder);
        assert_int_equal(recorder.result.end, UPSTREAM_IDLE);
        recorder_end(&recorder);
    }
}

/* ---- pausing ---------------------------------------------------------------------------------------- */

enum { PIECES = 64, PIECE_BYTES = 32768 };

static void serve_counted_bytes(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    char piece[PIECE_BYTES + 1];
    if (!raw_server_read(server, fd))
        return;
    raw_server_write(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < PIECES; i++) {
        memset(piece, (int)('0' + i), PIECE_BYTES);
        piece[PIECE_BYTES] = '\0';
        if (!raw_server_write_chunk(fd, piece))
            return;
    }
    raw_server_write(fd, "0\r\n\r\n");
    raw_server_hold(fd);
}

static void exchange_goes_on_with_the_same_bytes_after_a_pause(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    fixture_begin(&fixture, serve_counted_bytes);
    recorder_begin(&recorder, &fixture);
    recorder.refuses = true;
    start(&recorder, "GET", "/x", NULL);
    await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(recorder.refusals >= PIECES);
    assert_int_equal(recorder.body.length, PIECES * PIECE_BYTES);
    for (size_t i = 0; i < recorder.body.length; i++) {
        if (recorder.body.bytes[i] != (char)('0' + i / PIECE_BYTES))
            fail_msg("other bytes at %zu", i);
    }
    recorder_end(&recorder);
}

static bool refuse_forever(void *context, const char *bytes, size_t length) {
    struct exchange_recorder *recorder = context;
    (void)bytes, (void)length;
    recorder->refusals++;
    return false;
}

static void note_turn(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

static void exchange_is_not_idle_while_it_is_paused(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    struct upstream_exchange_callbacks refusing = callbacks;
    refusing.on_body = refuse_forever;
    fixture_begin(&fixture, serve_counted_bytes);
    fixture.settings.idle_timeout_ms = 50;
    recorder_begin(&recorder, &fixture);
    recorder.exchange =
        upstream_exchange_start(fixture.client, "GET", "/x", NULL, 0, NULL, 0, &refusing, &recorder);
    bool over = false;
    recorder.resume_timer.data = &over;
    uv_timer_start(&recorder.resume_timer, note_turn, 300, 0); /* six times the idle limit */
    while (!over)
        fixture_turn(&fixture);
    assert_false(recorder.has_ended);
    assert_int_equal(recorder.refusals, 1); /* curl waits; it does not ask again and again */
    upstream_exchange_cancel(recorder.exchange);
    recorder_end(&recorder);
    assert_false(recorder.has_ended);
}

static void cancel_in_head(struct exchange_recorder *recorder) {
    upstream_exchange_cancel(recorder->exchange);
}

static void exchange_cancelled_in_its_callback_tells_nothing_more(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    fixture_begin(&fixture, serve_answer);
    recorder_begin(&recorder, &fixture);
    recorder.in_head = cancel_in_head;
    start(&recorder, "GET", "/x", NULL);
    while (upstream_client_active(fixture.client) > 0)
        fixture_turn(&fixture);
    recorder_end(&recorder);
    assert_false(recorder.has_ended);
    assert_true(recorder.has_head);
}

static void client_closes_with_an_exchange_open(void **state) {
    (void)state;
    struct fixture fixture;
    struct exchange_recorder recorder;
    fixture_begin(&fixture, serve_counted_bytes);
    recorder_begin(&recorder, &fixture);
    start(&recorder, "GET", "/x", NULL);
    while (recorder.body.length == 0)
        fixture_turn(&fixture);
    recorder_end(&recorder);
    assert_false(recorder.has_ended && recorder.result.end != UPSTREAM_COMPLETED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchange_passes_status_end_to_end_headers_and_body),
        cmocka_unit_test(exchange_sends_the_clients_headers_but_not_those_of_the_hop),
        cmocka_unit_test(exchange_frames_bodies_as_the_method_wants_it),
        cmocka_unit_test(exchange_asks_for_a_head_without_a_body),
        cmocka_unit_test(exchange_tells_how_it_ended),
        cmocka_unit_test(exchange_says_nothing_of_the_length_of_chunks),
        cmocka_unit_test(exchange_cannot_connect_when_nobody_listens),
        cmocka_unit_test(exchange_is_idle_without_a_first_or_a_next_byte),
        cmocka_unit_test(exchange_goes_on_with_the_same_bytes_after_a_pause),
        cmocka_unit_test(exchange_is_not_idle_while_it_is_paused),
        cmocka_unit_test(exchange_cancelled_in_its_callback_tells_nothing_more),
        cmocka_unit_test(client_closes_with_an_exchange_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
