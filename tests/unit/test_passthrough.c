/* routes/passthrough, collect and sessions: what the upstream says reaches the client, and whoever goes takes
 * his half along. */
#include "base/helgrind.h"
#include "routes/collect.h"
#include "tests/support/unit_memory.h"
#include "tests/support/unit_routes.h"

#define SESSION "/apps/a/users/b/sessions/c"
#define PIECE_BYTES (16 * 1024)
#define PIECES 256

static struct routes_fixture fixture;
static const char *_Atomic answer; /* each connection has a thread */

static void serve_answer(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd) && answer != NULL) {
        ANNOTATE_HAPPENS_AFTER(&answer);
        raw_server_write(fd, answer);
    }
    raw_server_hold(fd);
}

/* A body of 4 MiB, told by the count of pieces that the kernel has taken. */
static atomic_int pieces_taken;

static void serve_flood(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    static char piece[PIECE_BYTES + 1];
    memset(piece, 'x', PIECE_BYTES);
    char head[128];
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", PIECES * PIECE_BYTES);
    int size = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    raw_server_read(server, fd);
    raw_server_write(fd, head);
    for (int i = 0; i < PIECES && raw_server_write(fd, piece); i++)
        atomic_fetch_add(&pieces_taken, 1);
    raw_server_hold(fd);
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_answer);
    return 0;
}

static int set_up_flood(void **state) {
    (void)state;
    atomic_store(&pieces_taken, 0);
    routes_begin(&fixture, serve_flood);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

static void passthrough_keeps_status_headers_and_body(void **state) {
    (void)state;
    struct asked asked = {
        .headers = {{"If-None-Match", "\"e\""}, {"Cookie", "secret"}, {"Authorization", "Bearer secret"}}};
    struct buffer body;
    buffer_init(&body, 1000);
    answer =
        "HTTP/1.1 206 Partial\r\nContent-Type: text/csv\r\nETag: \"e\"\r\nX-Hop: 1\r\nConnection: X-Hop\r\n"
        "Access-Control-Allow-Origin: *\r\nSet-Cookie: a=b\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    ask(&fixture, &asked, METHOD_GET, "/list-apps", NULL);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.request.reply.kind, REPLY_SOURCE);
    assert_int_equal(asked.request.reply.status, 206);
    assert_string_equal(answer_header(&asked, "Content-Type"), "text/csv");
    assert_string_equal(answer_header(&asked, "ETag"), "\"e\"");
    static const char *const kept[] = {"X-Hop", "Connection", "Transfer-Encoding", "Set-Cookie",
                                       "Access-Control-Allow-Origin"};
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        assert_null(answer_header(&asked, kept[i]));
    assert_int_equal(read_source(&fixture, &asked, &body), -1);
    assert_string_equal(body.bytes, "abc");
    assert_true(raw_server_was_sent(&fixture.upstream.server, "If-None-Match: \"e\""));
    assert_false(raw_server_was_sent(&fixture.upstream.server, "secret"));
    buffer_finish(&body);
    let_go(&asked);
}

static void passthrough_that_breaks_off_is_told(void **state) {
    (void)state;
    struct asked asked = {0};
    struct buffer body;
    buffer_init(&body, 1000);
    fixture.upstream.settings.idle_timeout_ms = 50;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    ask(&fixture, &asked, METHOD_GET, "/version", NULL);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.request.reply.source.content_length, 10);
    assert_int_equal(read_source(&fixture, &asked, &body), -2);
    assert_string_equal(body.bytes, "abc");
    buffer_finish(&body);
    let_go(&asked);
}

static void passthrough_without_an_answer_is_503(void **state) {
    (void)state;
    answer = NULL;
    fixture.upstream.settings.first_byte_timeout_ms = 50;
    expect(&fixture, METHOD_GET, "/list-apps", NULL, 503, "upstream_unavailable");
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "upstream_unavailable");
}

