/* upstream/client: a run is posted once, however libcurl's kept connections end. */
#include "tests/unit/passage_recorder.h"
#include "tests/unit/stream_recorder.h"

#include <stdatomic.h>

#define WHOLE HEAD_CHUNKED CHUNK_A LAST_CHUNK
#define CREATED "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define UNANSWERED "The upstream closed the connection without an answer; it may have received the request"

enum dying { IN_ORDER, BY_RESET };

/* After its first death: other connections are served, or none. */
enum listening { GOES_ON, STOPS };

/* What the server of a test does: it gives the n-th request the n-th answer, the last one to all that come
 * later. It closes its first connection at the request after those that it answers there. */
static const char *const *answers;
static size_t answered_before_death;
static enum dying dying;
static enum listening listening;

static const char *next_answer(struct raw_server *server) {
    const char *const *next = answers;
    for (size_t i = 1; i < raw_server_requests(server) && next[1] != NULL; i++)
        next++;
    return *next;
}

static void serve_until_death(struct raw_server *server, int fd, size_t connection) {
    for (size_t i = 0; raw_server_read(server, fd); i++) {
        if (connection == 0 && i == answered_before_death)
            break;
        raw_server_write(fd, next_answer(server));
    }
    if (dying == BY_RESET)
        raw_server_reset(fd);
    if (listening == STOPS)
        shutdown(server->fd, SHUT_RDWR);
}

static void begin(struct fixture *fixture, const char *const *texts, size_t answered, enum dying how,
                  enum listening then) {
    answers = texts;
    answered_before_death = answered;
    dying = how;
    listening = then;
    fixture_begin(fixture, serve_until_death);
}

static size_t posted(struct fixture *fixture, const char *line) {
    size_t count = 0;
    pthread_mutex_lock(&fixture->server.mutex);
    for (const char *at = fixture->server.log; (at = strstr(at, line)) != NULL; at++)
        count++;
    pthread_mutex_unlock(&fixture->server.mutex);
    return count;
}

static const char *const whole[] = {WHOLE, NULL};

static void check_unanswered(const struct recorder *recorder) {
    assert_int_equal(recorder->result.end, UPSTREAM_TRUNCATED);
    assert_true(recorder->result.is_unanswered);
    assert_memory_equal(recorder->message, UNANSWERED, strlen(UNANSWERED)); /* libcurl's words follow */
    assert_true(recorder->result.cause == CAUSE_CLOSED || recorder->result.cause == CAUSE_RESET);
    assert_string_equal(recorder->told, "sent|end|");
}

/* ---- after the request was sent ----------------------------------------------------------------------- */

static void stream_is_posted_once_though_its_kept_connection_dies(void **state) {
    (void)state;
    for (enum dying how = IN_ORDER; how <= BY_RESET; how++) {
        struct fixture fixture;
        struct recorder recorder;
        begin(&fixture, whole, 1, how, GOES_ON);
        recorder_do(&recorder, &fixture);
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
        recorder_do(&recorder, &fixture);
        check_unanswered(&recorder);
        assert_int_equal(posted(&fixture, "POST /run_sse"), 2);
        assert_int_equal(raw_server_connections(&fixture.server), 1);
        fixture_end(&fixture);
    }
}

static void stream_is_unanswered_alike_on_a_new_connection(void **state) {
    (void)state;
    for (enum dying how = IN_ORDER; how <= BY_RESET; how++) {
        struct fixture fixture;
        struct recorder recorder;
        begin(&fixture, whole, 0, how, GOES_ON);
        recorder_do(&recorder, &fixture);
        check_unanswered(&recorder);
        assert_int_equal(posted(&fixture, "POST /run_sse"), 1);
        fixture_end(&fixture);
    }
}

/* The session is created, and the run posted on the same connection. */
static void stream_is_posted_once_behind_the_creation_of_its_session(void **state) {
    (void)state;
    static const char *const created[] = {CREATED, NULL};
    for (size_t i = 0; i < 4; i++) {
        struct fixture fixture;
        struct recorder recorder = {.fixture = &fixture};
        begin(&fixture, created, 1, i % 2 == 0 ? IN_ORDER : BY_RESET, i < 2 ? GOES_ON : STOPS);
        struct upstream_post post = recorder_post(&fixture, "/session", false);
        recorder_start_post(&recorder, &post);
        recorder_await_end(&recorder);
        check_unanswered(&recorder);
        assert_int_equal(posted(&fixture, "POST /session"), 1);
        assert_int_equal(posted(&fixture, "POST /run_sse"), 1);
        assert_int_equal(raw_server_connections(&fixture.server), 1);
        fixture_end(&fixture);
    }
}

