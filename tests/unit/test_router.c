/* routes/router: which handler answers what, and what is refused before any handler runs. */
#include "tests/support/unit_routes.h"

#define SESSION "/apps/a/users/b/sessions/c"

static struct routes_fixture fixture;

/* An upstream that answers whatever is asked with its own 418. */
static void serve_teapot(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        raw_server_write(fd,
                         "HTTP/1.1 418 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_teapot);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

static void check_allow(enum request_method method, const char *target, int status, const char *allow) {
    struct asked asked = {0};
    ask(&fixture, &asked, method, target, NULL);
    assert_int_equal(asked.request.reply.status, status);
    if (allow != NULL)
        assert_string_equal(answer_header(&asked, "Allow"), allow);
    else
        assert_null(answer_header(&asked, "Allow"));
    let_go(&asked);
}

static void router_knows_no_other_paths(void **state) {
    (void)state;
    static const char *const unknown[] = {
        "/",         "/run_sse/x",  "/apps",         "/tasks/a/b",  "/tasks/",
        "/healthz/", "//healthz",   "/Healthz",      "/healthz%2f", "http://127.0.0.1/healthz",
        "*",         "/debug/runs", "/builder/save", "/etc/passwd"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        expect(&fixture, METHOD_GET, unknown[i], NULL, 404, "not_found");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

static void router_tells_which_methods_a_path_has(void **state) {
    (void)state;
    check_allow(METHOD_PUT, SESSION "/run", 405, "GET, HEAD, POST, DELETE, OPTIONS");
    check_allow(METHOD_OTHER, "/healthz", 405, "GET, HEAD, OPTIONS");
    check_allow(METHOD_GET, "/run_sse", 405, "POST, OPTIONS");
    check_allow(METHOD_GET, "/run", 405, "POST, OPTIONS");
    check_allow(METHOD_PUT, SESSION, 405, "GET, HEAD, POST, PATCH, DELETE, OPTIONS");
    check_allow(METHOD_POST, "/apps/a/users/b/memory", 405, "GET, HEAD, PATCH, OPTIONS");
    check_allow(METHOD_DELETE, "/apps/a/eval_sets", 405, "GET, HEAD, OPTIONS");
    check_allow(METHOD_OPTIONS, "/tasks/x", 204, "GET, HEAD, DELETE, OPTIONS");
    check_allow(METHOD_OPTIONS, "/nowhere", 404, NULL);
    check_allow(METHOD_OPTIONS, "*", 204, "GET, HEAD, POST, PATCH, DELETE, OPTIONS");
}

static void router_refuses_words_that_are_encoded(void **state) {
    (void)state;
    static const char *const targets[] = {"/h%65althz",
                                          "/%73tats",
                                          "/%73%74%61%74%73",
                                          "/task%2Dstatus",
                                          "/%61pps/a/users/b/sessions/c/history",
                                          "/apps/a/%75sers/b/sessions/c/history",
                                          "/apps/a/users/b/sessions/c/r%75n",
                                          "/list%2dapps",
                                          "/%61pps/x/y",
                                          "/debug/%74race/x"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        expect(&fixture, METHOD_GET, targets[i], NULL, 400, "invalid_path");
        expect(&fixture, METHOD_OPTIONS, targets[i], NULL, 400, "invalid_path");
    }
    expect(&fixture, METHOD_DELETE, "/%74asks/x", NULL, 400, "invalid_path");
    expect(&fixture, METHOD_GET, "/apps/%61/users/b/sessions/c/history", NULL, 404,
           "unknown_session"); /* a name */
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

static void router_knows_one_spelling_of_a_path(void **state) {
    (void)state;
    static const char *const targets[] = {
        "//stats",   "/stats/",    "/stats//",   "/STATS",      "/Stats",     "/stats;x",  "/stats;",
        "/stats%3b", "/stats%2f",  "/%2fstats",  "/stats%20",   "/stats%5c",  "/\\stats",  "/stats.",
        "/stats,x",  "/stats%3fx", "/stats%23x", "/;/stats",    "/stats:80",  "/stats%09", "/sta%ef%bd%94s",
        "/%25stats", "/s tats",    "/stats/x",   "/x/../stats", "/tasks/x/y", "/apps",     "/apps/"};
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
        expect(&fixture, METHOD_GET, targets[i], NULL, 404, "not_found");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

static void router_names_what_is_no_name(void **state) {
    (void)state;
    expect(&fixture, METHOD_GET, "/apps/a%0a/users/b/sessions/c/run", NULL, 400, "invalid_app");
    expect(&fixture, METHOD_GET, "/apps/a/users/../sessions/c/run", NULL, 400, "invalid_user");
    expect(&fixture, METHOD_GET, "/apps/a/users/b/sessions/%2e/run", NULL, 400, "invalid_session");
    expect(&fixture, METHOD_DELETE, "/apps/a/users/b/sessions/%", NULL, 400, "invalid_session");
    expect(&fixture, METHOD_GET, "/tasks/%00", NULL, 400, "invalid_id");
    expect(&fixture, METHOD_GET, "/tasks/a%20b", NULL, 400, "invalid_id");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), 0);
}

static void router_wants_json_and_a_length_where_there_is_a_body(void **state) {
    (void)state;
    struct asked text = {.headers = {{"Content-Type", "text/plain"}}}, none = {0},
                 zipped = {.headers = {{"Content-Type", "application/json"}, {"Content-Encoding", "gzip"}}};
    ask(&fixture, &text, METHOD_POST, SESSION "/run", "{}");
    assert_int_equal(text.request.reply.status, 415);
    let_go(&text);
    ask(&fixture, &none, METHOD_POST, SESSION "/run", "{}");
    assert_int_equal(none.request.reply.status, 415);
    let_go(&none);
    ask(&fixture, &zipped, METHOD_POST, "/run_sse", "{}");
    assert_int_equal(zipped.request.reply.status, 415);
    let_go(&zipped);
    expect(&fixture, METHOD_POST, SESSION "/run", NULL, 411, "length_required");
    expect(&fixture, METHOD_POST, SESSION "/run", "", 400, "invalid_json");
}

static void router_refuses_a_body_over_the_limit(void **state) {
    (void)state;
    fixture.settings.request_body_bytes_max = 4;
    expect(&fixture, METHOD_POST, SESSION "/run", "{\"a\":1}", 413, "body_too_large");
    expect(&fixture, METHOD_DELETE, SESSION "/run", "too much", 413, "body_too_large");
}

static void router_passes_only_the_read_paths_of_adk_on(void **state) {
    (void)state;
    static const char *const passed[] = {"/list-apps",
                                         "/version",
                                         "/debug/trace/e1",
                                         "/debug/trace/session/s",
                                         "/apps/a/eval_sets",
                                         "/apps/a/users/b/sessions/c/artifacts/f?x=%20",
                                         SESSION,
                                         "/apps/a/users/b/sessions"};
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        expect(&fixture, METHOD_GET, passed[i], NULL, 418, NULL);
    size_t requests = raw_server_requests(&fixture.upstream.server);
    assert_int_equal(requests, sizeof(passed) / sizeof(passed[0]));
    assert_true(raw_server_was_sent(&fixture.upstream.server,
                                    "GET /apps/a/users/b/sessions/c/artifacts/f?x=%20 HTTP/1.1\r\n"));
    expect(&fixture, METHOD_GET, "/apps/..", NULL, 400, "invalid_path");
    expect(&fixture, METHOD_GET, "/apps/a/%2e%2e/b", NULL, 400, "invalid_path");
    expect(&fixture, METHOD_GET, "/list-apps?a b", NULL, 400, "invalid_path");
    assert_int_equal(raw_server_requests(&fixture.upstream.server), requests);
}

static void router_knows_adk_s_paths_only_with_adk(void **state) {
    (void)state;
    fixture.upstream.settings.adapter = &adapter_sse;
    expect(&fixture, METHOD_GET, "/list-apps", NULL, 404, "not_found");
    expect(&fixture, METHOD_GET, "/apps/a/eval_sets", NULL, 404, "not_found");
    expect(&fixture, METHOD_POST, "/run_sse", "{}", 404, "not_found");
}

static void router_answers_head_of_a_stream_without_a_subscriber(void **state) {
    (void)state;
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_HEAD, SESSION "/run", NULL);
    assert_int_equal(asked.request.reply.status, 200);
    assert_string_equal(answer_header(&asked, "Content-Type"), "text/event-stream");
    assert_null(asked.request.reply.subscriber);
    assert_null(broadcaster_find_session(fixture.context.broadcaster, "a/b/c"));
    let_go(&asked);
}

static void router_serves_the_demo_page_only_if_asked_to(void **state) {
    (void)state;
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, "/demo", NULL);
    assert_int_equal(asked.request.reply.status, 200);
    assert_memory_equal(asked.request.reply.body, "<!doctype html>", strlen("<!doctype html>"));
    assert_non_null(strstr(answer_header(&asked, "Content-Security-Policy"), "default-src 'none'"));
    let_go(&asked);
    fixture.settings.demo = false;
    expect(&fixture, METHOD_GET, "/demo", NULL, 404, "not_found");
}

static void router_is_not_ready_while_draining(void **state) {
    (void)state;
    expect(&fixture, METHOD_GET, "/readyz", NULL, 200, NULL);
    broadcaster_drain(fixture.context.broadcaster);
    expect(&fixture, METHOD_GET, "/readyz", NULL, 503, "draining");
    expect(&fixture, METHOD_GET, "/healthz", NULL, 200, NULL);
    expect(&fixture, METHOD_GET, SESSION "/run", NULL, 503, "draining");
    expect(&fixture, METHOD_POST, SESSION "/run", "{\"message\":\"x\"}", 503, "draining");
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "draining");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(router_knows_no_other_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_tells_which_methods_a_path_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_refuses_words_that_are_encoded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_knows_one_spelling_of_a_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_names_what_is_no_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_wants_json_and_a_length_where_there_is_a_body, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(router_refuses_a_body_over_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_passes_only_the_read_paths_of_adk_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_knows_adk_s_paths_only_with_adk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_answers_head_of_a_stream_without_a_subscriber, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(router_serves_the_demo_page_only_if_asked_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(router_is_not_ready_while_draining, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