static void passthrough_of_304_has_no_body(void **state) {
    (void)state;
    struct asked asked = {0};
    answer = "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\n\r\n";
    ask(&fixture, &asked, METHOD_GET, "/list-apps", NULL);
    await_answer(&fixture, &asked);
    assert_int_equal(asked.request.reply.kind, REPLY_BODY);
    assert_int_equal(asked.request.reply.status, 304);
    assert_string_equal(answer_header(&asked, "ETag"), "\"e\"");
    let_go(&asked);
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

static void passthrough_makes_the_upstream_wait_for_a_slow_reader(void **state) {
    (void)state;
    struct asked asked = {0};
    struct buffer body;
    buffer_init(&body, PIECES * PIECE_BYTES);
    ask(&fixture, &asked, METHOD_GET, "/list-apps", NULL);
    await_answer(&fixture, &asked);
    uv_timer_t tick; /* so that a turn ends though nothing comes */
    uv_timer_init(&fixture.upstream.loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    for (int i = 0; i < 20; i++)
        routes_turn(&fixture);
    /* What the sockets hold is the kernel's affair; but it is far from all of it. */
    assert_in_range(atomic_load(&pieces_taken), 0, PIECES - 1);
    uv_close((uv_handle_t *)&tick, NULL);
    assert_int_equal(read_source(&fixture, &asked, &body), -1);
    assert_int_equal(body.length, PIECES * PIECE_BYTES);
    buffer_finish(&body);
    let_go(&asked);
}

static void passthrough_that_is_abandoned_leaves_the_upstream(void **state) {
    (void)state;
    answer = NULL;
    static const struct {
        enum request_method method;
        const char *target;
    } requests[] = {{METHOD_GET, "/list-apps"}, {METHOD_POST, SESSION}, {METHOD_DELETE, SESSION}};
    for (size_t i = 0; i < 3; i++) {
        struct asked asked = {0};
        ask(&fixture, &asked, requests[i].method, requests[i].target, NULL);
        assert_true(asked.request.deferred);
        asked.request.abandoned(asked.request.deferred_context);
        assert_int_equal(upstream_client_active(fixture.context.relay.upstream_worker->client), 0);
        let_go(&asked);
    }
}

static void passthrough_whose_client_goes_in_the_middle_leaves_the_upstream(void **state) {
    (void)state;
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, "/list-apps", NULL);
    await_answer(&fixture, &asked);
    let_go(&asked);
    assert_int_equal(upstream_client_active(fixture.context.relay.upstream_worker->client), 0);
}

static uint64_t slots_taken(void) {
    struct scheduler_info info;
    scheduler_get_info(broadcaster_scheduler(fixture.context.broadcaster), &info);
    return info.guests;
}

/* Its client may take as long as it likes for what it has. */
static void run_whose_answer_has_no_memory_leaves_its_slot(void **state) {
    (void)state;
    static const char body[] = "{\"appName\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\"}";
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    ask(&fixture, &asked, METHOD_POST, "/run", body);
    assert_int_equal(slots_taken(), 1);
    assert_int_equal(unit_memory_at(18), MEMORY_OVER);
    while (upstream_client_active(fixture.context.relay.upstream_worker->client) > 0)
        routes_turn(&fixture);
    assert_int_equal(unit_memory_at(0), MEMORY_EASY);
    assert_int_equal(asked.request.reply.kind, REPLY_SOURCE);
    assert_int_equal(slots_taken(), 0);
    let_go(&asked);
}

static bool is_open(const char *key) {
    struct session *session = broadcaster_find_session(fixture.context.broadcaster, key);
    session_unref(session);
    return session != NULL;
}

static void passthrough_of_a_query_that_says_whose_it_is_is_refused(void **state) {
    (void)state;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
    static const char *const bad[] = {
        "?userId=victim", "?limit=1&USER_ID=victim", "?u%C5%BFerId=v", "?session%5Fid=x", "?app_name",
        "?userId[]=v",    "?a=1&userId%5B%5D=v",     "?USER_ID[0]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/apps/a/users/b/sessions%s", bad[i]);
        expect(&fixture, METHOD_GET, target, NULL, 400, "identity_in_query");
    }
    expect(&fixture, METHOD_GET, "/apps/a/users/b/sessions?user=x&q=userId&ids[]=userId[]", NULL, 200, NULL);
}

static void session_is_created_upstream_and_opened_here(void **state) {
    (void)state;
    answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"id\":\"new\"}";
    expect(&fixture, METHOD_POST, SESSION, "{\"state\":{}}", 200, NULL);
    assert_true(is_open("a/b/c"));
    expect(&fixture, METHOD_POST, "/apps/a/users/b/sessions", NULL, 200, NULL);
    assert_true(is_open("a/b/new"));
    assert_true(raw_server_was_sent(&fixture.upstream.server, "POST /apps/a/users/b/sessions/c HTTP/1.1"));
    assert_true(raw_server_was_sent(&fixture.upstream.server, "{\"state\":{}}"));
    answer =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"id\":\"a/b\"}";
    expect(&fixture, METHOD_POST, "/apps/a/users/b/sessions", NULL, 200, NULL);
    struct broadcaster_stats stats;
    broadcaster_get_stats(fixture.context.broadcaster, &stats);
    assert_int_equal(stats.sessions, 2); /* that is no name here */
}

