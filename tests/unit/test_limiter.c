/* upstream/limiter: nobody calls without a slot and a token, everybody in turn, and all comes back. */
#include "tests/unit/limiter_callers.h"

/* ---- tokens -------------------------------------------------------------------------------------- */

static void limiter_grants_as_many_at_once_as_it_has_tokens(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 8, .rate_per_ms = 60000, .waiting_max = 10});
    assert_int_equal(info_of().tokens, 8);
    assert_int_equal(info_of().slots, 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(limiter_retry_after_ms(limiter), 0);
        assert_int_equal(enter(i), LIMITER_GRANTED);
    }
    assert_int_equal(info_of().slots_used, 8);
    assert_int_equal(enter(8), LIMITER_WAITS);
    for (int i = 0; i < 8; i++)
        assert_true(leave(i, good)); /* that the others have ended brings no token */
    wait_ms(7499);
    assert_int_equal(callers[8].served_as, 0);
    assert_int_equal(limiter_poll_in_ms(limiter), 1);
    wait_ms(1);
    assert_int_equal(callers[8].served_as, 1);
    leave_all();
}

static void limiter_grants_the_rate_exactly_over_a_long_time(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 7, .rate_per_ms = 1000});
    int granted = 0;
    for (int ms = 0; ms <= 100000; ms++) {
        while (enter(0) == LIMITER_GRANTED) {
            granted++;
            assert_true(leave(0, good));
        }
        clock_fake_advance(1);
    }
    assert_int_equal(granted, 7 + 700);
}

static void limiter_saves_no_more_tokens_than_it_has_calls(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 3, .rate_per_ms = 1000});
    call_well(2);
    clock_fake_advance(INT64_MAX / 4);
    assert_int_equal(info_of().tokens, 3);
    call_well(3);
    assert_int_equal(enter(0), LIMITER_FULL);
}

static void limiter_takes_the_token_of_an_unused_call_back(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 2, .rate_per_ms = 60000});
    call(unused);
    assert_int_equal(info_of().tokens, 2);
    call(good);
    assert_int_equal(enter(0), LIMITER_GRANTED);
    clock_fake_advance(60000);
    assert_true(leave(0, unused)); /* the bucket is full */
    assert_int_equal(info_of().tokens, 2);
    call_well(2);
    assert_int_equal(enter(0), LIMITER_FULL);
}

/* ---- slots --------------------------------------------------------------------------------------- */

static void limiter_grants_no_more_than_its_slots_and_each_that_comes_back(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 2, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_GRANTED);
    assert_int_equal(enter(2), LIMITER_WAITS);
    assert_int_equal(info_of().slots, 2);
    assert_int_equal(info_of().slots_used, 2);
    assert_int_equal(info_of().waiting, 1);
    assert_true(leave(0, good));
    assert_int_equal(callers[2].served_as, 0); /* it is told in its loop */
    turn();
    assert_int_equal(callers[2].served_as, 1);
    assert_int_equal(info_of().slots_used, 2);
    assert_int_equal(info_of().waiting, 0);
    assert_int_equal(info_of().waited, 1);
    leave_all();
    assert_int_equal(info_of().slots_used, 0);
}

static void limiter_serves_in_the_order_of_coming(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    for (int i = 1; i <= 5; i++)
        assert_int_equal(enter(i), LIMITER_WAITS);
    for (int i = 0; i < 5; i++) {
        assert_true(leave(i, good));
        turn();
        assert_int_equal(callers[i + 1].served_as, i + 1);
        assert_int_equal(served, i + 1);
    }
    leave_all();
}

static void limiter_lets_nobody_overtake_who_waits(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 1, .rate_per_ms = 1000, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_WAITS);
    clock_fake_advance(1000); /* there is one token again, and nobody has polled */
    assert_int_equal(enter(2), LIMITER_WAITS);
    turn();
    assert_int_equal(callers[1].served_as, 1);
    assert_int_equal(callers[2].served_as, 0);
    leave_all();
}

