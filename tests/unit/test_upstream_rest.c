/* upstream/transfer_rest: a large request, and an upstream that answers before it has read all of it. */
#include "tests/unit/stream_recorder.h"

#include <dirent.h>
#include <stdatomic.h>

#define BODY_BYTES ((size_t)1000 * 1000)
#define WHOLE HEAD_CHUNKED CHUNK_A LAST_CHUNK
#define ROUNDS 50

static const char *early;   /* what the server writes when a request's head has come */
static const char *late;    /* what it writes when all of it has; NULL: it resets the connection before */
static atomic_size_t taken; /* bytes of bodies */

/** Reads the head of a request, and what comes with it of the body. False: the other side has closed. */
static bool read_head(int fd, size_t *ret_body_bytes) {
    static _Thread_local char bytes[RAW_REQUEST_BYTES_MAX];
    size_t length = 0;
    const char *end = NULL;
    while (end == NULL) {
        ssize_t count = recv(fd, bytes + length, sizeof bytes - 1 - length, 0);
        if (count <= 0)
            return false;
        length += (size_t)count;
        bytes[length] = '\0';
        end = strstr(bytes, "\r\n\r\n");
    }
    *ret_body_bytes = length - (size_t)(end + 4 - bytes);
    return true;
}

static void serve_early(struct raw_server *server, int fd, size_t connection) {
    char bytes[RAW_REQUEST_BYTES_MAX];
    size_t body_bytes;
    (void)connection;
    while (read_head(fd, &body_bytes) && raw_server_write(fd, early)) {
        if (late == NULL) {
            raw_server_reset(fd);
            return;
        }
        while (body_bytes < BODY_BYTES) {
            ssize_t count = recv(fd, bytes, sizeof bytes, 0);
            if (count <= 0)
                return;
            body_bytes += (size_t)count;
        }
        taken += body_bytes;
        raw_server_write(fd, late);
    }
    (void)server;
}

static char *large_body(void) {
    char *body = malloc(BODY_BYTES + 1);
    assert_non_null(body);
    memset(body, ' ', BODY_BYTES);
    body[BODY_BYTES] = '\0';
    return body;
}

static void begin_run(struct recorder *recorder, struct fixture *fixture, const char *at_head,
                      const char *at_end) {
    early = at_head;
    late = at_end;
    taken = 0;
    fixture_begin(fixture, serve_early);
    *recorder = (struct recorder){.fixture = fixture};
    struct upstream_post post = recorder_post_body(fixture, NULL, false, large_body(), BODY_BYTES);
    recorder_start_post(recorder, &post);
    recorder_await_end(recorder);
}

static size_t open_descriptors(void) {
    size_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* The reset comes in any moment, in some rounds while libcurl writes. `shorter`: the message if what was left
 * unread has a body that cannot be read. */
static void check_refusal(const char *answer, const char *message, const char *shorter) {
    size_t descriptors = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct fixture fixture;
        struct recorder recorder;
        begin_run(&recorder, &fixture, answer, NULL);
        assert_int_equal(recorder.result.end, UPSTREAM_STATUS);
        assert_int_equal(recorder.result.http_status, 429);
        assert_int_equal(recorder.result.retry_after_ms, 7000);
        assert_true(strcmp(recorder.message, message) == 0 || strcmp(recorder.message, shorter) == 0);
        fixture_end(&fixture);
        if (i == 0)
            descriptors = open_descriptors(); /* libuv keeps some of its own */
    }
    assert_int_equal(open_descriptors(), descriptors);
}

#define SAYS_NO "The upstream answered 429: no"
#define SAYS_NOTHING "The upstream answered 429."

static void refusal_is_read_whenever_the_connection_is_reset(void **state) {
    (void)state;
    check_refusal("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}", SAYS_NO,
                  SAYS_NO);
    check_refusal("HTTP/1.0 429 Too many\r\nX: Retry-After: 9\r\nretry-after:7\r\n\r\n{\"error\":\"no\"}",
                  SAYS_NO, SAYS_NO);
    check_refusal("HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\n"
                  "HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}",
                  SAYS_NO, SAYS_NO);
    check_refusal("HTTP/1.1 429 X\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "e\r\n{\"error\":\"no\"}\r\n0\r\n\r\n",
                  SAYS_NO, SAYS_NOTHING);
    check_refusal("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno",
                  SAYS_NOTHING, SAYS_NOTHING);
}

static void check_cut(const char *answer, enum upstream_end end, const char *message) {
    for (size_t i = 0; i < ROUNDS; i++) {
        struct fixture fixture;
        struct recorder recorder;
        begin_run(&recorder, &fixture, answer, NULL);
        assert_int_equal(recorder.result.end, end);
        if (message != NULL)
            assert_memory_equal(recorder.message, message, strlen(message)); /* libcurl's words may follow */
        assert_false(recorder.result.is_unanswered);
        fixture_end(&fixture);
    }
}

static void answer_that_is_cut_off_is_none_whenever_the_connection_is_reset(void **state) {
    (void)state;
    check_cut("HTTP/1.1 429 X\r\nRetry-After: 7\r\n", UPSTREAM_TRUNCATED,
              "The upstream broke off within its headers");
    check_cut("HTTP/1.1 100 Continue\r\n\r\n", UPSTREAM_TRUNCATED,
              "The upstream broke off within its headers");
    check_cut(HEAD_CHUNKED CHUNK_A, UPSTREAM_TRUNCATED, "The upstream broke off in the middle of its answer");
    check_cut("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno", UPSTREAM_PROTOCOL,
              "The upstream's answer is not an event stream (text/html): no");
}

static void check_whole(const char *at_head, const char *at_end) {
    struct fixture fixture;
    struct recorder recorder;
    begin_run(&recorder, &fixture, at_head, at_end);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_string_equal(recorder.told, "sent|message:a|end|");
    assert_int_equal(taken, BODY_BYTES);
    assert_int_equal(raw_server_connections(&fixture.server), 1);
    fixture_end(&fixture);
}

static void large_request_is_sent_whole(void **state) {
    (void)state;
    check_whole("", WHOLE);
}

static void large_request_goes_on_after_an_interim_answer(void **state) {
    (void)state;
    check_whole("HTTP/1.1 100 Continue\r\n\r\n", WHOLE);
    check_whole("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", WHOLE);
}

static void large_request_goes_on_while_its_answer_comes(void **state) {
    (void)state;
    check_whole(HEAD_CHUNKED CHUNK_A, LAST_CHUNK);
    check_whole(HEAD_CHUNKED, CHUNK_A LAST_CHUNK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_is_read_whenever_the_connection_is_reset),
        cmocka_unit_test(answer_that_is_cut_off_is_none_whenever_the_connection_is_reset),
        cmocka_unit_test(large_request_is_sent_whole),
        cmocka_unit_test(large_request_goes_on_after_an_interim_answer),
        cmocka_unit_test(large_request_goes_on_while_its_answer_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
