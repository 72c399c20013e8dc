/* upstream/breaker: opens by what failed, closes by what its probes tell, lets nobody through otherwise. */
#include "upstream/breaker.h"

#include "base/clock.h"
#include "tests/support/unit.h"

static const struct breaker_settings settings = {
    .failure_percent = 50,
    .calls_min = 4,
    .window_ms = 10000,
    .recovery_ms = 1000,
    .recovery_max_ms = 5000,
    .probes_max = 2,
};

static struct breaker *breaker;

static struct breaker *create(struct breaker_settings some) {
    struct breaker *made = breaker_create(&some);
    assert_non_null(made);
    return made;
}

static int set_up(void **state) {
    (void)state;
    clock_fake(1000000, 1700000000000);
    breaker = create(settings);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    breaker_destroy(breaker);
    clock_real();
    return 0;
}

/* For tests with settings of their own. */
static void renew(struct breaker_settings some) {
    breaker_destroy(breaker);
    breaker = create(some);
}

static struct breaker_info info_of(void) {
    struct breaker_info info;
    breaker_get_info(breaker, &info);
    return info;
}

static struct breaker_pass enter(void) {
    struct breaker_pass pass;
    assert_true(breaker_enter(breaker, &pass, NULL));
    return pass;
}

static int64_t refused(void) {
    struct breaker_pass pass;
    int64_t retry_after_ms = -1;
    assert_false(breaker_enter(breaker, &pass, &retry_after_ms));
    return retry_after_ms;
}

static enum breaker_change leave(struct breaker_pass pass, enum breaker_outcome outcome) {
    return breaker_leave(breaker, &pass, outcome);
}

static void call(enum breaker_outcome outcome, int count) {
    for (int i = 0; i < count; i++)
        leave(enter(), outcome);
}

/* From any state it is in. */
static void open_it(void) {
    while (info_of().state != BREAKER_OPEN)
        call(BREAKER_FAILURE, 1);
}

static void wait_until_half_open(void) {
    clock_fake_advance(info_of().retry_after_ms);
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
}

/* ---- closed -------------------------------------------------------------------------------------- */

static void breaker_lets_all_pass_while_nothing_fails(void **state) {
    (void)state;
    call(BREAKER_SUCCESS, 1000);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    assert_int_equal(info_of().calls, 1000);
    assert_int_equal(info_of().retry_after_ms, 0);
    assert_true(breaker_would_pass(breaker, NULL));
}

static void breaker_opens_at_its_share_of_failures_not_before(void **state) {
    (void)state;
    call(BREAKER_SUCCESS, 51);
    call(BREAKER_FAILURE, 50);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    call(BREAKER_FAILURE, 1);
    assert_int_equal(info_of().state, BREAKER_OPEN);
    assert_int_equal(info_of().opened, 1);
}

static void breaker_of_all_failures_opens_only_if_none_succeeds(void **state) {
    (void)state;
    struct breaker_settings all = settings;
    all.failure_percent = 100;
    renew(all);
    call(BREAKER_SUCCESS, 1);
    call(BREAKER_FAILURE, 500);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    clock_fake_advance(settings.window_ms);
    call(BREAKER_FAILURE, 4);
    assert_int_equal(info_of().state, BREAKER_OPEN);
}

static void breaker_does_not_open_before_it_has_seen_enough_calls(void **state) {
    (void)state;
    call(BREAKER_FAILURE, 3);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    call(BREAKER_FAILURE, 1);
    assert_int_equal(info_of().state, BREAKER_OPEN);
}

static void breaker_forgets_calls_as_its_window_slides(void **state) {
    (void)state;
    call(BREAKER_FAILURE, 2);
    clock_fake_advance(5000);
    call(BREAKER_FAILURE, 1);
    clock_fake_advance(4999);
    assert_int_equal(info_of().calls, 3);
    clock_fake_advance(1);
    assert_int_equal(info_of().calls, 1);
    assert_int_equal(info_of().failures, 1);
    call(BREAKER_FAILURE, 2);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    clock_fake_advance(1000000);
    assert_int_equal(info_of().calls, 0);
}

static void breaker_counts_no_call_that_says_nothing(void **state) {
    (void)state;
    call(BREAKER_NEITHER, 100);
    assert_int_equal(info_of().calls, 0);
    call(BREAKER_FAILURE, 3);
    call(BREAKER_NEITHER, 100);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
}

/* ---- open ---------------------------------------------------------------------------------------- */