static void session_that_the_upstream_refuses_is_not_opened(void **state) {
    (void)state;
    answer = "HTTP/1.1 400 X\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    expect(&fixture, METHOD_POST, SESSION, NULL, 400, "upstream_error");
    assert_false(is_open("a/b/c"));
}

static void session_that_was_created_without_a_word_is_answered_so(void **state) {
    (void)state;
    answer = "HTTP/1.1 204 X\r\n\r\n";
    expect(&fixture, METHOD_POST, SESSION, NULL, 204, NULL);
    answer = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
    expect(&fixture, METHOD_POST, SESSION, NULL, 200, NULL);
    assert_true(is_open("a/b/c"));
    expect(&fixture, METHOD_POST, "/apps/a/users/b/sessions", NULL, 200, NULL); /* nobody knows its name */
}

static void session_whose_creation_is_answered_oddly_is_503(void **state) {
    (void)state;
    answer = "HTTP/1.1 302 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "upstream_error");
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 503, "upstream_error");
    assert_false(raw_server_was_sent(&fixture.upstream.server, "/elsewhere"));
    assert_false(is_open("a/b/c"));
    answer = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "upstream_error");
}

static void session_whose_creation_is_not_answered_as_a_whole_is_503(void **state) {
    (void)state;
    static const char head[] =
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n";
    static char too_long[sizeof(head) + COLLECT_BYTES_MAX + 1];
    memset(too_long, ' ', sizeof(too_long) - 1);
    memcpy(too_long, head, sizeof(head) - 1);
    ANNOTATE_HAPPENS_BEFORE(&answer);
    answer = too_long;
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "upstream_unavailable");
    answer = "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}";
    fixture.upstream.settings.idle_timeout_ms = 100;
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "upstream_unavailable");
    assert_false(is_open("a/b/c"));
}

static void session_of_a_body_that_is_no_json_is_400(void **state) {
    (void)state;
    expect(&fixture, METHOD_POST, SESSION, "{\"state\":", 400, "invalid_json");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

static void session_is_deleted_here_and_upstream(void **state) {
    (void)state;
    struct session *session = unit_session(fixture.context.broadcaster, "a/b/c");
    session_unref(session);
    answer = "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n";
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 200, NULL);
    assert_false(is_open("a/b/c"));
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 404, "unknown_session");
    answer = "HTTP/1.1 204 X\r\n\r\n";
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 200, NULL);
    answer = "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n";
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 503, "upstream_error");
}

static void session_of_another_kind_is_here_alone(void **state) {
    (void)state;
    fixture.upstream.settings.adapter = &adapter_sse;
    struct asked asked = {0};
    expect(&fixture, METHOD_GET, SESSION, NULL, 404, "unknown_session");
    expect(&fixture, METHOD_POST, SESSION, NULL, 200, NULL);
    expect(&fixture, METHOD_POST, "/apps/a/users/bb/sessions", NULL, 200, NULL);
    expect(&fixture, METHOD_GET, SESSION, NULL, 200, NULL);
    ask(&fixture, &asked, METHOD_GET, "/apps/a/users/b/sessions", NULL);
    assert_string_equal(asked.request.reply.body,
                        "{\"sessions\":[{\"id\":\"c\",\"appName\":\"a\",\"userId\":\"b\"}]}");
    let_go(&asked);
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 200, NULL);
    expect(&fixture, METHOD_DELETE, SESSION, NULL, 404, "unknown_session");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(passthrough_keeps_status_headers_and_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passthrough_that_breaks_off_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passthrough_without_an_answer_is_503, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passthrough_of_304_has_no_body, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passthrough_makes_the_upstream_wait_for_a_slow_reader, set_up_flood,
                                        tear_down),
        cmocka_unit_test_setup_teardown(passthrough_that_is_abandoned_leaves_the_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(passthrough_whose_client_goes_in_the_middle_leaves_the_upstream,
                                        set_up_flood, tear_down),
        cmocka_unit_test_setup_teardown(run_whose_answer_has_no_memory_leaves_its_slot, set_up_flood,
                                        tear_down),
        cmocka_unit_test_setup_teardown(passthrough_of_a_query_that_says_whose_it_is_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(session_is_created_upstream_and_opened_here, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_that_the_upstream_refuses_is_not_opened, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_that_was_created_without_a_word_is_answered_so, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(session_whose_creation_is_answered_oddly_is_503, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_whose_creation_is_not_answered_as_a_whole_is_503, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(session_of_a_body_that_is_no_json_is_400, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_is_deleted_here_and_upstream, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_of_another_kind_is_here_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
