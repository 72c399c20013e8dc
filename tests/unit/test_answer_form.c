/* upstream/answer_form: which answers are event streams, not compressed, and framed as they may be. */
#include "tests/unit/passage_recorder.h"
#include "tests/unit/stream_recorder.h"

#define EVENT "data: a\n\n" /* 9 bytes */
#define CHUNKED "Transfer-Encoding: chunked\r\n"
#define CHUNKS CHUNK_A LAST_CHUNK

static const char *answer;

static void serve_answer(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        raw_server_write(fd, answer);
}

static const char *answer_of(const char *status, const char *type, const char *headers, const char *body) {
    static char bytes[2048];
    snprintf(bytes, sizeof bytes, "HTTP/1.1 %s\r\n%s%s%s%s\r\n%s", status,
             type != NULL ? "Content-Type: " : "", type != NULL ? type : "", type != NULL ? "\r\n" : "",
             headers, body);
    return bytes;
}

static void do_run(struct recorder *recorder, const char *bytes) {
    struct fixture fixture;
    answer = bytes;
    fixture_begin(&fixture, serve_answer);
    recorder_do(recorder, &fixture);
    fixture_end(&fixture);
}

static void check_stream(const char *headers, const char *body) {
    struct recorder recorder;
    do_run(&recorder, answer_of("200 OK", "text/event-stream", headers, body));
    if (recorder.result.end != UPSTREAM_COMPLETED)
        fail_msg("%s: %s", headers, recorder.message);
    assert_string_equal(recorder.told, "sent|message:a|end|");
}

static void check_refused(const char *headers, const char *body, const char *message) {
    struct recorder recorder;
    do_run(&recorder, answer_of("200 OK", "text/event-stream", headers, body));
    if (recorder.result.end != UPSTREAM_PROTOCOL)
        fail_msg("%s: %d %s", headers, (int)recorder.result.end, recorder.message);
    assert_string_equal(recorder.told, "sent|end|");
    if (message != NULL)
        assert_string_equal(recorder.message, message);
}

/* ---- compression ------------------------------------------------------------------------------------- */

static void answer_without_a_coding_is_not_compressed(void **state) {
    (void)state;
    static const char *const values[] = {"none",      "",    "identity", "Identity", "identity, identity",
                                         " , none ,", "NONE"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char headers[128];
        snprintf(headers, sizeof headers, "Content-Encoding: %s\r\n" CHUNKED, values[i]);
        check_stream(headers, CHUNKS);
    }
    check_stream("Content-Encoding: none\r\nContent-Encoding: identity\r\n" CHUNKED, CHUNKS);
}

static void answer_with_a_coding_is_refused(void **state) {
    (void)state;
    static const char *const values[] = {"gzip",       "br",       "deflate, gzip", "identity, br",
                                         "gzip, none", "nonesuch", "identity gzip"};
    static const char message[] = "The upstream compressed its answer without being asked.";
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char headers[128];
        snprintf(headers, sizeof headers, "Content-Encoding: %s\r\n" CHUNKED, values[i]);
        check_refused(headers, CHUNKS, message);
    }
    check_refused("Content-Encoding: identity\r\nContent-Encoding: br\r\n" CHUNKED, CHUNKS, message);
}

