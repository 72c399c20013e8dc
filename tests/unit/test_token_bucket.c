/* base/token_bucket: so many in a time, and so many at once. */
#include "base/token_bucket.h"

#include "tests/support/unit.h"

#define HOUR_MS 3600000

static void take_all(struct token_bucket *bucket, const struct token_rate *rate, int64_t now_ms,
                     int expected) {
    int taken = 0;
    while (token_bucket_take(bucket, rate, now_ms))
        taken++;
    assert_int_equal(taken, expected);
}

static void bucket_of_zeros_is_full_and_holds_no_more_after_any_time(void **state) {
    (void)state;
    const struct token_rate rate = {.tokens = 20, .per_ms = 1000, .burst = 30};
    struct token_bucket bucket = {0};
    assert_int_equal(token_bucket_count(&bucket, &rate), 30);
    take_all(&bucket, &rate, 5, 30);
    take_all(&bucket, &rate, 5 + 24 * HOUR_MS, 30);
    take_all(&bucket, &rate, INT64_MAX / 2, 30);
}

static void tokens_come_at_their_rate_and_nothing_is_rounded(void **state) {
    (void)state;
    const struct token_rate rate = {.tokens = 3, .per_ms = 1000, .burst = 3};
    struct token_bucket bucket = {0};
    take_all(&bucket, &rate, 0, 3);
    int taken = 0;
    for (int64_t now_ms = 1; now_ms <= 60000; now_ms++) /* looked at each millisecond */
        taken += token_bucket_take(&bucket, &rate, now_ms);
    assert_int_equal(taken, 180);
}

static void time_until_tokens_is_exact(void **state) {
    (void)state;
    const struct token_rate rate = {.tokens = 3, .per_ms = 1000, .burst = 2};
    struct token_bucket bucket = {0};
    assert_int_equal(token_bucket_in_ms(&bucket, &rate, 2), 0);
    take_all(&bucket, &rate, 0, 2);
    assert_int_equal(token_bucket_in_ms(&bucket, &rate, 1), 334);
    assert_int_equal(token_bucket_in_ms(&bucket, &rate, 3), 1000);
    assert_false(token_bucket_take(&bucket, &rate, 333));
    assert_int_equal(token_bucket_in_ms(&bucket, &rate, 1), 1);
    assert_true(token_bucket_take(&bucket, &rate, 334));
}

static void token_that_was_put_back_can_be_taken_and_full_stays_full(void **state) {
    (void)state;
    const struct token_rate rate = {.tokens = 1, .per_ms = 1000, .burst = 2};
    struct token_bucket bucket = {0};
    take_all(&bucket, &rate, 0, 2);
    token_bucket_put_back(&bucket, &rate);
    take_all(&bucket, &rate, 0, 1);
    token_bucket_fill(&bucket, &rate, HOUR_MS);
    token_bucket_put_back(&bucket, &rate);
    assert_int_equal(token_bucket_count(&bucket, &rate), 2);
    take_all(&bucket, &rate, HOUR_MS, 2);
}

static void without_tokens_there_is_no_limit(void **state) {
    (void)state;
    const struct token_rate rate = {0};
    struct token_bucket bucket = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(token_bucket_take(&bucket, &rate, 0));
    token_bucket_put_back(&bucket, &rate);
    assert_int_equal(token_bucket_in_ms(&bucket, &rate, 1000), 0);
    assert_int_equal(token_bucket_count(&bucket, &rate), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_of_zeros_is_full_and_holds_no_more_after_any_time),
        cmocka_unit_test(tokens_come_at_their_rate_and_nothing_is_rounded),
        cmocka_unit_test(time_until_tokens_is_exact),
        cmocka_unit_test(token_that_was_put_back_can_be_taken_and_full_stays_full),
        cmocka_unit_test(without_tokens_there_is_no_limit),
    };
    return cmocka_run_group_tests_name("token_bucket", tests, NULL, NULL);
}
