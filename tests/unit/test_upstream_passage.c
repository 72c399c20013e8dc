/* upstream/passage: requests passed on, and how their answers are told. */
#include "tests/unit/passage_recorder.h"

static const char *_Atomic answer; /* each connection has a thread */

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

static void passage_passes_status_end_to_end_headers_and_body(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer =
        "HTTP/1.1 404 Gone fishing\r\nContent-Type: text/plain\r\nconnection: X-Private, close\r\n"
        "x-private: 1\r\nKeep-Alive: timeout=5\r\nX-Two: a\r\nX-Two: b\r\nProxy-Authenticate: x\r\nTE: x\r\n"
        "Upgrade: x\r\nX-Empty:\r\nX-Blank: \r\nX-Privateer: yes\r\nContent-Length: 5\r\n\r\nhello";
    fixture_begin(&fixture, serve_answer_and_close);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/list-apps?x=%2F..", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.result.http_status, 404);
    assert_int_equal(recorder.status, 404);
    assert_int_equal(recorder.content_length, 5);
    assert_string_equal(recorder.headers,
                        "Content-Type: text/plain|X-Two: a|X-Two: b|X-Empty: |X-Blank: |X-Privateer: yes|");
    assert_string_equal(recorder.body.bytes, "hello");
    assert_true(raw_server_was_sent(&fixture.server, "GET /list-apps?x=%2F.. HTTP/1.1\r\n"));
    assert_false(raw_server_was_sent(&fixture.server, "Content-"));
    passage_end(&recorder);
}

static void passage_sends_the_clients_headers_but_not_those_of_the_hop(void **state) {
    (void)state;
    static const struct upstream_header headers[] = {
        {"Accept", "image/png"},           {"Host", "elsewhere"},
        {"Connection", "close"},           {"Content-Length", "7"},
        {"Authorization", "Basic theirs"}, {"X-Empty", ""}};
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    fixture.settings.authorization = (char[]){"Bearer ours"};
    passage_begin(&recorder, &fixture);
    recorder.passage = upstream_passage_start(fixture.client, &fixture.settings, "PATCH", "/x", headers, 6,
                                              "{\"b\":2}", 7, &passage_callbacks, &recorder);
    passage_await_end(&recorder);
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
    passage_end(&recorder);
}

static void check_method(const char *method, const char *body, const char *expected, const char *unexpected) {
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, method, "/x", body);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_true(raw_server_was_sent(&fixture.server, method));
    assert_true(raw_server_was_sent(&fixture.server, expected));
    assert_false(raw_server_was_sent(&fixture.server, unexpected));
    passage_end(&recorder);
}

static void passage_frames_bodies_as_the_method_wants_it(void **state) {
    (void)state;
    check_method("GET", NULL, "\r\n\r\n", "Content-");
    check_method("DELETE", NULL, "\r\n\r\n", "Content-");
    check_method("DELETE", "{}", "Content-Length: 2\r\n", "Transfer-Encoding");
    check_method("POST", NULL, "Content-Length: 0\r\n", "Content-Type");
    check_method("PUT", NULL, "Content-Length: 0\r\n", "Content-Type");
    check_method("POST", "", "Content-Length: 0\r\n", "Transfer-Encoding");
}

static void passage_asks_for_a_head_without_a_body(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "HEAD", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.content_length, 500);
    assert_int_equal(recorder.body.length, 0);
    passage_end(&recorder);
}

static void check_end(const char *bytes, enum upstream_end end, bool has_head, const char *body) {
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = bytes;
    fixture_begin(&fixture, serve_answer_and_close);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, end);
    assert_int_equal(recorder.has_head, has_head);
    assert_string_equal(recorder.body.length > 0 ? recorder.body.bytes : "", body);
    passage_end(&recorder);
}

static void passage_tells_how_it_ended(void **state) {
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

static void passage_says_nothing_of_the_length_of_chunks(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.content_length, -1);
    assert_string_equal(recorder.headers, "");
    passage_end(&recorder);
}

static void passage_reads_odd_headers(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
             "HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\n\tc\r\nX-Empty:\r\nX-Pad: \t d:e \t\r\nConnection: \r\n"
             "Connection: x-one,,X-TWO\r\nX-One: 1\r\nX-Two: 2\r\nX-Thre: 3\r\nContent-Length: 0\r\n\r\n";
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(recorder.headers, "X-Fold: a   b  \tc|X-Empty: |X-Pad: d:e|X-Thre: 3|");
    passage_end(&recorder);
}

