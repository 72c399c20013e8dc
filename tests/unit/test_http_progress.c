/* Requests that leave the HTTP library no room to read on, for which it asks to be run again and again. */
#include "base/metrics.h"
#include "http/exchange.h"
#include "tests/support/unit_worker.h"

#include <errno.h>
#include <sys/ioctl.h>

#define START                                                                                                \
    "POST /apps/a/users/u/sessions/s/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
#define CHUNKED START "Transfer-Encoding: chunked\r\n\r\n"
#define MESSAGE "{\"message\":\"a\"}"
#define BUFFER_BYTES 4096 /* twice the limit of a head */
/* Newer libraries refuse these requests by themselves. */
#define LIBRARY_GETS_STUCK (MHD_VERSION < 0x00097700)

static struct buffer request, answer;
static uint64_t turns;

static int set_up(void **state) {
    (void)state;
    /* Far more time than a test has: nothing here is ended by that. */
    static const char *const flags[] = {"--request-timeout-ms", "300000", "--request-header-bytes-max",
                                        "2048", NULL};
    buffer_init(&request, 1 << 20);
    buffer_init(&answer, 1 << 20);
    turns = metrics_get(METRIC_TURNS_WITHOUT_PROGRESS);
    return worker_set_up(flags);
}

static int tear_down(void **state) {
    assert_int_equal(metrics_get(METRIC_TURNS_WITHOUT_PROGRESS), turns);
    buffer_finish(&request);
    buffer_finish(&answer);
    return worker_tear_down(state);
}

static void append(const char *text, size_t count) {
    for (size_t i = 0; i < count; i++)
        assert_true(buffer_append_text(&request, text));
}

/* Sends what was gathered, and reads what comes to the end of the connection. */
static void converse(void) {
    int fd = client_request(request.bytes);
    buffer_clear(&request);
    buffer_clear(&answer);
    client_read_to_end(fd, &answer);
    assert_non_null(answer.bytes);
    close(fd);
}

static void assert_refused(const char *status_line, const char *code) {
    assert_memory_equal(answer.bytes, status_line, strlen(status_line));
    assert_non_null(strstr(answer.bytes, code));
}

static void chunk_line_without_end_is_answered_400(void **state) {
    (void)state;
    append(CHUNKED "1;", 1);
    append("a", 4 * (size_t)BUFFER_BYTES);
    converse();
    assert_refused("HTTP/1.1 400 ", "chunk_framing_too_large");
    append(CHUNKED "3\r\nabc\r\n1;", 1);
    append("a", 4 * (size_t)BUFFER_BYTES);
    converse();
    assert_refused("HTTP/1.1 400 ", "chunk_framing_too_large");
}

/* The gateway's own descriptor of a client's connection: it is one of this process. -1: it is closed. */
static int other_end_of(int fd) {
    struct sockaddr_in own, peer;
    socklen_t length = sizeof(own);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &length), 0);
    for (int other = 0; other < 1024; other++) {
        length = sizeof(peer);
        if (getpeername(other, (struct sockaddr *)&peer, &length) == 0 && peer.sin_port == own.sin_port)
            return other;
    }
    return -1;
}

