/* upstream/client: a connection that is reset does not take away the bytes that arrived before the reset. */
#include "tests/unit/stream_recorder.h"

#include <stdatomic.h>
#include <sys/ioctl.h>

#define ROUNDS 20
#define LARGE_BODY_BYTES (64 * 1024 * 1024) /* more than the kernel takes at once */

static const char *answer;

/** Answers after the request's head, and resets the connection. */
static void serve_answer_and_reset(struct raw_server *server, int fd, size_t connection) {
    char bytes[RAW_REQUEST_BYTES_MAX];
    (void)server, (void)connection;
    raw_server_reset(fd);
    if (recv(fd, bytes, sizeof bytes, 0) > 0)
        raw_server_write(fd, answer);
}

/** Starts a run, and lets the loop turn on only when the server has answered it and reset the connection. */
static void do_reset_run(struct recorder *recorder, struct fixture *fixture) {
    *recorder = (struct recorder){0};
    recorder_start(recorder, fixture);
    while (recorder->told[0] == '\0')
        fixture_turn(fixture);
    while (raw_server_open(&fixture->server) > 0 || raw_server_connections(&fixture->server) == 0)
        usleep(1000);
    recorder_await_end(recorder);
}

static void check_reset(const char *bytes, const struct adapter *adapter, enum upstream_end end,
                        size_t events) {
    answer = bytes;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct fixture fixture;
        struct recorder recorder;
        fixture_begin(&fixture, serve_answer_and_reset);
        fixture.settings.adapter = adapter;
        do_reset_run(&recorder, &fixture);
        assert_int_equal(recorder.result.end, end);
        assert_int_equal(recorder.events, events);
        fixture_end(&fixture);
    }
}

static void stream_is_complete_though_its_connection_is_reset_after_it(void **state) {
    (void)state;
    check_reset(HEAD_CHUNKED CHUNK_A LAST_CHUNK, &adapter_adk, UPSTREAM_COMPLETED, 1);
    check_reset("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: a\n\n",
                &adapter_adk, UPSTREAM_COMPLETED, 1);
    check_reset(HEAD_CHUNKED CHUNK_A CHUNK_DONE, &adapter_openai, UPSTREAM_COMPLETED, 2);
}

static void stream_reads_a_long_answer_to_its_end_though_a_reset_follows(void **state) {
    (void)state;
    enum { EVENTS = 2000 }; /* more than one read takes, less than the connection holds */
    struct buffer bytes;
    buffer_init(&bytes, 1 << 20);
    assert_true(buffer_append_text(&bytes, HEAD_CHUNKED));
    for (size_t i = 0; i < EVENTS; i++)
        assert_true(buffer_append_text(&bytes, CHUNK_A));
    assert_true(buffer_append_text(&bytes, LAST_CHUNK));
    check_reset(bytes.bytes, &adapter_adk, UPSTREAM_COMPLETED, EVENTS);
    buffer_finish(&bytes);
}

static void stream_tells_the_events_that_arrived_before_a_reset(void **state) {
    (void)state;
    check_reset(HEAD_CHUNKED CHUNK_A CHUNK_A "9\r\ndat", &adapter_adk, UPSTREAM_TRUNCATED, 2);
    check_reset("", &adapter_adk, UPSTREAM_TRUNCATED, 0);
}

/* ---- refusals ---------------------------------------------------------------------------------------- */

#define REFUSAL "HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}"

static void check_refused(const struct recorder *recorder) {
    assert_int_equal(recorder->result.end, UPSTREAM_STATUS);
    assert_int_equal(recorder->result.http_status, 429);
    assert_int_equal(recorder->result.retry_after_ms, 7000);
    assert_string_equal(recorder->message, "The upstream answered 429: no");
}

static void stream_keeps_a_refusal_though_a_reset_follows(void **state) {
    (void)state;
    answer = REFUSAL;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct fixture fixture;
        struct recorder recorder;
        fixture_begin(&fixture, serve_answer_and_reset);
        do_reset_run(&recorder, &fixture);
        check_refused(&recorder);
        fixture_end(&fixture);
    }
}