/* To create a session that exists does no harm. */
static void stream_creates_its_session_again_if_a_kept_connection_dies(void **state) {
    (void)state;
    static const char *const texts[] = {WHOLE, "", CREATED, WHOLE, NULL};
    for (enum dying how = IN_ORDER; how <= BY_RESET; how++) {
        struct fixture fixture;
        struct recorder recorder;
        begin(&fixture, texts, 1, how, GOES_ON);
        recorder_do(&recorder, &fixture);
        recorder = (struct recorder){.fixture = &fixture};
        struct upstream_post post = recorder_post(&fixture, "/session", false);
        recorder_start_post(&recorder, &post);
        recorder_await_end(&recorder);
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
        assert_int_equal(posted(&fixture, "POST /session"), 2);
        assert_int_equal(posted(&fixture, "POST /run_sse"), 2);
        fixture_end(&fixture);
    }
}

static const char *beginning;

static void serve_beginning(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, beginning);
    if (*beginning == '\0')
        raw_server_hold(fd);
}

static void stream_is_unanswered_if_no_answer_comes_in_time(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    beginning = "";
    fixture_begin(&fixture, serve_beginning);
    fixture.settings.first_byte_timeout_ms = 100;
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_IDLE);
    assert_true(recorder.result.is_unanswered);
    fixture_end(&fixture);
}

static void stream_is_answered_once_a_header_has_come(void **state) {
    (void)state;
    static const char *const beginnings[] = {"HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
                                             HEAD_CHUNKED, "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        struct fixture fixture;
        struct recorder recorder;
        beginning = beginnings[i];
        fixture_begin(&fixture, serve_beginning);
        recorder_do(&recorder, &fixture);
        assert_true(recorder.result.end == UPSTREAM_TRUNCATED || recorder.result.end == UPSTREAM_STATUS);
        assert_false(recorder.result.is_unanswered);
        fixture_end(&fixture);
    }
}

/* ---- before it is sent --------------------------------------------------------------------------------- */

enum trouble { CLOSED, RESET, UNASKED_BYTES, UNASKED_BYTES_AND_CLOSED, TROUBLES };

static _Atomic enum trouble trouble;
static atomic_bool shall_die, is_dead;

