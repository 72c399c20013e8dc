/* upstream/follower, upstream/flight: one call for all runs that ask the same, each told all of it. */
#include "tests/unit/followed_cache.h"

/* ---- a flight ------------------------------------------------------------------------------------ */

static void follower_is_told_what_its_call_brings(void **state) {
    (void)state;
    struct fake_run run = {0};
    run_start(&run, &worker, "key");
    assert_int_equal(call_count, 1);
    call_sent(0);
    call_event(0, "a");
    assert_string_equal(run.told, ""); /* only by its loop */
    worker_settle(&worker);
    assert_string_equal(run.told, "sent|a|");
    call_event(0, "b");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&run);
    assert_string_equal(run.told, "sent|a|b|completed");
    assert_int_equal(run.source, FOLLOWER_UPSTREAM);
    assert_false(follower_source_is_cached(run.source));
}

static void followers_of_one_key_share_a_call_and_each_gets_all_of_it(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0}, other = {0};
    run_start(&first, &worker, "key");
    call_sent(0);
    call_event(0, "a");
    worker_settle(&worker);
    run_start(&second, &worker, "key");
    run_start(&other, &worker, "another key");
    assert_int_equal(call_count, 2);
    call_event(0, "b");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    run_await_end(&second);
    assert_string_equal(first.told, "sent|a|b|completed");
    assert_string_equal(second.told, first.told);
    assert_int_equal(second.source, FOLLOWER_JOINED);
    assert_int_equal(info_now().joined, 1);
    assert_int_equal(info_now().misses, 2);
    run_cancel(&other);
}

static void followers_are_all_told_of_retries_and_of_the_failure_which_is_not_kept(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0}, third = {0};
    run_start(&first, &worker, "key");
    run_start(&second, &worker, "key");
    char message[] = "it was busy", name[] = "main";
    const struct upstream_retry retry = {.attempt = 2, .upstream = name, .failure = {.message = message}};
    calls[0].callbacks.on_retry(calls[0].context, &retry);
    memset(message, 'x', strlen(message)); /* the recording has its own */
    memset(name, 'x', strlen(name));
    call_end(0, UPSTREAM_STATUS);
    run_await_end(&first);
    run_await_end(&second);
    assert_string_equal(first.told, "retry 2 of main after it was busy|failed: it failed");
    assert_string_equal(second.told, first.told);
    assert_int_equal(first.result.end, UPSTREAM_STATUS);
    run_start(&third, &worker, "key");
    assert_int_equal(call_count, 2);
    run_cancel(&third);
}

static void flight_ends_if_no_run_wants_another_attempt(void **state) {
    (void)state;
    struct fake_run first = {.refuses_retry = true}, second = {.refuses_retry = true};
    run_start(&first, &worker, "key");
    run_start(&second, &worker, "key");
    const struct upstream_retry retry = {.attempt = 2, .failure = {.message = "it was busy"}};
    assert_true(calls[0].callbacks.on_retry(calls[0].context, &retry));
    call_event(0, "a");
    worker_settle(&worker);
    assert_string_equal(first.told, "retry 2 of nobody after it was busy|");
    assert_string_equal(second.told, first.told);
    assert_true(calls[0].is_cancelled);
    assert_int_equal(cache_worker_active(worker.part), 0);
}

static void follower_fails_if_no_call_can_be_made(void **state) {
    (void)state;
    struct fake_run run = {0};
    calls_fail = true;
    run_start(&run, &worker, "key");
    run_await_end(&run);
    assert_string_equal(run.told, "failed: Memory ran out.");
    assert_int_equal(run.result.end, UPSTREAM_INTERNAL);
}

/* ---- leaving ------------------------------------------------------------------------------------- */

static void flight_goes_on_without_the_run_that_began_it_until_the_last_one_leaves(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0}, third = {0};
    run_start(&first, &worker, "key");
    run_start(&second, &worker, "key");
    call_event(0, "a");
    worker_settle(&worker);
    run_cancel(&first);
    call_event(0, "b");
    worker_settle(&worker);
    assert_false(calls[0].is_cancelled);
    assert_string_equal(first.told, "a|");
    assert_string_equal(second.told, "a|b|");
    run_cancel(&second);
    run_start(&third, &worker, "key"); /* cannot join what is about to be cancelled */
    assert_int_equal(call_count, 2);
    worker_settle(&worker);
    assert_true(calls[0].is_cancelled);
    assert_string_equal(second.told, "a|b|");
    run_cancel(&third);
    worker_settle(&worker);
    assert_true(calls[1].is_cancelled);
    assert_int_equal(cache_worker_active(worker.part), 0);
}

static void follower_cancelled_with_something_on_its_way_is_told_nothing(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0};
    run_start(&first, &worker, "key");
    run_start(&second, &worker, "key");
    call_event(0, "a");
    call_end(0, UPSTREAM_COMPLETED);
    run_cancel(&first);
    run_cancel(&second);
    worker_settle(&worker);
    assert_string_equal(first.told, "");
    assert_string_equal(second.told, "");
    assert_int_equal(cache_worker_active(worker.part), 0);
    assert_int_equal(info_now().stored, 1);
}

