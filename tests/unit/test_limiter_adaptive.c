/* upstream/limiter, adaptive: slots go down by half with an overload, and up by one with what goes well. */
#include "tests/unit/limiter_callers.h"

static const struct limiter_settings adaptive = {.concurrency_max = 16,
                                                 .concurrency_min = 3,
                                                 .latency_target_ms = 100,
                                                 .adaptive = true,
                                                 .waiting_max = 20};

static void limiter_halves_its_slots_when_overloaded_down_to_its_minimum(void **state) {
    (void)state;
    static const uint64_t expected[] = {8, 4, 3, 3};
    create(adaptive);
    for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
        call(overloaded);
        assert_int_equal(info_of().slots, expected[i]);
        clock_fake_advance(LIMITER_CUT_INTERVAL_MS);
    }
    assert_int_equal(info_of().throttled, 3);
}

static void limiter_cuts_once_for_one_overload(void **state) {
    (void)state;
    create(adaptive);
    for (int i = 0; i < 4; i++)
        assert_int_equal(enter(i), LIMITER_GRANTED);
    assert_true(leave(0, overloaded));
    assert_true(leave(1, overloaded));
    assert_int_equal(info_of().slots, 8);
    clock_fake_advance(LIMITER_CUT_INTERVAL_MS * 5);
    assert_true(leave(2, overloaded)); /* it was granted before the cut */
    assert_int_equal(info_of().slots, 8);
    assert_true(leave(3, overloaded));
    assert_int_equal(info_of().slots, 8);
    call(overloaded);
    assert_int_equal(info_of().slots, 4);
    clock_fake_advance(LIMITER_CUT_INTERVAL_MS - 1);
    call(overloaded);
    assert_int_equal(info_of().slots, 4);
    clock_fake_advance(1);
    call(overloaded);
    assert_int_equal(info_of().slots, 3);
}

static void limiter_cuts_when_first_events_come_late(void **state) {
    (void)state;
    create(adaptive);
    call((struct limiter_report){.completed = true, .latency_ms = 100});
    assert_int_equal(info_of().slots, 16);
    call((struct limiter_report){.completed = true, .latency_ms = 101});
    assert_int_equal(info_of().slots, 8);
}

static void limiter_without_a_target_does_not_look_at_latency(void **state) {
    (void)state;
    struct limiter_settings settings = adaptive;
    settings.latency_target_ms = 0;
    create(settings);
    call((struct limiter_report){.completed = true, .latency_ms = 1000000});
    assert_int_equal(info_of().slots, 16);
}

static void limiter_adds_a_slot_for_as_many_good_calls_as_it_has_slots(void **state) {
    (void)state;
    struct limiter_settings settings = adaptive;
    settings.concurrency_max = 8;
    create(settings);
    call(overloaded);
    assert_int_equal(info_of().slots, 4);
    call_well(3);
    call((struct limiter_report){.latency_ms = 10}); /* failed or was cancelled: says nothing */
    assert_int_equal(info_of().slots, 4);
    call_well(1);
    assert_int_equal(info_of().slots, 5);
    call_well(4);
    assert_int_equal(info_of().slots, 5);
    call_well(1);
    assert_int_equal(info_of().slots, 6);
    call_well(1000);
    assert_int_equal(info_of().slots, 8);
}

static void limiter_begins_to_count_good_calls_anew_after_a_cut(void **state) {
    (void)state;
    create(adaptive);
    call(overloaded);
    call_well(7);
    clock_fake_advance(LIMITER_CUT_INTERVAL_MS);
    call(overloaded);
    call_well(3);
    assert_int_equal(info_of().slots, 4);
    call_well(1);
    assert_int_equal(info_of().slots, 5);
}

static void limiter_grants_nothing_until_the_calls_fit_the_slots_again(void **state) {
    (void)state;
    struct limiter_settings settings = adaptive;
    settings.concurrency_max = 8;
    create(settings);
    for (int i = 0; i < 9; i++)
        assert_int_equal(enter(i), i < 8 ? LIMITER_GRANTED : LIMITER_WAITS);
    assert_true(leave(0, overloaded));
    for (int i = 1; i < 4; i++)
        assert_true(leave(i, unused));
    turn();
    assert_int_equal(info_of().slots_used, 4);
    assert_int_equal(callers[8].served_as, 0);
    assert_true(leave(4, unused));
    turn();
    assert_int_equal(callers[8].served_as, 1);
    leave_all();
}

static void limiter_that_gains_a_slot_serves_one_more(void **state) {
    (void)state;
    struct limiter_settings settings = adaptive;
    settings.concurrency_max = 2;
    settings.concurrency_min = 1;
    create(settings);
    call(overloaded);
    for (int i = 0; i < 3; i++)
        assert_int_equal(enter(i), i == 0 ? LIMITER_GRANTED : LIMITER_WAITS);
    assert_true(leave(0, good));
    turn();
    assert_int_equal(callers[1].served_as, 1);
    assert_int_equal(callers[2].served_as, 2);
    leave_all();
}

static void limiter_never_cuts_unless_it_is_adaptive(void **state) {
    (void)state;
    struct limiter_settings settings = adaptive;
    settings.adaptive = false;
    create(settings);
    call(overloaded);
    assert_int_equal(info_of().slots, 16);
    assert_int_equal(info_of().throttled, 0);
}

static void limiter_without_slots_has_nothing_to_adapt(void **state) {
    (void)state;
    create((struct limiter_settings){.rate_calls = 100, .rate_per_ms = 1, .adaptive = true});
    call(overloaded);
    call_well(10);
    assert_int_equal(info_of().slots, 0);
    assert_int_equal(info_of().throttled, 0);
}

static void limiter_always_keeps_a_slot(void **state) {
    (void)state;
    create((struct limiter_settings){.concurrency_max = 1, .adaptive = true});
    call(overloaded);
    assert_int_equal(info_of().slots, 1);
    assert_int_equal(info_of().throttled, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(limiter_halves_its_slots_when_overloaded_down_to_its_minimum),
        TEST(limiter_cuts_once_for_one_overload),
        TEST(limiter_cuts_when_first_events_come_late),
        TEST(limiter_without_a_target_does_not_look_at_latency),
        TEST(limiter_adds_a_slot_for_as_many_good_calls_as_it_has_slots),
        TEST(limiter_begins_to_count_good_calls_anew_after_a_cut),
        TEST(limiter_grants_nothing_until_the_calls_fit_the_slots_again),
        TEST(limiter_that_gains_a_slot_serves_one_more),
        TEST(limiter_never_cuts_unless_it_is_adaptive),
        TEST(limiter_without_slots_has_nothing_to_adapt),
        TEST(limiter_always_keeps_a_slot),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