static void limiter_refuses_when_as_many_wait_as_may(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .waiting_max = 2});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_WAITS);
    assert_int_equal(enter(2), LIMITER_WAITS);
    assert_int_equal(enter(3), LIMITER_FULL);
    assert_int_equal(info_of().refused, 1);
    assert_true(leave(1, unused));
    assert_int_equal(enter(3), LIMITER_WAITS); /* it holds nothing, and may ask again */
    leave_all();
}

static void limiter_that_lets_nobody_wait_refuses_at_once(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_FULL);
    assert_true(leave(0, good));
    assert_int_equal(enter(1), LIMITER_GRANTED);
    leave_all();
}

/* ---- those who leave ----------------------------------------------------------------------------- */

static void limiter_takes_out_of_the_line_who_leaves_it(void **state) {
    (void)state;
    create((struct limiter_settings){
        .concurrency_max = 1, .rate_calls = 10, .rate_per_ms = 60000, .waiting_max = 10});
    for (int i = 0; i < 4; i++)
        assert_int_equal(enter(i), i == 0 ? LIMITER_GRANTED : LIMITER_WAITS);
    assert_true(leave(1, unused));
    assert_int_equal(info_of().waiting, 2);
    assert_int_equal(info_of().slots_used, 1);
    assert_true(leave(0, good));
    turn();
    assert_int_equal(callers[1].served_as, 0);
    assert_int_equal(callers[2].served_as, 1);
    assert_true(leave(2, good));
    turn();
    assert_int_equal(callers[3].served_as, 2);
    assert_true(leave(3, good));
    assert_int_equal(info_of().tokens, 7); /* who left the line had none */
}

static void limiter_gives_to_the_next_what_was_granted_to_one_who_left(void **state) {
    (void)state;
    create((struct limiter_settings){
        .concurrency_max = 1, .rate_calls = 10, .rate_per_ms = 60000, .waiting_max = 10});
    for (int i = 0; i < 3; i++)
        assert_int_equal(enter(i), i == 0 ? LIMITER_GRANTED : LIMITER_WAITS);
    assert_true(leave(0, good));
    assert_false(leave(1, unused)); /* its item is on its way, the loop has not turned */
    assert_int_equal(info_of().slots_used, 1);
    turn();
    assert_true(callers[1].was_left);
    assert_int_equal(callers[1].served_as, 0);
    assert_int_equal(callers[2].served_as, 1);
    assert_int_equal(info_of().tokens, 8);
    assert_int_equal(enter(1), LIMITER_WAITS); /* received, it may enter again */
    leave_all();
}

static void limiter_item_that_was_received_is_free_when_it_leaves(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .waiting_max = 10});
    for (int times = 0; times < 3; times++) {
        assert_int_equal(enter(0), LIMITER_GRANTED);
        assert_int_equal(enter(1), LIMITER_WAITS);
        assert_true(leave(0, good));
        turn();
        assert_int_equal(callers[1].served_as, times + 1);
        assert_true(leave(1, good));
    }
}

/* ---- polling ------------------------------------------------------------------------------------- */

static void limiter_is_polled_only_while_somebody_waits(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 1, .rate_per_ms = 700, .waiting_max = 10});
    assert_int_equal(limiter_poll_in_ms(limiter), -1);
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(limiter_poll_in_ms(limiter), -1);
    assert_int_equal(enter(1), LIMITER_WAITS);
    assert_int_equal(limiter_poll_in_ms(limiter), 700);
    clock_fake_advance(500);
    assert_int_equal(limiter_poll_in_ms(limiter), 200);
    leave_all();
    assert_int_equal(limiter_poll_in_ms(limiter), -1);
}

/* Between the poll and the question for the next one, time goes on. */
static void limiter_is_polled_at_once_when_a_token_came_since_the_last_poll(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 1, .rate_per_ms = 700, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_WAITS);
    clock_fake_advance(699);
    limiter_poll(limiter);
    clock_fake_advance(1);
    assert_int_equal(limiter_poll_in_ms(limiter), 1);
    wait_ms(1);
    assert_int_equal(callers[1].served_as, 1);
    leave_all();
}

