/* routes: what is refused while memory is full, what while nothing may grow, and what is answered all the
 * same. */
#include "tests/support/unit_memory.h"
#include "tests/support/unit_routes.h"

#include "base/metrics.h"

#define SESSION "/apps/a/users/b/sessions/c"
#define OTHER "/apps/a/users/b/sessions/d"
#define BODY "{\"message\":\"hello\"}"

static struct routes_fixture fixture;

static void serve_silence(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd))
        continue;
}

static int set_up(void **state) {
    (void)state;
    routes_begin(&fixture, serve_silence);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unit_memory_at(0);
    routes_end(&fixture);
    return 0;
}

/* A run of the first session; its id. */
static const char *start(const char *key, int status) {
    static char id[TASK_ID_SIZE];
    struct asked asked = {
        .headers = {{"Content-Type", "application/json"}, {key != NULL ? "Idempotency-Key" : NULL, key}}};
    ask(&fixture, &asked, METHOD_POST, SESSION "/run", BODY);
    assert_int_equal(asked.request.reply.status, status);
    if (status == 200)
        snprintf(id, sizeof(id), "%s", answer_header(&asked, "Location") + strlen("/tasks/"));
    else
        assert_string_equal(answer_header(&asked, "Retry-After"), "2");
    let_go(&asked);
    return id;
}

/* A body of so many bytes that says that it comes. */
static void expect_of_body(int64_t length, int status) {
    struct asked asked = {.headers = {{"Content-Type", "application/json"}}};
    asked.request = (struct request){.operations = &asked_operations,
                                     .context = &fixture.context,
                                     .method = METHOD_POST,
                                     .path = SESSION "/run",
                                     .query = "",
                                     .has_body = true,
                                     .content_length = length,
                                     .body = ""};
    router_begin(&asked.request);
    assert_int_equal(asked.request.reply.kind != REPLY_NONE ? asked.request.reply.status : 0, status);
    let_go(&asked);
}

static void run_is_refused_while_memory_is_full_and_taken_again_later(void **state) {
    (void)state;
    uint64_t refused = metrics_get(METRIC_MEMORY_REFUSED);
    start(NULL, 200);
    assert_int_equal(unit_memory_at(16), MEMORY_FULL);
    start(NULL, 503);
    expect(&fixture, METHOD_POST, SESSION "/run", BODY, 503, "memory_full");
    expect(&fixture, METHOD_POST, OTHER "/run", BODY, 503, "memory_full");
    expect(&fixture, METHOD_POST, "/run_sse",
           "{\"appName\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\",\"newMessage\":{}}", 503, "memory_full");
    assert_int_equal(metrics_get(METRIC_MEMORY_REFUSED) - refused, 4);
    unit_memory_at(14);
    start(NULL, 200);
}

static void run_is_not_replaced_by_one_that_is_refused(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "/tasks/%s", start(NULL, 200));
    unit_memory_at(16);
    start(NULL, 503);
    struct asked asked = {0};
    ask(&fixture, &asked, METHOD_GET, path, NULL);
    cJSON *json = answer_json(&asked);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "status")), "running");
    cJSON_Delete(json);
    let_go(&asked);
}

static void run_of_an_earlier_key_is_found_while_memory_is_full(void **state) {
    (void)state;
    char first[TASK_ID_SIZE];
    snprintf(first, sizeof(first), "%s", start("key", 200));
    unit_memory_at(16);
    assert_string_equal(start("key", 200), first);
    start("another", 503);
}

static void body_that_has_no_room_is_refused_before_it_comes(void **state) {
    (void)state;
    unit_memory_at(15);
    expect_of_body(512 << 10, 0);
    fixture.settings.request_body_bytes_max = 64 << 20;
    expect_of_body(2 << 20, 503); /* more than is left */
    unit_memory_at(16);
    expect_of_body(512 << 10, 503);
    expect_of_body(-1, 503); /* nobody knows how much will come */
    expect_of_body(100, 0);  /* may be a key that was used */
}

static void what_needs_little_is_answered_while_memory_is_full(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "/tasks/%s", start(NULL, 200));
    unit_memory_at(17);
    expect(&fixture, METHOD_GET, "/healthz", NULL, 200, NULL);
    expect(&fixture, METHOD_GET, "/health", NULL, 503, NULL);
    expect(&fixture, METHOD_GET, "/metrics", NULL, 200, NULL);
    expect(&fixture, METHOD_GET, SESSION "/history", NULL, 200, NULL);
    expect(&fixture, METHOD_GET, path, NULL, 200, NULL);
    struct asked stream = {0};
    ask(&fixture, &stream, METHOD_GET, SESSION "/run", NULL);
    assert_int_equal(stream.request.reply.kind, REPLY_SUBSCRIBER);
    let_go(&stream);
}

static void what_shows_or_ends_something_is_answered_while_nothing_may_grow(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "/tasks/%s", start(NULL, 200));
    assert_int_equal(unit_memory_at(18), MEMORY_OVER);
    static const char *const shown[] = {
        "/healthz", "/readyz", "/metrics", "/stats", "/tasks", "/task-status", SESSION "/task-status"};
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
        expect(&fixture, METHOD_GET, shown[i], NULL, 200, NULL);
    expect(&fixture, METHOD_GET, path, NULL, 200, NULL);
    static const char *const refused[] = {SESSION "/run", SESSION "/history", SESSION,
                                          "/list-apps",   "/apps/a/x",        "/demo"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        expect(&fixture, METHOD_GET, refused[i], NULL, 503, "memory_full");
    expect(&fixture, METHOD_POST, SESSION, NULL, 503, "memory_full");
    expect(&fixture, METHOD_GET, "/nowhere", NULL, 404, "not_found");
    expect(&fixture, METHOD_DELETE, path, NULL, 200, NULL);
}

static void no_memory_is_said_to_be_the_limit_s_if_it_is(void **state) {
    (void)state;
    struct asked asked = {
        .request = {.operations = &asked_operations, .context = &fixture.context, .path = "/"}};
    unit_memory_at(16);
    reply_no_memory(&asked.request);
    assert_non_null(strstr(asked.request.reply.body, "memory_full"));
    let_go(&asked);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(run_is_refused_while_memory_is_full_and_taken_again_later),
        TEST(run_is_not_replaced_by_one_that_is_refused),
        TEST(run_of_an_earlier_key_is_found_while_memory_is_full),
        TEST(body_that_has_no_room_is_refused_before_it_comes),
        TEST(what_needs_little_is_answered_while_memory_is_full),
        TEST(what_shows_or_ends_something_is_answered_while_nothing_may_grow),
        TEST(no_memory_is_said_to_be_the_limit_s_if_it_is),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