/* ---- while the request is being sent ----------------------------------------------------------------- */

enum stage { FILLS, SHALL_TAKE, HAS_TAKEN, SHALL_ANSWER };

static _Atomic enum stage stage;
static atomic_int filled; /* bytes that the server could take */
static bool takes_more;   /* it does so before it answers */

static void await_stage(enum stage awaited) {
    while (stage != awaited)
        usleep(100);
}

/** Takes nothing of the request until it shall, then perhaps all that is there; at last answers and resets
 * the connection. */
static void serve_answer_in_between(struct raw_server *server, int fd, size_t connection) {
    static char bytes[1 << 20];
    int count = 0;
    (void)server, (void)connection;
    raw_server_reset(fd);
    while (stage == FILLS) {
        ioctl(fd, FIONREAD, &count);
        filled = count;
        usleep(100);
    }
    while (takes_more && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    stage = HAS_TAKEN;
    await_stage(SHALL_ANSWER);
    raw_server_write(fd, answer);
}

static void start_large_run(struct recorder *recorder) {
    char *body = malloc(LARGE_BODY_BYTES);
    assert_non_null(body);
    memset(body, ' ', LARGE_BODY_BYTES);
    struct upstream_post post = recorder_post_body(recorder->fixture, NULL, false, body, LARGE_BODY_BYTES);
    recorder_start_post(recorder, &post);
}

/** Turns the loop until nothing more of the request goes out. */
static void fill_connection(struct fixture *fixture) {
    int before = -1;
    for (size_t unchanged = 0; unchanged < 50;
         unchanged = filled == before && before > 0 ? unchanged + 1 : 0) {
        before = filled;
        fixture_turn(fixture);
        usleep(200);
    }
}

/** The loop calls this before it looks at the request's socket, of which it already knows that it takes more.
 */
static void on_turn(uv_poll_t *poll, int status, int events) {
    struct fixture *fixture = poll->data;
    assert_int_equal(status, 0);
    assert_int_equal(events, UV_READABLE);
    if (stage != HAS_TAKEN)
        return;
    stage = SHALL_ANSWER;
    while (raw_server_open(&fixture->server) > 0)
        usleep(1000);
    uv_poll_stop(poll);
}

static void check_refusal_in_between(void) {
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    uv_poll_t poll;
    int pipe[2];
    answer = REFUSAL;
    stage = FILLS;
    filled = 0;
    fixture_begin(&fixture, serve_answer_in_between);
    assert_int_equal(uv_pipe(pipe, 0, 0), 0);
    assert_int_equal(write(pipe[1], "x", 1), 1);
    assert_int_equal(uv_poll_init(&fixture.loop, &poll, pipe[0]), 0);
    poll.data = &fixture;
    uv_poll_start(&poll, UV_READABLE, on_turn);
    start_large_run(&recorder);
    fill_connection(&fixture);
    stage = SHALL_TAKE;
    await_stage(HAS_TAKEN);
    recorder_await_end(&recorder);
    check_refused(&recorder);
    uv_close((uv_handle_t *)&poll, NULL);
    fixture_end(&fixture);
    close(pipe[0]);
    close(pipe[1]);
}

static void stream_keeps_a_refusal_that_comes_before_its_request_is_sent(void **state) {
    (void)state;
    takes_more = false;
    check_refusal_in_between();
}

/* The loop has seen that the upstream takes more, and not that it has answered since and reset the
 * connection. */
static void stream_reads_before_it_sends_more(void **state) {
    (void)state;
    takes_more = true;
    check_refusal_in_between();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_complete_though_its_connection_is_reset_after_it),
        cmocka_unit_test(stream_reads_a_long_answer_to_its_end_though_a_reset_follows),
        cmocka_unit_test(stream_tells_the_events_that_arrived_before_a_reset),
        cmocka_unit_test(stream_keeps_a_refusal_though_a_reset_follows),
        cmocka_unit_test(stream_keeps_a_refusal_that_comes_before_its_request_is_sent),
        cmocka_unit_test(stream_reads_before_it_sends_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