/* Who waits for the one slot has no time to wait for, until the call that leaves brings a pause. */
static void limiter_forgets_nobody_when_a_leaving_call_brings_a_pause(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(enter(1), LIMITER_WAITS);
    int64_t poll_in_ms = limiter_poll_in_ms(limiter);
    assert_int_equal(poll_in_ms, LIMITER_POLL_MAX_MS);
    assert_true(leave(0, (struct limiter_report){.overloaded = true, .retry_after_ms = 2500}));
    for (int polls = 0; callers[1].served_as == 0; polls++) {
        assert_true(polls < 3);
        wait_ms(poll_in_ms);
        poll_in_ms = limiter_poll_in_ms(limiter);
    }
    assert_int_equal(clock_mono_ms(), 1000000 + 2500);
    leave_all();
}

/* ---- when to come again -------------------------------------------------------------------------- */

static void limiter_says_when_a_token_is_left_for_one_more(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 2, .rate_per_ms = 1000, .waiting_max = 10});
    for (int i = 0; i < 5; i++)
        assert_int_equal(enter(i), i < 2 ? LIMITER_GRANTED : LIMITER_WAITS);
    assert_int_equal(limiter_retry_after_ms(limiter), 2000); /* three wait, and itself */
    clock_fake_advance(100);
    assert_int_equal(limiter_retry_after_ms(limiter), 1900);
    leave_all();
}

static void limiter_says_when_a_slot_is_left_by_how_long_calls_take(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 2, .waiting_max = 10});
    assert_int_equal(limiter_retry_after_ms(limiter), 0);
    for (int times = 0; times < 3; times++) {
        assert_int_equal(enter(0), LIMITER_GRANTED);
        clock_fake_advance(800);
        assert_true(leave(0, good));
    }
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(limiter_retry_after_ms(limiter), 0); /* there is another slot */
    assert_int_equal(enter(1), LIMITER_GRANTED);
    assert_int_equal(limiter_retry_after_ms(limiter), 400);
    for (int i = 2; i < 5; i++)
        assert_int_equal(enter(i), LIMITER_WAITS);
    assert_int_equal(limiter_retry_after_ms(limiter), 1600);
    leave_all();
}

static void limiter_that_knows_no_call_yet_does_not_say_now(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .waiting_max = 10});
    assert_int_equal(enter(0), LIMITER_GRANTED);
    assert_int_equal(limiter_retry_after_ms(limiter), 1);
    leave_all();
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(limiter_grants_as_many_at_once_as_it_has_tokens),
        TEST(limiter_grants_the_rate_exactly_over_a_long_time),
        TEST(limiter_saves_no_more_tokens_than_it_has_calls),
        TEST(limiter_takes_the_token_of_an_unused_call_back),
        TEST(limiter_grants_no_more_than_its_slots_and_each_that_comes_back),
        TEST(limiter_serves_in_the_order_of_coming),
        TEST(limiter_lets_nobody_overtake_who_waits),
        TEST(limiter_refuses_when_as_many_wait_as_may),
        TEST(limiter_that_lets_nobody_wait_refuses_at_once),
        TEST(limiter_takes_out_of_the_line_who_leaves_it),
        TEST(limiter_gives_to_the_next_what_was_granted_to_one_who_left),
        TEST(limiter_item_that_was_received_is_free_when_it_leaves),
        TEST(limiter_is_polled_only_while_somebody_waits),
        TEST(limiter_is_polled_at_once_when_a_token_came_since_the_last_poll),
        TEST(limiter_forgets_nobody_when_a_leaving_call_brings_a_pause),
        TEST(limiter_says_when_a_token_is_left_for_one_more),
        TEST(limiter_says_when_a_slot_is_left_by_how_long_calls_take),
        TEST(limiter_that_knows_no_call_yet_does_not_say_now),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
