/* upstream/stream: any byte shows that an upstream is alive; a limit of its own is for the time without an
 * event. */
#include "tests/unit/stream_recorder.h"

#include <stdatomic.h>

#define LIMIT_MS 400 /* more than one pause of the server, less than all of them */
#define PAUSE_US 20000
#define PAUSES 40
#define NO_EVENT "The upstream sent no event in time: upstream_event_timeout_ms ("
#define SILENT "The upstream fell silent: upstream_idle_timeout_ms ("

static const char *const
    *pieces;             /* what the server sends in turns, as chunks, PAUSES times; NULL ends the list */
static bool goes_silent; /* it sends no end */

static void serve_pieces(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (!raw_server_read(server, fd) || !raw_server_write(fd, HEAD_CHUNKED))
        return;
    const char *const *piece = pieces;
    for (size_t i = 0; i < PAUSES && raw_server_write_chunk(fd, *piece); i++) {
        piece = piece[1] != NULL ? piece + 1 : pieces;
        usleep(PAUSE_US);
    }
    if (goes_silent)
        raw_server_hold(fd);
    raw_server_write_chunk(fd, "\n\n");
    raw_server_write_chunk(fd, "data: a\n\n");
    raw_server_write(fd, LAST_CHUNK);
}

static void do_run(struct recorder *recorder, const char *const *sent, int64_t idle_timeout_ms,
                   int64_t event_timeout_ms) {
    struct fixture fixture;
    pieces = sent;
    fixture_begin(&fixture, serve_pieces);
    fixture.settings.idle_timeout_ms = idle_timeout_ms;
    fixture.settings.event_timeout_ms = event_timeout_ms;
    recorder_do(recorder, &fixture);
    fixture_end(&fixture);
}

static void check_alive(const char *const *sent, int64_t event_timeout_ms) {
    struct recorder recorder;
    goes_silent = false;
    do_run(&recorder, sent, LIMIT_MS, event_timeout_ms);
    if (recorder.result.end != UPSTREAM_COMPLETED)
        fail_msg("%s", recorder.message);
}

static void check_idle(const char *const *sent, int64_t idle_timeout_ms, int64_t event_timeout_ms,
                       const char *message) {
    struct recorder recorder;
    goes_silent = true;
    do_run(&recorder, sent, idle_timeout_ms, event_timeout_ms);
    assert_int_equal(recorder.result.end, UPSTREAM_IDLE);
    assert_int_equal(recorder.result.http_status, 200);
    assert_memory_equal(recorder.message, message, strlen(message)); /* the limit follows */
    bool is_silent = strcmp(message, SILENT) == 0;
    assert_int_equal(recorder.result.cause, is_silent ? CAUSE_IDLE_TIMEOUT : CAUSE_EVENT_TIMEOUT);
}

static const char *const comments[] = {": still here\n\n", NULL};
static const char *const line_ends[] = {"\n", NULL};
static const char *const half_an_event[] = {"data: a", NULL};
static const char *const events[] = {"data: b\n\n", NULL};
static const char *const some_events[] = {"data: b\n\n", ": c\n", ": c\n", ": c\n", NULL};

static void stream_is_alive_while_any_bytes_come(void **state) {
    (void)state;
    check_alive(comments, 0);
    check_alive(line_ends, 0);
    check_alive(half_an_event, 0);
    check_alive(events, 0);
}

static void stream_is_idle_once_nothing_comes(void **state) {
    (void)state;
    check_idle(comments, LIMIT_MS, 0, SILENT);
    check_idle(half_an_event, LIMIT_MS, 0, SILENT);
    check_idle(events, LIMIT_MS, 60000, SILENT);
}

static void stream_without_an_event_in_time_is_idle_though_it_is_alive(void **state) {
    (void)state;
    check_idle(comments, 60000, LIMIT_MS, NO_EVENT);
    check_idle(half_an_event, 60000, LIMIT_MS, NO_EVENT);
    check_idle(events, 60000, LIMIT_MS, NO_EVENT);
}

static void stream_with_events_in_time_is_not_idle(void **state) {
    (void)state;
    check_alive(events, LIMIT_MS);
    check_alive(some_events, LIMIT_MS);
}

static void stream_is_idle_by_the_limit_that_is_over_first(void **state) {
    (void)state;
    static const char *const once[] = {": c\n", NULL};
    check_idle(once, LIMIT_MS / 2, 60000, SILENT);
    check_idle(once, 60000, LIMIT_MS / 2, NO_EVENT);
}

/* ---- a stream that is held ---------------------------------------------------------------------------- */

static atomic_bool has_sent;

static void serve_two_events(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    if (raw_server_read(server, fd))
        raw_server_write(fd, HEAD_CHUNKED CHUNK_A CHUNK_A);
    has_sent = true;
    raw_server_hold(fd);
}

static bool may_read(void *context) {
    (void)context;
    return false;
}

static void on_time(uv_timer_t *timer) {
    (void)timer;
}

/* It is we who do not read: the upstream is not to blame. */
static void stream_that_is_held_is_not_idle(void **state) {
    (void)state;
    static const struct upstream_stream_callbacks callbacks = {.on_sent = recorder_on_sent,
                                                               .on_event = recorder_on_event,
                                                               .may_read = may_read,
                                                               .on_end = recorder_on_end};
    struct fixture fixture;
    struct recorder recorder = {.fixture = &fixture};
    uv_timer_t timer;
    has_sent = false;
    fixture_begin(&fixture, serve_two_events);
    fixture.settings.idle_timeout_ms = fixture.settings.event_timeout_ms = LIMIT_MS;
    struct upstream_post post = recorder_post(&fixture, NULL, false);
    recorder.stream = upstream_stream_start(fixture.client, &fixture.settings, &post, &callbacks, &recorder);
    assert_non_null(recorder.stream);
    while (!has_sent)
        fixture_turn(&fixture);
    uv_timer_init(&fixture.loop, &timer);
    uv_timer_start(&timer, on_time, 3 * LIMIT_MS, 0);
    while (uv_is_active((uv_handle_t *)&timer))
        fixture_turn(&fixture);
    assert_string_equal(recorder.told, "sent|");
    upstream_stream_cancel(recorder.stream);
    uv_close((uv_handle_t *)&timer, NULL);
    fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stream_is_alive_while_any_bytes_come),
        cmocka_unit_test(stream_is_idle_once_nothing_comes),
        cmocka_unit_test(stream_without_an_event_in_time_is_idle_though_it_is_alive),
        cmocka_unit_test(stream_with_events_in_time_is_not_idle),
        cmocka_unit_test(stream_is_idle_by_the_limit_that_is_over_first),
        cmocka_unit_test(stream_that_is_held_is_not_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
