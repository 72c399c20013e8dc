/* routes/cors: who may read answers from a page elsewhere, on errors and preflights too. */
#include "tests/support/unit_routes.h"

static struct routes_fixture fixture;

static void serve_nothing(struct raw_server *server, int fd, size_t connection) {
    (void)server;
    (void)connection;
    raw_server_hold(fd);
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_nothing);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    routes_end(&fixture);
    return 0;
}

static void allow(const char *const *origins, size_t count, bool credentials) {
    fixture.settings.cors_origins = origins;
    fixture.settings.cors_origins_count = count;
    fixture.settings.cors_credentials = credentials;
}

static const char *const two[] = {"https://a.example", "http://b.example:8080"};
static const char *const star[] = {"*"};

/* Asks for `target` from a page of this origin. */
static void ask_from(struct asked *asked, const char *origin, enum request_method method,
                     const char *target) {
    *asked = (struct asked){.headers = {{"Origin", origin}, {"Access-Control-Request-Method", "POST"}}};
    ask(&fixture, asked, method, target, NULL);
}

static void cors_names_an_allowed_origin(void **state) {
    (void)state;
    struct asked asked;
    allow(two, 2, true);
    ask_from(&asked, "http://b.example:8080", METHOD_GET, "/healthz");
    assert_string_equal(answer_header(&asked, "Access-Control-Allow-Origin"), "http://b.example:8080");
    assert_string_equal(answer_header(&asked, "Access-Control-Allow-Credentials"), "true");
    assert_string_equal(answer_header(&asked, "Vary"), "Origin");
    assert_non_null(strstr(answer_header(&asked, "Access-Control-Expose-Headers"), "Location"));
    let_go(&asked);
}

static void cors_is_on_errors_too(void **state) {
    (void)state;
    struct asked asked;
    allow(two, 2, false);
    ask_from(&asked, "https://a.example", METHOD_GET, "/nowhere");
    assert_int_equal(asked.request.reply.status, 404);
    assert_string_equal(answer_header(&asked, "Access-Control-Allow-Origin"), "https://a.example");
    assert_null(answer_header(&asked, "Access-Control-Allow-Credentials"));
    let_go(&asked);
}

static void cors_says_nothing_to_a_foreign_origin(void **state) {
    (void)state;
    static const char *const foreign[] = {"https://b.example",
                                          "https://a.example.evil.example",
                                          "https://a.exampl",
                                          "HTTPS://A.EXAMPLE",
                                          "null",
                                          "",
                                          "*"};
    allow(two, 2, true);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        struct asked asked;
        ask_from(&asked, foreign[i], METHOD_GET, "/healthz");
        assert_int_equal(asked.request.reply.status, 200);
        assert_null(answer_header(&asked, "Access-Control-Allow-Origin"));
        assert_null(answer_header(&asked, "Access-Control-Allow-Credentials"));
        assert_string_equal(answer_header(&asked, "Vary"), "Origin");
        let_go(&asked);
    }
}

static void cors_of_nobody_says_nothing(void **state) {
    (void)state;
    struct asked asked;
    allow(NULL, 0, false);
    ask_from(&asked, "https://a.example", METHOD_OPTIONS, "/healthz");
    assert_int_equal(asked.request.reply.status, 204);
    assert_null(answer_header(&asked, "Access-Control-Allow-Origin"));
    assert_null(answer_header(&asked, "Access-Control-Allow-Methods"));
    assert_null(answer_header(&asked, "Vary"));
    let_go(&asked);
}

static void cors_star_is_a_star_and_never_with_credentials(void **state) {
    (void)state;
    struct asked asked;
    allow(star, 1, true);
    ask_from(&asked, "https://whoever.example", METHOD_GET, "/healthz");
    assert_string_equal(answer_header(&asked, "Access-Control-Allow-Origin"), "*");
    assert_null(answer_header(&asked, "Access-Control-Allow-Credentials"));
    let_go(&asked);
}

static void cors_answers_a_preflight(void **state) {
    (void)state;
    struct asked asked;
    allow(two, 2, true);
    ask_from(&asked, "https://a.example", METHOD_OPTIONS, "/apps/a/users/b/sessions/c/run");
    assert_int_equal(asked.request.reply.status, 204);
    assert_int_equal(asked.request.reply.body_length, 0);
    assert_string_equal(answer_header(&asked, "Access-Control-Allow-Methods"),
                        "GET, HEAD, POST, DELETE, OPTIONS");
    static const char *const headers[] = {"Content-Type", "Last-Event-ID", "Idempotency-Key", "Authorization",
                                          "traceparent",  "tracestate",    "X-Requested-With"};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        assert_non_null(strstr(answer_header(&asked, "Access-Control-Allow-Headers"), headers[i]));
    assert_string_equal(answer_header(&asked, "Access-Control-Max-Age"), "600");
    let_go(&asked);
}

static void cors_allows_the_headers_of_the_setting(void **state) {
    (void)state;
    static const char *const further[] = {"baggage", "sentry-trace"};
    struct asked asked;
    allow(two, 2, true);
    fixture.settings.cors_headers = further;
    fixture.settings.cors_headers_count = 2;
    ask_from(&asked, "https://a.example", METHOD_OPTIONS, "/apps/a/users/b/sessions/c/run");
    const char *headers = answer_header(&asked, "Access-Control-Allow-Headers");
    assert_non_null(strstr(headers, ", tracestate, baggage, sentry-trace"));
    let_go(&asked);
}

static void cors_allows_patch_where_the_path_has_it(void **state) {
    (void)state;
    struct asked asked;
    allow(two, 2, true);
    ask_from(&asked, "https://a.example", METHOD_OPTIONS, "/apps/a/users/b/sessions/c");
    assert_non_null(strstr(answer_header(&asked, "Access-Control-Allow-Methods"), "PATCH"));
    let_go(&asked);
}

static void cors_refuses_the_preflight_of_a_foreign_origin(void **state) {
    (void)state;
    struct asked asked;
    allow(two, 2, true);
    ask_from(&asked, "https://evil.example", METHOD_OPTIONS, "/run_sse");
    assert_int_equal(asked.request.reply.status, 204);
    assert_string_equal(answer_header(&asked, "Allow"), "POST, OPTIONS");
    assert_null(answer_header(&asked, "Access-Control-Allow-Methods"));
    assert_null(answer_header(&asked, "Access-Control-Allow-Origin"));
    let_go(&asked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cors_names_an_allowed_origin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_is_on_errors_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_says_nothing_to_a_foreign_origin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_of_nobody_says_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_star_is_a_star_and_never_with_credentials, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_answers_a_preflight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_allows_the_headers_of_the_setting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_allows_patch_where_the_path_has_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cors_refuses_the_preflight_of_a_foreign_origin, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