/* An answer with `named` headers that its Connection header names, one by one, and `lines` more. */
static char *write_many_headers(size_t named, size_t lines) {
    struct buffer text;
    buffer_init(&text, 65536);
    assert_true(buffer_append_text(&text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"));
    for (size_t i = 0; i < named; i++)
        assert_true(buffer_printf(&text, "Connection: n%zu\r\nN%zu: x\r\n", i, i));
    for (size_t i = 0; i < lines; i++)
        assert_true(buffer_append_text(&text, "a: b\r\n"));
    assert_true(buffer_append_text(&text, "\r\n"));
    return buffer_detach(&text);
}

static void passage_has_a_bound_of_headers(void **state) {
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct fixture fixture;
        struct passage_recorder recorder;
        char *text = write_many_headers(450, over ? 100 : 80);
        answer = text;
        fixture_begin(&fixture, serve_answer_and_close);
        passage_begin(&recorder, &fixture);
        passage_start(&recorder, "GET", "/x", NULL);
        passage_await_end(&recorder);
        assert_int_equal(recorder.has_head, !over);
        assert_int_equal(recorder.result.end, over ? UPSTREAM_PROTOCOL : UPSTREAM_COMPLETED);
        if (!over) /* none of those that Connection names */
            assert_int_equal(strlen(recorder.headers), 80 * strlen("a: b|"));
        passage_end(&recorder);
        free(text);
    }
}

static void passage_cannot_connect_when_nobody_listens(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    char base_url[64];
    int port;
    int fd = raw_server_bind(&port);
    snprintf(base_url, sizeof base_url, "http://127.0.0.1:%d", port);
    fixture_begin(&fixture, serve_answer);
    fixture.settings.base_url = base_url;
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_CONNECT);
    assert_false(recorder.has_head);
    passage_end(&recorder);
    close(fd);
}

static void serve_and_hold(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, answer);
    raw_server_hold(fd);
}

static void passage_is_idle_without_a_first_or_a_next_byte(void **state) {
    (void)state;
    static const char *const texts[] = {"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture fixture;
        struct passage_recorder recorder;
        answer = texts[i];
        fixture_begin(&fixture, serve_and_hold);
        fixture.settings.first_byte_timeout_ms = i == 0 ? 100 : 60000;
        fixture.settings.idle_timeout_ms = i == 0 ? 60000 : 100;
        passage_begin(&recorder, &fixture);
        passage_start(&recorder, "GET", "/x", NULL);
        passage_await_end(&recorder);
        assert_int_equal(recorder.result.end, UPSTREAM_IDLE);
        passage_end(&recorder);
    }
}

static void serve_slow_bytes(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (!raw_server_read(server, fd) || !raw_server_write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"))
        return;
    for (size_t i = 0; i < 8 && raw_server_write(fd, "a"); i++)
        usleep(50000);
}

static void passage_is_not_idle_while_bytes_come(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    fixture_begin(&fixture, serve_slow_bytes);
    fixture.settings.idle_timeout_ms = 250; /* less than all of it, more than one pause */
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(recorder.body.length, 8);
    passage_end(&recorder);
}

static void cancel_in_head(struct passage_recorder *recorder) {
    upstream_passage_cancel(recorder->passage);
}

static void passage_cancelled_in_its_callback_tells_nothing_more(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    recorder.in_head = cancel_in_head;
    passage_start(&recorder, "GET", "/x", NULL);
    while (upstream_client_active(fixture.client) > 0)
        fixture_turn(&fixture);
    passage_end(&recorder);
    assert_false(recorder.has_ended);
    assert_true(recorder.has_head);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passage_passes_status_end_to_end_headers_and_body),
        cmocka_unit_test(passage_sends_the_clients_headers_but_not_those_of_the_hop),
        cmocka_unit_test(passage_frames_bodies_as_the_method_wants_it),
        cmocka_unit_test(passage_asks_for_a_head_without_a_body),
        cmocka_unit_test(passage_tells_how_it_ended),
        cmocka_unit_test(passage_says_nothing_of_the_length_of_chunks),
        cmocka_unit_test(passage_reads_odd_headers),
        cmocka_unit_test(passage_has_a_bound_of_headers),
        cmocka_unit_test(passage_cannot_connect_when_nobody_listens),
        cmocka_unit_test(passage_is_idle_without_a_first_or_a_next_byte),
        cmocka_unit_test(passage_is_not_idle_while_bytes_come),
        cmocka_unit_test(passage_cancelled_in_its_callback_tells_nothing_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
