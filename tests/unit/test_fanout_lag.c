/* broadcaster/fanout_lag: how far the slowest subscriber of the process is behind. */
#include "tests/support/unit_fanout.h"

static void tick(struct bench *which) {
    bench_pass(which, fanout_tick_ms(which->fanout));
}

static void lag_is_that_of_the_slowest(void **state) {
    (void)state;
    struct fake_sink *quick = subscribe(), *slow = subscribe(), *slower = subscribe_apart();
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 0);
    slower->room = 0;
    publish_numbers(0, 3);
    bench_turn(&bench);
    slow->room = 0;
    publish_numbers(3, 5);
    bench_turn(&bench);
    assert_int_equal(fanout_lag_events(), 0); /* nobody has looked since */
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 5);
    fake_sink_open(slower, SIZE_MAX / 2);
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 2);
    publish_numbers(5, 9);
    bench_turn(&bench);
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 6);
    bench_release(slow); /* it leaves: nobody is behind any more */
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 0);
    bench_release(quick);
    bench_release(slower);
}

/* What left the log is what it is behind, too. */
static void lag_counts_events_that_are_lost(void **state) {
    (void)state;
    atomic_store(&broadcaster_limits(bench.broadcaster)->log_events_max, 3);
    struct fake_sink *slow = subscribe();
    slow->room = 0;
    publish_numbers(0, 10);
    bench_turn(&bench);
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 10);
    bench_release(slow);
}

static void lag_is_of_all_workers(void **state) {
    (void)state;
    static struct bench other;
    bench_init(&other);
    struct session *elsewhere = unit_session(other.broadcaster, "app/user/other");
    struct task *run = unit_run(&other.driver, elsewhere);
    struct fake_sink *slow = subscribe(),
                     *slower = bench_subscribe(&other, elsewhere, (struct subscriber_spec){0});
    slow->room = slower->room = 0;
    publish_numbers(0, 2);
    for (int i = 0; i < 4; i++)
        assert_true(unit_publish(run, "x"));
    bench_turn(&bench);
    bench_turn(&other);
    tick(&bench);
    assert_int_equal(fanout_lag_events(), 2);
    tick(&other);
    assert_int_equal(fanout_lag_events(), 4);
    bench_release(slower);
    broadcaster_close_session(elsewhere, REASON_SESSION_DELETED);
    session_unref(elsewhere);
    bench_finish(&other); /* what it measured last is gone with it */
    unit_task_release(run);
    assert_int_equal(fanout_lag_events(), 2);
    bench_release(slow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lag_is_that_of_the_slowest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lag_counts_events_that_are_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lag_is_of_all_workers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
