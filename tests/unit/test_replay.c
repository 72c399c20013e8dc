/* upstream/follower: what is kept is told again, as fast or as slowly as it should be. */
#include "tests/unit/followed_cache.h"

static void record(const char *key, size_t events) {
    struct fake_run run = {0};
    char text[32];
    run_start(&run, &worker, key);
    size_t call = call_count - 1;
    call_sent(call);
    for (size_t i = 0; i < events; i++) {
        snprintf(text, sizeof(text), "%zu", i);
        call_event(call, text);
    }
    call_end(call, UPSTREAM_COMPLETED);
    run_await_end(&run);
}

static void follower_of_what_is_kept_is_told_the_events_alone_and_no_call_is_made(void **state) {
    (void)state;
    struct fake_run run = {0}, again = {0};
    record("key", 3);
    run_start(&run, &worker, "key");
    run_await_end(&run);
    assert_string_equal(run.told, "0|1|2|completed");
    assert_int_equal(run.source, FOLLOWER_MEMORY);
    assert_true(follower_source_is_cached(run.source));
    run_start(&again, &worker, "key");
    run_await_end(&again);
    assert_string_equal(again.told, run.told);
    assert_int_equal(call_count, 1);
    assert_int_equal(info_now().hits, 2);
}

static void follower_may_bring_what_was_found_before(void **state) {
    (void)state;
    struct fake_run run = {0};
    record("key", 2);
    struct recording *found = cache_find(cache, "key");
    assert_non_null(found);
    assert_null(cache_find(cache, "no key"));
    run.policy.ttl_ms = 1;
    const struct follower_start start = {.key = "not looked at",
                                         .policy = &run.policy,
                                         .found = found,
                                         .preparer = request_create(),
                                         .callbacks = &run_callbacks,
                                         .context = &run};
    run.worker = &worker;
    run.follower = follower_start(worker.part, &start);
    run.has_started = true;
    run_await_end(&run);
    assert_string_equal(run.told, "0|1|completed");
    assert_int_equal(call_count, 1);
}

static void replay_takes_several_turns_of_the_loop(void **state) {
    (void)state;
    struct fake_run run = {0};
    record("key", 300);
    run_start(&run, &worker, "key");
    uv_run(&worker.loop, UV_RUN_NOWAIT);
    assert_in_range(run.events, 1, 64);
    uv_run(&worker.loop, UV_RUN_NOWAIT);
    assert_in_range(run.events, 65, 128);
    run_await_end(&run);
    assert_int_equal(run.events, 300);
}

static void replay_goes_on_after_it_was_held(void **state) {
    (void)state;
    struct fake_run run = {.refuses = true};
    record("key", 100);
    run_start(&run, &worker, "key");
    worker_settle(&worker);
    assert_int_equal(run.events, 0);
    run.refuses = false;
    follower_resume(run.follower);
    run_await_end(&run);
    assert_int_equal(run.events, 100);
}

static void paced_replay_takes_as_long_as_the_recording_did(void **state) {
    (void)state;
    struct fake_run first = {0}, paced = {.policy.paced = true}, cancelled = {.policy.paced = true};
    clock_fake(clock_mono_ms(), clock_unix_ms());
    run_start(&first, &worker, "key");
    clock_fake_advance(5000); /* the upstream was waited for: that is not replayed */
    call_sent(0);
    call_event(0, "a");
    clock_fake_advance(60);
    call_event(0, "b");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    clock_real();
    int64_t begun_ms = clock_mono_ms();
    run_start(&cancelled, &worker, "key");
    run_start(&paced, &worker, "key");
    run_await_events(&paced, 1);
    run_await_events(&cancelled, 1);
    run_cancel(&cancelled); /* with its timer running */
    run_await_end(&paced);
    assert_in_range(clock_mono_ms() - begun_ms, 59, 4000);
    assert_string_equal(paced.told, "a|b|completed");
    assert_string_equal(cancelled.told, "a|");
}

static void answer_of_another_upstream_is_not_kept(void **state) {
    (void)state;
    struct fake_run first = {0}, second = {0}, third = {0};
    run_start(&first, &worker, "key");
    calls[0].upstream = UPSTREAM_NONE; /* a canned answer */
    call_event(0, "canned");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    run_start(&second, &worker, "key");
    assert_int_equal(call_count, 2);
    calls[1].upstream = 0; /* a fallback */
    call_end(1, UPSTREAM_COMPLETED);
    run_await_end(&second);
    run_start(&third, &worker, "key");
    assert_int_equal(call_count, 3);
    run_cancel(&third);
    assert_int_equal(info_now().stored, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(follower_of_what_is_kept_is_told_the_events_alone_and_no_call_is_made),
        TEST(follower_may_bring_what_was_found_before),
        TEST(replay_takes_several_turns_of_the_loop),
        TEST(replay_goes_on_after_it_was_held),
        TEST(paced_replay_takes_as_long_as_the_recording_did),
        TEST(answer_of_another_upstream_is_not_kept),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