/** The first connection answers once, and later brings trouble when it shall. */
static void serve_then_trouble(struct raw_server *server, int fd, size_t connection) {
    while (raw_server_read(server, fd) && raw_server_write(fd, WHOLE)) {
        if (connection == 0)
            break;
    }
    if (connection > 0)
        return;
    while (!shall_die)
        usleep(100);
    if (trouble == UNASKED_BYTES || trouble == UNASKED_BYTES_AND_CLOSED)
        raw_server_write(fd, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    if (trouble == RESET)
        raw_server_reset(fd);
    if (trouble == CLOSED || trouble == UNASKED_BYTES_AND_CLOSED)
        shutdown(fd, SHUT_WR);
    if (trouble == RESET)
        raw_server_close(server, connection);
    is_dead = true;
    if (trouble != RESET)
        raw_server_hold(fd);
}

static void let_die(struct recorder *recorder) {
    (void)recorder;
    shall_die = true;
    while (!is_dead)
        usleep(100);
}

/** A first run, then another one, during which the connection that was kept brings trouble at that moment. */
static void do_troubled_run(struct recorder *recorder, struct fixture *fixture, enum trouble kind,
                            void (*in_sent)(struct recorder *recorder)) {
    trouble = kind;
    shall_die = is_dead = false;
    fixture_begin(fixture, serve_then_trouble);
    recorder_do(recorder, fixture);
    assert_int_equal(recorder->result.end, UPSTREAM_COMPLETED);
    if (in_sent == NULL)
        let_die(recorder);
    *recorder = (struct recorder){.in_sent = in_sent};
    recorder_start(recorder, fixture);
    recorder_await_end(recorder);
}

static void client_does_not_use_a_kept_connection_that_is_dead(void **state) {
    (void)state;
    for (enum trouble kind = CLOSED; kind < TROUBLES; kind++) {
        struct fixture fixture;
        struct recorder recorder;
        do_troubled_run(&recorder, &fixture, kind, NULL);
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
        assert_string_equal(recorder.told, "sent|message:a|end|");
        assert_int_equal(raw_server_requests(&fixture.server), 2);
        assert_int_equal(raw_server_connections(&fixture.server), 2);
        recorder_do(&recorder, &fixture); /* the new connection is kept, the dead one is not */
        assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
        assert_int_equal(raw_server_connections(&fixture.server), 2);
        fixture_end(&fixture);
    }
}

/* A reset that comes between the look and the first byte: nothing was sent. */
static void stream_is_sent_anew_if_not_a_byte_of_it_could_be_sent(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    do_troubled_run(&recorder, &fixture, RESET, let_die);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(raw_server_requests(&fixture.server), 2);
    assert_int_equal(raw_server_connections(&fixture.server), 2);
    fixture_end(&fixture);
}

static void stream_is_unanswered_if_it_was_sent_into_a_closed_connection(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    do_troubled_run(&recorder, &fixture, CLOSED, let_die);
    check_unanswered(&recorder);
    assert_int_equal(raw_server_connections(&fixture.server), 1);
    fixture_end(&fixture);
}

/* An upstream that speaks first is none that has died. */
static atomic_bool has_spoken;

static void serve_greeting(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    raw_server_write(fd, WHOLE);
    has_spoken = true;
    raw_server_read(server, fd);
    raw_server_hold(fd);
}

/* The loop calls this when libcurl has begun to connect, and before it can go on. */
static void await_greeting(uv_prepare_t *prepare) {
    while (!has_spoken)
        usleep(100);
    uv_prepare_stop(prepare);
}

static void client_uses_a_new_connection_whatever_has_come(void **state) {
    (void)state;
    struct fixture fixture;
    struct recorder recorder;
    uv_prepare_t prepare;
    has_spoken = false;
    fixture_begin(&fixture, serve_greeting);
    uv_prepare_init(&fixture.loop, &prepare);
    uv_prepare_start(&prepare, await_greeting);
    recorder_do(&recorder, &fixture);
    assert_int_equal(recorder.result.end, UPSTREAM_COMPLETED);
    assert_int_equal(raw_server_connections(&fixture.server), 1);
    uv_close((uv_handle_t *)&prepare, NULL);
    fixture_end(&fixture);
}

/* ---- other requests ------------------------------------------------------------------------------------ */

static void do_passage(struct passage_recorder *recorder, struct fixture *fixture, const char *method) {
    passage_begin(recorder, fixture);
    passage_start(recorder, method, "/x", strcmp(method, "GET") != 0 ? "{}" : NULL);
    passage_await_end(recorder);
    uv_close((uv_handle_t *)&recorder->resume_timer, NULL);
    buffer_finish(&recorder->body);
}

static void check_passage(const char *method, size_t requests, enum upstream_end end) {
    static const char *const empty[] = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL};
    for (enum dying how = IN_ORDER; how <= BY_RESET; how++) {
        struct fixture fixture;
        struct passage_recorder first, second;
        begin(&fixture, empty, 1, how, GOES_ON);
        do_passage(&first, &fixture, "GET");
        do_passage(&second, &fixture, method);
        assert_int_equal(second.result.end, end);
        assert_int_equal(posted(&fixture, " /x "), 1 + requests);
        fixture_end(&fixture);
    }
}

static void passage_is_sent_again_only_if_that_does_no_harm(void **state) {
    (void)state;
    check_passage("GET", 2, UPSTREAM_COMPLETED);
    check_passage("PUT", 2, UPSTREAM_COMPLETED);
    check_passage("DELETE", 2, UPSTREAM_COMPLETED);
    check_passage("POST", 1, UPSTREAM_TRUNCATED);
    check_passage("PATCH", 1, UPSTREAM_TRUNCATED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_posted_once_though_its_kept_connection_dies),
        cmocka_unit_test(stream_is_unanswered_alike_on_a_new_connection),
        cmocka_unit_test(stream_is_posted_once_behind_the_creation_of_its_session),
        cmocka_unit_test(stream_creates_its_session_again_if_a_kept_connection_dies),
        cmocka_unit_test(stream_is_unanswered_if_no_answer_comes_in_time),
        cmocka_unit_test(stream_is_answered_once_a_header_has_come),
        cmocka_unit_test(client_does_not_use_a_kept_connection_that_is_dead),
        cmocka_unit_test(stream_is_sent_anew_if_not_a_byte_of_it_could_be_sent),
        cmocka_unit_test(stream_is_unanswered_if_it_was_sent_into_a_closed_connection),
        cmocka_unit_test(client_uses_a_new_connection_whatever_has_come),
        cmocka_unit_test(passage_is_sent_again_only_if_that_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