/* libcurl would undo these without a bound, and without having been asked to. */
static void answer_with_a_transfer_coding_is_refused(void **state) {
    (void)state;
    static const char *const headers[] = {
        "Transfer-Encoding: gzip, chunked\r\n",       "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, gzip, chunked\r\n", "transfer-encoding:deflate,chunked\r\n",
        "Transfer-Encoding: chunked, x-gzip\r\n",     "Transfer-Encoding: br\r\n" CHUNKED,
        CHUNKED "Transfer-Encoding: zstd\r\n",        "Transfer-Encoding: ,\tgzip ,chunked\r\n",
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        check_refused(headers[i], CHUNKS, "The upstream compressed its answer without being asked.");
}

static void answer_with_a_transfer_coding_that_is_none_is_taken(void **state) {
    (void)state;
    check_stream("Transfer-Encoding: identity, chunked\r\n", CHUNKS);
    check_stream("Transfer-Encoding: , Chunked ,\r\n", CHUNKS);
}

/* libcurl undoes the codings of all of them on the body of the last. */
static void transfer_coding_of_an_interim_answer_counts(void **state) {
    (void)state;
    struct recorder recorder;
    do_run(&recorder, "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: gzip\r\n\r\n" HEAD_CHUNKED CHUNKS);
    assert_int_equal(recorder.result.end, UPSTREAM_PROTOCOL);
    assert_int_equal(recorder.result.cause, CAUSE_COMPRESSED);
}

static void passage_with_a_transfer_coding_is_no_answer(void **state) {
    (void)state;
    struct fixture fixture;
    struct passage_recorder recorder;
    answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" CHUNKS;
    fixture_begin(&fixture, serve_answer);
    passage_begin(&recorder, &fixture);
    passage_start(&recorder, "GET", "/x", NULL);
    passage_await_end(&recorder);
    assert_false(recorder.has_head);
    assert_int_equal(recorder.result.end, UPSTREAM_PROTOCOL);
    assert_int_equal(recorder.result.cause, CAUSE_COMPRESSED);
    passage_end(&recorder);
}

static void refusal_is_read_unless_it_is_compressed(void **state) {
    (void)state;
    static const struct {
        const char *headers, *message;
    } cases[] = {
        {"Content-Encoding: none\r\nContent-Length: 4\r\n", "The upstream answered 500: Oops"},
        {"Content-Encoding: \r\nContent-Length: 4\r\n", "The upstream answered 500: Oops"},
        {"Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n",
         "The upstream answered 500."},
        {"Transfer-Encoding: gzip, chunked\r\n", "The upstream answered 500."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recorder recorder;
        do_run(&recorder, answer_of("500 X", NULL, cases[i].headers, "Oops"));
        assert_string_equal(recorder.message, cases[i].message);
    }
}

/* ---- the status -------------------------------------------------------------------------------------- */

static void any_good_status_with_an_event_stream_is_a_stream(void **state) {
    (void)state;
    static const char *const statuses[] = {
        "200 OK", "201 Created", "202 Accepted", "203 Non-Authoritative", "206 Partial Content", "299 X"};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct recorder recorder;
        do_run(&recorder, answer_of(statuses[i], "text/event-stream; charset=utf-8", CHUNKED, CHUNKS));
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
        assert_int_equal(recorder.result.http_status, atoi(statuses[i]));
        assert_string_equal(recorder.told, "sent|message:a|end|");
    }
}

static void good_status_without_an_event_stream_is_a_refusal(void **state) {
    (void)state;
    static const struct {
        const char *status, *type, *headers, *body, *message;
    } cases[] = {
        {"201 Created", "application/json", "Content-Length: 2\r\n", "{}",
         "The upstream answered 201 (application/json): {}"},
        {"202 Accepted", "application/json", "Content-Length: 16\r\n", "{\"error\":\"busy\"}",
         "The upstream answered 202: busy"},
        {"204 No Content", NULL, "", "", "The upstream answered 204."},
        {"204 No Content", "text/event-stream", "", "", "The upstream answered 204."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recorder recorder;
        do_run(&recorder, answer_of(cases[i].status, cases[i].type, cases[i].headers, cases[i].body));
        assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
        assert_int_equal(recorder.result.http_status, atoi(cases[i].status));
        assert_string_equal(recorder.message, cases[i].message);
    }
}

static void bad_status_with_an_event_stream_is_a_refusal(void **state) {
    (void)state;
    struct recorder recorder;
    do_run(&recorder, answer_of("503 X", "text/event-stream", "Retry-After: 7\r\n" CHUNKED, CHUNKS));
    assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.result.retry_after_ms, 7000);
    assert_string_equal(recorder.told, "sent|end|");
}

/* ---- the length -------------------------------------------------------------------------------------- */

#define MISFRAMED "The length that the upstream's answer states is malformed or contradicts itself."

static const char *const bad_lengths[] = {
    "Content-Length: 9\r\nContent-Length: 10\r\n",
    "Content-Length: 10\r\nContent-Length: 9\r\n",
    "Content-Length: 9\r\nX: y\r\ncontent-length: 8\r\n",
    "Content-Length: 9, 10\r\n",
    "Content-Length: 9,\r\n",
    "Content-Length: 9;\r\n",
    "Content-Length: 9 9\r\n",
    "Content-Length: 9x\r\n",
    "Content-Length: +9\r\n",
    "Content-Length: 0x9\r\n",
    "Content-Length: 9.0\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Content-Length: 9\r\nContent-Length: 99999999999999999999999\r\n",
    "Content-Length: 9223372036854775808\r\n",
    "Content-Length: 9\r\n 9\r\n",
    "Content-Length : 9\r\n",
    "Content-Length: 9\r\nTransfer-Encoding : chunked\r\n",
};

static void answer_with_a_bad_length_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_lengths / sizeof *bad_lengths; i++)
        check_refused(bad_lengths[i], EVENT, MISFRAMED);
    check_refused("Content-Length: nine\r\n", EVENT, NULL); /* libcurl refuses these itself */
    check_refused("Content-Length: -9\r\n", EVENT, NULL);
    check_refused("Content-Length:\r\n", EVENT, NULL);
    check_refused(CHUNKED "Content-Length: 9x\r\n", CHUNKS, MISFRAMED);
}