static void breaker_refuses_while_open_and_says_for_how_long(void **state) {
    (void)state;
    open_it();
    int64_t first_ms = refused(), asked_ms;
    assert_in_range(first_ms, 800, 1000);
    clock_fake_advance(300);
    assert_int_equal(refused(), first_ms - 300);
    assert_false(breaker_would_pass(breaker, &asked_ms));
    assert_int_equal(asked_ms, first_ms - 300);
    assert_int_equal(info_of().retry_after_ms, first_ms - 300);
    assert_int_equal(info_of().refused, 2); /* who only asks is not refused */
    clock_fake_advance(first_ms - 301);
    assert_int_equal(refused(), 1);
    clock_fake_advance(1);
    assert_true(breaker_would_pass(breaker, NULL));
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
}

static void breaker_stays_open_twice_as_long_each_time_up_to_a_maximum(void **state) {
    (void)state;
    static const int64_t expected_ms[] = {1000, 2000, 4000, 5000, 5000};
    for (size_t i = 0; i < sizeof(expected_ms) / sizeof(*expected_ms); i++) {
        open_it();
        assert_in_range(info_of().retry_after_ms, expected_ms[i] * 4 / 5, expected_ms[i]);
        wait_until_half_open();
    }
    call(BREAKER_SUCCESS, 2);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    open_it();
    assert_in_range(info_of().retry_after_ms, 800, 1000);
    assert_int_equal(info_of().opened, 6);
}

static void breaker_never_recovers_slower_than_its_maximum(void **state) {
    (void)state;
    struct breaker_settings swapped = settings;
    swapped.recovery_ms = INT64_MAX / 2;
    swapped.recovery_max_ms = 10;
    renew(swapped);
    for (int i = 0; i < 3; i++) {
        open_it();
        assert_in_range(info_of().retry_after_ms, 8, 10);
        wait_until_half_open();
    }
}

static void breakers_do_not_all_come_back_at_once(void **state) {
    (void)state;
    int64_t shortest_ms = INT64_MAX, longest_ms = 0;
    for (int i = 0; i < 100; i++) {
        renew(settings);
        open_it();
        int64_t ms = info_of().retry_after_ms;
        shortest_ms = ms < shortest_ms ? ms : shortest_ms;
        longest_ms = ms > longest_ms ? ms : longest_ms;
    }
    assert_in_range(shortest_ms, 800, 850);
    assert_in_range(longest_ms, 950, 1000);
}

/* ---- half-open ----------------------------------------------------------------------------------- */

static void breaker_lets_only_its_probes_pass_while_half_open(void **state) {
    (void)state;
    open_it();
    wait_until_half_open();
    struct breaker_pass one = enter(), two = enter();
    assert_true(one.is_probe && two.is_probe);
    assert_in_range(refused(), 1, 1000);
    assert_false(breaker_would_pass(breaker, NULL));
    leave(one, BREAKER_SUCCESS);
    struct breaker_pass three = enter();
    assert_in_range(refused(), 1, 1000);
    leave(three, BREAKER_NEITHER);
    assert_true(breaker_would_pass(breaker, NULL));
    leave(two, BREAKER_NEITHER);
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
}

static void breaker_closes_after_as_many_good_probes_and_forgets_what_was(void **state) {
    (void)state;
    open_it();
    wait_until_half_open();
    assert_int_equal(info_of().calls, 4);
    struct breaker_pass one = enter(), two = enter();
    leave(one, BREAKER_SUCCESS);
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
    leave(two, BREAKER_SUCCESS);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
    assert_int_equal(info_of().calls, 0);
    call(BREAKER_FAILURE, 3);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
}

static void breaker_opens_again_by_one_bad_probe(void **state) {
    (void)state;
    open_it();
    wait_until_half_open();
    struct breaker_pass one = enter(), two = enter();
    leave(one, BREAKER_SUCCESS);
    leave(two, BREAKER_FAILURE);
    assert_int_equal(info_of().state, BREAKER_OPEN);
    wait_until_half_open();
    call(BREAKER_SUCCESS, 1); /* the one before does not count any more */
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
}

static void breaker_does_not_wait_for_ever_for_a_probe(void **state) {
    (void)state;
    open_it();
    int64_t recovery_ms = info_of().retry_after_ms;
    wait_until_half_open();
    enter();
    clock_fake_advance(10);
    enter();
    clock_fake_advance(recovery_ms - 1);
    assert_int_equal(refused(), 1); /* the younger one has its time */
    clock_fake_advance(1);
    enter();
    enter();
    assert_int_equal(refused(), recovery_ms);
}

static void breaker_counts_what_a_probe_tells_late(void **state) {
    (void)state;
    open_it();
    wait_until_half_open();
    struct breaker_pass one = enter(), two = enter();
    clock_fake_advance(60000);
    enter();
    leave(one, BREAKER_SUCCESS);
    leave(two, BREAKER_SUCCESS);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
}

