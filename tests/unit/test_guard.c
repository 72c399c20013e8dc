/* upstream/guard: what a call holds of an upstream is given back once, whatever happens in between. */
#include "upstream/guard.h"

#include "base/clock.h"
#include "tests/support/unit.h"
#include "upstream/call.h"

#define CALLERS 3

/* One call, and what its guard told. */
struct caller {
    struct guard guard;
    uv_timer_t timer;
    int settled, unused;
    enum guard_result result;
};

static uv_loop_t loop;
static struct inbox inbox;
static struct upstreams upstreams;
static struct upstream_settings settings;
static struct upstream_worker worker;
static struct caller callers[CALLERS];

static void on_settled(struct guard *guard, enum guard_result result) {
    struct caller *caller = CONTAINER_OF(guard, struct caller, guard);
    caller->settled++;
    caller->result = result;
}

static void on_unused(struct guard *guard) {
    CONTAINER_OF(guard, struct caller, guard)->unused++;
}

static int set_up(void **state) {
    (void)state;
    static char name[] = "a";
    clock_fake(1000000, 1700000000000);
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&inbox, &loop), 0);
    settings = (struct upstream_settings){
        .name = name,
        .retry = {.total_ms = 5000},
        .limiter = {.rate_per_ms = 1, .concurrency_max = 1, .waiting_max = CALLERS},
        .breaker = {.failure_percent = 50,
                    .calls_min = 1,
                    .window_ms = 100000,
                    .recovery_ms = 100000,
                    .recovery_max_ms = 100000,
                    .probes_max = 1},
    };
    const struct upstreams_settings all = {.count = 1, .items = &settings};
    assert_true(upstreams_init(&upstreams, &all));
    worker =
        (struct upstream_worker){.inbox = &inbox, .loop = &loop, .upstreams = &upstreams, .settings = all};
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){0};
        uv_timer_init(&loop, &callers[i].timer);
        guard_init(&callers[i].guard, &worker, &callers[i].timer, on_settled, on_unused);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < CALLERS; i++)
        uv_close((uv_handle_t *)&callers[i].timer, NULL);
    inbox_close(&inbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    inbox_finish(&inbox);
    upstreams_finish(&upstreams); /* asserts that nothing is held */
    clock_real();
    return uv_loop_close(&loop);
}

static void leave(struct caller *caller, enum upstream_end end, int http_status) {
    const struct upstream_result result = {.end = end, .http_status = http_status, .message = ""};
    guard_leave(&caller->guard,
                &(struct guard_report){.result = &result, .was_sent = true, .latency_ms = -1});
}

/* The end of a call stops its timer, too. */
static void leave_cancelled(struct caller *caller) {
    uv_timer_stop(&caller->timer);
    guard_leave(&caller->guard, &(struct guard_report){.was_sent = false, .latency_ms = -1});
}

static enum guard_result enter(struct caller *caller, int64_t wait_ms) {
    return guard_enter(&caller->guard, 0, clock_mono_ms() + wait_ms);
}

/* Turns of the loop until a caller has been called. No turn waits: the timer may fire as one begins, and
 * nothing comes after it. */