static void answer_with_a_good_length_is_taken(void **state) {
    (void)state;
    check_stream("Content-Length: 9\r\n", EVENT);
    check_stream("CONTENT-LENGTH:9 \r\n", EVENT);
    check_stream("Content-Length: 009\r\n", EVENT);
    check_stream("Content-Length: 9\r\nContent-Length: 9\r\n", EVENT);
    check_stream("Content-Length: 9, 9\r\n", EVENT);
    check_stream("Content-Lengths: 8\r\nX-Content-Length: 7\r\nContent-Length: 9\r\n", EVENT);
    check_stream("X: y\r\n Content-Length: 8\r\nContent-Length: 9\r\n", EVENT);
    check_stream("Content-Length: 3\r\n" CHUNKED, CHUNKS); /* RFC 9112, section 6.3: the chunks are right */
}

static void interim_answer_has_lengths_of_its_own(void **state) {
    (void)state;
    struct recorder recorder;
    char bytes[4096];
    snprintf(bytes, sizeof bytes,
             "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n%s",
             answer_of("200 OK", "text/event-stream", "Content-Length: 9\r\n", EVENT));
    do_run(&recorder, bytes);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
}

static void refusal_with_a_bad_length_keeps_its_status(void **state) {
    (void)state;
    struct recorder recorder;
    do_run(&recorder,
           answer_of("429 X", NULL, "Retry-After: 7\r\nContent-Length: 4\r\nContent-Length: 5\r\n", "Oops"));
    assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder.result.http_status, 429);
    assert_int_equal(recorder.result.retry_after_ms, 7000);
    assert_string_equal(recorder.message, "The upstream answered 429.");
}

static void passage_with_a_bad_length_is_no_answer(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_lengths / sizeof *bad_lengths; i++) {
        struct fixture fixture;
        struct passage_recorder recorder;
        answer = answer_of("200 OK", NULL, bad_lengths[i], EVENT);
        fixture_begin(&fixture, serve_answer);
        passage_begin(&recorder, &fixture);
        passage_start(&recorder, "GET", "/x", NULL);
        passage_await_end(&recorder);
        assert_int_equal(recorder.result.end, UPSTREAM_PROTOCOL);
        assert_false(recorder.has_head);
        passage_end(&recorder);
    }
}

/* The connection of a bad answer may hold bytes of it: it is not used for the run. */
static void serve_creation_with_a_bad_length(struct raw_server *server, int fd, size_t connection) {
    while (raw_server_read(server, fd))
        raw_server_write(fd, connection == 0
                                 ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"
                                 : HEAD_CHUNKED CHUNKS);
}

static void connection_of_an_answer_with_a_bad_length_is_not_used_again(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    fixture_begin(&fixture, serve_creation_with_a_bad_length);
    struct upstream_post post = recorder_post(&fixture, "/session", false);
    recorder_start_post(&recorder, &post);
    recorder_await_end(&recorder);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(raw_server_connections(&fixture.server), 2);
    fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_without_a_coding_is_not_compressed),
        cmocka_unit_test(answer_with_a_coding_is_refused),
        cmocka_unit_test(answer_with_a_transfer_coding_is_refused),
        cmocka_unit_test(answer_with_a_transfer_coding_that_is_none_is_taken),
        cmocka_unit_test(transfer_coding_of_an_interim_answer_counts),
        cmocka_unit_test(passage_with_a_transfer_coding_is_no_answer),
        cmocka_unit_test(refusal_is_read_unless_it_is_compressed),
        cmocka_unit_test(any_good_status_with_an_event_stream_is_a_stream),
        cmocka_unit_test(good_status_without_an_event_stream_is_a_refusal),
        cmocka_unit_test(bad_status_with_an_event_stream_is_a_refusal),
        cmocka_unit_test(answer_with_a_bad_length_is_refused),
        cmocka_unit_test(answer_with_a_good_length_is_taken),
        cmocka_unit_test(interim_answer_has_lengths_of_its_own),
        cmocka_unit_test(refusal_with_a_bad_length_keeps_its_status),
        cmocka_unit_test(passage_with_a_bad_length_is_no_answer),
        cmocka_unit_test(connection_of_an_answer_with_a_bad_length_is_not_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