static void breaker_gives_no_place_back_for_a_probe_that_it_gave_up(void **state) {
    (void)state;
    open_it();
    wait_until_half_open();
    struct breaker_pass one = enter(), two = enter();
    clock_fake_advance(60000);
    struct breaker_pass three = enter();
    enter();
    leave(one, BREAKER_NEITHER);
    leave(two, BREAKER_NEITHER);
    refused();
    leave(three, BREAKER_NEITHER);
    enter();
}

static void breaker_does_not_count_calls_of_an_earlier_state(void **state) {
    (void)state;
    struct breaker_pass before[4];
    for (int i = 0; i < 4; i++)
        before[i] = enter();
    open_it();
    leave(before[0], BREAKER_SUCCESS);
    assert_int_equal(info_of().calls, 4);
    wait_until_half_open();
    leave(before[1], BREAKER_FAILURE);
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
    leave(before[2], BREAKER_SUCCESS);
    call(BREAKER_SUCCESS, 1);
    assert_int_equal(info_of().state, BREAKER_HALF_OPEN);
    call(BREAKER_SUCCESS, 1);
    leave(before[3], BREAKER_FAILURE);
    assert_int_equal(info_of().calls, 0);
    assert_int_equal(info_of().state, BREAKER_CLOSED);
}

/* ---- what it shows ------------------------------------------------------------------------------- */

static void breaker_tells_the_call_that_changed_it(void **state) {
    (void)state;
    call(BREAKER_FAILURE, 3);
    assert_int_equal(leave(enter(), BREAKER_NEITHER), BREAKER_UNCHANGED);
    struct breaker_pass late = enter();
    assert_int_equal(leave(enter(), BREAKER_FAILURE), BREAKER_HAS_OPENED);
    assert_int_equal(leave(late, BREAKER_FAILURE), BREAKER_UNCHANGED);
    wait_until_half_open();
    assert_int_equal(leave(enter(), BREAKER_FAILURE), BREAKER_HAS_OPENED);
    wait_until_half_open();
    assert_int_equal(leave(enter(), BREAKER_SUCCESS), BREAKER_UNCHANGED);
    assert_int_equal(leave(enter(), BREAKER_SUCCESS), BREAKER_HAS_CLOSED);
}

static void breaker_scores_by_the_share_that_did_not_fail(void **state) {
    (void)state;
    assert_int_equal(info_of().score, 100);
    call(BREAKER_SUCCESS, 999);
    call(BREAKER_FAILURE, 1);
    assert_int_equal(info_of().score, 99); /* 100 is for nothing wrong at all */
    clock_fake_advance(settings.window_ms);
    call(BREAKER_SUCCESS, 3);
    call(BREAKER_FAILURE, 2);
    assert_int_equal(info_of().score, 60);
    open_it();
    assert_int_equal(info_of().score, 0);
    wait_until_half_open();
    assert_int_equal(info_of().score, 25); /* half of 3 in 6 */
    clock_fake_advance(settings.window_ms);
    assert_int_equal(info_of().score, 50);
    call(BREAKER_SUCCESS, 2);
    assert_int_equal(info_of().score, 100);
}

static void breaker_names_its_states(void **state) {
    (void)state;
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(breaker_lets_all_pass_while_nothing_fails),
        TEST(breaker_opens_at_its_share_of_failures_not_before),
        TEST(breaker_of_all_failures_opens_only_if_none_succeeds),
        TEST(breaker_does_not_open_before_it_has_seen_enough_calls),
        TEST(breaker_forgets_calls_as_its_window_slides),
        TEST(breaker_counts_no_call_that_says_nothing),
        TEST(breaker_refuses_while_open_and_says_for_how_long),
        TEST(breaker_stays_open_twice_as_long_each_time_up_to_a_maximum),
        TEST(breaker_never_recovers_slower_than_its_maximum),
        TEST(breakers_do_not_all_come_back_at_once),
        TEST(breaker_lets_only_its_probes_pass_while_half_open),
        TEST(breaker_closes_after_as_many_good_probes_and_forgets_what_was),
        TEST(breaker_opens_again_by_one_bad_probe),
        TEST(breaker_does_not_wait_for_ever_for_a_probe),
        TEST(breaker_counts_what_a_probe_tells_late),
        TEST(breaker_gives_no_place_back_for_a_probe_that_it_gave_up),
        TEST(breaker_does_not_count_calls_of_an_earlier_state),
        TEST(breaker_tells_the_call_that_changed_it),
        TEST(breaker_scores_by_the_share_that_did_not_fail),
        TEST(breaker_names_its_states),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