static void await(const struct caller *caller) {
    while (caller->settled + caller->unused == 0)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void guard_lets_the_next_one_pass(void **state) {
    (void)state;
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    assert_int_equal(enter(&callers[1], 100), GUARD_WAITS);
    leave(&callers[0], UPSTREAM_COMPLETED, 200);
    await(&callers[1]);
    assert_int_equal(callers[1].result, GUARD_PASSED);
    leave(&callers[1], UPSTREAM_COMPLETED, 200);
    assert_true(guard_is_unused(&callers[1].guard));
}

static void guard_that_refuses_holds_nothing(void **state) {
    (void)state;
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    leave(&callers[0], UPSTREAM_CONNECT, 0);
    assert_int_equal(enter(&callers[1], 100), GUARD_OPEN);
    assert_true(callers[1].guard.retry_after_ms > 0);
    assert_true(guard_is_unused(&callers[1].guard));
}

static void guard_lets_nobody_pass_whose_breaker_has_opened_meanwhile(void **state) {
    (void)state;
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    assert_int_equal(enter(&callers[1], 100), GUARD_WAITS);
    leave(&callers[0], UPSTREAM_STATUS, 500);
    await(&callers[1]);
    assert_int_equal(callers[1].result, GUARD_OPEN);
    struct limiter_info info;
    limiter_get_info(upstreams.items[0].limiter, &info);
    assert_int_equal(info.slots_used, 0);
}

static void guard_lets_nobody_wait_longer_than_he_may(void **state) {
    (void)state;
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    assert_int_equal(enter(&callers[1], 0), GUARD_WAITS);
    clock_fake_advance(1);
    await(&callers[1]);
    assert_int_equal(callers[1].result, GUARD_LATE);
    assert_true(callers[1].guard.retry_after_ms > 0);
    assert_int_equal(enter(&callers[1], 0), GUARD_WAITS); /* again, say after a fallback */
    leave_cancelled(&callers[1]);
    leave(&callers[0], UPSTREAM_COMPLETED, 200);
    assert_int_equal(callers[1].settled, 1);
}

/* The second one is granted a slot, and its timer says that it is late before the loop looks into its inbox.
 */
static void begin_late_grant(void) {
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    assert_int_equal(enter(&callers[1], 0), GUARD_WAITS);
    clock_fake_advance(1);
    leave(&callers[0], UPSTREAM_COMPLETED, 200);
    callers[1].timer.timer_cb(&callers[1].timer);
    assert_true(callers[1].guard.is_late);
    assert_int_equal(callers[1].settled, 0);
}

static void guard_that_grants_in_the_moment_of_being_late_holds_nothing(void **state) {
    (void)state;
    begin_late_grant();
    await(&callers[1]);
    assert_int_equal(callers[1].result, GUARD_LATE);
    assert_int_equal(callers[1].settled, 1);
    assert_int_equal(enter(&callers[1], 0), GUARD_PASSED);
    leave(&callers[1], UPSTREAM_COMPLETED, 200);
}

static void guard_whose_call_goes_while_it_is_late_tells_when_it_is_unused(void **state) {
    (void)state;
    begin_late_grant();
    leave_cancelled(&callers[1]);
    assert_false(guard_is_unused(&callers[1].guard));
    await(&callers[1]);
    assert_int_equal(callers[1].settled, 0);
    assert_int_equal(callers[1].unused, 1);
    assert_true(guard_is_unused(&callers[1].guard));
}

static void guard_takes_an_early_success_of_a_probe(void **state) {
    (void)state;
    assert_int_equal(enter(&callers[0], 100), GUARD_PASSED);
    leave(&callers[0], UPSTREAM_CONNECT, 0);
    clock_fake_advance(200000);
    assert_int_equal(enter(&callers[1], 100), GUARD_PASSED);
    guard_succeed_early(&callers[1].guard);
    struct breaker_info info;
    breaker_get_info(upstreams.items[0].breaker, &info);
    assert_int_equal(info.state, BREAKER_CLOSED);
    leave(&callers[1], UPSTREAM_CONNECT, 0); /* what it tells later does not count twice */
    breaker_get_info(upstreams.items[0].breaker, &info);
    assert_int_equal(info.state, BREAKER_CLOSED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(guard_lets_the_next_one_pass),
        TEST(guard_that_refuses_holds_nothing),
        TEST(guard_lets_nobody_pass_whose_breaker_has_opened_meanwhile),
        TEST(guard_lets_nobody_wait_longer_than_he_may),
        TEST(guard_that_grants_in_the_moment_of_being_late_holds_nothing),
        TEST(guard_whose_call_goes_while_it_is_late_tells_when_it_is_unused),
        TEST(guard_takes_an_early_success_of_a_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