static bool is_open(int fd) {
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void wait_until_read(int fd) {
    int waiting = 1, other = other_end_of(fd);
    while (is_open(fd) && ioctl(other, FIONREAD, &waiting) == 0 && waiting > 0)
        usleep(50);
}

/* No byte waits in the socket when the buffer is full. */
static void chunk_line_that_just_fills_the_buffer_is_answered_400(void **state) {
    (void)state;
    append(CHUNKED "1;", 1);
    append("a", BUFFER_BYTES * 3 / 4);
    int fd = client_request(request.bytes);
    for (int i = 0; i < BUFFER_BYTES && is_open(fd); i++) {
        wait_until_read(fd);
        send(fd, "a", 1, MSG_NOSIGNAL);
    }
    client_read_to_end(fd, &answer);
    assert_non_null(answer.bytes);
    assert_refused("HTTP/1.1 400 ", "chunk_framing_too_large");
    close(fd);
}

static void trailers_of_any_length_are_answered(void **state) {
    (void)state;
    unsigned stuck = 0;
    for (size_t length = BUFFER_BYTES - 640; length < BUFFER_BYTES; length++) {
        append(START "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: ", 1);
        append("a", length);
        append("\r\nb: c\r\n\r\n", 1);
        converse();
        stuck += strstr(answer.bytes, "chunk_framing_too_large") != NULL;
    }
    assert_true(stuck > 0 || !LIBRARY_GETS_STUCK);
}

static void body_is_answered_however_much_room_its_head_leaves(void **state) {
    (void)state;
    unsigned refused = 0;
    for (size_t cookies = 40; cookies < 60; cookies += cookies < 46 || cookies > 50 ? 2 : 1) {
        for (size_t length = 0; length < 64; length += 4) {
            append(START "Connection: close\r\nContent-Length: 15\r\nA: ", 1);
            append("a", length);
            append("\r\nCookie: ", 1);
            append("a=b;", cookies);
            append("\r\n\r\n" MESSAGE, 1);
            converse();
            refused += strstr(answer.bytes, "HTTP/1.1 431 ") != NULL;
        }
    }
    assert_true(refused > 0);
}

static void slow_upload_goes_on_after_others_got_stuck(void **state) {
    (void)state;
    int fd = client_request(START "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mes\r\n");
    for (int i = 0; i < 40; i++)
        chunk_line_without_end_is_answered_400(state);
    client_send(fd, "a;b=c\r\nsage\":\"a\"}\r\n0\r\n\r\n");
    buffer_clear(&answer);
    assert_true(client_read_to_end(fd, &answer));
    assert_refused("HTTP/1.1 200 ", "task_id");
    close(fd);
}

/* Its buffer is not looked into for ever, since each look takes some of it. */
static void request_that_saw_many_others_stuck_is_still_found(void **state) {
    int fd = client_request(CHUNKED "1;");
    for (int i = 0; i < 40; i++)
        chunk_line_without_end_is_answered_400(state);
    append("a", 4 * (size_t)BUFFER_BYTES);
    client_send(fd, request.bytes);
    buffer_clear(&answer);
    client_read_to_end(fd, &answer);
    assert_refused("HTTP/1.1 400 ", "chunk_framing_too_large");
    close(fd);
}

/* ---- what is not known --------------------------------------------------------------------------- */

static struct http_listener idle_listener(void) {
    struct http_listener listener = {.ready = false};
    LIST_INIT(&listener.exchanges);
    return listener;
}

static void turns_that_nothing_explains_are_counted_and_followed_by_a_pause(void **state) {
    (void)state;
    struct http_listener listener = idle_listener();
    uint64_t before = metrics_get(METRIC_TURNS_WITHOUT_PROGRESS);
    clock_fake(1000, 1000);
    for (int i = 1; i < PROGRESS_TURNS_MAX; i++) {
        http_progress_after_turn(&listener, true);
        assert_int_equal(http_progress_pause_ms(&listener), 0);
    }
    assert_int_equal(metrics_get(METRIC_TURNS_WITHOUT_PROGRESS), before);
    for (uint64_t i = 1; i < 3; i++) {
        http_progress_after_turn(&listener, true);
        assert_int_equal(http_progress_pause_ms(&listener), PROGRESS_PAUSE_MS);
        assert_int_equal(metrics_get(METRIC_TURNS_WITHOUT_PROGRESS), before + i);
    }
    clock_fake(1000 + PROGRESS_PAUSE_MS, 1000);
    assert_int_equal(http_progress_pause_ms(&listener), 0);
    clock_real();
}

static void a_call_or_a_rest_begins_the_count_anew(void **state) {
    (void)state;
    struct http_listener listener = idle_listener();
    uint64_t before = metrics_get(METRIC_TURNS_WITHOUT_PROGRESS);
    for (int i = 0; i < 4 * PROGRESS_TURNS_MAX; i++) {
        listener.progress.was_called = i % PROGRESS_TURNS_MAX == 1;
        http_progress_after_turn(&listener, i % PROGRESS_TURNS_MAX != 100);
        assert_int_equal(http_progress_pause_ms(&listener), 0);
    }
    assert_int_equal(metrics_get(METRIC_TURNS_WITHOUT_PROGRESS), before);
}

static void a_request_that_was_ended_and_lives_on_makes_pauses_come_sooner(void **state) {
    (void)state;
    struct http_listener listener = idle_listener();
    uint64_t before = metrics_get(METRIC_TURNS_WITHOUT_PROGRESS);
    listener.progress.stuck = 1;
    for (int i = 0; i < 3 * PROGRESS_TURNS_LOOK; i++)
        http_progress_after_turn(&listener, true);
    assert_true(http_progress_pause_ms(&listener) > 0);
    assert_int_equal(metrics_get(METRIC_TURNS_WITHOUT_PROGRESS), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chunk_line_without_end_is_answered_400, set_up, tear_down),
        cmocka_unit_test_setup_teardown(chunk_line_that_just_fills_the_buffer_is_answered_400, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trailers_of_any_length_are_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(body_is_answered_however_much_room_its_head_leaves, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(slow_upload_goes_on_after_others_got_stuck, set_up, tear_down),
        cmocka_unit_test_setup_teardown(request_that_saw_many_others_stuck_is_still_found, set_up, tear_down),
        cmocka_unit_test(turns_that_nothing_explains_are_counted_and_followed_by_a_pause),
        cmocka_unit_test(a_call_or_a_rest_begins_the_count_anew),
        cmocka_unit_test(a_request_that_was_ended_and_lives_on_makes_pauses_come_sooner),
    };
    return cmocka_run_group_tests_name("http_progress", tests, NULL, NULL);
}
