/* Requests that arrive slowly, are too large, or leave open where they end. */
#include "tests/support/unit_worker.h"

#include <poll.h>

#define RUN                                                                                                  \
    "POST /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define HEALTH "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define TIMEOUT_MS 1000
#define PIECE_MS 100

static int set_up(void **state) {
    (void)state;
    static const char *const flags[] = {"--request-timeout-ms",
                                        "1000",
                                        "--request-header-bytes-max",
                                        "2048",
                                        "--request-body-bytes-max",
                                        "4096",
                                        NULL};
    return worker_set_up(flags);
}

static bool can_read(int fd, int timeout_ms) {
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, timeout_ms) == 1;
}

/* Sends `head`, then a byte each PIECE_MS, until the server says something or closes; returns after how many
 * ms. */
static int64_t trickle(const char *head, struct buffer *answer) {
    int fd = client_request(head);
    int64_t since_ms = clock_mono_ms();
    while (!can_read(fd, PIECE_MS) && clock_mono_ms() - since_ms < WAIT_MS)
        assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    int64_t after_ms = clock_mono_ms() - since_ms;
    client_read_to_end(fd, answer);
    close(fd);
    return after_ms;
}

static void assert_in_time(int64_t after_ms) {
    assert_true(after_ms >= TIMEOUT_MS - 2 * PIECE_MS);
    assert_true(after_ms < 5 * TIMEOUT_MS);
}

/* The whole answer to `text`, to the end of the connection, which must be in order. */
static void ask(const char *text, struct buffer *answer) {
    int fd = client_request(text);
    assert_true(client_read_to_end(fd, answer));
    close(fd);
}

static void assert_answer(const struct buffer *answer, const char *status_line, const char *code) {
    assert_non_null(answer->bytes);
    assert_memory_equal(answer->bytes, status_line, strlen(status_line));
    assert_non_null(strstr(answer->bytes, code));
    const char *length = strstr(answer->bytes, "Content-Length: ");
    const char *body = strstr(answer->bytes, "\r\n\r\n");
    assert_non_null(length);
    assert_non_null(body);
    assert_int_equal(strtoul(length + strlen("Content-Length: "), NULL, 10), strlen(body + 4));
}

static void body_that_trickles_is_answered_408(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    assert_in_time(trickle(RUN "Content-Length: 1000\r\n\r\n", &answer));
    assert_answer(&answer, "HTTP/1.1 408 ", "request_timeout");
    buffer_finish(&answer);
}

static void head_that_trickles_is_answered_408(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    assert_in_time(trickle("GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: ", &answer));
    assert_answer(&answer, "HTTP/1.1 408 ", "request_timeout");
    buffer_finish(&answer);
}

static void request_line_that_trickles_ends_the_connection(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    assert_in_time(trickle("GET /", &answer));
    assert_null(answer.bytes);
    buffer_finish(&answer);
}

static void idle_connection_is_closed_whether_or_not_it_was_used(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int64_t since_ms = clock_mono_ms();
    int fresh = client_connect();
    int used = client_request(HEALTH);
    assert_true(client_read_to_end(used, &answer));
    assert_in_time(clock_mono_ms() - since_ms);
    assert_answer(&answer, "HTTP/1.1 200 ", "\"ok\"");
    buffer_clear(&answer);
    assert_true(client_read_to_end(fresh, &answer));
    assert_in_time(clock_mono_ms() - since_ms);
    close(fresh);
    close(used);
    buffer_finish(&answer);
}

static void time_is_counted_for_each_request_anew(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    int fd = client_connect();
    for (int i = 0; i < 4; i++) { /* together longer than one may take */
        client_send(fd, HEALTH);
        assert_true(client_read_until(fd, &answer, "\"ok\""));
        buffer_clear(&answer);
        usleep(TIMEOUT_MS * 1000 * 2 / 5);
    }
    close(fd);
    buffer_finish(&answer);
}

static void head_over_its_limit_is_answered_431(void **state) {
    (void)state;
    char request[4096];
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: %02040d\r\n\r\n", 0);
    ask(request, &answer);
    assert_answer(&answer, "HTTP/1.1 431 ", "headers_too_large");
    buffer_clear(&answer);
    snprintf(request, sizeof(request), "GET /healthz?%02040d HTTP/1.1\r\nHost: localhost\r\n\r\n", 0);
    ask(request, &answer);
    assert_answer(&answer, "HTTP/1.1 431 ", "headers_too_large");
    buffer_clear(&answer);
    snprintf(request, sizeof(request),
             "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nA: %01900d\r\n\r\n", 0);
    ask(request, &answer);
    assert_answer(&answer, "HTTP/1.1 200 ", "\"ok\"");
    buffer_finish(&answer);
}

