/* base/clock: real time, faked time, and how it is written. */
#include "base/clock.h"
#include "tests/support/unit.h"

static void clock_can_be_faked_and_moved(void **state) {
    (void)state;
    clock_fake(1000, 1700000000000);
    assert_int_equal(clock_mono_ms(), 1000);
    assert_int_equal(clock_unix_ms(), 1700000000000);
    clock_fake_advance(250);
    assert_int_equal(clock_mono_ms(), 1250);
    assert_int_equal(clock_unix_ms(), 1700000000250);
    clock_real();
    assert_true(clock_unix_ms() > 1700000000250);
}

static void clock_never_goes_back_by_itself(void **state) {
    (void)state;
    int64_t before_ms = clock_mono_ms();
    for (int i = 0; i < 1000; i++) {
        int64_t now_ms = clock_mono_ms();
        assert_true(now_ms >= before_ms);
        before_ms = now_ms;
    }
}

static void clock_is_written_as_iso_8601_in_utc(void **state) {
    (void)state;
    char text[CLOCK_ISO_SIZE];
    clock_format_iso(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_iso(1769847300123, text);
    assert_string_equal(text, "2026-01-31T08:15:00.123Z");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_can_be_faked_and_moved),
        cmocka_unit_test(clock_never_goes_back_by_itself),
        cmocka_unit_test(clock_is_written_as_iso_8601_in_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
