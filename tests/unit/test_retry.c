/* upstream/retry: again only what may pass, not at once, not for ever, and not before the upstream wants it.
 */
#include "upstream/retry.h"

#include "tests/support/unit.h"

/* 2026-11-21T12:00:00.250Z */
#define NOW_MS 1795262400250

static const struct retry_settings settings = {
    .attempts_max = 5, .base_ms = 100, .max_ms = 1000, .total_ms = 30000};

/* ---- when ---------------------------------------------------------------------------------------- */

/* Draws many delays: they are spread evenly from 0 to `longest_ms`. */
static void check_spread(unsigned attempt, int64_t longest_ms) {
    enum { DRAWS = 4000 };
    int64_t sum_ms = 0, highest_ms = 0, lowest_ms = INT64_MAX;
    for (int i = 0; i < DRAWS; i++) {
        int64_t ms = retry_delay_ms(&settings, attempt, 0, 0);
        assert_in_range(ms, 0, longest_ms);
        sum_ms += ms;
        highest_ms = ms > highest_ms ? ms : highest_ms;
        lowest_ms = ms < lowest_ms ? ms : lowest_ms;
    }
    assert_in_range(lowest_ms, 0, longest_ms / 50);
    assert_in_range(highest_ms, longest_ms - longest_ms / 50, longest_ms);
    assert_in_range(sum_ms / DRAWS, longest_ms * 45 / 100, longest_ms * 55 / 100);
}

static void retry_waits_a_random_part_of_a_time_that_doubles(void **state) {
    (void)state;
    check_spread(1, 100);
    check_spread(2, 200);
    check_spread(3, 400);
    check_spread(4, 800);
}

static void retry_never_waits_longer_than_its_maximum(void **state) {
    (void)state;
    struct retry_settings many = settings;
    many.attempts_max = UINT64_MAX;
    for (unsigned attempt = 5; attempt != 0; attempt *= 2) {
        for (int i = 0; i < 50; i++)
            assert_in_range(retry_delay_ms(&many, attempt, 0, 0), 0, 1000);
    }
    many.base_ms = 5000; /* above max_ms */
    for (int i = 0; i < 50; i++)
        assert_in_range(retry_delay_ms(&many, 1, 0, 0), 0, 1000);
    many.base_ms = 0;
    assert_int_equal(retry_delay_ms(&many, 100, 0, 0), 0);
}

static void retry_backoff_does_not_overflow(void **state) {
    (void)state;
    struct retry_settings endless = {
        .attempts_max = UINT64_MAX, .base_ms = 3, .max_ms = INT64_MAX - 1, .total_ms = INT64_MAX};
    for (unsigned attempt = 1; attempt < 200; attempt++)
        assert_true(retry_delay_ms(&endless, attempt, 0, 0) >= 0);
}

static void retry_ends_with_the_attempts(void **state) {
    (void)state;
    assert_true(retry_delay_ms(&settings, 4, 0, 0) >= 0);
    assert_int_equal(retry_delay_ms(&settings, 5, 0, 0), -1);
    assert_int_equal(retry_delay_ms(&settings, 6, 0, 0), -1);
    struct retry_settings once = settings;
    once.attempts_max = 1;
    assert_int_equal(retry_delay_ms(&once, 1, 0, 0), -1);
}

static void retry_ends_with_the_time(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++)
        assert_in_range(retry_delay_ms(&settings, 4, 29995, 0), 0, 5); /* what is left is used */
    assert_int_equal(retry_delay_ms(&settings, 1, 30000, 0), -1);
    assert_int_equal(retry_delay_ms(&settings, 1, 40000, 0), -1);
}

static void retry_waits_at_least_as_long_as_the_upstream_asks(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(retry_delay_ms(&settings, 1, 0, 7000), 7000);
        assert_in_range(retry_delay_ms(&settings, 3, 0, 200), 200, 400);
    }
    assert_int_equal(retry_delay_ms(&settings, 1, 20000, 10000), 10000);
}