static bool cancel_in_event(struct fake_run *run) {
    run_cancel(run);
    return true;
}

static bool say_no(struct fake_run *run) {
    run->follower = NULL;
    return false;
}

static void follower_may_be_ended_from_within_its_callback(void **state) {
    (void)state;
    struct fake_run first = {.in_event = cancel_in_event}, second = {.in_event = say_no}, third = {0};
    run_start(&first, &worker, "key");
    run_start(&second, &worker, "key");
    run_start(&third, &worker, "key");
    call_event(0, "a");
    call_event(0, "b");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&third);
    assert_string_equal(first.told, "a|");
    assert_string_equal(second.told, "a|");
    assert_string_equal(third.told, "a|b|completed");
}

/* ---- holding ------------------------------------------------------------------------------------- */

static void follower_that_is_held_goes_on_where_it_stood_and_holds_nobody_else(void **state) {
    (void)state;
    struct fake_run held = {.refuses = true}, other = {0};
    run_start(&held, &worker, "key");
    run_start(&other, &worker, "key");
    call_event(0, "a");
    call_event(0, "b");
    worker_settle(&worker);
    assert_string_equal(held.told, "");
    assert_int_equal(held.asked, 1); /* not again and again */
    assert_string_equal(other.told, "a|b|");
    held.refuses = false;
    follower_resume(held.follower);
    assert_string_equal(held.told, "");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&held);
    run_await_end(&other);
    assert_string_equal(held.told, "a|b|completed");
}

static const char *long_text(void) {
    static char text[8 * 1024 + 1];
    memset(text, 'x', sizeof(text) - 1);
    return text;
}

static bool call_may_read(size_t index) {
    return calls[index].callbacks.may_read(calls[index].context);
}

static void flight_that_is_too_long_is_neither_joined_nor_kept_but_told_to_its_end(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0};
    run_start(&first, &worker, "key");
    for (size_t i = 1; i <= 100; i++) { /* ten times what a recording may hold */
        assert_true(call_may_read(0));
        call_event(0, long_text());
        run_await_events(&first, i);
    }
    run_start(&second, &worker, "key");
    assert_int_equal(call_count, 2);
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    assert_int_equal(first.events, 100);
    assert_int_equal(info_now().too_large, 1);
    assert_int_equal(info_now().entries, 0);
    run_cancel(&second);
}

static void call_is_held_while_a_follower_lags_by_more_than_may_be_kept(void **state) {
    (void)state;
    struct fake_run slow = {.refuses = true}, fast = {0};
    run_start(&slow, &worker, "key");
    run_start(&fast, &worker, "key");
    size_t count = 0;
    while (call_may_read(0)) {
        assert_true(count < 20);
        call_event(0, long_text());
        run_await_events(&fast, ++count);
    }
    assert_true(count >= settings.run_bytes_max / (8 * 1024 + 200));
    worker_settle(&worker);
    assert_int_equal(calls[0].resumed, 0);
    slow.refuses = false;
    follower_resume(slow.follower);
    while (calls[0].resumed == 0)
        worker_turn(&worker);
    assert_true(call_may_read(0));
    call_event(0, "last");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&slow);
    run_await_end(&fast);
    assert_int_equal(slow.events, count + 1);
    assert_int_equal(slow.result.end, UPSTREAM_COMPLETED);
}

static void call_goes_on_when_the_follower_that_held_it_leaves(void **state) {
    (void)state;
    struct fake_run slow = {.refuses = true}, fast = {0};
    run_start(&slow, &worker, "key");
    run_start(&fast, &worker, "key");
    for (size_t count = 0; call_may_read(0);) {
        call_event(0, long_text());
        run_await_events(&fast, ++count);
    }
    run_cancel(&slow);
    while (calls[0].resumed == 0)
        worker_turn(&worker);
    assert_true(call_may_read(0));
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&fast);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(follower_is_told_what_its_call_brings),
        TEST(followers_of_one_key_share_a_call_and_each_gets_all_of_it),
        TEST(followers_are_all_told_of_retries_and_of_the_failure_which_is_not_kept),
        TEST(flight_ends_if_no_run_wants_another_attempt),
        TEST(follower_fails_if_no_call_can_be_made),
        TEST(flight_goes_on_without_the_run_that_began_it_until_the_last_one_leaves),
        TEST(follower_cancelled_with_something_on_its_way_is_told_nothing),
        TEST(follower_may_be_ended_from_within_its_callback),
        TEST(follower_that_is_held_goes_on_where_it_stood_and_holds_nobody_else),
        TEST(flight_that_is_too_long_is_neither_joined_nor_kept_but_told_to_its_end),
        TEST(call_is_held_while_a_follower_lags_by_more_than_may_be_kept),
        TEST(call_goes_on_when_the_follower_that_held_it_leaves),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