/* Sends `head` and then, whatever the server does, a body far larger than all buffers on the way. */
static void send_too_much(const char *head, const char *piece, struct buffer *answer) {
    int fd = client_request(head);
    size_t length = strlen(piece);
    for (size_t sent = 0; sent < 32u << 20; sent += length)
        assert_int_equal(send(fd, piece, length, MSG_NOSIGNAL), length);
    assert_true(client_read_to_end(fd, answer)); /* not reset: the answer would be lost */
    close(fd);
}

static void refusal_reaches_a_client_that_goes_on_sending(void **state) {
    (void)state;
    struct buffer answer, chunk;
    char *piece = malloc(65537);
    memset(piece, 'x', 65536);
    piece[65536] = '\0';
    buffer_init(&answer, 1 << 20);
    buffer_init(&chunk, 1 << 20);
    send_too_much(RUN "Content-Length: 33554432\r\n\r\n", piece, &answer);
    assert_answer(&answer, "HTTP/1.1 413 ", "body_too_large");
    buffer_clear(&answer);
    send_too_much("POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 33554432\r\n\r\n", piece,
                  &answer);
    assert_answer(&answer, "HTTP/1.1 404 ", "not_found");
    buffer_clear(&answer);
    assert_true(buffer_printf(&chunk, "10000\r\n%s\r\n", piece));
    send_too_much(RUN "Transfer-Encoding: chunked\r\n\r\n", chunk.bytes, &answer);
    assert_answer(&answer, "HTTP/1.1 413 ", "body_too_large");
    free(piece);
    buffer_finish(&chunk);
    buffer_finish(&answer);
}

static void request_with_two_ends_is_refused_and_nothing_after_it_is_read(void **state) {
    (void)state;
    static const char *const requests[] = {
        RUN "Content-Length: 15\r\nContent-Length: 3\r\n\r\n{\"message\":\"a\"}" HEALTH,
        RUN
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{\"message\":\"a\"}\r\n0\r\n\r\n" HEALTH,
        RUN "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" HEALTH,
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: "
         "44\r\n\r\n" HEALTH),
    };
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        ask(requests[i], &answer);
        assert_answer(&answer, "HTTP/1.1 400 ", "ambiguous_length");
        buffer_clear(&answer);
    }
    ask(RUN "Transfer-Encoding: gzip\r\n\r\nxyz", &answer);
    assert_answer(&answer, "HTTP/1.1 501 ", "unsupported_transfer_encoding");
    buffer_finish(&answer);
}

static void request_without_a_host_or_with_a_space_in_its_target_is_refused(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    ask("GET /healthz HTTP/1.1\r\n\r\n", &answer);
    assert_answer(&answer, "HTTP/1.1 400 ", "invalid_host");
    buffer_clear(&answer);
    ask("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n", &answer);
    assert_answer(&answer, "HTTP/1.1 400 ", "invalid_host");
    buffer_clear(&answer);
    ask("GET /health z HTTP/1.1\r\nHost: localhost\r\n\r\n", &answer);
    assert_answer(&answer, "HTTP/1.1 400 ", "invalid_target");
    buffer_clear(&answer);
    ask("GET /healthz HTTP/1.0\r\n\r\n", &answer);
    assert_answer(&answer, "HTTP/1.1 200 ", "\"ok\"");
    buffer_finish(&answer);
}

static void head_of_a_stream_has_no_length_and_no_body(void **state) {
    (void)state;
    struct buffer answer;
    buffer_init(&answer, 1 << 20);
    ask("HEAD /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\n\r\n", &answer);
    assert_memory_equal(answer.bytes, "HTTP/1.1 200 ", 13);
    assert_non_null(strstr(answer.bytes, "text/event-stream"));
    assert_null(strstr(answer.bytes, "Content-Length"));
    assert_string_equal(strstr(answer.bytes, "\r\n\r\n"), "\r\n\r\n");
    buffer_finish(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(body_that_trickles_is_answered_408, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(head_that_trickles_is_answered_408, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(request_line_that_trickles_ends_the_connection, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(idle_connection_is_closed_whether_or_not_it_was_used, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(time_is_counted_for_each_request_anew, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(head_over_its_limit_is_answered_431, set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(refusal_reaches_a_client_that_goes_on_sending, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(request_with_two_ends_is_refused_and_nothing_after_it_is_read, set_up,
                                        worker_tear_down),
        cmocka_unit_test_setup_teardown(request_without_a_host_or_with_a_space_in_its_target_is_refused,
                                        set_up, worker_tear_down),
        cmocka_unit_test_setup_teardown(head_of_a_stream_has_no_length_and_no_body, set_up, worker_tear_down),
    };
    return cmocka_run_group_tests_name("http_requests", tests, NULL, NULL);
}
