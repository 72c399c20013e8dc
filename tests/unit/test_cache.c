/* upstream/cache: what is kept, for how long, and what goes first. */
#include "tests/unit/cache_fixture.h"

#define ENTRY_BYTES 2000 /* about what a recording of one event of DATA takes, and its place in the table */

static struct cache_settings settings;
static struct cache *cache;
static struct fake_worker worker;

static int set_up(void **state) {
    (void)state;
    fixture_reset();
    clock_fake(1000, 1700000000000);
    settings = (struct cache_settings){.bytes_max = 10 * ENTRY_BYTES, .run_bytes_max = 64 * 1024};
    cache = cache_create(&settings);
    assert_non_null(cache);
    worker_begin(&worker, cache);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    worker_end(&worker);
    cache_destroy(cache);
    clock_real();
    return 0;
}

static struct cache_info info_now(void) {
    struct cache_info info;
    cache_get_info(cache, &info);
    return info;
}

/* One event of so many bytes. */
static void keep(const char *key, size_t bytes, int64_t ttl_ms) {
    static char data[32 * 1024];
    struct fake_run run = {.policy.ttl_ms = ttl_ms};
    memset(data, 'x', bytes);
    data[bytes] = '\0';
    run_start(&run, &worker, key);
    assert_int_equal(call_count, 1);
    call_event(0, data);
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&run);
    call_count = 0;
}

static void cache_counts_all_the_memory_that_it_takes(void **state) {
    (void)state;
    char key[32];
    assert_int_equal(memory_used(MEMORY_RECORDINGS), 0);
    for (int i = 0; i < 40; i++) {
        snprintf(key, sizeof(key), "%d", i);
        keep(key, (size_t)i, 60000);
        assert_int_equal(memory_used(MEMORY_RECORDINGS), info_now().bytes);
        assert_true(info_now().bytes <= settings.bytes_max);
    }
    assert_true(info_now().evicted > 0);
}

static bool is_kept(const char *key) {
    struct recording *recording = cache_find(cache, key);
    recording_unref(recording);
    return recording != NULL;
}

static void cache_keeps_until_the_time_is_up(void **state) {
    (void)state;
    keep("a", 100, 500);
    clock_fake_advance(499);
    assert_true(is_kept("a"));
    clock_fake_advance(1);
    assert_false(is_kept("a"));
    keep("a", 100, 500);
    assert_true(is_kept("a"));
    struct cache_info info = info_now();
    assert_int_equal(info.entries, 1);
    assert_int_equal(info.stored, 2);
    assert_int_equal(info.expired, 1);
    assert_int_equal(info.evicted, 0);
    assert_int_equal(info.hits, 2);
}

static void cache_lets_go_what_was_not_used_for_the_longest_time(void **state) {
    (void)state;
    char key[32];
    keep("0", 700, 60000);
    uint64_t bytes = info_now().bytes;
    assert_in_range(bytes, 700, ENTRY_BYTES);
    size_t fit = settings.bytes_max / bytes;
    for (size_t i = 1; i < fit; i++) {
        snprintf(key, sizeof(key), "%zu", i);
        keep(key, 700, 60000);
    }
    assert_int_equal(info_now().entries, fit);
    assert_true(is_kept("0"));
    keep("new", 700, 60000);
    assert_true(is_kept("0"));
    assert_false(is_kept("1"));
    assert_true(is_kept("2"));
    assert_true(is_kept("new"));
    assert_int_equal(info_now().entries, fit);
    assert_int_equal(info_now().evicted, 1);
    assert_true(info_now().bytes <= settings.bytes_max);
}

static void cache_does_not_keep_what_is_larger_than_itself(void **state) {
    (void)state;
    keep("small", 100, 60000);
    keep("large", 11 * ENTRY_BYTES, 60000);
    assert_false(is_kept("large"));
    assert_true(is_kept("small"));
    assert_int_equal(info_now().too_large, 1);
}

static void cache_counts_every_byte_it_lets_go(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%d", i % 30);
        keep(key, (size_t)(i * 37 % 3000), 60000);
        clock_fake_advance(60001);
        assert_true(info_now().bytes <= settings.bytes_max);
    }
    keep("last", 8 * ENTRY_BYTES, 60000);
    assert_in_range(info_now().bytes, 8 * ENTRY_BYTES, 10 * ENTRY_BYTES);
    assert_true(info_now().expired > 0);
}

static void cache_that_is_trimmed_lets_go_what_was_not_used_for_the_longest_time(void **state) {
    (void)state;
    uint64_t nothing = memory_used(MEMORY_RECORDINGS);
    keep("0", 700, 60000);
    keep("1", 700, 60000);
    keep("2", 700, 60000);
    assert_true(is_kept("0"));
    uint64_t bytes = info_now().bytes;
    assert_true(memory_used(MEMORY_RECORDINGS) >= nothing + bytes);
    assert_int_equal(cache_trim(cache, 1), bytes / 3);
    assert_false(is_kept("1"));
    assert_true(is_kept("0") && is_kept("2"));
    assert_int_equal(cache_trim(cache, UINT64_MAX), bytes / 3 * 2);
    assert_int_equal(cache_trim(cache, UINT64_MAX), 0);
    assert_int_equal(info_now().entries, 0);
    assert_int_equal(memory_used(MEMORY_RECORDINGS), nothing);
}

static void replay_goes_on_when_its_recording_is_let_go(void **state) {
    (void)state;
    struct fake_run run = {.refuses = true};
    keep("a", 700, 60000);
    run_start(&run, &worker, "a");
    worker_settle(&worker);
    keep("large", 8 * ENTRY_BYTES, 60000);
    keep("larger", 9 * ENTRY_BYTES, 60000);
    assert_false(is_kept("a"));
    run.refuses = false;
    follower_resume(run.follower);
    run_await_end(&run);
    assert_int_equal(run.events, 1);
}

static void cache_may_keep_nothing_and_still_share_calls(void **state) {
    (void)state;
    struct cache_settings none = {.bytes_max = 0, .run_bytes_max = 64 * 1024};
    struct cache *flights_alone = cache_create(&none);
    struct fake_worker other;
    struct fake_run first = {0}, second = {0};
    assert_non_null(flights_alone);
    worker_begin(&other, flights_alone);
    run_start(&first, &other, "a");
    run_start(&second, &other, "a");
    assert_int_equal(call_count, 1);
    call_event(0, "x");
    call_end(0, UPSTREAM_COMPLETED);
    run_await_end(&first);
    run_await_end(&second);
    assert_string_equal(second.told, "x|completed");
    assert_null(cache_find(flights_alone, "a"));
    worker_end(&other);
    cache_destroy(flights_alone);
}

static void cache_is_not_made_for_an_address_that_is_none(void **state) {
    (void)state;
    settings.redis = (char[]){"redis://"};
    assert_null(cache_create(&settings));
    assert_int_equal(info_now().redis_state, REDIS_OFF);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(cache_counts_all_the_memory_that_it_takes),
        cmocka_unit_test_setup_teardown(cache_that_is_trimmed_lets_go_what_was_not_used_for_the_longest_time,
                                        set_up, tear_down),
        TEST(cache_keeps_until_the_time_is_up),
        TEST(cache_lets_go_what_was_not_used_for_the_longest_time),
        TEST(cache_does_not_keep_what_is_larger_than_itself),
        TEST(cache_counts_every_byte_it_lets_go),
        TEST(replay_goes_on_when_its_recording_is_let_go),
        TEST(cache_may_keep_nothing_and_still_share_calls),
        TEST(cache_is_not_made_for_an_address_that_is_none),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
