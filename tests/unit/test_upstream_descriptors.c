/* upstream: no descriptor is left for a connection to an upstream. That is not the upstream's fault. */
#include "tests/unit/call_fixture.h"
#include "upstream/health_check.h"

#include <sys/resource.h>

static rlim_t limit_before;

static void set_limit(rlim_t count) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit_before = limit.rlim_cur;
    limit.rlim_cur = count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void leave_no_descriptor(void) {
    int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    set_limit((rlim_t)next);
    assert_int_equal(dup(STDERR_FILENO), -1);
}

/* Upstream a's breaker opens at the first failure. */
static void calls_begin(struct call_fixture *fixture) {
    static const char *const texts[] = {WHOLE_STREAM, NULL};
    answers = texts;
    call_fixture_begin(fixture, serve_answers);
    guard_by_breaker(fixture, 1);
}

static void check_blameless(struct call_fixture *fixture) {
    struct call_recorder recorder = {0};
    call_fixture_open(fixture);
    leave_no_descriptor();
    call_do(&recorder, fixture);
    set_limit(limit_before);
    assert_string_equal(recorder.told, "end|");
    assert_int_equal(recorder.result.end, UPSTREAM_NO_DESCRIPTOR);
    assert_non_null(strstr(recorder.message, "gateway has no descriptor"));
    assert_int_equal(breaker_now(fixture, UPSTREAM_A).state, BREAKER_CLOSED);
    assert_int_equal(breaker_now(fixture, UPSTREAM_A).calls, 0);
    assert_int_equal(breaker_now(fixture, UPSTREAM_A).failures, 0);
}

static void call_without_a_descriptor_is_not_held_against_the_upstream(void **state) {
    (void)state;
    struct call_fixture fixture;
    calls_begin(&fixture);
    check_blameless(&fixture);
    check_call(&fixture, "sent|a|end|", UPSTREAM_COMPLETED);
    call_fixture_end(&fixture);
}

static void name_that_no_descriptor_is_left_to_look_up_is_not_either(void **state) {
    (void)state;
    struct call_fixture fixture;
    calls_begin(&fixture);
    snprintf(fixture.urls[UPSTREAM_A], sizeof fixture.urls[UPSTREAM_A], "http://localhost:%d/a",
             fixture.fixture.server.port);
    check_blameless(&fixture);
    call_fixture_end(&fixture);
}

/* With the one that there was it was asked. */
static void upstream_that_refuses_the_last_descriptor_is_to_blame(void **state) {
    (void)state;
    struct call_fixture fixture;
    int port;
    int fd = raw_server_bind(&port);
    calls_begin(&fixture);
    snprintf(fixture.urls[UPSTREAM_A], sizeof fixture.urls[UPSTREAM_A], "http://127.0.0.1:%d/a", port);
    call_fixture_open(&fixture);
    int next = dup(STDERR_FILENO);
    close(next);
    set_limit((rlim_t)next + 1);
    check_call(&fixture, "end|", UPSTREAM_CONNECT);
    set_limit(limit_before);
    assert_int_equal(breaker_now(&fixture, UPSTREAM_A).state, BREAKER_OPEN);
    call_fixture_end(&fixture);
    close(fd);
}

static void call_without_a_descriptor_is_made_again(void **state) {
    (void)state;
    struct call_fixture fixture;
    calls_begin(&fixture);
    fixture.settings[UPSTREAM_A].retry.attempts_max = 3;
    call_fixture_open(&fixture);
    leave_no_descriptor();
    check_call(&fixture, "again:a|again:a|end|", UPSTREAM_NO_DESCRIPTOR);
    set_limit(limit_before);
    call_fixture_end(&fixture);
}

static void check_without_a_descriptor_finds_nothing(void **state) {
    (void)state;
    static char path[] = "/healthz";
    static const char *const texts[] = {REFUSAL(204), REFUSAL(500), NULL};
    struct call_fixture fixture;
    answers = texts;
    call_fixture_begin(&fixture, serve_answers);
    fixture.settings[UPSTREAM_A].health_path = path;
    fixture.settings[UPSTREAM_A].health_interval_ms = 20;
    fixture.settings[UPSTREAM_A].keepalive_ms = 0; /* each check needs a connection of its own */
    call_fixture_open(&fixture);
    leave_no_descriptor();
    struct health_checks *checks = health_checks_create(&fixture.upstream_worker);
    assert_non_null(checks);
    uint64_t until_ms = uv_now(&fixture.fixture.loop) + 200;
    while (uv_now(&fixture.fixture.loop) < until_ms)
        fixture_turn(&fixture.fixture);
    assert_int_equal(raw_server_requests(&fixture.fixture.server), 0);
    assert_false(atomic_load(&fixture.upstreams.items[UPSTREAM_A].is_unhealthy));
    set_limit(limit_before);
    while (!atomic_load(&fixture.upstreams.items[UPSTREAM_A].is_unhealthy))
        fixture_turn(&fixture.fixture);
    health_checks_close(checks);
    call_fixture_end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_without_a_descriptor_is_not_held_against_the_upstream),
        cmocka_unit_test(name_that_no_descriptor_is_left_to_look_up_is_not_either),
        cmocka_unit_test(upstream_that_refuses_the_last_descriptor_is_to_blame),
        cmocka_unit_test(call_without_a_descriptor_is_made_again),
        cmocka_unit_test(check_without_a_descriptor_finds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
