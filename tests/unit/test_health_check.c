/* upstream/health_check: what an upstream answers makes it healthy or not. */
#include "tests/unit/call_fixture.h"
#include "upstream/health_check.h"

#define INTERVAL_MS 200

static const char *_Atomic answer; /* NULL: none is given */

static void serve_answer(struct raw_server *server, int fd, size_t connection) {
    (void)connection;
    while (raw_server_read(server, fd)) {
        const char *text = answer;
        if (text == NULL)
            break;
        raw_server_write(fd, text);
    }
    raw_server_hold(fd);
}

static struct health_checks *checks_begin(struct call_fixture *fixture) {
    static char path[] = "/healthz";
    call_fixture_begin(fixture, serve_answer);
    fixture->settings[UPSTREAM_A].health_path = path;
    for (size_t i = 0; i < UPSTREAMS; i++)
        fixture->settings[i].health_interval_ms = INTERVAL_MS;
    call_fixture_open(fixture);
    struct health_checks *checks = health_checks_create(&fixture->upstream_worker);
    assert_non_null(checks);
    return checks;
}

static void checks_end(struct health_checks *checks, struct call_fixture *fixture) {
    health_checks_close(checks);
    call_fixture_end(fixture);
}

static bool is_unhealthy(struct call_fixture *fixture, size_t index) {
    return atomic_load(&fixture->upstreams.items[index].is_unhealthy);
}

static void await_unhealthy(struct call_fixture *fixture, bool unhealthy) {
    while (is_unhealthy(fixture, UPSTREAM_A) != unhealthy)
        fixture_turn(&fixture->fixture);
}

static void await_requests(struct call_fixture *fixture, size_t count) {
    while (raw_server_requests(&fixture->fixture.server) < count)
        fixture_turn(&fixture->fixture);
}

static void upstream_is_as_healthy_as_its_last_answer(void **state) {
    (void)state;
    static const char *const bad[] = {REFUSAL(500), REFUSAL(404), REFUSAL(302), "nonsense\r\n\r\n"};
    struct call_fixture fixture;
    answer = REFUSAL(204);
    struct health_checks *checks = checks_begin(&fixture);
    await_requests(&fixture, 3);
    assert_false(is_unhealthy(&fixture, UPSTREAM_A));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answer = bad[i];
        await_unhealthy(&fixture, true);
        answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        await_unhealthy(&fixture, false);
    }
    assert_false(is_unhealthy(&fixture, UPSTREAM_B)); /* it is not asked */
    assert_true(raw_server_was_sent(&fixture.fixture.server, "GET /healthz HTTP/1.1\r\n"));
    assert_false(raw_server_was_sent(&fixture.fixture.server, "/a/"));
    checks_end(checks, &fixture);
}

static void upstream_that_does_not_answer_in_time_is_unhealthy(void **state) {
    (void)state;
    static const char *const silent[] = {NULL, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"};
    for (size_t i = 0; i < sizeof silent / sizeof *silent; i++) {
        struct call_fixture fixture;
        answer = silent[i];
        struct health_checks *checks = checks_begin(&fixture);
        await_unhealthy(&fixture, true);
        checks_end(checks, &fixture); /* with a check under way */
    }
}

static void upstream_that_takes_no_connection_is_unhealthy(void **state) {
    (void)state;
    struct call_fixture fixture;
    char url[64];
    int port;
    int fd = raw_server_bind(&port);
    answer = REFUSAL(200);
    struct health_checks *checks = checks_begin(&fixture);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/base", port);
    fixture.settings[UPSTREAM_A].base_url = url;
    await_unhealthy(&fixture, true);
    checks_end(checks, &fixture);
    close(fd);
}

static void checks_follow_a_reload(void **state) {
    (void)state;
    struct call_fixture fixture;
    answer = REFUSAL(500);
    struct health_checks *checks = checks_begin(&fixture);
    await_unhealthy(&fixture, true);
    struct upstream_settings next[UPSTREAMS];
    memcpy(next, fixture.settings, sizeof next);
    memset(fixture.settings, 0, sizeof fixture.settings);
    next[UPSTREAM_A].health_path = NULL;
    next[UPSTREAM_B].health_path = (char[]){"/b/alive"};
    next[UPSTREAM_B].health_interval_ms = 3600000;
    fixture.upstream_worker.settings.items = next;
    health_checks_reload(checks);
    assert_false(is_unhealthy(&fixture, UPSTREAM_A)); /* it is not asked any more */
    while (!is_unhealthy(&fixture, UPSTREAM_B))
        fixture_turn(&fixture.fixture);
    assert_true(raw_server_was_sent(&fixture.fixture.server, "GET /b/alive HTTP/1.1\r\n"));
    assert_false(is_unhealthy(&fixture, UPSTREAM_A));
    checks_end(checks, &fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstream_is_as_healthy_as_its_last_answer),
        cmocka_unit_test(upstream_that_does_not_answer_in_time_is_unhealthy),
        cmocka_unit_test(upstream_that_takes_no_connection_is_unhealthy),
        cmocka_unit_test(checks_follow_a_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
