/* upstream/limiter: nobody calls while an upstream has asked for a pause, and nobody waits for a long one. */
#include "tests/unit/limiter_callers.h"

/* ---- Retry-After --------------------------------------------------------------------------------- */

static void limiter_pauses_for_as_long_as_the_upstream_asks(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 5, .waiting_max = 10});
    call((struct limiter_report){.overloaded = true, .latency_ms = -1, .retry_after_ms = 5000});
    assert_int_equal(info_of().paused_ms, 5000);
    assert_int_equal(limiter_retry_after_ms(limiter), 5000);
    assert_int_equal(enter(0), LIMITER_WAITS);
    wait_ms(4999);
    assert_int_equal(callers[0].served_as, 0);
    assert_int_equal(limiter_poll_in_ms(limiter), 1);
    wait_ms(1);
    assert_int_equal(callers[0].served_as, 1);
    assert_int_equal(info_of().paused_ms, 0);
    leave_all();
}

static void limiter_pause_is_not_cut_short_by_a_shorter_one(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 5});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_GRANTED);
    assert_true(leave(0, (struct limiter_report){.overloaded = true, .retry_after_ms = 5000}));
    assert_true(leave(1, (struct limiter_report){.overloaded = true, .retry_after_ms = 100}));
    assert_int_equal(info_of().paused_ms, 5000);
}

static void limiter_does_not_believe_in_endless_pauses(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 5});
    call((struct limiter_report){.overloaded = true, .retry_after_ms = INT64_MAX});
    assert_int_equal(info_of().paused_ms, LIMITER_PAUSE_MAX_MS);
}

static void limiter_does_not_pause_for_a_call_that_was_never_made(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 4, .adaptive = true});
    call((struct limiter_report){.unused = true, .overloaded = true, .retry_after_ms = 5000});
    assert_int_equal(info_of().paused_ms, 0);
    assert_int_equal(info_of().slots, 4);
}

/* ---- pauses that are too long -------------------------------------------------------------------- */

static const struct limiter_report long_pause = {
    .overloaded = true, .latency_ms = -1, .retry_after_ms = 5000};

static void limiter_refuses_while_a_pause_is_longer_than_one_may_wait(void **state) {
    (void)state;
    int64_t retry_after_ms = -1;
    create((struct limiter_settings){.concurrency_max = 5, .waiting_max = 10, .pause_wait_max_ms = 3000});
    call(long_pause);
    assert_int_equal(enter(0), LIMITER_FULL);
    assert_false(limiter_would_take(limiter, &retry_after_ms));
    assert_int_equal(retry_after_ms, 5000);
    wait_ms(1999);
    assert_int_equal(enter(0), LIMITER_FULL);
    assert_int_equal(info_of().refused, 2);
    wait_ms(1);
    assert_true(limiter_would_take(limiter, &retry_after_ms));
    assert_int_equal(retry_after_ms, 0);
    assert_int_equal(enter(0), LIMITER_WAITS);
    wait_ms(3000);
    assert_int_equal(callers[0].served_as, 1);
    leave_all();
}

/* Slots for some, who were granted; the others wait. */
static void enter_all(int count, uint64_t slots) {
    create((struct limiter_settings){.concurrency_max = slots, .waiting_max = 10, .pause_wait_max_ms = 3000});
    for (int i = 0; i < count; i++)
        assert_int_equal(enter(i), (uint64_t)i < slots ? LIMITER_GRANTED : LIMITER_WAITS);
}

static void limiter_refuses_who_waits_when_a_long_pause_begins(void **state) {
    (void)state;
    enter_all(3, 1);
    assert_true(leave(0, long_pause));
    assert_int_equal(info_of().waiting, 0);
    assert_int_equal(info_of().refused, 2);
    turn();
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(callers[i].served_as, 0);
        assert_true(callers[i].was_refused);
        assert_true(leave(i, unused));
        assert_int_equal(enter(i), LIMITER_FULL); /* it holds nothing, and may ask again */
    }
    assert_int_equal(info_of().slots_used, 0);
}

static void limiter_lets_those_wait_whose_pause_is_short(void **state) {
    (void)state;
    enter_all(2, 1);
    assert_true(leave(0, (struct limiter_report){.overloaded = true, .retry_after_ms = 3000}));
    wait_ms(2999);
    assert_int_equal(info_of().waiting, 1);
    wait_ms(1);
    assert_int_equal(callers[1].served_as, 1);
    leave_all();
}

static void limiter_is_told_of_one_who_leaves_before_the_refusal_arrives(void **state) {
    (void)state;
    enter_all(2, 1);
    assert_true(leave(0, long_pause));
    assert_false(leave(1, unused)); /* its item is on its way */
    turn();
    assert_true(callers[1].was_left);
    assert_false(callers[1].was_refused);
    assert_int_equal(info_of().slots_used, 0);
}

static void limiter_takes_no_grant_back_when_a_long_pause_begins(void **state) {
    (void)state;
    enter_all(3, 2);
    assert_true(leave(0, good));
    assert_true(leave(1, long_pause));
    turn();
    assert_int_equal(callers[2].served_as, 1);
    leave_all();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(limiter_pauses_for_as_long_as_the_upstream_asks),
        TEST(limiter_pause_is_not_cut_short_by_a_shorter_one),
        TEST(limiter_does_not_believe_in_endless_pauses),
        TEST(limiter_does_not_pause_for_a_call_that_was_never_made),
        TEST(limiter_refuses_while_a_pause_is_longer_than_one_may_wait),
        TEST(limiter_refuses_who_waits_when_a_long_pause_begins),
        TEST(limiter_lets_those_wait_whose_pause_is_short),
        TEST(limiter_is_told_of_one_who_leaves_before_the_refusal_arrives),
        TEST(limiter_takes_no_grant_back_when_a_long_pause_begins),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
