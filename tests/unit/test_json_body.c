/* routes/json_body: each route that takes a body refuses one of too many values, and starts and opens
 * nothing. */
#include "tests/support/unit_routes.h"

#define SESSIONS "/apps/a/users/b/sessions"

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
    routes_end(&fixture);
    return 0;
}

/* `head`, a list of so many zeros, and the end of the object. */
static const char *body_of(const char *head, size_t zeros) {
    static char body[8192];
    size_t length = (size_t)snprintf(body, sizeof(body), "%s\"x\":[", head);
    for (size_t i = 0; i < zeros; i++)
        length += (size_t)snprintf(body + length, sizeof(body) - length, "%s0", i > 0 ? "," : "");
    snprintf(body + length, sizeof(body) - length, "]}");
    return body;
}

static void body_of_too_many_values_is_refused_by_every_route(void **state) {
    (void)state;
    static const struct {
        const char *target, *head;
    } takers[] = {{SESSIONS "/c/run", "{\"message\":\"x\","},
                  {"/run_sse", "{\"appName\":\"a\",\"userId\":\"b\",\"sessionId\":\"c\",\"newMessage\":{},"},
                  {SESSIONS "/c", "{"},
                  {SESSIONS, "{"}};
    for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++)
        expect(&fixture, METHOD_POST, takers[i].target, body_of(takers[i].head, 1000), 413,
               "too_many_json_values");
    struct broadcaster_stats stats;
    broadcaster_get_stats(fixture.context.broadcaster, &stats);
    assert_int_equal(stats.sessions, 0);
    assert_int_equal(stats.tasks, 0);
    expect(&fixture, METHOD_POST, SESSIONS "/c/run", body_of("{\"message\":\"x\",", 1000 - 3), 200, NULL);
}

/* A reload counts for the next request. */
static void body_is_held_to_the_bound_that_is_in_force(void **state) {
    (void)state;
    const char *body = body_of("{\"message\":\"x\",", 1000 - 2);
    expect(&fixture, METHOD_POST, SESSIONS "/c/run", body, 413, "too_many_json_values");
    fixture.settings.request_json_values_max = 1001;
    expect(&fixture, METHOD_POST, SESSIONS "/c/run", body, 200, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(body_of_too_many_values_is_refused_by_every_route, set_up, tear_down),
        cmocka_unit_test_setup_teardown(body_is_held_to_the_bound_that_is_in_force, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