static void retry_ends_if_the_upstream_asks_for_longer_than_is_left(void **state) {
    (void)state;
    assert_int_equal(retry_delay_ms(&settings, 1, 20000, 10001), -1);
    assert_int_equal(retry_delay_ms(&settings, 1, 0, INT64_MAX), -1);
}

/* ---- Retry-After --------------------------------------------------------------------------------- */

static int64_t parsed(const char *value) {
    return retry_after_parse(value, NOW_MS);
}

static void retry_after_reads_seconds(void **state) {
    (void)state;
    assert_int_equal(parsed("120"), 120000);
    assert_int_equal(parsed("0"), 0);
    assert_int_equal(parsed("1"), 1000);
    assert_int_equal(parsed("007"), 7000);
    assert_int_equal(parsed(" \t3 \t"), 3000);
}

static void retry_after_reads_all_three_forms_of_a_date(void **state) {
    (void)state;
    assert_int_equal(parsed("Sat, 21 Nov 2026 12:00:30 GMT"), 29750);
    assert_int_equal(parsed("Saturday, 21-Nov-26 12:00:30 GMT"), 29750);
    assert_int_equal(parsed("Sat Nov 21 12:00:30 2026"), 29750);
    assert_int_equal(parsed("Tue, 01 Dec 2026 12:00:00 GMT"), 10 * 86400 * INT64_C(1000) - 250);
    assert_int_equal(parsed(" Sat, 21 Nov 2026 12:00:01 GMT"), 750);
}

static void retry_after_of_a_date_that_has_passed_is_none(void **state) {
    (void)state;
    assert_int_equal(parsed("Sat, 21 Nov 2026 12:00:00 GMT"), 0);
    assert_int_equal(parsed("Sat, 21 Nov 2026 11:59:59 GMT"), 0);
    assert_int_equal(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
}

static void retry_after_that_cannot_be_read_is_none(void **state) {
    (void)state;
    static const char *const values[] = {"",
                                         " ",
                                         "soon",
                                         "-5",
                                         "+5",
                                         "1.5",
                                         "5s",
                                         "5, 6",
                                         "5 6",
                                         "0x10",
                                         "2026-11-21T13:00:00Z",
                                         "Sat",
                                         "GMT",
                                         "\xff\xfe",
                                         "Sat, 99 Nov 2026 12:00:30 GMT",
                                         "Sat, 21 Foo 2026 12:00:30 GMT"};
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
        assert_int_equal(parsed(values[i]), 0);
    assert_int_equal(parsed(NULL), 0);
}

static void retry_after_is_never_more_than_its_maximum(void **state) {
    (void)state;
    assert_int_equal(parsed("31536000"), RETRY_AFTER_MAX_MS);
    assert_int_equal(parsed("31536001"), RETRY_AFTER_MAX_MS);
    assert_int_equal(parsed("99999999999999999999999999999999999999999999"), RETRY_AFTER_MAX_MS);
    assert_in_range(parsed("Fri, 31 Dec 9999 23:59:59 GMT"), RETRY_AFTER_MAX_MS - 1000, RETRY_AFTER_MAX_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_waits_a_random_part_of_a_time_that_doubles),
        cmocka_unit_test(retry_never_waits_longer_than_its_maximum),
        cmocka_unit_test(retry_backoff_does_not_overflow),
        cmocka_unit_test(retry_ends_with_the_attempts),
        cmocka_unit_test(retry_ends_with_the_time),
        cmocka_unit_test(retry_waits_at_least_as_long_as_the_upstream_asks),
        cmocka_unit_test(retry_ends_if_the_upstream_asks_for_longer_than_is_left),
        cmocka_unit_test(retry_after_reads_seconds),
        cmocka_unit_test(retry_after_reads_all_three_forms_of_a_date),
        cmocka_unit_test(retry_after_of_a_date_that_has_passed_is_none),
        cmocka_unit_test(retry_after_that_cannot_be_read_is_none),
        cmocka_unit_test(retry_after_is_never_more_than_its_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
